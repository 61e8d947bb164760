// SPDX-License-Identifier: Apache-2.0
/* TUN -> UDP: frames of the TUN are cut, sealed and sent. The worker's own thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inner;
struct session;
struct shaper;
struct worker;

/* What struct tun_batch wants, for a worker that reads the TUN: heap, the caller's. NULL when memory does not suffice.
 */
uint8_t *downlink_batch_memory(void);

/* One batch of frames, from the TUN or from the rings of its readers. Returns how many frames there were. */
size_t downlink_batch(struct worker *worker);

/* The rest of a batch that was read from the TUN and waits for what came before it. Nothing is read. Returns how many
 * frames there were. */
size_t downlink_finish_batch(struct worker *worker);

/* Whether the kernel's programs have yet to be told that the worker's queue of the TUN is empty. Only a later batch
 * than the last one with frames can tell them (tun/sparse_flows.h, core/base/queue_shares.h). */
bool downlink_unsettled(const struct worker *worker);

/* A frame that waited for the session's keys: as if it was read now. `packet` has its virtio-net header in front of it,
 * and both are written to. */
void downlink_staged(struct worker *worker, const struct session *session, const struct inner *packet);

/* Seals what may leave the session's queue now (workers/limits.h). Returns how many packets left it. */
size_t downlink_release(struct worker *worker, struct session *session, struct shaper *shaper);
