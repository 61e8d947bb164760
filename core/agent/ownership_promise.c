// SPDX-License-Identifier: Apache-2.0
/* The promises of takers to each other, by which blocks are served on while etcd does not answer; and the list of
 * takers, which only one of them may replace. That no block has two owners with them, too: ownership.h has the reason,
 * tests/model/promises.pml the proof for a small case, tests/unit/test_agent_promise_schedules.c random ones. */
#include "core/agent/ownership_promise.h"

#include <stdio.h>
#include <string.h>

static size_t find_taker(const struct ownership_takers *takers, const char *node)
{
	size_t i = 0;
	while (i < takers->count && strcmp(takers->names[i], node) != 0)
		i++;
	return i;
}

bool ownership_is_taker(const struct ownership_takers *takers, const char *node, const char *machine)
{
	size_t i = find_taker(takers, node);
	return i < takers->count && (machine == NULL || strcmp(takers->machines[i], machine) == 0);
}

static bool is_taker_itself(const struct ownership *ownership)
{
	return ownership_is_taker(&ownership->takers, ownership->node, ownership->machine);
}

/* --- the list of takers ------------------------------------------------------------------------------------------- */

/* NULL: it is not registered now, or does not say. */
static const char *machine_of(const struct ownership_view *view, const char *node)
{
	for (size_t i = 0; i < view->node_count; i++) {
		if (strcmp(view->nodes[i].name, node) == 0)
			return view->nodes[i].machine[0] != '\0' ? view->nodes[i].machine : NULL;
	}
	return NULL;
}

void ownership_wanted_takers(const struct ownership_view *view, struct ownership_takers *wanted)
{
	*wanted = (struct ownership_takers){0};
	for (size_t i = 0; i < view->member_count; i++) {
		size_t before = find_taker(&view->takers, view->members[i]);
		const char *machine = machine_of(view, view->members[i]);
		if (machine == NULL && before < view->takers.count)
			machine = view->takers.machines[before];
		if (machine == NULL || ownership_is_taker(wanted, view->members[i], NULL))
			continue;
		memcpy(wanted->names[wanted->count], view->members[i], OWNERSHIP_NAME);
		(void)snprintf(wanted->machines[wanted->count++], OWNERSHIP_MACHINE, "%s", machine);
	}
}

static bool same_takers(const struct ownership_takers *a, const struct ownership_takers *b)
{
	for (size_t i = 0; i < a->count; i++) {
		if (!ownership_is_taker(b, a->names[i], a->machines[i]))
			return false;
	}
	return a->count == b->count;
}

/* Where there are no takers yet, none has promised anything: any member may write them. */
static bool is_replaceable(const struct ownership *ownership, const struct ownership_view *view)
{
	bool none = view->takers_revision == 0 || (view->takers_readable && view->takers.count == 0);
	struct ownership_takers wanted;
	if (!view->members_readable || (view->takers_revision != 0 && !view->takers_readable))
		return false;
	ownership_wanted_takers(view, &wanted);
	if (none)
		return ownership_is_taker(&wanted, ownership->node, ownership->machine);
	return is_taker_itself(ownership) && !same_takers(&wanted, &view->takers);
}

void ownership_promise_see(struct ownership *ownership, const struct ownership_view *view)
{
	if (!ownership->registered || ownership->node_revision != ownership->replaced_node_revision)
		ownership->may_be_replaced = false;
	if (view->takers_revision != ownership->takers_revision) {
		ownership->may_be_replaced = false;
		/* All waits begin anew: one that was no taker before has promised nothing. */
		for (unsigned block = 1; block <= ownership->block_count; block++)
			ownership->blocks[block].absent_since = 0;
	}
	ownership->takers_revision = view->takers_revision;
	ownership->takers_readable = view->takers_readable;
	ownership->takers = view->takers;
	if (!view->takers_readable)
		ownership->takers.count = 0;
	ownership->members_revision = view->members_revision;
	ownership->replaceable = is_replaceable(ownership, view);
}

static bool next_replacement(struct ownership *ownership, uint64_t now, struct ownership_action *action)
{
	if (!ownership->replaceable || ownership->replacing || !ownership->registered || !ownership->fresh ||
	    now >= ownership->until || now < ownership->replace_at)
		return false;
	/* From here on nothing is promised, and nothing extended, under the list that is being replaced. */
	ownership->might_have_been_replaced = ownership->may_be_replaced;
	ownership->replacing = ownership->may_be_replaced = true;
	ownership->replaced_node_revision = ownership->node_revision;
	*action = (struct ownership_action){.kind = OWNERSHIP_DO_REPLACE,
					    .node_revision = ownership->node_revision,
					    .takers_revision = ownership->takers_revision,
					    .members_revision = ownership->members_revision};
	return true;
}

void ownership_replaced(struct ownership *ownership, enum ownership_outcome outcome, uint64_t now)
{
	if (outcome == OWNERSHIP_REFUSED)
		ownership->may_be_replaced = ownership->might_have_been_replaced;
	ownership->replacing = false;
	ownership->replace_at = now + OWNERSHIP_RETRY;
	ownership_changed(ownership, 0, now);
}

/* --- questions to the others -------------------------------------------------------------------------------------- */

static bool counts(const struct ownership *ownership, const struct ownership_question *question)
{
	return question->number != 0 && question->takers_revision == ownership->takers_revision &&
	       !ownership->may_be_replaced;
}

/* Only what is served still: once a deadline is past, others may have promised nothing for a while. */
static void extend(struct ownership *ownership, uint64_t now)
{
	struct ownership_question *question = &ownership->question;
	uint64_t until = question->sent + OWNERSHIP_FENCE;
	for (unsigned block = 1; block <= ownership->block_count; block++) {
		struct ownership_block *b = &ownership->blocks[block];
		if (!ownership_set_has(&question->asked, block) || !ownership_set_has(&question->promised, block) ||
		    !ownership_holds(b) || now >= b->until || until <= b->until)
			continue;
		b->until = until;
		question->agreed = true;
	}
	if (question->agreed) {
		ownership->figures.agreements++;
		ownership->serve_at = now;
	}
}

/* What is served now. False: nothing. */
static bool fill_question(const struct ownership *ownership, uint64_t now, struct ownership_set *asked)
{
	bool any = false, needed = !ownership_reads_well(ownership, now);
	for (unsigned block = 1; block <= ownership->block_count; block++) {
		const struct ownership_block *b = &ownership->blocks[block];
		if (!ownership_serves(ownership, block, now))
			continue;
		any = true;
		needed = needed || b->kept; /* no read puts its deadline off */
		ownership_set_add(asked, block);
	}
	return any && needed;
}

static bool next_question(struct ownership *ownership, uint64_t now, struct ownership_action *action)
{
	struct ownership_question *question = &ownership->question;
	struct ownership_set asked = {0};
	if (now < ownership->ask_at || ownership->takers_revision == 0 || ownership->may_be_replaced ||
	    !is_taker_itself(ownership) || !fill_question(ownership, now, &asked))
		return false;
	*question = (struct ownership_question){.number = question->number + 1,
						.sent = now,
						.takers_revision = ownership->takers_revision,
						.asked = asked,
						.promised = asked};
	for (size_t i = 0; i < ownership->takers.count; i++)
		question->others += strcmp(ownership->takers.names[i], ownership->node) != 0;
	ownership->ask_at = now + OWNERSHIP_READ;
	ownership->figures.questions++;
	if (question->others == 0)
		extend(ownership, now); /* no other node may take anything */
	*action = (struct ownership_action){.kind = OWNERSHIP_DO_ASK,
					    .asked = asked,
					    .takers_revision = question->takers_revision,
					    .question = question->number};
	return true;
}

void ownership_promised(struct ownership *ownership, uint64_t number, const char *node,
			const struct ownership_set *promised, uint64_t now)
{
	struct ownership_question *question = &ownership->question;
	size_t index = find_taker(&ownership->takers, node);
	if (number != question->number || !counts(ownership, question) || index == ownership->takers.count ||
	    strcmp(node, ownership->node) == 0 || question->answered[index])
		return;
	question->answered[index] = true;
	if (promised == NULL) {
		question->refusals++;
		return;
	}
	for (size_t i = 0; i < OWNERSHIP_SET_WORDS; i++)
		question->promised.words[i] &= promised->words[i];
	if (++question->promises == question->others)
		extend(ownership, now);
}

/* --- questions of the others -------------------------------------------------------------------------------------- */

/* One that may be taking a block itself refuses. Its promise would do no harm as long as deadlines that are past are
 * not put off (extend()), since what it takes has no owner then; with the refusal the rule holds without that as well.
 */
static enum ownership_verdict judge(const struct ownership *ownership, const char *node, uint64_t takers_revision,
				    const struct ownership_set *asked, uint64_t now)
{
	if (!ownership->fresh || ownership->takers_revision == 0)
		return OWNERSHIP_NOT_READY;
	if (takers_revision != ownership->takers_revision)
		return OWNERSHIP_OTHER_TAKERS;
	if (ownership->may_be_replaced)
		return OWNERSHIP_TAKERS_REPLACED;
	if (strcmp(node, ownership->node) == 0 || !ownership_is_taker(&ownership->takers, node, NULL) ||
	    !is_taker_itself(ownership))
		return OWNERSHIP_NO_TAKER;
	for (unsigned block = 1; block <= ownership->block_count; block++) {
		const struct ownership_block *b = &ownership->blocks[block];
		bool served = now < b->until || b->doing == OWNERSHIP_RELEASING || b->doing == OWNERSHIP_CLEANING;
		if (ownership_set_has(asked, block) && (served || b->doing == OWNERSHIP_TAKING || b->may_be_taken))
			return OWNERSHIP_BLOCK_IN_USE;
	}
	return OWNERSHIP_PROMISED;
}

enum ownership_verdict ownership_asked(struct ownership *ownership, const char *node, uint64_t takers_revision,
				       const struct ownership_set *asked, uint64_t now)
{
	enum ownership_verdict verdict = judge(ownership, node, takers_revision, asked, now);
	ownership->figures.verdicts[verdict]++;
	if (verdict != OWNERSHIP_PROMISED)
		return verdict;
	for (unsigned block = 1; block <= ownership->block_count; block++) {
		if (ownership_set_has(asked, block))
			ownership->blocks[block].promised_until = now + OWNERSHIP_WAIT;
	}
	return verdict;
}

/* --- what is next ------------------------------------------------------------------------------------------------- */

bool ownership_promise_next(struct ownership *ownership, uint64_t now, struct ownership_action *action)
{
	return next_question(ownership, now, action) || next_replacement(ownership, now, action);
}

uint64_t ownership_promise_deadline(const struct ownership *ownership)
{
	/* A question in time, where reads go unanswered from now on. */
	uint64_t silent = ownership->read_sent + OWNERSHIP_SILENT;
	return ownership->ask_at > silent ? ownership->ask_at : silent;
}
