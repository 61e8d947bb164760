// SPDX-License-Identifier: Apache-2.0
/* A gateway of several workers and its clients, all on threads and under traffic, for stress tests: what the harness
 * spawns, a thread that feeds and empties all TUNs, and one that looks at the gateway as its control thread does.
 *
 * The test's thread opens it, waits for what shall happen, makes sessions come and go, and closes it; all functions are
 * that thread's. The clients' clocks run faster than the gateway's, so that keys grow old within a second. */
#pragma once

#include "tests/harness/harness.h"

enum {
	STRESS_RIG_PATIENCE_S = 60, /* of each wait */
	STRESS_RIG_SPEED = 16,	    /* of the fast clock, which the clients have */
};

struct stress_rig {
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

/* The machine's, STRESS_RIG_SPEED times as fast, with the real wall clock. */
extern const struct clock stress_rig_fast_clock;

/* `options.clock` is filled in. With `handshaker_clock` the handshake threads have that one. Nothing runs yet: the test
 * may set hooks. */
void stress_rig_open(struct stress_rig *rig, const struct harness_options *options,
		     const struct clock *handshaker_clock);

/* Starts all threads and connects the clients. False when they are not up in time. */
bool stress_rig_start(struct stress_rig *rig);

/* Ends a client with BYE; starts a new one with its key. */
void stress_rig_stop_client(struct stress_rig *rig, size_t client);
void stress_rig_start_client(struct stress_rig *rig, size_t client);

/* Takes what the clients reported: states and addresses. */
void stress_rig_look(struct stress_rig *rig);

/* Waits until a number is at least this large, or a client is up; false when the patience is at its end. */
bool stress_rig_wait(struct stress_rig *rig, const _Atomic uint64_t *number, uint64_t least);
bool stress_rig_wait_counter(struct stress_rig *rig, const struct node *node, enum stats_counter counter,
			     uint64_t least);
bool stress_rig_wait_drops(struct stress_rig *rig, const struct node *node, enum drop_reason reason, uint64_t least);
bool stress_rig_wait_up(struct stress_rig *rig, size_t client);

/* Waits until gateway and all clients delivered `packets` more. */
bool stress_rig_wait_traffic(struct stress_rig *rig, uint64_t packets);

/* Ends the gateway under load, then the clients and the other threads, and brings what is still in queues to its end on
 * this thread. What is wrong then, or NULL. */
const char *stress_rig_end(struct stress_rig *rig);

/* Frees everything, after stress_rig_end(). */
void stress_rig_close(struct stress_rig *rig);

/* A thread's own random numbers, for hooks. */
uint32_t stress_rig_random(uint32_t limit);

void pause_ms(unsigned ms);
