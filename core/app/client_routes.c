// SPDX-License-Identifier: Apache-2.0
#include "core/app/client_routes.h"

#include <string.h>

/* A shorter prefix is no link's: who hands out such an address wants the packets of half the Internet. */
enum { SHORTEST_ATTACHED4 = 8, SHORTEST_ATTACHED6 = 48 };

static bool prefix_equal(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->length == b->length && ip_address_equal(&a->address, &b->address);
}

static bool prefix_covers(const struct ip_prefix *outer, const struct ip_prefix *inner)
{
	return outer->length <= inner->length && ip_prefix_contains(outer, &inner->address);
}

/* Its place, or the count. */
static size_t find(const struct client_routes *routes, const struct ip_prefix *network)
{
	size_t i = 0;
	while (i < routes->count && !prefix_equal(&routes->list[i].network, network))
		i++;
	return i;
}

/* The first one of a network counts. */
static void add(struct client_routes *wanted, const struct ip_prefix *network, unsigned ifindex)
{
	if (wanted->count < CLIENT_ROUTES_MAX && find(wanted, network) == wanted->count)
		wanted->list[wanted->count++] = (struct client_route){*network, ifindex};
}

/* The most specific one of AllowedIPs that has all of `network`, or NULL. They are sorted and few, or it is start. */
static const struct ip_prefix *allowed(const struct client_config *config, const struct ip_prefix *network)
{
	const struct config_prefixes *list = &config->gateway.allowed_ips;
	const struct ip_prefix *best = NULL;
	for (size_t i = 0; i < list->count; i++) {
		if (prefix_covers(&list->items[i], network) && (best == NULL || list->items[i].length > best->length))
			best = &list->items[i];
	}
	return best;
}

/* What the gateway speaks of goes to the gateway, as far as AllowedIPs let it. */
static void plan_pushed(struct client_routes *wanted, const struct ip_prefix *pushed,
			const struct client_routes_wish *wish)
{
	struct ip_prefix network = ip_prefix_network(pushed);
	const struct ip_prefix *by = network.address.family != 0 ? allowed(wish->config, &network) : NULL;
	if (by != NULL && !prefix_equal(by, &network))
		add(wanted, &network, wish->ifindex);
}

static void plan_host(struct client_routes *wanted, const struct ip_address *host,
		      const struct client_routes_wish *wish)
{
	const struct ip_prefix network = {*host, host->family == 4 ? 32 : 128};
	plan_pushed(wanted, &network, wish);
}

/* Only where AllowedIPs say "everything", which nobody means of the printer beside him. */
static void plan_attached(struct client_routes *wanted, const struct netlink_attached *attached,
			  const struct client_routes_wish *wish)
{
	const struct ip_prefix *network = &attached->network;
	uint8_t shortest = network->address.family == 4 ? SHORTEST_ATTACHED4 : SHORTEST_ATTACHED6;
	const struct ip_prefix *by = allowed(wish->config, network);
	if (attached->ifindex == wish->ifindex || network->length < shortest || by == NULL || by->length != 0)
		return;
	for (size_t i = 0; i < wanted->count; i++) {
		if (wanted->list[i].ifindex == wish->ifindex && prefix_covers(&wanted->list[i].network, network))
			return; /* pushed */
	}
	add(wanted, network, attached->ifindex);
}

/* Of two links to one network the kernel prefers the lower metric. */
static bool is_second(const struct client_routes_wish *wish, const struct netlink_attached *one)
{
	for (size_t i = 0; i < wish->attached_count; i++) {
		const struct netlink_attached *other = &wish->attached[i];
		if (prefix_equal(&other->network, &one->network) && other->metric < one->metric)
			return true;
	}
	return false;
}

void client_routes_plan(struct client_routes *wanted, uint8_t family, const struct client_routes_wish *wish)
{
	const struct wire_welcome *lease = wish->lease;
	const struct client_config *config = wish->config;
	plan_host(wanted, family == 4 ? &lease->gateway4 : &lease->gateway6, wish);
	for (size_t i = 0; i < lease->dns_count; i++) {
		if (lease->dns[i].family == family)
			plan_host(wanted, &lease->dns[i], wish);
	}
	for (size_t i = 0; i < lease->route_count; i++) {
		if (lease->routes[i].address.family == family)
			plan_pushed(wanted, &lease->routes[i], wish);
	}
	for (size_t i = 0; i < config->networks.count; i++) {
		if (config->networks.items[i].address.family == family)
			add(wanted, &config->networks.items[i], 0);
	}
	if (!config->local_networks)
		return;
	for (size_t i = 0; i < wish->attached_count; i++) {
		if (wish->attached[i].network.address.family == family && !is_second(wish, &wish->attached[i]))
			plan_attached(wanted, &wish->attached[i], wish);
	}
}

int client_routes_apply(struct client_routes *applied, const struct client_routes *wanted, struct netlink *netlink,
			uint32_t table, struct error *error)
{
	/* First what is new: between the two a packet must not find less than there will be. */
	int result = 0;
	for (size_t i = 0; i < wanted->count; i++) {
		const struct client_route *route = &wanted->list[i];
		size_t there = find(applied, &route->network);
		if (there < applied->count && applied->list[there].ifindex == route->ifindex)
			continue;
		int one = netlink_route_add(netlink, route->ifindex, &route->network, table, error);
		if (one != 0)
			result = one;
		else if (there < applied->count)
			applied->list[there].ifindex = route->ifindex;
		else
			add(applied, &route->network, route->ifindex);
	}
	for (size_t i = applied->count; i-- > 0;) {
		struct client_route route = applied->list[i];
		if (find(wanted, &route.network) < wanted->count)
			continue;
		int one = netlink_route_delete(netlink, route.ifindex, &route.network, table, error);
		if (one != 0)
			result = one;
		applied->list[i] = applied->list[--applied->count];
	}
	return result;
}
