// SPDX-License-Identifier: Apache-2.0
#include "core/app/gateway_routes.h"

#include <linux/rtnetlink.h>
#include <stdlib.h>

#include "core/base/log.h"
#include "tun/netlink.h"

int gateway_routes_open(struct gateway_routes *routes, unsigned ifindex, struct error *error)
{
	*routes = (struct gateway_routes){.ifindex = ifindex};
	routes->netlink = netlink_open(error);
	return routes->netlink != NULL ? 0 : -errno;
}

void gateway_routes_close(struct gateway_routes *routes)
{
	if (routes->netlink != NULL)
		netlink_close(routes->netlink);
	free(routes->installed);
	*routes = (struct gateway_routes){0};
}

/* --- what there should be -------------------------------------------------------------------------------------------
 */

struct wanted {
	struct ip_prefix *items;
	size_t count, room;
	bool no_ipv6; /* those would be refused */
	bool short_of_memory;
};

static void want(struct peer *peer, void *context)
{
	struct wanted *wanted = context;
	for (uint32_t i = 0; i < peer->network_count; i++) {
		if (peer->networks[i].address.family == 6 && wanted->no_ipv6)
			continue;
		if (wanted->count == wanted->room) {
			size_t room = wanted->room != 0 ? 2 * wanted->room : 64;
			struct ip_prefix *items = reallocarray(wanted->items, room, sizeof *items);
			wanted->short_of_memory |= items == NULL;
			if (items == NULL)
				return;
			wanted->items = items;
			wanted->room = room;
		}
		wanted->items[wanted->count++] = peer->networks[i];
	}
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_prefix));
}

/* --- making it so ----------------------------------------------------------------------------------------------------
 */

/* One line for all that failed. */
struct failures {
	size_t count;
	struct error first;
};

static bool succeeded(struct failures *failures, int result, const struct error *error)
{
	if (result == 0)
		return true;
	if (failures->count++ == 0)
		failures->first = *error;
	return false;
}

/* What is gone comes out first: the network of one peer may lie in that of another. */
static void remove_unwanted(struct gateway_routes *routes, const struct wanted *wanted, struct failures *failures)
{
	struct error error;
	for (size_t i = 0, w = 0; i < routes->count; i++) {
		const struct ip_prefix *route = &routes->installed[i];
		while (w < wanted->count && compare(&wanted->items[w], route) < 0)
			w++;
		if (w == wanted->count || compare(&wanted->items[w], route) != 0)
			(void)succeeded(
				failures,
				netlink_route_delete(routes->netlink, routes->ifindex, route, RT_TABLE_MAIN, &error),
				&error);
	}
}

/* Leaves in `wanted` those that are there. */
static void add_missing(struct gateway_routes *routes, struct wanted *wanted, struct failures *failures)
{
	struct error error;
	size_t there = 0;
	for (size_t w = 0, i = 0; w < wanted->count; w++) {
		const struct ip_prefix *route = &wanted->items[w];
		while (i < routes->count && compare(&routes->installed[i], route) < 0)
			i++;
		bool old = i < routes->count && compare(&routes->installed[i], route) == 0;
		if (old || succeeded(failures,
				     netlink_route_add(routes->netlink, routes->ifindex, route, RT_TABLE_MAIN, &error),
				     &error))
			wanted->items[there++] = *route;
	}
	wanted->count = there;
}

void gateway_routes_follow(struct gateway_routes *routes, struct registry *registry)
{
	struct wanted wanted = {.no_ipv6 = registry->no_ipv6};
	struct failures failures = {0};
	peers_for_each(&registry->peers, want, &wanted);
	if (wanted.short_of_memory) {
		log_warning("AllowedIPs: out of memory: the kernel's routes are as before");
		free(wanted.items);
		return;
	}
	if (wanted.count != 0)
		qsort(wanted.items, wanted.count, sizeof *wanted.items, compare);
	remove_unwanted(routes, &wanted, &failures);
	add_missing(routes, &wanted, &failures);
	free(routes->installed);
	routes->installed = wanted.items;
	routes->count = wanted.count;
	if (failures.count != 0)
		log_warning("AllowedIPs: %s%s", failures.first.text,
			    failures.count > 1 ? ", and others like it" : "; who is there is not reached through us");
}
