// SPDX-License-Identifier: Apache-2.0
/* Anti-replay sliding window over a 64-bit counter (RFC 6479's ring of words: no shifting).
 *
 * Call only after the message's tag was verified. Owner: the worker of the session. All-zero is a valid empty window.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/owner.h"

/* How far behind the highest accepted counter a late one may be. WireGuard's own implementations have 8128. */
enum { REPLAY_WINDOW = 8192 };

/* Counters from here on are rejected, so that neither the highest one nor a distance from it wraps: 2^64 - 2^13 - 1, as
 * WireGuard's Reject-After-Messages (wireguard-go, device/constants.go). */
#define REPLAY_COUNTER_LIMIT (UINT64_MAX - REPLAY_WINDOW)

struct replay_window {
	uint64_t next;				 /* highest counter accepted so far + 1; 0 when none */
	uint64_t bitmap[REPLAY_WINDOW / 64 + 1]; /* one word more than the window: the word being entered is cleared */
	struct owner owner;
};

enum replay_verdict {
	REPLAY_FRESH,  /* new and above everything before: may move the endpoint */
	REPLAY_LATE,   /* new but out of order */
	REPLAY_REJECT, /* seen before, older than the window, or from REPLAY_COUNTER_LIMIT on */
};

/* Marks `counter` as seen unless it is rejected; a rejected one changes nothing. */
enum replay_verdict replay_accept(struct replay_window *window, uint64_t counter);

/* Makes a window in which every counter below `next` (0…REPLAY_COUNTER_LIMIT) counts as seen: for a key whose bitmap
 * was freed. */
void replay_resume(struct replay_window *window, uint64_t next);
