// SPDX-License-Identifier: Apache-2.0
/* What a worker does between two turns: goes on, lets others run, spins, polls or sleeps. THREADS.md, "Sleep and
 * wake-up". */
#pragma once

#include <stddef.h>

#include "workers/worker.h"

/* Adds the descriptors that end its sleep to its event loop. 0 or a negative errno. Before the thread starts. */
int worker_watch(struct worker *worker);

/* After a turn that did so much `work`, as worker_turn() returned it. Returns when the next turn is due. The worker's
 * thread. */
void worker_wait(struct worker *worker, size_t work);
