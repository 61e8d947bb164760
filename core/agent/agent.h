// SPDX-License-Identifier: Apache-2.0
/* The agent: one thread that carries out the actions of the rule (core/agent/ownership.h) in etcd and at the gateway,
 * and passes peers and the map of owners from etcd to the gateway. */
#pragma once

#include "core/agent/settings.h"

struct agent;

/* Takes the place of an earlier process on this machine, with its uuid and lease, if it has left them in State. The
 * settings are borrowed. NULL with `error`: another agent runs, or something cannot be opened. */
struct agent *agent_new(const struct agent_settings *settings, const struct clock *clock, struct error *error);

/* Until `stop_fd` is readable, or for ever. What is owned stays so until its lease or fence ends: the next process goes
 * on with it. 0, or a negative errno with `error`. */
int agent_run(struct agent *agent, int stop_fd, struct error *error);

/* NULL is allowed. */
void agent_free(struct agent *agent);
