// SPDX-License-Identifier: Apache-2.0
/* The commands of the gateway's control socket besides those of every daemon (core/daemon/commands.h): sessions, top,
 * kick, peer, quota, cluster and its like, identity, reload. The context of the daemon is a struct gateway_running.
 * Control thread. */
#pragma once

#include "core/daemon/daemon.h"
#include "core/gateway/reload.h"

extern const struct control_command gateway_commands[];
extern const size_t gateway_command_count;

/* SIGHUP: has the configuration read again; the outcome is logged. */
void gateway_control_reload(struct daemon *daemon);

/* The reloader's descriptor is readable: applies what was read, and answers the requests for it. False: there was
 * nothing. Else `*code` is 0, or a negative errno with `error` set. */
bool gateway_control_reloaded(struct daemon *daemon, int *code, struct error *error);

/* The answer to "reload". NULL with `error` set: no memory. */
json_t *gateway_control_reload_answer(const struct gateway_reload_result *result, struct error *error);
