// SPDX-License-Identifier: Apache-2.0
/* The word by which one of two processes owns the sessions, and never both: tests/model/takeover.pml. It lies in the
 * memory of the hand-over, so each attempt has its own. Any thread of either process. */
#pragma once

#include <stdbool.h>

#include "core/handover/format.h"
#include "core/handover/memory.h"

static inline _Atomic uint32_t *handover_word_of(const struct handover_memory *memory)
{
	return &((struct handover_head *)(void *)memory->bytes)->word;
}

static inline enum handover_word handover_word(const struct handover_memory *memory)
{
	return (enum handover_word)atomic_load_explicit(handover_word_of(memory), memory_order_acquire);
}

static inline bool handover_change(const struct handover_memory *memory, enum handover_word from, enum handover_word to)
{
	uint32_t expected = from;
	return atomic_compare_exchange_strong_explicit(handover_word_of(memory), &expected, to, memory_order_acq_rel,
						       memory_order_acquire);
}

/* The old process, all workers of which are frozen: the new one may have the sessions. */
static inline void handover_offer(const struct handover_memory *memory)
{
	(void)handover_change(memory, HANDOVER_OLD, HANDOVER_OFFERED);
}

/* The new process: true from here on it owns the sessions. False: it must not touch them. */
static inline bool handover_claim(const struct handover_memory *memory)
{
	return handover_change(memory, HANDOVER_OFFERED, HANDOVER_NEW);
}

/* The old process, which waited for long enough: true, it owns the sessions again. False: the new one does. */
static inline bool handover_retract(const struct handover_memory *memory)
{
	return handover_change(memory, HANDOVER_OFFERED, HANDOVER_OLD);
}
