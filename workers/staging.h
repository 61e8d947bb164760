// SPDX-License-Identifier: Apache-2.0
/* Frames of the TUN that wait while a WireGuard handshake of ours is tried: copies on the heap, as many as fit into
 * bounds for each session and for the worker, so that packets to peers that do not answer use up neither memory nor
 * each other's room for long: the oldest goes first. The data path never comes here while a session has a key. Owned by
 * the worker's thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <urcu/list.h>

#include "perf/record/stats.h"
#include "tun/inner.h"

enum {
	STAGING_FRAMES = 128,		 /* of a session: as Linux has it */
	STAGING_SESSION_BYTES = 4 << 16, /* a few super-packets */
	STAGING_BYTES = 4 << 20,	 /* of a worker */
};

/* A worker's. */
struct staging_area {
	struct cds_list_head frames; /* the oldest first */
	struct cds_list_head ready;  /* sessions whose frames may leave */
	size_t bytes;
};

/* A session's. */
struct staging {
	struct cds_list_head frames; /* the oldest first */
	struct cds_list_head ready;  /* next is NULL: not in the worker's list */
	size_t count, bytes;
};

struct staged_frame {
	struct cds_list_head of_session, of_worker;
	struct staging *staging;
	struct inner packet;
	size_t bytes;	/* of all of this */
	uint8_t data[]; /* virtio-net header, packet, slack for the ciphers */
};

void staging_area_init(struct staging_area *area);
void staging_init(struct staging *staging);

/* Copies a packet from frame_parse() with its virtio-net header to the end. What has to go for it, or itself if there
 * is no memory, is counted as DROP_OUT_STAGED. */
void staging_put(struct staging_area *area, struct staging *staging, const struct inner *packet, struct stats *stats);

/* The oldest frame, now the caller's to free; NULL: there is none. */
struct staged_frame *staging_take(struct staging_area *area, struct staging *staging);

/* Drops all for this reason. */
void staging_drop(struct staging_area *area, struct staging *staging, enum drop_reason reason, struct stats *stats);

static inline bool staging_is_empty(const struct staging *staging)
{
	return staging->count == 0;
}

/* The session has keys, and something that waits for them. */
void staging_release(struct staging_area *area, struct staging *staging);

/* Whether there is such a session; and the next one, taken out, or NULL. */
static inline bool staging_ready(const struct staging_area *area)
{
	return area->ready.next != &area->ready;
}
struct staging *staging_next_ready(struct staging_area *area);
