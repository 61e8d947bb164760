// SPDX-License-Identifier: Apache-2.0
/* WireGuard peers to which the gateway may initiate: each has a session from the start, so that packets for it find a
 * worker, and a name as Endpoint is resolved (names.h). Control thread. */
#pragma once

#include "core/gateway/names.h"
#include "core/gateway/peers.h"
#include "core/gateway/threads.h"

struct contacts {
	struct registry *registry;
	struct gateway_threads *threads;
	const struct clock *clock;
	const struct session_ender *ender; /* tells workers that a peer is reached in another way */
	struct names *names;
};

/* When the threads run, and once a second from then on: peers that were added since, sessions that ended, names. */
void contacts_step(struct contacts *contacts);
