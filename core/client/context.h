// SPDX-License-Identifier: Apache-2.0
/* A running client, as its parts see it: client.c makes and ends it, client_endpoint.c finds the gateway,
 * client_names.c keeps the name servers, client_events.c is what else it does while it runs, client_status.c tells of
 * it. Control thread. */
#pragma once

#include "core/client/client.h"
#include "core/client/dns.h"
#include "core/client/dns_watch.h"
#include "core/client/network.h"
#include "core/client/journal.h"
#include "core/host/resolver.h"
#include "core/daemon/daemon.h"
#include "workers/client_role.h"
#include "workers/worker.h"

enum { CLIENT_MTU_DEFAULT = 1420 };

struct client_endpoint {
	struct resolver *resolver;
	struct resolver_result *resolved;		   /* newest answer; NULL before */
	struct netlink_path paths[RESOLVER_ADDRESSES_MAX]; /* to each of its addresses; ifindex 0: there is none */
	struct sockaddr_in6 used; /* whom the session is with, or who is asked first; family 0: nobody */
	struct error obstacle;	  /* why nobody can be asked; empty: somebody can */
	int retry_fd;		  /* a timer for the next try */
};

struct client_names {
	struct client_dns dns;
	struct client_dns_watch watch;
	struct resolv_conf_wish wish; /* its servers are those below; count 0: none are wanted */
	struct ip_address servers[WIRE_DNS_MAX];
	uint64_t asked; /* when the manager was last asked what it has */
	bool noticed;	/* a file changed since */
};

/* In locked memory: it holds keys. */
struct client {
	const struct client_config *config;
	const struct client_start *start;
	struct handshake_identity *identity;
	struct handshake_remote *remote; /* in locked memory */
	struct ip_set allowed, networks; /* AllowedIPs and Networks */
	struct client_role role;
	struct client_network network;
	struct client_endpoint endpoint;
	struct client_names names;
	struct tunnel tunnel;
	struct session_table table; /* of one session */
	struct aead_engine *engine; /* the worker's */
	struct worker *worker;

	struct client_record record;  /* what is to be taken back */
	uint64_t slept;		      /* clock_slept() when it was last asked */
	struct client_snapshot shown; /* last state that was logged */
	int nftables_fd;	      /* readable when somebody changed nftables' rules; -1: none */
	bool kill_switch_set;	      /* by us */
	bool kill_switch_in_force;    /* as it was last seen */
	bool firewall_stale;	      /* other rules are wanted than were set */
	bool firewall_absent;	      /* this kernel has no nftables */
	bool connected;		      /* it was, once: what 'up' waits for is done */
	struct error failure;	      /* why the control loop was left; empty: it was asked to end */
};

/* Somebody waits for us to be connected. */
static inline bool client_is_awaited(const struct client *client)
{
	return client->start != NULL && !client->connected;
}

/* Also to be closed after a failed open. */
int client_endpoint_open(struct client_endpoint *endpoint, const struct config_endpoint *config, struct error *error);
void client_endpoint_close(struct client_endpoint *endpoint);

/* Starts: looks up the endpoint, or uses the one there is. 0, or a negative errno with `error` set. */
int client_begin(struct client *client, struct error *error);

/* Looks the name up again, unless that is under way. */
void client_endpoint_resolve(struct client *client);

/* The machine's networks changed, or it has slept. */
void client_endpoint_follow(struct client *client, enum client_urge urge);

/* Why there was no connection within `limit` seconds. */
void client_endpoint_late(const struct client *client, unsigned limit, struct error *error);

/* Before the first lease. The watch is the caller's to close, also after a failure. */
int client_names_open(struct client *client, struct error *error);

/* The name servers are to be those of this lease now, or of the configuration. What cannot be is logged, and tried
 * again. */
void client_names_apply(struct client *client, const struct wire_welcome *lease);

/* Whom to ask for the gateway's name past the tunnel; false: the machine's own way leads past it, or nobody is known.
 */
bool client_names_outside(const struct client *client, struct outside_servers *servers);

/* Leaves the control loop; the text is what the client fails with. */
void client_give_up(struct client *client, const char *format, ...) PRINTF_LIKE(2, 3);

/* What tunnel_loop() calls, with the client as context. */
void client_on_resolved(void *context);
void client_on_retry(void *context);
void client_on_state(void *context);
void client_on_settled(void *context);
void client_on_names(void *context);
void client_every_second(struct tunnel *tunnel);

/* The control socket's "client": what 'shardtun status' shows. */
json_t *client_status(void *context, char *const *arguments, size_t count, struct error *error);
