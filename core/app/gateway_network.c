// SPDX-License-Identifier: Apache-2.0
#include "core/app/gateway_network.h"

#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "core/app/gateway_firewall.h"
#include "core/base/log.h"
#include "core/base/sysctl.h"
#include "tun/nftables.h"

enum { NAME_SIZE = 64, LINE_SIZE = 256, WORDS = 11, RP_FILTER_STRICT = 1 };

/* The words of a line of the kernel's tables. Returns how many there are, at most WORDS. */
static size_t split(char *line, char *words[WORDS])
{
	size_t count = 0;
	char *rest = line;
	while (count < WORDS && (words[count] = strtok_r(count == 0 ? line : NULL, " \t\n", &rest)) != NULL)
		count++;
	return count;
}

static unsigned long hexadecimal(const char *word)
{
	return strtoul(word, NULL, 16);
}

/* --- Forward ---------------------------------------------------------------------------------------------------------
 */

/* An IPv6 router takes no router advertisements, and forgets the default route that it has from one, unless told so for
 * the interface. */
static void keep_router_advertisements(void)
{
	FILE *file = fopen("/proc/net/ipv6_route", "re");
	if (file == NULL)
		return;
	enum { LENGTH = 1, FLAGS = 8, INTERFACE = 9 };
	char line[LINE_SIZE], name[NAME_SIZE], *words[WORDS];
	while (fgets(line, sizeof line, file) != NULL) {
		if (split(line, words) <= INTERFACE || hexadecimal(words[LENGTH]) != 0 ||
		    (hexadecimal(words[FLAGS]) & RTF_ADDRCONF) == 0)
			continue;
		const char *interface = words[INTERFACE];
		(void)snprintf(name, sizeof name, "net/ipv6/conf/%s/accept_ra", interface);
		if (sysctl_number(name) != 1)
			continue;
		int result = sysctl_write(name, "2");
		if (result == 0)
			log_info("Forward: %s has its IPv6 default route from a router; accept_ra is 2 now, to keep it",
				 interface);
		else
			log_warning("Forward: %s loses its IPv6 default route: accept_ra: %s; set it to 2", interface,
				    strerror(-result));
	}
	fclose(file);
}

static int switch_on(const char *name, struct error *error)
{
	if (sysctl_number(name) == 1)
		return 0;
	int result = sysctl_write(name, "1");
	if (result == 0)
		return 0;
	char dotted[NAME_SIZE];
	(void)snprintf(dotted, sizeof dotted, "%s", name);
	for (char *slash = dotted; (slash = strchr(slash, '/')) != NULL;)
		*slash = '.';
	return error_set(error, result, "Forward: %s: %s; set it to 1 before the start (sysctl -w, /etc/sysctl.d)",
			 dotted, strerror(-result));
}

static int forward(const struct gateway_config *config, bool no_ipv6, struct error *error)
{
	int result = 0;
	for (size_t i = 0; i < config->addresses.count && result == 0; i++) {
		bool ipv4 = config->addresses.items[i].address.family == 4;
		if (!ipv4 && no_ipv6)
			continue;
		if (!ipv4 && sysctl_number("net/ipv6/conf/all/forwarding") == 0)
			keep_router_advertisements();
		result = switch_on(ipv4 ? "net/ipv4/ip_forward" : "net/ipv6/conf/all/forwarding", error);
	}
	return result;
}

/* --- advice ----------------------------------------------------------------------------------------------------------
 */

static long rp_filter(const char *interface)
{
	char name[NAME_SIZE];
	(void)snprintf(name, sizeof name, "net/ipv4/conf/%s/rp_filter", interface);
	long all = sysctl_number("net/ipv4/conf/all/rp_filter"), own = sysctl_number(name);
	return all > own ? all : own; /* as the kernel does */
}

void gateway_network_default_interface(char interface[IF_NAMESIZE])
{
	interface[0] = '\0';
	FILE *file = fopen("/proc/net/route", "re");
	if (file == NULL)
		return;
	enum { INTERFACE = 0, DESTINATION = 1, METRIC = 6, MASK = 7 };
	char line[LINE_SIZE], *words[WORDS];
	unsigned long best = ULONG_MAX;
	while (fgets(line, sizeof line, file) != NULL) {
		/* The first line, the titles, has no numbers. */
		if (split(line, words) <= MASK || strcmp(words[DESTINATION], "00000000") != 0 ||
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
		    rp_filter(i->ifa_name) != RP_FILTER_STRICT)
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

static int lay_rules(struct gateway_network *network, struct error *error)
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
	int result = lay_rules(network, error);
	if (result == 0 || network->config->forward || network->config->masquerade.count != 0)
		return result;
	log_warning("%s; until then, neighbours on other links can speak to inner addresses, and as clients",
		    error->text);
	return 0;
}

int gateway_network_open(struct gateway_network *network, const struct gateway_network_params *params,
			 struct error *error)
{
	const struct gateway_config *config = params->config;
	*network = (struct gateway_network){.config = config, .ifindex = params->ifindex};
	gateway_firewall_table(config->common.interface, network->table);
	advise_rp_filter(config);
	advise_masquerade(config);
	const struct nftables_confine confinement = {.run = confine, .context = params->user};
	int result = gateway_routes_open(&network->routes, params->ifindex, error);
	if (result != 0)
		return result;
	network->nftables = nftables_open(&confinement, error);
	if (network->nftables == NULL) {
		gateway_routes_close(&network->routes);
		return -ENOMEM;
	}
	if (config->forward)
		gateway_forward_init(&network->forward, config, network->nftables, network->table, params->ifindex);
	/* The rules first: there is no moment at which packets are forwarded without them. */
	result = guard(network, error);
	if (result == 0 && config->forward)
		result = forward(config, params->no_ipv6, error);
	if (result != 0) {
		gateway_network_close(network);
		return result;
	}
	if (config->forward)
		gateway_forward_look(&network->forward, true);
	return 0;
}

void gateway_network_follow(struct gateway_network *network, struct registry *registry)
{
	struct error error;
	gateway_routes_follow(&network->routes, registry);
	bool networks = network->routes.count != 0;
	if (networks == network->networks)
		return;
	network->networks = networks;
	if (network->laid && lay_rules(network, &error) != 0)
		log_warning("%s", error.text);
}

void gateway_network_every_second(struct gateway_network *network)
{
	enum { LOOK_S = 5, JUDGE_S = 60 };
	network->seconds++;
	if (network->config->forward && network->seconds % LOOK_S == 0)
		gateway_forward_look(&network->forward, network->seconds % JUDGE_S == 0);
}

void gateway_network_close(struct gateway_network *network)
{
	struct error error;
	/* Twice: rules that stay outlive us, and the system may be short of something for a moment only. */
	if (network->laid && nftables_remove(network->nftables, "Masquerade", network->table, &error) != 0 &&
	    nftables_remove(network->nftables, "Masquerade", network->table, &error) != 0)
		log_warning("%s; 'nft delete table inet %s' removes what is left", error.text, network->table);
	network->laid = false;
	nftables_close(network->nftables);
	network->nftables = NULL;
	gateway_routes_close(&network->routes);
}
