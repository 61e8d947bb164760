// SPDX-License-Identifier: Apache-2.0
/* The client's firewall rules besides the kill switch: the nftables table "inet shardtun-INTERFACE", which exists while
 * the client runs. It has three chains.
 *
 * "marks": a reverse path filter drops a packet whose source is not routed back by the link that it came from. While
 * AllowedIPs cover the gateway's own address, that is true of the gateway's datagrams: without a mark their source is
 * looked up in the client's table, which leads into the tunnel. So datagrams to the tunnel's UDP port get the mark that
 * the tunnel's own packets carry, before any filter (firewalld's has priority raw + 10), and
 * net.ipv4.conf.all.src_valid_mark makes the kernel's own filter (rp_filter) use it. The rule matches the port, and so
 * needs no connection tracking.
 *
 * "guard" (CVE-2019-14899): the kernel accepts packets to an inner address from any link, so a host on a shared link
 * that guesses the address could send to it. Packets to our inner addresses are dropped unless they come out of the
 * tunnel or from the machine itself. So are packets whose source is routed into the tunnel: AllowedIPs less attached
 * networks and Networks. If AllowedIPs are everything, that would drop all traffic from outside; then only sources in
 * the tunnel's inner network are dropped.
 *
 * "loop": the tunnel's own packets never enter the tunnel, whatever routes table main has. Control thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/ip.h"
#include "tun/nftables.h"

struct client_firewall {
	const char *interface; /* as configured, for the table's name */
	unsigned ifindex;      /* of the tunnel; survives a rename of the interface */
	uint16_t port;	       /* our UDP port, host order */
	struct {
		struct ip_prefix address; /* inner, with its network; family 0: none, or not yet */
		bool everything;	  /* AllowedIPs cover the whole family */
	} inner[2];			  /* IPv4, IPv6 */
};

/* The table's rules, for nftables_lay(); on the heap, NULL: no memory. */
char *client_firewall_commands(const struct client_firewall *firewall);

/* Sets the rules in one transaction. Needs CAP_NET_ADMIN. 0 or a negative errno with `error` set. */
int client_firewall_set(struct nftables *nftables, const struct client_firewall *firewall, struct error *error);

/* Whether the rules are unchanged since they were set. */
bool client_firewall_is_set(struct nftables *nftables, const char *interface);

/* Removes the rules. It is no error when there are none. */
int client_firewall_clear(struct nftables *nftables, const char *interface, struct error *error);

/* Whether the kernel's reverse path filter uses marks, or is not strict on any link. */
bool client_firewall_sees_marks(void);

/* Sets net.ipv4.conf.all.src_valid_mark to 1. It is not reset at the end: another program may rely on it by then. 1: it
 * was changed; 0: it was set already, or cannot be set and no link has a strict rp_filter; a negative errno with
 * `error` set: it cannot be set, and a link has a strict one. */
int client_firewall_see_marks(struct error *error);
