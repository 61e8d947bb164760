// SPDX-License-Identifier: Apache-2.0
#include "workers/shaper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "crypto/aead.h"

enum {
	BITS_PER_BYTE = 8,
	NS_PER_KBIT = 1000000, /* at one kbit a second */
	FULL_PACKET = 1500,    /* bytes of a usual one */
};

struct shaper_chunk {
	struct shaper_chunk *next;
	uint32_t begin, end; /* of the packets, in data */
	_Alignas(16) uint8_t data[];
};

enum {
	CHUNK_DATA = SHAPER_CHUNK - offsetof(struct shaper_chunk, data),
	PACKET_MAX = CHUNK_DATA - offsetof(struct shaper_packet, data),
	CHUNKS = SHAPER_MEMORY / SHAPER_CHUNK,
};

/* --- memory ------------------------------------------------------------------------------------------------------- */

/* One chunk more, since the ciphers read a little past a packet's end. */
int shaper_pool_init(struct shaper_pool *pool)
{
	_Static_assert((int)AEAD_INPUT_SLACK <= (int)SHAPER_CHUNK, "what lies behind the last chunk");
	if (pool->memory == NULL)
		pool->memory = aligned_alloc(SHAPER_CHUNK, SHAPER_MEMORY + SHAPER_CHUNK);
	return pool->memory != NULL ? 0 : -ENOMEM;
}

void shaper_pool_deinit(struct shaper_pool *pool)
{
	free(pool->memory);
	*pool = (struct shaper_pool){0};
}

void shaper_recycle(struct shaper_pool *pool)
{
	struct shaper_chunk *chunk;
	while ((chunk = pool->spent) != NULL) {
		pool->spent = chunk->next;
		chunk->next = pool->free;
		pool->free = chunk;
		pool->taken--;
	}
}

static struct shaper_chunk *take_chunk(struct shaper_pool *pool)
{
	struct shaper_chunk *chunk = pool->free;
	if (chunk != NULL)
		pool->free = chunk->next;
	else if (pool->memory != NULL && pool->used < CHUNKS)
		chunk = (struct shaper_chunk *)(void *)(pool->memory + (size_t)pool->used++ * SHAPER_CHUNK);
	if (chunk == NULL)
		return NULL;
	*chunk = (struct shaper_chunk){0};
	pool->taken++;
	return chunk;
}

static uint32_t packet_size(uint32_t length)
{
	_Static_assert(offsetof(struct shaper_packet, data) % 16 == 0, "packets are aligned");
	return (uint32_t)(offsetof(struct shaper_packet, data) + length + 15) / 16 * 16;
}

/* Behind the newest packet; NULL: there is no memory. */
static struct shaper_packet *append(struct shaper *shaper, struct shaper_pool *pool, uint32_t size)
{
	struct shaper_chunk *chunk = shaper->last;
	if (chunk == NULL || CHUNK_DATA - chunk->end < size) {
		chunk = shaper->chunks <= (CHUNKS - pool->taken) / SHAPER_SHARE ? take_chunk(pool) : NULL;
		if (chunk == NULL)
			return NULL;
		shaper->chunks++;
		if (shaper->last != NULL)
			shaper->last->next = chunk;
		else
			shaper->first = chunk;
		shaper->last = chunk;
	}
	struct shaper_packet *packet = (struct shaper_packet *)(void *)(chunk->data + chunk->end);
	chunk->end += size;
	return packet;
}

static struct shaper_packet *oldest(const struct shaper *shaper)
{
	return (struct shaper_packet *)(void *)(shaper->first->data + shaper->first->begin);
}

/* --- the rate ----------------------------------------------------------------------------------------------------- */

/* What bytes take at the rate, ns. */
static uint64_t duration(const struct shaper *shaper, uint64_t bytes)
{
	return shaper->kbits != 0 ? bytes * BITS_PER_BYTE * NS_PER_KBIT / shaper->kbits : 0;
}

static uint32_t queue_limit(const struct shaper *shaper)
{
	uint64_t bytes = (uint64_t)shaper->kbits * (SHAPER_QUEUE_NS / NS_PER_KBIT) / BITS_PER_BYTE;
	return bytes < SHAPER_QUEUE_MIN ? SHAPER_QUEUE_MIN
					: (bytes < SHAPER_QUEUE_MAX ? (uint32_t)bytes : SHAPER_QUEUE_MAX);
}

void shaper_set(struct shaper *shaper, uint32_t kbits, uint32_t burst)
{
	shaper->kbits = kbits;
	shaper->burst = burst != 0 ? duration(shaper, burst) : SHAPER_BURST_NS;
	/* At a low rate a packet alone takes longer than the target (RFC 8290, section 5.2.3). */
	codel_init(&shaper->codel, CODEL_TARGET_NS + duration(shaper, FULL_PACKET), CODEL_INTERVAL_NS, FULL_PACKET);
}

/* A packet may leave when the one before it is due, less the burst: its own length does not matter. */
static bool conforms(const struct shaper *shaper, uint64_t now)
{
	return shaper->kbits == 0 || shaper->ready <= now + shaper->burst;
}

static void account(struct shaper *shaper, uint64_t now, uint32_t length)
{
	shaper->ready = (shaper->ready > now ? shaper->ready : now) + duration(shaper, length);
}

bool shaper_pass(struct shaper *shaper, uint64_t now, uint32_t length)
{
	if (shaper->packets != 0 || !conforms(shaper, now))
		return false;
	account(shaper, now, length);
	return true;
}

/* --- the queue ---------------------------------------------------------------------------------------------------- */

bool shaper_hold(struct shaper *shaper, struct shaper_pool *pool, uint64_t now, uint8_t ecn, const uint8_t *packet,
		 uint32_t length)
{
	if (length > PACKET_MAX || shaper->bytes + length > queue_limit(shaper))
		return false;
	struct shaper_packet *held = append(shaper, pool, packet_size(length));
	if (held == NULL)
		return false;
	held->stamp = now;
	held->length = length;
	held->ecn = ecn;
	memcpy(held->data, packet, length);
	shaper->bytes += length;
	shaper->packets++;
	pool->bytes += length;
	return true;
}

struct shaper_packet *shaper_next(struct shaper *shaper, uint64_t now, bool *congested)
{
	if (shaper->packets == 0 || !conforms(shaper, now))
		return NULL;
	struct shaper_packet *packet = oldest(shaper);
	*congested = codel_drop(&shaper->codel, codel_sojourn(packet->stamp, now), now, shaper->bytes - packet->length);
	return packet;
}

void shaper_release(struct shaper *shaper, struct shaper_pool *pool, uint64_t now, bool passes)
{
	const struct shaper_packet *packet = oldest(shaper);
	struct shaper_chunk *chunk = shaper->first;
	if (passes)
		account(shaper, now, packet->length);
	shaper->bytes -= packet->length;
	shaper->packets--;
	pool->bytes -= packet->length;
	chunk->begin += packet_size(packet->length);
	if (chunk->begin != chunk->end)
		return;
	shaper->first = chunk->next;
	shaper->chunks--;
	if (shaper->first == NULL)
		shaper->last = NULL;
	chunk->next = pool->spent;
	pool->spent = chunk;
}

uint64_t shaper_due(const struct shaper *shaper)
{
	if (shaper->packets == 0)
		return UINT64_MAX;
	return shaper->ready > shaper->burst && shaper->kbits != 0 ? shaper->ready - shaper->burst : 0;
}

uint32_t shaper_clear(struct shaper *shaper, struct shaper_pool *pool)
{
	uint32_t count = shaper->packets;
	while (shaper->packets != 0)
		shaper_release(shaper, pool, 0, false);
	return count;
}
