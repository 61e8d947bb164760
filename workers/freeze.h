// SPDX-License-Identifier: Apache-2.0
/* Has threads of the data path stand still together, with all they own, and go on as if nothing had been. What arrives
 * meanwhile waits in the kernel. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/base/clock.h"
#include "workers/event_loop.h"
#include "workers/worker.h"

/* Threads of one kind, which freeze at the same time. */
struct freeze_kind {
	struct event_loop *const *loops;
	size_t count;
};

/* Freezes one kind after the other, those first that give work to the ones behind them; then settles the workers, until
 * none has anything left that another gave it, or that it received itself; for full sockets it waits for 20 ms at most.
 * False: not all stood still within `limit` ns, and all go on. The calling
 * thread is registered for RCU and offline; while the workers are frozen it owns what is theirs. */
bool freeze(const struct freeze_kind *kinds, size_t kind_count, struct worker *const *workers, size_t worker_count,
	    const struct clock *clock, uint64_t limit);

/* Of threads that were told to stand still from their start on (event_loop_freeze()), and never ran: waits until all
 * do. False: not within `limit` ns. None of them goes on, then either: they may be stopped. The thread that froze them,
 * offline for RCU. */
bool freeze_wait(const struct freeze_kind *kinds, size_t kind_count, const struct clock *clock, uint64_t limit);

/* The last kind first: what is given to a thread finds it awake. */
void thaw(const struct freeze_kind *kinds, size_t kind_count);
