// SPDX-License-Identifier: Apache-2.0
/* The client's firewall rules that are not the kill switch's: the nftables table "inet shardtun-INTERFACE", there while
 * the client runs.
 *
 * Reverse path filters ask whether a packet's source would be reached by the link that it came from. What comes from
 * the gateway would not while AllowedIPs cover the gateway's own address: without a mark it is looked up in the
 * client's table, which leads into the tunnel. So datagrams for the tunnel's UDP port get the mark that those from
 * there carry, before any filter (firewalld's is at priority raw + 10), and net.ipv4.conf.all.src_valid_mark has the
 * kernel's own filter (rp_filter) look at marks. A rule on the port needs no connection tracking.
 *
 * And a guard (CVE-2019-14899): hosts beside ours, on a link that we share with them, know or guess an inner address,
 * and the kernel takes packets for it by whichever link they come. So what is for an inner address of ours is dropped
 * unless it came out of the tunnel or from the machine itself; and so is what claims to be from where our answers
 * would go into the tunnel, that is from AllowedIPs, less attached networks and Networks. Where AllowedIPs are
 * everything that would be all that comes from outside: there it holds for the tunnel's inner network alone.
 *
 * And the tunnel's own packets never enter the tunnel, whatever routes table main has. Control thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/ip.h"
#include "tun/nftables.h"

struct client_firewall {
	const char *interface; /* of the configuration, for the table's name */
	unsigned ifindex;      /* the tunnel's, which it keeps when it gets another name */
	uint16_t port;	       /* our UDP port, host order */
	struct {
		struct ip_prefix address; /* inner, with its network; family 0: none, or not yet */
		bool everything;	  /* what AllowedIPs are in this family */
	} inner[2];			  /* IPv4, IPv6 */
};

/* The table's rules, for nftables_lay(); on the heap, NULL: no memory. */
char *client_firewall_commands(const struct client_firewall *firewall);

/* Puts them in force, in one step. Needs CAP_NET_ADMIN. 0 or a negative errno with `error` set. */
int client_firewall_set(struct nftables *nftables, const struct client_firewall *firewall, struct error *error);

/* Whether they are as they were set. */
bool client_firewall_is_set(struct nftables *nftables, const char *interface);

/* Takes them back; that there are none is no error. */
int client_firewall_clear(struct nftables *nftables, const char *interface, struct error *error);

/* Whether reverse path filters of the kernel's look at marks, or there is none that would drop for it. */
bool client_firewall_sees_marks(void);

/* Sees to net.ipv4.conf.all.src_valid_mark = 1. It stays so after the end: who else relies on it by then cannot be
 * known. 1: it was changed; 0: it was so, or no link has a strict rp_filter; a negative errno with `error` set when
 * that is so and it cannot be changed. */
int client_firewall_see_marks(struct error *error);
