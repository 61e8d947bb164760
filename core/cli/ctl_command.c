// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_command.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/control/control.h"
#include "core/cli/ctl.h"
#include "core/cli/ctl_peer.h"
#include "core/cli/ctl_record.h"
#include "core/cli/ctl_stages.h"
#include "core/cli/ctl_top.h"

const struct option ctl_long_options[] = {
	{"from", required_argument, NULL, CTL_FROM},
	{"count", required_argument, NULL, CTL_COUNT},
	{"peer", required_argument, NULL, CTL_PEER},
	{"address", required_argument, NULL, CTL_ADDRESS},
	{"state", required_argument, NULL, CTL_STATE},
	{"psk-file", required_argument, NULL, CTL_PSK_FILE},
	{"allowed-ips", required_argument, NULL, CTL_ALLOWED_IPS},
	{"name", required_argument, NULL, CTL_NAME},
	{"new", required_argument, NULL, CTL_NEW},
	{"endpoint", required_argument, NULL, CTL_ENDPOINT},
	{"routes", required_argument, NULL, CTL_ROUTES},
	{"save", no_argument, NULL, CTL_SAVE},
	{"qr", no_argument, NULL, CTL_QR},
	{"raw", no_argument, NULL, CTL_RAW},
	{"diff", required_argument, NULL, CTL_DIFF},
	{"sampling", required_argument, NULL, CTL_SAMPLING},
	{"sort", required_argument, NULL, CTL_SORT},
	{"filter", required_argument, NULL, CTL_FILTER},
	{"batch", no_argument, NULL, CTL_BATCH},
	{"interval", required_argument, NULL, CTL_INTERVAL},
	{"times", required_argument, NULL, CTL_TIMES},
	{"socket", required_argument, NULL, 's'},
	{"config", required_argument, NULL, 'c'},
	{"json", no_argument, NULL, 'j'},
	{0},
};

#define BIT(option) (1u << ((option)-CTL_FROM))

struct command {
	const char *name;
	int words;				  /* that follow */
	const char *wanted;			  /* what they are */
	unsigned options;			  /* that it takes */
	void (*print)(FILE *out, json_t *result); /* what the daemon answers; or else */
	enum cli_status (*run)(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			       int count);
};

/* --- the request ----------------------------------------------------------------------------------------------------
 */

static bool add_option(struct ctl_line *request, const struct ctl_options *options, size_t i)
{
	char name[32];
	(void)snprintf(name, sizeof name, "--%s", ctl_long_options[i].name);
	return ctl_line_add(request, name) && ctl_line_add(request, options->values[i]);
}

/* `skip`: options that are not the request's own. */
static bool add_options(struct ctl_line *request, const struct ctl_options *options, unsigned skip)
{
	for (size_t i = 0; i < ARRAY_SIZE(options->values); i++) {
		if (options->values[i] != NULL && (skip & 1u << i) == 0 && !add_option(request, options, i))
			return false;
	}
	return true;
}

static bool parse_number(const char *text, uint64_t most, uint64_t *value)
{
	char *end;
	if (text == NULL)
		return true;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' && *value <= most;
}

enum cli_status ctl_refuse_words(const struct cli_program *program)
{
	return cli_usage_error(
		program, "a value has spaces or bytes that are not ASCII, or all together have more than %d bytes",
		CONTROL_REQUEST_MAX);
}

/* --- running --------------------------------------------------------------------------------------------------------
 */

int ctl_find_target(const struct ctl_options *options, struct ctl_target *target, struct error *error)
{
	char found[CTL_PATH_MAX];
	const char *path = options->socket != NULL ? options->socket : found;
	int result = options->socket != NULL ? 0 : ctl_find_socket(CTL_DIRECTORY, found, error);
	const char *config = options->config != NULL ? options->config : CTL_GATEWAY_CONFIG;
	return result == 0 ? ctl_target_set(target, path, config, error) : result;
}

static enum cli_status run_sessions(const struct cli_program *program, const struct ctl_options *options,
				    char *const *words, int word_count)
{
	(void)words, (void)word_count;
	struct error error;
	struct ctl_target target;
	struct ctl_line filters = {.text = ""};
	uint64_t from = 0, count = UINT64_MAX;
	if (!parse_number(ctl_value(options, CTL_FROM), UINT32_MAX, &from))
		return cli_usage_error(program, "--from wants a number");
	if (!parse_number(ctl_value(options, CTL_COUNT), UINT64_MAX, &count))
		return cli_usage_error(program, "--count wants a number");
	if (!add_options(&filters, options, BIT(CTL_FROM) | BIT(CTL_COUNT)))
		return ctl_refuse_words(program);
	char text[sizeof filters.text + 1];
	(void)snprintf(text, sizeof text, "%s%s", filters.length != 0 ? " " : "", filters.text);
	struct ctl_sessions wanted = {.filters = text, .from = (uint32_t)from, .count = count};
	if (ctl_find_target(options, &target, &error) != 0 ||
	    ctl_print_sessions(stdout, &target, &wanted, options->json, &error) != 0)
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
	unsigned patience = command->print == ctl_print_reload ? CTL_PATIENCE_RELOAD : CTL_PATIENCE;
	if (ctl_find_target(options, &target, &error) != 0 ||
	    ctl_request_for(&target, request.text, patience, &result, &error) != 0)
		return cli_fail(program, CLI_FAILED, &error);
	if (options->json) {
		ctl_print_json(stdout, result);
	} else {
		command->print(stdout, result);
	}
	json_decref(result);
	return cli_finish(program, CLI_OK);
}

/* --- the command line -----------------------------------------------------------------------------------------------
 */

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
	{"kick", 1, "the ID of a session or the public key of a peer", 0, ctl_print_kick, NULL},
	{"peer", 2, "add or del, and a public key",
	 BIT(CTL_PSK_FILE) | BIT(CTL_ADDRESS) | BIT(CTL_ALLOWED_IPS) | BIT(CTL_NAME) | BIT(CTL_NEW) |
		 BIT(CTL_ENDPOINT) | BIT(CTL_ROUTES) | BIT(CTL_SAVE) | BIT(CTL_QR),
	 NULL, ctl_peer},
	{"reload", 0, "", 0, ctl_print_reload, NULL},
};

enum cli_status ctl_run(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			int count)
{
	const struct command *command = NULL;
	if (count == 0)
		return cli_usage_error(program, "which command? status, stages, record, sessions, top, identity, kick, "
						"peer or reload");
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
	/* A key that is made here need not be said; a difference may be of two files. */
	int wanted = command->words - (ctl_value(options, CTL_NEW) != NULL ? 1 : 0);
	int most = wanted + (ctl_value(options, CTL_DIFF) != NULL ? 1 : 0);
	if (count - 1 > most)
		return cli_usage_error(program, "\"%s\" is too much", words[most + 1]);
	if (count - 1 < wanted)
		return cli_usage_error(program, "%s wants %s", command->name, command->wanted);
	return command->run != NULL ? command->run(program, options, words + 1, count - 1)
				    : run_plain(program, options, command, words + 1);
}
