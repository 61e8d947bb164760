// SPDX-License-Identifier: Apache-2.0
#include "core/sessions/usage.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS_MIN = 64, BUCKETS_MAX = 1 << 24 };

_Static_assert(sizeof((struct usages *)0)->hash_key == crypto_shorthash_KEYBYTES, "SipHash's key");
_Static_assert(offsetof(struct usage, public_key) == CACHE_LINE && sizeof(struct usage) == 2 * CACHE_LINE,
	       "what the worker writes is on a line of its own");

static void lock(struct usages *usages)
{
	(void)pthread_mutex_lock(&usages->mutex);
}

static void unlock(struct usages *usages)
{
	(void)pthread_mutex_unlock(&usages->mutex);
}

static struct usage *record(const struct usages *usages, uint32_t index)
{
	return &usages->chunks[index / USAGE_CHUNK][index % USAGE_CHUNK];
}

void usages_init(struct usages *usages, size_t expected)
{
	uint32_t buckets = BUCKETS_MIN;
	while (buckets < expected && buckets < BUCKETS_MAX)
		buckets *= 2;
	*usages = (struct usages){.mutex = PTHREAD_MUTEX_INITIALIZER, .bucket_mask = buckets - 1};
	randombytes_buf(usages->hash_key, sizeof usages->hash_key);
}

void usages_deinit(struct usages *usages)
{
	for (uint32_t i = 0; i * USAGE_CHUNK < usages->count; i++)
		free(usages->chunks[i]);
	free((void *)usages->chunks);
	free(usages->buckets);
	(void)pthread_mutex_destroy(&usages->mutex);
	*usages = (struct usages){0};
}

void usages_set_clock(struct usages *usages, uint64_t wall)
{
	lock(usages);
	for (unsigned i = 0; i < CALENDAR_PERIODS; i++)
		usages->now[i] = calendar_number((enum calendar_period)i, wall);
	unlock(usages);
}

/* --- the table, under the mutex ----------------------------------------------------------------------------------- */

/* Keyed, since peers choose their own public keys. */
static uint32_t *bucket_of(const struct usages *usages, const uint8_t public_key[KEY_SIZE])
{
	uint64_t hash;
	_Static_assert(sizeof hash == crypto_shorthash_BYTES, "of the hash");
	crypto_shorthash((uint8_t *)&hash, public_key, KEY_SIZE, usages->hash_key);
	return &usages->buckets[hash & usages->bucket_mask];
}

static struct usage *find(const struct usages *usages, const uint8_t public_key[KEY_SIZE])
{
	if (usages->buckets == NULL)
		return NULL;
	for (uint32_t next = *bucket_of(usages, public_key); next != 0;) {
		struct usage *usage = record(usages, next - 1);
		if (memcmp(usage->public_key, public_key, KEY_SIZE) == 0)
			return usage;
		next = usage->next;
	}
	return NULL;
}

/* One record more, which is neither free nor taken. */
static bool grow(struct usages *usages)
{
	if (usages->count % USAGE_CHUNK == 0) {
		size_t count = usages->count / USAGE_CHUNK;
		void *chunks = reallocarray((void *)usages->chunks, count + 1, sizeof *usages->chunks);
		if (chunks == NULL)
			return false;
		usages->chunks = chunks;
		struct usage *chunk = aligned_alloc(CACHE_LINE, USAGE_CHUNK * sizeof *chunk);
		if (chunk == NULL)
			return false;
		memset(chunk, 0, USAGE_CHUNK * sizeof *chunk);
		usages->chunks[count] = chunk;
	}
	usages->count++;
	return true;
}

static void give_back(struct usages *usages, uint32_t index)
{
	struct usage *usage = record(usages, index);
	*usage = (struct usage){.next = usages->free, .changed = true, .period = CALENDAR_PERIODS};
	usages->free = index + 1;
}

static void drop(struct usages *usages, uint32_t index)
{
	uint32_t *link = bucket_of(usages, record(usages, index)->public_key);
	while (*link != index + 1)
		link = &record(usages, *link - 1)->next;
	*link = record(usages, index)->next;
	give_back(usages, index);
}

/* NULL: no memory. */
static struct usage *make(struct usages *usages, const uint8_t public_key[KEY_SIZE], bool at_the_end)
{
	if (usages->buckets == NULL)
		usages->buckets = calloc((size_t)usages->bucket_mask + 1, sizeof *usages->buckets);
	if (usages->buckets == NULL)
		return NULL;
	uint32_t index = usages->free - 1;
	if (!at_the_end && usages->free != 0)
		usages->free = record(usages, index)->next;
	else if (grow(usages))
		index = usages->count - 1;
	else
		return NULL;
	struct usage *usage = record(usages, index);
	uint32_t *bucket = bucket_of(usages, public_key);
	*usage = (struct usage){.taken = true, .changed = true, .period = CALENDAR_PERIODS, .next = *bucket};
	memcpy(usage->public_key, public_key, KEY_SIZE);
	*bucket = index + 1;
	return usage;
}

/* --- records of peers --------------------------------------------------------------------------------------------- */

struct usage *usages_get(struct usages *usages, const uint8_t public_key[KEY_SIZE], bool may_make)
{
	lock(usages);
	struct usage *usage = find(usages, public_key);
	if (usage == NULL && may_make)
		usage = make(usages, public_key, false);
	if (usage != NULL)
		(void)atomic_fetch_add_explicit(&usage->peers, 1, memory_order_relaxed);
	unlock(usages);
	return usage;
}

static void start_anew(struct usages *usages, struct usage *usage)
{
	atomic_store_explicit(&usage->used, 0, memory_order_relaxed);
	usage->number = usage->clock = usages->now[usage->period];
	usage->told = false;
	usage->changed = true;
}

void usages_follow(struct usages *usages, struct usage *usage, uint64_t quota, enum calendar_period period)
{
	lock(usages);
	usage->present = quota != 0;
	if (quota != 0) {
		if (usage->period != period) {
			usage->period = (uint8_t)period;
			start_anew(usages, usage);
		}
		/* One that is lowered below what is used is worth saying again. */
		usage->told &= quota >= usage->quota;
		usage->quota = quota;
	}
	unlock(usages);
}

bool usages_reset(struct usages *usages, const uint8_t public_key[KEY_SIZE])
{
	lock(usages);
	struct usage *usage = find(usages, public_key);
	if (usage != NULL && usage->period != CALENDAR_PERIODS)
		start_anew(usages, usage);
	unlock(usages);
	return usage != NULL;
}

/* --- records and the file ----------------------------------------------------------------------------------------- */

static void fill(struct usage *usage, const struct usage_line *line)
{
	atomic_store_explicit(&usage->used, line->used, memory_order_relaxed);
	usage->written = line->used;
	usage->period = (uint8_t)line->period;
	usage->number = line->number;
	usage->clock = line->clock;
	usage->told = true; /* it was, if it is used up */
	usage->changed = false;
}

/* Of two lines with one key, which no file of ours has. */
static bool is_later(const struct usage *usage, const struct usage_line *line)
{
	if (line->number != usage->number)
		return line->number > usage->number;
	return line->used > atomic_load_explicit(&usage->used, memory_order_relaxed);
}

static int skip(struct usages *usages)
{
	if (!grow(usages))
		return -ENOMEM;
	give_back(usages, usages->count - 1);
	return 0;
}

int usages_restore(struct usages *usages, const struct usage_line *line)
{
	int result = 0;
	lock(usages);
	struct usage *usage = find(usages, line->public_key);
	if (usage != NULL) {
		result = skip(usages);
		if (is_later(usage, line))
			fill(usage, line);
		usage->changed = true;
		result = result == 0 ? -EEXIST : result;
	} else {
		usage = make(usages, line->public_key, true);
		if (usage != NULL)
			fill(usage, line);
		else
			result = -ENOMEM;
	}
	unlock(usages);
	return result;
}

int usages_take_over(struct usages *usages, const struct usage_line *line, bool told)
{
	lock(usages);
	struct usage *usage = find(usages, line->public_key);
	bool there = usage != NULL;
	if (!there)
		usage = make(usages, line->public_key, false);
	if (usage != NULL && (!there || usage->period == CALENDAR_PERIODS || is_later(usage, line))) {
		uint64_t written = usage->written;
		fill(usage, line);
		usage->written = written;
		usage->told = told;
		usage->changed = true;
	}
	unlock(usages);
	return usage != NULL ? 0 : -ENOMEM;
}

int usages_skip(struct usages *usages)
{
	lock(usages);
	int result = skip(usages);
	if (result == 0)
		record(usages, usages->count - 1)->changed = false; /* the line may stay until another needs it */
	unlock(usages);
	return result;
}

enum usage_turn usage_follow_clock(struct usages *usages, uint32_t index, struct usage *usage)
{
	if (!usage->taken || usage->period == CALENDAR_PERIODS || usages->now[usage->period] == usage->clock)
		return USAGE_SAME;
	uint32_t now = usages->now[usage->period];
	bool back = now < usage->clock;
	/* Back where it was before it was set back: the same period still. */
	if (back || now == usage->number) {
		usage->clock = now;
		usage->changed = true;
		return back ? USAGE_BACK : USAGE_SAME;
	}
	if (atomic_load_explicit(&usage->peers, memory_order_acquire) == 0) {
		drop(usages, index);
		return USAGE_FREED;
	}
	start_anew(usages, usage);
	return USAGE_BEGAN;
}

size_t usages_visit(struct usages *usages, uint32_t from, uint32_t most,
		    void (*visit)(uint32_t index, struct usage *usage, void *context), void *context)
{
	lock(usages);
	uint32_t left = from < usages->count ? usages->count - from : 0;
	uint32_t count = left < most ? left : most;
	for (uint32_t i = from; i < from + count; i++)
		visit(i, record(usages, i), context);
	unlock(usages);
	return count;
}
