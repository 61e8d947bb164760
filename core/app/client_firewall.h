// SPDX-License-Identifier: Apache-2.0
/* The client's firewall rules that are not the kill switch's: the nftables table "inet shardtun-INTERFACE", there while
 * the client runs.
 *
 * Reverse path filters ask whether a packet's source would be reached by the link that it came from. What comes from
 * the gateway would not while AllowedIPs cover the gateway's own address: without a mark it is looked up in the
 * client's table, which leads into the tunnel. So datagrams for the tunnel's UDP port get the mark that those from
 * there carry, before any filter (firewalld's is at priority raw + 10), and net.ipv4.conf.all.src_valid_mark has the
 * kernel's own filter (rp_filter) look at marks. A rule on the port needs no connection tracking. Control thread. */
#pragma once

#include <stdint.h>

#include "core/base/error.h"
#include "tun/nftables.h"

struct client_firewall {
	const char *interface; /* the tunnel's */
	uint16_t port;	       /* our UDP port, host order */
};

/* The table's rules, for nftables_lay(); on the heap, NULL: no memory. */
char *client_firewall_commands(const struct client_firewall *firewall);

/* Puts them in force, in one step. Needs CAP_NET_ADMIN. 0 or a negative errno with `error` set. */
int client_firewall_set(struct nftables *nftables, const struct client_firewall *firewall, struct error *error);

/* Takes them back; that there are none is no error. */
int client_firewall_clear(struct nftables *nftables, const char *interface, struct error *error);

/* Sees to net.ipv4.conf.all.src_valid_mark = 1. It stays so after the end: who else relies on it by then cannot be
 * known. 1: it was changed; 0: it was so, or no link has a strict rp_filter; a negative errno with `error` set when
 * that is so and it cannot be changed. */
int client_firewall_see_marks(struct error *error);
