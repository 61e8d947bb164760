// SPDX-License-Identifier: Apache-2.0
/* shardtunctl cluster, drain, and peer of a gateway in a cluster: what goes to its agent, shardtun-agent(8). */
#pragma once

#include "core/cli/ctl.h"
#include "core/cli/ctl_options.h"

#define CTL_AGENT_SOCKET CTL_DIRECTORY "-agent/agent.sock"

/* The agent to ask: at --agent, or CTL_AGENT_SOCKET. Its user is trusted as well. 0 or a negative errno. */
int ctl_find_agent(const struct ctl_options *options, struct ctl_target *target, struct error *error);

/* A request to the agent about peers, as ctl_request(); an agent that does not answer is named as what is missing. */
int ctl_request_peer(struct ctl_target *agent, const char *request, json_t **result, struct error *error);

/* Commands. */
enum cli_status ctl_cluster(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			    int count);
enum cli_status ctl_drain(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			  int count);
