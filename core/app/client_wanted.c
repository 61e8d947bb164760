// SPDX-License-Identifier: Apache-2.0
#include "core/app/client_wanted.h"

#include "core/base/sysctl.h"
#include "tun/netlink_state.h"

static const uint8_t families[] = {4, 6};

/* --- the link ----------------------------------------------------------------------------------------------------- */

int client_wanted_link(struct client_network *network, size_t *missing, struct error *error)
{
	int result = netlink_link_read(network->netlink, network->ifindex, &network->link, error);
	if (result != 0 || network->link.up)
		return result;
	*missing += 1;
	return netlink_link_set_up(network->netlink, network->ifindex, error);
}

int client_wanted_mtu(struct client_network *network, size_t *missing, struct error *error)
{
	if (network->link.mtu == network->wanted.mtu)
		return 0;
	*missing += 1;
	return netlink_link_set_mtu(network->netlink, network->ifindex, network->wanted.mtu, error);
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

/* Own address without its network: who is reachable through the tunnel is for AllowedIPs to say. */
struct ip_prefix client_wanted_host(const struct ip_prefix *leased)
{
	struct ip_prefix own = *leased;
	own.length = own.address.family == 4 ? 32 : 128;
	return own;
}

static int ensure_address(struct client_network *network, size_t family, size_t *missing, struct error *error)
{
	const struct ip_prefix *leased = family == 0 ? &network->wanted.address4 : &network->wanted.address6;
	struct ip_prefix own = client_wanted_host(leased);
	network->carried[family] = false;
	if (leased->address.family == 0)
		return 0;
	if (!netlink_address_exists(network->netlink, network->ifindex, &own)) {
		*missing += 1;
		if (families[family] == 6)
			(void)sysctl_enable_ipv6(network->ifindex); /* else the next line fails and says so */
		int result = netlink_address_add(network->netlink, network->ifindex, &own, error);
		if (result != 0)
			return result;
	}
	network->carried[family] = true;
	return 0;
}

/* One family goes on when the other one fails. */
int client_wanted_addresses(struct client_network *network, size_t *missing, struct error *error)
{
	int result = 0;
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		int one = ensure_address(network, i, missing, error);
		result = one != 0 ? one : result;
	}
	return result;
}

/* --- routes ------------------------------------------------------------------------------------------------------- */

static bool has_family(const struct client_config *config, uint8_t family)
{
	for (size_t i = 0; i < config->gateway.allowed_ips.count; i++) {
		if (config->gateway.allowed_ips.items[i].address.family == family)
			return true;
	}
	return false;
}

static int plan(const struct client_network *network, size_t family, struct netlink_routes *wanted)
{
	const struct client_routes_wish wish = {.config = network->config,
						.allowed = network->allowed,
						.lease = &network->wanted,
						.ifindex = network->ifindex,
						.carried = network->carried[family],
						.attached = network->attached.items,
						.attached_count = network->attached.count};
	int result = client_routes_plan(wanted, families[family], &wish);
	netlink_routes_settle(wanted);
	return result;
}

/* First what is new: between the two a packet must not find less than there will be. The most specific ones come last
 * in a list, and are to be there before the wide ones around them lead elsewhere. */
static int put(struct client_network *network, const struct netlink_routes *missing, const struct netlink_routes *extra,
	       struct error *error)
{
	uint32_t table = network->table.number;
	int result = 0;
	for (size_t i = missing->count; i-- > 0;) {
		const struct netlink_route *route = &missing->items[i];
		int one = netlink_route_add(network->netlink, route->ifindex, &route->network, table, error);
		result = one != 0 ? one : result;
	}
	for (size_t i = 0; i < extra->count; i++) {
		const struct netlink_route *route = &extra->items[i];
		int one = netlink_route_delete(network->netlink, route->ifindex, &route->network, table, error);
		result = one != 0 ? one : result;
	}
	return result;
}

static int ensure_routes(struct client_network *network, size_t family, size_t *missing, struct error *error)
{
	struct netlink_routes wanted = {0}, have = {0}, absent = {0}, extra = {0};
	int result = plan(network, family, &wanted);
	if (result != 0)
		(void)error_set(error, result, "routes: out of memory");
	if (result == 0)
		result = netlink_routes_read(network->netlink, families[family], network->table.number, &have, error);
	if (result == 0 && netlink_routes_compare(&wanted, &have, &absent, &extra) != 0)
		result = error_set(error, -ENOMEM, "routes: out of memory");
	if (result == 0)
		result = put(network, &absent, &extra, error);
	*missing += absent.count;
	struct netlink_routes *const lists[] = {&wanted, &have, &absent, &extra};
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		netlink_routes_free(lists[i]);
	return result;
}

int client_wanted_routes(struct client_network *network, size_t *missing, struct error *error)
{
	int result = 0;
	for (size_t i = 0; i < ARRAY_SIZE(families) && network->table.number != 0; i++) {
		int one = has_family(network->config, families[i]) ? ensure_routes(network, i, missing, error) : 0;
		result = one != 0 ? one : result;
	}
	return result;
}

/* --- policy rules ------------------------------------------------------------------------------------------------- */

static bool has_rule(const struct netlink_rules *rules, const struct netlink_rule *wanted)
{
	for (size_t i = 0; i < rules->count; i++) {
		if (netlink_rule_equal(&rules->items[i], wanted))
			return true;
	}
	return false;
}

static int ensure_rules(struct client_network *network, size_t family, size_t *missing, struct error *error)
{
	struct netlink_rule wanted[CLIENT_RULES_MAX];
	struct netlink_rules have = {0};
	uint8_t version = families[family];
	size_t count = client_table_rules(&network->table, version, network->carried[family], wanted);
	/* Not only for order: the kernel takes a rule for the equal of one that has no "not", and refuses it. */
	int result = client_table_prune(&network->table, network->netlink, version, wanted, count, error);
	if (result == 0)
		result = netlink_rules_read(network->netlink, version, &have, error);
	for (size_t i = 0; i < count && result == 0; i++) {
		if (has_rule(&have, &wanted[i]))
			continue;
		*missing += 1;
		result = netlink_rule_add(network->netlink, &wanted[i], error);
	}
	netlink_rules_free(&have);
	return result;
}

/* A family that the kernel has not is no error. */
int client_wanted_rules(struct client_network *network, size_t *missing, struct error *error)
{
	int result = 0;
	for (size_t i = 0; i < ARRAY_SIZE(families) && network->table.number != 0; i++) {
		if (!has_family(network->config, families[i]))
			continue;
		int one = ensure_rules(network, i, missing, error);
		if (one != 0 && one != -EAFNOSUPPORT && one != -EOPNOTSUPP)
			result = one;
	}
	return result;
}
