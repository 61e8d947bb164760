// SPDX-License-Identifier: Apache-2.0
/* WireGuard peers to which the gateway may initiate: each has a session from the start, so that packets for it find a
 * worker, and a name as Endpoint is resolved, by threads of its own (core/host/resolver.h), so that neither worker nor
 * handshake thread waits for a name server. Control thread. */
#pragma once

#include "core/gateway/peers.h"
#include "core/gateway/threads.h"
#include "core/host/resolver.h"

enum { CONTACTS_LOOKUPS = 4 /* names at once */ };

struct contacts_lookup {
	struct resolver *resolver; /* NULL: free */
	struct registry_name name;
	uint64_t began; /* monotonic ns */
};

struct contacts {
	struct registry *registry;
	struct gateway_threads *threads;
	const struct clock *clock;
	const struct session_ender *ender; /* tells workers that a peer is reached in another way */
	struct contacts_lookup lookups[CONTACTS_LOOKUPS];
};

/* When the threads run, and once a second from then on: peers that were added since, sessions that ended, names. */
void contacts_step(struct contacts *contacts);

/* Look-ups under way end by themselves. */
void contacts_close(struct contacts *contacts);
