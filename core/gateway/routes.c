// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/routes.h"

#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>

static const uint8_t families[] = {4, 6};

void gateway_routes_free(struct gateway_routes *routes)
{
	netlink_routes_free(&routes->behind);
}

/* --- what there should be ----------------------------------------------------------------------------------------- */

struct plan {
	struct netlink_routes routes;
	const struct fence *fence; /* NULL: no cluster */
	unsigned ifindex;
	bool no_ipv6; /* those would be refused */
	int result;
};

/* As of the last look at the deadlines, which is when this is planned anew. */
static bool is_ours(const struct fence *fence, unsigned block)
{
	return fence_until(fence, block) != 0;
}

static void want(struct peer *peer, void *context)
{
	struct plan *plan = context;
	if (plan->fence != NULL && !is_ours(plan->fence, block_of_index(peer->fixed_index, plan->fence->peers)))
		return;
	const struct peer_networks *networks = peer_networks(peer);
	for (uint32_t i = 0; i < networks->count && plan->result == 0; i++) {
		const struct ip_prefix *network = &networks->items[i];
		if (network->address.family == 4 || !plan->no_ipv6)
			plan->result = netlink_routes_append(&plan->routes, network, plan->ifindex);
	}
}

int gateway_routes_plan(struct gateway_routes *routes, struct registry *registry)
{
	struct plan plan = {.fence = registry->fence, .ifindex = routes->ifindex, .no_ipv6 = routes->no_ipv6};
	peers_for_each(&registry->peers, want, &plan);
	if (plan.result != 0) {
		netlink_routes_free(&plan.routes);
		return plan.result;
	}
	netlink_routes_settle(&plan.routes);
	netlink_routes_free(&routes->behind);
	routes->behind = plan.routes;
	routes->fence = registry->fence;
	return 0;
}

static bool kernel_has(const struct gateway_routes *routes, const struct netlink_attached_list *attached,
		       const struct ip_prefix *network)
{
	for (size_t i = 0; i < attached->count; i++) {
		const struct netlink_attached *one = &attached->items[i];
		if (one->ifindex == routes->ifindex && one->network.length == network->length &&
		    ip_address_equal(&one->network.address, &network->address))
			return true;
	}
	return false;
}

/* The blocks of the pool that are ours. */
static int append_blocks(const struct gateway_routes *routes, const struct ip_prefix *pool,
			 struct netlink_routes *wanted)
{
	struct ip_prefix prefix;
	int result = 0;
	for (unsigned block = 1; result == 0 && block < BLOCK_COUNT; block++) {
		if (is_ours(routes->fence, block) && block_prefix(pool, block, routes->fence->peers, &prefix))
			result = netlink_routes_append(wanted, &prefix, routes->ifindex);
	}
	return result;
}

/* By an address of the link between gateways none but other gateways come, and it is this machine's alone. */
static bool is_inside(const struct gateway_routes *routes, const struct ip_address *address)
{
	bool inside = false;
	for (size_t i = 0; i < routes->inside_count; i++)
		inside |= ip_address_equal(&routes->inside[i], address);
	return inside;
}

/* Clients may come to us, for some of them. (Where they end is the local table's business, which comes first.) */
static int append_shared(const struct gateway_routes *routes, uint8_t family, struct netlink_routes *wanted)
{
	bool any = false;
	int result = 0;
	for (unsigned block = 1; block < BLOCK_COUNT && !any; block++)
		any = is_ours(routes->fence, block);
	for (size_t i = 0; any && i < routes->shared->count && result == 0; i++) {
		const struct ip_address *address = &routes->shared->items[i];
		const struct ip_prefix prefix = {*address, address->family == 4 ? 32 : 128};
		if (address->family == family && (family == 4 || !routes->no_ipv6) && !is_inside(routes, address))
			result = netlink_routes_append(wanted, &prefix, routes->ifindex);
	}
	return result;
}

/* Those behind peers, and the pool's own where the kernel's is gone: a route of our own replaces it, for
 * only a new address makes the kernel add it again. `*own` grows by those of the kernel that are there. */
static int collect(const struct gateway_routes *routes, struct netlink *netlink, uint8_t family,
		   struct netlink_routes *wanted, unsigned *own, struct error *error)
{
	struct netlink_attached_list attached = {0};
	int result = netlink_attached_read(netlink, family, &attached, error);
	for (size_t i = 0; i < routes->behind.count && result == 0; i++) {
		const struct netlink_route *route = &routes->behind.items[i];
		if (route->network.address.family == family)
			result = netlink_routes_append(wanted, &route->network, route->ifindex);
	}
	for (size_t i = 0; i < routes->addresses->count && result == 0; i++) {
		struct ip_prefix pool = ip_prefix_network(&routes->addresses->items[i]);
		if (pool.address.family != family || (family == 6 && routes->no_ipv6))
			continue;
		if (routes->fence != NULL)
			result = append_blocks(routes, &pool, wanted);
		else if (kernel_has(routes, &attached, &pool))
			++*own;
		else
			result = netlink_routes_append(wanted, &pool, routes->ifindex);
	}
	if (routes->fence != NULL && result == 0)
		result = append_shared(routes, family, wanted);
	netlink_attached_free(&attached);
	netlink_routes_settle(wanted);
	if (result == -ENOMEM)
		error_set(error, result, "routes: out of memory");
	return result;
}

/* --- what differs ------------------------------------------------------------------------------------------------- */

static void failed(struct reconcile_found *found, size_t count, const struct error *error)
{
	if (count != 0 && found->left == 0)
		found->error = *error;
	found->left += (unsigned)count;
}

/* Only our interface's: another gateway on this machine has the same mark on its own. */
static void leave_others(const struct gateway_routes *routes, struct netlink_routes *extra)
{
	size_t own = 0;
	for (size_t i = 0; i < extra->count; i++) {
		if (extra->items[i].ifindex == routes->ifindex)
			extra->items[own++] = extra->items[i];
	}
	extra->count = own;
}

static void compare_family(const struct gateway_routes *routes, struct netlink *netlink, uint8_t family,
			   struct gateway_routes_difference *difference)
{
	struct netlink_routes wanted = {0}, have = {0};
	struct reconcile_found *found = &difference->found;
	struct error error = {0};
	unsigned own = 0;
	int result = collect(routes, netlink, family, &wanted, &own, &error);
	if (result == 0)
		result = netlink_routes_read(netlink, family, RT_TABLE_MAIN, &have, &error);
	if (result == 0 && netlink_routes_compare(&wanted, &have, &difference->missing, &difference->extra) != 0)
		result = error_set(&error, -ENOMEM, "routes: out of memory");
	found->wanted += (unsigned)wanted.count + own;
	if (result != 0) {
		found->wanted++;
		found->missing++;
		failed(found, 1, &error);
	}
	netlink_routes_free(&wanted);
	netlink_routes_free(&have);
}

void gateway_routes_compare(const struct gateway_routes *routes, struct netlink *netlink,
			    struct gateway_routes_difference *difference)
{
	char text[IP_TEXT_MAX];
	struct reconcile_found *found = &difference->found;
	*difference = (struct gateway_routes_difference){0};
	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		compare_family(routes, netlink, families[i], difference);
	leave_others(routes, &difference->extra);
	found->missing += (unsigned)difference->missing.count;
	if (difference->missing.count != 0)
		(void)snprintf(found->first, sizeof found->first, "route %s",
			       ip_prefix_format(&difference->missing.items[0].network, text));
}

void gateway_routes_difference_free(struct gateway_routes_difference *difference)
{
	netlink_routes_free(&difference->missing);
	netlink_routes_free(&difference->extra);
	*difference = (struct gateway_routes_difference){0};
}

/* --- making it so ------------------------------------------------------------------------------------------------- */

static void change_some(const struct gateway_routes *routes, bool add, const struct netlink_routes *list, size_t *done,
			struct reconcile_found *found)
{
	struct error error = {0};
	size_t left = list->count - *done, count = left < GATEWAY_ROUTES_AT_ONCE ? left : GATEWAY_ROUTES_AT_ONCE;
	failed(found, netlink_routes_change(routes->netlink, add, list->items + *done, count, RT_TABLE_MAIN, &error),
	       &error);
	*done += count;
}

/* What is gone comes out first: the network of one peer may lie in that of another. */
bool gateway_routes_restore(const struct gateway_routes *routes, struct gateway_routes_difference *difference)
{
	if (difference->removed < difference->extra.count)
		change_some(routes, false, &difference->extra, &difference->removed, &difference->found);
	else if (difference->added < difference->missing.count)
		change_some(routes, true, &difference->missing, &difference->added, &difference->found);
	return difference->removed == difference->extra.count && difference->added == difference->missing.count;
}

void gateway_routes_run(void *context, bool restore, struct reconcile_found *found)
{
	const struct gateway_routes *routes = context;
	struct gateway_routes_difference difference;
	gateway_routes_compare(routes, routes->netlink, &difference);
	while (restore && !gateway_routes_restore(routes, &difference))
		;
	*found = difference.found;
	gateway_routes_difference_free(&difference);
}
