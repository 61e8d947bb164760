// SPDX-License-Identifier: Apache-2.0
#include "config/check.h"

#include <stdio.h>
#include <string.h>

#include "config/check_cluster.h"
#include "config/check_networks.h"
#include "config/check_peers.h"
#include "core/base/cpu.h"

enum {
	SHORTEST_POOL_PREFIX = 8,
	POOL_HOST_BITS = 2, /* network, broadcast, us and one client */
};

static int check_gateway_address(const struct gateway_config *config, size_t i, struct error *error)
{
	const struct ip_prefix *prefix = &config->addresses.items[i];
	unsigned longest = check_family_bits(&prefix->address) - POOL_HOST_BITS;
	char text[IP_TEXT_MAX];
	ip_prefix_format(prefix, text);

	const char *why = ip_address_unfit(&prefix->address);
	if (why != NULL)
		return error_set(error, -EINVAL,
				 "%s:%u: Address = %s: %s; private networks are 10.0.0.0/8 and fd00::/8", config->file,
				 config->addresses.lines[i], text, why);
	if (prefix->length < SHORTEST_POOL_PREFIX || prefix->length > longest)
		return error_set(
			error, -EINVAL,
			"%s:%u: Address = %s: not a network to give clients addresses from; write a prefix length "
			"from %d to %u",
			config->file, config->addresses.lines[i], text, SHORTEST_POOL_PREFIX, longest);
	why = check_address_of_network(prefix, &prefix->address);
	if (why != NULL)
		return error_set(error, -EINVAL, "%s:%u: Address = %s: %s; write an address in it", config->file,
				 config->addresses.lines[i], text, why);
	for (size_t other = 0; other < i; other++) {
		if (config->addresses.items[other].address.family == prefix->address.family)
			return error_set(error, -EINVAL,
					 "%s:%u: Address = %s: a second IPv%u network; one in each family",
					 config->file, config->addresses.lines[i], text, prefix->address.family);
	}
	return 0;
}

/* Every worker and every reader has a queue of the TUN interface. */
static int check_threads(const struct gateway_config *config, const struct config_lines *lines, struct error *error)
{
	unsigned readers_max = CPU_TUN_QUEUES_MAX - config->workers;
	if (config->tun_readers > (int32_t)readers_max)
		return error_set(error, -EINVAL,
				 "%s:%u: TunReaders = %d: a TUN interface has %d queues, and the %u workers need one "
				 "each; at most %u",
				 config->file, lines->tun_readers, config->tun_readers, CPU_TUN_QUEUES_MAX,
				 config->workers, readers_max);
	return 0;
}

static bool is_unspecified(const struct ip_address *address)
{
	static const uint8_t zeros[16];
	return memcmp(address->bytes, zeros, sizeof zeros) == 0;
}

/* A socket for all IPv6 addresses holds the port of those of IPv4 too. */
static bool listens_on_all(const struct ip_address *all, const struct ip_address *other)
{
	return is_unspecified(all) && (all->family == 6 || other->family == 4);
}

static int check_listen_addresses(const struct gateway_config *config, struct error *error)
{
	const struct config_addresses *list = &config->listen_addresses;
	for (size_t i = 0; i < list->count; i++) {
		for (size_t other = 0; other < i; other++) {
			const struct ip_address *a = &list->items[i], *b = &list->items[other];
			const char *why = NULL;
			if (ip_address_equal(a, b))
				why = "given on line";
			else if (listens_on_all(a, b) || listens_on_all(b, a))
				why = "all addresses beside the one on line";
			char text[IP_TEXT_MAX];
			if (why != NULL)
				return error_set(error, -EINVAL,
						 "%s:%u: ListenAddress = %s: %s %u; write each once, or none for all",
						 config->file, list->lines[i], ip_address_format(a, text), why,
						 list->lines[other]);
		}
	}
	return 0;
}

static int check_masquerade(const struct gateway_config *config, struct error *error)
{
	const struct config_interfaces *list = &config->masquerade;
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->items[i], config->common.interface) == 0)
			return error_set(error, -EINVAL,
					 "%s:%u: Masquerade = %s: the tunnel's own interface; write the one that leads "
					 "out, as 'ip route' shows it",
					 config->file, list->lines[i], list->items[i]);
		for (size_t other = 0; other < i; other++) {
			if (strcmp(list->items[i], list->items[other]) == 0)
				return error_set(error, -EINVAL,
						 "%s:%u: Masquerade = %s: given on line %u already; write it once",
						 config->file, list->lines[i], list->items[i], list->lines[other]);
		}
	}
	return 0;
}

int config_check_gateway(struct gateway_config *config, const struct config_lines *lines, struct error *error)
{
	int result = 0;
	for (size_t i = 0; i < config->addresses.count && result == 0; i++)
		result = check_gateway_address(config, i, error);
	if (result == 0)
		result = check_mtu(config->file, lines->mtu, config->mtu, &config->addresses, "Address", error);
	if (result == 0)
		result = check_threads(config, lines, error);
	if (result == 0)
		result = check_listen_addresses(config, error);
	if (result == 0)
		result = check_masquerade(config, error);
	if (result == 0 && check_normalize_networks(&config->routes) != 0)
		result = error_set(error, -ENOMEM, "%s: out of memory", config->file);
	if (result == 0)
		result = check_peers(config, lines->mtu, error);
	return result == 0 ? check_cluster(config, lines, error) : result;
}

int config_check_client(struct client_config *config, const struct config_lines *lines, struct error *error)
{
	static const char rule_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
	enum { TABLE_DEFAULT = 253, TABLE_LOCAL = 255 }; /* linux/rtnetlink.h; main is between them */
	if (config->route_table >= TABLE_DEFAULT && config->route_table <= TABLE_LOCAL)
		return error_set(error, -EINVAL,
				 "%s:%u: RouteTable = %u: the kernel's own; choose a number that nothing uses, or off",
				 config->file, lines->route_table, config->route_table);
	if (config->kill_switch && strspn(config->common.interface, rule_alphabet) != strlen(config->common.interface))
		return error_set(error, -EINVAL,
				 "%s: KillSwitch: Interface = %s: firewall rules cannot name it; letters, digits, '-', "
				 "'_' and '.' are right",
				 config->file, config->common.interface);
	int result = check_normalize_networks(&config->gateway.allowed_ips);
	if (result == 0)
		result = check_normalize_networks(&config->networks);
	if (result != 0)
		return error_set(error, result, "%s: out of memory", config->file);
	if (config->mtu == 0)
		return 0;
	return check_mtu(config->file, lines->mtu, config->mtu, &config->gateway.allowed_ips, "AllowedIPs", error);
}
