// SPDX-License-Identifier: Apache-2.0
/* The request "set=1" on WireGuard's control socket (core/gateway/wireguard_socket.h): lines of key=value, collected
 * until all are there, and then made true together, or not at all. Control thread, online under RCU. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/gateway/reload.h"

/* What is to become of one peer. */
struct wireguard_change {
	uint8_t public_key[KEY_SIZE];
	uint8_t preshared_key[KEY_SIZE]; /* with has_psk; all zero: none */
	bool remove, update_only, replace_allowed, has_psk, has_keepalive, has_endpoint;
	uint16_t keepalive;
	struct sockaddr_in6 endpoint;
	size_t first, count; /* of its allowed IPs among those of the request */
};

/* An allowed IP that a peer is to have, or to lose. */
struct wireguard_allowed {
	struct ip_prefix network; /* without host bits */
	bool remove;
};

struct wireguard_set {
	const struct gateway_running *running;
	struct wireguard_change *changes;
	size_t count, room;
	struct wireguard_allowed *allowed;
	size_t allowed_count, allowed_room;
	bool replace_peers;
	int code; /* of the first line that was refused; 0: none was */
};

/* `running` is borrowed. */
void wireguard_set_init(struct wireguard_set *set, const struct gateway_running *running);

/* Wipes and frees what was collected. */
void wireguard_set_deinit(struct wireguard_set *set);

/* Takes the next line, terminated, without its end, which is changed. What is wrong with it is in set->code:
 *
 *   -EINVAL       no key of the protocol, or no value of it
 *   -EOPNOTSUPP   what only a restart changes: the interface's key, port and mark, when they are to be others
 *   -E2BIG        more peers or allowed IPs than a request may have
 *   -ENOMEM */
void wireguard_set_line(struct wireguard_set *set, char *line);

/* All lines are there: changes the gateway's peers, until the next reload, as "peer add" and "peer del" do. Peers of
 * the own protocol are not seen. Sessions go on: other networks count at once, and another pre-shared key from the next
 * handshake. Only a peer with another address of the pool is a new one. 0, or a negative errno, and nothing has
 * changed: set->code, and
 *
 *   -EINVAL         a peer twice; an address that no host can have
 *   -EOPNOTSUPP     replace_peers while there are peers; what no peer of a gateway can have: everything, a part of the
 *                   pool, or two of its addresses
 *   -EADDRNOTAVAIL  an address of the pool that no client gets
 *   -EADDRINUSE     an allowed IP of another peer, or no address is left
 *   -EEXIST         the key of a peer with another protocol
 *   -EBUSY          the configuration is being read again
 *
 * or -ENOMEM, and peers or networks may be missing. */
int wireguard_set_apply(struct wireguard_set *set);
