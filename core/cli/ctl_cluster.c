// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_cluster.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/cli/ctl_print.h"
#include "core/cli/ctl_text.h"

#define AGENT_USER     "shardtun-agent"
#define DRAIN_LOOK     (200 * NS_PER_MS)
#define DRAIN_PATIENCE (30 * NS_PER_S) /* without any block that was taken */
#define DRAIN_HOPE     (3 * NS_PER_S)  /* while no block can be taken */

int ctl_find_agent(const struct ctl_options *options, struct ctl_target *target, struct error *error)
{
	const char *path = ctl_value(options, CTL_AGENT);
	int result = ctl_target_set(target, path != NULL ? path : CTL_AGENT_SOCKET, NULL, error);
	target->user_name = AGENT_USER;
	return result;
}

int ctl_request_peer(struct ctl_target *agent, const char *request, json_t **result, struct error *error)
{
	int code = ctl_request(agent, request, result, error);
	if (code == 0 || code == -EREMOTEIO)
		return code;
	return error_prefix(
		error, code,
		"this gateway is in a cluster, whose peers are in etcd, and its agent cannot be asked; start "
		"shardtun-agent, or name its socket with --agent PATH: ");
}

/* --- cluster ------------------------------------------------------------------------------------------------------ */

static const char *yes(const json_t *object, const char *name, const char *text)
{
	return json_is_true(json_object_get(object, name)) ? text : "";
}

static void print_nodes(FILE *out, const json_t *nodes)
{
	size_t i;
	json_t *node;
	if (json_array_size(nodes) != 0)
		fputs("node                              blocks  inside                            state\n", out);
	json_array_foreach (nodes, i, node) {
		bool alive = json_is_true(json_object_get(node, "alive"));
		fprintf(out, "%-32s  %6" PRIu64 "  %-32s  %s%s%s\n", ctl_text(node, "name"), ctl_number(node, "blocks"),
			ctl_text(node, "inside"), alive ? "alive" : "not there",
			yes(node, "draining", ", takes no blocks"),
			json_is_true(json_object_get(node, "member")) ? "" : ", no member");
	}
}

/* "1-3,7" of the blocks that are in this state and, unless it is NULL, of that node. */
static void print_those(FILE *out, const json_t *blocks, const char *state, const char *node)
{
	size_t i;
	json_t *block;
	uint64_t first = 0, last = 0;
	const char *comma = "";
	json_array_foreach (blocks, i, block) {
		uint64_t number = ctl_number(block, "block");
		bool listed = strcmp(ctl_text(block, "state"), state) == 0 &&
			      (node == NULL || strcmp(ctl_text(block, "node"), node) == 0);
		if (listed && first != 0 && number == last + 1) {
			last = number;
			continue;
		}
		if (first != 0 && (listed || i + 1 == json_array_size(blocks))) {
			fprintf(out, last != first ? "%s%" PRIu64 "-%" PRIu64 : "%s%" PRIu64, comma, first, last);
			comma = ",";
			first = 0;
		}
		if (listed)
			first = last = number;
	}
	if (first != 0)
		fprintf(out, last != first ? "%s%" PRIu64 "-%" PRIu64 : "%s%" PRIu64, comma, first, last);
	fputc('\n', out);
}

static size_t count_those(const json_t *blocks, const char *state)
{
	size_t i, count = 0;
	json_t *block;
	json_array_foreach (blocks, i, block)
		count += strcmp(ctl_text(block, "state"), state) == 0;
	return count;
}

static void print_blocks(FILE *out, const json_t *agent)
{
	static const char *const states[] = {"free", "clean", "unreadable", "taking", "releasing", "cleaning"};
	const json_t *blocks = json_object_get(agent, "blocks"), *nodes = json_object_get(agent, "nodes");
	size_t i;
	json_t *node;
	json_array_foreach (nodes, i, node) {
		if (ctl_number(node, "blocks") == 0)
			continue;
		fprintf(out, "%s owns ", ctl_text(node, "name"));
		print_those(out, blocks, "owned", ctl_text(node, "name"));
	}
	for (i = 0; i < ARRAY_SIZE(states); i++) {
		if (count_those(blocks, states[i]) == 0)
			continue;
		fprintf(out, "%s: ", states[i]);
		print_those(out, blocks, states[i], NULL);
	}
}

static void print_agent(FILE *out, const json_t *agent)
{
	const json_t *etcd = json_object_get(agent, "etcd"), *peers = json_object_get(agent, "peers");
	bool answers = json_is_true(json_object_get(etcd, "answers"));
	fprintf(out, "agent: node %s%s%s%s; it is to have %" PRIu64 " blocks\n", ctl_text(agent, "node"),
		yes(agent, "draining", ", draining"), yes(agent, "name_is_used", ", whose name another one uses"),
		json_is_true(json_object_get(agent, "gateway_answers")) ? "" : ", whose gateway does not answer it",
		ctl_number(agent, "share"));
	fprintf(out, "etcd: %s, revision %" PRIu64, answers ? "answers" : "does not answer",
		ctl_number(etcd, "revision"));
	if (json_is_integer(json_object_get(etcd, "read_age_ms")))
		fprintf(out, ", read %" PRIu64 " ms ago, changes %" PRIu64 " revisions behind",
			ctl_number(etcd, "read_age_ms"), ctl_number(etcd, "behind"));
	fprintf(out, "%s\n",
		json_is_true(json_object_get(etcd, "members_readable")) ? "" : "; members are missing or unreadable");
	if (ctl_number(etcd, "unreadable_keys") != 0)
		fprintf(out, "keys that cannot be read: %" PRIu64 "\n", ctl_number(etcd, "unreadable_keys"));
	fprintf(out, "peers: %s, %" PRIu64 " changes since %" PRIu64 " loads, %" PRIu64 " that cannot be read\n",
		ctl_text(peers, "phase"), ctl_number(peers, "changes"), ctl_number(peers, "loads"),
		ctl_number(peers, "skipped"));
	print_nodes(out, json_object_get(agent, "nodes"));
	print_blocks(out, agent);
}

/* What the gateway says, and as a further member what its agent does; or why one of them says nothing. */
static json_t *join(json_t *gateway, const struct error *gateway_error, json_t *agent, const struct error *agent_error)
{
	json_t *both = gateway != NULL ? json_incref(gateway) : json_pack("{s:s}", "error", gateway_error->text);
	if (agent != NULL)
		json_object_set(both, "agent", agent);
	else
		json_object_set_new(both, "agent", json_pack("{s:s}", "error", agent_error->text));
	return both;
}

static void print_both(FILE *out, json_t *gateway, json_t *agent, const struct error *agent_error)
{
	if (gateway != NULL)
		ctl_print_cluster(out, gateway);
	if (agent != NULL)
		print_agent(out, agent);
	else
		fprintf(out, "agent: %s\n", agent_error->text);
}

enum cli_status ctl_cluster(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			    int count)
{
	(void)words, (void)count;
	struct error gateway_error = {0}, agent_error = {0};
	struct ctl_target gateway, agent;
	json_t *gateway_answer = NULL, *agent_answer = NULL;
	int code = ctl_find_target(options, &gateway, &gateway_error);
	if (code == 0)
		code = ctl_request(&gateway, "cluster", &gateway_answer, &gateway_error);
	/* A gateway that is alone has no agent. */
	if (code == -EREMOTEIO)
		return cli_fail(program, CLI_FAILED, &gateway_error);
	if (ctl_find_agent(options, &agent, &agent_error) == 0)
		(void)ctl_request(&agent, "cluster", &agent_answer, &agent_error);
	if (gateway_answer == NULL && agent_answer == NULL)
		return cli_fail(program, CLI_FAILED, &gateway_error);
	json_t *both = join(gateway_answer, &gateway_error, agent_answer, &agent_error);
	if (options->json)
		ctl_print_json(stdout, both);
	else
		print_both(stdout, gateway_answer, agent_answer, &agent_error);
	bool whole = gateway_answer != NULL;
	json_decref(both);
	json_decref(gateway_answer);
	json_decref(agent_answer);
	return whole ? cli_finish(program, CLI_OK) : cli_fail(program, CLI_FAILED, &gateway_error);
}

/* --- drain -------------------------------------------------------------------------------------------------------- */

static int ask_drain(struct ctl_target *agent, const char *request, json_t **state, struct error *error)
{
	json_decref(*state);
	*state = NULL;
	return ctl_request(agent, request, state, error);
}

/* Why nothing moves, where that can be seen. */
static int refuse_to_wait(const json_t *state, struct error *error)
{
	if (!json_is_true(json_object_get(state, "draining")))
		return error_set(error, -ECANCELED, "the drain was ended by another shardtunctl");
	if (!json_is_true(json_object_get(state, "etcd_answers")))
		return error_set(error, -EAGAIN, "etcd does not answer the agent; the drain goes on when it does");
	if (ctl_number(state, "takers") == 0)
		return error_set(
			error, -EBUSY,
			"no other member is alive and takes blocks, so they are served here; the drain goes on "
			"when one is");
	return error_set(error, -ETIMEDOUT,
			 "no block was taken for %u s, %" PRIu64 " are left; see shardtunctl cluster on the others",
			 (unsigned)(DRAIN_PATIENCE / NS_PER_S), ctl_number(state, "blocks"));
}

/* Until nothing is owned; prints how many are left whenever there are fewer. */
static int wait_until_drained(struct ctl_target *agent, json_t **state, bool quiet, struct error *error)
{
	uint64_t left = UINT64_MAX, moved = clock_monotonic(&clock_system), possible = moved;
	for (;;) {
		uint64_t now = clock_monotonic(&clock_system), blocks = ctl_number(*state, "blocks");
		if (blocks < left && !quiet)
			printf("%" PRIu64 " blocks are left\n", blocks);
		if (blocks == 0)
			return 0;
		if (blocks < left)
			moved = now;
		left = blocks;
		if (ctl_number(*state, "takers") != 0 && json_is_true(json_object_get(*state, "etcd_answers")))
			possible = now;
		if (!json_is_true(json_object_get(*state, "draining")) || now > moved + DRAIN_PATIENCE ||
		    now > possible + DRAIN_HOPE)
			return refuse_to_wait(*state, error);
		(void)fflush(stdout);
		if (!ctl_sleep(DRAIN_LOOK))
			return error_set(error, -EINTR, "interrupted; the drain goes on");
		int code = ask_drain(agent, "drain", state, error);
		if (code != 0)
			return code;
	}
}

enum cli_status ctl_drain(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			  int count)
{
	(void)words, (void)count;
	struct error error = {0};
	struct ctl_target agent;
	json_t *state = NULL;
	bool off = ctl_value(options, CTL_OFF) != NULL;
	int code = ctl_find_agent(options, &agent, &error);
	if (code == 0)
		code = ask_drain(&agent, off ? "drain off" : "drain on", &state, &error);
	if (code == 0 && !off)
		code = wait_until_drained(&agent, &state, options->json, &error);
	if (state != NULL && options->json)
		ctl_print_json(stdout, state);
	else if (code == 0)
		puts(off ? "blocks are taken again" : "nothing is owned, and nothing is taken until drain --off");
	json_decref(state);
	return code == 0 ? cli_finish(program, CLI_OK) : cli_fail(program, CLI_FAILED, &error);
}
