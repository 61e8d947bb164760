// SPDX-License-Identifier: Apache-2.0
/* The promises of takers to each other, by which blocks are served on while etcd does not answer; and the list of
 * takers, which only one of them may replace. That no block has two owners with them, too: ownership.h has the reason,
 * tests/model/promises.pml the proof for a small case, tests/unit/test_agent_promises.c random schedules. */
#include "core/agent/ownership_promise.h"

#include <string.h>

bool ownership_lists(const char names[][OWNERSHIP_NAME], size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

static bool is_taker(const struct ownership *ownership, const char *name)
{
	return ownership_lists(ownership->takers, ownership->taker_count, name);
}

/* --- the list of takers ------------------------------------------------------------------------------------------- */

static bool same_lists(const struct ownership_view *view)
{
	for (size_t i = 0; i < view->member_count; i++) {
		if (!ownership_lists(view->takers, view->taker_count, view->members[i]))
			return false;
	}
	for (size_t i = 0; i < view->taker_count; i++) {
		if (!ownership_lists(view->members, view->member_count, view->takers[i]))
			return false;
	}
	return true;
}

/* Where there are no takers yet, none has promised anything: any member may write them. */
static bool is_replaceable(const struct ownership *ownership, const struct ownership_view *view)
{
	bool none = view->takers_revision == 0 || (view->takers_readable && view->taker_count == 0);
	if (!view->members_readable || (view->takers_revision != 0 && !view->takers_readable))
		return false;
	if (none)
		return ownership_lists(view->members, view->member_count, ownership->node);
	return ownership_lists(view->takers, view->taker_count, ownership->node) && !same_lists(view);
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
	ownership->taker_count = view->takers_readable ? view->taker_count : 0;
	memcpy(ownership->takers, view->takers, sizeof ownership->takers);
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
	ownership_changed(ownership, now);
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
	    !is_taker(ownership, ownership->node) || !fill_question(ownership, now, &asked))
		return false;
	*question = (struct ownership_question){.number = question->number + 1,
						.sent = now,
						.takers_revision = ownership->takers_revision,
						.asked = asked,
						.promised = asked};
	for (size_t i = 0; i < ownership->taker_count; i++)
		question->others += strcmp(ownership->takers[i], ownership->node) != 0;
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
	size_t index = 0;
	while (index < ownership->taker_count && strcmp(ownership->takers[index], node) != 0)
		index++;
	if (number != question->number || !counts(ownership, question) || index == ownership->taker_count ||
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

/* That one which takes a block refuses is not needed as long as no deadline that is past is put off (extend()): what it
 * takes had no owner any more. It is here for the day when one is. */
static enum ownership_verdict judge(const struct ownership *ownership, const char *node, uint64_t takers_revision,
				    const struct ownership_set *asked, uint64_t now)
{
	if (!ownership->fresh || ownership->takers_revision == 0)
		return OWNERSHIP_NOT_READY;
	if (takers_revision != ownership->takers_revision)
		return OWNERSHIP_OTHER_TAKERS;
	if (ownership->may_be_replaced)
		return OWNERSHIP_TAKERS_REPLACED;
	if (strcmp(node, ownership->node) == 0 || !is_taker(ownership, node) || !is_taker(ownership, ownership->node))
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
