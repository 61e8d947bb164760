// SPDX-License-Identifier: Apache-2.0
/* A gateway of several workers and its clients, all on threads and under traffic, for stress tests: what the harness
 * spawns, a thread that feeds and empties all TUNs, and one that looks at the gateway as its control thread does.
 *
 * The test's thread opens it, waits for what shall happen, makes sessions come and go, and closes it; all functions are
 * that thread's. The clients' clocks run faster than the gateway's, so that keys grow old within a second. */
#pragma once

#include "tests/harness/harness.h"

enum {
	CROWD_PATIENCE_S = 60, /* of each wait */
	CROWD_SPEED = 16,      /* of the clients' clocks */
};

struct crowd {
	struct harness *h;
	pthread_t feeder, looker;
	bool stopped[HARNESS_CLIENTS];
	_Atomic bool stop;
	_Atomic uint32_t addresses[HARNESS_CLIENTS]; /* inner IPv4 as in the packet; 0: none yet */
	uint32_t hello_size_packets;		     /* of this many clients' packets fill a datagram of HELLO's size */
	_Atomic uint64_t arrived[HARNESS_CLIENTS];   /* frames of each client that left the gateway's TUN */
	_Atomic uint64_t walks;			     /* over the session table */
	_Atomic uint64_t appeared, vanished;	     /* sessions between one walk and the next */
	_Atomic uint64_t orphans;		     /* sessions of removed peers in the last walk */
	_Atomic uint64_t nonsense;		     /* what a reader must never see */
};

/* `options.clock` is filled in. With `handshaker_clock` the handshake threads have that one. Nothing runs yet: the test
 * may set hooks. */
void crowd_open(struct crowd *crowd, const struct harness_options *options, const struct clock *handshaker_clock);

/* Starts all threads and connects the clients. False when they are not up in time. */
bool crowd_start(struct crowd *crowd);

/* Ends a client with BYE; starts a new one with its key. */
void crowd_stop_client(struct crowd *crowd, size_t client);
void crowd_start_client(struct crowd *crowd, size_t client);

/* Takes what the clients told: states and addresses. */
void crowd_look(struct crowd *crowd);

/* Waits until a number is at least this large, or a client is up; false when the patience is at its end. */
bool crowd_wait(struct crowd *crowd, const _Atomic uint64_t *number, uint64_t least);
bool crowd_wait_counter(struct crowd *crowd, const struct node *node, enum stats_counter counter, uint64_t least);
bool crowd_wait_drops(struct crowd *crowd, const struct node *node, enum drop_reason reason, uint64_t least);
bool crowd_wait_up(struct crowd *crowd, size_t client);

/* Waits until gateway and all clients delivered `packets` more. */
bool crowd_wait_traffic(struct crowd *crowd, uint64_t packets);

/* Ends the gateway under load, then the clients and the other threads, and brings what is still in queues to its end on
 * this thread. What is wrong then, or NULL. */
const char *crowd_end(struct crowd *crowd);

/* Frees everything, after crowd_end(). */
void crowd_close(struct crowd *crowd);

/* A thread's own random numbers, for hooks. */
uint32_t crowd_random(uint32_t limit);

void pause_ms(unsigned ms);
