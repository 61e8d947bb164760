// SPDX-License-Identifier: Apache-2.0
/* What the parts of client_farm share. One thread runs all of it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/harness/packets.h"
#include "tests/harness/tun_pair.h"
#include "workers/client_role.h"

enum { ADDRESSES = 1 << 16 /* of the gateway's pool: distinguished by their last 16 bits */ };

/* What is seen of one client that pings at regular times, in CLOCK_MONOTONIC. */
struct pulse {
	uint64_t due;
	uint64_t last;	/* when the last answer came */
	uint64_t pause; /* the longest time without an answer in this phase */
	uint16_t first; /* sequence number of the first ping of this phase */
	bool up;
	unsigned handshakes; /* in this phase: times that the session was not up any more */
	struct {
		uint64_t pause;
		uint16_t first, end; /* sequence numbers: [first, end) */
		unsigned handshakes;
	} before; /* the phase before, which is told as soon as answers under way had their time */
};

enum phase { DOWN, BUSY, READY };

struct client {
	uint32_t number;
	struct handshake_identity identity;
	struct handshake_remote remote;
	enum phase phase;
	uint64_t began;	  /* the operation under way */
	uint64_t due;	  /* the next ping of an operation */
	unsigned proof;	  /* versions answered since it began, a bit each */
	uint16_t first;	  /* sequence number of its first ping */
	uint32_t address; /* held at the gateway, as far as we know; 0: none */
	uint32_t last;	  /* had when it was up the last time */
	unsigned roams;
	uint16_t sequence;
	unsigned under_way;
	uint64_t progress; /* of the window */
	uint64_t answered;
	struct pulse pulse;
	uint8_t waiting[ADDRESSES / 8]; /* a bit for each sequence number that was not answered yet */

	/* while it is up */
	struct client_role role;
	struct session_table table;
	struct tun_pair tun;
	struct udp_socket *udp;
	struct worker *worker;
};

enum operation { CONNECT, RECONNECT, DISCONNECT, KILL, ROAM, OPERATIONS };

struct result {
	uint64_t operations[OPERATIONS];
	size_t connected; /* at the end */
	uint64_t sent, answered;
	uint64_t foreign;   /* another client's packets */
	uint64_t unasked;   /* answers that came twice */
	uint64_t malformed; /* not what was sent */
	uint64_t held_twice, moved, failed, surprises;
	uint64_t drops; /* of the clients' workers, all reasons */
	uint64_t connect_ms;
};

struct farm {
	struct sockaddr_in6 gateway;
	uint8_t gateway_key[KEY_SIZE];
	uint32_t from; /* host order; 0: none */
	size_t count;
	unsigned window, parallel;
	const char *seed;
	struct aead_engine *aead;
	struct ip_set allowed, networks;
	struct ip_address inner4, inner6; /* the gateway's */
	struct client *clients;
	uint32_t owners[ADDRESSES]; /* number of the client that holds it, plus 1 */
	int epoll_fd;
	uint64_t next_all;
	size_t busy;
	bool traffic;
	uint64_t interval; /* of the pings of a client, in ns; 0: as many as the window has */
	struct random random;
	struct result result;
};

extern struct farm farm;

/* Puts an echo request of that IP version into the client's TUN; counts it. */
void farm_ping(struct client *client, unsigned version);

/* Handles what came for this client. */
void farm_turn(struct client *client);

/* This client's session is up: no other client may have its address, nor it another one than before. */
void farm_note_lease(struct client *client);

/* --- pulses: client_farm_pulse.c --- */

/* Pings at regular times begin now, and with them the first phase. */
void pulse_begin(void);

/* Sends what is due; prints the phase before as soon as it is complete. */
void pulse_turn(void);

/* An answer of this client's came at that time, in ns of CLOCK_MONOTONIC. */
void pulse_answered(struct client *client, uint64_t now);

/* Whether the session is up at present. */
void pulse_follow(struct client *client, bool up);

/* A phase ends now and the next begins. False where the one before was not printed yet: then nothing happens. */
bool pulse_end_phase(void);
