// SPDX-License-Identifier: Apache-2.0
/* Routes of the client's own table: AllowedIPs, what is nearer than they say, and what is not.
 *
 * Table main is not asked at all before the client's table, so nothing that DHCP puts there can pull packets out of the
 * tunnel (TunnelVision, CVE-2024-3661). What is to be reached directly is copied from there: the networks that the
 * machine is attached to. Of equal networks the tunnel's wins. Control thread. */
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
	const struct netlink_attached *attached; /* networks of the machine; of equal ones the first counts */
	size_t attached_count;
};

/* What the table should have for `family`, 4 or 6, appended to `wanted`: AllowedIPs, and what is besides them. What
 * AllowedIPs have is refused where no way into the tunnel is left, because the kernel drops the routes of a link that
 * goes down: it is not to leave otherwise. 0 or -ENOMEM. */
int client_routes_plan(struct netlink_routes *wanted, uint8_t family, const struct client_routes_wish *wish);
