// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/network.h"

#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "core/gateway/firewall.h"
#include "core/gateway/keep.h"
#include "core/host/proc_words.h"
#include "core/base/log.h"
#include "core/host/sysctl.h"
#include "tun/nftables.h"

/* --- advice ----------------------------------------------------------------------------------------------------------
 */

void gateway_network_default_interface(char interface[IF_NAMESIZE])
{
	interface[0] = '\0';
	FILE *file = fopen("/proc/net/route", "re");
	if (file == NULL)
		return;
	enum { INTERFACE = 0, DESTINATION = 1, METRIC = 6, MASK = 7 };
	char line[PROC_LINE], *words[PROC_WORDS];
	unsigned long best = ULONG_MAX;
	while (fgets(line, sizeof line, file) != NULL) {
		/* The first line, the titles, has no numbers. */
		if (proc_words(line, words) <= MASK || strcmp(words[DESTINATION], "00000000") != 0 ||
		    strcmp(words[MASK], "00000000") != 0 || strtoul(words[METRIC], NULL, 10) >= best)
			continue;
		best = strtoul(words[METRIC], NULL, 10);
		(void)snprintf(interface, IF_NAMESIZE, "%s", words[INTERFACE]);
	}
	fclose(file);
}

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

/* Who asks for service at an address that the default route does not lead to is refused by a strict reverse path
 * filter, in the kernel, before we see anything of it. */
static void advise_rp_filter(const struct gateway_config *config)
{
	char leaves[IF_NAMESIZE];
	struct ifaddrs *list;
	gateway_network_default_interface(leaves);
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

/* Masquerading by an interface that is not there yet is right; by one that never comes it is a slip of the pen. */
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

/* --- opening ---------------------------------------------------------------------------------------------------------
 */

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
	const struct gateway_firewall firewall = {
		.config = network->config, .ifindex = network->ifindex, .networks = network->networks};
	char *commands = gateway_firewall_commands(&firewall, error);
	if (commands == NULL)
		return -EINVAL;
	const struct nftables_table table = {
		.subject = subject_of(network->config), .name = network->table, .commands = commands};
	int result = nftables_lay(network->nftables, &table, error);
	free(commands);
	network->laid = result == 0;
	return result;
}

/* A gateway that neither forwards nor masquerades runs without rules, too. */
static int guard(struct gateway_network *network, struct error *error)
{
	int result = gateway_network_lay(network, error);
	if (result == 0 || network->config->forward || network->config->masquerade.count != 0)
		return result;
	log_warning("%s; until then, neighbours on other links can speak to inner addresses, and as clients",
		    error->text);
	return 0;
}

/* Forwarding is what was asked for; the filter is a service. */
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
	return result == 0 ? gateway_keep_open(network, error) : result;
}

int gateway_network_open(struct gateway_network *network, const struct gateway_network_params *params,
			 struct error *error)
{
	const struct gateway_config *config = params->config;
	const struct tun_device *device = &params->tunnel->device;
	*network = (struct gateway_network){
		.config = config,
		.tunnel = params->tunnel,
		.ifindex = device->ifindex,
		.no_ipv6 = device->no_ipv6,
		.settings = {.config = config, .ifindex = device->ifindex, .no_ipv6 = device->no_ipv6},
		.routes = {.ifindex = device->ifindex, .addresses = &config->addresses, .no_ipv6 = device->no_ipv6},
		.watch_fd = -1,
		.rules_fd = -1,
	};
	gateway_firewall_table(config->common.interface, network->table);
	advise_rp_filter(config);
	advise_masquerade(config);
	int result = open_network(network, params->user, error);
	if (result != 0) {
		gateway_network_close(network);
		return result;
	}
	/* All of it was set up just now, and what failed was said. */
	(void)reconciler_apply(params->tunnel->reconciler, RECONCILE_ALL, NULL);
	if (config->forward)
		gateway_forward_look(&network->forward, true);
	return 0;
}

void gateway_network_follow(struct gateway_network *network, struct registry *registry)
{
	struct error error;
	if (gateway_routes_plan(&network->routes, registry) != 0) {
		log_warning("AllowedIPs: out of memory: the kernel's routes are as before");
		return;
	}
	bool networks = network->routes.behind.count != 0;
	if (networks != network->networks) {
		network->networks = networks;
		if (network->laid && gateway_network_lay(network, &error) != 0)
			log_warning("%s", error.text);
	}
	if (reconciler_apply(network->tunnel->reconciler, RECONCILE_BIT(RECONCILE_route), &error) != 0)
		log_warning("AllowedIPs: %s; who is there is not reached through us", error.text);
}

void gateway_network_hurry(struct gateway_network *network)
{
	reconciler_hurry(network->tunnel->reconciler);
}

void gateway_network_every_second(struct gateway_network *network)
{
	enum { LOOK_S = 5 };
	network->seconds++;
	if (network->rules_changed) {
		network->rules_looked = clock_monotonic(network->tunnel->clock);
		reconciler_notice(network->tunnel->reconciler, RECONCILE_BIT(RECONCILE_nftables));
	}
	if (network->config->forward && (network->seconds % LOOK_S == 0 || network->rules_changed))
		gateway_forward_look(&network->forward, network->rules_changed);
	network->rules_changed = false;
}

void gateway_network_close(struct gateway_network *network)
{
	struct error error;
	gateway_keep_close(network);
	/* Twice: rules that stay outlive us, and the system may be short of something for a moment only. */
	if (network->laid && nftables_remove(network->nftables, "Masquerade", network->table, &error) != 0 &&
	    nftables_remove(network->nftables, "Masquerade", network->table, &error) != 0)
		log_warning("%s; 'nft delete table inet %s' removes what is left", error.text, network->table);
	network->laid = false;
	nftables_close(network->nftables);
	network->nftables = NULL;
	gateway_routes_free(&network->routes);
	netlink_close(network->netlink);
	network->netlink = NULL;
}
