// SPDX-License-Identifier: Apache-2.0
#include "tun/netlink_state.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "tun/netlink_request.h"

/* --- the link ----------------------------------------------------------------------------------------------------- */

static void link_read(const struct nlmsghdr *message, void *data)
{
	struct netlink_link *link = data;
	const struct ifinfomsg *body = mnl_nlmsg_get_payload(message);
	struct netlink_attributes attributes = netlink_attributes(message, sizeof *body);
	const struct nlattr *name = attributes.by_type[IFLA_IFNAME];
	*link = (struct netlink_link){.mtu = netlink_attribute_u32(&attributes, IFLA_MTU, 0),
				      .group = netlink_attribute_u32(&attributes, IFLA_GROUP, 0),
				      .up = (body->ifi_flags & IFF_UP) != 0};
	if (name != NULL && mnl_attr_validate(name, MNL_TYPE_NUL_STRING) == 0 &&
	    strlen(mnl_attr_get_str(name)) < sizeof link->name)
		strcpy(link->name, mnl_attr_get_str(name));
}

static int ask_for_link(struct netlink *netlink, unsigned ifindex, netlink_answer_fn *answer, void *data,
			struct error *error)
{
	struct nlmsghdr *request = netlink_start(netlink, RTM_GETLINK, 0);
	struct ifinfomsg *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
	body->ifi_index = (int)ifindex;
	int rc = netlink_transact(netlink, request, answer, data, error);
	return rc < 0 ? error_prefix(error, rc, "read interface #%u: ", ifindex) : 0;
}

int netlink_link_read(struct netlink *netlink, unsigned ifindex, struct netlink_link *link, struct error *error)
{
	return ask_for_link(netlink, ifindex, link_read, link, error);
}

struct drops_search {
	struct netlink_link_drops *drops;
	bool found;
};

static void drops_read(const struct nlmsghdr *message, void *data)
{
	struct drops_search *search = data;
	struct netlink_attributes attributes = netlink_attributes(message, sizeof(struct ifinfomsg));
	const struct nlattr *counters = attributes.by_type[IFLA_STATS64];
	struct rtnl_link_stats64 stats = {0};
	/* Newer kernels append to the structure, and older ones end earlier. */
	const size_t needed = offsetof(struct rtnl_link_stats64, multicast);
	if (counters == NULL || mnl_attr_get_payload_len(counters) < needed)
		return;
	memcpy(&stats, mnl_attr_get_payload(counters), needed); /* an attribute is aligned to 4 bytes only */
	*search->drops = (struct netlink_link_drops){.tx = stats.tx_dropped, .rx = stats.rx_dropped};
	search->found = true;
}

int netlink_link_drops_read(struct netlink *netlink, unsigned ifindex, struct netlink_link_drops *drops,
			    struct error *error)
{
	struct drops_search search = {.drops = drops};
	int rc = ask_for_link(netlink, ifindex, drops_read, &search, error);
	if (rc == 0 && !search.found)
		return error_set(error, -ENODATA, "read interface #%u: no counters", ifindex);
	return rc;
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

struct address_search {
	unsigned ifindex;
	const struct ip_prefix *wanted;
	bool found;
};

static void address_compare(const struct nlmsghdr *message, void *data)
{
	struct address_search *search = data;
	const struct ifaddrmsg *body = mnl_nlmsg_get_payload(message);
	if (message->nlmsg_type != RTM_NEWADDR || body->ifa_index != search->ifindex)
		return;
	struct netlink_attributes attributes = netlink_attributes(message, sizeof *body);
	const struct nlattr *local = attributes.by_type[IFA_LOCAL]; /* IPv6 has it only with a peer's address */
	struct ip_address address = netlink_address_read(local != NULL ? local : attributes.by_type[IFA_ADDRESS],
							 body->ifa_family);
	search->found |= body->ifa_prefixlen == search->wanted->length &&
			 ip_address_equal(&address, &search->wanted->address);
}

bool netlink_address_exists(struct netlink *netlink, unsigned ifindex, const struct ip_prefix *address)
{
	struct address_search search = {.ifindex = ifindex, .wanted = address};
	struct nlmsghdr *request = netlink_start(netlink, RTM_GETADDR, NLM_F_DUMP);
	struct ifaddrmsg *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
	body->ifa_family = (uint8_t)netlink_family(address->address.family);
	body->ifa_index = ifindex;
	int rc = netlink_transact(netlink, request, address_compare, &search, NULL);
	return rc == 0 && search.found;
}

/* --- lists of routes ---------------------------------------------------------------------------------------------- */

int netlink_routes_append(struct netlink_routes *routes, const struct ip_prefix *network, unsigned ifindex)
{
	if (routes->count == routes->room) {
		size_t room = routes->room != 0 ? 2 * routes->room : 16;
		struct netlink_route *items = reallocarray(routes->items, room, sizeof *items);
		if (items == NULL)
			return -ENOMEM;
		routes->items = items;
		routes->room = room;
	}
	routes->items[routes->count] = (struct netlink_route){ip_prefix_network(network), ifindex,
							      (uint32_t)routes->count};
	routes->count++;
	return 0;
}

void netlink_routes_free(struct netlink_routes *routes)
{
	free(routes->items);
	*routes = (struct netlink_routes){0};
}

static int order(unsigned a, unsigned b)
{
	return (a > b) - (a < b);
}

static int compare_networks(const struct ip_prefix *a, const struct ip_prefix *b)
{
	int result = order(a->address.family, b->address.family);
	if (result == 0)
		result = memcmp(a->address.bytes, b->address.bytes, sizeof a->address.bytes);
	return result != 0 ? result : order(a->length, b->length);
}

static int compare_routes(const void *a, const void *b)
{
	const struct netlink_route *one = a, *other = b;
	int result = compare_networks(&one->network, &other->network);
	return result != 0 ? result : order(one->ifindex, other->ifindex);
}

/* By network; for one network unreachable routes come last, the others in the order of appending. */
static int compare_by_rank(const void *a, const void *b)
{
	const struct netlink_route *one = a, *other = b;
	int result = compare_networks(&one->network, &other->network);
	if (result == 0)
		result = order(one->ifindex == NETLINK_UNREACHABLE, other->ifindex == NETLINK_UNREACHABLE);
	return result != 0 ? result : order(one->rank, other->rank);
}

void netlink_routes_settle(struct netlink_routes *routes)
{
	size_t kept = 0;
	if (routes->count != 0)
		qsort(routes->items, routes->count, sizeof *routes->items, compare_by_rank);
	for (size_t i = 0; i < routes->count; i++) {
		const struct netlink_route *route = &routes->items[i], *before = &routes->items[kept - 1];
		bool same = kept != 0 && compare_networks(&before->network, &route->network) == 0;
		/* Of one network: the first, and an unreachable one. */
		if (!same || (route->ifindex == NETLINK_UNREACHABLE && before->ifindex != NETLINK_UNREACHABLE))
			routes->items[kept++] = *route;
	}
	routes->count = kept;
}

void netlink_routes_sort(struct netlink_routes *routes)
{
	if (routes->count != 0)
		qsort(routes->items, routes->count, sizeof *routes->items, compare_routes);
}

static int copy(struct netlink_routes *to, const struct netlink_route *route)
{
	return netlink_routes_append(to, &route->network, route->ifindex);
}

int netlink_routes_compare(const struct netlink_routes *wanted, const struct netlink_routes *have,
			   struct netlink_routes *missing, struct netlink_routes *extra)
{
	int result = 0;
	size_t w = 0, h = 0;
	while (result == 0 && (w < wanted->count || h < have->count)) {
		int side = w == wanted->count ? 1
			   : h == have->count ? -1
					      : compare_routes(&wanted->items[w], &have->items[h]);
		if (side < 0)
			result = copy(missing, &wanted->items[w]);
		else if (side > 0)
			result = copy(extra, &have->items[h]);
		w += side <= 0;
		h += side >= 0;
	}
	return result;
}
