// SPDX-License-Identifier: Apache-2.0
/* The address pool: which addresses there are, whose turn it is, and the states of an entry. */
#include "core/sessions/pool.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <time.h>

static struct pool make_pool(const char *network4, const char *network6)
{
	struct pool pool;
	struct ip_prefix addresses[2];
	size_t count = 0;
	struct error error = {0};
	if (network4 != NULL)
		cr_assert(ip_prefix_parse(network4, &addresses[count++]));
	if (network6 != NULL)
		cr_assert(ip_prefix_parse(network6, &addresses[count++]));
	cr_assert(pool_init(&pool, addresses, count, &error) == 0, "%s", error.text);
	return pool;
}

static struct ip_address address(const char *text)
{
	struct ip_address parsed;
	cr_assert(ip_address_parse(text, &parsed));
	return parsed;
}

/* The session that is ACTIVE at an index of a pool with an IPv4 network. */
static uint32_t active_at(const struct pool *pool, uint32_t index)
{
	uint8_t destination[4];
	store_be32(destination, pool->base4 + index);
	return pool_lookup(pool, 4, destination);
}

static uint32_t used(struct pool *pool)
{
	return atomic_load(&pool->used);
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

Test(pool, one_index_is_both_families)
{
	struct pool pool = make_pool("10.8.0.1/16", "fd00:8::1/64");
	struct ip_prefix address4, address6;
	struct ip_address wish = address("10.8.1.7");
	uint32_t index;
	char text[IP_TEXT_MAX];
	cr_assert(pool_index(&pool, &wish, &index));
	cr_assert(index == 256 + 7);
	pool_addresses(&pool, index, &address4, &address6);
	cr_assert(strcmp(ip_prefix_format(&address4, text), "10.8.1.7/16") == 0, "%s", text);
	cr_assert(strcmp(ip_prefix_format(&address6, text), "fd00:8::107/64") == 0, "%s", text);
	pool_deinit(&pool);
}

Test(pool, withholds_network_broadcast_and_own_addresses)
{
	struct pool pool = make_pool("192.168.9.3/29", "fd00:8::5/64");
	static const char *const refused[] = {"192.168.9.0", "192.168.9.3", "192.168.9.7", "192.168.9.8", "fd00:8::",
					      "fd00:8::3",   "fd00:8::5",   "fd00:8::8",   "fd00:9::2"};
	uint32_t index;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		struct ip_address wish = address(refused[i]);
		cr_expect(!pool_index(&pool, &wish, &index), "%s", refused[i]);
	}
	cr_assert(pool.usable == 4, "%u: 1, 2, 4 and 6", pool.usable);
	static const uint32_t expected[] = {1, 2, 4, 6}, not_there[] = {0, 3, 5, 7, 8, 1000, UINT32_MAX - 1};
	for (size_t i = 0; i < ARRAY_SIZE(not_there); i++)
		cr_assert(pool_reserve(&pool, not_there[i]) == POOL_NONE, "%u by name", not_there[i]);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		cr_assert(pool_reserve(&pool, POOL_NONE) == expected[i]);
	cr_assert(pool_reserve(&pool, POOL_NONE) == POOL_NONE, "full");
	pool_deinit(&pool);
}

Test(pool, lookup_sees_active_entries_only)
{
	struct pool pool = make_pool("10.8.0.1/24", "fd00:8::1/64");
	struct ip_address four = address("10.8.0.9"), six = address("fd00:8::9"), far4 = address("11.8.0.9"),
			  far6 = address("fd00:8:0:1::9");
	cr_assert(pool_reserve(&pool, 9) == 9);
	cr_assert(pool_reserve(&pool, 9) == POOL_NONE, "taken");
	cr_assert(pool_lookup(&pool, 4, four.bytes) == 0, "only reserved");
	cr_assert(pool_activate(&pool, 9, 0xabcd0009, 0));
	cr_assert(pool_lookup(&pool, 4, four.bytes) == 0xabcd0009);
	cr_assert(pool_lookup(&pool, 6, six.bytes) == 0xabcd0009);
	cr_assert(pool_lookup(&pool, 4, far4.bytes) == 0);
	cr_assert(pool_lookup(&pool, 6, far6.bytes) == 0);
	cr_assert(pool_activate(&pool, 9, 0xabce0009, 0xabcd0009), "a newer session takes over");
	cr_assert(pool_lookup(&pool, 6, six.bytes) == 0xabce0009);
	cr_assert(pool_deactivate(&pool, 9, 0xabce0009));
	cr_assert(pool_lookup(&pool, 4, four.bytes) == 0);
	cr_assert(pool_release(&pool, 9));
	cr_assert(!pool_release(&pool, 9) && used(&pool) == 0, "releasing twice counts once");
	pool_deinit(&pool);
}

Test(pool, one_family_is_enough_and_none_left_is_an_error)
{
	struct pool pool = make_pool(NULL, "fd00:8::1/120");
	struct ip_address six = address("fd00:8::20"), four = address("10.8.0.9");
	cr_assert(pool_reserve(&pool, 0x20) == 0x20);
	cr_assert(pool_activate(&pool, 0x20, 7, 0));
	cr_assert(pool_lookup(&pool, 6, six.bytes) == 7);
	cr_assert(pool_lookup(&pool, 4, four.bytes) == 0);
	pool_deinit(&pool);

	struct ip_prefix alone;
	struct error error = {0};
	cr_assert(ip_prefix_parse("10.8.0.1/32", &alone));
	cr_assert(pool_init(&pool, &alone, 1, &error) == -EINVAL);
	cr_assert(strstr(error.text, "no address for clients") != NULL);
}

/* Gives out and takes back all of a pool, three times. */
static void check_all_addresses(struct pool *pool, uint32_t expected)
{
	cr_assert(pool->usable == expected, "%u", pool->usable);
	for (unsigned round = 0; round < 3; round++) {
		bool *given = calloc(pool->size, sizeof *given);
		for (uint32_t i = 0; i < expected; i++) {
			uint32_t index = pool_reserve(pool, POOL_NONE);
			cr_assert(index < pool->size && !given[index]);
			given[index] = true;
		}
		cr_assert(pool_reserve(pool, POOL_NONE) == POOL_NONE && used(pool) == expected, "full");
		for (uint32_t index = 0; index < pool->size; index++)
			cr_assert(!given[index] || pool_release(pool, index));
		cr_assert(used(pool) == 0);
		free(given);
	}
	pool_deinit(pool);
}

Test(pool, gives_out_every_address_of_small_and_odd_networks)
{
	static const struct {
		const char *network4, *network6;
		uint32_t usable;
	} cases[] = {
		{"10.8.0.1/30", NULL, 1}, /* network, gateway, this one, broadcast */
		{"10.8.0.0/31", NULL, 1}, /* no broadcast */
		{"10.8.0.1/22", NULL, 1024 - 3}, {"10.8.3.254/22", "fd00:8::1/64", 1024 - 4},
		{NULL, "fd00:8::1/126", 2},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pool pool = make_pool(cases[i].network4, cases[i].network6);
		check_all_addresses(&pool, cases[i].usable);
	}
}

static uint64_t thread_cpu_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* In less time than it takes to give out its addresses: nothing is done for each of them. The best of some tries, since
 * a busy machine may take any time once. */
Test(pool, the_largest_one_starts_quickly)
{
	struct pool pool;
	uint64_t before, took = UINT64_MAX;
	for (unsigned i = 0; i < 5; i++) {
		if (i != 0)
			pool_deinit(&pool);
		before = thread_cpu_us();
		pool = make_pool("10.0.0.1/8", "fd00:8::1/64");
		uint64_t once = thread_cpu_us() - before;
		took = once < took ? once : took;
	}
	cr_assert(pool.size == POOL_SIZE_MAX && pool.usable == POOL_SIZE_MAX - 2);
	before = thread_cpu_us();
	uint32_t last = POOL_SIZE_MAX - 1;
	cr_assert(pool_reserve(&pool, last) == last);
	for (uint32_t index = 2; index < last; index++)
		cr_assert(pool_reserve(&pool, POOL_NONE) == index);
	uint64_t all = thread_cpu_us() - before;
	cr_assert(took < all / 2, "%lu us, %lu us for all", took, all);
	cr_assert(pool_reserve(&pool, POOL_NONE) == POOL_NONE);
	cr_assert(pool_release(&pool, 77) && pool_release(&pool, last) && pool_release(&pool, 5));
	cr_assert(pool_reserve(&pool, POOL_NONE) == 77);
	cr_assert(pool_reserve(&pool, POOL_NONE) == last);
	cr_assert(pool_reserve(&pool, POOL_NONE) == 5);
	pool_deinit(&pool);
}

/* --- whose turn it is --------------------------------------------------------------------------------------------- */

Test(pool, freed_addresses_rest_the_longest)
{
	struct pool pool = make_pool("10.8.0.1/28", NULL); /* 2 to 14 */
	for (uint32_t index = 2; index <= 6; index++)
		cr_assert(pool_reserve(&pool, POOL_NONE) == index);
	static const uint32_t order[] = {4, 2, 6, 3, 5};
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		cr_assert(pool_release(&pool, order[i]));
	for (uint32_t index = 7; index <= 14; index++)
		cr_assert(pool_reserve(&pool, POOL_NONE) == index, "those that nobody had");
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		cr_assert(pool_reserve(&pool, POOL_NONE) == order[i], "in the order they came back");
	cr_assert(pool_reserve(&pool, POOL_NONE) == POOL_NONE);
	pool_deinit(&pool);
}

Test(pool, a_sticky_address_is_skipped_and_rests_anew)
{
	struct pool pool = make_pool("10.8.0.1/29", NULL); /* 2 to 6 */
	cr_assert(pool_reserve(&pool, 5) == 5, "before its turn came");
	for (uint32_t index = 2; index <= 6; index++)
		cr_assert(index == 5 || pool_reserve(&pool, POOL_NONE) == index);
	for (uint32_t index = 2; index <= 6; index++)
		cr_assert(pool_release(&pool, index));
	cr_assert(pool_reserve(&pool, 3) == 3, "its peer is back");
	cr_assert(pool_reserve(&pool, POOL_NONE) == 2);
	cr_assert(pool_reserve(&pool, POOL_NONE) == 4, "skipped");
	cr_assert(pool_release(&pool, 3));
	cr_assert(pool_reserve(&pool, POOL_NONE) == 5);
	cr_assert(pool_reserve(&pool, POOL_NONE) == 6);
	cr_assert(pool_reserve(&pool, POOL_NONE) == 3, "it rests since its last release, not since its first");
	cr_assert(pool_reserve(&pool, 3) == POOL_NONE, "somebody else has it");
	cr_assert(used(&pool) == 5);
	pool_deinit(&pool);
}

Test(pool, an_address_that_was_used_before_its_turn_is_not_taken_for_a_new_one)
{
	struct pool pool = make_pool("10.8.0.1/29", NULL); /* 2 to 6 */
	cr_assert(pool_reserve(&pool, 3) == 3 && pool_release(&pool, 3));
	static const uint32_t order[] = {2, 4, 5, 6, 3};
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		cr_assert(pool_reserve(&pool, POOL_NONE) == order[i]);
	pool_deinit(&pool);
}

Test(pool, what_is_cancelled_was_never_reserved)
{
	struct pool pool = make_pool("10.8.0.1/29", NULL); /* 2 to 6 */
	for (unsigned i = 0; i < 10; i++) {
		cr_assert(pool_reserve(&pool, POOL_NONE) == 2);
		cr_assert(pool_reserve(&pool, POOL_NONE) == 3);
		cr_assert(pool_cancel(&pool, 3) && pool_cancel(&pool, 2));
		cr_assert(!pool_cancel(&pool, 2) && used(&pool) == 0);
		cr_assert(pool_reserve(&pool, 5) == 5 && pool_cancel(&pool, 5), "by name");
	}
	for (uint32_t index = 2; index <= 6; index++)
		cr_assert(pool_reserve(&pool, POOL_NONE) == index, "nobody had any");
	for (uint32_t index = 6; index >= 2; index--)
		cr_assert(pool_release(&pool, index));
	for (unsigned i = 0; i < 10; i++) {
		cr_assert(pool_reserve(&pool, POOL_NONE) == 6);
		cr_assert(pool_reserve(&pool, POOL_NONE) == 5);
		cr_assert(pool_cancel(&pool, 5) && pool_cancel(&pool, 6));
	}
	cr_assert(pool_reserve(&pool, 4) == 4 && pool_cancel(&pool, 4));
	static const uint32_t order[] = {6, 5, 3, 2, 4};
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		cr_assert(pool_reserve(&pool, POOL_NONE) == order[i], "they rest as before");
	cr_assert(pool_reserve(&pool, POOL_NONE) == POOL_NONE);
	pool_hold(&pool, 4);
	cr_assert(pool_cancel(&pool, 4) && pool_reserve(&pool, POOL_NONE) == POOL_NONE, "held");
	pool_deinit(&pool);
}

Test(pool, held_addresses_wait_for_their_peer)
{
	struct pool pool = make_pool("10.8.0.1/29", NULL); /* 2 to 6 */
	cr_assert(pool_reserve(&pool, 6) == 6 && pool_release(&pool, 6));
	pool_hold(&pool, 6); /* it is in the queue */
	pool_hold(&pool, 4); /* its turn has not come */
	pool_hold(&pool, 4);
	cr_assert(pool_held(&pool, 4) && pool_held(&pool, 6) && !pool_held(&pool, 2));
	static const uint32_t others[] = {2, 3, 5};
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		cr_assert(pool_reserve(&pool, POOL_NONE) == others[i]);
	cr_assert(pool_reserve(&pool, POOL_NONE) == POOL_NONE);
	cr_assert(pool_reserve(&pool, 4) == 4, "by name");
	cr_assert(pool_reserve(&pool, 4) == POOL_NONE);
	cr_assert(pool_release(&pool, 4));
	cr_assert(pool_reserve(&pool, POOL_NONE) == POOL_NONE, "given back, held still");
	pool_unhold(&pool, 4);
	pool_unhold(&pool, 4);
	pool_unhold(&pool, 6);
	cr_assert(!pool_held(&pool, 4));
	cr_assert(pool_reserve(&pool, POOL_NONE) == 4);
	cr_assert(pool_reserve(&pool, POOL_NONE) == 6);
	cr_assert(pool_reserve(&pool, POOL_NONE) == POOL_NONE, "once each");
	pool_deinit(&pool);
}

Test(pool, holding_an_address_in_use_leaves_its_user_alone)
{
	struct pool pool = make_pool("10.8.0.1/30", NULL); /* 2 */
	cr_assert(pool_reserve(&pool, POOL_NONE) == 2 && pool_activate(&pool, 2, 77, 0));
	pool_hold(&pool, 2);
	cr_assert(active_at(&pool, 2) == 77 && used(&pool) == 1);
	pool_unhold(&pool, 2);
	cr_assert(pool_reserve(&pool, POOL_NONE) == POOL_NONE, "it is in use");
	pool_hold(&pool, 2);
	cr_assert(pool_deactivate(&pool, 2, 77) && pool_release(&pool, 2));
	cr_assert(pool_reserve(&pool, POOL_NONE) == POOL_NONE, "held");
	pool_unhold(&pool, 2);
	cr_assert(pool_reserve(&pool, POOL_NONE) == 2);
	pool_deinit(&pool);
}

/* --- states of an entry ------------------------------------------------------------------------------------------- */

Test(pool, a_session_that_was_replaced_takes_nothing_away)
{
	struct pool pool = make_pool("10.8.0.1/24", NULL);
	cr_assert(pool_reserve(&pool, 9) == 9);
	cr_assert(pool_activate(&pool, 9, 1, 0));
	cr_assert(pool_activate(&pool, 9, 2, 1));
	cr_assert(!pool_activate(&pool, 9, 3, 1), "1 is gone");
	cr_assert(!pool_activate(&pool, 9, 3, 0), "not reserved");
	cr_assert(!pool_deactivate(&pool, 9, 1), "the end of the old session comes late");
	cr_assert(!pool_release(&pool, 9));
	cr_assert(active_at(&pool, 9) == 2 && used(&pool) == 1);
	cr_assert(pool_deactivate(&pool, 9, 2));
	cr_assert(pool_activate(&pool, 9, 4, 2), "the old session ended just before");
	cr_assert(active_at(&pool, 9) == 4);
	pool_deinit(&pool);
}

enum operation { RESERVE, RELEASE, ACTIVATE_1, ACTIVATE_2, REPLACE_1_BY_2, REPLACE_2_BY_1, END_1, END_2, OPERATIONS };

struct entry_model {
	enum pool_state state;
	uint32_t id;
};

static bool model_activate(struct entry_model *entry, uint32_t id, uint32_t replaced)
{
	bool good = entry->state == POOL_RESERVED ||
		    (entry->state == POOL_ACTIVE && replaced != 0 && entry->id == replaced);
	if (good)
		*entry = (struct entry_model){POOL_ACTIVE, id};
	return good;
}

static bool model_change(struct entry_model *entry, enum pool_state from, uint32_t id, enum pool_state to)
{
	bool good = entry->state == from && entry->id == id;
	if (good)
		*entry = (struct entry_model){.state = to};
	return good;
}

static bool apply_to_model(struct entry_model *entry, enum operation operation)
{
	switch (operation) {
	case RESERVE:
		return model_change(entry, POOL_FREE, 0, POOL_RESERVED);
	case RELEASE:
		return model_change(entry, POOL_RESERVED, 0, POOL_FREE);
	case ACTIVATE_1:
		return model_activate(entry, 1, 0);
	case ACTIVATE_2:
		return model_activate(entry, 2, 0);
	case REPLACE_1_BY_2:
		return model_activate(entry, 2, 1);
	case REPLACE_2_BY_1:
		return model_activate(entry, 1, 2);
	case END_1:
		return model_change(entry, POOL_ACTIVE, 1, POOL_RESERVED);
	default:
		return model_change(entry, POOL_ACTIVE, 2, POOL_RESERVED);
	}
}

static bool apply_to_pool(struct pool *pool, uint32_t index, enum operation operation)
{
	switch (operation) {
	case RESERVE:
		return pool_reserve(pool, index) == index;
	case RELEASE:
		return pool_release(pool, index);
	case ACTIVATE_1:
		return pool_activate(pool, index, 1, 0);
	case ACTIVATE_2:
		return pool_activate(pool, index, 2, 0);
	case REPLACE_1_BY_2:
		return pool_activate(pool, index, 2, 1);
	case REPLACE_2_BY_1:
		return pool_activate(pool, index, 1, 2);
	case END_1:
		return pool_deactivate(pool, index, 1);
	default:
		return pool_deactivate(pool, index, 2);
	}
}

/* What threads do to one entry, in whatever order it comes: all sequences of some length. */
Test(pool, every_order_of_changes_follows_the_model)
{
	enum { LENGTH = 6 };
	struct pool pool = make_pool("10.8.0.1/30", NULL); /* 2 */
	uint32_t sequences = 1;
	for (unsigned i = 0; i < LENGTH; i++)
		sequences *= OPERATIONS;
	for (uint32_t sequence = 0; sequence < sequences; sequence++) {
		struct entry_model model = {POOL_FREE, 0};
		for (uint32_t i = 0, rest = sequence; i < LENGTH; i++, rest /= OPERATIONS) {
			enum operation operation = (enum operation)(rest % OPERATIONS);
			bool expected = apply_to_model(&model, operation);
			bool got = apply_to_pool(&pool, 2, operation);
			if (got != expected || active_at(&pool, 2) != (model.state == POOL_ACTIVE ? model.id : 0) ||
			    used(&pool) != (model.state != POOL_FREE))
				cr_assert_fail("sequence %o (octal, the first operation last), step %u", sequence, i);
		}
		pool_deactivate(&pool, 2, 1);
		pool_deactivate(&pool, 2, 2);
		pool_release(&pool, 2);
	}
	cr_assert(pool_reserve(&pool, POOL_NONE) == 2);
	cr_assert(pool_reserve(&pool, POOL_NONE) == POOL_NONE);
	pool_deinit(&pool);
}

/* --- churn -------------------------------------------------------------------------------------------------------- */

enum { CHURN_SIZE = 64, CHURN_STEPS = 100000 };

struct model {
	bool usable[CHURN_SIZE], held[CHURN_SIZE];
	uint64_t since[CHURN_SIZE]; /* rests since; those never in use go first, in ascending order */
	struct entry_model entries[CHURN_SIZE];
	uint32_t used, fullest;
};

static uint32_t oldest_free(const struct model *model)
{
	uint32_t best = POOL_NONE;
	for (uint32_t index = 0; index < CHURN_SIZE; index++)
		if (model->usable[index] && !model->held[index] && model->entries[index].state == POOL_FREE &&
		    (best == POOL_NONE || model->since[index] < model->since[best]))
			best = index;
	return best;
}

static void churn_reserve(struct pool *pool, struct model *model, uint32_t wish)
{
	uint32_t expected = wish;
	if (wish == POOL_NONE)
		expected = oldest_free(model);
	else if (!model->usable[wish] || model->entries[wish].state != POOL_FREE)
		expected = POOL_NONE;
	uint32_t index = pool_reserve(pool, wish);
	cr_assert(index == expected, "%u, not %u", index, expected);
	if (index == POOL_NONE)
		return;
	model->entries[index].state = POOL_RESERVED;
	if (++model->used > model->fullest)
		model->fullest = model->used;
}

static void churn_release(struct pool *pool, struct model *model, uint32_t index, uint64_t now)
{
	bool expected = apply_to_model(&model->entries[index], RELEASE);
	cr_assert(pool_release(pool, index) == expected);
	model->used -= expected;
	if (expected)
		model->since[index] = now;
}

static void churn_hold(struct pool *pool, struct model *model, uint32_t index, uint64_t now)
{
	if (!model->usable[index])
		return;
	if (model->held[index]) {
		pool_unhold(pool, index);
		model->since[index] = now;
	} else {
		pool_hold(pool, index);
	}
	model->held[index] = !model->held[index];
}

static void churn_step(struct pool *pool, struct model *model, unsigned filling, uint64_t now)
{
	uint32_t index = (uint32_t)random() % CHURN_SIZE;
	unsigned what = (unsigned)random() % 100;
	if (what < filling) {
		churn_reserve(pool, model, what % 4 == 0 ? index : POOL_NONE);
	} else if (what < 50) {
		churn_release(pool, model, index, now);
	} else if (what < 52) {
		churn_hold(pool, model, index, now);
	} else {
		enum operation operation = (enum operation)(ACTIVATE_1 + random() % (OPERATIONS - ACTIVATE_1));
		bool expected = apply_to_model(&model->entries[index], operation);
		cr_assert(apply_to_pool(pool, index, operation) == expected);
	}
}

Test(pool, churn_follows_the_model)
{
	static struct model model;
	struct pool pool = make_pool("10.8.0.9/26", NULL);
	for (uint32_t index = 0; index < CHURN_SIZE; index++) {
		model.usable[index] = index != 0 && index != 9 && index != CHURN_SIZE - 1;
		model.since[index] = index;
	}
	srandom(11);
	for (uint64_t step = 0; step < CHURN_STEPS; step++) {
		churn_step(&pool, &model, step / 2000 % 2 == 0 ? 40 : 10, CHURN_SIZE + step);
		cr_assert(used(&pool) == model.used);
	}
	cr_assert(model.fullest == pool.usable, "%u: it was full at times", model.fullest);

	for (uint32_t index = 0; index < CHURN_SIZE; index++) {
		apply_to_pool(&pool, index, END_1);
		apply_to_pool(&pool, index, END_2);
		pool_release(&pool, index);
		pool_unhold(&pool, index);
	}
	cr_assert(used(&pool) == 0);
	check_all_addresses(&pool, CHURN_SIZE - 3);
}
