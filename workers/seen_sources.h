// SPDX-License-Identifier: Apache-2.0
/* Which addresses and ports sent something a few seconds ago: two Bloom filters of one hash, of this period and the one
 * before.
 *
 * A forged address rarely occurs twice, and a client without an answer retries. So a thread that cannot check every
 * HELLO checks those of sources seen before, and only notes the others here, which costs a twentieth of a check. A
 * source that is mistaken for another one is checked too early: no harm. The hash is keyed, the memory fixed, and not
 * touched before there is need. Owned by one thread. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"

enum { SEEN_SOURCES_BITS = 1 << 24 }; /* 100,000 new ones a second: one in twenty is taken for another */

/* A note is good for one to two periods: our client retries after one second, then two; WireGuard's after 5.3. */
#define SEEN_SOURCES_PERIOD_NS (6 * NS_PER_S)

struct seen_sources {
	uint64_t *bits[2]; /* of this period, and the one before */
	uint64_t period;
	uint8_t hash_key[16];
};

/* 0 or -ENOMEM. After keys_init(); start-up: nothing is allocated later. */
int seen_sources_init(struct seen_sources *seen);
void seen_sources_deinit(struct seen_sources *seen);

/* Notes a source, and returns whether it was noted before. `now`: monotonic ns. */
bool seen_sources_note(struct seen_sources *seen, const struct sockaddr_in6 *source, uint64_t now);
