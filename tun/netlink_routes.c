// SPDX-License-Identifier: Apache-2.0
/* Routes: those of the tunnel, the way to the gateway, and the networks that the machine is attached to. */
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>

#include "tun/netlink.h"
#include "tun/netlink_request.h"
#include "tun/netlink_state.h"

enum {
	FLUSH_BATCH = 64,
	CHANGE_BATCH = 64, /* routes: their acknowledgements fit in the socket's buffer */
	CHANGE_MAX = 128,  /* bytes of a request for a route */
	METRIC6 = 1024,	   /* IP6_RT_PRIO_USER: the kernel's default for IPv6 */
};

/* 0: none. The kernel matches it when routes are replaced and deleted. */
static uint32_t metric_of(unsigned ifindex, const struct ip_prefix *network, uint32_t table)
{
	if (table == RT_TABLE_MAIN)
		return NETLINK_MAIN_METRIC;
	if (ifindex == NETLINK_UNREACHABLE)
		return UINT32_MAX;
	return network->address.family == 6 ? METRIC6 : 0;
}

/* Adds the rest to a request that begins at `request`. */
static void put_route(struct nlmsghdr *request, unsigned ifindex, const struct ip_prefix *network, uint32_t table)
{
	struct ip_prefix destination = ip_prefix_network(network); /* the kernel refuses host bits */
	bool link = ifindex != NETLINK_THROW && ifindex != NETLINK_UNREACHABLE;
	uint32_t metric = metric_of(ifindex, network, table);
	struct rtmsg *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
	body->rtm_family = (uint8_t)netlink_family(destination.address.family);
	body->rtm_dst_len = destination.length;
	body->rtm_table = RT_TABLE_UNSPEC; /* in RTA_TABLE: 8 bits are too few */
	/* Deletion matches any: earlier versions used another number. */
	body->rtm_protocol = request->nlmsg_type == RTM_NEWROUTE ? NETLINK_PROTOCOL : RTPROT_UNSPEC;
	body->rtm_scope = destination.address.family == 4 && link ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	body->rtm_type = link ? RTN_UNICAST : ifindex == NETLINK_THROW ? RTN_THROW : RTN_UNREACHABLE;
	netlink_put_address(request, RTA_DST, &destination.address);
	if (link)
		mnl_attr_put_u32(request, RTA_OIF, ifindex);
	mnl_attr_put_u32(request, RTA_TABLE, table);
	if (metric != 0)
		mnl_attr_put_u32(request, RTA_PRIORITY, metric);
}

/* `rc`: the kernel's answer. The same with the operation in front of its reason, or 0 where the result is the one that
 * was wanted. */
static int added(int rc, unsigned ifindex, const struct ip_prefix *network, struct error *error)
{
	char name[IF_NAMESIZE], text[IP_TEXT_MAX];
	if (rc == 0)
		return 0;
	const char *to = ifindex == NETLINK_THROW	  ? "elsewhere"
			 : ifindex == NETLINK_UNREACHABLE ? "nowhere"
							  : netlink_link_name(ifindex, name);
	return error_prefix(error, rc, "add route %s to %s: ", ip_prefix_format(network, text), to);
}

static int deleted(int rc, const struct ip_prefix *network, struct error *error)
{
	char text[IP_TEXT_MAX];
	if (rc == 0 || rc == -ESRCH || rc == -ENODEV)
		return 0;
	return error_prefix(error, rc, "remove route %s: ", ip_prefix_format(network, text));
}

int netlink_route_add(struct netlink *netlink, unsigned ifindex, const struct ip_prefix *network, uint32_t table,
		      struct error *error)
{
	struct nlmsghdr *request = netlink_start(netlink, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
	put_route(request, ifindex, network, table);
	return added(netlink_transact(netlink, request, NULL, NULL, error), ifindex, network, error);
}

int netlink_route_delete(struct netlink *netlink, unsigned ifindex, const struct ip_prefix *network, uint32_t table,
			 struct error *error)
{
	struct nlmsghdr *request = netlink_start(netlink, RTM_DELROUTE, 0);
	put_route(request, ifindex, network, table);
	return deleted(netlink_transact(netlink, request, NULL, NULL, error), network, error);
}

/* --- many at once ------------------------------------------------------------------------------------------------- */

/* What is common to the requests that were sent together. */
struct change {
	bool add;
	const struct netlink_route *items; /* by sequence number from `first` on */
	uint32_t first;
	size_t count, acknowledged, failed;
	struct error *error;
};

static void take_result(struct change *change, size_t i, int rc, struct error *error)
{
	const struct netlink_route *route = &change->items[i];
	rc = change->add ? added(rc, route->ifindex, &route->network, error) : deleted(rc, &route->network, error);
	change->acknowledged++;
	if (rc != 0 && change->failed++ == 0)
		*change->error = *error;
}

/* False: the kernel says no more. */
static bool take_acknowledgements(struct netlink *netlink, struct change *change)
{
	struct error error;
	ssize_t received = mnl_socket_recvfrom(netlink->socket, netlink->answer, sizeof netlink->answer);
	if (received < 0)
		return errno == EINTR;
	int left = (int)received;
	const struct nlmsghdr *message = (const struct nlmsghdr *)netlink->answer;
	for (; netlink_message_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
		uint32_t i = message->nlmsg_seq - change->first;
		if (i < change->count && message->nlmsg_type == NLMSG_ERROR && netlink_message_is_sound(message))
			take_result(change, i, netlink_acknowledged(message, &error), &error);
	}
	return true;
}

static void change_batch(struct netlink *netlink, struct change *change, uint32_t table)
{
	alignas(struct nlmsghdr) char requests[CHANGE_BATCH * CHANGE_MAX];
	size_t used = 0;
	struct error error;
	change->first = netlink->sequence + 1;
	for (size_t i = 0; i < change->count; i++) {
		struct nlmsghdr *request = mnl_nlmsg_put_header(requests + used);
		request->nlmsg_type = change->add ? RTM_NEWROUTE : RTM_DELROUTE;
		request->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK |
						  (change->add ? NLM_F_CREATE | NLM_F_REPLACE : 0));
		request->nlmsg_seq = ++netlink->sequence;
		put_route(request, change->items[i].ifindex, &change->items[i].network, table);
		used += NLMSG_ALIGN(request->nlmsg_len);
	}
	bool goes_on = mnl_socket_sendto(netlink->socket, requests, used) >= 0;
	while (goes_on && change->acknowledged < change->count)
		goes_on = take_acknowledgements(netlink, change);
	/* Which of them are without an answer does not matter: a comparison shows what is there. */
	for (int code = errno; change->acknowledged < change->count;)
		take_result(change, change->acknowledged,
			    error_set(&error, -code, "no answer from the kernel: %s", strerror(code)), &error);
}

size_t netlink_routes_change(struct netlink *netlink, bool add, const struct netlink_route *items, size_t count,
			     uint32_t table, struct error *error)
{
	size_t failed = 0;
	struct error first;
	for (size_t done = 0; done < count; done += CHANGE_BATCH) {
		struct change change = {.add = add,
					.items = items + done,
					.count = count - done < CHANGE_BATCH ? count - done : CHANGE_BATCH,
					.error = failed == 0 ? error : &first};
		change_batch(netlink, &change, table);
		failed += change.failed;
	}
	return failed;
}

/* --- reading a table back, and emptying it ------------------------------------------------------------------------ */

/* --- tunnels of other programs ------------------------------------------------------------------------------------ */

static void kind_read(const struct nlmsghdr *message, void *data)
{
	static const char *const kinds[] = {"tun", "wireguard", "ipip",	  "sit",  "gre",
					    "vti", "ip6tnl",	"ip6gre", "vti6", "xfrm"};
	struct netlink_attributes attributes = netlink_attributes(message, sizeof(struct ifinfomsg));
	struct netlink_attributes info = netlink_nested_attributes(attributes.by_type[IFLA_LINKINFO]);
	const struct nlattr *kind = info.by_type[IFLA_INFO_KIND];
	bool *tunnel = data;
	for (size_t i = 0; i < ARRAY_SIZE(kinds) && kind != NULL; i++) {
		if (mnl_attr_validate(kind, MNL_TYPE_NUL_STRING) == 0 && strcmp(mnl_attr_get_str(kind), kinds[i]) == 0)
			*tunnel = true;
	}
}

bool netlink_link_is_tunnel(struct netlink *netlink, unsigned ifindex)
{
	bool tunnel = false;
	struct error error;
	struct nlmsghdr *request = netlink_start(netlink, RTM_GETLINK, 0);
	struct ifinfomsg *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
	body->ifi_index = (int)ifindex;
	return netlink_transact(netlink, request, kind_read, &tunnel, &error) == 0 && tunnel;
}

struct detour_search {
	unsigned ifindex;
	struct netlink_detours *detours;
};

static void detour_read(const struct nlmsghdr *message, void *data)
{
	struct detour_search *search = data;
	struct netlink_detours *detours = search->detours;
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	struct netlink_attributes attributes = netlink_attributes(message, sizeof *route);
	unsigned ifindex = netlink_attribute_u32(&attributes, RTA_OIF, 0);
	unsigned host = route->rtm_family == AF_INET ? 32 : 128;
	if (message->nlmsg_type != RTM_NEWROUTE || route->rtm_type != RTN_UNICAST ||
	    netlink_attribute_u32(&attributes, RTA_TABLE, route->rtm_table) != RT_TABLE_MAIN)
		return;
	if (ifindex == search->ifindex)
		detours->everything |= route->rtm_dst_len <= 1;
	else if (route->rtm_dst_len == host && attributes.by_type[RTA_GATEWAY] != NULL &&
		 detours->count < NETLINK_DETOURS_MAX)
		detours->hosts[detours->count++] = netlink_address_read(attributes.by_type[RTA_DST], route->rtm_family);
}

int netlink_detours(struct netlink *netlink, uint8_t family, unsigned ifindex, struct netlink_detours *detours,
		    struct error *error)
{
	struct detour_search search = {.ifindex = ifindex, .detours = detours};
	*detours = (struct netlink_detours){0};
	if (!netlink_link_is_tunnel(netlink, ifindex))
		return 0;
	struct nlmsghdr *request = netlink_start(netlink, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
	body->rtm_family = (uint8_t)netlink_family(family);
	mnl_attr_put_u32(request, RTA_TABLE, RT_TABLE_MAIN);
	int rc = netlink_transact(netlink, request, detour_read, &search, error);
	return rc < 0 ? error_prefix(error, rc, "list IPv%u routes: ", family) : 0;
}

struct table_search {
	uint8_t family; /* a kernel without IPv6 dumps the families that it has */
	uint32_t table;
	bool all; /* of any protocol */
	struct netlink_routes *routes;
	size_t most;
	int result;
};

static void table_route_read(const struct nlmsghdr *message, void *data)
{
	struct table_search *search = data;
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	struct netlink_attributes attributes = netlink_attributes(message, sizeof *route);
	if (message->nlmsg_type != RTM_NEWROUTE || search->routes->count == search->most || search->result != 0 ||
	    route->rtm_family != netlink_family(search->family) ||
	    (!search->all && route->rtm_protocol != NETLINK_PROTOCOL) ||
	    netlink_attribute_u32(&attributes, RTA_TABLE, route->rtm_table) != search->table)
		return;
	struct ip_prefix network = {netlink_address_read(attributes.by_type[RTA_DST], route->rtm_family),
				    route->rtm_dst_len};
	network.address.family = route->rtm_family == AF_INET ? 4 : 6; /* the default route has no RTA_DST */
	unsigned ifindex = route->rtm_type == RTN_THROW	    ? NETLINK_THROW
			   : route->rtm_type == RTN_UNICAST ? netlink_attribute_u32(&attributes, RTA_OIF, 0)
							    : NETLINK_UNREACHABLE;
	search->result = netlink_routes_append(search->routes, &network, ifindex);
}

/* Filtered by the kernel, where it can be. */
static int table_dump(struct netlink *netlink, struct table_search *search, struct error *error)
{
	struct nlmsghdr *request = netlink_start(netlink, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
	body->rtm_family = (uint8_t)netlink_family(search->family);
	body->rtm_protocol = search->all ? RTPROT_UNSPEC : NETLINK_PROTOCOL;
	mnl_attr_put_u32(request, RTA_TABLE, search->table);
	int rc = netlink_transact(netlink, request, table_route_read, search, error);
	if (rc == -EAFNOSUPPORT || rc == -ENOENT) /* no such table yet */
		return 0;
	if (rc == 0 && search->result != 0)
		rc = error_set(error, search->result, "out of memory");
	return rc < 0 ? error_prefix(error, rc, "list IPv%u routes of table %u: ", search->family, search->table) : 0;
}

int netlink_routes_read(struct netlink *netlink, uint8_t family, uint32_t table, struct netlink_routes *routes,
			struct error *error)
{
	struct table_search search = {.family = family, .table = table, .routes = routes, .most = SIZE_MAX};
	int rc = table_dump(netlink, &search, error);
	if (rc == 0)
		netlink_routes_sort(routes);
	return rc;
}

bool netlink_table_is_used(struct netlink *netlink, uint8_t family, uint32_t table)
{
	struct netlink_routes found = {0};
	struct table_search search = {.family = family, .table = table, .all = true, .routes = &found, .most = 1};
	int rc = table_dump(netlink, &search, NULL);
	bool used = rc == 0 && found.count != 0;
	netlink_routes_free(&found);
	return used;
}

/* Deletes the table's first route to the network, of any type. */
static int route_delete_any(struct netlink *netlink, const struct ip_prefix *network, uint32_t table,
			    struct error *error)
{
	char text[IP_TEXT_MAX];
	struct nlmsghdr *request = netlink_start(netlink, RTM_DELROUTE, 0);
	struct rtmsg *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
	body->rtm_family = (uint8_t)netlink_family(network->address.family);
	body->rtm_dst_len = network->length;
	body->rtm_scope = RT_SCOPE_NOWHERE; /* any */
	netlink_put_address(request, RTA_DST, &network->address);
	mnl_attr_put_u32(request, RTA_TABLE, table);
	int rc = netlink_transact(netlink, request, NULL, NULL, error);
	if (rc == 0 || rc == -ESRCH)
		return rc;
	return error_prefix(error, rc, "remove route %s: ", ip_prefix_format(network, text));
}

/* Some at a time, then a new dump: the kernel skips routes when others are deleted during a dump. */
int netlink_table_flush(struct netlink *netlink, uint8_t family, uint32_t table, struct error *error)
{
	for (;;) {
		struct netlink_routes found = {0};
		struct table_search search = {
			.family = family, .table = table, .all = true, .routes = &found, .most = FLUSH_BATCH};
		int rc = table_dump(netlink, &search, error);
		size_t count = found.count, gone = 0;
		for (size_t i = 0; i < count && rc == 0; i++) {
			int one = route_delete_any(netlink, &found.items[i].network, table, error);
			gone += one == 0;
			rc = one == -ESRCH ? 0 : one;
		}
		netlink_routes_free(&found);
		/* Otherwise the next dump would find the same routes again, endlessly. */
		if (rc < 0 || count < FLUSH_BATCH || gone == 0)
			return rc;
	}
}

/* --- paths and attached networks ---------------------------------------------------------------------------------- */

struct route_answer {
	struct netlink_path path;
	bool learned; /* its MTU came from ICMP and expires */
};

static void route_read(const struct nlmsghdr *message, void *data)
{
	struct route_answer *route = data;
	int family = ((const struct rtmsg *)mnl_nlmsg_get_payload(message))->rtm_family;
	struct netlink_attributes attributes = netlink_attributes(message, sizeof(struct rtmsg));
	const struct nlattr *nest = attributes.by_type[RTA_METRICS], *cache = attributes.by_type[RTA_CACHEINFO];

	struct netlink_attributes metrics = netlink_nested_attributes(nest);
	route->path.ifindex = netlink_attribute_u32(&attributes, RTA_OIF, 0);
	route->path.source = netlink_address_read(attributes.by_type[RTA_PREFSRC], family);
	route->path.gateway = netlink_address_read(attributes.by_type[RTA_GATEWAY], family);
	route->path.mtu = netlink_attribute_u32(&metrics, RTAX_MTU, 0);
	route->learned = cache != NULL && mnl_attr_get_payload_len(cache) >= sizeof(struct rta_cacheinfo) &&
			 ((const struct rta_cacheinfo *)mnl_attr_get_payload(cache))->rta_expires != 0;
}

static void link_read(const struct nlmsghdr *message, void *data)
{
	unsigned *mtu = data;
	struct netlink_attributes attributes = netlink_attributes(message, sizeof(struct ifinfomsg));

	*mtu = netlink_attribute_u32(&attributes, IFLA_MTU, 0);
}

int netlink_path_find(struct netlink *netlink, const struct ip_address *destination, uint32_t mark,
		      struct netlink_path *path, struct error *error)
{
	char text[IP_TEXT_MAX];
	struct route_answer route = {0};
	struct nlmsghdr *request = netlink_start(netlink, RTM_GETROUTE, 0);
	struct rtmsg *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
	body->rtm_family = (uint8_t)netlink_family(destination->family);
	body->rtm_dst_len = destination->family == 4 ? 32 : 128;
	netlink_put_address(request, RTA_DST, destination);
	mnl_attr_put_u32(request, RTA_MARK, mark);
	int rc = netlink_transact(netlink, request, route_read, &route, error);
	if (rc < 0)
		return error_prefix(error, rc, "route to %s: ", ip_address_format(destination, text));

	unsigned link_mtu = 0;
	struct nlmsghdr *link = netlink_start(netlink, RTM_GETLINK, 0);
	struct ifinfomsg *link_body = mnl_nlmsg_put_extra_header(link, sizeof *link_body);
	link_body->ifi_index = (int)route.path.ifindex;
	rc = netlink_transact(netlink, link, link_read, &link_mtu, error);
	if (rc < 0)
		return error_prefix(error, rc, "MTU of the link to %s: ", ip_address_format(destination, text));

	*path = route.path;
	if (path->mtu == 0 || path->mtu >= link_mtu || route.learned)
		path->mtu = link_mtu;
	return 0;
}

struct attached_search {
	struct netlink_attached_list *list;
	int result;
};

static int attached_append(struct netlink_attached_list *list, const struct netlink_attached *one)
{
	if (list->count == list->room) {
		size_t room = list->room != 0 ? 2 * list->room : 16;
		struct netlink_attached *items = reallocarray(list->items, room, sizeof *items);
		if (items == NULL)
			return -ENOMEM;
		list->items = items;
		list->room = room;
	}
	list->items[list->count++] = *one;
	return 0;
}

void netlink_attached_free(struct netlink_attached_list *list)
{
	free(list->items);
	*list = (struct netlink_attached_list){0};
}

/* Only routes that the kernel made from the machine's addresses, or that a router advertised as on-link. Routes of DHCP
 * and of other programs do not count, with a gateway or without. */
static void attached_read(const struct nlmsghdr *message, void *data)
{
	struct attached_search *search = data;
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	struct netlink_attributes attributes = netlink_attributes(message, sizeof *route);
	bool own = route->rtm_protocol == RTPROT_KERNEL || route->rtm_protocol == RTPROT_RA;
	bool through = attributes.by_type[RTA_GATEWAY] != NULL || attributes.by_type[RTA_VIA] != NULL ||
		       attributes.by_type[RTA_MULTIPATH] != NULL;
	bool dead = (route->rtm_flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)) != 0;

	if (message->nlmsg_type != RTM_NEWROUTE || route->rtm_type != RTN_UNICAST || !own || through || dead ||
	    netlink_attribute_u32(&attributes, RTA_TABLE, route->rtm_table) != RT_TABLE_MAIN)
		return;
	const struct netlink_attached found = {
		.network = {netlink_address_read(attributes.by_type[RTA_DST], route->rtm_family), route->rtm_dst_len},
		.ifindex = netlink_attribute_u32(&attributes, RTA_OIF, 0),
		.metric = netlink_attribute_u32(&attributes, RTA_PRIORITY, 0),
	};
	if (found.network.address.family != 0 && found.ifindex != 0 && search->result == 0)
		search->result = attached_append(search->list, &found);
}

/* The kernel filters by protocol: a full table of another protocol costs a walk in the kernel and no messages. */
static int attached_dump(struct netlink *netlink, uint8_t family, uint8_t protocol, struct attached_search *search,
			 struct error *error)
{
	struct nlmsghdr *request = netlink_start(netlink, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
	body->rtm_family = (uint8_t)netlink_family(family);
	body->rtm_protocol = protocol;
	mnl_attr_put_u32(request, RTA_TABLE, RT_TABLE_MAIN);
	return netlink_transact(netlink, request, attached_read, search, error);
}

int netlink_attached_read(struct netlink *netlink, uint8_t family, struct netlink_attached_list *list,
			  struct error *error)
{
	struct attached_search search = {.list = list};
	int rc = attached_dump(netlink, family, RTPROT_KERNEL, &search, error);
	if (rc == 0 && family == 6)
		rc = attached_dump(netlink, family, RTPROT_RA, &search, error);
	if (rc == -EAFNOSUPPORT || rc == -ENOENT)
		return 0;
	if (rc == 0 && search.result != 0)
		rc = error_set(error, search.result, "out of memory");
	return rc < 0 ? error_prefix(error, rc, "list IPv%u routes: ", family) : 0;
}
