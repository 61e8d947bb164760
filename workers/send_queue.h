// SPDX-License-Identifier: Apache-2.0
/* What a worker is about to send: sealed datagrams one behind the other in one buffer, cut into trains.
 *
 * A train is a run of datagrams of one session with one size (the last may be shorter) and one ECN value: one
 * UDP_SEGMENT send. Bulk super-packets and loose small packets take the same way. Owned by one worker; no allocation
 * after init. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/owner.h"
#include "perf/record/stats.h"
#include "workers/udp.h"

enum {
	SEND_QUEUE_BYTES = 1 << 18,
	SEND_QUEUE_TRAINS = 256,
	SEND_QUEUE_FLUSH_BYTES = 60000, /* worth a flush: keeps the buffer in the cache */
};

struct send_queue {
	uint8_t *buffer;
	uint32_t used;	       /* bytes sealed or reserved */
	uint32_t count;	       /* trains */
	uint32_t sent;	       /* trains already taken by the kernel, after a partial flush */
	bool singly;	       /* the next one goes datagram by datagram: the device refused it as a train */
	uint32_t singly_at;    /* bytes of it that are gone */
	uint32_t train_limit;  /* datagrams a train may hold now */
	uint32_t open_session; /* session of the last train; 0: it is closed */
	bool open_sparse;      /* whether that has packets of sparse flows: all of a train or none */
	bool blocked;	       /* the socket's buffer is full: wait until it is writable */
	struct udp_message trains[SEND_QUEUE_TRAINS];
	uint16_t datagrams[SEND_QUEUE_TRAINS];
	bool data[SEND_QUEUE_TRAINS]; /* whether they carry inner packets: all of a train or none */
	struct owner owner;
};

int send_queue_init(struct send_queue *queue); /* 0 or -ENOMEM */
void send_queue_deinit(struct send_queue *queue);

/* Announces `count` datagrams of `size` bytes that belong together: when they do not fit into one train they are spread
 * evenly. */
void send_queue_plan(struct send_queue *queue, bool gso, uint32_t count, uint32_t size);

/* Room for one datagram of `length` bytes that carries an inner packet of the session, appended to the last train where
 * that is possible. `session_id` 0: a datagram that carries none, and goes alone. `sparse`: as DATA_SPARSE. NULL when
 * the queue is full: flush, try again. */
uint8_t *send_queue_reserve(struct send_queue *queue, uint32_t session_id, bool sparse, const struct endpoint *to,
			    uint8_t ecn, uint32_t length);

/* Sends what is there. When the socket would block the rest stays and `blocked` is set; what it refuses otherwise is
 * counted and gone. Sealed bytes are sent as they are or dropped, never sealed again. */
void send_queue_flush(struct send_queue *queue, struct udp_socket *socket, struct stats *stats);

/* Counts what is left as dropped and forgets it. */
void send_queue_discard(struct send_queue *queue, struct stats *stats);
