// SPDX-License-Identifier: Apache-2.0
#include "workers/frame_ring.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/base/bytes.h"
#include "crypto/aead.h"
#include "tests/harness/frames.h"

enum { SHIFTS = 4093, WORKERS_MAX = 3, WAITING_MAX = 64 };

/* What was pushed and not released. */
struct waiting {
	uint32_t number, length;
	const uint8_t *data; /* once it was peeked at */
};

struct model {
	struct waiting frames[WAITING_MAX];
	size_t count, published;
	uint32_t position;
};

static struct frame_pool *pool;
static struct model models[WORKERS_MAX];
static uint8_t content[TUN_FRAME_MAX + SHIFTS];
static uint32_t next_number;
static uint64_t random_state;

static uint32_t random_below(uint32_t limit)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((random_state >> 33) % limit);
}

static void start(struct frame_pool_params params)
{
	frame_pool_free(pool);
	pool = frame_pool_new(&params);
	cr_assert_not_null(pool);
	memset(models, 0, sizeof models);
}

static void set_up(void)
{
	random_state = 1;
	for (size_t i = 0; i < sizeof content; i++)
		content[i] = (uint8_t)random_below(256);
}

static void tear_down(void)
{
	frame_pool_free(pool);
}
TestSuite(frame_ring, .init = set_up, .fini = tear_down);

static uint8_t *frame_data(const struct frame_ref *frame)
{
	return frame->packet.data - VNET_HEADER_SIZE;
}

static uint32_t frame_size(const struct frame_ref *frame)
{
	return frame->packet.length + VNET_HEADER_SIZE;
}

static bool push(uint32_t worker, uint32_t length)
{
	struct model *model = &models[worker];
	uint32_t number = next_number++;
	uint8_t *buffer = frame_pool_buffer(pool);
	memcpy(buffer, content + number % SHIFTS, length);
	struct inner packet = frame_unparsed(buffer, length, (uint8_t)number);
	if (!frame_pool_push(pool, worker, &packet, number ^ 0xabcd, 1000000000000ull + number)) {
		cr_assert_eq(frame_pool_buffer(pool), buffer);
		cr_assert_eq(memcmp(buffer, content + number % SHIFTS, length), 0);
		return false;
	}
	model->frames[model->count++] = (struct waiting){.number = number, .length = length};
	return true;
}

static bool publish(uint32_t worker)
{
	bool news = models[worker].published != models[worker].count;
	models[worker].published = models[worker].count;
	cr_assert_eq(frame_pool_publish(pool, worker), news);
	return news;
}

static bool apart(const uint8_t *a, size_t a_length, const uint8_t *b, size_t b_length)
{
	return a + a_length + AEAD_INPUT_SLACK <= b || b + b_length + AEAD_INPUT_SLACK <= a;
}

/* No frame in use shares a byte with another, with its slack, or with what is read into. */
static void check_apart(uint32_t worker, size_t at)
{
	const struct waiting *frame = &models[worker].frames[at];
	cr_assert(apart(frame->data, frame->length, frame_pool_buffer(pool), TUN_FRAME_MAX));
	for (uint32_t w = 0; w < WORKERS_MAX; w++) {
		for (size_t i = 0; i < models[w].count; i++) {
			const struct waiting *other = &models[w].frames[i];
			if (other != frame && other->data != NULL)
				cr_assert(apart(frame->data, frame->length, other->data, other->length));
		}
	}
}

/* Peeks at up to `count` frames and compares them with what was pushed. */
static size_t peek(uint32_t worker, size_t count)
{
	struct model *model = &models[worker];
	struct frame_ring *ring = frame_pool_ring(pool, worker);
	const struct frame_ref *frames;
	cr_assert_eq(frame_ring_empty(ring), model->published == 0);
	size_t got = frame_ring_peek(ring, &frames, count);
	cr_assert_leq(got, count);
	cr_assert_leq(got, model->published);
	cr_assert(got > 0 || model->published == 0 || count == 0, "never nothing while there is something");
	uint32_t position = model->position;
	for (size_t i = 0; i < got; i++) {
		struct waiting *expected = &model->frames[i];
		cr_assert_eq(frame_size(&frames[i]), expected->length);
		cr_assert_eq(frames[i].packet.protocol, (uint8_t)expected->number);
		cr_assert_eq(frames[i].packet.version, 4);
		cr_assert_eq(frames[i].session_id, expected->number ^ 0xabcd);
		cr_assert_eq(frames[i].stamp, 1000000000000ull + expected->number);
		cr_assert_eq((uintptr_t)frame_data(&frames[i]) % CACHE_LINE, 0);
		cr_assert_eq(memcmp(frame_data(&frames[i]), content + expected->number % SHIFTS, expected->length), 0);
		position += expected->length;
		cr_assert_eq(frames[i].position, position);
		expected->data = frame_data(&frames[i]);
		check_apart(worker, i);
	}
	uint64_t behind = 0;
	for (size_t i = model->published; got > 0 && i > got; i--)
		behind += model->frames[i - 1].length;
	if (got > 0)
		cr_assert_eq(frame_ring_behind(ring, &frames[got - 1]), behind);
	return got;
}

/* Looks once more, writes in place as a worker does, and gives them back. */
static void release(uint32_t worker, size_t count)
{
	struct model *model = &models[worker];
	const struct frame_ref *frames;
	cr_assert_eq(frame_ring_peek(frame_pool_ring(pool, worker), &frames, count), count);
	for (size_t i = 0; i < count; i++) {
		const struct waiting *expected = &model->frames[i];
		cr_assert_eq(frame_data(&frames[i]), expected->data);
		cr_assert_eq(memcmp(frame_data(&frames[i]), content + expected->number % SHIFTS, expected->length), 0);
		memset(frame_data(&frames[i]), 0xee, expected->length + AEAD_INPUT_SLACK);
		model->position += expected->length;
	}
	frame_ring_release(frame_pool_ring(pool, worker), count);
	model->count -= count;
	model->published -= count;
	memmove(model->frames, model->frames + count, model->count * sizeof *model->frames);
}

static void drain(uint32_t worker)
{
	publish(worker);
	for (size_t got; (got = peek(worker, WAITING_MAX)) > 0;)
		release(worker, got);
}

Test(frame_ring, frames_come_in_order_once_published)
{
	static const uint32_t lengths[] = {60, 9000, 1430, VNET_HEADER_SIZE, TUN_FRAME_MAX, 11, 2049, 2048};
	start((struct frame_pool_params){.workers = 2, .slots_per_worker = 8, .ring_entries = 16});
	cr_assert_not(publish(0));
	cr_assert(frame_pool_idle(pool));
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
		cr_assert(push(i % 3 == 0, lengths[i]));
	cr_assert_eq(peek(0, 16), 0, "not published");
	cr_assert(publish(0));
	cr_assert_not(publish(0));
	cr_assert_eq(peek(1, 16), 0, "nor is the other ring's");
	cr_assert(publish(1));
	cr_assert_eq(peek(0, 2), 2);
	cr_assert_eq(peek(0, 16), 5, "the same ones again, and more");
	release(0, 1);
	cr_assert_eq(peek(0, 16), 4);
	release(0, 4);
	cr_assert_eq(peek(1, 16), 3);
	cr_assert_not(frame_pool_idle(pool));
	release(1, 3);
	cr_assert(frame_pool_idle(pool));
}

Test(frame_ring, an_unpublished_frame_keeps_its_slot)
{
	start((struct frame_pool_params){.workers = 1, .slots_per_worker = 2, .ring_entries = 4});
	cr_assert(push(0, 100) && publish(0));
	cr_assert(push(0, 100));
	cr_assert_eq(peek(0, 4), 1);
	release(0, 1);
	cr_assert_not(frame_pool_idle(pool));
	drain(0);
	cr_assert(frame_pool_idle(pool));
}

Test(frame_ring, is_full_at_its_entries_rounded_up)
{
	start((struct frame_pool_params){.workers = 2, .slots_per_worker = 4, .ring_entries = 5});
	for (unsigned i = 0; i < 8; i++)
		cr_assert(push(0, 100));
	cr_assert_not(push(0, 100));
	cr_assert_not(push(0, 5000), "a large one neither");
	cr_assert(push(1, 5000), "the other ring is not");
	publish(0);
	cr_assert_not(push(0, 100), "to be seen is not to be released");
	cr_assert_eq(peek(0, 8), 8);
	cr_assert_not(push(0, 100));
	release(0, 3);
	for (unsigned i = 0; i < 3; i++)
		cr_assert(push(0, 100));
	cr_assert_not(push(0, 100));
	drain(0);
	drain(1);
	cr_assert(frame_pool_idle(pool));

	start((struct frame_pool_params){.workers = 1, .slots_per_worker = 4, .ring_entries = 1});
	for (unsigned i = 0; i < 3; i++) {
		cr_assert(push(0, 100));
		cr_assert_not(push(0, 100), "one is a size as well");
		drain(0);
	}
}

Test(frame_ring, a_peek_ends_with_the_array)
{
	start((struct frame_pool_params){.workers = 1, .slots_per_worker = 4, .ring_entries = 8});
	for (unsigned i = 0; i < 6; i++)
		cr_assert(push(0, 100));
	drain(0);
	for (unsigned i = 0; i < 5; i++)
		cr_assert(push(0, 100));
	publish(0);
	cr_assert_eq(peek(0, 8), 2);
	release(0, 2);
	cr_assert_eq(peek(0, 8), 3);
	release(0, 3);
}

Test(frame_ring, empty_asks_the_producer_and_not_the_copy)
{
	start((struct frame_pool_params){.workers = 1, .slots_per_worker = 4, .ring_entries = 8});
	struct frame_ring *ring = frame_pool_ring(pool, 0);
	for (unsigned i = 0; i < 20; i++) {
		cr_assert(frame_ring_empty(ring));
		cr_assert_eq(peek(0, 8), 0);
		cr_assert(push(0, 100));
		cr_assert(frame_ring_empty(ring));
		publish(0);
		cr_assert_not(frame_ring_empty(ring));
		cr_assert_eq(peek(0, 8), 1);
		release(0, 1);
	}
}

Test(frame_ring, what_waits_behind_is_counted_as_it_is_now)
{
	const struct frame_ref *frames;
	start((struct frame_pool_params){.workers = 1, .slots_per_worker = 4, .ring_entries = 8});
	struct frame_ring *ring = frame_pool_ring(pool, 0);
	cr_assert(push(0, 100) && push(0, 3000) && publish(0));
	cr_assert_eq(frame_ring_peek(ring, &frames, 8), 2);
	cr_assert_eq(frame_ring_behind(ring, &frames[0]), 3000);
	cr_assert_eq(frame_ring_behind(ring, &frames[1]), 0);
	cr_assert(push(0, 77));
	cr_assert_eq(frame_ring_behind(ring, &frames[1]), 0, "not published");
	publish(0);
	cr_assert_eq(frame_ring_behind(ring, &frames[0]), 3077, "seen without another peek");
	cr_assert_eq(frame_ring_behind(ring, &frames[1]), 77);
}

Test(frame_ring, a_worker_that_holds_its_share_costs_the_others_nothing)
{
	start((struct frame_pool_params){.workers = 3, .slots_per_worker = 4, .ring_entries = 64});
	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(frame_pool_held(pool, 0), i);
		cr_assert(push(0, 30000));
	}
	publish(0);
	cr_assert_not(push(0, 30000));
	cr_assert_not(push(0, 60), "there is no slot to pack it into");
	for (uint32_t worker = 1; worker < 3; worker++) {
		for (unsigned i = 0; i < 3; i++)
			cr_assert(push(worker, TUN_FRAME_MAX));
		for (unsigned i = 0; i < 20; i++)
			cr_assert(push(worker, 1430), "packed into the fourth");
		cr_assert_not(push(worker, 2049));
		cr_assert_eq(frame_pool_held(pool, worker), 4);
	}
	cr_assert_eq(peek(0, 64), 4);
	release(0, 1);
	cr_assert_not(push(1, 30000), "it is not theirs");
	cr_assert(push(0, 60));
	cr_assert_not(push(0, 30000));
	release(0, 1);
	cr_assert(push(0, 30000));
	for (uint32_t worker = 0; worker < 3; worker++)
		drain(worker);
	cr_assert(frame_pool_idle(pool));
}

/* How many frames of a length are packed into one slot. */
static unsigned packed_together(uint32_t length)
{
	start((struct frame_pool_params){.workers = 1, .slots_per_worker = 2, .ring_entries = 2048});
	for (unsigned count = 0;; count++) {
		struct inner packet = frame_unparsed(frame_pool_buffer(pool), length, 0);
		cr_assert(frame_pool_push(pool, 0, &packet, 1, 1));
		if (frame_pool_held(pool, 0) == 2)
			return count;
	}
}

Test(frame_ring, small_frames_share_a_slot_and_large_ones_take_it)
{
	start((struct frame_pool_params){.workers = 1, .slots_per_worker = 4, .ring_entries = 64});
	uint8_t *buffer = frame_pool_buffer(pool);
	for (unsigned i = 0; i < 10; i++)
		cr_assert(push(0, FRAME_SMALL_MAX - i));
	cr_assert_eq(frame_pool_held(pool, 0), 1);
	cr_assert_eq(frame_pool_buffer(pool), buffer, "copied out of the buffer");
	cr_assert(push(0, FRAME_SMALL_MAX + 1));
	cr_assert_eq(frame_pool_held(pool, 0), 2);
	cr_assert_neq(frame_pool_buffer(pool), buffer);
	cr_assert(push(0, 60));
	cr_assert_eq(frame_pool_held(pool, 0), 2, "packing goes on behind a large one");
	publish(0);
	cr_assert_eq(peek(0, 64), 12);
	drain(0);
	cr_assert(frame_pool_idle(pool));

	/* Whole lines, slack included, to the slot's last and not beyond. */
	unsigned lines = packed_together(CACHE_LINE - AEAD_INPUT_SLACK);
	start((struct frame_pool_params){.workers = 1, .slots_per_worker = 2, .ring_entries = 2});
	buffer = frame_pool_buffer(pool);
	cr_assert(push(0, TUN_FRAME_MAX));
	uint8_t *next = frame_pool_buffer(pool);
	cr_assert_eq((size_t)(next - buffer), lines * CACHE_LINE);
	cr_assert_eq(packed_together(CACHE_LINE - AEAD_INPUT_SLACK + 1), lines / 2);
	cr_assert_eq(packed_together(2 * CACHE_LINE - AEAD_INPUT_SLACK), lines / 2);
	cr_assert_eq(packed_together(FRAME_SMALL_MAX), lines / (FRAME_SMALL_MAX / CACHE_LINE + 1));
	cr_assert_eq(packed_together(VNET_HEADER_SIZE), lines);
}

Test(frame_ring, a_slot_is_free_with_its_last_frame)
{
	/* A share of one, so that it shows. */
	start((struct frame_pool_params){.workers = 1, .slots_per_worker = 1, .ring_entries = 16});
	for (unsigned i = 0; i < 10; i++) {
		cr_assert(push(0, 60) && push(0, 1400));
		publish(0);
		cr_assert_not(push(0, 5000));
		cr_assert_eq(peek(0, 16) > 0, true);
		release(0, 1);
		cr_assert_not(push(0, 5000), "the second is still there");
		cr_assert_eq(peek(0, 16), 1);
		release(0, 1);
		cr_assert(push(0, 5000), "the slot was being packed, and nothing is in it");
		cr_assert_not(push(0, 60));
		drain(0);
		cr_assert(frame_pool_idle(pool));
	}
}

/* A worker that keeps up is served from slots that are in the cache. */
Test(frame_ring, slots_released_last_are_used_first)
{
	start((struct frame_pool_params){.workers = 1, .slots_per_worker = 32, .ring_entries = 512});
	uint8_t *buffers[3] = {NULL};
	size_t used = 0;
	for (unsigned i = 0; i < 500; i++) {
		uint8_t *buffer = frame_pool_buffer(pool);
		size_t at = 0;
		while (at < used && buffers[at] != buffer)
			at++;
		cr_assert_lt(at, ARRAY_SIZE(buffers), "one on each side and one between");
		buffers[at] = buffer;
		used += at == used;
		cr_assert(push(0, i % 7 == 0 ? 60 : 30000));
		drain(0);
	}
	for (unsigned i = 0; i < 2000; i++) {
		cr_assert(push(0, 1430));
		drain(0);
		cr_assert_leq(frame_pool_held(pool, 0), 2);
	}
}

/* The reader writes the first lines of each slot, the worker reads them: they shall not fall on each other. */
Test(frame_ring, slots_share_no_cache_sets)
{
	enum { SLOTS = 12, PAGE = 4096 };
	uintptr_t at[SLOTS];
	start((struct frame_pool_params){.workers = 1, .slots_per_worker = SLOTS, .ring_entries = SLOTS});
	for (unsigned i = 0; i < SLOTS; i++) {
		at[i] = (uintptr_t)frame_pool_buffer(pool);
		cr_assert(push(0, 30000));
		for (unsigned k = 0; k < i; k++) {
			cr_assert_neq(at[i] % PAGE, at[k] % PAGE);
			cr_assert_neq(at[i] / PAGE % 16, at[k] / PAGE % 16, "nor the sets of a TLB");
		}
	}
}

Test(frame_ring, indexes_wrap_around)
{
	static const uint32_t starts[] = {0, UINT32_MAX, UINT32_MAX - 6, UINT32_MAX - 100, INT32_MAX - 50, 12345};
	for (size_t s = 0; s < ARRAY_SIZE(starts); s++) {
		start((struct frame_pool_params){
			.workers = 1, .slots_per_worker = 16, .ring_entries = 8, .first_index = starts[s]});
		for (unsigned i = 0; i < 300; i++) {
			size_t free = 8 - models[0].count, more = random_below(10);
			for (size_t k = 0; k < more; k++)
				cr_assert_eq(push(0, 100 + random_below(3000)), k < free, "start %u", starts[s]);
			publish(0);
			size_t got = peek(0, random_below(9));
			release(0, got);
		}
		drain(0);
		cr_assert(frame_pool_idle(pool));
	}
}

static uint32_t random_length(void)
{
	switch (random_below(5)) {
	case 0:
		return VNET_HEADER_SIZE + random_below(200);
	case 1:
		return 1400 + random_below(100);
	case 2:
		return FRAME_SMALL_MAX - 2 + random_below(5);
	case 3:
		return VNET_HEADER_SIZE + random_below(20000);
	default:
		return TUN_FRAME_MAX - random_below(3000);
	}
}

Test(frame_ring, mixed_sizes_at_random_are_what_a_queue_gives)
{
	enum { SHARE = 5, ENTRIES = 16 };
	unsigned refused_for_share = 0, refused_for_ring = 0;
	start((struct frame_pool_params){.workers = WORKERS_MAX,
					 .slots_per_worker = SHARE,
					 .ring_entries = ENTRIES,
					 .first_index = UINT32_MAX - 3000});
	for (unsigned step = 0; step < 40000; step++) {
		uint32_t worker = random_below(WORKERS_MAX);
		bool slow = (step >> 10) % 4 == worker; /* each of them for a while, or none */
		switch (random_below(4)) {
		case 0:
		case 1:
			if (!push(worker, random_length())) {
				bool full = models[worker].count == ENTRIES;
				refused_for_ring += full;
				refused_for_share += !full;
				cr_assert(full || frame_pool_held(pool, worker) == SHARE);
			}
			cr_assert_leq(frame_pool_held(pool, worker), SHARE);
			break;
		case 2:
			publish(worker);
			break;
		default:
			if (!slow)
				release(worker, peek(worker, random_below(ENTRIES + 1)));
		}
	}
	cr_assert_gt(refused_for_share, 500);
	cr_assert_gt(refused_for_ring, 100);
	for (uint32_t worker = 0; worker < WORKERS_MAX; worker++) {
		cr_assert_not(frame_pool_idle(pool));
		drain(worker);
	}
	cr_assert(frame_pool_idle(pool));
	for (uint32_t worker = 0; worker < WORKERS_MAX; worker++)
		for (unsigned i = 0; i < SHARE; i++)
			cr_assert(push(worker, TUN_FRAME_MAX), "all slots are there again");
}

/* --- shares of sessions ------------------------------------------------------------------------------------------- */

static bool push_of(uint32_t session_id, uint32_t length)
{
	struct inner packet = frame_unparsed(frame_pool_buffer(pool), length, 1);
	return frame_pool_push(pool, 0, &packet, session_id, 1);
}

/* How many of them get in before one does not. */
static unsigned fill(uint32_t session_id, uint32_t length)
{
	unsigned count = 0;
	while (count < 10000 && push_of(session_id, length))
		count++;
	return count;
}

/* Takes out so many, and counts them by session. */
static void take(unsigned count, unsigned taken[4])
{
	struct frame_ring *ring = frame_pool_ring(pool, 0);
	(void)frame_pool_publish(pool, 0);
	const struct frame_ref *frame;
	for (; count > 0 && frame_ring_peek(ring, &frame, 1) == 1; count--) {
		taken[frame->session_id]++;
		frame_ring_release(ring, 1);
	}
}

Test(frame_ring, one_session_leaves_a_fifth_to_others)
{
	start((struct frame_pool_params){.workers = 1, .slots_per_worker = 50, .ring_entries = 1024});
	cr_assert_eq(fill(1, 50000), 40, "by their slots");
	cr_assert_eq(fill(2, 50000), 8);
	unsigned taken[4] = {0};
	take(UINT32_MAX, taken);
	cr_assert(taken[1] == 40 && taken[2] == 8);

	cr_assert_eq(fill(1, 100), 820, "by their number, of 1024");
	cr_assert(push_of(2, 100));
	take(UINT32_MAX, taken);
	cr_assert(frame_pool_idle(pool));
	cr_assert_eq(fill(1, 100), 820);
}

/* Three times as much comes as is taken out, seven ninths of it for one session. */
Test(frame_ring, sessions_that_want_too_much_get_equal_parts)
{
	static const struct {
		uint32_t length, off; /* per cent */
	} kinds[] = {{100, 5}, {1400, 5}, {30000, 25 /* 64 of them are few to divide */}};
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		start((struct frame_pool_params){.workers = 1, .slots_per_worker = 64, .ring_entries = 1024});
		unsigned taken[4] = {0};
		for (unsigned round = 0; round < 6000; round++) {
			for (unsigned i = 0; i < 9; i++)
				(void)push_of(i < 7 ? 1 : i - 5, kinds[k].length);
			unsigned none[4] = {0};
			take(3, round < 2000 ? none : taken);
		}
		for (unsigned session = 1; session <= 3; session++) {
			cr_assert_geq(taken[session], 4000 * (100 - kinds[k].off) / 100, "session %u: %u", session,
				      taken[session]);
			cr_assert_leq(taken[session], 4000 * (100 + kinds[k].off) / 100, "session %u: %u", session,
				      taken[session]);
		}
	}
}
