// SPDX-License-Identifier: Apache-2.0
/* The state of a running client, shared by its parts:
 *
 *   client.c     opens and closes everything
 *   endpoint.c   finds the gateway's addresses and the routes to them
 *   names.c      keeps the name servers in force
 *   keep.c       keeps everything else that the client set up in force
 *   events.c     reacts to the worker's states and to the machine
 *   status.c     reports
 *
 * Control thread. */
#pragma once

#include "core/client/dns.h"
#include "core/client/dns_watch.h"
#include "core/client/journal.h"
#include "core/client/network.h"
#include "core/daemon/daemon.h"
#include "core/host/resolver.h"
#include "workers/client_role.h"
#include "workers/worker.h"

enum { CLIENT_MTU_DEFAULT = 1420 };

struct client_endpoint {
	struct resolver *resolver;
	struct resolver_result *resolved;		   /* newest answer; NULL before the first */
	struct netlink_path paths[RESOLVER_ADDRESSES_MAX]; /* to each of its addresses; ifindex 0: no route */
	struct sockaddr_in6 used; /* of the session, or the first to be tried; family 0: none yet */
	struct error obstacle;	  /* why no address can be tried; empty: one can */
	int retry_fd;		  /* a timer for the next lookup */
};

struct client_names {
	struct dns_state dns;
	struct dns_watch watch;
	struct resolv_conf_wish wish; /* its servers are those below; count 0: none are wanted */
	struct ip_address servers[WIRE_DNS_MAX];
	uint64_t asked; /* when systemd-resolved was last asked for its servers, monotonic ns */
	bool noticed;	/* a file changed since */
};

/* In locked memory: it holds keys. */
struct client {
	const struct client_config *config;
	struct steps parts, steps; /* what it has from the configuration; what it opens to run */
	struct handshake_identity *identity;
	struct handshake_remote *remote; /* in locked memory */
	struct ip_set allowed, networks; /* AllowedIPs and Networks */
	struct client_role role;
	struct client_network network;
	struct client_endpoint endpoint;
	struct client_names names;
	struct daemon daemon;
	struct sparse_sessions
		sparse; /* if `sparse_result` is 0; else the errno that says why there is no second socket */
	int sparse_result;
	struct session_table table; /* of one session */
	struct aead_engine *engine; /* the worker's */
	struct worker *worker;

	int ready_fd;		      /* of client_start; -1: in the foreground */
	unsigned start_limit;	      /* s, of client_start */
	struct journal journal;	      /* what is to be undone */
	uint64_t slept;		      /* clock_slept() at the last check */
	struct client_snapshot shown; /* last state that was logged */
	int nftables_fd;	      /* readable when any nftables rule changed; -1: no notices */
	bool kill_switch_set;	      /* by this run */
	bool kill_switch_in_force;    /* at the last comparison */
	bool firewall_stale;	      /* the rules that are wanted differ from those that were set */
	bool firewall_absent;	      /* this kernel has no nftables */
	bool connected;		      /* at least once */
	struct error failure;	      /* why the control loop was left; empty: SIGTERM or SIGINT */
};

/* 'up' has not returned yet: errors that a retry may mend are fatal, and retries are frequent. */
static inline bool client_is_starting(const struct client *client)
{
	return client->ready_fd >= 0 && !client->connected;
}

/* Leaves the control loop. The first call's text is the error of client_run(). */
void client_give_up(struct client *client, const char *format, ...) PRINTF_LIKE(2, 3);
