// SPDX-License-Identifier: Apache-2.0
#include "core/client/network.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/host/sysctl.h"
#include "tun/netlink_watch.h"

enum {
	SETTLE_MS = 50, /* one change of the network comes as several messages */
	UDP_HEADER = 8,
	IPV4_HEADER = 20,
	IPV6_HEADER = 40,
	IPV6_LEAST_MTU = 1280,
};

static const uint8_t families[] = {4, 6};

int client_network_clean(uint32_t table, unsigned rank, struct error *error)
{
	struct netlink *netlink = netlink_open(error);
	if (netlink == NULL)
		return -errno;
	int result = client_table_clean(table, rank, netlink, error);
	for (size_t i = 0; i < ARRAY_SIZE(families) && result == 0; i++) {
		int one = netlink_table_flush(netlink, families[i], table, error);
		if (one != 0)
			result = one;
	}
	netlink_close(netlink);
	return result;
}

static int open_timer(int *fd, struct error *error)
{
	*fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return *fd < 0 ? error_set(error, -errno, "timer: %s", strerror(errno)) : 0;
}

int client_network_open(struct client_network *network, unsigned ifindex, const struct client_config *config,
			const struct ip_set *allowed, struct error *error)
{
	*network = (struct client_network){.config = config,
					   .allowed = allowed,
					   .ifindex = ifindex,
					   .interest = {.ifindex = ifindex},
					   .watch_fd = -1,
					   .settle_fd = -1};
	network->netlink = netlink_open(error);
	if (network->netlink == NULL)
		return -errno;
	int result = netlink_link_set_group(network->netlink, ifindex, CLIENT_LINK_GROUP, error);
	if (result == 0)
		result = open_timer(&network->settle_fd, error);
	if (result == 0) {
		network->watch_fd = netlink_watch_open(&network->interest, error);
		result = network->watch_fd < 0 ? network->watch_fd : 0;
	}
	if (result != 0)
		client_network_close(network);
	return result;
}

void client_network_close(struct client_network *network)
{
	int *const descriptors[] = {&network->settle_fd, &network->watch_fd};
	netlink_close(network->netlink);
	network->netlink = NULL;
	netlink_attached_free(&network->attached);
	for (size_t i = 0; i < ARRAY_SIZE(descriptors); i++) {
		if (*descriptors[i] >= 0)
			close(*descriptors[i]);
		*descriptors[i] = -1;
	}
}

/* --- the lease ---------------------------------------------------------------------------------------------------- */

struct ip_prefix client_network_host(const struct ip_prefix *leased)
{
	struct ip_prefix host = *leased;
	host.length = host.address.family == 4 ? 32 : 128;
	return host;
}

static void drop_address(struct client_network *network, const struct ip_prefix *before, const struct ip_prefix *now)
{
	struct error error = {0};
	if (before->address.family == 0 || ip_address_equal(&before->address, &now->address))
		return;
	struct ip_prefix old = client_network_host(before);
	if (netlink_address_delete(network->netlink, network->ifindex, &old, &error) != 0)
		log_warning("%s", error.text);
}

/* Switches IPv6 on for our interface: it may be off for new ones. Returns whether it is on. */
static bool has_ipv6(struct client_network *network)
{
	int result = sysctl_enable_ipv6(network->ifindex);
	if (result != 0 && !network->ipv6_off)
		log_warning("IPv6 is off on the tunnel's interface and cannot be switched on (%s): going on with IPv4, "
			    "and AllowedIPs of IPv6 are refused; net.ipv6.conf.default.disable_ipv6 = 0 lets it in",
			    strerror(-result));
	network->ipv6_off = result != 0;
	return result == 0;
}

void client_network_apply(struct client_network *network, const struct wire_welcome *lease)
{
	struct wire_welcome before = network->wanted;
	network->wanted = *lease;
	/* The kernel has no IPv6 on links whose MTU is below 1280. */
	if (lease->mtu < IPV6_LEAST_MTU || (lease->address6.address.family != 0 && !has_ipv6(network)))
		network->wanted.address6 = (struct ip_prefix){0};
	drop_address(network, &before.address4, &network->wanted.address4);
	drop_address(network, &before.address6, &network->wanted.address6);
	network->attached_stale |= !network->leased;
	network->leased = true;
}

/* --- the path to the gateway -------------------------------------------------------------------------------------- */

struct ip_address client_network_address(const struct sockaddr_in6 *remote)
{
	struct ip_address address = {.family = 6};
	memcpy(address.bytes, &remote->sin6_addr, 16);
	if (IN6_IS_ADDR_V4MAPPED(&remote->sin6_addr)) {
		address = (struct ip_address){.family = 4};
		memcpy(address.bytes, &remote->sin6_addr.s6_addr[12], 4);
	}
	return address;
}

void client_network_aim(struct client_network *network, const struct sockaddr_in6 *remote)
{
	struct error error = {0};
	struct netlink_interest interest = network->interest;
	interest.table = network->table.number;
	interest.endpoint = client_network_address(remote);
	if (interest.table == network->interest.table &&
	    ip_address_equal(&interest.endpoint, &network->interest.endpoint))
		return;
	if (netlink_watch_aim(network->watch_fd, &interest, &error) == 0)
		network->interest = interest;
	else
		log_warning("%s", error.text);
}

int client_network_path(struct client_network *network, const struct sockaddr_in6 *remote, struct netlink_path *path,
			struct error *error)
{
	struct ip_address address = client_network_address(remote);
	client_network_aim(network, remote); /* before the lookup: no change after it goes unnoticed */
	int result = netlink_path_find(network->netlink, &address, CLIENT_MARK, path, error);
	if (result == 0 && path->ifindex == network->ifindex) {
		char text[IP_TEXT_MAX];
		result = error_set(error, -ELOOP,
				   "route to %s: table main leads into the tunnel itself; remove that route",
				   ip_address_format(&address, text));
	}
	return result;
}

uint16_t client_network_mtu(const struct netlink_path *path, const struct sockaddr_in6 *remote, uint16_t most)
{
	unsigned ip_header = IN6_IS_ADDR_V4MAPPED(&remote->sin6_addr) ? IPV4_HEADER : IPV6_HEADER;
	unsigned overhead = ip_header + UDP_HEADER + WIRE_OVERHEAD;
	unsigned inner = path->mtu > overhead + WIRE_MTU_MIN ? path->mtu - overhead : WIRE_MTU_MIN;
	return inner < most ? (uint16_t)inner : most;
}

unsigned client_network_changed(struct client_network *network)
{
	static const struct itimerspec when = {.it_value.tv_nsec = SETTLE_MS * 1000000};
	unsigned changed = netlink_watch_read(network->watch_fd, &network->interest);
	network->attached_stale |= (changed & NETLINK_CHANGED_ATTACHED) != 0;
	if ((changed & NETLINK_CHANGED_PATH) != 0)
		(void)timerfd_settime(network->settle_fd, 0, &when, NULL);
	return changed;
}

static void drain(int timer_fd)
{
	uint64_t count;
	ssize_t got = read(timer_fd, &count, sizeof count);
	(void)got;
}

void client_network_settled(struct client_network *network)
{
	drain(network->settle_fd);
}
