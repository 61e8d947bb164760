// SPDX-License-Identifier: Apache-2.0
/* The gateway daemon. */
#include <getopt.h>
#include <stdio.h>

#include "core/base/log.h"
#include "core/cli/cli.h"
#include "core/daemon/logger.h"
#include "core/gateway/gateway.h"
#include "core/host/privileges.h"
#include "core/host/process.h"
#include "crypto/keys.h"

static const char *const synopses[] = {"-c FILE", "-c FILE --check", "-c FILE --takeover", "-c FILE --reload", NULL};
static const enum config_section sections[] = {CONFIG_SECTION_GATEWAY, CONFIG_SECTION_PEER};
static const struct cli_program program = {
	.name = "shardtund",
	.summary = "VPN gateway for many-core Linux machines",
	.synopses = synopses,
	.details = "  -c, --config FILE  the configuration, as below\n"
		   "      --check        check it and the keys that it names; change nothing\n"
		   "      --takeover     take the sessions of the gateway that runs, which ends\n"
		   "      --reload       the same in the background, if that one has another program; else\n"
		   "                     have it read its configuration again\n"
		   "  -h, --help         this text\n"
		   "  -V, --version      the version\n"
		   "\n"
		   "Runs in the foreground until SIGTERM, SIGINT or SIGQUIT, and then ends all sessions.\n",
	.sections = sections,
	.section_count = ARRAY_SIZE(sections),
};

static enum cli_status run(const char *path, bool check, enum gateway_start start, struct background *background)
{
	struct error error = {0};
	struct gateway_config *config;
	privileges_keep_memory(); /* before a key is read */
	if (keys_init(&error) != 0)
		return cli_fail(&program, CLI_FAILED, &error);
	if (config_load_gateway(path, &config, &error) != 0)
		return cli_fail(&program, CLI_CONFIG, &error);
	log_set_level(config->common.log_level);

	enum cli_status status = CLI_OK;
	struct gateway *gateway = gateway_new(config, &error);
	if (gateway == NULL)
		status = cli_fail(&program, CLI_CONFIG, &error);
	else if (check)
		printf("%s: right\n", path);
	else if (gateway_run(gateway, start, background, &error) != 0)
		status = cli_fail(&program, CLI_FAILED, &error);
	if (gateway != NULL)
		gateway_free(gateway);
	config_free_gateway(config);
	return status;
}

/* Until the end of the gateway, or that of its attempt to start. */
static enum cli_status serve(const char *path, enum gateway_start start)
{
	struct background background = {.fd = -1};
	struct error error;
	if (start == GATEWAY_RELOADS && background_begin(&background, &error) != 0)
		return cli_fail(&program, CLI_FAILED, &error);
	log_begin();
	enum cli_status status = cli_finish(&program, run(path, false, start, &background));
	background_tell(&background, (int)status);
	logger_end();
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
						{"check", no_argument, NULL, 'k'},
						{"takeover", no_argument, NULL, 't'},
						{"reload", no_argument, NULL, 'r'},
						{NULL, 0, NULL, 0}};
	enum cli_status status;
	process_begin();
	process_hold_signals();
	if (cli_help_or_version(&program, argc, argv, &status))
		return (int)status;

	const char *path = NULL;
	enum gateway_start start = GATEWAY_OPENS;
	unsigned modes = 0;
	bool check = false;
	int option;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (option == ':')
			return (int)cli_usage_error(&program, "%s wants a file", argv[optind - 1]);
		if (option == '?')
			return (int)cli_usage_error(&program, "unknown option %s", argv[optind - 1]);
		if (option == 'c')
			path = optarg;
		else
			modes++;
		check |= option == 'k';
		if (option == 't' || option == 'r')
			start = option == 't' ? GATEWAY_TAKES_OVER : GATEWAY_RELOADS;
	}
	if (optind < argc)
		return (int)cli_usage_error(&program, "unexpected argument %s", argv[optind]);
	if (path == NULL)
		return (int)cli_usage_error(&program, "which configuration? give -c FILE");
	if (modes > 1)
		return (int)cli_usage_error(&program, "one of --check, --takeover and --reload");
	if (check)
		return (int)cli_finish(&program, run(path, true, start, NULL));
	return (int)serve(path, start);
}
