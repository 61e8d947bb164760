// SPDX-License-Identifier: Apache-2.0
/* Reading the gateway's configuration again while it runs: peers, wherever they stand, LogLevel, PublicEndpoint,
 * PeersDirectory and limits follow the file; all other options need a restart. */
#pragma once

#include "config/config.h"
#include "core/gateway/peers.h"
#include "core/protocol/handshake.h"

struct reloader;

enum { GATEWAY_RELOAD_OPTIONS = 32 };

struct cluster;
struct cluster_link;
struct cluster_network;
struct gateway_network;
struct gateway_top;
struct quota;

/* The parts of a running gateway that control commands and reload work on. Borrowed, but for `reread`. */
struct gateway_running {
	const struct gateway_config *config; /* as it was read at the start; its `file` is read again */
	struct gateway_config *reread;	     /* as it was read last, without its peers; NULL: no second time yet */
	const struct handshake_identity *identity;
	const struct noise_keypair *wireguard_keys; /* NULL: WireGuard = no */
	struct registry *registry;
	struct quota *quota; /* NULL: usage is not kept (tests) */
	struct session_ender ender;
	struct reloader *reloader;	 /* NULL: there is no thread that reads (tests) */
	struct gateway_top *top;	 /* what "top" answers from */
	struct cluster *cluster;	 /* NULL: it is alone */
	struct cluster_link *link;	 /* with it; NULL: tests */
	struct cluster_network *map;	 /* the same */
	struct gateway_network *network; /* its routes and rules follow the peers; NULL: none do (tests) */
};

struct gateway_reload_result {
	struct gateway_peers_change peers;
	const char *restart[GATEWAY_RELOAD_OPTIONS]; /* options that differ and are not followed; constant texts */
	size_t restart_count;
};

/* What was read, on the way from one step to the other. */
struct gateway_reload {
	int code; /* 0, or a negative errno that `error` explains: then there is nothing to apply */
	struct error error;
	struct gateway_config *config;
	bool key_changed, wireguard_key_changed;
	struct registry wanted; /* the file's peers, and */
	bool has_wanted;
	struct gateway_peers_difference difference; /* to those that are there */
};

/* First step: reads the file, those with peers, and the key files that they name, checks it all as a start does, and
 * finds what differs. Changes nothing. Takes seconds with a million peers: any thread that joined RCU, online, holding
 * nothing that it protects; peers of the running gateway may not be added or removed until the second step. */
void gateway_reload_read(const struct gateway_running *running, struct gateway_reload *reload);

/* Second step: on failure, with file and line in `error`, everything stays as it was. Else the peers become those of
 * the files: also those go that were added at run time, and those come back that were removed then. Takes as long as
 * there are changes. Control thread, online under RCU. */
int gateway_reload_apply(struct gateway_running *running, struct gateway_reload *reload,
			 struct gateway_reload_result *result, struct error *error);

/* After success and failure. Waits for a grace period. Same threads as the first step. */
void gateway_reload_free(struct gateway_reload *reload);
