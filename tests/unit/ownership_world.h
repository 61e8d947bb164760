// SPDX-License-Identifier: Apache-2.0
/* The agents of ownership_store.h, their requests and messages, and what goes wrong with them. */
#pragma once

#include "tests/unit/ownership_store.h"

/* --- messages between agents -------------------------------------------------------------------------------------- */

static void post(struct world *world, struct message message)
{
	if (world->now < world->agents[message.from].cut_until[message.to] ||
	    (!world_calm(world) && world_random(world, 12) == 0))
		return;
	message.used = true;
	message.arrives = world->now + world_delay(world) + (message.is_answer ? world->answer_delay : 0);
	for (size_t i = 0; i < MESSAGES; i++) {
		if (world->messages[i].used)
			continue;
		world->messages[i] = message;
		if (world->messages_end <= i)
			world->messages_end = i + 1;
		return;
	}
	cr_assert_fail("too many messages");
}

static void ask_others(struct world *world, unsigned n, const struct ownership_action *action)
{
	const struct world_agent *agent = &world->agents[n];
	for (size_t i = 0; i < agent->rule.takers.count; i++) {
		unsigned to = (unsigned)(agent->rule.takers.names[i][2] - '0');
		if (to == agent->name)
			continue;
		post(world, (struct message){.from = n,
					     .to = to,
					     .generation = agent->generation,
					     .question = action->question,
					     .takers_revision = action->takers_revision,
					     .blocks = action->asked});
	}
}

static bool promises(struct world *world, struct ownership *rule, const struct message *question, const char *asker)
{
	uint64_t local = local_time(world, &world->agents[question->to]);
	bool other = world->fault == PROMISE_UNDER_OTHER_TAKERS;
	bool promised = ownership_asked(rule, asker, other ? rule->takers_revision : question->takers_revision,
					&question->blocks, local) == OWNERSHIP_PROMISED;
	for (unsigned b = 1; b <= BLOCKS && world->fault == PROMISE_NOT_KEPT; b++)
		rule->blocks[b].promised_until = 0;
	return promised;
}

static void deliver_question(struct world *world, const struct message *question)
{
	struct message answer = *question;
	char name[OWNERSHIP_NAME];
	(void)snprintf(name, sizeof name, "gw%u", world->agents[question->from].name);
	answer.promised = promises(world, &world->agents[question->to].rule, question, name);
	answer.from = question->to;
	answer.to = question->from;
	answer.is_answer = true;
	post(world, answer);
}

static void deliver_answer(struct world *world, const struct message *answer)
{
	struct world_agent *agent = &world->agents[answer->to];
	uint64_t local = local_time(world, agent);
	if (answer->generation != agent->generation)
		return; /* its process knows another challenge */
	if (world->fault == PROMISE_FROM_THE_ANSWER && answer->question == agent->rule.question.number)
		agent->rule.question.sent = local;
	for (unsigned n = 0; n < AGENTS; n++) {
		char name[OWNERSHIP_NAME];
		(void)snprintf(name, sizeof name, "gw%u", n);
		if (n == answer->from || (answer->promised && world->fault == ONE_PROMISE_SUFFICES))
			ownership_promised(&agent->rule, answer->question, name,
					   answer->promised ? &answer->blocks : NULL, local);
	}
}

static void step_message(struct world *world, struct message *message)
{
	struct message copy = *message;
	if (world->now < message->arrives || world->now < world->agents[message->to].paused_until)
		return;
	message->used = false;
	if (copy.is_answer)
		deliver_answer(world, &copy);
	else
		deliver_question(world, &copy);
}

/* --- members and takers ------------------------------------------------------------------------------------------- */

/* From etcd, all that are takers; not at once, so that what is under way is carried out. */
static void cut_takers(struct world *world)
{
	for (unsigned n = 0; n < AGENTS; n++) {
		if ((world->takers >> n & 1) != 0)
			world->agents[n].no_etcd_until = world->now + 10 * NS_PER_S;
	}
}

static void set_members(struct world *world, unsigned members)
{
	world->members = members;
	world->members_revision = ++world->revision;
	if (world->cuts_most && !world_calm(world) && world_random(world, 2) == 0)
		cut_takers(world);
	if (world->fault == TAKERS_BY_THE_ADMINISTRATOR) {
		world->takers = members;
		world->takers_revision = world->revision;
		for (unsigned n = 0; n < AGENTS; n++)
			world->taker_machines[n] = n;
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
	case OWNERSHIP_DO_REPLACE:
		store_replace(world, op);
		break;
	case OWNERSHIP_DO_ASK:
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
	case OWNERSHIP_DO_REPLACE:
		ownership_replaced(rule, outcome, local);
		break;
	case OWNERSHIP_DO_ASK:
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
		if (world->operations[i].used)
			continue;
		if (world->operations_end <= i)
			world->operations_end = i + 1;
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
	if (action->kind == OWNERSHIP_DO_ASK) {
		ask_others(world, n, action);
		return;
	}
	if (action->kind == OWNERSHIP_DO_REPLACE && world->fault == TAKERS_REPLACED_WITH_PROMISES)
		agent->rule.may_be_replaced = false;
	struct operation *op = free_operation(world);
	*op = (struct operation){.used = true, .agent = n, .generation = agent->generation, .action = *action};
	for (unsigned b = 1; b <= BLOCKS && action->kind == OWNERSHIP_DO_SERVE; b++)
		op->serves |= (uint64_t)ownership_named(&agent->rule, b, action->until, local_time(world, agent)) << b;
	op->executes = world->now + (local ? world_random(world, 2 * NS_PER_MS) : world_delay(world));
	if (local && agent->gateway_hangs_until > op->executes)
		op->executes = agent->gateway_hangs_until + world_random(world, NS_PER_S / 2);
	op->answers = op->executes + (local ? world_random(world, NS_PER_MS) : world_delay(world));
	if (local && !agent->gateway_runs) {
		op->answer = OWNERSHIP_NO_GATEWAY;
		op->executed = true;
		op->answers = world->now + NS_PER_US;
	} else if (!local && world->now < agent->no_etcd_until) {
		/* Not all is lost: some is carried out when etcd is back. */
		op->executed = world_calm(world) || world_random(world, 4) != 0;
		op->executes = agent->no_etcd_until + world_delay(world);
		op->answers = UINT64_MAX;
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
	/* The worst moment: none of the old takers sees what becomes of it. */
	if (action->kind == OWNERSHIP_DO_REPLACE && world->cuts_most && !world_calm(world) &&
	    world_random(world, 2) == 0)
		cut_takers(world);
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
	char name[OWNERSHIP_NAME], uuid[OWNERSHIP_UUID], machine[OWNERSHIP_MACHINE];
	int64_t lease = same_uuid ? agent->rule.lease : 0;
	agent->generation++;
	if (!same_uuid)
		agent->uuid = 1 + (unsigned)world_random(world, 1u << 30);
	(void)snprintf(name, sizeof name, "gw%u", agent->name);
	(void)snprintf(uuid, sizeof uuid, "%u", agent->uuid);
	(void)snprintf(machine, sizeof machine, "m%u", agent->machine);
	ownership_init(&agent->rule, name, uuid, machine, BLOCKS, lease, local_time(world, agent));
	agent->rule.fresh = world->fault == NODE_NOT_COMPARED;
}

static void cut(struct world *world)
{
	unsigned a = (unsigned)world_random(world, AGENTS), b = (unsigned)world_random(world, AGENTS);
	uint64_t until = world->now + world_random(world, 12 * NS_PER_S);
	switch (world_random(world, 6)) {
	case 0:
		for (unsigned n = 0; n < AGENTS; n++)
			world->agents[n].no_etcd_until = until;
		break;
	case 1:
		for (unsigned n = 0; n < AGENTS; n++)
			world->agents[n].no_etcd_until = world_random(world, 2) == 0 ? until : 0;
		break;
	case 2:
		world->agents[a].no_etcd_until = until;
		break;
	case 3:
		world->agents[a].cut_until[b] = world->agents[b].cut_until[a] = until;
		break;
	case 4:
		world->agents[a].cut_until[b] = until;
		break;
	default:
		set_members(world, 1 + (unsigned)world_random(world, (1u << AGENTS) - 1));
		break;
	}
}

static void go_wrong(struct world *world)
{
	unsigned n = (unsigned)world_random(world, AGENTS);
	struct world_agent *agent = &world->agents[n];
	switch (world_random(world, 14)) {
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
	case 9:
	case 10:
		if (world_random(world, 2) == 0)
			cut(world);
		break;
	default:
		ownership_drain(&agent->rule, world_random(world, 3) == 0, local_time(world, agent));
		break;
	}
}

static void go_wrong_with_cuts(struct world *world)
{
	struct world_agent *agent = &world->agents[world_random(world, AGENTS)];
	switch (world_random(world, 8)) {
	case 0:
		agent->paused_until = world->now + world_random(world, NS_PER_S);
		break;
	case 1:
		agent_start(world, (unsigned)(agent - world->agents), agent->rule.lease != 0);
		break;
	case 2:
		world->lease_ends[agent->rule.lease] = world->now;
		break;
	default:
		cut(world);
		break;
	}
}

static void calm_down(struct world *world)
{
	set_members(world, (1u << AGENTS) - 1);
	for (unsigned n = 0; n < AGENTS; n++) {
		world->agents[n].gateway_runs = true;
		world->agents[n].no_etcd_until = 0;
		memset(world->agents[n].cut_until, 0, sizeof world->agents[n].cut_until);
		ownership_drain(&world->agents[n].rule, false, local_time(world, &world->agents[n]));
	}
}

/* --- the world ---------------------------------------------------------------------------------------------------- */

static inline void world_begin(struct world *world, uint64_t seed, enum world_fault fault, uint64_t calm_from)
{
	*world = (struct world){
		.fault = fault, .random = seed * 2654435769u + 1, .revision = 1, .calm_from = calm_from};
	set_members(world, (1u << AGENTS) - 1);
	world->cuts_most = fault >= ONE_PROMISE_SUFFICES || (seed % 2 == 0 && fault == NO_FAULT);
	for (unsigned n = 0; n < AGENTS; n++) {
		struct world_agent *agent = &world->agents[n];
		agent->offset = (int64_t)(world_random(world, 1000) * NS_PER_S + NS_PER_S);
		/* Two clocks differ by 2 % at most, far more than real ones do, and less than OWNERSHIP_WAIT allows. */
		agent->speed = 0.99 + (double)world_random(world, 20) / 1000;
		agent->gateway_runs = true;
		agent->name = agent->machine = n;
		agent_start(world, n, false);
	}
}

static void step_all(struct world *world)
{
	for (size_t i = 0; i < world->operations_end; i++) {
		if (world->operations[i].used)
			step_operation(world, &world->operations[i]);
	}
	while (world->operations_end > 0 && !world->operations[world->operations_end - 1].used)
		world->operations_end--;
	for (size_t i = 0; i < world->messages_end; i++) {
		if (world->messages[i].used)
			step_message(world, &world->messages[i]);
	}
	while (world->messages_end > 0 && !world->messages[world->messages_end - 1].used)
		world->messages_end--;
}

/* In steps of a millisecond. Ends at the first overlap. */
static inline void world_run(struct world *world, uint64_t end)
{
	while (world->now < end && world->overlaps == 0) {
		bool was_calm = world_calm(world);
		world->now += NS_PER_MS;
		if (!was_calm && world_calm(world))
			calm_down(world);
		if (!world_calm(world) && world->cuts_most && world_random(world, 1500) == 0)
			go_wrong_with_cuts(world);
		else if (!world_calm(world) && !world->cuts_most && world_random(world, 700) == 0)
			go_wrong(world);
		step_all(world);
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

/* The first schedule of random troubles with an overlap, of so many; 0: there is none. Adds up the steps in which a
 * block was served by one. */
static inline uint64_t world_first_overlap(enum world_fault fault, uint64_t seeds, uint64_t *served)
{
	struct world *world = calloc(1, sizeof *world);
	uint64_t found = 0;
	for (uint64_t seed = 1; seed <= seeds && found == 0; seed++) {
		world_begin(world, seed, fault, UINT64_MAX);
		world_run(world, 60 * NS_PER_S);
		if (world->overlaps != 0)
			found = seed;
		*served += world->served_steps;
		world_end(world);
	}
	free(world);
	return found;
}

/* A test that the observer sees what one precaution less leads to. */
enum { BROKEN_SEEDS = 1500 };
#define BROKEN(suite, name, fault)                                                                                \
	Test(suite, name)                                                                                         \
	{                                                                                                         \
		uint64_t served = 0;                                                                              \
		cr_assert_neq(world_first_overlap(fault, BROKEN_SEEDS, &served), 0, "the observer sees nothing"); \
	}
