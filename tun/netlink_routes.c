// SPDX-License-Identifier: Apache-2.0
/* Routes: those of the tunnel, the way to the gateway, and the networks that the machine is attached to. */
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "tun/netlink_request.h"

enum { FLUSH_BATCH = 64 };

static struct ip_address address_read(const struct nlattr *attribute, int family)
{
	struct ip_address address = {0};
	size_t size = family == AF_INET ? 4 : 16;
	if (attribute == NULL || mnl_attr_get_payload_len(attribute) != size)
		return address;
	address.family = family == AF_INET ? 4 : 6;
	memcpy(address.bytes, mnl_attr_get_payload(attribute), size);
	return address;
}

static int route_request(struct netlink *netlink, uint16_t type, uint16_t flags, unsigned ifindex,
			 const struct ip_prefix *network, uint32_t table, struct error *error)
{
	struct ip_prefix destination = ip_prefix_network(network); /* the kernel refuses host bits */
	bool link = ifindex != NETLINK_THROW && ifindex != NETLINK_UNREACHABLE;
	struct nlmsghdr *request = netlink_start(netlink, type, flags);
	struct rtmsg *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
	body->rtm_family = (uint8_t)netlink_family(destination.address.family);
	body->rtm_dst_len = destination.length;
	body->rtm_table = RT_TABLE_UNSPEC; /* RTA_TABLE says it: 8 bits are too few */
	body->rtm_protocol = RTPROT_STATIC;
	body->rtm_scope = destination.address.family == 4 && link ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	body->rtm_type = link ? RTN_UNICAST : ifindex == NETLINK_THROW ? RTN_THROW : RTN_UNREACHABLE;
	netlink_put_address(request, RTA_DST, &destination.address);
	if (link)
		mnl_attr_put_u32(request, RTA_OIF, ifindex);
	mnl_attr_put_u32(request, RTA_TABLE, table);
	if (table == RT_TABLE_MAIN)
		mnl_attr_put_u32(request, RTA_PRIORITY, NETLINK_MAIN_METRIC);
	return netlink_transact(netlink, request, NULL, NULL, error);
}

int netlink_route_add(struct netlink *netlink, unsigned ifindex, const struct ip_prefix *network, uint32_t table,
		      struct error *error)
{
	char name[IF_NAMESIZE], text[IP_TEXT_MAX];
	int rc = route_request(netlink, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, ifindex, network, table, error);
	if (rc == 0)
		return 0;
	const char *to = ifindex == NETLINK_THROW	  ? "elsewhere"
			 : ifindex == NETLINK_UNREACHABLE ? "nowhere"
							  : netlink_link_name(ifindex, name);
	return error_prefix(error, rc, "add route %s to %s: ", ip_prefix_format(network, text), to);
}

int netlink_route_delete(struct netlink *netlink, unsigned ifindex, const struct ip_prefix *network, uint32_t table,
			 struct error *error)
{
	char text[IP_TEXT_MAX];
	int rc = route_request(netlink, RTM_DELROUTE, 0, ifindex, network, table, error);
	if (rc == 0 || rc == -ESRCH || rc == -ENODEV)
		return 0;
	return error_prefix(error, rc, "remove route %s: ", ip_prefix_format(network, text));
}

/* --- emptying a table --------------------------------------------------------------------------------------------- */

struct flush_search {
	uint32_t table;
	size_t count;
	struct {
		struct ip_prefix network;
		unsigned ifindex;
	} found[FLUSH_BATCH];
};

static void flush_read(const struct nlmsghdr *message, void *data)
{
	struct flush_search *search = data;
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	struct netlink_attributes attributes = netlink_attributes(message, sizeof *route);
	if (message->nlmsg_type != RTM_NEWROUTE || search->count == FLUSH_BATCH ||
	    netlink_attribute_u32(&attributes, RTA_TABLE, route->rtm_table) != search->table)
		return;
	struct ip_prefix network = {address_read(attributes.by_type[RTA_DST], route->rtm_family), route->rtm_dst_len};
	network.address.family = route->rtm_family == AF_INET ? 4 : 6; /* the default route has no RTA_DST */
	search->found[search->count].network = network;
	search->found[search->count++].ifindex = route->rtm_type == RTN_THROW ? NETLINK_THROW
						 : route->rtm_type == RTN_UNREACHABLE
							 ? NETLINK_UNREACHABLE
							 : netlink_attribute_u32(&attributes, RTA_OIF, 0);
}

/* Some at a time, from a fresh list: a deletion during a dump makes the kernel skip others. */
int netlink_table_flush(struct netlink *netlink, uint8_t family, uint32_t table, struct error *error)
{
	for (;;) {
		struct flush_search search = {.table = table};
		struct nlmsghdr *request = netlink_start(netlink, RTM_GETROUTE, NLM_F_DUMP);
		struct rtmsg *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
		body->rtm_family = (uint8_t)netlink_family(family);
		int rc = netlink_transact(netlink, request, flush_read, &search, error);
		if (rc == -EAFNOSUPPORT)
			return 0;
		if (rc < 0)
			return error_prefix(error, rc, "list IPv%u routes: ", family);
		for (size_t i = 0; i < search.count; i++) {
			rc = netlink_route_delete(netlink, search.found[i].ifindex, &search.found[i].network, table,
						  error);
			if (rc < 0)
				return rc;
		}
		if (search.count < FLUSH_BATCH)
			return 0;
	}
}

struct table_search {
	uint32_t table;
	bool used;
};

static void table_match(const struct nlmsghdr *message, void *data)
{
	struct table_search *search = data;
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	struct netlink_attributes attributes = netlink_attributes(message, sizeof *route);
	search->used |= message->nlmsg_type == RTM_NEWROUTE &&
			netlink_attribute_u32(&attributes, RTA_TABLE, route->rtm_table) == search->table;
}

bool netlink_table_is_used(struct netlink *netlink, uint8_t family, uint32_t table)
{
	struct table_search search = {.table = table};
	struct error error;
	struct nlmsghdr *request = netlink_start(netlink, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
	body->rtm_family = (uint8_t)netlink_family(family);
	mnl_attr_put_u32(request, RTA_TABLE, table); /* a kernel that filters answers -ENOENT when it is empty */
	(void)netlink_transact(netlink, request, table_match, &search, &error);
	return search.used;
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
	route->path.source = address_read(attributes.by_type[RTA_PREFSRC], family);
	route->path.gateway = address_read(attributes.by_type[RTA_GATEWAY], family);
	route->path.mtu = netlink_attribute_u32(&metrics, RTAX_MTU, 0);
	route->learned = cache != NULL && ((const struct rta_cacheinfo *)mnl_attr_get_payload(cache))->rta_expires != 0;
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
	struct netlink_attached *list;
	size_t count, most;
};

/* Only what follows from an address of the machine, or what a router announced to be on the link: a route that DHCP or
 * anybody else put there does not count, with a gateway or without. */
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
	    netlink_attribute_u32(&attributes, RTA_TABLE, route->rtm_table) != RT_TABLE_MAIN ||
	    search->count == search->most)
		return;
	struct netlink_attached *found = &search->list[search->count];
	*found = (struct netlink_attached){
		.network = {address_read(attributes.by_type[RTA_DST], route->rtm_family), route->rtm_dst_len},
		.ifindex = netlink_attribute_u32(&attributes, RTA_OIF, 0),
		.metric = netlink_attribute_u32(&attributes, RTA_PRIORITY, 0),
	};
	if (found->network.address.family != 0 && found->ifindex != 0)
		search->count++;
}

int netlink_attached(struct netlink *netlink, uint8_t family, struct netlink_attached *list, size_t most,
		     struct error *error)
{
	struct attached_search search = {.list = list, .most = most};
	struct nlmsghdr *request = netlink_start(netlink, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
	body->rtm_family = (uint8_t)netlink_family(family);
	int rc = netlink_transact(netlink, request, attached_read, &search, error);
	if (rc == -EAFNOSUPPORT)
		return 0;
	return rc < 0 ? error_prefix(error, rc, "list IPv%u routes: ", family) : (int)search.count;
}
