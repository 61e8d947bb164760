// SPDX-License-Identifier: Apache-2.0
/* How handshake threads of a gateway in a cluster hand on what belongs to another gateway's clients, by FORWARD
 * (core/cluster/forward.h), over a socket on the link between the gateways. The control thread says which gateway owns
 * what, and receives what others send. */
#pragma once

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "core/base/rcu.h"
#include "core/cluster/blocks.h"
#include "core/cluster/forward.h"

/* Replaced as a whole under RCU. */
struct forward_owners {
	struct rcu_head rcu;
	struct sockaddr_in6 of[BLOCK_COUNT]; /* on the link between gateways; family 0: not known, or we */
};

struct forwarder {
	const struct forward_key *key;
	const struct clock *clock;
	int fd; /* UDP, for IPv6 and v4-mapped, never blocks; -1: there is no link, nothing is handed on */
	_Atomic(struct forward_owners *) owners; /* NULL: none are known */
};

/* Which gateway owns which block from now on; `of` is copied. 0 or -ENOMEM: as before. Control thread, online under
 * RCU. */
int forwarder_set_owners(struct forwarder *forwarder, const struct sockaddr_in6 of[BLOCK_COUNT]);

/* Frees the owners; all other threads ended. */
void forwarder_deinit(struct forwarder *forwarder);

/* Sends a message to the owner of the block. False: it is not known, cannot be told where the message came from, or the
 * socket took no more. `sender`: of this thread. Any thread, online under RCU. */
bool forwarder_send(const struct forwarder *forwarder, struct forward_sender *sender, unsigned block,
		    const struct forwarded *forwarded);
