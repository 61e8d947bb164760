// SPDX-License-Identifier: Apache-2.0
/* The commands of the gateway's control socket besides those of every tunnel (core/daemon/daemon.h): sessions, kick, peer,
 * identity, reload. The context of the tunnel is a struct gateway_running. Control thread. */
#pragma once

#include "core/gateway/reload.h"
#include "core/daemon/daemon.h"

enum { GATEWAY_COMMANDS = 6 };
extern const struct control_command gateway_commands[GATEWAY_COMMANDS];

/* SIGHUP: has the configuration read again; what comes of it is logged. */
void gateway_control_reload(struct tunnel *tunnel);

/* The reloader's descriptor is readable: follows what was read, and answers those who asked. */
void gateway_control_reloaded(struct tunnel *tunnel);

/* That answer. */
json_t *gateway_control_reload_answer(const struct gateway_reload_result *result, struct error *error);
