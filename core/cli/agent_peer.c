// SPDX-License-Identifier: Apache-2.0
#include "core/cli/agent_peer.h"

#include <stdlib.h>
#include <string.h>

/* Takes the networks out of the list, which is cut up. False: there are too many. */
static bool split_networks(struct registration *peer, char *list)
{
	char *rest = list, *text;
	while ((text = rest != NULL ? strsep(&rest, ",") : NULL) != NULL) {
		if (peer->network_count == REGISTRATION_NETWORKS_MAX)
			return false;
		peer->networks[peer->network_count++] = text;
	}
	return true;
}

enum cli_status agent_peer_check(const struct cli_program *program, const struct agent_peer *peer, char *const *words,
				 int count)
{
	if (strcmp(words[0], "peer") != 0)
		return cli_usage_error(program, "unexpected argument %s", words[0]);
	bool add = count == 3 && strcmp(words[1], "add") == 0;
	if (count != 3 || (!add && strcmp(words[1], "del") != 0))
		return cli_usage_error(program, "peer wants add or del, and a public key");
	if (!add && (peer->name != NULL || peer->allowed_ips != NULL || strcmp(peer->protocol, "shardtun") != 0))
		return cli_usage_error(program, "peer del takes a public key alone");
	return CLI_OK;
}

static int add_peer(const struct agent_settings *settings, const struct agent_peer *options, const char *key,
		    struct error *error)
{
	const struct registration_call call = {.settings = settings, .limit_ms = REGISTRATION_LIMIT_MS};
	struct registration peer = {.key = key, .name = options->name, .protocol = options->protocol};
	char *list = options->allowed_ips != NULL ? strdup(options->allowed_ips) : NULL;
	uint32_t index = 0;
	int result;
	if (!split_networks(&peer, list))
		result = error_set(error, -EINVAL, "--allowed-ips takes %d networks", REGISTRATION_NETWORKS_MAX);
	else
		result = registration_add(&call, &peer, &index, error);
	free(list);
	if (result == 0)
		printf("%s: added, index %u\n", key, index);
	return result;
}

enum cli_status agent_peer_run(const struct cli_program *program, const struct agent_settings *settings,
			       const struct agent_peer *peer, char *const *words)
{
	const struct registration_call call = {.settings = settings, .limit_ms = REGISTRATION_LIMIT_MS};
	struct error error = {0};
	if (strcmp(words[1], "add") == 0)
		return add_peer(settings, peer, words[2], &error) == 0 ? CLI_OK : cli_fail(program, CLI_FAILED, &error);
	if (registration_delete(&call, words[2], &error) != 0)
		return cli_fail(program, CLI_FAILED, &error);
	printf("%s: deleted\n", words[2]);
	return CLI_OK;
}
