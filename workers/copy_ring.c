// SPDX-License-Identifier: Apache-2.0
#include "workers/copy_ring.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "core/base/hot.h"
#include "crypto/aead.h"

struct copy_slot {
	_Atomic uint64_t sequence CACHE_ALIGNED;
	struct udp_message message; /* `data` is set once */
};

struct copy_ring {
	/* read by all, never written */
	uint32_t entries;
	uint32_t datagram_max;
	uint8_t *bytes; /* of all datagrams; untouched memory costs nothing until a slot is used */

	_Atomic uint64_t tail CACHE_ALIGNED; /* next position to claim; the producers' */
	uint64_t head CACHE_ALIGNED;	     /* oldest position; the consumer's */
	struct owner owner;		     /* the consumer */
	struct copy_slot slots[];
};

static struct copy_slot *slot_at(struct copy_ring *ring, uint64_t position)
{
	return &ring->slots[position & (ring->entries - 1)];
}

static struct copy_ring *allocate(uint32_t entries, size_t stride)
{
	struct copy_ring *ring = aligned_alloc(CACHE_LINE, sizeof *ring + entries * sizeof ring->slots[0]);
	uint8_t *bytes = aligned_alloc(CACHE_LINE, entries * stride);
	if (ring == NULL || bytes == NULL) {
		free(ring);
		free(bytes);
		return NULL;
	}
	ring->bytes = bytes;
	return ring;
}

struct copy_ring *copy_ring_new(uint32_t entries, uint32_t datagram_max, struct error *error)
{
	/* With a single one, "filled" and "free for the next round" would be the same number. */
	if (entries < 2 || (entries & (entries - 1)) != 0 || datagram_max == 0 || datagram_max > UDP_MESSAGE_MAX) {
		error_set(error, -EINVAL, "copy ring of %u datagrams of %u bytes: not a power of two, or no such size",
			  entries, datagram_max);
		return NULL;
	}
	size_t stride = ((size_t)datagram_max + AEAD_INPUT_SLACK + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	struct copy_ring *ring = allocate(entries, stride);
	if (ring == NULL) {
		error_set(error, -ENOMEM, "copy ring of %u datagrams of %u bytes: out of memory", entries,
			  datagram_max);
		return NULL;
	}
	ring->entries = entries;
	ring->datagram_max = datagram_max;
	ring->head = 0;
	owner_clear(&ring->owner);
	atomic_init(&ring->tail, 0);
	for (uint32_t i = 0; i < entries; i++) {
		atomic_init(&ring->slots[i].sequence, i);
		ring->slots[i].message = (struct udp_message){.data = ring->bytes + i * stride};
	}
	return ring;
}

void copy_ring_free(struct copy_ring *ring)
{
	if (ring == NULL)
		return;
	free(ring->bytes);
	free(ring);
}

void copy_ring_own(struct copy_ring *ring, const struct owner *owner)
{
	owner_follow(&ring->owner, owner);
}

/* The slot of a position that is now the caller's to fill, or NULL when the ring is full. */
static struct copy_slot *claim(struct copy_ring *ring, uint64_t *position)
{
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	for (;;) {
		struct copy_slot *slot = slot_at(ring, tail);
		uint64_t sequence = atomic_load_explicit(&slot->sequence, memory_order_acquire);
		if (sequence < tail)
			return NULL; /* still the round before */
		if (sequence > tail) {
			/* Another producer was faster, and done already. */
			tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
		} else if (atomic_compare_exchange_weak_explicit(&ring->tail, &tail, tail + 1, memory_order_relaxed,
								 memory_order_relaxed)) {
			*position = tail;
			return slot;
		}
	}
}

bool copy_ring_push(struct copy_ring *ring, const struct endpoint *from, uint8_t ecn, const uint8_t *data,
		    uint32_t length)
{
	uint64_t position;
	if (length > ring->datagram_max)
		return false;
	struct copy_slot *slot = claim(ring, &position);
	if (slot == NULL)
		return false;
	slot->message.length = length;
	slot->message.ecn = ecn;
	slot->message.endpoint = *from;
	memcpy(slot->message.data, data, length);
	atomic_store_explicit(&slot->sequence, position + 1, memory_order_release);
	return true;
}

HOT const struct udp_message *copy_ring_peek(const struct copy_ring *ring, uint32_t ahead)
{
	owner_check(&ring->owner, "copy ring's consumer end");
	uint64_t position = ring->head + ahead;
	const struct copy_slot *slot = &ring->slots[position & (ring->entries - 1)];
	uint64_t sequence = atomic_load_explicit(&slot->sequence, memory_order_acquire);
	return sequence == position + 1 ? &slot->message : NULL;
}

void copy_ring_pop(struct copy_ring *ring, uint32_t count)
{
	owner_check(&ring->owner, "copy ring's consumer end");
	for (uint32_t i = 0; i < count; i++) {
		uint64_t position = ring->head++;
		atomic_store_explicit(&slot_at(ring, position)->sequence, position + ring->entries,
				      memory_order_release);
	}
}

bool copy_ring_empty(const struct copy_ring *ring)
{
	return copy_ring_peek(ring, 0) == NULL;
}
