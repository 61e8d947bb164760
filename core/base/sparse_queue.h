/* SPDX-License-Identifier: Apache-2.0 */
/* Two queues of the kernel in place of one: packets of members (flows, sessions) that send little go into the second
 * one, which its reader handles first, so they neither wait nor get lost behind those of members that send much. What
 * RFC 8290 (FQ-CoDel) calls sparse flows; here a BPF program in front of the queues tells them.
 *
 *   cost    of a packet: its length and SPARSE_PACKET_COST, since small ones cost the reader about as much
 *   sparse  a member that cost at most a limit in SPARSE_WINDOW_NS
 *
 * All that goes into one second queue has a limit of its own, SPARSE_QUEUE_COST: many members cannot fill it.
 *
 * Order within a member holds. When it becomes dense, its packets of before are in the second queue: the reader reads a
 * batch of the first queue, then the second one until it is empty, and handles that first. When it becomes sparse
 * again, its packets may still be in the first queue: it stays there until the reader has published a time at which
 * that queue was empty, or all handled that came before, later than the member's last packet (sparse_queue_drained()).
 * Where the packets are marked for another receiver, the member stays there for SPARSE_HOLD_NS besides. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "core/base/bpf.h"
#include "core/base/bytes.h"
#include "core/base/clock.h"

enum {
	SPARSE_PACKET_COST = 256,      /* bytes */
	SPARSE_COST_MOST = 16 << 10,   /* of a member in a window: about 5,000 small packets a second, or 13 Mbit/s */
	SPARSE_QUEUE_COST = 512 << 10, /* of a second queue */
};
#define SPARSE_WINDOW_NS  (10 * NS_PER_MS)
/* A flow is dense for so long after its last packet in the first queue. What a sender marks as sparse by this rule may
 * overtake what reached its receiver half as long before, or is handled there. */
#define SPARSE_HOLD_NS	  (100 * NS_PER_MS)
#define SPARSE_BEHIND_NS  (SPARSE_HOLD_NS / 2)
/* From the program's time stamp of a packet to its being in the queue, at most; the sender does not sleep meanwhile. */
#define SPARSE_ENQUEUE_NS NS_PER_MS

/* What reader and program share of a pair of queues, in memory of the kernel. */
struct sparse_queue {
	/* the reader's */
	_Atomic uint64_t drained; /* a time (CLOCK_BOOTTIME): what was in the first queue then is handled */
	_Atomic uint64_t found;	  /* `probed` of the last probe that was handled */
	uint8_t line[CACHE_LINE - 16];
	/* the program's */
	uint64_t window[2];	  /* begin, and cost so far */
	_Atomic uint64_t entered; /* packets for the second queue, before they are in it */
	_Atomic uint64_t probe;	  /* what tells one packet in the first queue from others ... */
	_Atomic uint64_t probed;  /* ... and when that came; 0: none did */
	uint8_t rest[CACHE_LINE - 40];
};

/* How often there is a new probe, and how long one is looked for that may be lost. */
#define SPARSE_PROBE_NS (NS_PER_MS / 2)
#define SPARSE_LOST_NS	(SPARSE_BEHIND_NS / 2)

/* The program's, of a member. */
struct sparse_member {
	uint64_t window[2];  /* begin, and cost so far */
	uint64_t last_dense; /* when a packet of it went to the first queue */
};

/* The first queue was read empty by a batch that began at `now`, and all of the batch is handled; or all is that came
 * before `now`. Reader's thread. */
static inline void sparse_queue_drained(struct sparse_queue *queue, uint64_t now)
{
	atomic_store_explicit(&queue->drained, now - SPARSE_ENQUEUE_NS, memory_order_release);
}

/* --- parts of programs -------------------------------------------------------------------------------------------- */

/* Where such a program keeps what these parts take. */
enum {
	SPARSE_NOW = BPF_REG_7, /* the time, of sparse_emit_time() */
	SPARSE_COST = -24,	/* in the frame, 64 bits: of the packet */
	SPARSE_DRAINED = -32,	/* in the frame, 64 bits: of sparse_emit_drained() */
};

/* Register 7 = now. */
void sparse_emit_time(struct bpf_code *code);

/* The struct sparse_queue that register `queue` points to: `drained`, into the frame. */
void sparse_emit_drained(struct bpf_code *code, unsigned queue);

/* Adds the packet's cost to the window at `base` + `offset`: register 1 is its cost so far. */
void sparse_emit_add(struct bpf_code *code, unsigned base, int offset);

/* The same, and returns the jump of those above `most`. */
unsigned sparse_emit_count(struct bpf_code *code, unsigned base, int offset, uint32_t most);

/* Returns the jump of the members, at register `member`, whose last packet may still be in the first queue. */
unsigned sparse_emit_not_drained(struct bpf_code *code, unsigned member);

/* Returns the jump of the members whose last packet went to the first queue less than SPARSE_HOLD_NS ago. */
unsigned sparse_emit_held(struct bpf_code *code, unsigned member);

/* The packet goes to the first queue. */
void sparse_emit_dense(struct bpf_code *code, unsigned member);
