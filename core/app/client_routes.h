// SPDX-License-Identifier: Apache-2.0
/* Routes of the client's own table besides those for AllowedIPs: what is nearer than they say, and what is not.
 *
 * Table main is not asked at all before the client's table, so nothing that DHCP puts there can pull packets out of the
 * tunnel (TunnelVision, CVE-2024-3661). What is to be reached directly is copied from there: the networks that the
 * machine is attached to. Of equal networks the tunnel's wins. Control thread. */
#pragma once

#include "config/config.h"
#include "core/wire.h"
#include "tun/netlink.h"

enum { CLIENT_ROUTES_MAX = 256 };

struct client_route {
	struct ip_prefix network;
	unsigned ifindex; /* 0: as if this table did not know it */
};

struct client_routes {
	struct client_route list[CLIENT_ROUTES_MAX];
	size_t count;
};

struct client_routes_wish {
	const struct client_config *config;
	const struct wire_welcome *lease;
	unsigned ifindex;			 /* of the tunnel */
	const struct netlink_attached *attached; /* networks of the machine */
	size_t attached_count;
};

/* What the table should have for `family`, 4 or 6, added to `wanted`. */
void client_routes_plan(struct client_routes *wanted, uint8_t family, const struct client_routes_wish *wish);

/* Makes the table have `wanted` where it had `applied`. On failure `applied` says what it has. */
int client_routes_apply(struct client_routes *applied, const struct client_routes *wanted, struct netlink *netlink,
			uint32_t table, struct error *error);
