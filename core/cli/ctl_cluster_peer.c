// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_cluster_peer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/cli/ctl.h"
#include "core/cli/ctl_cluster.h"
#include "core/cli/ctl_text.h"

#define WAIT_NS	     (10 * NS_PER_S) /* for the gateway to have it: by the agent, about 0.1 s */
#define WAIT_LOOK_NS (50 * NS_PER_MS)
enum { LIST_SIZE = 128 };

int ctl_cluster_find(struct ctl_target *target, bool *in_cluster, struct error *error)
{
	json_t *identity = NULL;
	int code = ctl_request(target, "identity", &identity, error);
	*in_cluster = code == 0 && json_is_string(json_object_get(identity, "cluster_node"));
	json_decref(identity);
	return code == -EREMOTEIO ? 0 : code;
}

/* --- the agent's request ------------------------------------------------------------------------------------------ */

static bool add_option(struct ctl_line *line, const char *name, const char *value)
{
	return value == NULL || (ctl_line_add(line, name) && ctl_line_add(line, value));
}

/* Numbers with commas between them. */
static const char *join_numbers(const json_t *list, char text[LIST_SIZE])
{
	size_t i, used = 0;
	json_t *number;
	text[0] = '\0';
	json_array_foreach (list, i, number) {
		if (used < LIST_SIZE)
			used += (size_t)snprintf(text + used, LIST_SIZE - used, "%s%" JSON_INTEGER_FORMAT,
						 i != 0 ? "," : "", json_integer_value(number));
	}
	return text[0] != '\0' ? text : NULL;
}

/* `check` is the gateway's answer: the sealed key, the index of the address, and what the pool can give out. */
static bool make_request(const struct addition *addition, const json_t *check, struct ctl_line *line)
{
	const struct ctl_options *options = addition->options;
	const json_t *index = json_object_get(check, "index"), *pool = json_object_get(check, "pool");
	char number[24], size[24], reserved[LIST_SIZE];
	(void)snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(index));
	(void)snprintf(size, sizeof size, "%" PRIu64, ctl_number(pool, "size"));
	return ctl_line_add(line, "peer") && ctl_line_add(line, "add") && ctl_line_add(line, addition->key) &&
	       add_option(line, "--name", addition->name) &&
	       add_option(line, "--protocol", addition->wireguard ? "wireguard" : NULL) &&
	       add_option(line, "--sealed-psk", json_string_value(json_object_get(check, "psk"))) &&
	       add_option(line, "--index", json_is_integer(index) ? number : NULL) &&
	       add_option(line, "--pool", size) &&
	       add_option(line, "--reserved", join_numbers(json_object_get(pool, "reserved"), reserved)) &&
	       add_option(line, "--allowed-ips", ctl_value(options, CTL_ALLOWED_IPS)) &&
	       add_option(line, "--rate-up", ctl_value(options, CTL_RATE_UP)) &&
	       add_option(line, "--rate-down", ctl_value(options, CTL_RATE_DOWN)) &&
	       add_option(line, "--burst", ctl_value(options, CTL_BURST)) &&
	       add_option(line, "--quota", ctl_value(options, CTL_QUOTA)) &&
	       add_option(line, "--quota-rate", ctl_value(options, CTL_QUOTA_RATE));
}

/* --- waiting for the gateway -------------------------------------------------------------------------------------- */

static int wait_for_gateway(struct addition *addition, json_t *result, struct error *error)
{
	char request[sizeof "cluster-addresses " + KEY_TEXT_SIZE];
	uint64_t end = clock_monotonic(&clock_system) + WAIT_NS;
	(void)snprintf(request, sizeof request, "cluster-addresses %s", addition->key);
	for (;;) {
		json_t *answer = NULL;
		int code = ctl_request(&addition->target, request, &answer, error);
		if (code == 0) {
			json_object_set(result, "addresses", json_object_get(answer, "addresses"));
			json_decref(answer);
			return 0;
		}
		if (code != -EREMOTEIO || clock_monotonic(&clock_system) >= end || !ctl_sleep(WAIT_LOOK_NS))
			break;
	}
	return error_prefix(
		error, -EINPROGRESS,
		"the peer is in etcd, but this gateway does not have it; its log and its agent's say why: ");
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

int ctl_cluster_add(struct addition *addition, json_t **result, struct error *error)
{
	struct ctl_line line = {.text = ""};
	json_t *check = NULL;
	int code = ctl_request(&addition->target, addition->request.text, &check, error);
	if (code != 0)
		return code;
	code = make_request(addition, check, &line)
		       ? ctl_request_peer(&addition->agent, line.text, result, error)
		       : error_set(error, -E2BIG, "all values together have more than %d bytes", CONTROL_REQUEST_MAX);
	json_decref(check);
	if (code != 0)
		return code;
	code = wait_for_gateway(addition, *result, error);
	if (code != 0)
		json_decref(*result);
	return code;
}

int ctl_cluster_delete(struct ctl_target *agent, const char *key, json_t **result, struct error *error)
{
	struct ctl_line line = {.text = ""};
	if (!ctl_line_add(&line, "peer") || !ctl_line_add(&line, "del") || !ctl_line_add(&line, key))
		return error_set(error, -EINVAL, "%.60s: no public key", key);
	return ctl_request_peer(agent, line.text, result, error);
}

void ctl_cluster_print(FILE *out, json_t *result)
{
	bool added = json_is_string(json_object_get(result, "added"));
	size_t i;
	json_t *address;
	fprintf(out, "peer %s is %s for all gateways of the cluster\n", ctl_text(result, added ? "added" : "deleted"),
		added ? "added" : "deleted");
	json_array_foreach (json_object_get(result, "addresses"), i, address)
		fprintf(out, "its address is %s\n", ctl_text_of(address));
}
