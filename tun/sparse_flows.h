/* SPDX-License-Identifier: Apache-2.0 */
/* Packets of flows that send little do not wait behind those of flows that send much: the kernel puts them into a
 * second queue of the interface, which is asked first. What RFC 8290 (FQ-CoDel) calls sparse flows; here a BPF program
 * tells them, so that a queue that others have filled does not lose them.
 *
 *   flow    addresses and, of TCP and UDP without fragments, ports; hashed into one of SPARSE_FLOWS counters
 *   cost    of a packet: its length and SPARSE_PACKET_COST, since small ones cost the reader about as much
 *   sparse  a flow that cost at most SPARSE_FLOW_COST in SPARSE_WINDOW_NS
 *
 * All sparse flows to one destination, and all of one queue, have a limit of their own: many flows, or one sender with
 * many port numbers, cannot fill the second queue.
 *
 * Order within a flow holds. When a flow becomes dense, its packets of before are in the second queue: the reader reads
 * a batch of the first queue, then the second one until it is empty, and handles that first. When it becomes sparse
 * again, its packets may still be in the first queue: it stays there until the reader has published a time at which
 * that queue was empty, later than the flow's last packet (sparse_flows_drained()). */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/bytes.h"
#include "core/base/clock.h"
#include "tun/queue_steering.h"

enum {
	SPARSE_FLOWS = 4096,	     /* counters of flows, and of destinations: powers of two */
	SPARSE_PACKET_COST = 256,    /* bytes */
	SPARSE_FLOW_COST = 16 << 10, /* bytes in a window: about 5,000 small packets a second, or 13 Mbit/s */
	SPARSE_DESTINATION_COST = 64 << 10,
	SPARSE_QUEUE_COST = 512 << 10,
};
#define SPARSE_WINDOW_NS  (10 * NS_PER_MS)
/* From the program's time stamp of a packet to its being in the queue, at most; the sender does not sleep meanwhile. */
#define SPARSE_ENQUEUE_NS NS_PER_MS

/* What reader and program share of a queue, in memory of the kernel. */
struct sparse_queue {
	_Atomic uint64_t drained; /* by the reader: a time (CLOCK_BOOTTIME) at which the first queue was empty */
	uint8_t line[CACHE_LINE - 8];
	uint64_t window[2]; /* by the program: begin, and cost so far */
	uint8_t rest[CACHE_LINE - 16];
};

struct sparse_flows {
	int program; /* descriptor; -1: none */
	struct sparse_queue *queues;
	size_t mapped; /* bytes */
};

/* Loads a program for tun/queue_steering.h's queues that sends sparse flows to queue `first` + q in place of q. 0, or a
 * negative errno, with nothing left: as queue_steering_attach(), and -EINVAL before Linux 5.8 (that clock).
 * Start-up. */
int sparse_flows_load(struct sparse_flows *flows, const struct queue_steering *steering, uint32_t first);

/* The program's descriptor alone, once it is attached. */
void sparse_flows_close_program(struct sparse_flows *flows);

/* When no thread reads the queues any more; again is allowed. */
void sparse_flows_unload(struct sparse_flows *flows);

/* The first queue was read empty by a batch that began at `now`, and all of the batch is handled. Reader's thread. */
static inline void sparse_flows_drained(struct sparse_queue *queue, uint64_t now)
{
	atomic_store_explicit(&queue->drained, now - SPARSE_ENQUEUE_NS, memory_order_release);
}
