// SPDX-License-Identifier: Apache-2.0
#include "core/cli/client_command.h"

#include <getopt.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cli/client_up.h"
#include "core/cli/ctl.h"
#include "core/cli/ctl_text.h"

enum { TIMEOUT_MOST = 3600, PATH_SIZE = 4096 };

struct options {
	bool json;
	unsigned timeout;
	const char *file; /* NULL: not given */
};

/* --- status ------------------------------------------------------------------------------------------------------- */

static void print_ago(FILE *out, const json_t *status, const char *label, const char *key, const char *lead,
		      const char *end)
{
	char text[CTL_NUMBER_MAX];
	if (json_is_integer(json_object_get(status, key)))
		fprintf(out, "%s%s%s%s", lead, label, ctl_duration(text, ctl_number(status, key)), end);
}

static void print_traffic(FILE *out, const json_t *status, const char *label, const char *bytes, const char *packets)
{
	char byte_text[CTL_NUMBER_MAX], packet_text[CTL_NUMBER_MAX];
	fprintf(out, "  %-12s%s in %s packets\n", label, ctl_bytes(byte_text, ctl_number(status, bytes)),
		ctl_count(packet_text, ctl_number(status, packets)));
}

static void print_session(FILE *out, const json_t *status)
{
	size_t i;
	json_t *address;
	const char *lead = "  addresses   ";
	fprintf(out, "  session     %s, %s, MTU %" PRIu64 "\n", ctl_text(status, "session"), ctl_text(status, "suite"),
		ctl_number(status, "mtu"));
	json_array_foreach (json_object_get(status, "addresses"), i, address) {
		fprintf(out, "%s%s", lead, ctl_text_of(address));
		lead = ", ";
	}
	fputc('\n', out);
	print_ago(out, status, "", "connected_seconds", "  connected   for ", "");
	print_ago(out, status, "handshake ", "handshake_seconds", "; ", " ago");
	print_ago(out, status, "heard ", "heard_seconds", ", ", " ago");
	fputc('\n', out);
	print_traffic(out, status, "received", "rx_bytes", "rx_packets");
	print_traffic(out, status, "sent", "tx_bytes", "tx_packets");
}

static void print_not_in_force(FILE *out, json_t *kept)
{
	const char *what;
	json_t *one;
	json_object_foreach (kept, what, one) {
		if (json_is_false(json_object_get(one, "in_force")))
			fprintf(out, "  not in force: %s: %s\n", what, ctl_text(one, "trouble"));
	}
}

void client_command_print_status(FILE *out, const json_t *status)
{
	size_t i;
	json_t *server;
	const json_t *dns = json_object_get(status, "dns");
	fprintf(out, "%s: %s\n", ctl_text(status, "interface"), ctl_text(status, "state"));
	fprintf(out, "  gateway     %s port %" PRIu64, ctl_text(status, "host"), ctl_number(status, "port"));
	if (json_is_string(json_object_get(status, "endpoint")))
		fprintf(out, ", at %s", ctl_text(status, "endpoint"));
	fputc('\n', out);
	if (json_object_get(status, "session") != NULL)
		print_session(out, status);
	if (ctl_number(status, "handshakes_unanswered") != 0)
		fprintf(out, "  no answer   to %" PRIu64 " handshakes\n", ctl_number(status, "handshakes_unanswered"));
	if (json_is_string(json_object_get(status, "refused")))
		fprintf(out, "  refused     %s\n", ctl_text(status, "refused"));
	const char *lead = "  DNS         ";
	json_array_foreach (json_object_get(dns, "servers"), i, server) {
		fprintf(out, "%s%s", lead, ctl_text_of(server));
		lead = ", ";
	}
	if (json_is_object(dns) && json_is_false(json_object_get(dns, "in_force")))
		fprintf(out, " not in force: %s\n", ctl_text(dns, "trouble"));
	else if (json_is_object(dns))
		fprintf(out, " by %s%s\n", ctl_text(dns, "by"),
			json_is_true(json_object_get(dns, "all_names")) ? ", for all names" : "");
	if (json_is_true(json_object_get(status, "kill_switch")))
		fputs("  kill switch in force\n", out);
	print_not_in_force(out, json_object_get(status, "kept"));
}

/* `status` is taken over. */
static void show(json_t *status, bool json)
{
	if (json && json_dumpf(status, stdout, JSON_INDENT(2)) == 0)
		putchar('\n');
	else if (!json)
		client_command_print_status(stdout, status);
	json_decref(status);
}

static enum cli_status status_of(const struct cli_program *program, const struct options *options)
{
	struct error error = {0};
	struct client_config *config;
	if (config_load_client(options->file, &config, &error) != 0)
		return cli_fail(program, CLI_CONFIG, &error);
	json_t *status = NULL;
	struct ctl_target target;
	int result = ctl_target_set(&target, config->common.control_socket, NULL, &error);
	if (result == 0)
		result = ctl_request(&target, "client", &status, &error);
	config_free_client(config);
	if (result != 0)
		return cli_fail(program, CLI_FAILED, &error);
	show(status, options->json);
	return CLI_OK;
}

/* Asks every socket in the directory; those that answer as a client does are shown. */
static enum cli_status status_of_all(const struct cli_program *program, const struct options *options)
{
	struct error error = {0};
	json_t *list = json_array();
	glob_t found;
	size_t paths = glob(CTL_DIRECTORY "/*.sock", 0, NULL, &found) == 0 ? found.gl_pathc : 0;
	int failure = 0;
	for (size_t i = 0; i < paths; i++) {
		json_t *status = NULL;
		struct ctl_target target;
		int result = ctl_target_set(&target, found.gl_pathv[i], NULL, &error);
		if (result == 0)
			result = ctl_request(&target, "client", &status, &error);
		if (result == 0)
			json_array_append_new(list, status);
		else if (result != -EREMOTEIO && result != -ECONNREFUSED && result != -EPERM)
			failure = result; /* not of a gateway, or of a socket without a process */
	}
	if (paths > 0)
		globfree(&found);
	enum cli_status exit_status = CLI_OK;
	if (json_array_size(list) == 0) {
		if (failure == 0)
			error_set(&error, -ENOENT, "no client is up: none answers in " CTL_DIRECTORY);
		exit_status = cli_fail(program, CLI_FAILED, &error);
	} else if (options->json) {
		show(json_incref(list), true);
	} else {
		for (size_t i = 0; i < json_array_size(list); i++)
			show(json_incref(json_array_get(list, i)), false);
	}
	json_decref(list);
	return exit_status;
}

/* --- command line ------------------------------------------------------------------------------------------------- */

bool client_command_knows(const char *word)
{
	static const char *const words[] = {"run", "up", "down", "status"};
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(word, words[i]) == 0)
			return true;
	}
	return false;
}

bool client_command_is_daemon(const char *word)
{
	return strcmp(word, "run") == 0 || strcmp(word, "up") == 0;
}

/* A word with a slash, or that ends in ".conf", is a path; others are names. */
static bool file_of(const char *word, char path[PATH_SIZE])
{
	static const char suffix[] = ".conf";
	size_t length = strlen(word), end = sizeof suffix - 1;
	bool file = strchr(word, '/') != NULL || (length > end && strcmp(word + length - end, suffix) == 0);
	int used = file ? snprintf(path, PATH_SIZE, "%s", word)
			: snprintf(path, PATH_SIZE, CLIENT_CONFIG_DIRECTORY "/%s%s", word, suffix);
	return used < PATH_SIZE;
}

static bool parse_timeout(const char *text, unsigned *timeout)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);
	*timeout = (unsigned)value;
	return text[0] >= '0' && text[0] <= '9' && *end == '\0' && value >= 1 && value <= TIMEOUT_MOST;
}

/* CLI_OK, or the status of an error that was reported. */
static enum cli_status parse(const struct cli_program *program, int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{"timeout", required_argument, NULL, 't'}, {"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
	bool is_up = strcmp(argv[0], "up") == 0, is_status = strcmp(argv[0], "status") == 0;
	int option;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":t:j", known, NULL)) != -1) {
		if (option == ':')
			return cli_usage_error(program, "%s needs a value", argv[optind - 1]);
		if (option == '?' || (option == 't' && !is_up) || (option == 'j' && !is_status))
			return cli_usage_error(program, "%s does not know %s", argv[0], argv[optind - 1]);
		if (option == 't' && !parse_timeout(optarg, &options->timeout))
			return cli_usage_error(program, "--timeout %s: not a number of seconds from 1 to %d", optarg,
					       TIMEOUT_MOST);
		options->json |= option == 'j';
	}
	int words = argc - optind;
	const char *wants = strcmp(argv[0], "run") == 0 ? "a file" : "a name or a file";
	if (words == 0 && !is_status)
		return cli_usage_error(program, "%s wants %s", argv[0], wants);
	if (words > 1)
		return cli_usage_error(program, "%s wants one argument: %s", argv[0], wants);
	options->file = words == 1 ? argv[optind] : NULL;
	return CLI_OK;
}

enum cli_status client_command_run(const struct cli_program *program, int argc, char **argv)
{
	struct options options = {.timeout = CLIENT_UP_LIMIT};
	char path[PATH_SIZE];
	enum cli_status status = parse(program, argc, argv, &options);
	if (status != CLI_OK)
		return status;
	if (strcmp(argv[0], "run") == 0)
		return client_foreground(program, options.file);
	if (options.file != NULL && !file_of(options.file, path))
		return cli_usage_error(program, "%.32s...: the name is too long", options.file);
	if (options.file != NULL)
		options.file = path;
	if (strcmp(argv[0], "up") == 0)
		return client_up(program, options.file, options.timeout);
	if (strcmp(argv[0], "down") == 0)
		return client_down(program, options.file);
	return options.file != NULL ? status_of(program, &options) : status_of_all(program, &options);
}
