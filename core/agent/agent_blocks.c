// SPDX-License-Identifier: Apache-2.0
/* Carries out what the rule says: requests to etcd and to the gateway, whose answers go back to it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/agent/agent_state.h"

enum { LINE = CONTROL_REQUEST_MAX };

/* What a request's function needs. Freed by it. */
struct step {
	struct agent *agent;
	unsigned block;
};

static uint64_t now_of(const struct agent *agent)
{
	return clock_monotonic(agent->clock);
}

/* --- reads -------------------------------------------------------------------------------------------------------- */

/* `text` says why; NULL: it succeeded. */
static void log_read(struct agent *agent, const char *text, uint64_t now)
{
	if (text == NULL) {
		if (agent->etcd_warned)
			log_info("reads in etcd succeed again");
		agent->etcd_silent_since = 0;
		agent->etcd_warned = false;
		return;
	}
	if (agent->etcd_silent_since == 0)
		agent->etcd_silent_since = now;
	if (!agent->etcd_warned && now >= agent->etcd_silent_since + NS_PER_S) {
		agent->etcd_warned = true;
		log_warning("reads in etcd fail (%s): peers do not change, and blocks are served as long as all other "
			    "members agree",
			    text);
	}
}

/* What is wrong in etcd, once. */
static void log_view(struct agent *agent, const struct records_unreadable *before)
{
	const struct records_unreadable *unreadable = &agent->unreadable;
	const char *prefix = agent->settings->prefix;
	if (agent->rule.name_is_used && !agent->name_warned)
		log_error(
			"node name \"%s\" is used by another agent: nothing is taken; give each node a name of its own",
			agent->settings->node);
	agent->name_warned = agent->rule.name_is_used;
	if (!agent->view.members_readable && !agent->members_warned)
		log_warning("%s" RECORDS_MEMBERS " in etcd is missing or cannot be read: nothing is taken, and nothing "
			    "moves; see ETCD in shardtun-agent(8)",
			    prefix);
	agent->members_warned = !agent->view.members_readable;
	if (unreadable->count > before->count)
		log_warning("%u keys in etcd cannot be read (no JSON, or of a newer version), %s%s is the first: they "
			    "are left alone",
			    unreadable->count, prefix, unreadable->first);
}

static void read_done(void *context, const struct etcd_answer *answer)
{
	struct agent *agent = context;
	uint64_t now = now_of(agent);
	struct records_unreadable before = agent->unreadable;
	int result = answer->code;
	if (result == -ECANCELED)
		return;
	if (result == 0)
		result = records_view(answer->body, agent->settings->prefix, &agent->view, &agent->unreadable);
	log_read(agent,
		 answer->code != 0 ? answer->text
		 : result != 0	   ? "an answer that is none to a read"
				   : NULL,
		 now);
	if (result != 0) {
		ownership_read(&agent->rule, NULL, now);
		return;
	}
	agent->view.sent = answer->sent;
	agent->read_revision = agent->view.revision;
	ownership_read(&agent->rule, &agent->view, now);
	agent_promises_see(agent);
	agent_watch_doubt(agent);
	log_view(agent, &before);
}

static int begin_read(struct agent *agent)
{
	struct etcd_txn txn;
	etcd_txn_begin(&txn);
	records_ask(&txn, agent->settings->prefix);
	return etcd_txn(agent->etcd, &txn, true, AGENT_READ_MS, read_done, agent);
}

/* --- leases ------------------------------------------------------------------------------------------------------- */

static void granted(void *context, const struct etcd_answer *answer)
{
	struct agent *agent = context;
	int64_t lease = answer->code == 0 ? (int64_t)etcd_number(answer->body, "ID") : 0;
	ownership_granted(&agent->rule, lease, now_of(agent));
	agent_identity_keep(agent);
}

static void kept(void *context, const struct etcd_answer *answer)
{
	struct agent *agent = context;
	enum ownership_outcome outcome = OWNERSHIP_UNKNOWN;
	if (answer->code == 0)
		outcome = etcd_number(json_object_get(answer->body, "result"), "TTL") != 0 ? OWNERSHIP_DONE
											   : OWNERSHIP_NO_LEASE;
	ownership_kept(&agent->rule, outcome, now_of(agent));
}

/* --- transactions ------------------------------------------------------------------------------------------------- */

static enum ownership_outcome outcome_of(const struct etcd_answer *answer)
{
	if (answer->code == 0)
		return etcd_txn_succeeded(answer->body) ? OWNERSHIP_DONE : OWNERSHIP_REFUSED;
	if (answer->code == -EREMOTEIO && answer->grpc == ETCD_NOT_FOUND)
		return OWNERSHIP_NO_LEASE;
	/* Not carried out, and not going to be, is a refusal; all else may still be. */
	return answer->code == -EREMOTEIO || !answer->unknown ? OWNERSHIP_REFUSED : OWNERSHIP_UNKNOWN;
}

static void registered(void *context, const struct etcd_answer *answer)
{
	struct agent *agent = context;
	ownership_registered(&agent->rule, outcome_of(answer), now_of(agent));
}

static void taken(void *context, const struct etcd_answer *answer)
{
	struct step *step = context;
	enum ownership_outcome outcome = outcome_of(answer);
	if (outcome == OWNERSHIP_DONE)
		log_debug("block %u: taken", step->block);
	ownership_taken(&step->agent->rule, step->block, outcome, now_of(step->agent));
	free(step);
}

static void cleaned(void *context, const struct etcd_answer *answer)
{
	struct step *step = context;
	enum ownership_outcome outcome = outcome_of(answer);
	if (outcome == OWNERSHIP_DONE)
		log_debug("block %u: its key is clean", step->block);
	ownership_cleaned(&step->agent->rule, step->block, outcome, answer->revision, now_of(step->agent));
	free(step);
}

static int begin_register(struct agent *agent, const struct ownership_action *action)
{
	struct ownership_node_key node = {.draining = action->draining};
	(void)snprintf(node.uuid, sizeof node.uuid, "%s", agent->uuid);
	(void)snprintf(node.machine, sizeof node.machine, "%s", agent->machine);
	(void)snprintf(node.inside, sizeof node.inside, "%s", agent->settings->inside);
	(void)snprintf(node.agent, sizeof node.agent, "%s", agent->settings->agreement);
	char key[ETCD_KEY_MAX], *value = records_node(&node);
	struct etcd_txn txn;
	etcd_txn_begin(&txn);
	if (value == NULL || !records_key(key, agent->settings->prefix, RECORDS_NODE, agent->settings->node)) {
		free(value);
		etcd_txn_abort(&txn);
		return -ENOMEM;
	}
	etcd_txn_created(&txn, key, action->create_revision);
	etcd_txn_put(&txn, key, value, action->lease);
	free(value);
	return etcd_txn(agent->etcd, &txn, false, AGENT_WRITE_MS, registered, agent);
}

static void fill_take(struct agent *agent, const struct ownership_action *action, struct etcd_txn *txn)
{
	const char *prefix = agent->settings->prefix;
	char node[ETCD_KEY_MAX], takers[ETCD_KEY_MAX], block[ETCD_KEY_MAX], mark[ETCD_KEY_MAX];
	char *value = records_block(agent->settings->node, agent->uuid);
	if (value == NULL || !records_key(node, prefix, RECORDS_NODE, agent->settings->node) ||
	    !records_key(takers, prefix, RECORDS_TAKERS, "") ||
	    !records_number_key(block, prefix, RECORDS_BLOCK, action->block) ||
	    !records_number_key(mark, prefix, RECORDS_TAKEN, action->block)) {
		txn->failed = -ENOMEM;
	} else {
		etcd_txn_unchanged(txn, node, action->node_revision);
		etcd_txn_unchanged(txn, takers, action->takers_revision);
		etcd_txn_unchanged(txn, block, action->mod_revision);
		etcd_txn_unchanged(txn, mark, action->taken_revision);
		etcd_txn_put(txn, block, value, action->lease);
		etcd_txn_put(txn, mark, value, 0);
	}
	free(value);
}

static void fill_clean(struct agent *agent, const struct ownership_action *action, struct etcd_txn *txn)
{
	const char *prefix = agent->settings->prefix;
	char node[ETCD_KEY_MAX], block[ETCD_KEY_MAX], *value = records_clean(agent->settings->node);
	if (value == NULL || !records_key(node, prefix, RECORDS_NODE, agent->settings->node) ||
	    !records_number_key(block, prefix, RECORDS_BLOCK, action->block)) {
		txn->failed = -ENOMEM;
	} else {
		etcd_txn_unchanged(txn, node, action->node_revision);
		etcd_txn_unchanged(txn, block, action->mod_revision);
		etcd_txn_put(txn, block, value, 0);
	}
	free(value);
}

static void begin_move(struct agent *agent, const struct ownership_action *action)
{
	bool take = action->kind == OWNERSHIP_DO_TAKE;
	struct step *step = malloc(sizeof *step);
	struct etcd_txn txn;
	etcd_txn_begin(&txn);
	if (step == NULL)
		txn.failed = -ENOMEM;
	else
		*step = (struct step){agent, action->block};
	if (take)
		fill_take(agent, action, &txn);
	else
		fill_clean(agent, action, &txn);
	if (etcd_txn(agent->etcd, &txn, false, AGENT_WRITE_MS, take ? taken : cleaned, step) == 0)
		return;
	free(step);
	if (take)
		ownership_taken(&agent->rule, action->block, OWNERSHIP_REFUSED, now_of(agent));
	else
		ownership_cleaned(&agent->rule, action->block, OWNERSHIP_REFUSED, 0, now_of(agent));
}

static void replaced(void *context, const struct etcd_answer *answer)
{
	struct agent *agent = context;
	enum ownership_outcome outcome = outcome_of(answer);
	if (outcome == OWNERSHIP_DONE)
		log_info("%s" RECORDS_TAKERS " in etcd: written after " RECORDS_MEMBERS, agent->settings->prefix);
	ownership_replaced(&agent->rule, outcome, now_of(agent));
}

static int begin_replace(struct agent *agent, const struct ownership_action *action)
{
	const char *prefix = agent->settings->prefix;
	char node[ETCD_KEY_MAX], takers[ETCD_KEY_MAX], members[ETCD_KEY_MAX];
	struct ownership_takers wanted;
	struct etcd_txn txn;
	ownership_wanted_takers(&agent->view, &wanted);
	char *value = records_takers(&wanted);
	etcd_txn_begin(&txn);
	if (value == NULL || !records_key(node, prefix, RECORDS_NODE, agent->settings->node) ||
	    !records_key(takers, prefix, RECORDS_TAKERS, "") || !records_key(members, prefix, RECORDS_MEMBERS, "")) {
		txn.failed = -ENOMEM;
	} else {
		etcd_txn_unchanged(&txn, node, action->node_revision);
		etcd_txn_unchanged(&txn, takers, action->takers_revision);
		etcd_txn_unchanged(&txn, members, action->members_revision);
		etcd_txn_put(&txn, takers, value, 0);
	}
	free(value);
	return etcd_txn(agent->etcd, &txn, false, AGENT_WRITE_MS, replaced, agent);
}

/* --- the gateway -------------------------------------------------------------------------------------------------- */

/* A process that has just started has no peers and no map. One that was silent for a while has them still; a gateway
 * without a number of its process may have been started anew meanwhile. */
static void see_gateway(struct agent *agent, enum ownership_answer answer, json_t *result, const char *text)
{
	bool answers = answer == OWNERSHIP_ANSWERED;
	uint64_t instance = (uint64_t)json_integer_value(json_object_get(result, "instance"));
	bool anew = instance != 0 ? instance != agent->instance : !agent->gateway_known;
	if (answers && (anew || !agent->gateway_known))
		log_info("the gateway serves what it is told");
	if (answers && anew) {
		agent->instance = instance;
		agent_peers_again(agent);
		agent->map_again = true;
	}
	if (!answers && agent->gateway_known)
		log_warning("the gateway does not serve what it is told: %s", text);
	agent->gateway_known = answers;
}

static void served(void *context, enum ownership_answer answer, json_t *result, const char *text)
{
	struct agent *agent = context;
	see_gateway(agent, answer, result, text);
	agent_pool_see(agent, json_object_get(result, "pool"));
	ownership_answered(&agent->rule, answer, now_of(agent));
}

static void released(void *context, enum ownership_answer answer, json_t *result, const char *text)
{
	struct agent *agent = context;
	(void)result;
	if (answer != OWNERSHIP_ANSWERED)
		log_warning("block %u: cluster-release: %s", agent->rule.talking_block, text);
	ownership_answered(&agent->rule, answer, now_of(agent));
}

static void begin_serve(struct agent *agent, const struct ownership_action *action)
{
	char line[LINE];
	uint64_t now = now_of(agent);
	int length = snprintf(line, sizeof line, "cluster-own %" PRIu64 " ", action->until);
	int start = length;
	for (unsigned block = 1; block <= agent->rule.block_count; block++) {
		if (ownership_named(&agent->rule, block, action->until, now))
			length += snprintf(line + length, sizeof line - (size_t)length, "%s%u",
					   length != start ? "," : "", block);
	}
	if (length == start)
		(void)snprintf(line + length, sizeof line - (size_t)length, "-");
	gateway_link_send(agent->fence, line, AGENT_GATEWAY_MS, served, agent);
}

static void begin_release(struct agent *agent, unsigned block)
{
	char line[LINE];
	(void)snprintf(line, sizeof line, "cluster-release %u", block);
	gateway_link_send(agent->fence, line, AGENT_GATEWAY_MS, released, agent);
}

/* --- the loop's part ---------------------------------------------------------------------------------------------- */

static void carry_out(struct agent *agent, const struct ownership_action *action)
{
	uint64_t now = now_of(agent);
	switch (action->kind) {
	case OWNERSHIP_DO_READ:
		if (begin_read(agent) != 0)
			ownership_read(&agent->rule, NULL, now);
		break;
	case OWNERSHIP_DO_GRANT:
		if (etcd_lease_grant(agent->etcd, OWNERSHIP_TTL, AGENT_WRITE_MS, granted, agent) != 0)
			ownership_granted(&agent->rule, 0, now);
		break;
	case OWNERSHIP_DO_KEEPALIVE:
		if (etcd_lease_keepalive(agent->etcd, action->lease, AGENT_WRITE_MS, kept, agent) != 0)
			ownership_kept(&agent->rule, OWNERSHIP_UNKNOWN, now);
		break;
	case OWNERSHIP_DO_REGISTER:
		if (begin_register(agent, action) != 0)
			ownership_registered(&agent->rule, OWNERSHIP_REFUSED, now);
		break;
	case OWNERSHIP_DO_TAKE:
	case OWNERSHIP_DO_CLEAN:
		begin_move(agent, action);
		break;
	case OWNERSHIP_DO_REPLACE:
		if (begin_replace(agent, action) != 0)
			ownership_replaced(&agent->rule, OWNERSHIP_REFUSED, now);
		break;
	case OWNERSHIP_DO_ASK:
		agent_promises_ask(agent, action);
		break;
	case OWNERSHIP_DO_SERVE:
		begin_serve(agent, action);
		break;
	case OWNERSHIP_DO_RELEASE:
		begin_release(agent, action->block);
		break;
	}
}

void agent_blocks_step(struct agent *agent)
{
	struct ownership_action action;
	while (ownership_next(&agent->rule, now_of(agent), &action))
		carry_out(agent, &action);
	agent_identity_keep(agent);
}
