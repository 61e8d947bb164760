// SPDX-License-Identifier: Apache-2.0
/* UDP -> TUN: datagrams are opened, checked, coalesced and written. The worker's own thread, but for start-up. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct session;
struct shaper;
struct worker;

/* Allocates the worker's receive buffers. 0, or a negative errno; uplink_deinit() in any case. */
int uplink_init(struct worker *worker);
void uplink_deinit(struct worker *worker);

/* A portion of a batch from the socket, and before it what there is in the second one, of sessions that send little; or
 * a batch from the copy ring of what other threads received for this worker. Returns how many messages (trains of
 * datagrams, or single copies) there were. */
size_t uplink_batch(struct worker *worker);
size_t uplink_copies(struct worker *worker);

/* Whether the kernel's programs have yet to be told that the socket is empty: as downlink_unsettled(). */
bool uplink_unsettled(const struct worker *worker);

/* Whether a part of a batch that was received is left to be handled. */
bool uplink_has_more(const struct worker *worker);

/* Handles the batch that was read and waits for what came before it. Nothing is received. Returns how many messages
 * there were. */
size_t uplink_rest(struct worker *worker);

/* Coalesces what may leave the session's queue now (workers/limits.h); uplink_flush() writes it. Returns how many
 * packets left the queue. */
size_t uplink_release(struct worker *worker, struct session *session, struct shaper *shaper);
void uplink_flush(struct worker *worker);
