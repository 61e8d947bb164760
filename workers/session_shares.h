// SPDX-License-Identifier: Apache-2.0
/* The receive queues of the workers' sockets, shared evenly by sessions: a client that sends more than its worker can
 * take loses datagrams in front of the queue, and the others hardly any (core/base/queue_shares.h). A BPF program on
 * each socket (SO_ATTACH_BPF). What it drops the kernel counts as drops of the socket.
 *
 * Nothing is authenticated there. Datagrams that name no session of the worker, with forged IDs for instance, have one
 * share together. With the ID of a session, forged datagrams take that session's share, and no other. */
#pragma once

#include "core/base/queue_shares.h"
#include "core/sessions/table.h"
#include "workers/udp.h"

enum {
	SESSION_SHARES_LEAST = 64, /* sessions of a worker with a share of their own: powers of two */
	SESSION_SHARES_MOST = 65536,
	/* What a datagram counts besides one and a half times its length: the kernel counts the memory that it lies in,
	 * of which there is that much in the buffers of usual drivers. */
	SESSION_SHARES_BYTES = 768,
};

/* All zero: there are none. */
struct session_shares {
	struct queue_shares shares;
	struct session_sharding sharding;
	uint32_t members; /* of each worker with a share of their own; strangers are the next */
	/* Descriptors of the workers' programs, from load to attach; -1: none. NULL: none at all. */
	int *programs;
};

/* For the workers of `sharding`. 0, or a negative errno with nothing left: -EPERM without CAP_BPF, -EINVAL and -ENOSYS
 * where the kernel has no such thing. Start-up. */
int session_shares_open(struct session_shares *shares, const struct session_sharding *sharding);

/* Loads the program for the sockets that `worker` receives from, and makes room in them; `socket` may be made of
 * several. 0 or a negative errno: as above. Start-up. */
int session_shares_load(struct session_shares *shares, uint32_t worker, struct udp_socket *socket);

/* From now on they are shared, by the program that was loaded for them. 0 or a negative errno. session_shares_detach()
 * takes it off again, also when some of them have none. Need no rights; before the worker runs. */
int session_shares_attach(struct session_shares *shares, uint32_t worker, struct udp_socket *socket);
void session_shares_detach(struct udp_socket *socket);

/* The descriptors of programs and arrays, once all are attached. */
void session_shares_close_programs(struct session_shares *shares);

/* After the workers are gone; again is allowed. Programs stay with their sockets. */
void session_shares_close(struct session_shares *shares);

/* --- the worker --------------------------------------------------------------------------------------------------- */

/* `shares` may be NULL: none. */
struct queue_shares_tally session_shares_tally(const struct session_shares *shares, uint32_t worker);

/* What a message that was received, or that is to be, counts. */
static inline uint64_t session_shares_cost(uint32_t length)
{
	return length + length / 2 + SESSION_SHARES_BYTES;
}

/* The session has a share of its own from here on, or no more. What is in the queue at that moment counts wrongly until
 * the queue is empty. One of two whose IDs differ by many slots has none. */
void session_shares_add(const struct session_shares *shares, struct queue_shares_tally *tally, uint32_t session_id);
void session_shares_remove(const struct session_shares *shares, struct queue_shares_tally *tally, uint32_t session_id);

/* A message was received. */
void session_shares_took(const struct session_shares *shares, struct queue_shares_tally *tally,
			 const struct udp_message *message);
