// SPDX-License-Identifier: Apache-2.0
/* The agent's own control socket: how the cluster stands, drain, and peers, for shardtunctl. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/agent/agent_state.h"
#include "core/control/words.h"

/* For root, and the user that the agent runs as: a connection can add clients on all gateways. */
static const struct control_socket_kind socket_kind = {
	.name = "control socket", .elsewhere = "set Socket", .left = "set Socket", .mode = 0600};

static uint64_t age_ms(const struct agent *agent)
{
	return (clock_monotonic(agent->clock) - agent->view.sent) / NS_PER_MS;
}

/* --- cluster ------------------------------------------------------------------------------------------------------ */

static const char *state_of(const struct agent *agent, unsigned block)
{
	static const char *const doing[] = {[OWNERSHIP_IDLE] = "owned",
					    [OWNERSHIP_TAKING] = "taking",
					    [OWNERSHIP_RELEASING] = "releasing",
					    [OWNERSHIP_CLEANING] = "cleaning",
					    [OWNERSHIP_WRITING] = "cleaning"};
	static const char *const kinds[] = {[OWNERSHIP_ABSENT] = "free",
					    [OWNERSHIP_OWNED] = "owned",
					    [OWNERSHIP_CLEAN] = "clean",
					    [OWNERSHIP_UNREADABLE] = "unreadable"};
	const struct ownership_block *b = &agent->rule.blocks[block];
	return b->mine || b->doing == OWNERSHIP_TAKING ? doing[b->doing] : kinds[agent->view.blocks[block].kind];
}

static json_t *describe_blocks(const struct agent *agent)
{
	json_t *blocks = json_array();
	for (unsigned block = 1; block <= agent->rule.block_count; block++) {
		const struct ownership_block_key *key = &agent->view.blocks[block];
		const char *node = key->kind == OWNERSHIP_OWNED ? key->node : NULL;
		json_array_append_new(blocks, json_pack("{s:i, s:s, s:s*}", "block", (int)block, "state",
							state_of(agent, block), "node", node));
	}
	return blocks;
}

static bool is_member(const struct ownership_view *view, const char *name)
{
	for (size_t i = 0; i < view->member_count; i++) {
		if (strcmp(view->members[i], name) == 0)
			return true;
	}
	return false;
}

static const struct ownership_node_key *node_of(const struct ownership_view *view, const char *name)
{
	for (size_t i = 0; i < view->node_count; i++) {
		if (strcmp(view->nodes[i].name, name) == 0)
			return &view->nodes[i];
	}
	return NULL;
}

static json_t *describe_node(const struct agent *agent, const char *name)
{
	const struct ownership_view *view = &agent->view;
	const struct ownership_node_key *node = node_of(view, name);
	int blocks = 0;
	for (unsigned block = 1; block <= agent->rule.block_count; block++)
		blocks += view->blocks[block].kind == OWNERSHIP_OWNED && strcmp(view->blocks[block].node, name) == 0;
	return json_pack("{s:s, s:b, s:b, s:b, s:i, s:s*}", "name", name, "member", (int)is_member(view, name), "alive",
			 node != NULL, "draining", node != NULL && node->draining, "blocks", blocks, "inside",
			 node != NULL && node->inside[0] != '\0' ? node->inside : NULL);
}

/* Members first, alive or not, and then those that are none. */
static json_t *describe_nodes(const struct agent *agent)
{
	const struct ownership_view *view = &agent->view;
	json_t *nodes = json_array();
	for (size_t i = 0; i < view->member_count; i++)
		json_array_append_new(nodes, describe_node(agent, view->members[i]));
	for (size_t i = 0; i < view->node_count; i++) {
		if (!is_member(view, view->nodes[i].name))
			json_array_append_new(nodes, describe_node(agent, view->nodes[i].name));
	}
	return nodes;
}

static json_t *describe_etcd(const struct agent *agent)
{
	const struct agent_watch *watch = &agent->watch;
	uint64_t behind = agent->read_revision > watch->seen ? agent->read_revision - watch->seen : 0;
	bool was_read = agent->view.sent != 0;
	return json_pack("{s:b, s:I, s:o, s:I, s:b, s:I}", "answers", was_read && agent->etcd_silent_since == 0,
			 "revision", (json_int_t)agent->read_revision, "read_age_ms",
			 was_read ? json_integer((json_int_t)age_ms(agent)) : json_null(), "behind",
			 watch->seen != 0 ? (json_int_t)behind : 0, "members_readable",
			 (int)agent->view.members_readable, "unreadable_keys", (json_int_t)agent->unreadable.count);
}

static json_t *describe_peers(const struct agent_peers *peers)
{
	static const char *const phases[] = {[PEERS_WANTED] = "waiting",
					     [PEERS_READING] = "reading",
					     [PEERS_SENDING] = "sending",
					     [PEERS_FOLLOWING] = "following"};
	return json_pack("{s:s, s:I, s:I, s:I}", "phase", phases[peers->phase], "loads", (json_int_t)peers->snapshots,
			 "changes", (json_int_t)peers->changes, "skipped", (json_int_t)peers->skipped);
}

static json_t *handle_cluster(void *context, char *const *words, size_t count, struct error *error)
{
	const struct agent *agent = context;
	const struct ownership *rule = &agent->rule;
	if (count != 0) {
		error_set(error, -EINVAL, "%.64s: unexpected here", words[0]);
		return NULL;
	}
	return words_no_memory_unless(
		json_pack("{s:s, s:s, s:b, s:b, s:b, s:i, s:b, s:o, s:o, s:o, s:o}", "node", agent->settings->node,
			  "uuid", agent->uuid, "registered", (int)rule->registered, "name_is_used",
			  (int)rule->name_is_used, "draining", (int)rule->draining, "share",
			  rule->draining ? 0 : (int)rule->share, "gateway_answers", (int)agent->gateway_known, "etcd",
			  describe_etcd(agent), "peers", describe_peers(&agent->peers), "nodes", describe_nodes(agent),
			  "blocks", describe_blocks(agent)),
		error);
}

/* --- drain -------------------------------------------------------------------------------------------------------- */

static json_t *describe_drain(const struct agent *agent)
{
	const struct ownership *rule = &agent->rule;
	return json_pack("{s:b, s:i, s:i, s:b}", "draining", (int)rule->draining, "blocks", (int)ownership_count(rule),
			 "takers", (int)rule->others, "etcd_answers",
			 agent->view.sent != 0 && agent->etcd_silent_since == 0);
}

static json_t *handle_drain(void *context, char *const *words, size_t count, struct error *error)
{
	struct agent *agent = context;
	bool on = count == 1 && strcmp(words[0], "on") == 0, off = count == 1 && strcmp(words[0], "off") == 0;
	if (count != 0 && !on && !off) {
		error_set(error, -EINVAL, "drain takes on, off or nothing");
		return NULL;
	}
	if ((on || off) && agent_identity_drain(agent, on, error) != 0)
		return NULL;
	if ((on || off) && agent->rule.draining != on) {
		ownership_drain(&agent->rule, on, clock_monotonic(agent->clock));
		log_info(on ? "drain: blocks are handed over, one by one, and none is taken"
			    : "drain is over: blocks are taken again");
	}
	return words_no_memory_unless(describe_drain(agent), error);
}

/* --- peer --------------------------------------------------------------------------------------------------------- */

static json_t *handle_peer(void *context, char *const *words, size_t count, struct error *error)
{
	struct agent *agent = context;
	struct registrar_job *job = registrar_job_new(words, count, error);
	if (job == NULL)
		return NULL;
	if (!registrar_has_room(agent->registrar)) {
		error_set(error, -EBUSY, "too many peers are being added; once more in a moment");
		registrar_job_free(job);
		return NULL;
	}
	job->ticket = control_defer(agent->control);
	registrar_begin(agent->registrar, job);
	return NULL;
}

static void answer_job(struct agent *agent, struct registrar_job *job)
{
	json_t *answer = NULL;
	if (job->code == 0 && job->add)
		answer = words_no_memory_unless(
			json_pack("{s:s, s:I}", "added", job->peer.key, "index", (json_int_t)job->index), &job->error);
	else if (job->code == 0)
		answer = words_no_memory_unless(json_pack("{s:s}", "deleted", job->peer.key), &job->error);
	if (answer != NULL)
		log_info("peer %s %s in etcd", job->peer.key, job->add ? "added" : "deleted");
	control_answer(agent->control, job->ticket, answer, &job->error);
	registrar_job_free(job);
}

/* --- the socket --------------------------------------------------------------------------------------------------- */

static const struct control_command commands[] = {
	{"cluster", "nodes, blocks and their owners, as etcd has them", handle_cluster},
	{"drain", "hand all blocks over, and take none: on|off; or how far it is", handle_drain},
	{"peer",
	 "in etcd, for all gateways: add KEY [--name NAME] [--protocol shardtun|wireguard] [--allowed-ips NETWORK,...] "
	 "[--sealed-psk TEXT] [--index N] [--pool SIZE] [--reserved N,...] [--rate-up RATE] [--rate-down RATE] "
	 "[--burst SIZE] [--quota BYTES/PERIOD] [--quota-rate RATE], or del KEY",
	 handle_peer},
};

int agent_control_open(struct agent *agent, struct error *error)
{
	const struct control_params params = {.listener = &agent->listener,
					      .commands = commands,
					      .command_count = ARRAY_SIZE(commands),
					      .context = agent,
					      .clock = agent->clock};
	int result = control_listener_open_as(&agent->listener, &socket_kind, agent->settings->socket, error);
	if (result != 0)
		return result;
	agent->control = control_new(&params, error);
	agent->registrar = agent->control != NULL ? registrar_new(agent->settings, error) : NULL;
	return agent->registrar != NULL ? 0 : -EINVAL;
}

void agent_control_close(struct agent *agent)
{
	registrar_free(agent->registrar);
	control_free(agent->control);
	if (agent->listener.kind != NULL)
		control_listener_close(&agent->listener);
}

void agent_control_step(struct agent *agent)
{
	struct registrar_job *job;
	control_poll(agent->control);
	while ((job = registrar_take(agent->registrar)) != NULL)
		answer_job(agent, job);
}
