// SPDX-License-Identifier: Apache-2.0
/* Clusters whose takers promise each other to take nothing: what etcd's silence costs, and random schedules with one
 * precaution less. */
#include "core/agent/ownership.h"

#include "tests/unit/ownership_world.h"

TestSuite(agent_promise_schedules, .timeout = 900);

#define S  NS_PER_S
#define MS NS_PER_MS

/* --- what etcd's silence costs ------------------------------------------------------------------------------------ */

static struct world world;

/* A cluster that runs, each block with an owner. */
static void settle_with(uint64_t seed, enum world_fault fault, unsigned members)
{
	world_begin(&world, seed, fault, 0);
	set_members(&world, members);
	world_run(&world, 30 * S);
	for (unsigned b = 1; b <= BLOCKS; b++)
		cr_assert_neq(world.served_since[b], 0, "seed %u, block %u", (unsigned)seed, b);
}

static void settle(uint64_t seed)
{
	settle_with(seed, NO_FAULT, (1u << AGENTS) - 1);
}

/* The same, of which all is to stay as it is now. */
static uint64_t began;
static unsigned servers[BLOCKS + 1];

static void settle_and_note(uint64_t seed)
{
	settle(seed);
	began = world.now;
	memcpy(servers, world.server, sizeof servers);
}

/* Each block was served by the same one all the time. */
static void nothing_happened(uint64_t seed)
{
	cr_assert_eq(world.overlaps, 0);
	for (unsigned b = 1; b <= BLOCKS; b++) {
		bool stayed = world.served_since[b] != 0 && world.served_since[b] <= began &&
			      world.server[b] == servers[b];
		cr_assert(stayed, "seed %u, block %u", (unsigned)seed, b);
	}
	world_end(&world);
}

Test(agent_promise_schedules, etcd_is_away_for_a_minute_and_nothing_happens)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		settle_and_note(seed);
		for (unsigned n = 0; n < AGENTS; n++)
			world.agents[n].no_etcd_until = began + 60 * S;
		world_run(&world, began + 59 * S);
		cr_assert_gt(world.promised_steps, 50000);
		world_run(&world, began + 90 * S);
		for (unsigned n = 0; n < AGENTS; n++)
			cr_assert_eq(world.agents[n].rule.figures.fences, 0);
		nothing_happened(seed);
	}
}

Test(agent_promise_schedules, one_that_is_cut_off_from_etcd_alone_serves_on)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		settle_and_note(seed);
		world.agents[seed % AGENTS].no_etcd_until = began + 20 * S;
		world_run(&world, began + 40 * S);
		nothing_happened(seed);
	}
}

Test(agent_promise_schedules, one_that_is_cut_off_from_a_member_as_well_is_fenced_and_the_rest_takes)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		settle(seed);
		unsigned cut = (unsigned)(seed % AGENTS), other = (cut + 1) % AGENTS;
		uint64_t since = world.now;
		world.agents[cut].no_etcd_until = since + 20 * S;
		world.agents[cut].cut_until[other] = world.agents[other].cut_until[cut] = since + 20 * S;
		world_run(&world, since + 2100 * MS); /* its clock may be slower */
		cr_assert_eq(world.agents[cut].rule.figures.fences, 1);
		for (unsigned b = 1; b <= BLOCKS; b++)
			cr_assert_neq(world.server[b], cut);
		world_run(&world, since + 15 * S);
		for (unsigned b = 1; b <= BLOCKS; b++)
			cr_assert(world.served_since[b] != 0 && world.server[b] != cut, "block %u", b);
		cr_assert_eq(world.overlaps, 0);
		world_end(&world);
	}
}

Test(agent_promise_schedules, leases_that_are_revoked_cost_nothing)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		settle_and_note(seed);
		for (unsigned i = 1; i <= 5; i++) {
			for (unsigned n = 0; n < AGENTS; n++)
				world.lease_ends[world.agents[n].rule.lease] = world.now;
			world_run(&world, began + i * 5 * S);
		}
		nothing_happened(seed);
	}
}

/* No overlap comes out of the schedule, but with that fault there is one. */
static void only_with(enum world_fault fault, unsigned (*overlaps)(uint64_t seed, enum world_fault fault))
{
	unsigned found = 0;
	for (uint64_t seed = 1; seed <= 10; seed++) {
		cr_assert_eq(overlaps(seed, NO_FAULT), 0);
		found += overlaps(seed, fault);
	}
	cr_assert_gt(found, 0, "the observer sees nothing");
}

/* Agent 0 is cut off from etcd, agent 1 promises, and agent 2 becomes a member meanwhile. Returns the overlaps. */
static unsigned add_a_member(uint64_t seed, enum world_fault fault)
{
	settle_with(seed, fault, 3);
	world.agents[0].no_etcd_until = world.now + 30 * S;
	world_run(&world, world.now + 5 * S);
	set_members(&world, 7);
	world_run(&world, world.now + 20 * S);
	cr_assert(fault != NO_FAULT || world.agents[0].rule.figures.fences == 1);
	world_end(&world);
	return world.overlaps;
}

/* Agent 0 is cut off from etcd, and from the others while their last answers, which take long, are on their way. */
static unsigned answer_late(uint64_t seed, enum world_fault fault)
{
	settle_with(seed, fault, 7);
	world.answer_delay = 350 * MS; /* with the way there it is just in time for the next question */
	world.agents[0].no_etcd_until = world.now + 30 * S;
	world_run(&world, world.now + 8 * S);
	cr_assert_eq(world.agents[0].rule.figures.fences, 0);
	uint64_t answered = world.agents[0].rule.question.sent;
	while (world.agents[0].rule.question.sent == answered)
		world_run(&world, world.now + MS);
	world_run(&world, world.now + 50 * MS);
	for (unsigned n = 1; n < AGENTS; n++)
		world.agents[0].cut_until[n] = world.agents[n].cut_until[0] = world.now + 30 * S;
	world_run(&world, world.now + 8 * S);
	world_end(&world);
	return world.overlaps;
}

Test(agent_promise_schedules, what_is_promised_to_one_that_knows_other_takers_has_no_effect)
{
	only_with(PROMISE_UNDER_OTHER_TAKERS, add_a_member);
}

/* Agents 0 and 1 are cut off from etcd, and serve by promises; another machine begins as node gw0. Returns the
 * overlaps. */
static unsigned replace_a_machine(uint64_t seed, bool same_machine)
{
	settle_with(seed, NO_FAULT, 3);
	for (unsigned n = 0; n < 2; n++)
		world.agents[n].no_etcd_until = world.now + 60 * S;
	world_run(&world, world.now + 5 * S);
	world.agents[2].name = 0;
	world.agents[2].machine = same_machine ? 0 : 7;
	agent_start(&world, 2, false);
	world_run(&world, world.now + 20 * S);
	cr_assert(same_machine || world.agents[0].rule.figures.fences == 0);
	if (!same_machine)
		world_run(&world, world.now + 60 * S);
	cr_assert(same_machine || world.overlaps != 0 || ownership_count(&world.agents[2].rule) != 0,
		  "seed %u: when another taker is back, it is let in", (unsigned)seed);
	world_end(&world);
	return world.overlaps;
}

Test(agent_promise_schedules, a_machine_that_is_replaced_under_its_name_takes_nothing_from_the_former_one)
{
	unsigned found = 0;
	for (uint64_t seed = 1; seed <= 10; seed++) {
		cr_assert_eq(replace_a_machine(seed, false), 0);
		found += replace_a_machine(seed, true);
	}
	cr_assert_gt(found, 0, "the observer sees nothing");
}

Test(agent_promise_schedules, answers_that_take_long_extend_by_less)
{
	only_with(PROMISE_FROM_THE_ANSWER, answer_late);
}

/* --- one precaution less ------------------------------------------------------------------------------------------ */

BROKEN(agent_promise_schedules, promises_of_some_that_suffice_are_found, ONE_PROMISE_SUFFICES)
BROKEN(agent_promise_schedules, a_promise_that_is_not_kept_is_found, PROMISE_NOT_KEPT)
BROKEN(agent_promise_schedules, takers_that_the_administrator_writes_are_found, TAKERS_BY_THE_ADMINISTRATOR)
BROKEN(agent_promise_schedules, takers_that_are_replaced_with_promises_standing_are_found,
       TAKERS_REPLACED_WITH_PROMISES)
