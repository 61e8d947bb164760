// SPDX-License-Identifier: Apache-2.0
/* Asks a running gateway or client over its control socket. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>

#include "core/app/cli.h"
#include "core/app/ctl.h"

static const struct {
	const char *name;
	void (*print)(FILE *out, json_t *result);
} commands[] = {{"status", ctl_print_status}, {"stages", ctl_print_stages}};

static const char *const synopses[] = {"[--socket PATH] [--json] status", "[--socket PATH] [--json] stages", NULL};

static const struct cli_program program = {
	.name = "shardtunctl",
	.summary = "ask a running shardtun gateway or client",
	.synopses = synopses,
	.details = "  status          who it is, sessions, traffic, workers, what was dropped and why\n"
		   "  stages          how long each stage of the data path takes: quantiles in ns and cycles\n"
		   "\n"
		   "  -s, --socket PATH   the control socket (default: the only *.sock in " CTL_DIRECTORY ")\n"
		   "  -j, --json          the daemon's answer as it is, for scripts\n",
};

struct options {
	const char *socket; /* NULL: the only one */
	bool json;
};

static enum cli_status run(const struct options *options, size_t command)
{
	char path[CTL_PATH_MAX];
	struct error error;
	json_t *result;
	if (options->socket == NULL && ctl_find_socket(CTL_DIRECTORY, path, &error) != 0)
		return cli_fail(&program, CLI_FAILED, &error);
	if (ctl_request(options->socket != NULL ? options->socket : path, commands[command].name, &result, &error) != 0)
		return cli_fail(&program, CLI_FAILED, &error);

	if (options->json) {
		json_dumpf(result, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10) | JSON_ENCODE_ANY);
		putchar('\n');
	} else {
		commands[command].print(stdout, result);
	}
	json_decref(result);
	return cli_finish(&program, CLI_OK);
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"socket", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'}, {0}};
	enum cli_status status;
	if (cli_help_or_version(&program, argc, argv, &status))
		return (int)status;

	struct options options = {0};
	int option;
	while ((option = getopt_long(argc, argv, ":s:j", long_options, NULL)) != -1) {
		switch (option) {
		case 's':
			options.socket = optarg;
			break;
		case 'j':
			options.json = true;
			break;
		case ':':
			return (int)cli_usage_error(&program, "%s needs a PATH", argv[optind - 1]);
		default:
			if (optopt != 0)
				return (int)cli_usage_error(&program, "-%c is no option", optopt);
			return (int)cli_usage_error(&program, "%s is no option", argv[optind - 1]);
		}
	}
	if (optind == argc)
		return (int)cli_usage_error(&program, "which command? status or stages");
	if (optind + 1 < argc)
		return (int)cli_usage_error(&program, "\"%s\" is too much", argv[optind + 1]);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[optind], commands[i].name) == 0)
			return (int)run(&options, i);
	}
	return (int)cli_usage_error(&program, "unknown command \"%s\"", argv[optind]);
}
