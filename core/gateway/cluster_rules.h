// SPDX-License-Identifier: Apache-2.0
/* The nftables rules by which the kernel hands datagrams of other gateways' sessions on to these, as text for nft(8): a
 * table of family netdev with a chain at the ingress of the link outside. Both protocols have the session ID in fixed
 * places (core/protocol/PROTOCOL.md, 1; WIREGUARD.md, 1). A datagram is sent as it is to the owner's address on the
 * link inside, where no rule is, so that it cannot go round; a train (GRO) stays one.
 *
 * What has no session ID of a known owner goes on to this gateway's sockets: handshakes without one, own sessions, and
 * fragments but for the first, which have no UDP header. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/gateway/cluster_map.h"

struct cluster_rules {
	const char *table;		 /* its name */
	const char *outside, *inside;	 /* interfaces */
	const struct ip_address *listen; /* that clients send to; none: all that are the machine's */
	size_t listen_count;
	uint16_t port;	/* the same */
	bool wireguard; /* some clients speak WireGuard */
	const struct cluster_map *map;
};

/* For nftables_lay(), for the caller to free. NULL with `error` set: out of memory, or the interface's name is one that
 * nft cannot take. */
char *cluster_rules_commands(const struct cluster_rules *rules, struct error *error);
