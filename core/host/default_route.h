// SPDX-License-Identifier: Apache-2.0
/* The machine's default route (IPv4), as /proc/net/route has it. */
#pragma once

#include <net/if.h>

/* The interface of the default route with the lowest metric, or "". Any thread. */
void default_route_interface(char interface[IF_NAMESIZE]);
