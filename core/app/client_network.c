// SPDX-License-Identifier: Apache-2.0
#include "core/app/client_network.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include "core/base/log.h"

enum {
	RULE_PRIORITY = 21845, /* before main (32766) */
	RETRY_S = 5,
	UDP_HEADER = 8,
	IPV4_HEADER = 20,
	IPV6_HEADER = 40,
	IPV6_LEAST_MTU = 1280,
};

static const uint8_t families[] = {4, 6};

static bool has_family(const struct client_config *config, uint8_t family, bool only_default)
{
	for (size_t i = 0; i < config->gateway.allowed_ips.count; i++) {
		const struct ip_prefix *prefix = &config->gateway.allowed_ips.items[i];
		if (prefix->address.family == family && (!only_default || prefix->length == 0))
			return true;
	}
	return false;
}

static int delete_rules(struct client_network *network, struct error *error)
{
	int result = 0;
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		int one = netlink_rules_delete(network->netlink, families[i], network->config->route_table,
					       RULE_PRIORITY, error);
		if (one != 0)
			result = one;
	}
	return result;
}

int client_network_open(struct client_network *network, unsigned ifindex, const struct client_config *config,
			struct error *error)
{
	*network = (struct client_network){.config = config, .ifindex = ifindex, .retry_fd = -1};
	network->netlink = netlink_open(error);
	if (network->netlink == NULL)
		return -errno;
	network->retry_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int result = network->retry_fd < 0 ? error_set(error, -errno, "timer: %s", strerror(errno)) : 0;
	if (result == 0 && config->route_table != 0)
		result = delete_rules(network, error);
	if (result != 0)
		client_network_close(network);
	return result;
}

void client_network_close(struct client_network *network)
{
	struct error error = {0};
	if (network->netlink != NULL) {
		/* Twice: a rule that stays outlives us, and the kernel may be short of memory for a moment only. */
		if (network->config->route_table != 0 && delete_rules(network, &error) != 0 &&
		    delete_rules(network, &error) != 0)
			log_warning("%s", error.text);
		netlink_close(network->netlink);
	}
	if (network->retry_fd >= 0)
		close(network->retry_fd);
	network->netlink = NULL;
	network->retry_fd = -1;
}

static int route_family(struct client_network *network, uint8_t family, struct error *error)
{
	const struct client_config *config = network->config;
	uint32_t table = config->route_table;
	for (size_t i = 0; i < config->gateway.allowed_ips.count; i++) {
		const struct ip_prefix *prefix = &config->gateway.allowed_ips.items[i];
		if (prefix->address.family != family)
			continue;
		int result = netlink_route_add(network->netlink, network->ifindex, prefix, table, error);
		if (result != 0)
			return result;
	}
	return netlink_rules_add(network->netlink, family, table, table, RULE_PRIORITY,
				 has_family(config, family, true), error);
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
	if (result == 0 && leased->address.family != 0 && !network->routed[family] &&
	    network->config->route_table != 0 && has_family(network->config, families[family], false)) {
		result = route_family(network, families[family], &error);
		network->routed[family] = result == 0;
	}
	if (result != 0)
		log_warning("%s; going on without IPv%u in the tunnel", error.text, families[family]);
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
}

uint16_t client_network_mtu(struct client_network *network, const struct sockaddr_in6 *remote, uint16_t most)
{
	struct ip_address address = {.family = 6};
	unsigned overhead = IPV6_HEADER + UDP_HEADER + WIRE_OVERHEAD;
	memcpy(address.bytes, &remote->sin6_addr, 16);
	if (IN6_IS_ADDR_V4MAPPED(&remote->sin6_addr)) {
		address = (struct ip_address){.family = 4};
		memcpy(address.bytes, &remote->sin6_addr.s6_addr[12], 4);
		overhead = IPV4_HEADER + UDP_HEADER + WIRE_OVERHEAD;
	}
	unsigned mtu;
	struct error error = {0};
	if (netlink_route_mtu(network->netlink, &address, network->config->route_table, &mtu, &error) != 0)
		return most;
	unsigned inner = mtu > overhead + WIRE_MTU_MIN ? mtu - overhead : WIRE_MTU_MIN;
	return inner < most ? (uint16_t)inner : most;
}

void client_network_retry_later(struct client_network *network)
{
	struct itimerspec when = {.it_value.tv_sec = RETRY_S};
	(void)timerfd_settime(network->retry_fd, 0, &when, NULL);
}

void client_network_retry_done(struct client_network *network)
{
	uint64_t count;
	ssize_t got = read(network->retry_fd, &count, sizeof count);
	(void)got;
}
