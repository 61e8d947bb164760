// SPDX-License-Identifier: Apache-2.0
#include "core/client/routes.h"

#include <stdlib.h>
#include <string.h>

/* No real link has a shorter prefix: a router that advertises one is after packets for half the Internet. */
enum { SHORTEST_ATTACHED4 = 8, SHORTEST_ATTACHED6 = 48 };

static bool prefix_equal(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->length == b->length && ip_address_equal(&a->address, &b->address);
}

static bool prefix_covers(const struct ip_prefix *outer, const struct ip_prefix *inner)
{
	return outer->length <= inner->length && ip_prefix_contains(outer, &inner->address);
}

/* The order of AllowedIPs: by address, then by length. */
static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_prefix));
}

/* The most specific of AllowedIPs, which are sorted, that contains `network` and has at most `longest` bits; or NULL.
 */
static const struct ip_prefix *find_allowed(const struct client_config *config, const struct ip_prefix *network,
					    int longest)
{
	const struct config_prefixes *list = &config->gateway.allowed_ips;
	struct ip_prefix around = *network;
	for (int length = longest; length >= 0; length--) {
		around.length = (uint8_t)length;
		struct ip_prefix wanted = ip_prefix_network(&around);
		const struct ip_prefix *found = list->count != 0 ? bsearch(&wanted, list->items, list->count,
									   sizeof wanted, compare)
								 : NULL;
		if (found != NULL)
			return found;
	}
	return NULL;
}

static const struct ip_prefix *allowed(const struct client_config *config, const struct ip_prefix *network)
{
	return find_allowed(config, network, network->length);
}

/* The routes in the order of their priority: of two to the same network the first is used. */
struct plan {
	struct netlink_routes *wanted;
	const struct client_routes_wish *wish;
	int result;
};

static void add(struct plan *plan, const struct ip_prefix *network, unsigned ifindex)
{
	int result = netlink_routes_append(plan->wanted, network, ifindex);
	if (result != 0)
		plan->result = result;
}

/* A network that the gateway pushed is routed to the gateway, if AllowedIPs contain it. */
static void plan_pushed(struct plan *plan, const struct ip_prefix *pushed)
{
	struct ip_prefix network = ip_prefix_network(pushed);
	const struct ip_prefix *by = network.address.family != 0 ? allowed(plan->wish->config, &network) : NULL;
	if (by != NULL && !prefix_equal(by, &network))
		add(plan, &network, plan->wish->ifindex);
}

static void plan_host(struct plan *plan, const struct ip_address *host)
{
	const struct ip_prefix network = {*host, host->family == 4 ? 32 : 128};
	plan_pushed(plan, &network);
}

static void plan_lease(struct plan *plan, uint8_t family)
{
	const struct wire_welcome *lease = plan->wish->lease;
	plan_host(plan, family == 4 ? &lease->gateway4 : &lease->gateway6);
	for (size_t i = 0; i < lease->dns_count; i++) {
		if (lease->dns[i].family == family)
			plan_host(plan, &lease->dns[i]);
	}
	for (size_t i = 0; i < lease->route_count; i++) {
		if (lease->routes[i].address.family == family)
			plan_pushed(plan, &lease->routes[i]);
	}
}

/* Whether a network of AllowedIPs was meant by itself, and not as a part of a list that makes up everything: it lies in
 * another one, or in a special block (private networks, for instance) that the list covers little of. */
static bool is_meant(const struct client_routes_wish *wish, const struct ip_prefix *one)
{
	const struct ip_prefix *block = ip_special_block(one);
	return find_allowed(wish->config, one, one->length - 1) != NULL ||
	       (block != NULL && !ip_set_covers_most(wish->allowed, block));
}

/* A list that makes up everything, but for a hole in the attached network (the gateway's address, for instance), has
 * networks inside of it. They would be more specific than the attached network, so they become direct routes too. */
static void plan_parts(struct plan *plan, const struct netlink_attached *attached)
{
	const struct config_prefixes *list = &plan->wish->config->gateway.allowed_ips;
	size_t low = 0, high = list->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (compare(&list->items[middle], &attached->network) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < list->count && ip_prefix_contains(&attached->network, &list->items[low].address); low++) {
		if (!is_meant(plan->wish, &list->items[low]))
			add(plan, &list->items[low], attached->ifindex);
	}
}

/* Called when AllowedIPs are everything: that does not mean the printer on the same link. Routes `first` to `pushed` of
 * the plan are those that the gateway pushed. */
static void plan_attached(struct plan *plan, const struct netlink_attached *attached, size_t first, size_t pushed)
{
	const struct ip_prefix *network = &attached->network;
	uint8_t shortest = network->address.family == 4 ? SHORTEST_ATTACHED4 : SHORTEST_ATTACHED6;
	const struct ip_prefix *by = allowed(plan->wish->config, network);
	if (attached->ifindex == plan->wish->ifindex || network->length < shortest ||
	    (by != NULL && is_meant(plan->wish, by)))
		return;
	for (size_t i = first; i < pushed; i++) {
		if (prefix_covers(&plan->wanted->items[i].network, network))
			return;
	}
	add(plan, network, attached->ifindex);
	plan_parts(plan, attached);
}

/* An unreachable route outlives the link and the process: after a kill the machine would have no network. So while the
 * tunnel carries packets it is added only for the kill switch, which promises just that. */
static void plan_allowed(struct plan *plan, const struct ip_prefix *network)
{
	if (plan->wish->carried)
		add(plan, network, plan->wish->ifindex);
	if (!plan->wish->carried || plan->wish->config->kill_switch)
		add(plan, network, NETLINK_UNREACHABLE);
}

int client_routes_plan(struct netlink_routes *wanted, uint8_t family, const struct client_routes_wish *wish)
{
	const struct client_config *config = wish->config;
	const struct config_prefixes *allowed_ips = &config->gateway.allowed_ips;
	struct plan plan = {.wanted = wanted, .wish = wish};
	size_t first = wanted->count;
	if (wish->carried)
		plan_lease(&plan, family);
	size_t pushed = wanted->count;
	for (size_t i = 0; i < config->networks.count; i++) {
		if (config->networks.items[i].address.family == family)
			add(&plan, &config->networks.items[i], NETLINK_THROW);
	}
	bool direct = config->local_networks && ip_set_is_everything(wish->allowed, family);
	for (size_t i = 0; i < wish->attached_count && direct; i++) {
		if (wish->attached[i].network.address.family == family)
			plan_attached(&plan, &wish->attached[i], first, pushed);
	}
	for (size_t i = 0; i < allowed_ips->count; i++) {
		if (allowed_ips->items[i].address.family == family)
			plan_allowed(&plan, &allowed_ips->items[i]);
	}
	return plan.result;
}
