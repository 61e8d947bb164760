// SPDX-License-Identifier: Apache-2.0
/* The kill switch: rules in an nftables table of our own, "inet shardtun-INTERFACE-kill-switch", by which nothing
 * leaves the machine but through the tunnel. They outlive the process: a client that crashes leaks nothing. Needs
 * CAP_NET_ADMIN. Control thread. */
#pragma once

#include "core/base/error.h"

/* Sets the rules, in the place of those that are there, in one step. What may leave: loopback, the tunnel's inside, the
 * packets of a client's tunnel, DHCP, and IPv6 neighbour discovery. Of what is forwarded: into the tunnel and out of
 * it.
 */
int client_killswitch_set(const char *interface, struct error *error);

/* Takes them back; that there are none is no error. */
int client_killswitch_clear(const char *interface, struct error *error);
