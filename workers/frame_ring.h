// SPDX-License-Identifier: Apache-2.0
/* Frames on their way from the thread that reads them, a TUN reader or a worker, to the workers that own their
 * sessions.
 *
 * A reader (the producer) owns a pool of slots and one ring per worker (its only consumer). It reads a frame into the
 * spare slot and pushes it: a large frame takes the slot along, a small one is copied behind the small frames before
 * it, many to a slot. The ring carries descriptors. A worker takes them in order, may write to the frame and the slack
 * behind it, and releases them; the reader takes slots back when it sees that.
 *
 * A worker may hold only its share of the slots, and the shares add up to the pool: one that stalls loses its own
 * frames and costs the others nothing. Within a ring the same holds for sessions: one may have up to FRAME_RING_SHARE
 * times as much in it as is left free, so of those that want more than there is each gets as much as the others
 * (core/base/queue_shares.h has where that comes from). Slots are reused last in, first out, so that no more of them
 * pass through the caches than the workers are behind.
 *
 * The two sides share the ring's two indexes, each on lines of its own, and nothing else that is written:
 *
 *   what                   written by   order
 *   entries, frames        producer     before the release of tail in publish; read after its acquire in peek
 *   tail                   producer     release in publish, acquire by the consumer
 *   frames, in place       consumer     before the release of head in release; reused after its acquire in push
 *   head                   consumer     release in release, acquire by the producer
 *
 * Each side keeps what it last saw of the other's index; the consumer looks again when that does not suffice, the
 * producer also with each slot it needs. The ring without locks: Lamport, "Specifying Concurrent Program Modules",
 * TOPLAS 5 (2), 1983. Copies of the other's index and publishing by the batch: Lee, Bu, Chandranmenon, "A Lock-Free,
 * Cache-Efficient Shared Ring Buffer for Multi-Core Architectures" (MCRingBuffer), ANCS 2009. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/owner.h"
#include "tun/inner.h"

enum {
	FRAME_SMALL_MAX = 2048, /* longer frames are not copied: a full packet of the usual MTUs still is */
	FRAME_RING_SHARE = 4,	/* one session alone fills four fifths of a ring */
};

/* A frame as its reader parsed it. */
struct frame_ref {
	struct inner packet; /* behind its virtio-net header; AEAD_INPUT_SLACK bytes behind it are the worker's too */
	uint64_t stamp;	     /* when it was read, monotonic ns */
	uint32_t position;   /* bytes of all frames of this ring so far, this one included, modulo 2^32 */
	uint32_t session_id; /* of the session that it is sent to */
};

struct frame_pool;
struct frame_ring;

struct frame_pool_params {
	uint32_t workers;	   /* rings; 1 or more */
	uint32_t slots_per_worker; /* a worker's share: the large frames it can be behind; 1 to 2^15 */
	uint32_t ring_entries;	   /* the frames it can be behind; 1 to 2^31, rounded up to a power of two */
	uint32_t first_index;	   /* where the rings' indexes start; for tests: they wrap around at 2^32 */
};

/* NULL when memory does not suffice. A slot is about 68 KiB, and takes memory only once it was in use. Nothing is
 * allocated later. Freed when no thread uses it any more. */
struct frame_pool *frame_pool_new(const struct frame_pool_params *params);
void frame_pool_free(struct frame_pool *pool);

/* The ring of worker 0…workers-1, for its consumer. */
struct frame_ring *frame_pool_ring(struct frame_pool *pool, uint32_t worker);

/* Sets the owner of the two ends: of the pool, with the producer's end of each ring, and of the consumer's end of one.
 * Start-up. */
void frame_pool_own(struct frame_pool *pool, const struct owner *owner);
void frame_ring_own(struct frame_ring *ring, const struct owner *owner);

/* --- the reader's thread ------------------------------------------------------------------------------------------ */

/* Where to read the next frame: room for TUN_FRAME_MAX bytes. Another one after a push. */
uint8_t *frame_pool_buffer(const struct frame_pool *pool);

/* Hands the frame in frame_pool_buffer(), with the packet that frame_parse() found in it, to a worker, which sees it
 * after frame_pool_publish(). A frame that lies elsewhere is copied. False when the worker holds its share, the ring
 * is full, or the session has too much in it: nothing has changed then, and the caller counts a drop. */
bool frame_pool_push(struct frame_pool *pool, uint32_t worker, const struct inner *packet, uint32_t session_id,
		     uint64_t stamp);

/* Makes visible what was pushed: once a batch. False when there was nothing new. Wake the worker (core/base/waker.h)
 * afterwards. */
bool frame_pool_publish(struct frame_pool *pool, uint32_t worker);

/* Frames pushed so far, modulo 2^32; and whether the worker has released all up to such a number, not before its last
 * release was seen. */
uint32_t frame_pool_pushed(const struct frame_pool *pool, uint32_t worker);
bool frame_pool_released(const struct frame_pool *pool, uint32_t worker, uint32_t pushed);

/* Slots that a worker holds, as far as the reader knows: what was released since its last push may still count. */
uint32_t frame_pool_held(const struct frame_pool *pool, uint32_t worker);

/* Takes back what was released; whether that is all and every slot is free again. */
bool frame_pool_idle(struct frame_pool *pool);

/* --- the worker's thread ------------------------------------------------------------------------------------------ */

/* The oldest frames: up to `count` that lie one behind the other at *frames. 0 only when there is none; fewer than are
 * there at the end of the ring's array. They stay until released. */
size_t frame_ring_peek(struct frame_ring *ring, const struct frame_ref **frames, size_t count);

/* Bytes of the frames that wait behind this one, which is not released yet. */
uint64_t frame_ring_behind(const struct frame_ring *ring, const struct frame_ref *frame);

/* Gives back the oldest `count` of the frames that were peeked at: they and their descriptors may be overwritten. */
void frame_ring_release(struct frame_ring *ring, size_t count);

/* Whether there is nothing to peek at, by the producer's index itself: what to ask between waker_prepare() and
 * sleeping. */
bool frame_ring_empty(const struct frame_ring *ring);
