// SPDX-License-Identifier: Apache-2.0
/* The kernel's settings (sysctl) that a gateway relies on, which "sysctl --system" or a manager of networks may set
 * back: forwarding in both families, where Forward = yes; that a machine that forwards keeps its IPv6 default route
 * from a router; and that the reverse path filter of the gateway's own interface is not strict, since a network behind
 * a peer may have a better route elsewhere. Control thread; needs CAP_NET_ADMIN. */
#pragma once

#include <net/if.h>

#include "config/config.h"
#include "core/daemon/reconcile.h"

enum { GATEWAY_ADVERTISED_MAX = 8 };

struct gateway_settings {
	const struct gateway_config *config;
	unsigned ifindex;				      /* of the gateway's interface */
	bool no_ipv6;					      /* it has none */
	char advertised[GATEWAY_ADVERTISED_MAX][IF_NAMESIZE]; /* whose accept_ra we set to 2 */
	size_t advertised_count;
};

/* Whether the interface's effective reverse path filter for IPv4 is strict. */
bool gateway_settings_strict(const char *interface);

/* Two reconcile_fn, with a struct gateway_settings: forwarding with what it entails, and the filter. */
void gateway_settings_forward(void *context, bool restore, struct reconcile_found *found);
void gateway_settings_filter(void *context, bool restore, struct reconcile_found *found);
