// SPDX-License-Identifier: Apache-2.0
/* Keeps what the gateway set up on the machine: its interface with MTU and addresses, the routes behind it, its rules
 * and the kernel's settings; parts of the daemon's reconciler, with the kernel's notices that trigger it. Control
 * thread; needs CAP_NET_ADMIN. */
#pragma once

#include "core/gateway/network.h"

/* Adds the parts, and subscribes to the kernel's notices; when gateway_network_open() has set up what they keep. On
 * failure nothing is left to close. */
int gateway_keep_open(struct gateway_network *network, struct error *error);
void gateway_keep_close(struct gateway_network *network);

/* When network->watch_fd or network->rules_fd is readable. */
void gateway_keep_changed(struct gateway_network *network);
void gateway_keep_rules_changed(struct gateway_network *network);
