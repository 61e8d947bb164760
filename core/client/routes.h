// SPDX-License-Identifier: Apache-2.0
/* Plans the routes of the client's own table: AllowedIPs, and the networks within them that are reached directly.
 *
 * The client's table is looked up before table main, so a route that DHCP adds to main cannot divert packets from the
 * tunnel (TunnelVision, CVE-2024-3661). Networks that the machine is attached to are copied from there. Of two routes
 * to the same network the tunnel's wins. Control thread. */
#pragma once

#include "config/config.h"
#include "core/base/ip_set.h"
#include "core/protocol/wire.h"
#include "tun/netlink_state.h"

struct client_routes_wish {
	const struct client_config *config;
	const struct ip_set *allowed; /* the union of its AllowedIPs */
	const struct wire_welcome *lease;
	unsigned ifindex;			 /* of the tunnel */
	bool carried;				 /* the tunnel has an address of the family */
	const struct netlink_attached *attached; /* networks of the machine; of equal ones the first is used */
	size_t attached_count;
};

/* Appends to `wanted` the routes that the table should have for `family`, 4 or 6. AllowedIPs get unreachable routes
 * while the tunnel carries no packets of the family: the kernel drops the routes of a link that goes down, and packets
 * must not leave in the clear. 0 or -ENOMEM. */
int client_routes_plan(struct netlink_routes *wanted, uint8_t family, const struct client_routes_wish *wish);
