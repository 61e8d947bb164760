// SPDX-License-Identifier: Apache-2.0
/* The client and the key tool. */
#include "core/cli/cli.h"
#include "core/cli/client_check.h"
#include "core/cli/client_command.h"
#include "core/cli/keytool.h"
#include "core/host/privileges.h"
#include "core/host/process.h"
#include "crypto/keys.h"

static const char *const synopses[] = {"run FILE",
				       "up NAME|FILE [--timeout SECONDS]",
				       "down NAME|FILE",
				       "status [NAME|FILE] [--json]",
				       "check FILE",
				       "genkey | pubkey | genpsk",
				       NULL};
static const enum config_section sections[] = {CONFIG_SECTION_CLIENT, CONFIG_SECTION_REMOTE};
static const struct cli_program program = {
	.name = "shardtun",
	.summary = "VPN client, and the key tool",
	.synopses = synopses,
	.details = CLIENT_COMMAND_DETAILS
	"  check FILE         check the file and the keys that it names; change nothing\n"
	"  genkey             print a new private key\n"
	"  pubkey             read a private key, print its public key\n"
	"  genpsk             print a new pre-shared key\n",
	.sections = sections,
	.section_count = ARRAY_SIZE(sections),
};

int main(int argc, char **argv)
{
	enum cli_status status;
	process_begin();
	if (argc > 1 && client_command_is_daemon(argv[1]))
		process_hold_signals();
	if (cli_help_or_version(&program, argc, argv, &status))
		return (int)status;
	if (argc < 2)
		return (int)cli_usage_error(&program, "no command");

	struct error error = {0};
	privileges_keep_memory(); /* before a key is read */
	if (keys_init(&error) != 0)
		return (int)cli_fail(&program, CLI_FAILED, &error);
	if (keytool_knows(argv[1]))
		return (int)cli_finish(&program, keytool_run(&program, argc - 1, argv + 1));
	if (strcmp(argv[1], "check") == 0)
		return (int)cli_finish(&program, client_check_file(&program, argc - 1, argv + 1));
	if (!client_command_knows(argv[1]))
		return (int)cli_usage_error(&program, "unknown command %s", argv[1]);
	return (int)cli_finish(&program, client_command_run(&program, argc - 1, argv + 1));
}
