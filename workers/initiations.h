// SPDX-License-Identifier: Apache-2.0
/* A handshake thread's part of the WireGuard handshakes that we initiate: what the answers need, by session. A session
 * has one initiation under way; a newer one takes its place, and its cookie. So an answer is taken once, and only to
 * the latest initiation of its session. The worker's part, with the timers, is workers/initiator.h. Owned by one
 * thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <urcu/list.h>

#include "core/protocol/wg_handshake.h"

enum {
	INITIATIONS_BUCKETS = 1024,
	INITIATIONS_MAX = 1 << 16, /* of a thread: beyond it the oldest is forgotten */
};

/* Heap; holds secrets. */
struct sent_initiation {
	struct cds_list_head node; /* in its bucket */
	struct cds_list_head age;  /* in the order of `sent` */
	uint32_t session_id;
	uint8_t epoch; /* of the key that is to come of it */
	bool waits;    /* for a response */
	bool has_cookie;
	bool replied;  /* a cookie reply to it was taken: there is one to each */
	uint64_t sent; /* monotonic ns */
	uint64_t cookie_at;
	uint8_t cookie[COOKIE_SIZE];
	uint8_t peer[KEY_SIZE]; /* its public key */
	struct wg_initiator noise;
};

struct initiations {
	struct cds_list_head *buckets;
	struct cds_list_head ages; /* the oldest first */
	uint32_t count;
};

/* 0 or -ENOMEM. Start-up. */
int initiations_init(struct initiations *table);
/* Wipes and frees what is left; also after initiations_init() failed, and of a table of zeros. */
void initiations_deinit(struct initiations *table);

/* The session's entry for a new initiation to `peer`, sent `now`: with the cookie of the one before if that was to the
 * same peer and is not older than WG_COOKIE_S; the caller fills the rest in. NULL: no memory. */
struct sent_initiation *initiations_begin(struct initiations *table, uint32_t session_id, const uint8_t peer[KEY_SIZE],
					  uint64_t now);

/* The initiation that was sent with this index and waits for a response still, or NULL. After WG_REKEY_ATTEMPT_S none
 * is awaited any more. */
struct sent_initiation *initiations_awaited(const struct initiations *table, uint32_t index, uint64_t now);

/* Wipes and frees those that are too old for an answer and whose cookie is too old, a few in each call. */
void initiations_expire(struct initiations *table, uint64_t now);
