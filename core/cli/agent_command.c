// SPDX-License-Identifier: Apache-2.0
#include "core/cli/agent_command.h"

#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "core/cli/agent_import.h"
#include "core/host/privileges.h"
#include "crypto/keys.h"

/* --- the command line --------------------------------------------------------------------------------------------- */

static bool has_peer_options(const struct agent_options *options)
{
	return options->name != NULL || options->allowed_ips != NULL || strcmp(options->protocol, "shardtun") != 0;
}

static enum cli_status check_import(const struct cli_program *program, const struct agent_options *options, int count)
{
	if (count < 2)
		return cli_usage_error(program, "import wants the configuration of a gateway");
	if (has_peer_options(options))
		return cli_usage_error(program, "import takes no option of peer add");
	return CLI_OK;
}

static enum cli_status check_command(const struct cli_program *program, const struct agent_options *options,
				     char *const *words, int count)
{
	if (strcmp(words[0], "import") == 0)
		return check_import(program, options, count);
	if (strcmp(words[0], "peer") != 0)
		return cli_usage_error(program, "unexpected argument %s", words[0]);
	bool add = count == 3 && strcmp(words[1], "add") == 0;
	if (count != 3 || (!add && strcmp(words[1], "del") != 0))
		return cli_usage_error(program, "peer wants add or del, and a public key");
	if (!add && has_peer_options(options))
		return cli_usage_error(program, "peer del takes a public key alone");
	if (options->dry_run)
		return cli_usage_error(program, "--dry-run is for import");
	return CLI_OK;
}

/* --- peer add, peer del ------------------------------------------------------------------------------------------- */

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

static int add_peer(const struct registration_call *call, const struct agent_options *options, const char *key,
		    struct error *error)
{
	struct registration peer = {.key = key, .name = options->name, .protocol = options->protocol};
	char *list = options->allowed_ips != NULL ? strdup(options->allowed_ips) : NULL;
	uint32_t index = 0;
	int result;
	if (!split_networks(&peer, list))
		result = error_set(error, -EINVAL, "--allowed-ips takes %d networks", REGISTRATION_NETWORKS_MAX);
	else
		result = registration_add(call, &peer, &index, error);
	free(list);
	if (result == 0)
		printf("%s: added, index %u\n", key, index);
	return result;
}

static enum cli_status run_peer(const struct cli_program *program, const struct registration_call *call,
				const struct agent_options *options, char *const *words)
{
	struct error error = {0};
	if (strcmp(words[1], "add") == 0)
		return add_peer(call, options, words[2], &error) == 0 ? CLI_OK : cli_fail(program, CLI_FAILED, &error);
	if (registration_delete(call, words[2], &error) != 0)
		return cli_fail(program, CLI_FAILED, &error);
	printf("%s: deleted\n", words[2]);
	return CLI_OK;
}

/* --- settings ----------------------------------------------------------------------------------------------------- */

/* JSON has passwords, tokens and sealed keys in it. */
static void wipe_and_free(void *memory)
{
	if (memory != NULL)
		explicit_bzero(memory, malloc_usable_size(memory));
	free(memory);
}

enum cli_status agent_read_settings(const struct cli_program *program, const char *path,
				    struct agent_settings *settings)
{
	struct error error = {0};
	privileges_keep_memory(); /* before the password is read */
	json_set_alloc_funcs(malloc, wipe_and_free);
	if (keys_init(&error) != 0)
		return cli_fail(program, CLI_FAILED, &error);
	if (agent_settings_read(settings, path, &error) != 0)
		return cli_fail(program, CLI_CONFIG, &error);
	log_set_level(settings->log_level);
	return CLI_OK;
}

enum cli_status agent_command(const struct cli_program *program, const char *path, const struct agent_options *options,
			      char *const *words, int count)
{
	struct agent_settings settings;
	enum cli_status status = check_command(program, options, words, count);
	if (status == CLI_OK)
		status = agent_read_settings(program, path, &settings);
	if (status != CLI_OK)
		return status;
	const struct registration_call call = {.settings = &settings, .limit_ms = REGISTRATION_LIMIT_MS};
	if (strcmp(words[0], "import") == 0)
		status = agent_import(program, &call, words + 1, count - 1, !options->dry_run);
	else
		status = run_peer(program, &call, options, words);
	agent_settings_free(&settings);
	return status;
}
