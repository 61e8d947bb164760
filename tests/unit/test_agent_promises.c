// SPDX-License-Identifier: Apache-2.0
/* The promises of takers to each other, step by step. test_agent_promise_schedules.c has whole clusters. */
#include "core/agent/ownership.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(agent_promises, .timeout = 60);

#define S  NS_PER_S
#define MS NS_PER_MS
enum { B = 4 };

static struct ownership rule;
static struct ownership_view *view;
static uint64_t now;

static void set_names(char names[][OWNERSHIP_NAME], size_t *count, const char *text)
{
	*count = strlen(text);
	for (size_t i = 0; i < *count; i++)
		(void)snprintf(names[i], OWNERSHIP_NAME, "%c", text[i]);
}

/* On the machines that they have had all the time. */
static void set_takers(const char *text)
{
	set_names(view->takers.names, &view->takers.count, text);
	for (size_t i = 0; i < view->takers.count; i++)
		(void)snprintf(view->takers.machines[i], OWNERSHIP_MACHINE, "m%c", text[i]);
}

static struct ownership_node_key *add_node(const char *name)
{
	struct ownership_node_key *node = &view->nodes[view->node_count++];
	*node = (struct ownership_node_key){.uuid = "u9", .mod_revision = ++view->revision};
	(void)snprintf(node->name, sizeof node->name, "%s", name);
	(void)snprintf(node->machine, sizeof node->machine, "m%s", name);
	return node;
}

static void see(void)
{
	view->sent = now;
	rule.reading = true;
	ownership_read(&rule, view, now);
}

/* Node a has all blocks; the letters are takers and members. The last read is that of `now`. */
static void own_all(const char *takers)
{
	view = calloc(1, sizeof *view);
	now = 1000 * S;
	ownership_init(&rule, "a", "u1", "ma", B, 0, now);
	view->revision = 10;
	view->members_readable = view->takers_readable = true;
	view->members_revision = 3;
	view->takers_revision = 4;
	set_names(view->members, &view->member_count, takers);
	set_takers(takers);
	see();
	view->revision = 20;
	view->node_count = 1;
	view->nodes[0] = (struct ownership_node_key){
		.name = "a", .uuid = "u1", .machine = "ma", .create_revision = 12, .mod_revision = 12};
	for (unsigned b = 1; b <= B; b++)
		view->blocks[b] = (struct ownership_block_key){.kind = OWNERSHIP_OWNED,
							       .node = "a",
							       .uuid = "u1",
							       .mod_revision = 12 + b,
							       .taken_revision = 12 + b};
	see();
}

static void end(void)
{
	free(view);
}

/* The last action of that kind that is to be done now; the gateway answers, reads do not. */
static unsigned count_of(enum ownership_action_kind kind, struct ownership_action *last)
{
	struct ownership_action action;
	unsigned count = 0;
	while (ownership_next(&rule, now, &action)) {
		if (action.kind == OWNERSHIP_DO_SERVE)
			ownership_answered(&rule, OWNERSHIP_ANSWERED, now);
		if (action.kind == OWNERSHIP_DO_KEEPALIVE)
			ownership_kept(&rule, OWNERSHIP_DONE, now);
		if (action.kind == kind) {
			count++;
			*last = action;
		}
	}
	return count;
}

/* Node a has all, and asks the others, a second after its last read. */
static struct ownership_action own_all_and_ask(const char *takers)
{
	struct ownership_action action;
	own_all(takers);
	now += S;
	cr_assert_eq(count_of(OWNERSHIP_DO_ASK, &action), 1);
	return action;
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

Test(agent_promises, others_are_asked_once_reads_are_silent, .fini = end)
{
	struct ownership_action action;
	own_all("abc");
	now += OWNERSHIP_SILENT - 1;
	cr_assert_eq(count_of(OWNERSHIP_DO_ASK, &action), 0);
	now++;
	cr_assert_leq(ownership_deadline(&rule, now - 1), now);
	cr_assert_eq(count_of(OWNERSHIP_DO_ASK, &action), 1);
	cr_assert_eq(action.takers_revision, 4);
	for (unsigned b = 1; b <= B; b++)
		cr_assert(ownership_set_has(&action.asked, b));
	cr_assert_not(ownership_set_has(&action.asked, B + 1));
	uint64_t question = action.question;
	cr_assert_eq(count_of(OWNERSHIP_DO_ASK, &action), 0, "once");
	now += OWNERSHIP_READ;
	cr_assert_eq(count_of(OWNERSHIP_DO_ASK, &action), 1, "and again");
	cr_assert_neq(action.question, question);
}

Test(agent_promises, all_have_to_promise_and_the_sending_counts, .fini = end)
{
	struct ownership_action action = own_all_and_ask("abc");
	uint64_t read = rule.read_sent;
	uint64_t asked = now;
	now += 300 * MS;
	ownership_promised(&rule, action.question, "b", &action.asked, now);
	ownership_promised(&rule, action.question, "b", &action.asked, now); /* a second time */
	ownership_promised(&rule, action.question, "a", &action.asked, now); /* its own */
	ownership_promised(&rule, action.question, "x", &action.asked, now); /* a stranger's */
	ownership_promised(&rule, action.question - 1, "c", &action.asked, now);
	ownership_promised(&rule, action.question + 1, "c", &action.asked, now);
	cr_assert_eq(rule.blocks[1].until, read + OWNERSHIP_FENCE);
	ownership_promised(&rule, action.question, "c", &action.asked, now);
	cr_assert_eq(rule.blocks[1].until, asked + OWNERSHIP_FENCE);
	cr_assert(rule.question.agreed);
	cr_assert_eq(rule.figures.agreements, 1);
	cr_assert_eq(count_of(OWNERSHIP_DO_SERVE, &action), 1);
	cr_assert_eq(action.until, asked + OWNERSHIP_FENCE);
	cr_assert(ownership_named(&rule, B, action.until, now));
	now = asked + OWNERSHIP_FENCE;
	rule.question.sent = 0;
	cr_assert_not(ownership_serves(&rule, 1, now));
}

Test(agent_promises, one_that_refuses_or_does_not_answer_is_enough, .fini = end)
{
	struct ownership_action action = own_all_and_ask("abc");
	uint64_t read = rule.read_sent;
	ownership_promised(&rule, action.question, "b", &action.asked, now);
	ownership_promised(&rule, action.question, "c", NULL, now);
	ownership_promised(&rule, action.question, "c", &action.asked, now); /* too late: it has answered */
	cr_assert_eq(rule.question.refusals, 1);
	cr_assert_eq(rule.blocks[1].until, read + OWNERSHIP_FENCE);
	now = read + OWNERSHIP_FENCE;
	count_of(OWNERSHIP_DO_ASK, &action);
	cr_assert_not(ownership_serves(&rule, 1, now));
	cr_assert_eq(rule.figures.fences, 1);
}

Test(agent_promises, what_one_leaves_out_is_not_extended, .fini = end)
{
	struct ownership_action action = own_all_and_ask("abc");
	uint64_t read = rule.read_sent;
	struct ownership_set less = action.asked;
	less.words[0] &= ~(UINT64_C(1) << 2);
	less.words[3] = UINT64_MAX; /* more than it was asked */
	ownership_promised(&rule, action.question, "b", &less, now);
	ownership_promised(&rule, action.question, "c", &action.asked, now);
	cr_assert_eq(rule.blocks[1].until, now + OWNERSHIP_FENCE);
	cr_assert_eq(rule.blocks[2].until, read + OWNERSHIP_FENCE);
	/* The gateway has one deadline for all that is named: the one that ends soon does not spoil it for the others.
	 */
	cr_assert_eq(count_of(OWNERSHIP_DO_SERVE, &action), 1);
	cr_assert_eq(action.until, read + OWNERSHIP_FENCE);
	now = read + OWNERSHIP_FENCE - 500 * MS;
	rule.serve_at = now;
	cr_assert_eq(count_of(OWNERSHIP_DO_SERVE, &action), 1);
	cr_assert_eq(action.until, rule.blocks[1].until);
	cr_assert_not(ownership_named(&rule, 2, action.until, now));
	cr_assert(ownership_named(&rule, 3, action.until, now));
}

Test(agent_promises, promises_after_the_deadline_extend_nothing, .fini = end)
{
	struct ownership_action action = own_all_and_ask("ab");
	uint64_t read = rule.read_sent;
	now = read + OWNERSHIP_FENCE;
	ownership_promised(&rule, action.question, "b", &action.asked, now);
	cr_assert_not(ownership_serves(&rule, 1, now));
	cr_assert_eq(count_of(OWNERSHIP_DO_ASK, &action), 0, "there is nothing to ask for");
}

Test(agent_promises, the_only_taker_needs_none, .fini = end)
{
	struct ownership_action action;
	own_all("a");
	for (unsigned i = 0; i < 100; i++) {
		now += 300 * MS;
		count_of(OWNERSHIP_DO_ASK, &action);
		cr_assert(ownership_serves(&rule, 1, now));
	}
	cr_assert_eq(rule.figures.fences, 0);
}

Test(agent_promises, a_key_that_is_gone_is_taken_again_while_promises_hold, .fini = end)
{
	struct ownership_action action;
	own_all("ab");
	for (unsigned i = 0; i < 100; i++) {
		now += S;
		cr_assert_eq(count_of(OWNERSHIP_DO_ASK, &action), 1);
		ownership_promised(&rule, action.question, "b", &action.asked, now);
	}
	uint64_t asked = now;
	view->node_count = 0;
	view->revision += 10;
	for (unsigned b = 1; b <= B; b++) {
		view->blocks[b].kind = OWNERSHIP_ABSENT;
		view->blocks[b].mod_revision = 0;
	}
	view->blocks[4].taken_revision++; /* but this one */
	now += 100 * MS;
	see();
	cr_assert(ownership_serves(&rule, 1, now));
	cr_assert_not(ownership_serves(&rule, 4, now), "another one took it");
	cr_assert_eq(count_of(OWNERSHIP_DO_GRANT, &action), 1);
	ownership_granted(&rule, 9, now);
	cr_assert_eq(count_of(OWNERSHIP_DO_REGISTER, &action), 1);
	ownership_registered(&rule, OWNERSHIP_DONE, now);
	now += OWNERSHIP_READ;
	cr_assert_eq(count_of(OWNERSHIP_DO_ASK, &action), 1, "reads do not extend what is only kept");
	cr_assert_not(ownership_set_has(&action.asked, 4));
	ownership_promised(&rule, action.question, "b", &action.asked, now);
	view->node_count = 1;
	view->nodes[0].create_revision = view->nodes[0].mod_revision = ++view->revision;
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_TAKE, &action), 3);
	cr_assert_eq(action.mod_revision, 0);
	cr_assert_eq(action.taken_revision, 12 + action.block);
	cr_assert(ownership_serves(&rule, 1, asked + OWNERSHIP_FENCE), "by the second promise");
	for (unsigned b = 1; b <= 3; b++) {
		view->blocks[b].kind = OWNERSHIP_OWNED;
		view->blocks[b].mod_revision = view->blocks[b].taken_revision = ++view->revision;
	}
	see();
	cr_assert(ownership_serves(&rule, 1, now + OWNERSHIP_FENCE - 1), "before the answer has come");
	for (unsigned b = 1; b <= 3; b++)
		ownership_taken(&rule, b, OWNERSHIP_DONE, now);
	cr_assert(ownership_serves(&rule, 1, now + OWNERSHIP_FENCE - 1));
}

/* --- being asked -------------------------------------------------------------------------------------------------- */

static struct ownership_set just(unsigned block)
{
	struct ownership_set set = {0};
	ownership_set_add(&set, block);
	return set;
}

/* Node a is a taker, and has none; block 1 is without a key. */
static void own_none(const char *takers)
{
	own_all(takers);
	for (unsigned b = 1; b <= B; b++)
		view->blocks[b] = (struct ownership_block_key){
			.kind = OWNERSHIP_OWNED, .node = "b", .uuid = "u2", .mod_revision = 20 + b};
	view->blocks[1].kind = OWNERSHIP_ABSENT;
	view->blocks[1].mod_revision = 0;
	view->revision = 30;
	struct ownership_action action;
	count_of(OWNERSHIP_DO_GRANT, &action);
	ownership_granted(&rule, 9, now);
	see();
	count_of(OWNERSHIP_DO_SERVE, &action);
}

static enum ownership_verdict asked_by(const char *node, unsigned block)
{
	struct ownership_set set = just(block);
	return ownership_asked(&rule, node, rule.takers_revision, &set, now);
}

Test(agent_promises, a_promised_block_is_not_taken_until_the_promise_is_over, .fini = end)
{
	struct ownership_action action;
	own_none("ab");
	now += 2 * S;
	see();
	cr_assert_eq(asked_by("b", 1), OWNERSHIP_PROMISED);
	uint64_t promised = now;
	for (; now < promised + OWNERSHIP_WAIT; now += 100 * MS) {
		see();
		cr_assert_eq(count_of(OWNERSHIP_DO_TAKE, &action), 0);
	}
	now = promised + OWNERSHIP_WAIT;
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_TAKE, &action), 1);
	cr_assert_eq(asked_by("b", 1), OWNERSHIP_BLOCK_IN_USE, "it is being taken");
	ownership_taken(&rule, 1, OWNERSHIP_UNKNOWN, now);
	cr_assert_eq(asked_by("b", 1), OWNERSHIP_BLOCK_IN_USE, "it may still be");
	see();
	cr_assert_eq(asked_by("b", 1), OWNERSHIP_BLOCK_IN_USE);
	view->blocks[1].taken_revision = 99;
	see();
	cr_assert_eq(asked_by("b", 1), OWNERSHIP_PROMISED, "not any more");
}

/* No read may follow for long: etcd goes away in that moment. */
Test(agent_promises, a_take_that_is_refused_stands_in_no_promise_s_way, .fini = end)
{
	struct ownership_action action;
	own_none("ab");
	now += OWNERSHIP_WAIT;
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_TAKE, &action), 1);
	ownership_taken(&rule, 1, OWNERSHIP_REFUSED, now);
	cr_assert_eq(asked_by("b", 1), OWNERSHIP_PROMISED);
	see();
	now += OWNERSHIP_WAIT;
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_TAKE, &action), 1);
	ownership_taken(&rule, 1, OWNERSHIP_UNKNOWN, now);
	see();
	now += OWNERSHIP_WAIT;
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_TAKE, &action), 1);
	ownership_taken(&rule, 1, OWNERSHIP_NO_LEASE, now);
	cr_assert_eq(asked_by("b", 1), OWNERSHIP_BLOCK_IN_USE, "the one before may still be carried out");
}

Test(agent_promises, a_clean_block_is_not_taken_either, .fini = end)
{
	struct ownership_action action;
	own_none("ab");
	cr_assert_eq(asked_by("b", 2), OWNERSHIP_PROMISED);
	view->blocks[2].kind = OWNERSHIP_CLEAN;
	view->revision++;
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_TAKE, &action), 0);
	now += OWNERSHIP_WAIT;
	see();
	cr_assert_geq(count_of(OWNERSHIP_DO_TAKE, &action), 1);
}

Test(agent_promises, each_refusal_has_its_reason, .fini = end)
{
	struct ownership_set set = just(1);
	own_none("abc");
	cr_assert_eq(ownership_asked(&rule, "b", 3, &set, now), OWNERSHIP_OTHER_TAKERS);
	cr_assert_eq(ownership_asked(&rule, "b", 5, &set, now), OWNERSHIP_OTHER_TAKERS);
	cr_assert_eq(asked_by("x", 1), OWNERSHIP_NO_TAKER);
	cr_assert_eq(asked_by("a", 1), OWNERSHIP_NO_TAKER);
	cr_assert_eq(rule.figures.verdicts[OWNERSHIP_NO_TAKER], 2);
	cr_assert_eq(asked_by("b", 1), OWNERSHIP_PROMISED);
	ownership_init(&rule, "a", "u1", "ma", B, 9, now);
	cr_assert_eq(ownership_asked(&rule, "b", 4, &set, now), OWNERSHIP_NOT_READY, "nothing was read");
	see();
	cr_assert_eq(ownership_asked(&rule, "b", 4, &set, now), OWNERSHIP_NOT_READY, "it is not registered anew");
	view->nodes[0].mod_revision = ++view->revision;
	see();
	cr_assert_eq(ownership_asked(&rule, "b", 4, &set, now), OWNERSHIP_PROMISED);
}

Test(agent_promises, what_is_served_is_not_promised, .fini = end)
{
	own_all("ab");
	cr_assert_eq(asked_by("b", 1), OWNERSHIP_BLOCK_IN_USE);
	now += OWNERSHIP_FENCE;
	cr_assert_eq(asked_by("b", 1), OWNERSHIP_PROMISED, "its own deadline is past");
}

/* --- takers ------------------------------------------------------------------------------------------------------- */

Test(agent_promises, takers_follow_members_and_nothing_is_promised_meanwhile, .fini = end)
{
	struct ownership_action action;
	own_none("ab");
	set_names(view->members, &view->member_count, "abc");
	view->members_revision = ++view->revision;
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_REPLACE, &action), 0, "c has not registered");
	add_node("c");
	see();
	cr_assert_eq(asked_by("b", 2), OWNERSHIP_PROMISED);
	cr_assert_eq(count_of(OWNERSHIP_DO_REPLACE, &action), 1);
	cr_assert_eq(action.takers_revision, 4);
	cr_assert_eq(action.members_revision, view->members_revision);
	cr_assert_eq(action.node_revision, 12);
	cr_assert_eq(asked_by("b", 2), OWNERSHIP_TAKERS_REPLACED);
	ownership_replaced(&rule, OWNERSHIP_UNKNOWN, now);
	cr_assert_eq(asked_by("b", 2), OWNERSHIP_TAKERS_REPLACED, "it may still be carried out");
	set_takers("abc");
	view->takers_revision = ++view->revision;
	see();
	cr_assert_eq(asked_by("b", 2), OWNERSHIP_PROMISED);
	cr_assert_eq(rule.blocks[1].absent_since, now, "waits begin anew");
	cr_assert_eq(count_of(OWNERSHIP_DO_REPLACE, &action), 0);
}

Test(agent_promises, one_that_replaces_takers_extends_nothing_by_them, .fini = end)
{
	struct ownership_action action;
	own_all("ab");
	set_names(view->members, &view->member_count, "abc");
	add_node("c");
	now += 100 * MS;
	uint64_t read = now;
	rule.replace_at = read + OWNERSHIP_SILENT;
	see();
	now += OWNERSHIP_SILENT - 1;
	rule.ask_at = 0;
	cr_assert_eq(count_of(OWNERSHIP_DO_ASK, &action), 0);
	now++;
	cr_assert_eq(count_of(OWNERSHIP_DO_ASK, &action), 1);
	ownership_promised(&rule, action.question, "b", &action.asked, now);
	cr_assert_eq(rule.blocks[1].until, read + OWNERSHIP_FENCE, "it was replaced in the same moment");
	now += OWNERSHIP_READ;
	cr_assert_eq(count_of(OWNERSHIP_DO_ASK, &action), 0);
}

Test(agent_promises, a_replacement_that_is_void_stands_in_no_promise_s_way, .fini = end)
{
	struct ownership_action action;
	own_none("ab");
	set_names(view->members, &view->member_count, "abc");
	add_node("c");
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_REPLACE, &action), 1);
	ownership_replaced(&rule, OWNERSHIP_UNKNOWN, now);
	set_names(view->members, &view->member_count, "ab"); /* the administrator thinks better of it */
	now += OWNERSHIP_READ;
	see();
	cr_assert_eq(asked_by("b", 2), OWNERSHIP_TAKERS_REPLACED);
	cr_assert_eq(count_of(OWNERSHIP_DO_REGISTER, &action), 1, "which makes void what compares the key");
	ownership_registered(&rule, OWNERSHIP_DONE, now);
	view->nodes[0].mod_revision = ++view->revision;
	see();
	cr_assert_eq(asked_by("b", 2), OWNERSHIP_PROMISED);
	cr_assert_eq(count_of(OWNERSHIP_DO_REGISTER, &action), 0);
}

Test(agent_promises, only_a_taker_replaces_takers, .fini = end)
{
	struct ownership_action action;
	own_none("ab");
	set_takers("bc");
	set_names(view->members, &view->member_count, "abc");
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_REPLACE, &action), 0);
	cr_assert_not(rule.is_member);
	now += 10 * S;
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_TAKE, &action), 0);
	view->takers_revision = 0; /* the administrator has deleted the key */
	view->takers_readable = false;
	view->takers.count = 0;
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_REPLACE, &action), 1);
	cr_assert_eq(action.takers_revision, 0);
	view->takers_revision = 50; /* not to be read */
	see();
	ownership_replaced(&rule, OWNERSHIP_REFUSED, now);
	now += S;
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_REPLACE, &action), 0);
}

/* Node a on another machine than the taker a: that one may be cut off from etcd, and serve. */
Test(agent_promises, a_new_machine_with_the_name_of_a_taker_is_none, .fini = end)
{
	struct ownership_action action;
	own_none("ab");
	(void)snprintf(rule.machine, sizeof rule.machine, "new");
	(void)snprintf(view->nodes[0].machine, sizeof view->nodes[0].machine, "new");
	add_node("b");
	see();
	cr_assert_not(rule.is_member);
	now += 10 * S;
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_TAKE, &action), 0);
	cr_assert_eq(count_of(OWNERSHIP_DO_REPLACE, &action), 0, "nor does it let itself in");
	cr_assert_eq(asked_by("b", 2), OWNERSHIP_NO_TAKER);
	(void)snprintf(view->takers.machines[0], OWNERSHIP_MACHINE, "new");
	view->takers_revision = ++view->revision;
	see();
	cr_assert(rule.is_member);
	now += OWNERSHIP_WAIT - 1;
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_TAKE, &action), 0);
	now++;
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_TAKE, &action), 1);
}

Test(agent_promises, a_taker_lets_the_new_machine_of_another_one_in, .fini = end)
{
	struct ownership_action action;
	own_none("ab");
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_REPLACE, &action), 0, "one that is not registered stays");
	struct ownership_node_key *b = add_node("b");
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_REPLACE, &action), 0);
	(void)snprintf(b->machine, sizeof b->machine, "new");
	see();
	cr_assert_eq(count_of(OWNERSHIP_DO_REPLACE, &action), 1);
	struct ownership_takers wanted;
	ownership_wanted_takers(view, &wanted);
	cr_assert_eq(wanted.count, 2);
	cr_assert_str_eq(wanted.names[1], "b");
	cr_assert_str_eq(wanted.machines[1], "new");
	cr_assert_str_eq(wanted.machines[0], "ma");
}
