// SPDX-License-Identifier: Apache-2.0
#include "workers/frame_ring.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "core/base/bytes.h"
#include "core/base/hot.h"
#include "crypto/aead.h"
#include "tun/vnet.h"

#define NO_SLOT UINT32_MAX
/* Two cache lines: Intel's prefetcher fetches them in pairs. */
#define APART	__attribute__((aligned(2 * CACHE_LINE)))

enum {
	/* Room for a frame and its slack. Staggered by a page and some lines, so that slots share neither the sets of a
	 * TLB nor those of a cache. */
	SLOT_SIZE = (1 << 16) + 4096 + 5 * CACHE_LINE,
	SESSION_BITS = 10, /* sessions with these bits of their hash in common have one share of a ring together */
};
_Static_assert(SLOT_SIZE >= TUN_FRAME_MAX + AEAD_INPUT_SLACK, "the ciphers read a little past a frame's end");
_Static_assert((uint64_t)SLOT_SIZE << 15 <= UINT32_MAX, "what a worker holds fits the positions' range");
_Static_assert(SLOT_SIZE % CACHE_LINE == 0, "slots start on a line");
_Static_assert(sizeof(struct frame_ref) == CACHE_LINE / 2, "two to a line, and none across two");

struct frame_ring {
	/* The consumer's. */
	const struct frame_ref *entries APART;
	uint32_t mask;
	uint32_t known_tail;
	struct owner owner;
	/* Written by the consumer, read by the producer: entries before it are released. */
	_Atomic uint32_t head APART;
	/* Written by the producer, read by the consumer: entries before it are published. */
	_Atomic uint32_t tail APART;
};

/* What is in a ring, of a session or of all: not taken back yet. */
struct content {
	uint32_t bytes, frames;
};

/* The producer's side of a ring. A slot is held from its first frame to the release of its last. */
struct lane {
	struct frame_ring ring;
	struct frame_ref *entries APART;
	uint32_t *slots;	  /* in which slot each entry's frame lies */
	struct content *sessions; /* by hash */
	struct content all;
	uint32_t position;
	uint32_t mask;
	uint32_t pushed;     /* entries before it are written */
	uint32_t known_head; /* entries before it are taken back */
	uint32_t held;	     /* slots */
	uint32_t open;	     /* slot that small frames are packed into, or NO_SLOT; holds at least one */
	uint32_t open_used;  /* bytes of it */
};

struct frame_pool {
	uint8_t *slots;
	uint32_t *frames; /* of each slot: not taken back yet */
	uint32_t *free;	  /* a stack */
	uint32_t free_count;
	uint32_t spare; /* to read into */
	uint32_t share;
	uint32_t workers;
	struct lane *lanes;
	struct owner owner;
};

/* In whole lines, so that the worker and the reader, which packs the next frame, never write to the same one. */
static uint32_t footprint(uint32_t length)
{
	return (length + AEAD_INPUT_SLACK + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

static uint8_t *slot_data(const struct frame_pool *pool, uint32_t slot)
{
	return pool->slots + (size_t)slot * SLOT_SIZE;
}

static uint32_t power_of_two(uint32_t at_least)
{
	uint32_t size = 1;
	while (size < at_least)
		size *= 2;
	return size;
}

static int lane_init(struct lane *lane, uint32_t entries, uint32_t first_index)
{
	lane->entries = aligned_alloc(CACHE_LINE, (size_t)(entries + entries % 2) * sizeof *lane->entries);
	lane->slots = calloc(entries, sizeof *lane->slots);
	lane->sessions = calloc(1u << SESSION_BITS, sizeof *lane->sessions);
	if (lane->entries == NULL || lane->slots == NULL || lane->sessions == NULL)
		return -1;
	lane->mask = entries - 1;
	lane->pushed = lane->known_head = first_index;
	lane->open = NO_SLOT;
	lane->ring.entries = lane->entries;
	lane->ring.mask = entries - 1;
	lane->ring.known_tail = first_index;
	atomic_init(&lane->ring.head, first_index);
	atomic_init(&lane->ring.tail, first_index);
	return 0;
}

struct frame_pool *frame_pool_new(const struct frame_pool_params *params)
{
	struct frame_pool *pool = calloc(1, sizeof *pool);
	if (pool == NULL)
		return NULL;
	size_t slots = (size_t)params->workers * params->slots_per_worker + 1;
	pool->workers = params->workers;
	pool->share = params->slots_per_worker;
	pool->slots = aligned_alloc(CACHE_LINE, slots * SLOT_SIZE);
	pool->frames = calloc(slots, sizeof *pool->frames);
	pool->free = calloc(slots, sizeof *pool->free);
	pool->lanes = aligned_alloc(_Alignof(struct lane), params->workers * sizeof *pool->lanes);
	if (pool->lanes != NULL)
		memset(pool->lanes, 0, params->workers * sizeof *pool->lanes);
	bool complete = pool->slots != NULL && pool->frames != NULL && pool->free != NULL && pool->lanes != NULL;
	for (uint32_t i = 0; complete && i < params->workers; i++)
		complete = lane_init(&pool->lanes[i], power_of_two(params->ring_entries), params->first_index) == 0;
	if (!complete) {
		frame_pool_free(pool);
		return NULL;
	}
	for (size_t i = slots - 1; i > 0; i--)
		pool->free[pool->free_count++] = (uint32_t)i;
	return pool;
}

void frame_pool_free(struct frame_pool *pool)
{
	if (pool == NULL)
		return;
	for (uint32_t i = 0; pool->lanes != NULL && i < pool->workers; i++) {
		free(pool->lanes[i].entries);
		free(pool->lanes[i].slots);
		free(pool->lanes[i].sessions);
	}
	free(pool->lanes);
	free(pool->free);
	free(pool->frames);
	free(pool->slots);
	free(pool);
}

struct frame_ring *frame_pool_ring(struct frame_pool *pool, uint32_t worker)
{
	return &pool->lanes[worker].ring;
}

void frame_pool_own(struct frame_pool *pool, const struct owner *owner)
{
	owner_follow(&pool->owner, owner);
}

void frame_ring_own(struct frame_ring *ring, const struct owner *owner)
{
	owner_follow(&ring->owner, owner);
}

/* --- the reader's thread ------------------------------------------------------------------------------------------ */

uint8_t *frame_pool_buffer(const struct frame_pool *pool)
{
	owner_check(&pool->owner, "frame pool");
	return slot_data(pool, pool->spare);
}

static struct content *content_of(struct lane *lane, uint32_t session_id)
{
	return &lane->sessions[session_id * 0x9e3779b1u >> (32 - SESSION_BITS)];
}

/* A large frame takes a slot, whatever its length. */
static uint32_t room(uint32_t length)
{
	return length <= FRAME_SMALL_MAX ? footprint(length) : SLOT_SIZE;
}

static void count(struct content *content, uint32_t bytes, uint32_t frames)
{
	content->bytes += bytes;
	content->frames += frames;
}

static void uncount(struct lane *lane, const struct frame_ref *entry)
{
	uint32_t bytes = room(VNET_HEADER_SIZE + entry->packet.length);
	count(content_of(lane, entry->session_id), -bytes, -1u);
	count(&lane->all, -bytes, -1u);
}

static void take_back(struct frame_pool *pool, struct lane *lane)
{
	uint32_t head = atomic_load_explicit(&lane->ring.head, memory_order_acquire);
	for (; lane->known_head != head; lane->known_head++) {
		uncount(lane, &lane->entries[lane->known_head & lane->mask]);
		uint32_t slot = lane->slots[lane->known_head & lane->mask];
		if (--pool->frames[slot] != 0)
			continue;
		if (lane->open == slot)
			lane->open = NO_SLOT;
		lane->held--;
		pool->free[pool->free_count++] = slot;
	}
}

static bool ring_full(const struct lane *lane)
{
	return lane->pushed - lane->known_head > lane->mask;
}

static bool above(uint32_t own, uint32_t all, uint64_t room)
{
	return all >= room || own >= FRAME_RING_SHARE * (room - all);
}

/* Whether the session has more in the ring than it may. One that has nothing may have something. */
static bool above_share(const struct frame_pool *pool, struct lane *lane, uint32_t session_id)
{
	const struct content *own = content_of(lane, session_id);
	return own->frames != 0 && (above(own->frames, lane->all.frames, (uint64_t)lane->mask + 1) ||
				    above(own->bytes, lane->all.bytes, (uint64_t)pool->share * SLOT_SIZE));
}

/* Whether a frame of this length is packed behind the one before it. */
static bool joins_open(const struct lane *lane, uint32_t length)
{
	return length <= FRAME_SMALL_MAX && lane->open != NO_SLOT && lane->open_used + footprint(length) <= SLOT_SIZE;
}

/* The shares add up to all slots but the spare: where one is not used up, the stack is not empty. */
static uint32_t hold_slot(struct frame_pool *pool, struct lane *lane, uint32_t length)
{
	uint32_t slot = pool->free[--pool->free_count];
	lane->held++;
	if (length <= FRAME_SMALL_MAX) {
		lane->open = slot;
		lane->open_used = 0;
		return slot;
	}
	uint32_t filled = pool->spare;
	pool->spare = slot;
	return filled;
}

bool frame_pool_push(struct frame_pool *pool, uint32_t worker, const struct inner *packet, uint32_t session_id,
		     uint64_t stamp)
{
	uint32_t length = VNET_HEADER_SIZE + packet->length;
	owner_check(&pool->owner, "frame pool");
	struct lane *lane = &pool->lanes[worker];
	bool joins = joins_open(lane, length);
	if (!joins || ring_full(lane) || above_share(pool, lane, session_id)) {
		/* Not only when there is no other way: with each slot that is needed, so that the stack yields the one
		 * released last and not one that left the caches long ago. */
		take_back(pool, lane);
		joins = joins_open(lane, length);
		if (ring_full(lane) || (!joins && lane->held == pool->share) || above_share(pool, lane, session_id))
			return false;
	}
	uint32_t slot = joins ? lane->open : hold_slot(pool, lane, length);
	uint8_t *data = slot_data(pool, slot);
	const uint8_t *frame = packet->data - VNET_HEADER_SIZE;
	if (length <= FRAME_SMALL_MAX) {
		data += lane->open_used;
		lane->open_used += footprint(length);
	}
	if (frame != data)
		memcpy(data, frame, length);
	pool->frames[slot]++;
	count(content_of(lane, session_id), room(length), 1);
	count(&lane->all, room(length), 1);
	lane->position += length;
	lane->slots[lane->pushed & lane->mask] = slot;
	struct frame_ref *entry = &lane->entries[lane->pushed & lane->mask];
	*entry = (struct frame_ref){
		.packet = *packet,
		.stamp = stamp,
		.position = lane->position,
		.session_id = session_id,
	};
	entry->packet.data = data + VNET_HEADER_SIZE;
	lane->pushed++;
	return true;
}

bool frame_pool_publish(struct frame_pool *pool, uint32_t worker)
{
	owner_check(&pool->owner, "frame pool");
	struct lane *lane = &pool->lanes[worker];
	if (atomic_load_explicit(&lane->ring.tail, memory_order_relaxed) == lane->pushed)
		return false;
	atomic_store_explicit(&lane->ring.tail, lane->pushed, memory_order_release);
	return true;
}

uint32_t frame_pool_pushed(const struct frame_pool *pool, uint32_t worker)
{
	return pool->lanes[worker].pushed;
}

bool frame_pool_released(const struct frame_pool *pool, uint32_t worker, uint32_t pushed)
{
	uint32_t head = atomic_load_explicit(&pool->lanes[worker].ring.head, memory_order_acquire);
	return (int32_t)(head - pushed) >= 0;
}

uint32_t frame_pool_held(const struct frame_pool *pool, uint32_t worker)
{
	return pool->lanes[worker].held;
}

bool frame_pool_idle(struct frame_pool *pool)
{
	owner_check(&pool->owner, "frame pool");
	for (uint32_t i = 0; i < pool->workers; i++)
		take_back(pool, &pool->lanes[i]);
	return pool->free_count == pool->workers * pool->share;
}

/* --- the worker's thread ------------------------------------------------------------------------------------------ */

HOT size_t frame_ring_peek(struct frame_ring *ring, const struct frame_ref **frames, size_t count)
{
	owner_check(&ring->owner, "frame ring's consumer end");
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	if (ring->known_tail - head < count)
		ring->known_tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
	size_t ready = ring->known_tail - head;
	size_t together = (size_t)ring->mask + 1 - (head & ring->mask);
	*frames = &ring->entries[head & ring->mask];
	if (ready > together)
		ready = together;
	return ready < count ? ready : count;
}

uint64_t frame_ring_behind(const struct frame_ring *ring, const struct frame_ref *frame)
{
	uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
	return (uint32_t)(ring->entries[(tail - 1) & ring->mask].position - frame->position);
}

void frame_ring_release(struct frame_ring *ring, size_t count)
{
	owner_check(&ring->owner, "frame ring's consumer end");
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	atomic_store_explicit(&ring->head, head + (uint32_t)count, memory_order_release);
}

bool frame_ring_empty(const struct frame_ring *ring)
{
	return atomic_load_explicit(&ring->head, memory_order_relaxed) ==
	       atomic_load_explicit(&ring->tail, memory_order_acquire);
}
