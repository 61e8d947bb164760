// SPDX-License-Identifier: Apache-2.0
#include "core/app/client_network.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include "core/base/log.h"
#include "tun/netlink_watch.h"

enum {
	ATTACHED_MAX = 64, /* networks of the machine in one family */
	RETRY_S = 5,
	SETTLE_MS = 50, /* a change of networks comes as several messages */
	UDP_HEADER = 8,
	IPV4_HEADER = 20,
	IPV6_HEADER = 40,
	IPV6_LEAST_MTU = 1280,
};

static const uint8_t families[] = {4, 6};

static bool has_family(const struct client_config *config, uint8_t family)
{
	for (size_t i = 0; i < config->gateway.allowed_ips.count; i++) {
		if (config->gateway.allowed_ips.items[i].address.family == family)
			return true;
	}
	return false;
}

int client_network_clean(uint32_t table, struct error *error)
{
	struct netlink *netlink = netlink_open(error);
	if (netlink == NULL)
		return -errno;
	int result = 0;
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		int one = netlink_rules_delete(netlink, families[i], table, error);
		if (one == 0)
			one = netlink_table_flush(netlink, families[i], table, error);
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
			struct error *error)
{
	*network = (struct client_network){
		.config = config, .ifindex = ifindex, .retry_fd = -1, .watch_fd = -1, .settle_fd = -1};
	network->netlink = netlink_open(error);
	if (network->netlink == NULL)
		return -errno;
	int result = netlink_link_set_group(network->netlink, ifindex, CLIENT_LINK_GROUP, error);
	if (result == 0)
		result = open_timer(&network->retry_fd, error);
	if (result == 0)
		result = open_timer(&network->settle_fd, error);
	if (result == 0) {
		network->watch_fd = netlink_watch_open(error);
		result = network->watch_fd < 0 ? network->watch_fd : 0;
	}
	if (result != 0)
		client_network_close(network);
	return result;
}

void client_network_close(struct client_network *network)
{
	int *const descriptors[] = {&network->retry_fd, &network->settle_fd, &network->watch_fd};
	netlink_close(network->netlink);
	network->netlink = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(descriptors); i++) {
		if (*descriptors[i] >= 0)
			close(*descriptors[i]);
		*descriptors[i] = -1;
	}
}

/* --- addresses and routes ----------------------------------------------------------------------------------------- */

/* AllowedIPs to the interface; or, while the tunnel does not carry the family, to nowhere: they are not to leave
 * otherwise. */
static int route_family(struct client_network *network, uint8_t family, unsigned to, struct error *error)
{
	const struct client_config *config = network->config;
	for (size_t i = 0; i < config->gateway.allowed_ips.count; i++) {
		const struct ip_prefix *prefix = &config->gateway.allowed_ips.items[i];
		if (prefix->address.family != family)
			continue;
		int result = netlink_route_add(network->netlink, to, prefix, network->table.number, error);
		if (result != 0)
			return result;
	}
	return client_table_add_rules(&network->table, network->netlink, family, error);
}

/* Own address without its network: who is reachable through the tunnel is for AllowedIPs to say. */
static struct ip_prefix host_prefix(const struct ip_prefix *leased)
{
	struct ip_prefix own = *leased;
	own.length = own.address.family == 4 ? 32 : 128;
	return own;
}

static int change_address(struct client_network *network, struct ip_prefix *applied, const struct ip_prefix *leased,
			  struct error *error)
{
	if (ip_address_equal(&applied->address, &leased->address))
		return 0;
	int result = 0;
	if (applied->address.family != 0) {
		struct ip_prefix old = host_prefix(applied);
		result = netlink_address_delete(network->netlink, network->ifindex, &old, error);
	}
	if (result == 0 && leased->address.family != 0) {
		struct ip_prefix own = host_prefix(leased);
		result = netlink_address_add(network->netlink, network->ifindex, &own, error);
	}
	if (result == 0)
		*applied = *leased;
	return result;
}

/* One family, address and routes: the other one goes on when it fails. */
static void apply_family(struct client_network *network, size_t family, struct ip_prefix *applied,
			 const struct ip_prefix *leased)
{
	struct error error = {0};
	int result = change_address(network, applied, leased, &error);
	unsigned to = result == 0 && applied->address.family != 0 ? network->ifindex : NETLINK_UNREACHABLE;
	if (network->routed[family] != to && network->table.number != 0 &&
	    has_family(network->config, families[family])) {
		int routes = route_family(network, families[family], to, &error);
		network->routed[family] = routes == 0 ? to : 0;
		result = routes != 0 ? routes : result;
	}
	if (result != 0)
		log_warning("%s; going on without IPv%u in the tunnel", error.text, families[family]);
}

/* The routes besides AllowedIPs; failing costs a shorter way, so a line is all. */
static void refresh_routes(struct client_network *network)
{
	struct netlink_attached attached[ATTACHED_MAX];
	struct client_routes wanted = {0};
	struct error error = {0};
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		if (network->routed[i] == 0)
			continue;
		int count = netlink_attached(network->netlink, families[i], attached, ATTACHED_MAX, &error);
		const struct client_routes_wish wish = {.config = network->config,
							.lease = &network->applied,
							.ifindex = network->ifindex,
							.attached = attached,
							.attached_count = count > 0 ? (size_t)count : 0};
		if (count < 0)
			log_warning("%s", error.text);
		client_routes_plan(&wanted, families[i], &wish);
	}
	if (client_routes_apply(&network->routes, &wanted, network->netlink, network->table.number, &error) != 0)
		log_warning("%s", error.text);
}

/* What is only remembered. */
static void keep_lists(struct wire_welcome *applied, const struct wire_welcome *lease)
{
	applied->gateway4 = lease->gateway4;
	applied->gateway6 = lease->gateway6;
	applied->dns_count = lease->dns_count;
	memcpy(applied->dns, lease->dns, sizeof applied->dns);
	applied->route_count = lease->route_count;
	memcpy(applied->routes, lease->routes, sizeof applied->routes);
}

void client_network_apply(struct client_network *network, const struct wire_welcome *lease)
{
	struct wire_welcome *applied = &network->applied;
	struct error error = {0};
	if (applied->mtu != lease->mtu) {
		if (netlink_link_set_mtu(network->netlink, network->ifindex, lease->mtu, &error) == 0)
			applied->mtu = lease->mtu;
		else
			log_warning("%s", error.text);
	}
	apply_family(network, 0, &applied->address4, &lease->address4);
	/* The kernel has no IPv6 on a link that is narrower than IPv6 allows. */
	static const struct ip_prefix none;
	apply_family(network, 1, &applied->address6, lease->mtu >= IPV6_LEAST_MTU ? &lease->address6 : &none);
	keep_lists(applied, lease);
	refresh_routes(network);
}

/* --- the way to the gateway --------------------------------------------------------------------------------------- */

int client_network_path(struct client_network *network, const struct sockaddr_in6 *remote, struct netlink_path *path,
			struct error *error)
{
	struct ip_address address = {.family = 6};
	memcpy(address.bytes, &remote->sin6_addr, 16);
	if (IN6_IS_ADDR_V4MAPPED(&remote->sin6_addr)) {
		address = (struct ip_address){.family = 4};
		memcpy(address.bytes, &remote->sin6_addr.s6_addr[12], 4);
	}
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

void client_network_changed(struct client_network *network)
{
	static const struct itimerspec when = {.it_value.tv_nsec = SETTLE_MS * 1000000};
	if (netlink_watch_read(network->watch_fd, network->ifindex, network->table.number))
		(void)timerfd_settime(network->settle_fd, 0, &when, NULL);
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
	if (network->routed[0] != 0 || network->routed[1] != 0)
		refresh_routes(network);
}

void client_network_retry_later(struct client_network *network)
{
	struct itimerspec when = {.it_value.tv_sec = RETRY_S};
	(void)timerfd_settime(network->retry_fd, 0, &when, NULL);
}

void client_network_retry_done(struct client_network *network)
{
	drain(network->retry_fd);
}
