// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/cluster_network.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <stdlib.h>

#include "core/base/log.h"
#include "core/gateway/settings.h"

static const char subject[] = "cluster";

static int lay(struct cluster_network *network, struct error *error)
{
	char *commands = cluster_rules_commands(&network->rules, error);
	if (commands == NULL)
		return -EINVAL;
	const struct nftables_table table = {
		.subject = subject, .family = NFTABLES_NETDEV, .name = network->table, .commands = commands};
	int result = nftables_lay(network->nftables, &table, error);
	free(commands);
	return result;
}

int cluster_network_open(struct cluster_network *network, const struct cluster_network_params *params,
			 struct error *error)
{
	*network = (struct cluster_network){
		.nftables = params->nftables,
		.rules = {.outside = params->outside,
			  .inside = params->inside,
			  .listen = params->listen,
			  .listen_count = params->listen_count,
			  .port = params->port,
			  .wireguard = params->wireguard},
	};
	nftables_table_name(params->interface, network->table);
	network->rules.table = network->table;
	network->rules.map = &network->map;
	if (strcmp(params->outside, params->inside) == 0)
		return error_set(error, -EINVAL,
				 "%s: %s is the link outside and inside: datagrams could go round between gateways",
				 subject, params->outside);
	const char *const links[] = {params->outside, params->inside};
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		if (if_nametoindex(links[i]) == 0)
			return error_set(error, -ENODEV, "%s: there is no interface %s; 'ip link' lists them", subject,
					 links[i]);
	}
	if (gateway_settings_strict(params->inside))
		log_warning("%s: the rp_filter of %s is strict, so what other gateways hand on is dropped; "
			    "sysctl -w net.ipv4.conf.%s.rp_filter=2 (and .all) lets it in",
			    subject, params->inside, params->inside);
	return nftables_remove_netdev(network->nftables, subject, network->table, error);
}

/* The machine's own addresses, for the caller to free. -1: errno. */
static int own_addresses(struct ip_address **items, size_t *count)
{
	struct ifaddrs *list;
	size_t room = 0;
	if (getifaddrs(&list) != 0)
		return -1;
	for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next)
		room++;
	*count = 0;
	*items = calloc(room + 1, sizeof **items);
	for (const struct ifaddrs *i = list; i != NULL && *items != NULL; i = i->ifa_next) {
		struct ip_address *address = &(*items)[*count];
		if (i->ifa_addr == NULL)
			continue;
		if (i->ifa_addr->sa_family == AF_INET) {
			address->family = 4;
			memcpy(address->bytes, &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr, 4);
			++*count;
		} else if (i->ifa_addr->sa_family == AF_INET6) {
			address->family = 6;
			memcpy(address->bytes, &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr,
			       16);
			++*count;
		}
	}
	freeifaddrs(list);
	return *items != NULL ? 0 : -1;
}

int cluster_network_map(struct cluster_network *network, const char *text, struct error *error)
{
	struct ip_address *own;
	size_t count;
	if (own_addresses(&own, &count) != 0)
		return error_set(error, -errno, "%s: list the machine's addresses: %s", subject, strerror(errno));
	const struct cluster_map before = network->map;
	int result = cluster_map_parse(&network->map, text, own, count, error);
	free(own);
	if (result != 0 || cluster_map_equal(&before, &network->map))
		return result;
	bool empty = cluster_map_count(&network->map, 4) + cluster_map_count(&network->map, 6) == 0;
	result = empty ? nftables_remove_netdev(network->nftables, subject, network->table, error)
		       : lay(network, error);
	if (result == 0)
		network->laid = !empty;
	else
		network->map = before;
	return result;
}

void cluster_network_run(void *context, bool restore, struct reconcile_found *found)
{
	struct cluster_network *network = context;
	struct error error = {0};
	if (!network->laid)
		return;
	found->wanted = 1;
	int result = nftables_check_netdev(network->nftables, network->table, &error);
	if (result == 1)
		return;
	reconcile_missing(found, "table netdev %s", network->table);
	if (restore)
		result = lay(network, &error);
	reconcile_left(found, result < 0 ? result : 0, &error);
}

void cluster_network_close(struct cluster_network *network)
{
	struct error error;
	if (network->laid && nftables_remove_netdev(network->nftables, subject, network->table, &error) != 0)
		log_warning("%s; 'nft delete table netdev %s' removes what is left", error.text, network->table);
	network->laid = false;
}
