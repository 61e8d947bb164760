// SPDX-License-Identifier: Apache-2.0
#include "crypto/replay.h"

#include <string.h>

#include "core/base/bytes.h"
#include "core/base/hot.h"

enum { WORD_BITS = 64, WORDS = REPLAY_WINDOW / WORD_BITS + 1 };

_Static_assert(REPLAY_WINDOW % WORD_BITS == 0, "a window of whole words");
_Static_assert(REPLAY_COUNTER_LIMIT == UINT64_MAX - (1ull << 13), "2^64 - 2^13 - 1");
_Static_assert(sizeof((struct replay_window *)0)->bitmap == sizeof(uint64_t) * WORDS, "the ring covers the window");

/* The words of the ring that `counter` moves into still hold the bits of counters WORDS words lower. */
static void clear_entered(struct replay_window *window, uint64_t counter)
{
	uint64_t first = (window->next + WORD_BITS - 1) / WORD_BITS, last = counter / WORD_BITS;
	if (last >= first + WORDS)
		first = last - WORDS + 1;
	for (uint64_t word = first; word <= last; word++)
		window->bitmap[word % WORDS] = 0;
}

HOT enum replay_verdict replay_accept(struct replay_window *window, uint64_t counter)
{
	uint64_t *word = &window->bitmap[counter / WORD_BITS % WORDS];
	const uint64_t bit = 1ull << counter % WORD_BITS;

	owner_check(&window->owner, "replay window");
	if (likely(counter >= window->next)) {
		if (unlikely(counter >= REPLAY_COUNTER_LIMIT))
			return REPLAY_REJECT;
		clear_entered(window, counter);
		*word |= bit;
		window->next = counter + 1;
		return REPLAY_FRESH;
	}
	if (window->next - 1 - counter > REPLAY_WINDOW || (*word & bit) != 0)
		return REPLAY_REJECT;
	*word |= bit;
	return REPLAY_LATE;
}

void replay_resume(struct replay_window *window, uint64_t next)
{
	owner_clear(&window->owner);
	window->next = next;
	memset(window->bitmap, 0xff, sizeof window->bitmap);
	/* The word that holds `next` counts as entered already, so no later call clears its bits for counters from
	 * `next` on. */
	if (next % WORD_BITS != 0)
		window->bitmap[next / WORD_BITS % WORDS] = (1ull << next % WORD_BITS) - 1;
}
