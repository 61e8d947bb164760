// SPDX-License-Identifier: Apache-2.0
/* The command line of stgun. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/ip.h"
#include "perf/stgun/keys.h"
#include "perf/stgun/mix.h"
#include "perf/stgun/rate.h"

enum stgun_command { STGUN_KEYS = 1, STGUN_REFLECT = 2, STGUN_CONNECT = 4, STGUN_LOAD = 8, STGUN_SEARCH = 16 };
enum stgun_direction { STGUN_UP, STGUN_DOWN, STGUN_BOTH };

enum {
	STGUN_SESSIONS_MAX = 1 << 20,
	STGUN_THREADS_MAX = 128,
	STGUN_PORTS_MAX = 4096, /* of a thread: a socket each */
	STGUN_TRAIN_MAX = 64,
	/* A session's keys are not renewed, but for WireGuard's: within the hour that they live. */
	STGUN_SECONDS_MAX = 3000,
};

#define STGUN_GENERATE (STGUN_CONNECT | STGUN_LOAD | STGUN_SEARCH)
#define STGUN_SEND     (STGUN_LOAD | STGUN_SEARCH)

/* X(id, name, commands, default, form, help): every option, those of the same commands together; without a default it
 * is off, or mandatory. */
#define STGUN_OPTIONS(X)                                                                                          \
	X(GATEWAY, "gateway", STGUN_GENERATE, NULL, "IP:PORT", "where the gateway is (mandatory)")                \
	X(GATEWAY_KEY, "gateway-key", STGUN_GENERATE, NULL, "KEY", "its public key (mandatory)")                  \
	X(SESSIONS, "sessions", STGUN_GENERATE, "1", "N", "clients, 1 to 1048576")                                \
	X(SOURCE, "source", STGUN_GENERATE, NULL, "NETWORK", "outer addresses to send from, in turn; local ones") \
	X(PORTS, "ports", STGUN_GENERATE, "1", "N", "source ports of each thread")                                \
	X(PARALLEL, "parallel", STGUN_GENERATE, "64", "N", "handshakes under way at once, of each thread")        \
	X(CONNECT_RATE, "connect-rate", STGUN_GENERATE, "max", "RATE",                                            \
	  "open loop: so many handshakes begin in a second")                                                      \
	X(CONNECT_LIMIT, "connect-timeout", STGUN_GENERATE, "60", "SECONDS",                                      \
	  "give up when no more session came up for so long")                                                     \
	X(CIPHER, "cipher", STGUN_GENERATE, "auto", "NAME", "auto, AES-256-GCM or ChaCha20-Poly1305")             \
	X(MTU, "mtu", STGUN_GENERATE, "1420", "BYTES", "inner MTU to ask for")                                    \
	X(GRO, "gro", STGUN_GENERATE, "on", "on|off", "receive trains whole")                                     \
	X(JSON, "json", STGUN_GENERATE, NULL, "FILE", "write a report there too; - is standard output")           \
	X(THREADS, "threads", STGUN_GENERATE | STGUN_REFLECT, "1", "N", "threads that share the work")            \
	X(SEED, "seed", STGUN_GENERATE | STGUN_KEYS, "stgun", "TEXT", "what the clients' keys follow from")       \
	X(PROTOCOL, "protocol", STGUN_GENERATE | STGUN_KEYS, "shardtun", "shardtun|wireguard",                    \
	  "what the clients speak; --gateway-key is the gateway's key for it")                                    \
	X(ADDRESS, "address", STGUN_GENERATE | STGUN_KEYS, NULL, "IP",                                            \
	  "with WireGuard: inner address of client 0; the others follow (mandatory then)")                        \
	X(RENEW, "renew", STGUN_GENERATE, "120", "SECONDS", "with WireGuard: age at which keys are renewed")      \
	X(FIRST, "first", STGUN_GENERATE | STGUN_KEYS, "0", "N", "number of the first client")                    \
	X(PSK_FILE, "psk-file", STGUN_GENERATE | STGUN_KEYS, NULL, "PATH", "pre-shared key of all clients")       \
	X(TO, "to", STGUN_GENERATE, NULL, "IP[:PORT]",                                                            \
	  "inner address to send to; unless given the gateway's, port 5556")                                      \
	X(ROUNDS, "rounds", STGUN_CONNECT, "1", "N", "connect all so many times, without good-bye in between")    \
	X(HOLD_FOR, "stay", STGUN_CONNECT | STGUN_LOAD, NULL, "SECONDS",                                          \
	  "then stay as clients do, and come back when the gateway forgot them")                                  \
	X(EVERY, "every", STGUN_CONNECT | STGUN_LOAD, "25", "SECONDS", "how often each says something meanwhile") \
	X(SAY, "say", STGUN_CONNECT | STGUN_LOAD, "keepalive", "keepalive|data", "what")                          \
	X(DIRECTION, "direction", STGUN_SEND, "up", "up|down|both", "which way the packets go that count")        \
	X(RATE, "rate", STGUN_SEND, "max", "RATE", "open loop: 250k or 1.5Mpps packets, 10Gbit, or max")          \
	X(SIZE, "size", STGUN_SEND, "1400", "SIZE|imix|SIZE:SHARE,...", "bytes of inner packets")                 \
	X(ORDER, "order", STGUN_SEND, "turn", "turn|random", "which session sends next")                          \
	X(GSO, "gso", STGUN_SEND, "max", "N|max|off", "packets of one session that are sent as one train")        \
	X(DURATION, "duration", STGUN_SEND, "10", "SECONDS", "how long to send; search: in each step")            \
	X(BLIND, "blind", STGUN_LOAD, NULL, NULL, "nobody answers at the other end: do not ask what arrived")     \
	X(LOSS, "loss", STGUN_SEARCH, "1", "PERCENT", "loss that is borne")                                       \
	X(LISTEN, "listen", STGUN_REFLECT, NULL, "IP[:PORT]", "inner address to answer at; unless given all, port 5556")

enum stgun_option {
#define X(id, name, commands, standard, form, help) STGUN_##id,
	STGUN_OPTIONS(X)
#undef X
		STGUN_OPTION_COUNT,
};

struct stgun_options {
	enum stgun_command command;
	struct sockaddr_in6 gateway;
	uint8_t gateway_key[KEY_SIZE];
	uint8_t preshared_key[KEY_SIZE];
	struct seed seed;
	uint32_t first, sessions;
	uint32_t threads, ports, parallel, rounds;
	struct ip_prefix source; /* family 0: the kernel chooses */
	struct rate connect_rate, rate;
	uint32_t connect_timeout; /* s */
	uint8_t suite;		  /* 0: all */
	bool wireguard;
	struct ip_address address; /* WireGuard: inner address of client 0; else family 0 */
	uint16_t mtu;
	struct ip_address to; /* family 0: the gateway's */
	uint16_t to_port;
	enum stgun_direction direction;
	struct mix mix;
	uint32_t train; /* packets */
	bool gro, blind;
	bool random;	   /* order of sessions */
	uint64_t duration; /* ns */
	uint64_t hold;	   /* ns; 0: not at all */
	uint64_t every;	   /* ns */
	uint64_t renew;	   /* ns; WireGuard */
	bool say_data;	   /* else KEEPALIVE */
	double loss;	   /* 0…1 */
	struct ip_address listen;
	uint16_t listen_port;
	const char *psk_file, *json; /* as given, or NULL */
};

extern const char *const stgun_direction_names[];

/* Prints the options of all commands for --help. */
void stgun_options_print(FILE *out);

/* Reads a command line, and leaves it as it is. 0, or -EINVAL with `error` set. After keys_init(). */
int stgun_options_read(int argc, char **argv, struct stgun_options *options, struct error *error);

/* Reads the pre-shared key, if there is one to be read. 0 or a negative errno, as key_read_file(). */
int stgun_options_read_key(struct stgun_options *options, struct error *error);
