// SPDX-License-Identifier: Apache-2.0
/* The commands of the control socket that gateway and client share. Their context is the struct daemon. Control
 * thread. */
#pragma once

#include "core/control/control.h"

extern const struct control_command daemon_commands[];
extern const size_t daemon_command_count;
