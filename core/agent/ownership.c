// SPDX-License-Identifier: Apache-2.0
#include "core/agent/ownership.h"

#include <stdio.h>
#include <string.h>

#include "core/agent/ownership_promise.h"
#include "core/agent/ownership_share.h"

/* A deadline this near is past soon, and nothing puts it off: one that is far off is not to wait for it. */
#define NEAR (600 * NS_PER_MS)
#define FAR  NS_PER_S

void ownership_init(struct ownership *ownership, const char *node, const char *uuid, const char *machine,
		    unsigned block_count, int64_t lease, uint64_t now)
{
	*ownership = (struct ownership){.block_count = block_count < OWNERSHIP_BLOCKS ? block_count
										      : OWNERSHIP_BLOCKS - 1,
					.lease = lease,
					.goes_on = lease != 0,
					.read_at = now,
					.serve_at = now,
					.keepalive_at = now,
					.grant_at = now,
					.register_at = now};
	(void)snprintf(ownership->node, sizeof ownership->node, "%s", node);
	(void)snprintf(ownership->uuid, sizeof ownership->uuid, "%s", uuid);
	(void)snprintf(ownership->machine, sizeof ownership->machine, "%s", machine);
	/* What an earlier process with our uuid has sent the gateway may still be on its way. */
	if (lease != 0)
		ownership->granted_until = ownership->unsure_until = now + OWNERSHIP_FENCE;
}

/* --- state -------------------------------------------------------------------------------------------------------- */

/* The gateway's process is gone, or does not answer and its last fence has ended or is about to. */
static bool gateway_failed(const struct ownership *ownership, uint64_t now)
{
	return (ownership->gateway_refused_since != 0 && now >= ownership->gateway_refused_since + OWNERSHIP_GONE) ||
	       (ownership->gateway_silent_since != 0 && now >= ownership->gateway_silent_since + OWNERSHIP_HUNG);
}

static bool gateway_is_useless(const struct ownership *ownership, uint64_t now)
{
	return !ownership->gateway_up || gateway_failed(ownership, now);
}

/* What the others are told. */
static bool takes_none(const struct ownership *ownership, uint64_t now)
{
	return ownership->draining || gateway_is_useless(ownership, now);
}

bool ownership_serves(const struct ownership *ownership, unsigned block, uint64_t now)
{
	const struct ownership_block *b = &ownership->blocks[block];
	return ownership_holds(b) && now < b->until && !gateway_failed(ownership, now);
}

bool ownership_named(const struct ownership *ownership, unsigned block, uint64_t until, uint64_t now)
{
	return ownership_serves(ownership, block, now) && ownership->blocks[block].until >= until;
}

unsigned ownership_count(const struct ownership *ownership)
{
	unsigned count = 0;
	for (unsigned block = 1; block <= ownership->block_count; block++)
		count += ownership->blocks[block].mine;
	return count;
}

/* --- reads -------------------------------------------------------------------------------------------------------- */

static bool is_mine(const struct ownership *ownership, const struct ownership_block_key *key)
{
	return key->kind == OWNERSHIP_OWNED && strcmp(key->node, ownership->node) == 0 &&
	       strcmp(key->uuid, ownership->uuid) == 0;
}

/* The key went, as it does when a lease is revoked, but no node has taken the block: until its deadline it is ours, for
 * all others wait for longer than that. */
static bool is_kept(const struct ownership_block *b, const struct ownership_block_key *key, uint64_t now)
{
	return key->kind == OWNERSHIP_ABSENT && ownership_holds(b) && now < b->until &&
	       key->taken_revision == b->own_taken_revision;
}

static void see_block(struct ownership *ownership, unsigned block, const struct ownership_block_key *key, uint64_t now)
{
	struct ownership_block *b = &ownership->blocks[block];
	bool mine = is_mine(ownership, key);
	b->kept = !mine && is_kept(b, key, now);
	if (key->kind != OWNERSHIP_ABSENT)
		b->absent_since = 0;
	else if (b->absent_since == 0 || key->taken_revision != b->key.taken_revision)
		b->absent_since = now; /* another absence than before */
	if (b->mine && !mine) {
		ownership->figures.lost += b->doing == OWNERSHIP_IDLE;
		if (b->doing != OWNERSHIP_WRITING && b->doing != OWNERSHIP_TAKING)
			b->doing = OWNERSHIP_IDLE; /* there is nothing left to release */
	}
	b->mine = mine;
	b->key = *key;
	if (mine)
		b->own_taken_revision = key->taken_revision;
	if (mine && ownership_holds(b) && ownership->read_sent + OWNERSHIP_FENCE > b->until)
		b->until = ownership->read_sent + OWNERSHIP_FENCE;
	if (!ownership_holds(b))
		b->until = 0;
	if (key->taken_revision != b->may_be_taken_revision)
		b->may_be_taken = b->might_have_been_taken = false;
}

static void see_registration(struct ownership *ownership, const struct ownership_view *view)
{
	bool was = ownership->registered;
	ownership->registered = ownership->name_is_used = false;
	for (size_t i = 0; i < view->node_count; i++) {
		const struct ownership_node_key *key = &view->nodes[i];
		if (strcmp(key->name, ownership->node) != 0)
			continue;
		ownership->registered = strcmp(key->uuid, ownership->uuid) == 0;
		ownership->name_is_used = !ownership->registered;
		ownership->create_revision = key->create_revision;
		ownership->node_revision = key->mod_revision;
		ownership->said_draining = key->draining;
	}
	if (was && !ownership->registered)
		ownership->lease = 0; /* the key went with it, whatever keepalives say */
	if (!ownership->seen_any)
		ownership->first_revision = view->revision;
	if (ownership->registered && ownership->node_revision > ownership->first_revision)
		ownership->fresh = true;
}

void ownership_read(struct ownership *ownership, const struct ownership_view *view, uint64_t now)
{
	bool again = ownership->read_again || (view != NULL && view->revision < ownership->read_again_below);
	ownership->reading = ownership->read_again = false;
	ownership->read_again_below = 0; /* the next one is sent after that, and sees it */
	ownership->figures.reads++;
	if (view == NULL) {
		ownership->figures.reads_failed++;
		ownership->read_at = now + OWNERSHIP_RETRY;
		return;
	}
	if (view->revision < ownership->least_revision) {
		ownership->read_at = now; /* it was answered before our "clean" */
		return;
	}
	ownership->read_at = again ? now : view->sent + OWNERSHIP_READ;
	ownership->revision = view->revision;
	ownership->read_sent = view->sent;
	see_registration(ownership, view);
	ownership_promise_see(ownership, view);
	for (unsigned block = 1; block <= ownership->block_count; block++)
		see_block(ownership, block, &view->blocks[block], now);
	if (view->sent + OWNERSHIP_FENCE > ownership->until)
		ownership->until = view->sent + OWNERSHIP_FENCE;
	ownership->seen_any = true;
	ownership_share_update(ownership, view);
	ownership->serve_at = now;
}

void ownership_changed(struct ownership *ownership, uint64_t revision, uint64_t now)
{
	if (revision != 0 && revision <= ownership->revision)
		return;
	if (ownership->reading && revision == 0)
		ownership->read_again = true;
	else if (ownership->reading && revision > ownership->read_again_below)
		ownership->read_again_below = revision;
	if (ownership->read_at > now)
		ownership->read_at = now;
}

/* --- registration ------------------------------------------------------------------------------------------------- */

void ownership_granted(struct ownership *ownership, int64_t lease, uint64_t now)
{
	ownership->granting = false;
	ownership->lease = lease;
	ownership->grant_at = now + OWNERSHIP_RETRY;
	ownership->register_at = now;
	ownership->keepalive_at = now + OWNERSHIP_KEEPALIVE;
}

void ownership_kept(struct ownership *ownership, enum ownership_outcome outcome, uint64_t now)
{
	ownership->keeping = false;
	ownership->keepalive_at = now + (outcome == OWNERSHIP_DONE ? OWNERSHIP_KEEPALIVE : OWNERSHIP_RETRY);
	if (outcome == OWNERSHIP_NO_LEASE) {
		ownership->lease = 0;
		ownership_changed(ownership, 0, now);
	}
}

void ownership_registered(struct ownership *ownership, enum ownership_outcome outcome, uint64_t now)
{
	ownership->registering = false;
	ownership->register_at = now + (outcome == OWNERSHIP_DONE ? OWNERSHIP_READ : OWNERSHIP_RETRY);
	if (outcome == OWNERSHIP_NO_LEASE)
		ownership->lease = 0;
	ownership_changed(ownership, 0, now);
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

/* Ours is what a read has seen, and nothing else: the transaction's answer only brings that read forward. */
void ownership_taken(struct ownership *ownership, unsigned block, enum ownership_outcome outcome, uint64_t now)
{
	struct ownership_block *b = &ownership->blocks[block];
	if (b->doing == OWNERSHIP_TAKING)
		b->doing = OWNERSHIP_IDLE;
	ownership->figures.taken += outcome == OWNERSHIP_DONE;
	if (outcome == OWNERSHIP_REFUSED || outcome == OWNERSHIP_NO_LEASE)
		b->may_be_taken = b->might_have_been_taken;
	if (outcome == OWNERSHIP_NO_LEASE)
		ownership->lease = 0;
	/* It is not tried again before a read has seen what became of it. */
	b->key.kind = OWNERSHIP_UNREADABLE;
	b->absent_since = 0;
	ownership_changed(ownership, 0, now);
}

void ownership_cleaned(struct ownership *ownership, unsigned block, enum ownership_outcome outcome, uint64_t revision,
		       uint64_t now)
{
	struct ownership_block *b = &ownership->blocks[block];
	if (outcome == OWNERSHIP_DONE) {
		ownership->figures.cleaned++;
		ownership->moving++; /* until a read has seen it */
		if (revision > ownership->least_revision)
			ownership->least_revision = revision;
		b->mine = b->kept = false;
		b->doing = OWNERSHIP_IDLE;
		b->until = 0;
		b->key.kind = OWNERSHIP_UNREADABLE; /* until a read has seen it */
		b->absent_since = 0;
	} else {
		/* A read says whether there is still something to write; until then it is not served. */
		b->doing = b->mine ? OWNERSHIP_CLEANING : OWNERSHIP_IDLE;
		b->clean_after = now + OWNERSHIP_RETRY;
	}
	ownership_changed(ownership, 0, now);
}

static void release_answered(struct ownership *ownership, enum ownership_answer answer, uint64_t now)
{
	struct ownership_block *b = &ownership->blocks[ownership->talking_block];
	if (b->doing != OWNERSHIP_RELEASING)
		return; /* the key is gone meanwhile */
	if (answer == OWNERSHIP_ANSWERED) {
		b->doing = OWNERSHIP_CLEANING;
		b->clean_after = now;
	} else if (answer == OWNERSHIP_DECLINED) {
		b->doing = OWNERSHIP_CLEANING;
		b->clean_after = ownership->granted_until;
	}
}

void ownership_answered(struct ownership *ownership, enum ownership_answer answer, uint64_t now)
{
	ownership->talking = false;
	if (ownership->talking_release)
		release_answered(ownership, answer, now);
	if (answer == OWNERSHIP_UNANSWERED && ownership->talking_until > ownership->unsure_until)
		ownership->unsure_until = ownership->talking_until;
	/* A gateway that declines to serve is of no more use than one that does not answer. */
	ownership->gateway_up = answer == OWNERSHIP_ANSWERED ||
				(answer == OWNERSHIP_DECLINED && ownership->talking_release);
	if (ownership->gateway_up)
		ownership->gateway_silent_since = 0;
	else if (ownership->gateway_silent_since == 0)
		ownership->gateway_silent_since = now;
	if (answer != OWNERSHIP_NO_GATEWAY)
		ownership->gateway_refused_since = 0;
	else if (ownership->gateway_refused_since == 0)
		ownership->gateway_refused_since = now;
	if (!ownership->talking_release || !ownership->gateway_up)
		ownership->serve_at = now + (ownership->gateway_up ? OWNERSHIP_READ : OWNERSHIP_RETRY);
}

void ownership_drain(struct ownership *ownership, bool draining, uint64_t now)
{
	ownership->draining = draining;
	ownership_changed(ownership, 0, now);
}

/* --- what is next ------------------------------------------------------------------------------------------------- */

static bool next_of_registration(struct ownership *ownership, uint64_t now, struct ownership_action *action)
{
	/* What an earlier process has written stays at first, but for its revision. */
	bool none = ownership->registered && !ownership->fresh ? ownership->said_draining : takes_none(ownership, now);
	if (ownership->lease == 0) {
		if (!ownership->seen_any || ownership->registered || ownership->name_is_used || ownership->granting ||
		    now < ownership->grant_at)
			return false;
		ownership->granting = true;
		*action = (struct ownership_action){.kind = OWNERSHIP_DO_GRANT};
		return true;
	}
	if (!ownership->keeping && now >= ownership->keepalive_at) {
		ownership->keeping = true;
		*action = (struct ownership_action){.kind = OWNERSHIP_DO_KEEPALIVE, .lease = ownership->lease};
		return true;
	}
	/* The last: a transaction without an answer, and with nothing to do any more, is made void. */
	bool changed = ownership->registered &&
		       (ownership->said_draining != none || !ownership->fresh ||
			(ownership->may_be_replaced && !ownership->replacing && !ownership->replaceable));
	if (!ownership->seen_any || ownership->registering || ownership->name_is_used || now < ownership->register_at ||
	    (ownership->registered && !changed))
		return false;
	ownership->registering = true;
	*action = (struct ownership_action){.kind = OWNERSHIP_DO_REGISTER,
					    .lease = ownership->lease,
					    .draining = none,
					    .create_revision = ownership->registered ? ownership->create_revision : 0};
	return true;
}

/* The gateway's serving of a block has ended for sure. */
static bool has_stopped(const struct ownership *ownership, const struct ownership_block *b, uint64_t now)
{
	bool gone = ownership->gateway_refused_since != 0 && now >= ownership->gateway_refused_since + OWNERSHIP_GONE;
	return gone || (now >= b->clean_after && now >= ownership->unsure_until);
}

static bool next_clean(struct ownership *ownership, uint64_t now, struct ownership_action *action)
{
	bool failed = gateway_failed(ownership, now);
	for (unsigned block = 1; block <= ownership->block_count; block++) {
		struct ownership_block *b = &ownership->blocks[block];
		if (failed && b->mine && (b->doing == OWNERSHIP_IDLE || b->doing == OWNERSHIP_RELEASING) &&
		    !ownership->talking) {
			b->doing = OWNERSHIP_CLEANING;
			b->until = 0;
			b->clean_after = ownership->granted_until;
		}
		if (!b->mine || !ownership->registered || !ownership->fresh || b->doing != OWNERSHIP_CLEANING ||
		    !has_stopped(ownership, b, now))
			continue;
		b->doing = OWNERSHIP_WRITING;
		*action = (struct ownership_action){.kind = OWNERSHIP_DO_CLEAN,
						    .block = block,
						    .mod_revision = b->key.mod_revision,
						    .node_revision = ownership->node_revision};
		return true;
	}
	return false;
}

static bool can_be_taken(const struct ownership_block *b, uint64_t now)
{
	if (b->mine || b->kept || b->doing != OWNERSHIP_IDLE || now < b->promised_until)
		return false;
	return b->key.kind == OWNERSHIP_CLEAN ||
	       (b->key.kind == OWNERSHIP_ABSENT && b->absent_since != 0 && now >= b->absent_since + OWNERSHIP_WAIT);
}

static void take(struct ownership *ownership, unsigned block, struct ownership_action *action)
{
	struct ownership_block *b = &ownership->blocks[block];
	b->doing = OWNERSHIP_TAKING;
	b->might_have_been_taken = b->may_be_taken;
	b->may_be_taken = true;
	b->may_be_taken_revision = b->key.taken_revision;
	*action = (struct ownership_action){.kind = OWNERSHIP_DO_TAKE,
					    .block = block,
					    .lease = ownership->lease,
					    .node_revision = ownership->node_revision,
					    .takers_revision = ownership->takers_revision,
					    .mod_revision = b->key.mod_revision,
					    .taken_revision = b->key.taken_revision};
}

/* What is kept, at once and whatever our share is. */
static bool next_take_again(struct ownership *ownership, struct ownership_action *action)
{
	for (unsigned block = 1; block <= ownership->block_count; block++) {
		const struct ownership_block *b = &ownership->blocks[block];
		if (!b->kept || b->doing != OWNERSHIP_IDLE || b->key.kind != OWNERSHIP_ABSENT)
			continue;
		take(ownership, block, action);
		return true;
	}
	return false;
}

static bool next_take(struct ownership *ownership, uint64_t now, struct ownership_action *action)
{
	unsigned taking = 0, has = 0, first = ownership_share_first(ownership);
	/* Where all drain, or the others are gone meanwhile, a block is better here than nowhere. */
	bool drains = ownership->draining && ownership->others != 0;
	if (!ownership->registered || !ownership->fresh || ownership->lease == 0 || !ownership->is_member ||
	    gateway_is_useless(ownership, now) || now >= ownership->until)
		return false;
	for (unsigned block = 1; block <= ownership->block_count; block++) {
		const struct ownership_block *b = &ownership->blocks[block];
		taking += b->doing == OWNERSHIP_TAKING;
		has += b->mine || b->kept || b->doing == OWNERSHIP_TAKING;
	}
	if (taking >= OWNERSHIP_TAKING_MAX)
		return false;
	if (next_take_again(ownership, action))
		return true;
	if (drains || has >= ownership->share)
		return false;
	for (unsigned i = 0; i < ownership->block_count; i++) {
		unsigned block = 1 + (first + i) % ownership->block_count;
		if (!can_be_taken(&ownership->blocks[block], now))
			continue;
		take(ownership, block, action);
		return true;
	}
	return false;
}

/* Marks what is to be released; the gateway is told one by one. */
static void choose_releases(struct ownership *ownership, uint64_t now)
{
	unsigned busy = ownership->moving, kept = 0, first = ownership_share_first(ownership);
	/* Without etcd what is released would have no owner. */
	if (!ownership_reads_well(ownership, now) || !ownership->members_readable || !ownership->gateway_up)
		return;
	/* What no other one takes would be served by none. Those have to know of a drain first, or they have no place.
	 */
	if (ownership->others == 0 || (ownership->draining && !ownership->said_draining))
		return;
	unsigned share = ownership->draining || !ownership->is_member ? 0 : ownership->share;
	unsigned most = ownership->draining ? OWNERSHIP_DRAINING_MAX : OWNERSHIP_MOVING_MAX;
	for (unsigned block = 1; block <= ownership->block_count; block++) {
		const struct ownership_block *b = &ownership->blocks[block];
		busy += b->mine && b->doing != OWNERSHIP_IDLE;
		kept += b->mine && b->doing == OWNERSHIP_IDLE;
	}
	/* The last ones first: those of the front were taken first. */
	for (unsigned i = ownership->block_count; i-- > 0 && kept > share && busy < most;) {
		unsigned block = 1 + (first + i) % ownership->block_count;
		struct ownership_block *b = &ownership->blocks[block];
		if (!b->mine || b->doing != OWNERSHIP_IDLE || !ownership_serves(ownership, block, now))
			continue;
		b->doing = OWNERSHIP_RELEASING;
		b->until = 0;
		kept--;
		busy++;
	}
}

/* The deadline of the next SERVE: the first of those that it names. A block whose deadline nothing puts off any more is
 * not named, where there are others. 0: there is no block to name. */
static uint64_t next_until(const struct ownership *ownership, uint64_t now)
{
	uint64_t last = 0, until = 0;
	for (unsigned block = 1; block <= ownership->block_count; block++) {
		if (ownership_serves(ownership, block, now) && ownership->blocks[block].until > last)
			last = ownership->blocks[block].until;
	}
	for (unsigned block = 1; block <= ownership->block_count; block++) {
		uint64_t one = ownership->blocks[block].until;
		bool near = one < now + NEAR && last >= now + FAR;
		if (ownership_serves(ownership, block, now) && !near && (until == 0 || one < until))
			until = one;
	}
	return until;
}

static bool next_of_gateway(struct ownership *ownership, uint64_t now, struct ownership_action *action)
{
	/* What an earlier process of ours has said goes on until there is something to say. */
	if (ownership->talking || (ownership->goes_on && !ownership->fresh))
		return false;
	for (unsigned block = 1; block <= ownership->block_count; block++) {
		if (ownership->blocks[block].doing != OWNERSHIP_RELEASING || !ownership->gateway_up)
			continue;
		ownership->talking = ownership->talking_release = true;
		ownership->talking_block = block;
		ownership->talking_until = 0;
		*action = (struct ownership_action){.kind = OWNERSHIP_DO_RELEASE, .block = block};
		return true;
	}
	if (now < ownership->serve_at)
		return false;
	ownership->talking = true;
	ownership->talking_release = false;
	ownership->talking_until = next_until(ownership, now);
	if (ownership->talking_until > ownership->granted_until)
		ownership->granted_until = ownership->talking_until;
	*action = (struct ownership_action){.kind = OWNERSHIP_DO_SERVE,
					    .until = ownership->talking_until != 0 ? ownership->talking_until
										   : ownership->until};
	return true;
}

/* A block that is only kept is none of ours once its deadline is past. */
static void note_fences(struct ownership *ownership, uint64_t now)
{
	bool any = false, served = false;
	for (unsigned block = 1; block <= ownership->block_count; block++) {
		struct ownership_block *b = &ownership->blocks[block];
		if (!ownership_holds(b))
			continue;
		any = true;
		served = served || now < b->until;
		if (b->kept && now >= b->until) {
			b->kept = false;
			b->until = 0;
		}
	}
	ownership->figures.fences += any && !served && !ownership->fenced;
	ownership->fenced = any && !served;
}

bool ownership_next(struct ownership *ownership, uint64_t now, struct ownership_action *action)
{
	note_fences(ownership, now);
	choose_releases(ownership, now);
	if (!ownership->reading && now >= ownership->read_at) {
		ownership->reading = true;
		*action = (struct ownership_action){.kind = OWNERSHIP_DO_READ};
		return true;
	}
	return ownership_promise_next(ownership, now, action) || next_of_gateway(ownership, now, action) ||
	       next_of_registration(ownership, now, action) || next_clean(ownership, now, action) ||
	       next_take(ownership, now, action);
}

static void earlier(uint64_t *deadline, uint64_t time, uint64_t now)
{
	if (time > now && time < *deadline)
		*deadline = time;
}

uint64_t ownership_deadline(const struct ownership *ownership, uint64_t now)
{
	uint64_t deadline = now + OWNERSHIP_READ;
	earlier(&deadline, ownership->read_at, now);
	earlier(&deadline, ownership->serve_at, now);
	earlier(&deadline, ownership->keepalive_at, now);
	earlier(&deadline, ownership->grant_at, now);
	earlier(&deadline, ownership->register_at, now);
	earlier(&deadline, ownership->unsure_until, now);
	earlier(&deadline, ownership->replace_at, now);
	earlier(&deadline, ownership_promise_deadline(ownership), now);
	if (ownership->gateway_refused_since != 0)
		earlier(&deadline, ownership->gateway_refused_since + OWNERSHIP_GONE, now);
	if (ownership->gateway_silent_since != 0)
		earlier(&deadline, ownership->gateway_silent_since + OWNERSHIP_HUNG, now);
	for (unsigned block = 1; block <= ownership->block_count; block++) {
		const struct ownership_block *b = &ownership->blocks[block];
		if (b->absent_since != 0)
			earlier(&deadline, b->absent_since + OWNERSHIP_WAIT, now);
		earlier(&deadline, b->promised_until, now);
		earlier(&deadline, b->until, now);
		if (b->doing == OWNERSHIP_CLEANING)
			earlier(&deadline, b->clean_after, now);
	}
	return deadline;
}
