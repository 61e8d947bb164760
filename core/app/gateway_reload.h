// SPDX-License-Identifier: Apache-2.0
/* Reading the gateway's configuration again while it runs: peers, wherever they stand, LogLevel, PublicEndpoint and
 * PeersDirectory follow the file, everything else waits for a restart. */
#pragma once

#include "config/config.h"
#include "core/app/gateway_peers.h"
#include "core/handshake.h"

enum { GATEWAY_RELOAD_OPTIONS = 32 };

/* What of a running gateway is looked at and changed. Borrowed, but for what is read again. */
struct gateway_running {
	const struct gateway_config *config; /* as it was read at the start; its `file` is read again */
	struct gateway_config *reread;	     /* as it was read last, without its peers; NULL: no second time yet */
	const struct handshake_identity *identity;
	struct registry *registry;
	struct session_ender ender;
};

struct gateway_reload_result {
	struct gateway_peers_change peers;
	const char *restart[GATEWAY_RELOAD_OPTIONS]; /* options that differ and are not followed; constant texts */
	size_t restart_count;
};

/* Reads the file and the key files that it names, and checks it all as a start does: on failure, a negative errno with
 * file and line in `error`, everything stays as it was. Then the peers become those of the file: also those go that
 * were added at run time, and those come back that were removed then. Blocks for as long as reading takes. Control
 * thread, online under RCU, holding nothing that it protects. */
int gateway_reload(struct gateway_running *running, struct gateway_reload_result *result, struct error *error);
