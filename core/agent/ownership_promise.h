// SPDX-License-Identifier: Apache-2.0
/* What core/agent/ownership.c and ownership_promise.c have in common. Not for others. */
#pragma once

#include "core/agent/ownership.h"

/* Ours, and not being given up: served until its deadline. */
static inline bool ownership_holds(const struct ownership_block *b)
{
	return (b->mine || b->kept) && (b->doing == OWNERSHIP_IDLE || b->doing == OWNERSHIP_TAKING);
}

/* Reads are answered, as far as is known. */
static inline bool ownership_reads_well(const struct ownership *ownership, uint64_t now)
{
	return ownership->seen_any && now < ownership->read_sent + OWNERSHIP_SILENT;
}

/* Whether the node is a taker; `machine` NULL: on whichever one. */
bool ownership_is_taker(const struct ownership_takers *takers, const char *node, const char *machine);

/* What the view says of takers. Before its blocks. */
void ownership_promise_see(struct ownership *ownership, const struct ownership_view *view);

/* ownership_next() and ownership_deadline(), of `takers` and promises. */
bool ownership_promise_next(struct ownership *ownership, uint64_t now, struct ownership_action *action);
uint64_t ownership_promise_deadline(const struct ownership *ownership);
