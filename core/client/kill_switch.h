// SPDX-License-Identifier: Apache-2.0
/* The kill switch: rules in an nftables table of our own, "inet shardtun-INTERFACE-kill-switch", by which nothing
 * leaves the machine but through the tunnel, or through that of another client beside it. They outlive the process: a
 * client that crashes leaks nothing. Where the kernel has it (6.9) nobody else can remove them while the client runs,
 * not by "nft flush ruleset" either; elsewhere they are put back. Needs CAP_NET_ADMIN. Control thread. */
#pragma once

#include <stdbool.h>

#include "core/base/error.h"
#include "tun/nftables.h"

/* Sets the rules, in the place of those that are there, in one step. What may leave: loopback, the clients' interfaces,
 * the packets of their tunnels, DHCP, and IPv6 neighbour discovery. Of what is forwarded: into a tunnel and out of one.
 */
int client_killswitch_set(struct nftables *nftables, const char *interface, struct error *error);

/* Whether they are as they were set. */
bool client_killswitch_is_set(struct nftables *nftables, const char *interface);

/* Takes them back; that there are none is no error. */
int client_killswitch_clear(struct nftables *nftables, const char *interface, struct error *error);
