// SPDX-License-Identifier: Apache-2.0
/* Some agents, their gateways and an etcd, all simulated, with one random schedule: messages are late, lost, or carried
 * out after their sender has given up; leases end although they are kept alive; agents pause and start again; gateways
 * hang, die and come back; etcd is cut off from all agents or from one, agents from each other; members come and go;
 * clocks differ in time and speed. An observer sees all gateways at every step. */
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/agent/ownership.h"

enum { AGENTS = 3, BLOCKS = 6, OPERATIONS = 512, MESSAGES = 512, LEASES = 4096 };
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
	NODE_NOT_COMPARED, /* and a new process goes on at once */
	/* of promises */
	ONE_PROMISE_SUFFICES,
	PROMISE_FROM_THE_ANSWER,
	PROMISE_NOT_KEPT,
	PROMISE_UNDER_OTHER_TAKERS,
	TAKERS_BY_THE_ADMINISTRATOR,
	TAKERS_REPLACED_WITH_PROMISES,
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

/* From one agent to another. */
struct message {
	bool used, is_answer, promised;
	unsigned from, to, generation; /* of the one that asked */
	uint64_t arrives, question, takers_revision;
	struct ownership_set blocks;
};

struct world_agent {
	struct ownership rule;
	unsigned generation, uuid;
	unsigned name, machine; /* gw0 on m0, ... */
	int64_t offset;
	double speed;
	uint64_t paused_until;
	/* its gateway */
	bool gateway_runs;
	uint64_t gateway_hangs_until;
	uint64_t until[BLOCKS + 1]; /* by the machine's clock */
	uint64_t no_etcd_until;	    /* it is cut off, or etcd is from all */
	uint64_t cut_until[AGENTS]; /* from the others */
};

struct world {
	enum world_fault fault;
	bool cuts_most; /* more often than anything else goes wrong */
	uint64_t random, now, calm_from;
	struct world_agent agents[AGENTS];
	struct operation operations[OPERATIONS];
	struct message messages[MESSAGES];
	uint64_t answer_delay;		     /* of answers between agents, besides the usual one */
	size_t operations_end, messages_end; /* none is used from there on */
	struct ownership_block_key blocks[BLOCKS + 1];
	int64_t block_lease[BLOCKS + 1];
	struct ownership_node_key nodes[AGENTS];
	bool has_node[AGENTS];
	int64_t node_lease[AGENTS];
	uint64_t lease_ends[LEASES];
	int64_t lease_count;
	uint64_t revision;
	unsigned members, takers; /* bits */
	unsigned taker_machines[AGENTS];
	uint64_t members_revision, takers_revision;
	unsigned overlaps, served_steps, promised_steps; /* the last: by promises alone */
	uint64_t served_since[BLOCKS + 1];		 /* without a gap, by the same agent; 0: it is not */
	unsigned server[BLOCKS + 1];
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

static void add_taker(struct ownership_takers *takers, unsigned name, unsigned machine)
{
	(void)snprintf(takers->names[takers->count], OWNERSHIP_NAME, "gw%u", name);
	(void)snprintf(takers->machines[takers->count++], OWNERSHIP_MACHINE, "m%u", machine);
}

static void store_read(struct world *world, struct operation *op)
{
	struct ownership_view *view = calloc(1, sizeof *view);
	view->revision = world->revision;
	memcpy(view->blocks, world->blocks, sizeof world->blocks);
	for (unsigned n = 0; n < AGENTS; n++) {
		if (world->has_node[n])
			view->nodes[view->node_count++] = world->nodes[n];
		if ((world->members >> n & 1) != 0)
			(void)snprintf(view->members[view->member_count++], OWNERSHIP_NAME, "gw%u", n);
		if ((world->takers >> n & 1) != 0)
			add_taker(&view->takers, n, world->taker_machines[n]);
	}
	view->members_readable = true;
	view->members_revision = world->members_revision;
	view->takers_readable = world->takers_revision != 0;
	view->takers_revision = world->takers_revision;
	op->view = view;
}

static void store_register(struct world *world, struct operation *op)
{
	const struct ownership_action *action = &op->action;
	const struct world_agent *agent = &world->agents[op->agent];
	uint64_t created = world->has_node[agent->name] ? world->nodes[agent->name].create_revision : 0;
	struct ownership_node_key *key = &world->nodes[agent->name];
	if (created != action->create_revision || !lease_lives(world, action->lease)) {
		op->outcome = created != action->create_revision ? OWNERSHIP_REFUSED : OWNERSHIP_NO_LEASE;
		return;
	}
	world->revision++;
	*key = (struct ownership_node_key){.create_revision = created != 0 ? created : world->revision,
					   .mod_revision = world->revision,
					   .draining = action->draining};
	(void)snprintf(key->name, sizeof key->name, "gw%u", agent->name);
	(void)snprintf(key->uuid, sizeof key->uuid, "%u", agent->uuid);
	(void)snprintf(key->machine, sizeof key->machine, "m%u", agent->machine);
	world->has_node[agent->name] = true;
	world->node_lease[agent->name] = action->lease;
}

static bool node_unchanged(const struct world *world, const struct operation *op)
{
	unsigned name = world->agents[op->agent].name;
	return (world->has_node[name] && world->nodes[name].mod_revision == op->action.node_revision) ||
	       world->fault == NODE_NOT_COMPARED;
}

static void store_take(struct world *world, struct operation *op)
{
	const struct ownership_action *action = &op->action;
	struct ownership_block_key *key = &world->blocks[action->block];
	unsigned name = world->agents[op->agent].name;
	bool node = world->has_node[name] && node_unchanged(world, op);
	bool same = key->mod_revision == action->mod_revision && world->takers_revision == action->takers_revision;
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
	(void)snprintf(key->node, sizeof key->node, "gw%u", name);
	memcpy(key->uuid, world->nodes[name].uuid, sizeof key->uuid);
	world->block_lease[action->block] = action->lease;
	op->outcome = OWNERSHIP_DONE;
}

static void store_clean(struct world *world, struct operation *op)
{
	struct ownership_block_key *key = &world->blocks[op->action.block];
	op->outcome = OWNERSHIP_REFUSED;
	if (key->mod_revision != op->action.mod_revision || !node_unchanged(world, op))
		return;
	world->revision++;
	key->kind = OWNERSHIP_CLEAN;
	key->mod_revision = op->revision = world->revision;
	op->outcome = OWNERSHIP_DONE;
}

static void store_replace(struct world *world, struct operation *op)
{
	const struct ownership_action *action = &op->action;
	op->outcome = OWNERSHIP_REFUSED;
	if (world->takers_revision != action->takers_revision || world->members_revision != action->members_revision ||
	    !node_unchanged(world, op))
		return;
	for (unsigned n = 0; n < AGENTS; n++) {
		if (world->has_node[n] && (world->members >> n & 1) != 0) {
			world->takers |= 1u << n;
			world->taker_machines[n] = (unsigned)(world->nodes[n].machine[1] - '0');
		}
	}
	world->takers &= world->members;
	world->takers_revision = ++world->revision;
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
		unsigned serving = 0, server = AGENTS;
		for (unsigned n = 0; n < AGENTS; n++) {
			const struct world_agent *agent = &world->agents[n];
			uint64_t local = local_time(world, agent);
			if (agent->until[b] <= local)
				continue;
			serving++;
			server = n;
			world->promised_steps += local >= agent->rule.until;
		}
		world->overlaps += serving > 1;
		world->served_steps += serving == 1;
		if (world->server[b] != server || world->served_since[b] == 0)
			world->served_since[b] = server != AGENTS ? world->now : 0;
		world->server[b] = server;
	}
}
