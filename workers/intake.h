// SPDX-License-Identifier: Apache-2.0
/* What a worker receives, in which order, and how much of it a turn handles: a portion of a batch from its socket, and
 * before it all that there is in its second socket, of sessions that send little. uplink.h handles it. The worker's own
 * thread, but for start-up. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct worker;

/* Allocates the worker's receive buffers. 0, or a negative errno; intake_deinit() in any case. */
int intake_init(struct worker *worker);
void intake_deinit(struct worker *worker);

/* Returns how many messages (trains of datagrams, or single ones) there were. */
size_t intake_batch(struct worker *worker);

/* Handles the rest of the batch that was received, and receives nothing. Returns how many messages there were. */
size_t intake_rest(struct worker *worker);

/* Whether a part of a batch that was received is left to be handled. */
bool intake_has_more(const struct worker *worker);

/* Whether the kernel's programs have yet to be told that the socket is empty: as downlink_unsettled(). */
bool intake_unsettled(const struct worker *worker);
