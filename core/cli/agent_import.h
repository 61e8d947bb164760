// SPDX-License-Identifier: Apache-2.0
/* shardtun-agent import: the peers of a gateway that is alone, with their addresses, limits and pre-shared keys, go
 * into etcd. */
#pragma once

#include "core/agent/registration.h"
#include "core/cli/cli.h"

/* Each file is a gateway's configuration, with the files that it names; their private key is that of the cluster, under
 * which pre-shared keys are sealed. Prints how many were added, and what was not, and why. Without `write` it only says
 * what would be done. CLI_FAILED also when some were not added. */
enum cli_status agent_import(const struct cli_program *program, const struct registration_call *call,
			     char *const *files, int count, bool write);
