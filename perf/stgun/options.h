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

enum gun_command { GUN_KEYS = 1, GUN_REFLECT = 2, GUN_CONNECT = 4, GUN_LOAD = 8, GUN_SEARCH = 16 };
enum gun_direction { GUN_UP, GUN_DOWN, GUN_BOTH };

enum {
	GUN_SESSIONS_MAX = 1 << 20,
	GUN_THREADS_MAX = 128,
	GUN_PORTS_MAX = 4096, /* of a thread: a socket each */
	GUN_TRAIN_MAX = 64,
	/* A session's keys are not renewed: within the hour that they live. */
	GUN_SECONDS_MAX = 3000,
};

#define GUN_GENERATE (GUN_CONNECT | GUN_LOAD | GUN_SEARCH)
#define GUN_SEND     (GUN_LOAD | GUN_SEARCH)

/* X(id, name, commands, default, form, help): every option, those of the same commands together; without a default it
 * is off, or mandatory. */
#define GUN_OPTIONS(X)                                                                                          \
	X(GATEWAY, "gateway", GUN_GENERATE, NULL, "IP:PORT", "where the gateway is (mandatory)")                \
	X(GATEWAY_KEY, "gateway-key", GUN_GENERATE, NULL, "KEY", "its public key (mandatory)")                  \
	X(SESSIONS, "sessions", GUN_GENERATE, "1", "N", "clients, 1 to 1048576")                                \
	X(SOURCE, "source", GUN_GENERATE, NULL, "NETWORK", "outer addresses to send from, in turn; local ones") \
	X(PORTS, "ports", GUN_GENERATE, "1", "N", "source ports of each thread")                                \
	X(PARALLEL, "parallel", GUN_GENERATE, "64", "N", "handshakes under way at once, of each thread")        \
	X(CONNECT_RATE, "connect-rate", GUN_GENERATE, "max", "RATE",                                            \
	  "open loop: so many handshakes begin in a second")                                                    \
	X(CONNECT_LIMIT, "connect-timeout", GUN_GENERATE, "60", "SECONDS",                                      \
	  "give up when no more session came up for so long")                                                   \
	X(CIPHER, "cipher", GUN_GENERATE, "auto", "NAME", "auto, AES-256-GCM or ChaCha20-Poly1305")             \
	X(MTU, "mtu", GUN_GENERATE, "1420", "BYTES", "inner MTU to ask for")                                    \
	X(GRO, "gro", GUN_GENERATE, "on", "on|off", "receive trains whole")                                     \
	X(JSON, "json", GUN_GENERATE, NULL, "FILE", "write a report there too; - is standard output")           \
	X(THREADS, "threads", GUN_GENERATE | GUN_REFLECT, "1", "N", "threads that share the work")              \
	X(SEED, "seed", GUN_GENERATE | GUN_KEYS, "stgun", "TEXT", "what the clients' keys follow from")         \
	X(FIRST, "first", GUN_GENERATE | GUN_KEYS, "0", "N", "number of the first client")                      \
	X(PSK_FILE, "psk-file", GUN_GENERATE | GUN_KEYS, NULL, "PATH", "pre-shared key of all clients")         \
	X(TO, "to", GUN_GENERATE, NULL, "IP[:PORT]",                                                            \
	  "inner address to send to; unless given the gateway's, port 5556")                                    \
	X(ROUNDS, "rounds", GUN_CONNECT, "1", "N", "connect all so many times, without good-bye in between")    \
	X(STAY_FOR, "stay", GUN_CONNECT | GUN_LOAD, NULL, "SECONDS",                                            \
	  "then stay as clients do, and come back when the gateway forgot them")                                \
	X(EVERY, "every", GUN_CONNECT | GUN_LOAD, "25", "SECONDS", "how often each says something meanwhile")   \
	X(SAY, "say", GUN_CONNECT | GUN_LOAD, "keepalive", "keepalive|data", "what")                            \
	X(DIRECTION, "direction", GUN_SEND, "up", "up|down|both", "which way the packets go that count")        \
	X(RATE, "rate", GUN_SEND, "max", "RATE", "open loop: 250k or 1.5Mpps packets, 10Gbit, or max")          \
	X(SIZE, "size", GUN_SEND, "1400", "SIZE|imix|SIZE:SHARE,...", "bytes of inner packets")                 \
	X(ORDER, "order", GUN_SEND, "turn", "turn|random", "which session sends next")                          \
	X(GSO, "gso", GUN_SEND, "max", "N|max|off", "packets of one session that are sent as one train")        \
	X(DURATION, "duration", GUN_SEND, "10", "SECONDS", "how long to send; search: in each step")            \
	X(BLIND, "blind", GUN_LOAD, NULL, NULL, "nobody answers at the other end: do not ask what arrived")     \
	X(LOSS, "loss", GUN_SEARCH, "1", "PERCENT", "loss that is borne")                                       \
	X(LISTEN, "listen", GUN_REFLECT, NULL, "IP[:PORT]", "inner address to answer at; unless given all, port 5556")

enum gun_option {
#define X(id, name, commands, standard, form, help) GUN_##id,
	GUN_OPTIONS(X)
#undef X
		GUN_OPTION_COUNT,
};

struct gun_options {
	enum gun_command command;
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
	uint16_t mtu;
	struct ip_address to; /* family 0: the gateway's */
	uint16_t to_port;
	enum gun_direction direction;
	struct mix mix;
	uint32_t train; /* packets */
	bool gro, blind;
	bool random;	   /* order of sessions */
	uint64_t duration; /* ns */
	uint64_t stay;	   /* ns; 0: not at all */
	uint64_t every;	   /* ns */
	bool say_data;	   /* else KEEPALIVE */
	double loss;	   /* 0…1 */
	struct ip_address listen;
	uint16_t listen_port;
	const char *psk_file, *json; /* as given, or NULL */
};

extern const char *const gun_direction_names[];

/* Prints the options of all commands for --help. */
void gun_options_print(FILE *out);

/* Reads a command line, and leaves it as it is. 0, or -EINVAL with `error` set. After keys_init(). */
int gun_options_read(int argc, char **argv, struct gun_options *options, struct error *error);

/* Reads the pre-shared key, if there is one to be read. 0 or a negative errno, as key_read_file(). */
int gun_options_read_key(struct gun_options *options, struct error *error);
