// SPDX-License-Identifier: Apache-2.0
#include "core/cli/client_check.h"

#include <stdio.h>

#include "core/client/client.h"

enum cli_status client_check_file(const struct cli_program *program, int argc, char *const *argv)
{
	struct error error = {0};
	struct client_config *config;
	if (argc != 2)
		return cli_usage_error(program, argc < 2 ? "%s wants a file" : "%s wants one file only", argv[0]);
	if (config_load_client(argv[1], &config, &error) != 0)
		return cli_fail(program, CLI_CONFIG, &error);
	enum cli_status status = CLI_OK;
	if (client_check(config, &error) != 0)
		status = cli_fail(program, CLI_CONFIG, &error);
	else
		printf("%s: right\n", argv[1]);
	config_free_client(config);
	return status;
}
