// SPDX-License-Identifier: Apache-2.0
#include "tun/netlink.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>

#include "tun/netlink_request.h"

struct netlink *netlink_open(struct error *error)
{
	struct netlink *netlink = calloc(1, sizeof *netlink);
	if (netlink == NULL) {
		error_set(error, -ENOMEM, "netlink: out of memory");
		return NULL;
	}
	netlink->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (netlink->socket == NULL || mnl_socket_bind(netlink->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		int code = errno;
		error_set(error, -code, "netlink: cannot open a route socket (%s)", strerror(code));
		netlink_close(netlink);
		errno = code;
		return NULL;
	}
	/* Both are optional. Without extended acknowledgements error texts come from strerror(). Without strict
	 * checking (Linux 4.20) the kernel does not filter dumps, and each reader skips what it did not ask for. */
	int on = 1;
	mnl_socket_setsockopt(netlink->socket, NETLINK_EXT_ACK, &on, sizeof on);
	mnl_socket_setsockopt(netlink->socket, NETLINK_GET_STRICT_CHK, &on, sizeof on);
	return netlink;
}

void netlink_close(struct netlink *netlink)
{
	if (netlink == NULL)
		return;
	if (netlink->socket != NULL)
		mnl_socket_close(netlink->socket);
	free(netlink);
}

/* --- links -------------------------------------------------------------------------------------------------------- */

static struct nlmsghdr *link_request(struct netlink *netlink, unsigned ifindex, unsigned change, unsigned flags)
{
	struct nlmsghdr *request = netlink_start(netlink, RTM_NEWLINK, 0);
	struct ifinfomsg *link = mnl_nlmsg_put_extra_header(request, sizeof *link);
	link->ifi_family = AF_UNSPEC;
	link->ifi_index = (int)ifindex;
	link->ifi_change = change;
	link->ifi_flags = flags;
	return request;
}

int netlink_link_set_mtu(struct netlink *netlink, unsigned ifindex, unsigned mtu, struct error *error)
{
	char name[IF_NAMESIZE];
	struct nlmsghdr *request = link_request(netlink, ifindex, 0, 0);
	mnl_attr_put_u32(request, IFLA_MTU, mtu);
	int rc = netlink_transact(netlink, request, NULL, NULL, error);
	return rc == 0 ? 0 : error_prefix(error, rc, "set MTU %u on %s: ", mtu, netlink_link_name(ifindex, name));
}

int netlink_link_set_queue_length(struct netlink *netlink, unsigned ifindex, unsigned packets, struct error *error)
{
	char name[IF_NAMESIZE];
	struct nlmsghdr *request = link_request(netlink, ifindex, 0, 0);
	mnl_attr_put_u32(request, IFLA_TXQLEN, packets);
	int rc = netlink_transact(netlink, request, NULL, NULL, error);
	return rc == 0 ? 0
		       : error_prefix(error, rc, "set queue length %u on %s: ", packets,
				      netlink_link_name(ifindex, name));
}

int netlink_link_set_up(struct netlink *netlink, unsigned ifindex, struct error *error)
{
	char name[IF_NAMESIZE];
	int rc = netlink_transact(netlink, link_request(netlink, ifindex, IFF_UP, IFF_UP), NULL, NULL, error);
	return rc == 0 ? 0 : error_prefix(error, rc, "set %s up: ", netlink_link_name(ifindex, name));
}

int netlink_link_set_group(struct netlink *netlink, unsigned ifindex, unsigned group, struct error *error)
{
	char name[IF_NAMESIZE];
	struct nlmsghdr *request = link_request(netlink, ifindex, 0, 0);
	mnl_attr_put_u32(request, IFLA_GROUP, group);
	int rc = netlink_transact(netlink, request, NULL, NULL, error);
	return rc == 0 ? 0 : error_prefix(error, rc, "set group %u of %s: ", group, netlink_link_name(ifindex, name));
}

int netlink_link_no_link_local(struct netlink *netlink, unsigned ifindex, struct error *error)
{
	char name[IF_NAMESIZE];
	struct nlmsghdr *request = link_request(netlink, ifindex, 0, 0);
	struct nlattr *families = mnl_attr_nest_start(request, IFLA_AF_SPEC);
	struct nlattr *inet6 = mnl_attr_nest_start(request, AF_INET6);
	mnl_attr_put_u8(request, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(request, inet6);
	mnl_attr_nest_end(request, families);
	int rc = netlink_transact(netlink, request, NULL, NULL, error);
	if (rc == 0 || rc == -EAFNOSUPPORT)
		return 0;
	return error_prefix(error, rc, "turn off link-local addresses on %s: ", netlink_link_name(ifindex, name));
}

/* --- addresses -------------------------------------------------------------------------------------------------- */

static int address_request(struct netlink *netlink, uint16_t type, uint16_t flags, unsigned ifindex,
			   const struct ip_prefix *address, struct error *error)
{
	struct nlmsghdr *request = netlink_start(netlink, type, flags);
	struct ifaddrmsg *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
	body->ifa_family = (uint8_t)netlink_family(address->address.family);
	body->ifa_prefixlen = address->length;
	body->ifa_flags = address->address.family == 6 ? IFA_F_NODAD : 0;
	body->ifa_scope = RT_SCOPE_UNIVERSE;
	body->ifa_index = ifindex;
	netlink_put_address(request, IFA_LOCAL, &address->address);
	netlink_put_address(request, IFA_ADDRESS, &address->address);
	return netlink_transact(netlink, request, NULL, NULL, error);
}

int netlink_address_add(struct netlink *netlink, unsigned ifindex, const struct ip_prefix *address, struct error *error)
{
	char name[IF_NAMESIZE], text[IP_TEXT_MAX];
	int rc = address_request(netlink, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, ifindex, address, error);
	if (rc == 0 || rc == -EEXIST)
		return 0;
	return error_prefix(error, rc, "add address %s to %s: ", ip_prefix_format(address, text),
			    netlink_link_name(ifindex, name));
}

int netlink_address_delete(struct netlink *netlink, unsigned ifindex, const struct ip_prefix *address,
			   struct error *error)
{
	char name[IF_NAMESIZE], text[IP_TEXT_MAX];
	int rc = address_request(netlink, RTM_DELADDR, 0, ifindex, address, error);
	if (rc == 0 || rc == -EADDRNOTAVAIL)
		return 0;
	return error_prefix(error, rc, "remove address %s from %s: ", ip_prefix_format(address, text),
			    netlink_link_name(ifindex, name));
}
