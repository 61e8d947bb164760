// SPDX-License-Identifier: Apache-2.0
#include "tun/netlink_watch.h"

#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdalign.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGES_MAX = 16384 };

int netlink_watch_open(struct error *error)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK,
				      .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
						   RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (fd < 0)
		return error_set(error, -errno, "netlink: cannot open a route socket (%s)", strerror(errno));
	if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
		int code = errno;
		close(fd);
		return error_set(error, -code, "netlink: cannot watch for changes (%s)", strerror(code));
	}
	return fd;
}

static bool find_attribute(const struct nlmsghdr *message, size_t header, uint16_t type, uint32_t *value)
{
	const struct nlattr *attribute = mnl_nlmsg_get_payload_offset(message, header);
	const char *end = mnl_nlmsg_get_payload_tail(message);
	for (; mnl_attr_ok(attribute, (int)(end - (const char *)attribute)); attribute = mnl_attr_next(attribute)) {
		if (mnl_attr_get_type(attribute) == type && mnl_attr_get_payload_len(attribute) == sizeof *value) {
			*value = mnl_attr_get_u32(attribute);
			return true;
		}
	}
	return false;
}

static bool foreign(const struct nlmsghdr *message, unsigned ifindex, uint32_t table)
{
	uint32_t value = 0;
	switch (message->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return (unsigned)((const struct ifinfomsg *)mnl_nlmsg_get_payload(message))->ifi_index != ifindex;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return ((const struct ifaddrmsg *)mnl_nlmsg_get_payload(message))->ifa_index != ifindex;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		if (find_attribute(message, sizeof(struct rtmsg), RTA_TABLE, &value) && value == table)
			return false;
		return find_attribute(message, sizeof(struct rtmsg), RTA_OIF, &value) || value != ifindex;
	default:
		return false;
	}
}

bool netlink_watch_read(int fd, unsigned ifindex, uint32_t table)
{
	alignas(struct nlmsghdr) char buffer[MESSAGES_MAX];
	bool changed = false;
	for (;;) {
		ssize_t received = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
		if (received < 0 && errno == ENOBUFS)
			changed = true;
		else if (received == 0 || (received < 0 && errno != EINTR))
			return changed;
		int left = received > 0 ? (int)received : 0;
		const struct nlmsghdr *message = (const struct nlmsghdr *)buffer;
		for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left))
			changed |= foreign(message, ifindex, table);
	}
}
