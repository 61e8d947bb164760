// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/network.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "core/base/log.h"
#include "core/daemon/keeping.h"
#include "core/gateway/cluster_links.h"
#include "core/gateway/firewall.h"
#include "core/host/default_route.h"
#include "core/host/sysctl.h"
#include "tun/nftables.h"

/* --- advice ------------------------------------------------------------------------------------------------------- */

static bool listens_on(const struct gateway_config *config, const struct sockaddr *address)
{
	if (address == NULL || address->sa_family != AF_INET)
		return false;
	const struct in_addr *in = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
	for (size_t i = 0; i < config->listen_addresses.count; i++) {
		const struct ip_address *listen = &config->listen_addresses.items[i];
		if (listen->family == 4 && memcmp(listen->bytes, in, sizeof *in) == 0)
			return true;
	}
	return false;
}

/* A strict reverse path filter drops, before our sockets, packets from clients to an address on an interface that the
 * default route does not use. */
static void advise_rp_filter(const struct gateway_config *config)
{
	char leaves[IF_NAMESIZE];
	struct ifaddrs *list;
	default_route_interface(leaves);
	if (leaves[0] == '\0' || getifaddrs(&list) != 0)
		return;
	for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next) {
		if (!listens_on(config, i->ifa_addr) || strcmp(i->ifa_name, leaves) == 0 ||
		    !gateway_settings_strict(i->ifa_name))
			continue;
		log_warning(
			"ListenAddress on %s: its rp_filter is strict and the default route leads to %s, so clients "
			"from elsewhere are dropped; sysctl -w net.ipv4.conf.all.rp_filter=2 lets them in",
			i->ifa_name, leaves);
		break;
	}
	freeifaddrs(list);
}

/* An interface of Masquerade may appear later, so its absence is a warning only: the name may be mistyped. */
static void advise_masquerade(const struct gateway_config *config)
{
	for (size_t i = 0; i < config->masquerade.count; i++) {
		if (if_nametoindex(config->masquerade.items[i]) == 0)
			log_warning("Masquerade = %s: there is no such interface now; 'ip link' lists them",
				    config->masquerade.items[i]);
	}
	if (config->masquerade.count != 0 && !config->forward && sysctl_number("net/ipv4/ip_forward") != 1)
		log_warning("Masquerade: this machine does not forward packets; write Forward = yes");
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static int confine(void *context)
{
	return privileges_confine(context);
}

static const char *subject_of(const struct gateway_config *config)
{
	return config->masquerade.count != 0 ? "Masquerade" : config->forward ? "Forward" : "guard of inner addresses";
}

int gateway_network_lay(struct gateway_network *network, struct error *error)
{
	const struct gateway_firewall firewall = {.config = network->config,
						  .table = network->table,
						  .ifindex = network->ifindex,
						  .networks = network->networks};
	char *commands = gateway_firewall_commands(&firewall, error);
	if (commands == NULL)
		return -EINVAL;
	const struct nftables_table table = {.subject = subject_of(network->config),
					     .name = network->table,
					     .may_outlive = daemon_keeps(network->daemon),
					     .commands = commands};
	int result = nftables_lay(network->nftables, &table, error);
	free(commands);
	network->laying = result == -EINPROGRESS;
	if (network->laying)
		return result;
	network->laid = result == 0;
	network->stale = result != 0;
	network->laid_by = nftables_starts(network->nftables);
	return result;
}

void gateway_network_lay_again(struct gateway_network *network)
{
	struct error error;
	if (!network->laid)
		return;
	network->stale = true;
	if (network->keeper.thread != NULL)
		reconciler_notice(network->daemon->reconciler, RECONCILE_BIT(RECONCILE_nftables));
	else if (gateway_network_lay(network, &error) != 0)
		log_warning("%s", error.text);
}

/* A moment after a process ended the kernel may still take the table for that one's: it is tried again each second. */
static void remove_other(struct gateway_network *network)
{
	enum { TRIES = 10 };
	struct error error;
	int result = nftables_remove(network->nftables, "rules of before", network->other_table, &error);
	bool left = result != 0;
	network->other_tries = left ? network->other_tries + (result != -EINPROGRESS) : 0;
	network->other_left = left && network->other_tries < TRIES;
	if (left && !network->other_left)
		log_warning("%s; 'nft delete table inet %s' removes what a process before this one left", error.text,
			    network->other_table);
}

/* The table of a process that runs cannot be changed if it has an owner. One without (before Linux 5.12, and before 6.9
 * where it may outlive the process) is replaced in place. */
static int lay_first(struct gateway_network *network, struct error *error)
{
	int result = gateway_network_lay(network, error);
	if (!network->daemon->leaving) {
		remove_other(network);
		return result;
	}
	if (result != -EPERM)
		return result;
	char table[NFTABLES_NAME_MAX];
	memcpy(table, network->table, sizeof table);
	memcpy(network->table, network->other_table, sizeof table);
	memcpy(network->other_table, table, sizeof table);
	return gateway_network_lay(network, error);
}

/* A gateway that neither forwards nor masquerades runs without rules, too. */
static int guard(struct gateway_network *network, struct error *error)
{
	int result = lay_first(network, error);
	if (result == 0 || network->config->forward || network->config->masquerade.count != 0)
		return result;
	log_warning("%s; until then, neighbours on other links can send to inner addresses, and in the name of clients",
		    error->text);
	return 0;
}

/* Forwarding is what the option asks for, so only its failure is an error. */
static int set(struct gateway_network *network, struct error *error)
{
	struct reconcile_found forward = {0}, filter = {0};
	gateway_settings_forward(&network->settings, true, &forward);
	gateway_settings_filter(&network->settings, true, &filter);
	if (filter.left != 0)
		log_warning("%s", filter.error.text);
	return forward.left == 0 ? 0 : error_set(error, -EIO, "Forward: %s", forward.error.text);
}

static int open_network(struct gateway_network *network, struct privileges_user *user, struct error *error)
{
	const struct nftables_confine confinement = {.run = confine, .context = user};
	network->netlink = netlink_open(error);
	if (network->netlink == NULL)
		return -errno;
	network->routes.netlink = network->netlink;
	network->nftables = nftables_open(&confinement, -1, error);
	if (network->nftables == NULL)
		return -ENOMEM;
	if (network->config->forward)
		gateway_forward_init(&network->forward, network->config, network->nftables, network->table,
				     network->ifindex);
	/* The rules first: there is no moment at which packets are forwarded without them. */
	int result = guard(network, error);
	if (result == 0)
		result = set(network, error);
	return result;
}

/* Those of ClusterInterface, and ClusterLink's, which may stand on another one. Without memory they are announced if
 * they are ListenAddress, too. */
static void find_inside(struct gateway_network *network)
{
	const struct gateway_config *config = network->config;
	struct ip_address *all = NULL;
	size_t count = 0;
	if (config->cluster_node == NULL)
		return;
	if (config->cluster_interface != NULL && cluster_links_addresses(config->cluster_interface, &all, &count) != 0)
		count = 0;
	struct ip_address *more = reallocarray(all, count + 1, sizeof *all);
	if (more == NULL) {
		free(all);
		return;
	}
	if (config->cluster_link.port != 0 && ip_address_parse(config->cluster_link.host, &more[count]))
		count++;
	network->inside = more;
	network->routes.inside = more;
	network->routes.inside_count = count;
}

int gateway_network_open(struct gateway_network *network, const struct gateway_network_params *params,
			 struct error *error)
{
	const struct gateway_config *config = params->config;
	const struct tun_device *device = &params->daemon->descriptors.device;
	*network = (struct gateway_network){
		.config = config,
		.daemon = params->daemon,
		.ifindex = device->ifindex,
		.no_ipv6 = device->no_ipv6,
		.beside = params->beside,
		.settings = {.config = config, .ifindex = device->ifindex, .no_ipv6 = device->no_ipv6},
		.routes = {.ifindex = device->ifindex,
			   .addresses = &config->addresses,
			   .shared = &config->listen_addresses,
			   .no_ipv6 = device->no_ipv6},
		.watch_fd = -1,
		.rules_fd = -1,
	};
	find_inside(network);
	routes_keeper_init(&network->keeper, &network->routes, params->registry);
	nftables_table_name(config->common.interface, network->table);
	nftables_second_name(config->common.interface, network->other_table);
	advise_rp_filter(config);
	advise_masquerade(config);
	int result = gateway_routes_plan(&network->routes, params->registry);
	if (result != 0)
		error_set(error, result, "AllowedIPs: out of memory");
	network->networks = network->routes.behind.count != 0;
	if (result == 0)
		result = open_network(network, params->user, error);
	if (result != 0) {
		gateway_network_close(network);
		return result;
	}
	if (config->forward && !params->daemon->leaving) /* the other process's table is in the way still */
		gateway_forward_look(&network->forward, true);
	return 0;
}

void gateway_network_dropped(struct gateway_network *network)
{
	nftables_inherit(network->nftables);
}

/* The rules name the networks behind peers only if there are any. */
static void follow_networks(struct gateway_network *network)
{
	bool networks = network->routes.behind.count != 0;
	if (networks == network->networks)
		return;
	network->networks = networks;
	gateway_network_lay_again(network);
}

/* Routes that are not made yet are not in force, and the reconciler says what cannot be. */
static void follow_later(struct gateway_network *network)
{
	routes_keeper_plan(&network->keeper);
	(void)reconciler_apply(network->daemon->reconciler, RECONCILE_BIT(RECONCILE_route), NULL);
}

static void routes_done(void *context)
{
	struct gateway_network *network = context;
	follow_networks(network);
	reconciler_notice(network->daemon->reconciler, RECONCILE_BIT(RECONCILE_route));
}

int gateway_network_do_not_wait(struct gateway_network *network, const struct seccomp_filter *filter,
				struct error *error)
{
	enum { RULES_MS = 10 /* as long as they take on a machine that is not busy */ };
	int result = nftables_do_not_wait(network->nftables, RULES_MS, error);
	return result != 0 ? result : routes_keeper_start(&network->keeper, filter, routes_done, network, error);
}

void gateway_network_wait(struct gateway_network *network)
{
	nftables_wait(network->nftables);
	routes_keeper_end(&network->keeper);
}

void gateway_network_rules_answered(struct gateway_network *network)
{
	nftables_poll(network->nftables);
	reconciler_notice(network->daemon->reconciler, RECONCILE_BIT(RECONCILE_nftables));
	if (network->config->forward)
		gateway_forward_answered(&network->forward);
}

void gateway_network_follow(struct gateway_network *network, struct registry *registry)
{
	struct error error;
	if (network->keeper.thread != NULL) {
		follow_later(network);
		return;
	}
	if (gateway_routes_plan(&network->routes, registry) != 0) {
		log_warning("AllowedIPs: out of memory: the kernel's routes are as before");
		return;
	}
	follow_networks(network);
	if (network->beside)
		return;
	if (reconciler_apply(network->daemon->reconciler, RECONCILE_BIT(RECONCILE_route), &error) != 0)
		log_warning("AllowedIPs: %s; networks behind peers are not reached through the gateway", error.text);
}

void gateway_network_serve(struct gateway_network *network, struct registry *registry)
{
	network->beside = false;
	gateway_network_follow(network, registry);
}

void gateway_network_alone(struct gateway_network *network)
{
	remove_other(network);
}

void gateway_network_hurry(struct gateway_network *network)
{
	reconciler_hurry(network->daemon->reconciler);
}

void gateway_network_every_second(struct gateway_network *network)
{
	enum { LOOK_S = 5 };
	network->seconds++;
	if (network->other_left)
		remove_other(network);
	if (network->rules_changed) {
		network->rules_looked = clock_monotonic(network->daemon->clock);
		reconciler_notice(network->daemon->reconciler, RECONCILE_BIT(RECONCILE_nftables));
	}
	if (network->config->forward && (network->seconds % LOOK_S == 0 || network->rules_changed))
		gateway_forward_look(&network->forward, network->rules_changed);
	network->rules_changed = false;
}

void gateway_network_close(struct gateway_network *network)
{
	struct error error;
	/* Also those of a process that was killed, where they outlived it and ours were not laid. Twice: rules that are
	 * not removed stay for good, and a shortage of memory or processes may pass. */
	bool there = network->nftables != NULL && (network->laid || daemon_keeps(network->daemon));
	if (there && !network->daemon->leaving &&
	    nftables_remove(network->nftables, "Masquerade", network->table, &error) != 0 &&
	    nftables_remove(network->nftables, "Masquerade", network->table, &error) != 0)
		log_warning("%s; 'nft delete table inet %s' removes what is left", error.text, network->table);
	if (network->other_left && !network->daemon->leaving)
		remove_other(network);
	network->laid = false;
	gateway_forward_deinit(&network->forward);
	nftables_close(network->nftables);
	network->nftables = NULL;
	gateway_routes_free(&network->routes);
	free(network->inside);
	network->inside = NULL;
	netlink_close(network->netlink);
	network->netlink = NULL;
}
