// SPDX-License-Identifier: Apache-2.0
/* The client and the key tool. */
#include <stdio.h>

#include "core/app/cli.h"
#include "core/app/client.h"
#include "core/app/client_check.h"
#include "core/app/keytool.h"
#include "core/base/log.h"
#include "crypto/keys.h"

static const char *const synopses[] = {"run FILE", "check FILE", "genkey | pubkey | genpsk", NULL};
static const enum config_section sections[] = {CONFIG_SECTION_CLIENT, CONFIG_SECTION_REMOTE};
static const struct cli_program program = {
	.name = "shardtun",
	.summary = "VPN client, and the key tool",
	.synopses = synopses,
	.details = "  run FILE           connect as the file says, until SIGTERM or SIGINT\n"
		   "  check FILE         say whether the file is right, and change nothing\n"
		   "  genkey             print a new private key\n"
		   "  pubkey             read a private key, print its public key\n"
		   "  genpsk             print a new pre-shared key\n"
		   "  -h, --help         this text\n"
		   "  -V, --version      the version\n",
	.sections = sections,
	.section_count = ARRAY_SIZE(sections),
};

static enum cli_status run(const char *path)
{
	struct error error = {0};
	struct client_config *config;
	if (config_load_client(path, &config, &error) != 0)
		return cli_fail(&program, CLI_CONFIG, &error);
	log_set_level(config->common.log_level);
	enum cli_status status = CLI_OK;
	if (client_check(config, &error) != 0)
		status = cli_fail(&program, CLI_CONFIG, &error);
	else if (client_run(config, &error) != 0)
		status = cli_fail(&program, CLI_FAILED, &error);
	config_free_client(config);
	return status;
}

int main(int argc, char **argv)
{
	enum cli_status status;
	if (cli_help_or_version(&program, argc, argv, &status))
		return (int)status;
	if (argc < 2)
		return (int)cli_usage_error(&program, "no command");

	struct error error = {0};
	if (keys_init(&error) != 0)
		return (int)cli_fail(&program, CLI_FAILED, &error);
	if (keytool_knows(argv[1]))
		return (int)cli_finish(&program, keytool_run(&program, argc - 1, argv + 1));
	if (strcmp(argv[1], "check") == 0)
		return (int)cli_finish(&program, client_check_file(&program, argc - 1, argv + 1));
	if (strcmp(argv[1], "run") != 0)
		return (int)cli_usage_error(&program, "unknown command %s", argv[1]);
	if (argc != 3)
		return (int)cli_usage_error(&program, argc < 3 ? "run wants a file" : "run wants one file only");
	return (int)cli_finish(&program, run(argv[2]));
}
