// SPDX-License-Identifier: Apache-2.0
/* The kill switch: rules in the nftables table "inet shardtun-INTERFACE-kill-switch", by which packets leave the
 * machine only through the tunnel, or through that of another client. They outlive the process: a client that crashes
 * leaks nothing. From Linux 6.9 on no other process can remove them while the client runs, not even "nft flush
 * ruleset"; on older kernels they are put back. Needs CAP_NET_ADMIN. Control thread. */
#pragma once

#include <stdbool.h>

#include "core/base/error.h"
#include "tun/nftables.h"

/* Sets the rules in one transaction, replacing those that are there. They accept loopback, the clients' interfaces, the
 * packets of their tunnels, DHCP, and IPv6 neighbour discovery; and forwarding into and out of a tunnel. */
int kill_switch_set(struct nftables *nftables, const char *interface, struct error *error);

/* Whether the rules are unchanged since they were set. */
bool kill_switch_is_set(struct nftables *nftables, const char *interface);

/* Removes the rules. It is no error when there are none. */
int kill_switch_clear(struct nftables *nftables, const char *interface, struct error *error);
