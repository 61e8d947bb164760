// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_command.h"

#include <stdio.h>

#include "core/cli/ctl.h"
#include "core/cli/ctl_cluster.h"
#include "core/cli/ctl_import.h"
#include "core/cli/ctl_peer.h"
#include "core/cli/ctl_print.h"
#include "core/cli/ctl_record.h"
#include "core/cli/ctl_sessions.h"
#include "core/cli/ctl_stages.h"
#include "core/cli/ctl_top.h"

#define BIT(option) (1u << ((option)-CTL_FROM))

struct command {
	const char *name;
	int words;				  /* arguments after it */
	const char *wanted;			  /* the text for a missing one */
	unsigned options;			  /* that it takes, BIT() */
	void (*print)(FILE *out, json_t *result); /* the daemon's answer; NULL: `run` does it all */
	enum cli_status (*run)(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			       int count);
};

/* --- the request -------------------------------------------------------------------------------------------------- */

static bool add_option(struct ctl_line *request, const struct ctl_options *options, size_t i)
{
	char name[32];
	(void)snprintf(name, sizeof name, "--%s", ctl_long_options[i].name);
	return ctl_line_add(request, name) && ctl_line_add(request, options->values[i]);
}

/* `skip`: options that do not go to the daemon. */
static bool add_options(struct ctl_line *request, const struct ctl_options *options, unsigned skip)
{
	for (size_t i = 0; i < ARRAY_SIZE(options->values); i++) {
		if (options->values[i] != NULL && (skip & 1u << i) == 0 && !add_option(request, options, i))
			return false;
	}
	return true;
}

/* --- running ------------------------------------------------------------------------------------------------------ */

static enum cli_status run_sessions(const struct cli_program *program, const struct ctl_options *options,
				    char *const *words, int word_count)
{
	(void)words, (void)word_count;
	struct error error;
	struct ctl_target target;
	struct ctl_line filters = {.text = ""};
	uint64_t from = 0, count = UINT64_MAX;
	if (!ctl_parse_number(ctl_value(options, CTL_FROM), 0, UINT32_MAX, &from))
		return cli_usage_error(program, "--from wants a number");
	if (!ctl_parse_number(ctl_value(options, CTL_COUNT), 0, UINT64_MAX, &count))
		return cli_usage_error(program, "--count wants a number");
	if (!add_options(&filters, options, BIT(CTL_FROM) | BIT(CTL_COUNT)))
		return ctl_refuse_words(program);
	char text[sizeof filters.text + 1];
	(void)snprintf(text, sizeof text, "%s%s", filters.length != 0 ? " " : "", filters.text);
	struct ctl_sessions wanted = {.filters = text, .from = (uint32_t)from, .count = count};
	if (ctl_find_target(options, &target, &error) != 0 ||
	    ctl_sessions_print(stdout, &target, &wanted, options->json, &error) != 0)
		return cli_fail(program, CLI_FAILED, &error);
	return cli_finish(program, CLI_OK);
}

static enum cli_status run_plain(const struct cli_program *program, const struct ctl_options *options,
				 const struct command *command, char *const *words)
{
	struct error error;
	struct ctl_target target;
	json_t *result;
	struct ctl_line request = {.text = ""};
	bool fits = ctl_line_add(&request, command->name);
	for (int i = 0; i < command->words; i++)
		fits = fits && ctl_line_add(&request, words[i]);
	if (!fits || !add_options(&request, options, 0))
		return ctl_refuse_words(program);
	unsigned timeout = command->print == ctl_print_reload ? CTL_TIMEOUT_RELOAD : CTL_TIMEOUT;
	if (ctl_find_target(options, &target, &error) != 0 ||
	    ctl_request_for(&target, request.text, timeout, &result, &error) != 0)
		return cli_fail(program, CLI_FAILED, &error);
	if (options->json)
		ctl_print_json(stdout, result);
	else
		command->print(stdout, result);
	json_decref(result);
	return cli_finish(program, CLI_OK);
}

/* --- the command line --------------------------------------------------------------------------------------------- */

static const struct command commands[] = {
	{"status", 0, "", 0, ctl_print_status, NULL},
	{"stages", 0, "", BIT(CTL_RAW) | BIT(CTL_DIFF) | BIT(CTL_SAMPLING), NULL, ctl_stages},
	{"record", 0, "", BIT(CTL_INTERVAL) | BIT(CTL_TIMES), NULL, ctl_record},
	{"sessions", 0, "", BIT(CTL_FROM) | BIT(CTL_COUNT) | BIT(CTL_PEER) | BIT(CTL_ADDRESS) | BIT(CTL_STATE), NULL,
	 run_sessions},
	{"top", 0, "",
	 BIT(CTL_COUNT) | BIT(CTL_SORT) | BIT(CTL_FILTER) | BIT(CTL_BATCH) | BIT(CTL_INTERVAL) | BIT(CTL_TIMES), NULL,
	 ctl_top},
	{"identity", 0, "", 0, ctl_print_identity, NULL},
	{"cluster", 0, "", BIT(CTL_AGENT), NULL, ctl_cluster},
	{"drain", 0, "", BIT(CTL_AGENT) | BIT(CTL_OFF), NULL, ctl_drain},
	{"kick", 1, "the ID of a session or the public key of a peer", 0, ctl_print_kick, NULL},
	{"peer", 2, "add or del, and a public key",
	 BIT(CTL_PSK_FILE) | BIT(CTL_ADDRESS) | BIT(CTL_ALLOWED_IPS) | BIT(CTL_RATE_UP) | BIT(CTL_RATE_DOWN) |
		 BIT(CTL_BURST) | BIT(CTL_QUOTA) | BIT(CTL_QUOTA_RATE) | BIT(CTL_NAME) | BIT(CTL_NEW) |
		 BIT(CTL_ENDPOINT) | BIT(CTL_ROUTES) | BIT(CTL_SAVE) | BIT(CTL_QR) | BIT(CTL_WIREGUARD) |
		 BIT(CTL_AGENT),
	 NULL, ctl_peer},
	{"quota", 2, "reset, and the name or public key of a peer", 0, ctl_print_quota, NULL},
	{"reload", 0, "", 0, ctl_print_reload, NULL},
	{"import", 1, "the file of a WireGuard server", BIT(CTL_OUTPUT) | BIT(CTL_FORCE), NULL, ctl_import},
};

enum cli_status ctl_command_run(const struct cli_program *program, const struct ctl_options *options,
				char *const *words, int count)
{
	const struct command *command = NULL;
	if (count == 0)
		return cli_usage_error(
			program, "which command? status, stages, record, sessions, top, identity, cluster, drain, "
				 "kick, peer, quota, reload or import");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(words[0], commands[i].name) == 0)
			command = &commands[i];
	}
	if (command == NULL)
		return cli_usage_error(program, "unknown command \"%s\"", words[0]);
	for (size_t i = 0; i < ARRAY_SIZE(options->values); i++) {
		if (options->values[i] != NULL && (command->options & 1u << i) == 0)
			return cli_usage_error(program, "%s takes no --%s", command->name, ctl_long_options[i].name);
	}
	/* --new makes the key that is an argument otherwise; --diff may have a second file. */
	int wanted = command->words - (ctl_value(options, CTL_NEW) != NULL ? 1 : 0);
	int most = wanted + (ctl_value(options, CTL_DIFF) != NULL ? 1 : 0);
	if (count - 1 > most)
		return cli_usage_error(program, "\"%s\" is too much", words[most + 1]);
	if (count - 1 < wanted)
		return cli_usage_error(program, "%s wants %s", command->name, command->wanted);
	return command->run != NULL ? command->run(program, options, words + 1, count - 1)
				    : run_plain(program, options, command, words + 1);
}
