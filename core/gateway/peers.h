// SPDX-License-Identifier: Apache-2.0
/* The gateway's peers while it runs: from the [Peer] sections of a configuration into the registry, and the registry
 * changed to match another one. Control thread unless stated otherwise; online under RCU. */
#pragma once

#include "config/config.h"
#include "core/sessions/registry.h"

/* How the worker of a session is told to end it with a BYE and its reason, or to limit it. */
struct session_ender {
	void (*end)(void *context, uint32_t session_id, enum wire_bye_reason reason);
	void (*limit)(void *context, uint32_t session_id); /* it takes over the limits of its peer, its networks, and
							    * how it is reached */
	void *context;
};

/* A peer's limits: its own, and where it has none those of all. Any thread. */
struct peer_limits gateway_peer_limits(const struct config_limits *own, const struct config_limits *all);

static inline enum peer_protocol gateway_peer_protocol(enum config_protocol protocol)
{
	return protocol == CONFIG_PROTOCOL_WIREGUARD ? PEER_WIREGUARD : PEER_SHARDTUN;
}

/* How a WireGuard peer is reached; NULL: it has no endpoint. `keepalive` is in seconds, at most 65535. Valid as long as
 * the endpoint. Any thread. */
struct contact gateway_peer_contact(const struct config_endpoint *endpoint, uint32_t keepalive);

/* Reads the keys of all peers of the configuration and adds these to the registry. 0, or a negative errno with the file
 * and line in `error`: some of them are added then. Goes through quiescent states. Any thread that owns the
 * registry. */
int gateway_peers_load(struct registry *registry, const struct gateway_config *config, struct error *error);

/* How many of the configuration's peers get an address that it does not say. Any thread. */
size_t gateway_peers_addressless(const struct gateway_config *config);

/* registry_add_peer() while the gateway runs: if a session has the peer's address from the pool, that
 * session is ended, and its client gets another address. */
int gateway_peers_add(struct registry *registry, const struct registry_peer *peer, const struct session_ender *ender,
		      struct error *error);

/* Second step of registry_keep_networks(): the peer gets the networks and the pre-shared key of `to`, the rest of which
 * does not count. Its sessions go on, and their workers are told. 0, or a negative errno as registry_add_networks()
 * with `error`: networks are missing. */
int gateway_peers_alter(struct registry *registry, struct peer *peer, const struct registry_peer *to,
			const struct session_ender *ender, struct error *error);

/* Removes the peer and ends its sessions at once. False when it is not known. `*ended` grows by one
 * if one of them was confirmed. */
bool gateway_peers_remove(struct registry *registry, const uint8_t public_key[KEY_SIZE], enum wire_bye_reason reason,
			  const struct session_ender *ender, size_t *ended);

struct gateway_peers_change {
	size_t added, removed, changed, unchanged; /* peers */
	size_t ended;				   /* sessions */
};

struct gateway_peer_list {
	struct peer **items;
	size_t count;
};

/* How one registry's peers become those of another. */
struct gateway_peers_difference {
	struct gateway_peer_list removed; /* of the one */
	/* Of the other. The sessions of `changed` end: their address or protocol differs. A peer may be in all of the
	 * last four, which keep its sessions; `altered`: its networks or its pre-shared key differ; `moved`: its
	 * contact. */
	struct gateway_peer_list changed, added, altered, renamed, limited, moved;
	/* For a part of such a difference, in which those that change go twice, lest one that comes first gets what
	 * another one still has: the first half of `changed` (their second one is in `added`) and of `altered`. Not
	 * found by comparing, and not owned. */
	struct gateway_peer_list ended, narrowed;
	size_t unchanged; /* as many are in both, and the same but for name, limits and contact */
};

/* Finds the difference between a registry's peers and those of `wanted`, which has the same addresses and whose peers
 * have no sessions. Peers that are in both and have the same protocol, pre-shared key, address and networks are
 * unchanged; only another protocol or address makes a peer another one, whose sessions end. 0 or -ENOMEM. Any thread;
 * no peer may be added or removed until gateway_peers_follow() is done with it. */
int gateway_peers_compare(struct registry *registry, struct registry *wanted,
			  struct gateway_peers_difference *difference, struct error *error);

/* The same, but peers that `wanted` does not have stay. */
int gateway_peers_compare_named(struct registry *registry, struct registry *wanted,
				struct gateway_peers_difference *difference, struct error *error);
void gateway_peers_difference_free(struct gateway_peers_difference *difference);

/* Makes the registry's peers those of `wanted`; only those that are removed or another one lose their sessions. The
 * registry's mutex is taken for each change by itself. 0, or a negative errno (memory is short): then peers or
 * networks are missing. */
int gateway_peers_follow(struct registry *registry, const struct registry *wanted,
			 const struct gateway_peers_difference *difference, const struct session_ender *ender,
			 struct gateway_peers_change *change, struct error *error);
