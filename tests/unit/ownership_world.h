// SPDX-License-Identifier: Apache-2.0
/* Some agents, their gateways and an etcd, all simulated, with one random schedule: messages are late, lost, or carried
 * out after their sender has given up; leases end although they are kept alive; agents pause and start again; gateways
 * hang, die and come back; clocks differ in time and speed. An observer sees all gateways at every step. */
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/agent/ownership.h"

enum { AGENTS = 3, BLOCKS = 6, OPERATIONS = 512, LEASES = 4096 };
#define OPERATION_LIMIT NS_PER_S /* after which its sender has no answer */

/* What is broken, to see that the observer finds it. */
enum world_fault {
	NO_FAULT,
	FENCE_FROM_THE_ANSWER, /* in place of the sending */
	NO_WAIT_AFTER_START,
	SHORT_WAIT,
	TAKEN_NOT_COMPARED,
	CLEAN_BEFORE_RELEASE,
	STALE_READ_COUNTS,
	UNANSWERED_IS_FORGOTTEN,
};

struct operation {
	bool used, executed, given_up;
	unsigned agent, generation;
	struct ownership_action action;
	uint64_t executes, answers, gives_up; /* 0: never */
	enum ownership_outcome outcome;
	enum ownership_answer answer;
	int64_t lease;
	uint64_t revision, serves; /* bits of blocks */
	struct ownership_view *view;
};

struct world_agent {
	struct ownership rule;
	unsigned generation, uuid;
	int64_t offset;
	double speed;
	uint64_t paused_until;
	/* its gateway */
	bool gateway_runs;
	uint64_t gateway_hangs_until;
	uint64_t until[BLOCKS + 1]; /* by the machine's clock */
};

struct world {
	enum world_fault fault;
	uint64_t random, now, calm_from;
	struct world_agent agents[AGENTS];
	struct operation operations[OPERATIONS];
	struct ownership_block_key blocks[BLOCKS + 1];
	int64_t block_lease[BLOCKS + 1];
	struct ownership_node_key nodes[AGENTS];
	bool has_node[AGENTS];
	int64_t node_lease[AGENTS];
	uint64_t lease_ends[LEASES];
	int64_t lease_count;
	uint64_t revision;
	unsigned overlaps, served_steps;
};

static uint64_t world_random(struct world *world, uint64_t below)
{
	world->random ^= world->random << 13;
	world->random ^= world->random >> 7;
	world->random ^= world->random << 17;
	return world->random % below;
}

static bool world_calm(const struct world *world)
{
	return world->now >= world->calm_from;
}

static uint64_t local_time(const struct world *world, const struct world_agent *agent)
{
	return (uint64_t)((double)world->now * agent->speed) + (uint64_t)agent->offset;
}

static uint64_t world_delay(struct world *world)
{
	uint64_t usual = NS_PER_MS + world_random(world, 15 * NS_PER_MS);
	if (world_calm(world) || world_random(world, 8) != 0)
		return usual;
	return world_random(world, 3 * NS_PER_S);
}

/* --- etcd --------------------------------------------------------------------------------------------------------- */

static bool lease_lives(const struct world *world, int64_t lease)
{
	return lease > 0 && world->lease_ends[lease] > world->now;
}

static void store_expire(struct world *world)
{
	for (unsigned b = 1; b <= BLOCKS; b++) {
		if (world->blocks[b].kind == OWNERSHIP_OWNED && !lease_lives(world, world->block_lease[b])) {
			world->revision++;
			world->blocks[b].kind = OWNERSHIP_ABSENT;
			world->blocks[b].mod_revision = 0;
		}
	}
	for (unsigned n = 0; n < AGENTS; n++) {
		if (world->has_node[n] && !lease_lives(world, world->node_lease[n])) {
			world->revision++;
			world->has_node[n] = false;
		}
	}
}

static void store_read(struct world *world, struct operation *op)
{
	struct ownership_view *view = calloc(1, sizeof *view);
	view->revision = world->revision;
	memcpy(view->blocks, world->blocks, sizeof world->blocks);
	for (unsigned n = 0; n < AGENTS; n++) {
		if (world->has_node[n])
			view->nodes[view->node_count++] = world->nodes[n];
		(void)snprintf(view->members[n], OWNERSHIP_NAME, "gw%u", n);
	}
	view->members_readable = true;
	view->member_count = AGENTS;
	op->view = view;
}

static void store_register(struct world *world, struct operation *op)
{
	const struct ownership_action *action = &op->action;
	uint64_t created = world->has_node[op->agent] ? world->nodes[op->agent].create_revision : 0;
	struct ownership_node_key *key = &world->nodes[op->agent];
	if (created != action->create_revision || !lease_lives(world, action->lease)) {
		op->outcome = created != action->create_revision ? OWNERSHIP_REFUSED : OWNERSHIP_NO_LEASE;
		return;
	}
	world->revision++;
	*key = (struct ownership_node_key){.create_revision = created != 0 ? created : world->revision,
					   .draining = action->draining};
	(void)snprintf(key->name, sizeof key->name, "gw%u", op->agent);
	(void)snprintf(key->uuid, sizeof key->uuid, "%u", world->agents[op->agent].uuid);
	world->has_node[op->agent] = true;
	world->node_lease[op->agent] = action->lease;
}

static void store_take(struct world *world, struct operation *op)
{
	const struct ownership_action *action = &op->action;
	struct ownership_block_key *key = &world->blocks[action->block];
	bool node = world->has_node[op->agent] && world->nodes[op->agent].create_revision == action->create_revision;
	bool same = key->mod_revision == action->mod_revision;
	bool taken = key->taken_revision == action->taken_revision || world->fault == TAKEN_NOT_COMPARED;
	op->outcome = OWNERSHIP_REFUSED;
	if (!node || !same || !taken)
		return;
	op->outcome = OWNERSHIP_NO_LEASE;
	if (!lease_lives(world, action->lease))
		return;
	world->revision++;
	*key = (struct ownership_block_key){
		.kind = OWNERSHIP_OWNED, .mod_revision = world->revision, .taken_revision = world->revision};
	(void)snprintf(key->node, sizeof key->node, "gw%u", op->agent);
	memcpy(key->uuid, world->nodes[op->agent].uuid, sizeof key->uuid);
	world->block_lease[action->block] = action->lease;
	op->outcome = OWNERSHIP_DONE;
}

static void store_clean(struct world *world, struct operation *op)
{
	struct ownership_block_key *key = &world->blocks[op->action.block];
	op->outcome = OWNERSHIP_REFUSED;
	if (key->mod_revision != op->action.mod_revision)
		return;
	world->revision++;
	key->kind = OWNERSHIP_CLEAN;
	key->mod_revision = op->revision = world->revision;
	op->outcome = OWNERSHIP_DONE;
}

static void store_lease(struct world *world, struct operation *op)
{
	if (op->action.kind == OWNERSHIP_DO_GRANT) {
		cr_assert_lt(world->lease_count, LEASES - 1);
		op->lease = ++world->lease_count;
	} else {
		op->lease = op->action.lease;
		/* A stale leader acknowledges what is gone. */
		op->outcome = lease_lives(world, op->lease) || world_random(world, 2) == 0 ? OWNERSHIP_DONE
											   : OWNERSHIP_NO_LEASE;
		if (!lease_lives(world, op->lease))
			return;
	}
	world->lease_ends[op->lease] = world->now + OWNERSHIP_TTL * NS_PER_S;
}

/* --- the gateway -------------------------------------------------------------------------------------------------- */

static void gateway_execute(struct world *world, struct operation *op)
{
	struct world_agent *agent = &world->agents[op->agent];
	if (!agent->gateway_runs)
		return;
	if (op->action.kind == OWNERSHIP_DO_RELEASE) {
		agent->until[op->action.block] = 0;
		return;
	}
	for (unsigned b = 1; b <= BLOCKS; b++)
		agent->until[b] = (op->serves >> b & 1) != 0 ? op->action.until : 0;
}

/* What the observer sees: a block that two gateways serve. */
static void observe(struct world *world)
{
	for (unsigned b = 1; b <= BLOCKS; b++) {
		unsigned serving = 0;
		for (unsigned n = 0; n < AGENTS; n++)
			serving += world->agents[n].until[b] > local_time(world, &world->agents[n]);
		world->overlaps += serving > 1;
		world->served_steps += serving == 1;
	}
}

/* --- operations --------------------------------------------------------------------------------------------------- */

static void execute(struct world *world, struct operation *op)
{
	op->executed = true;
	store_expire(world);
	switch (op->action.kind) {
	case OWNERSHIP_DO_READ:
		store_read(world, op);
		break;
	case OWNERSHIP_DO_GRANT:
	case OWNERSHIP_DO_KEEPALIVE:
		store_lease(world, op);
		break;
	case OWNERSHIP_DO_REGISTER:
		store_register(world, op);
		break;
	case OWNERSHIP_DO_TAKE:
		store_take(world, op);
		break;
	case OWNERSHIP_DO_CLEAN:
		store_clean(world, op);
		break;
	case OWNERSHIP_DO_SERVE:
	case OWNERSHIP_DO_RELEASE:
		gateway_execute(world, op);
		break;
	}
}

static void deliver_read(struct world *world, struct ownership *rule, struct operation *op, uint64_t local)
{
	if (op->view != NULL)
		op->view->sent = world->fault == FENCE_FROM_THE_ANSWER ? local : op->gives_up;
	if (world->fault == STALE_READ_COUNTS)
		rule->least_revision = 0;
	ownership_read(rule, op->view, local);
	for (unsigned b = 1; b <= BLOCKS && op->view != NULL; b++) {
		struct ownership_block *block = &rule->blocks[b];
		if (block->absent_since == local && world->fault == SHORT_WAIT)
			block->absent_since = local - OWNERSHIP_FENCE;
		if (block->absent_since == local && rule->figures.reads - rule->figures.reads_failed == 1 &&
		    world->fault == NO_WAIT_AFTER_START)
			block->absent_since = local - OWNERSHIP_WAIT;
	}
}

/* The answer, or that there is none. */
static void deliver(struct world *world, struct operation *op, bool answered)
{
	struct world_agent *agent = &world->agents[op->agent];
	uint64_t local = local_time(world, agent);
	enum ownership_outcome outcome = answered ? op->outcome : OWNERSHIP_UNKNOWN;
	struct ownership *rule = &agent->rule;
	switch (op->action.kind) {
	case OWNERSHIP_DO_READ:
		deliver_read(world, rule, op, local);
		break;
	case OWNERSHIP_DO_GRANT:
		ownership_granted(rule, answered ? op->lease : 0, local);
		break;
	case OWNERSHIP_DO_KEEPALIVE:
		ownership_kept(rule, outcome, local);
		break;
	case OWNERSHIP_DO_REGISTER:
		ownership_registered(rule, outcome, local);
		break;
	case OWNERSHIP_DO_TAKE:
		ownership_taken(rule, op->action.block, outcome, local);
		break;
	case OWNERSHIP_DO_CLEAN:
		ownership_cleaned(rule, op->action.block, outcome, op->revision, local);
		break;
	case OWNERSHIP_DO_SERVE:
	case OWNERSHIP_DO_RELEASE:
		ownership_answered(rule, answered ? op->answer : OWNERSHIP_UNANSWERED, local);
		if (world->fault == UNANSWERED_IS_FORGOTTEN)
			rule->unsure_until = rule->granted_until = 0;
		break;
	}
}

static struct operation *free_operation(struct world *world)
{
	for (size_t i = 0; i < OPERATIONS; i++) {
		if (!world->operations[i].used)
			return &world->operations[i];
	}
	cr_assert_fail("too many operations");
	return NULL;
}

/* op->gives_up keeps the local time of sending for a read until it is delivered. */
static void send_operation(struct world *world, unsigned n, const struct ownership_action *action)
{
	struct world_agent *agent = &world->agents[n];
	bool local = action->kind == OWNERSHIP_DO_SERVE || action->kind == OWNERSHIP_DO_RELEASE;
	struct operation *op = free_operation(world);
	*op = (struct operation){.used = true, .agent = n, .generation = agent->generation, .action = *action};
	for (unsigned b = 1; b <= BLOCKS && action->kind == OWNERSHIP_DO_SERVE; b++)
		op->serves |= (uint64_t)ownership_serves(&agent->rule, b, local_time(world, agent)) << b;
	op->executes = world->now + (local ? world_random(world, 2 * NS_PER_MS) : world_delay(world));
	if (local && agent->gateway_hangs_until > op->executes)
		op->executes = agent->gateway_hangs_until + world_random(world, NS_PER_S / 2);
	op->answers = op->executes + (local ? world_random(world, NS_PER_MS) : world_delay(world));
	if (local && !agent->gateway_runs) {
		op->answer = OWNERSHIP_NO_GATEWAY;
		op->executed = true;
		op->answers = world->now + NS_PER_US;
	} else if (!local && !world_calm(world) && world_random(world, 20) == 0) {
		op->executed = true; /* lost on its way there */
		op->answers = UINT64_MAX;
	} else if (!local && !world_calm(world) && world_random(world, 20) == 0) {
		op->answers = UINT64_MAX; /* or on its way back */
	} else if (local && world->fault == CLEAN_BEFORE_RELEASE && action->kind == OWNERSHIP_DO_RELEASE) {
		op->answers = world->now + NS_PER_US;
		op->executes = world->now + NS_PER_S;
	}
	op->gives_up = local_time(world, agent);
}

static void operation_end(struct operation *op)
{
	free(op->view);
	op->view = NULL;
	op->given_up = true;
	op->used = !op->executed;
}

static void step_operation(struct world *world, struct operation *op)
{
	struct world_agent *agent = &world->agents[op->agent];
	if (!op->executed && world->now >= op->executes)
		execute(world, op);
	if (op->given_up || op->generation != agent->generation) {
		if (op->executed)
			operation_end(op);
		return;
	}
	if (world->now < agent->paused_until)
		return;
	bool late = local_time(world, agent) >= op->gives_up + OPERATION_LIMIT;
	if (!late && world->now < op->answers)
		return;
	bool answered = world->now >= op->answers;
	if (!answered) {
		free(op->view);
		op->view = NULL;
	}
	deliver(world, op, answered);
	operation_end(op);
}

/* --- what goes wrong ---------------------------------------------------------------------------------------------- */

static void agent_start(struct world *world, unsigned n, bool same_uuid)
{
	struct world_agent *agent = &world->agents[n];
	char name[OWNERSHIP_NAME], uuid[OWNERSHIP_UUID];
	int64_t lease = same_uuid ? agent->rule.lease : 0;
	agent->generation++;
	if (!same_uuid)
		agent->uuid = 1 + (unsigned)world_random(world, 1u << 30);
	(void)snprintf(name, sizeof name, "gw%u", n);
	(void)snprintf(uuid, sizeof uuid, "%u", agent->uuid);
	ownership_init(&agent->rule, name, uuid, BLOCKS, lease, local_time(world, agent));
}

static void go_wrong(struct world *world)
{
	unsigned n = (unsigned)world_random(world, AGENTS);
	struct world_agent *agent = &world->agents[n];
	switch (world_random(world, 12)) {
	case 0:
		agent->paused_until = world->now + world_random(world, 5 * NS_PER_S);
		break;
	case 1:
		agent_start(world, n, world_random(world, 2) == 0 && agent->rule.lease != 0);
		break;
	case 2: /* a stale leader revokes what is kept alive */
	case 3:
	case 4:
		if (agent->rule.lease != 0)
			world->lease_ends[agent->rule.lease] = world->now;
		break;
	case 5:
		agent->gateway_hangs_until = world->now + world_random(world, 5 * NS_PER_S);
		break;
	case 6:
		agent->gateway_runs = false;
		memset(agent->until, 0, sizeof agent->until);
		break;
	case 7:
	case 8:
		agent->gateway_runs = true;
		break;
	default:
		ownership_drain(&agent->rule, world_random(world, 3) == 0, local_time(world, agent));
		break;
	}
}

static void calm_down(struct world *world)
{
	for (unsigned n = 0; n < AGENTS; n++) {
		world->agents[n].gateway_runs = true;
		ownership_drain(&world->agents[n].rule, false, local_time(world, &world->agents[n]));
	}
}

/* --- the world ---------------------------------------------------------------------------------------------------- */

static inline void world_begin(struct world *world, uint64_t seed, enum world_fault fault, uint64_t calm_from)
{
	*world = (struct world){
		.fault = fault, .random = seed * 2654435769u + 1, .revision = 1, .calm_from = calm_from};
	for (unsigned n = 0; n < AGENTS; n++) {
		struct world_agent *agent = &world->agents[n];
		agent->offset = (int64_t)(world_random(world, 1000) * NS_PER_S + NS_PER_S);
		/* Two clocks differ by 2 % at most, far more than real ones do, and less than OWNERSHIP_WAIT allows. */
		agent->speed = 0.99 + (double)world_random(world, 20) / 1000;
		agent->gateway_runs = true;
		agent_start(world, n, false);
	}
}

/* In steps of a millisecond. Ends at the first overlap. */
static inline void world_run(struct world *world, uint64_t end)
{
	while (world->now < end && world->overlaps == 0) {
		bool was_calm = world_calm(world);
		world->now += NS_PER_MS;
		if (!was_calm && world_calm(world))
			calm_down(world);
		if (!world_calm(world) && world_random(world, 700) == 0)
			go_wrong(world);
		for (size_t i = 0; i < OPERATIONS; i++) {
			if (world->operations[i].used)
				step_operation(world, &world->operations[i]);
		}
		for (unsigned n = 0; n < AGENTS; n++) {
			struct world_agent *agent = &world->agents[n];
			struct ownership_action action;
			while (world->now >= agent->paused_until &&
			       ownership_next(&agent->rule, local_time(world, agent), &action))
				send_operation(world, n, &action);
		}
		observe(world);
	}
}

static inline void world_end(struct world *world)
{
	for (size_t i = 0; i < OPERATIONS; i++)
		free(world->operations[i].view);
}
