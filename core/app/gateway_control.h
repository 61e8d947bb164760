// SPDX-License-Identifier: Apache-2.0
/* The commands of the gateway's control socket besides those of every tunnel (core/app/tunnel.h): sessions, kick, peer,
 * identity, reload. The context of the tunnel is a struct gateway_running. Control thread. */
#pragma once

#include "core/app/gateway_reload.h"
#include "core/app/tunnel.h"

enum { GATEWAY_COMMANDS = 5 };
extern const struct control_command gateway_commands[GATEWAY_COMMANDS];

/* SIGHUP: reads the configuration again; what comes of it is logged. */
void gateway_control_reload(struct tunnel *tunnel);
