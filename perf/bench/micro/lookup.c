// SPDX-License-Identifier: Apache-2.0
/* What finding a session by its ID costs, among 1,000 to 1,000,000 of them: one that was just looked up, and one at
 * random, whose look-ups overlap in the CPU or wait for each other. */
#include <sodium.h>

#include "core/sessions/table.h"
#include "perf/bench/micro/micro.h"

enum { LOOKUPS = 4096 /* IDs that are asked for, in turn */, MOST = 1000000 };

struct bench {
	struct session_table table;
	struct session *sessions;
	uint32_t ids[LOOKUPS];
	uint32_t hot, last;
};

static void look_up_hot(void *context)
{
	struct bench *bench = context;
	for (size_t i = 0; i < LOOKUPS; i++)
		MICRO_KEEP(session_table_find(&bench->table, bench->hot)->mtu);
}

static void look_up(void *context)
{
	struct bench *bench = context;
	for (size_t i = 0; i < LOOKUPS; i++)
		MICRO_KEEP(session_table_find(&bench->table, bench->ids[i])->mtu);
}

/* Which ID comes next depends on what was found. */
static void look_up_dependent(void *context)
{
	struct bench *bench = context;
	uint32_t found = bench->last;
	for (size_t i = 0; i < LOOKUPS; i++)
		found = session_table_find(&bench->table, bench->ids[(i + (found & 1)) % LOOKUPS])->mtu;
	bench->last = found;
}

/* The sessions lie in memory in another order than their slots. */
static void fill(struct bench *bench, uint32_t count)
{
	if (session_table_init(&bench->table, count, 1) != 0)
		abort();
	uint32_t *order = malloc(count * sizeof *order);
	if (order == NULL)
		abort();
	for (uint32_t i = 0; i < count; i++) {
		uint32_t other = randombytes_uniform(i + 1);
		order[i] = order[other];
		order[other] = i;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct session *session = &bench->sessions[order[i]];
		session->id = session_table_take(&bench->table, 0);
		session->mtu = (uint16_t)randombytes_uniform(2);
		session_table_insert(&bench->table, session);
	}
	for (size_t i = 0; i < LOOKUPS; i++)
		bench->ids[i] = bench->sessions[randombytes_uniform(count)].id;
	bench->hot = bench->ids[0];
	free(order);
}

/* Other sessions each batch, so that those of the last one are in no cache. */
static void look_up_elsewhere(void *context)
{
	struct bench *bench = context;
	static uint32_t seed = 1;
	uint32_t mask = bench->table.sharding.slot_mask;
	for (size_t i = 0; i < LOOKUPS; i++) {
		seed = seed * 1664525 + 1013904223;
		const struct session *session = rcu_read(&bench->table.slots[(seed >> 8) & mask]);
		MICRO_KEEP(session != NULL ? session->mtu : 0);
	}
}

int main(void)
{
	static const uint32_t counts[] = {1000, 100000, MOST};
	static struct bench bench;
	if (sodium_init() < 0)
		abort();
	rcu_start();
	rcu_join();
	bench.sessions = calloc(MOST, sizeof *bench.sessions);
	if (bench.sessions == NULL)
		abort();
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		char name[64];
		fill(&bench, counts[i]);
		snprintf(name, sizeof name, "look up, %u sessions, the same one", counts[i]);
		micro_report(name, look_up_hot, &bench, 1, LOOKUPS);
		snprintf(name, sizeof name, "look up, %u sessions, %d in turn", counts[i], LOOKUPS);
		micro_report(name, look_up, &bench, 1, LOOKUPS);
		snprintf(name, sizeof name, "look up, %u sessions, the same, each waits", counts[i]);
		micro_report(name, look_up_dependent, &bench, 1, LOOKUPS);
		snprintf(name, sizeof name, "look up, %u sessions, random", counts[i]);
		double ns = micro_report(name, look_up_elsewhere, &bench, 1, LOOKUPS);
		if (counts[i] == MOST)
			micro_sample("lookup-1m/ns", ns);
		session_table_deinit(&bench.table);
	}
	free(bench.sessions);
	rcu_leave();
	return 0;
}
