// SPDX-License-Identifier: Apache-2.0
/* shardtun-agent peer add, peer del: from the words of the command line to etcd. */
#pragma once

#include "core/agent/registration.h"
#include "core/cli/cli.h"

/* The options of peer add. */
struct agent_peer {
	const char *name; /* NULL: none */
	const char *protocol;
	const char *allowed_ips; /* networks, separated by commas; NULL: none */
};

/* Whether the words are a command, "peer add KEY" or "peer del KEY". CLI_OK, or CLI_USAGE after a line that says what
 * is wrong. */
enum cli_status agent_peer_check(const struct cli_program *program, const struct agent_peer *peer, char *const *words,
				 int count);

/* Carries it out, and prints what was done. Blocks for 5 s at most. */
enum cli_status agent_peer_run(const struct cli_program *program, const struct agent_settings *settings,
			       const struct agent_peer *peer, char *const *words);
