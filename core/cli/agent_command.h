// SPDX-License-Identifier: Apache-2.0
/* shardtun-agent peer add, peer del and import: from the words of the command line to etcd. */
#pragma once

#include "core/agent/registration.h"
#include "core/cli/cli.h"

struct agent_options {
	/* of peer add */
	const char *name; /* NULL: none */
	const char *protocol;
	const char *allowed_ips; /* networks, separated by commas; NULL: none */
	/* of import */
	bool dry_run;
};

/* Reads the agent's configuration; the caller frees it. CLI_OK, or another status after a line that says why. */
enum cli_status agent_read_settings(const struct cli_program *program, const char *path,
				    struct agent_settings *settings);

/* Carries out "peer add KEY", "peer del KEY" or "import FILE..." by the configuration at `path`, and prints what was
 * done. Blocks: 5 s at most, and for so long at most for each transaction of an import. CLI_OK, or another status after
 * a line that says what is wrong. */
enum cli_status agent_command(const struct cli_program *program, const char *path, const struct agent_options *options,
			      char *const *words, int count);
