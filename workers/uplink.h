// SPDX-License-Identifier: Apache-2.0
/* UDP -> TUN: datagrams are opened, checked, coalesced and written. The worker's own thread, but for start-up. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct session;
struct shaper;
struct udp_message;
struct worker;

/* Allocates what collects datagrams of one key. 0, or a negative errno; uplink_deinit() in any case. */
int uplink_init(struct worker *worker);
void uplink_deinit(struct worker *worker);

/* Handles messages that were received (workers/intake.h), and writes what became of them. Returns how many datagrams
 * were in them. */
uint32_t uplink_trains(struct worker *worker, const struct udp_message *messages, size_t count);

/* The same for a batch of the copy ring, which other threads received for this worker. Returns how many copies there
 * were. */
size_t uplink_copies(struct worker *worker);

/* Coalesces what may leave the session's queue now (workers/limits.h); uplink_flush() writes it. Returns how many
 * packets left the queue. */
size_t uplink_release(struct worker *worker, struct session *session, struct shaper *shaper);
void uplink_flush(struct worker *worker);
