// SPDX-License-Identifier: Apache-2.0
/* The gateway's parts, for the files that make it: gateway.c (life), start.c (what is opened, in order), upkeep.c (what
 * the control thread does while it runs). */
#pragma once

#include "core/cluster/fence.h"
#include "core/daemon/daemon.h"
#include "core/daemon/events.h"
#include "core/daemon/identity.h"
#include "core/daemon/steps.h"
#include "core/gateway/cluster.h"
#include "core/gateway/cluster_link.h"
#include "core/gateway/cluster_network.h"
#include "core/gateway/collector.h"
#include "core/gateway/contacts.h"
#include "core/gateway/control.h"
#include "core/gateway/network.h"
#include "core/gateway/placement.h"
#include "core/gateway/quota.h"
#include "core/gateway/takeover.h"
#include "core/gateway/threads.h"
#include "core/gateway/wireguard_socket.h"
#include "core/host/privileges.h"
#include "crypto/cookie.h"

/* In locked memory: it holds keys. */
struct gateway {
	struct gateway_config *config;
	struct handshake_identity *identity;
	struct noise_keypair *wireguard_keys; /* in locked memory; NULL: WireGuard = no */
	struct handshake_identity wireguard;  /* made of them */
	struct cookie_jar jar;
	struct reset_secret reset_secret;
	struct privileges_user user; /* the account that it changes to */
	struct cpu_list cpus;
	bool realtime;		   /* threads run under a real-time policy */
	struct ip_prefix inner[2]; /* addresses of the interface; in a cluster without their network */
	struct fence fence;	   /* of the registry, with ClusterNode */
	struct cluster cluster;	   /* the same */
	struct cluster_link link;
	struct cluster_network map;
	struct registry registry;
	size_t addressless; /* WireGuard peers whose address was not configured at the start */
	struct collector collector;
	struct daemon daemon;
	struct gateway_network network;
	struct events events;
	struct quota quota;
	struct gateway_threads threads;
	struct contacts contacts; /* all zero: WireGuard = no */
	struct placement placement;
	struct gateway_takeover takeover;
	struct gateway_running running;		   /* for the control commands */
	struct wireguard_socket *wireguard_socket; /* NULL: WireGuard = no */
	struct steps parts, steps;		   /* of gateway_new(), of gateway_run() */
};

/* --- start.c ------------------------------------------------------------------------------------------------------ */

/* All that gateway_run() opens. Privileges go when all is open, and before the first
 * thread: it would inherit them. */
struct steps gateway_steps(struct gateway *gateway);

/* --- upkeep.c: control thread ------------------------------------------------------------------------------------- */

/* Numbers for status and metrics. */
void gateway_refresh(const struct daemon *daemon, struct daemon_figures *figures);

void gateway_every_second(struct daemon *daemon);

/* Descriptors to wait for, and what is done then with the gateway as context. */
enum { GATEWAY_WATCHES = 12 };
void gateway_watches(const struct gateway *gateway, struct daemon_watch watches[GATEWAY_WATCHES]);

/* Logs how many events were left out since the last line about that: at intervals, or now. */
void gateway_tell_suppressed(struct gateway *gateway, bool at_once);
