// SPDX-License-Identifier: Apache-2.0
/* What a gateway changes of the machine's network beyond its own interface (Forward, Masquerade, and rules that guard
 * its inner addresses), and what it advises to change. Control thread only; needs CAP_NET_ADMIN.
 *
 * The rules stand in one nftables table, "inet shardtun-INTERFACE", which is ours alone and goes when we end; one that
 * a killed run left is replaced. Where the interface may outlive the process (core/daemon/keeping.h) they stay with it:
 * without rules for masquerading the kernel would reset connections of clients whose packets come between the two
 * processes. Before Linux 6.9 such a table has no owner, and what other programs change of it is put back.
 *
 * While another process has the interface and its table, whose owner it is, ours are laid beside it in
 * "inet shardtun2-INTERFACE", or the other way round: there is no moment without rules, and none without hooks for
 * addresses to be translated by, so that no masqueraded connection ends. */
#pragma once

#include <net/if.h>

#include "config/config.h"
#include "core/base/error.h"
#include "core/daemon/daemon.h"
#include "core/gateway/forward.h"
#include "core/gateway/routes_keeper.h"
#include "core/gateway/settings.h"
#include "core/host/privileges.h"
#include "tun/nftables.h"

struct gateway_network {
	const struct gateway_config *config;
	struct daemon *daemon;
	unsigned ifindex;
	bool no_ipv6;
	struct netlink *netlink;
	struct netlink_link link; /* as last seen */
	struct nftables *nftables;
	char table[NFTABLES_NAME_MAX];
	char other_table[NFTABLES_NAME_MAX]; /* of the two names the one that is not in use here */
	bool other_left;      /* there may be such a table, of another process that ended: to be removed */
	unsigned other_tries; /* that failed in a row */
	bool laid;
	bool stale;	  /* the rules are to be laid anew: what they are made of has changed */
	bool laying;	  /* they are being laid: the answer is yet to come */
	unsigned laid_by; /* nftables_starts() then */
	bool beside;	  /* another process has the interface, and its routes are that one's */
	bool networks;	  /* there are some behind peers */
	struct gateway_settings settings;
	struct gateway_routes routes;
	struct routes_keeper keeper; /* of them */
	struct ip_address *inside;   /* in a cluster: this machine's on the link between gateways */
	struct gateway_forward forward;
	int watch_fd, rules_fd; /* readable when links and the like, and when nftables' rules changed */
	bool rules_changed;	/* since the last look at others' */
	uint64_t rules_looked;	/* at ours, monotonic ns */
	unsigned seconds;	/* passed */
};

struct gateway_network_params {
	bool beside; /* until gateway_network_serve() the routes are another process's */
	const struct gateway_config *config;
	struct daemon *daemon;	   /* open: its interface exists, so no other process holds that name */
	struct registry *registry; /* has the peers; used during the call */
	struct privileges_user
		*user; /* whose rights the process that lays rules drops to; borrowed while this is open */
};

/* Plans the routes to networks behind peers, so that those which the process before left stay; switches forwarding on
 * and lays the rules, as far as the configuration wants them; warns of what would keep packets away, and when there can
 * be no rules where only the inner addresses would be guarded by them. On failure no rule is left. Online under RCU. */
int gateway_network_open(struct gateway_network *network, const struct gateway_network_params *params,
			 struct error *error);

/* When the control thread has dropped its privileges: nothing that is started from then on drops them once more. */
void gateway_network_dropped(struct gateway_network *network);

/* In a cluster: from now on neither libnftables' process nor routes are waited for, since the control thread has
 * blocks' deadlines to put off. What takes longer is carried out later, and shown as not in force until then. `filter`
 * is the new thread's. 0, or a negative errno with `error` set. Undone by gateway_network_wait(). */
int gateway_network_do_not_wait(struct gateway_network *network, const struct seccomp_filter *filter,
				struct error *error);
void gateway_network_wait(struct gateway_network *network);

/* When nftables_fd() of `nftables` is readable. */
void gateway_network_rules_answered(struct gateway_network *network);

/* Routes, unless another process has them, and rules become those for the registry's peers. Failures are logged. Online
 * under RCU. */
void gateway_network_follow(struct gateway_network *network, struct registry *registry);

/* Of a network that was opened beside another process's, which has given the interface up: the same, with the routes
 * from now on. */
void gateway_network_serve(struct gateway_network *network, struct registry *registry);

/* Puts back at once what other programs changed: at a reload. */
void gateway_network_hurry(struct gateway_network *network);

/* Lays the rules anew. On failure they are laid by the reconciler, as soon as that is possible; -EINPROGRESS: they are
 * on their way. */
int gateway_network_lay(struct gateway_network *network, struct error *error);

/* Something that the rules are made of has changed: the same, if they were laid. Failures are logged. */
void gateway_network_lay_again(struct gateway_network *network);

/* Checks whether other programs' firewalls drop what is forwarded. */
void gateway_network_every_second(struct gateway_network *network);

/* Of a network that was opened beside another process's, which ends now, or beside which another one was opened, which
 * failed: removes that one's rules, now or in one of the next seconds. */
void gateway_network_alone(struct gateway_network *network);

/* Removes the rules, unless they are left to the next process. Forwarding stays on: other programs may rely on it by
 * now. */
void gateway_network_close(struct gateway_network *network);
