// SPDX-License-Identifier: Apache-2.0
/* The session table: IDs, whose they are, and what is found by them. */
#include "core/sessions/table.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>

#include "core/base/bytes.h"

static struct session_table make_table(uint32_t capacity, uint32_t workers)
{
	struct session_table table;
	cr_assert(sodium_init() >= 0);
	cr_assert(session_table_init(&table, capacity, workers) == 0);
	return table;
}

static uint32_t slot_of(const struct session_table *table, uint32_t id)
{
	return id & table->sharding.slot_mask;
}

static uint32_t slots_of(const struct session_table *table)
{
	return table->sharding.slot_mask + 1;
}

Test(table, finds_the_whole_id_only)
{
	struct session_table table = make_table(1000, 2);
	cr_assert(slots_of(&table) == 1024, "rounded up");
	struct session session = {.id = session_table_take(&table, 1)};
	cr_assert(session_table_find(&table, session.id) == NULL, "given, but not there yet");
	session_table_insert(&table, &session);
	cr_assert(session_table_find(&table, session.id) == &session);
	for (unsigned bit = 0; bit < 32; bit++)
		cr_assert(session_table_find(&table, session.id ^ 1u << bit) == NULL, "bit %u", bit);
	cr_assert(session_table_find(&table, 0) == NULL);
	session_table_remove(&table, &session);
	cr_assert(session_table_find(&table, session.id) == NULL);
	session_table_deinit(&table);
}

Test(table, a_newer_session_of_a_slot_outlives_the_removal_of_an_older_one)
{
	struct session_table table = make_table(16, 1);
	uint32_t id = session_table_take(&table, 0);
	struct session old = {.id = id}, newer = {.id = id};
	session_table_insert(&table, &old);
	session_table_insert(&table, &newer);
	session_table_remove(&table, &old);
	cr_assert(session_table_find(&table, id) == &newer);
	session_table_remove(&table, &newer);
	cr_assert(session_table_find(&table, id) == NULL);
	session_table_deinit(&table);
}

Test(table, gives_each_slot_once)
{
	struct session_table table = make_table(16, 1);
	bool given[16] = {false};
	for (unsigned i = 0; i < 16; i++) {
		uint32_t id = session_table_take(&table, 0);
		cr_assert(id != 0 && !given[slot_of(&table, id)]);
		given[slot_of(&table, id)] = true;
	}
	cr_assert(session_table_take(&table, 0) == 0, "full");
	cr_assert(session_table_take(&table, 0) == 0, "still");
	session_table_deinit(&table);
}

Test(table, steps_the_generation_and_never_gives_zero)
{
	struct session_table table = make_table(8, 1);
	for (uint32_t slot = 0; slot < 8; slot++)
		table.ids[slot] = (0x0fffffff & ~table.sharding.slot_mask) | slot; /* the last generation */
	uint32_t ids[8];
	for (uint32_t i = 0; i < 8; i++) {
		ids[i] = session_table_take(&table, 0);
		uint32_t slot = slot_of(&table, ids[i]);
		cr_assert(ids[i] == (slot == 0 ? 8 : slot), "%x: generation 0, but 1 where that would be ID 0", ids[i]);
	}
	for (uint32_t i = 0; i < 8; i++)
		session_table_give_back(&table, ids[i]);
	for (uint32_t i = 0; i < 8; i++)
		cr_assert(session_table_take(&table, 0) == ids[i] + 8, "one generation on");
	session_table_deinit(&table);
}

Test(table, comes_back_to_an_id_only_after_all_generations)
{
	/* The largest table has the fewest: 6 bits. A slot's turn is forced by leaving the worker no other. */
	struct session_table table = make_table(UINT32_MAX, 1);
	cr_assert(slots_of(&table) == SESSION_SLOTS_MAX);
	table.workers[0].free = 1;
	uint32_t first = session_table_take(&table, 0), id = first;
	for (unsigned i = 1; i < 63; i++) { /* slot 0 has no generation 0 */
		session_table_give_back(&table, id);
		id = session_table_take(&table, 0);
		cr_assert(slot_of(&table, id) == 0 && id != first && id != 0);
	}
	session_table_give_back(&table, id);
	cr_assert(session_table_take(&table, 0) == first);
	session_table_deinit(&table);
}

/* Two gateways of a cluster give a hundred IDs of one block each. */
Test(table, scattered_slots_are_all_given_and_hardly_any_by_two)
{
	for (uint32_t workers = 1; workers <= 7; workers += 3) {
		struct session_table one = make_table(1 << 16, workers), other = make_table(1 << 16, workers);
		session_table_scatter(&one);
		session_table_scatter(&other);
		bool *given = calloc(slots_of(&one), sizeof *given);
		unsigned same = 0;
		for (unsigned i = 0; i < 100; i++) {
			given[slot_of(&one, session_table_take_in(&one, 3, i % workers))] = true;
			same += given[slot_of(&other, session_table_take_in(&other, 3, i % workers))];
		}
		cr_expect_leq(same, 20, "%u of 100 slots", same);
		for (uint32_t i = 100; i < slots_of(&one); i++) {
			uint32_t slot = slot_of(&one, session_table_take_in(&one, 3, session_table_emptiest(&one)));
			cr_assert(!given[slot], "slot %u is given twice", slot);
			given[slot] = true;
		}
		cr_assert_eq(session_table_emptiest(&one), SESSION_WORKERS_MAX, "all are given");
		free(given);
		session_table_deinit(&one);
		session_table_deinit(&other);
	}
}

/* For tables of all sizes, and from all first generations. */
Test(table, gives_ids_of_28_bits_only)
{
	for (uint32_t capacity = 1; capacity <= SESSION_SLOTS_MAX; capacity *= 4) {
		struct session_table table = make_table(capacity, 1);
		table.workers[0].free = 1;
		for (unsigned i = 0; i < 4096; i++) {
			uint32_t id = session_table_take(&table, 0);
			cr_assert(id != 0 && id >> 28 == 0, "%x, %u slots", id, capacity);
			cr_assert(session_table_find(&table, id) == NULL);
			session_table_give_back(&table, id);
		}
		for (uint32_t slot = 0; slot < slots_of(&table); slot++)
			cr_assert(table.ids[slot] >> 28 == 0);
		session_table_deinit(&table);
	}
}

Test(table, starts_generations_at_random)
{
	struct session_table one = make_table(4096, 3), other = make_table(4096, 3);
	unsigned same = 0, low = 0;
	for (uint32_t slot = 0; slot < 4096; slot++) {
		cr_assert(slot_of(&one, one.ids[slot]) == slot);
		same += one.ids[slot] == other.ids[slot];
		low += one.ids[slot] >> 27 == 0;
	}
	cr_assert(same < 4096 / 100, "%u", same);
	cr_assert(low > 4096 / 3 && low < 4096 * 2 / 3, "%u", low);
	session_table_deinit(&one);
	session_table_deinit(&other);
}

Test(table, freed_slots_rest_the_longest)
{
	struct session_table table = make_table(8, 1);
	uint32_t ids[5];
	for (unsigned i = 0; i < 5; i++)
		ids[i] = session_table_take(&table, 0);
	static const unsigned order[] = {3, 0, 4, 1, 2};
	for (unsigned i = 0; i < 5; i++)
		session_table_give_back(&table, ids[order[i]]);
	for (unsigned i = 0; i < 3; i++) { /* those never in use */
		uint32_t id = session_table_take(&table, 0);
		for (unsigned k = 0; k < 5; k++)
			cr_assert(slot_of(&table, id) != slot_of(&table, ids[k]));
	}
	for (unsigned i = 0; i < 5; i++)
		cr_assert(session_table_take(&table, 0) == ids[order[i]] + 8, "in the order they came back");
	session_table_deinit(&table);
}

Test(table, giving_back_twice_is_caught, .signal = SIGABRT)
{
	struct session_table table = make_table(8, 1);
	uint32_t id = session_table_take(&table, 0);
	session_table_give_back(&table, id);
	session_table_give_back(&table, id);
}

Test(table, giving_back_an_older_generation_is_caught, .signal = SIGABRT)
{
	struct session_table table = make_table(1, 1);
	uint32_t id = session_table_take(&table, 0);
	session_table_give_back(&table, id);
	session_table_take(&table, 0);
	session_table_give_back(&table, id);
}

/* --- workers ------------------------------------------------------------------------------------------------------ */

static void check_shares(uint32_t capacity, uint32_t workers)
{
	struct session_table table = make_table(capacity, workers);
	uint32_t slots = slots_of(&table), total = 0;
	cr_assert(slots >= capacity && slots >= workers && (slots & (slots - 1)) == 0);
	cr_assert(slots == 1 || slots / 2 < capacity || slots / 2 < workers, "no more than needed");
	bool *given = calloc(slots, sizeof *given);
	for (uint32_t worker = 0; worker < workers; worker++) {
		uint32_t own = 0;
		for (uint32_t id; (id = session_table_take(&table, worker)) != 0; own++) {
			cr_assert(session_shard(&table.sharding, id) == worker);
			cr_assert(!given[slot_of(&table, id)]);
			given[slot_of(&table, id)] = true;
		}
		cr_assert(own == slots / workers || own == slots / workers + 1, "%u of %u", own, slots);
		cr_assert(table.workers[worker].taken == own && table.workers[worker].free == 0);
		total += own;
	}
	cr_assert(total == slots, "%u workers: every slot is somebody's", workers);
	cr_assert(session_table_emptiest(&table) == SESSION_WORKERS_MAX);
	free(given);
	session_table_deinit(&table);
}

Test(table, each_worker_gets_its_slots_and_no_others)
{
	static const uint32_t workers[] = {1, 2, 3, 6, 7, 64, 255, 256},
			      capacities[] = {0, 1, 2, 10, 64, 100, 1000, 65536};
	for (size_t w = 0; w < ARRAY_SIZE(workers); w++)
		for (size_t c = 0; c < ARRAY_SIZE(capacities); c++)
			check_shares(capacities[c], workers[w]);
}

Test(table, the_generation_does_not_move_a_session)
{
	struct session_sharding sharding = {.slot_mask = 1023, .workers = 7};
	for (uint32_t id = 0; id < 1024; id++)
		for (uint32_t generation = 1; generation < 1 << 18; generation *= 2)
			cr_assert(session_shard(&sharding, id) == session_shard(&sharding, id | generation << 10));
}

static void check_balance(uint32_t workers)
{
	struct session_table table = make_table(64, workers);
	uint32_t taken[8] = {0}, ids[64], count = 0;
	for (uint32_t worker; (worker = session_table_emptiest(&table)) != SESSION_WORKERS_MAX; count++) {
		for (uint32_t other = 0; other < workers; other++) {
			bool full = table.workers[other].free == 0;
			cr_assert(full || taken[other] > taken[worker] ||
					  (taken[other] == taken[worker] && other >= worker),
				  "%u, but %u has fewer or stands before it", worker, other);
		}
		ids[count] = session_table_take(&table, worker);
		cr_assert(ids[count] != 0, "it has a free one");
		taken[worker]++;
	}
	cr_assert(count == 64, "%u", count);
	uint32_t back = ids[63 - 5];
	session_table_give_back(&table, back);
	cr_assert(session_table_emptiest(&table) == session_shard(&table.sharding, back));
	session_table_deinit(&table);
}

Test(table, the_emptiest_worker_balances)
{
	static const uint32_t workers[] = {1, 3, 6, 7};
	for (size_t i = 0; i < ARRAY_SIZE(workers); i++)
		check_balance(workers[i]);
}

Test(table, the_emptiest_worker_has_a_free_slot)
{
	struct session_table table = make_table(8, 3); /* 3, 3 and 2 slots */
	for (unsigned i = 0; i < 2; i++)
		session_table_take(&table, 2);
	for (unsigned i = 0; i < 2; i++) {
		session_table_take(&table, 0);
		session_table_take(&table, 1);
	}
	cr_assert(session_table_emptiest(&table) == 0, "2 each, but the last one is full");
	session_table_take(&table, 0);
	cr_assert(session_table_emptiest(&table) == 1);
	session_table_deinit(&table);
}

/* --- churn -------------------------------------------------------------------------------------------------------- */

enum { CHURN_SLOTS = 128, CHURN_WORKERS = 6, CHURN_STEPS = 100000 };

/* What the table should be like: of each slot, since when it is free, and its ID while taken. */
struct model {
	uint64_t free_since[CHURN_SLOTS]; /* step; at first its number, so that they go in ascending order */
	uint32_t ids[CHURN_SLOTS];	  /* 0: free */
	struct session sessions[CHURN_SLOTS];
	unsigned taken, fullest;
};

static uint32_t oldest_slot(const struct model *model, uint32_t worker)
{
	uint32_t best = CHURN_SLOTS;
	for (uint32_t slot = worker; slot < CHURN_SLOTS; slot += CHURN_WORKERS)
		if (model->ids[slot] == 0 && (best == CHURN_SLOTS || model->free_since[slot] < model->free_since[best]))
			best = slot;
	return best;
}

static void churn_take(struct session_table *table, struct model *model, uint32_t worker)
{
	uint32_t slot = oldest_slot(model, worker), id = session_table_take(table, worker);
	if (slot == CHURN_SLOTS) {
		cr_assert(id == 0, "full");
		return;
	}
	cr_assert(id != 0 && slot_of(table, id) == slot, "%x, and %u is free for the longest", id, slot);
	cr_assert(session_table_find(table, id) == NULL);
	model->ids[slot] = model->sessions[slot].id = id;
	session_table_insert(table, &model->sessions[slot]);
	if (++model->taken > model->fullest)
		model->fullest = model->taken;
}

static void churn_give_back(struct session_table *table, struct model *model, uint32_t slot, uint64_t now)
{
	if (model->ids[slot] == 0)
		return;
	session_table_remove(table, &model->sessions[slot]);
	session_table_give_back(table, model->ids[slot]);
	model->ids[slot] = 0;
	model->free_since[slot] = now;
	model->taken--;
}

static void check_model(const struct session_table *table, const struct model *model)
{
	uint32_t taken[CHURN_WORKERS] = {0}, total = 0;
	for (uint32_t slot = 0; slot < CHURN_SLOTS; slot++) {
		const struct session *found = session_table_find(table, table->ids[slot]);
		cr_assert(found == (model->ids[slot] != 0 ? &model->sessions[slot] : NULL));
		taken[slot % CHURN_WORKERS] += model->ids[slot] != 0;
	}
	for (uint32_t worker = 0; worker < CHURN_WORKERS; worker++) {
		cr_assert(table->workers[worker].taken == taken[worker]);
		total += table->workers[worker].taken + table->workers[worker].free;
	}
	cr_assert(total == CHURN_SLOTS, "none leaked: %u", total);
}

Test(table, churn_follows_the_model)
{
	static struct model model;
	struct session_table table = make_table(CHURN_SLOTS, CHURN_WORKERS);
	for (uint32_t slot = 0; slot < CHURN_SLOTS; slot++)
		model.free_since[slot] = slot;
	srandom(7);
	for (uint64_t step = 0; step < CHURN_STEPS; step++) {
		unsigned filling = step / 1000 % 2 == 0 ? 60 : 40; /* percent; it becomes full and empty in turns */
		if ((unsigned)random() % 100 < filling)
			churn_take(&table, &model, (uint32_t)random() % CHURN_WORKERS);
		else
			churn_give_back(&table, &model, (uint32_t)random() % CHURN_SLOTS, CHURN_SLOTS + step);
		if (step % 100 == 0)
			check_model(&table, &model);
	}
	cr_assert(model.fullest == CHURN_SLOTS, "%u: it was full at times", model.fullest);
	for (uint32_t slot = 0; slot < CHURN_SLOTS; slot++)
		churn_give_back(&table, &model, slot, 2 * CHURN_STEPS + slot);
	check_model(&table, &model);
	session_table_deinit(&table);
}
