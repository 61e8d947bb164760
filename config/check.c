// SPDX-License-Identifier: Apache-2.0
#include "config/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cpu.h"

enum {
	IPV6_LOWEST_MTU = 1280, /* RFC 8200, section 5: below it the kernel takes IPv6 off the interface */
	SHORTEST_POOL_PREFIX = 8,
	POOL_HOST_BITS = 2, /* network, broadcast, us and one client */
};

static unsigned family_bits(const struct ip_address *address)
{
	return address->family == 4 ? 32 : 128;
}

/* Why nobody may have this inner address, or NULL. The data path refuses the same ones. */
static const char *address_unfit(const struct ip_address *address)
{
	const uint8_t *b = address->bytes;
	static const uint8_t zeros[16];
	if (address->family == 4) {
		if (b[0] == 0 || b[0] >= 240)
			return "a reserved address";
		if (b[0] == 127)
			return "a loopback address";
		if (b[0] >= 224)
			return "a multicast address";
		return b[0] == 169 && b[1] == 254 ? "a link-local address" : NULL;
	}
	if (memcmp(b, zeros, 15) == 0 && b[15] <= 1)
		return b[15] == 1 ? "a loopback address" : "a reserved address";
	if (b[0] == 0xff)
		return "a multicast address";
	return b[0] == 0xfe && (b[1] & 0xc0) == 0x80 ? "a link-local address" : NULL;
}

/* Why an address of the network belongs to no host, or NULL. */
static const char *address_taken_by_network(const struct ip_prefix *network, const struct ip_address *address)
{
	bool zeros = true, ones = true;
	for (unsigned bit = network->length; bit < family_bits(address); bit++) {
		bool set = address->bytes[bit / 8] & (0x80u >> (bit % 8));
		zeros = zeros && !set;
		ones = ones && set;
	}
	if (zeros)
		return "the network itself";
	return ones && address->family == 4 ? "the network's broadcast address" : NULL;
}

static int check_gateway_address(const struct gateway_config *config, size_t i, struct error *error)
{
	const struct ip_prefix *prefix = &config->addresses.items[i];
	unsigned longest = family_bits(&prefix->address) - POOL_HOST_BITS;
	char text[IP_TEXT_MAX];
	ip_prefix_format(prefix, text);

	const char *why = address_unfit(&prefix->address);
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
	why = address_taken_by_network(prefix, &prefix->address);
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

static int check_mtu(const char *file, unsigned line, uint32_t mtu, const struct config_prefixes *prefixes,
		     const char *key, struct error *error)
{
	for (size_t i = 0; i < prefixes->count; i++) {
		if (prefixes->items[i].address.family == 6 && mtu < IPV6_LOWEST_MTU)
			return error_set(error, -EINVAL, "%s:%u: MTU = %u: too small for the IPv6 in %s; at least %d",
					 file, line, mtu, key, IPV6_LOWEST_MTU);
	}
	return 0;
}

/* Every worker and every reader has a queue of the TUN interface. */
static int check_threads(struct gateway_config *config, const struct config_lines *lines, struct error *error)
{
	if (config->tun_readers == 0 && config->workers > 1)
		return error_set(error, -EINVAL,
				 "%s:%u: TunReaders = 0: only a single worker reads by itself, not %u; write Workers = "
				 "1 or TunReaders = auto",
				 config->file, lines->tun_readers, config->workers);
	if (config->tun_readers == 0)
		config->workers = 1;
	unsigned readers_max = CPU_TUN_QUEUES_MAX - config->workers;
	if (config->tun_readers > (int32_t)readers_max)
		return error_set(error, -EINVAL,
				 "%s:%u: TunReaders = %d: a TUN interface has %d queues, and the %u workers need one "
				 "each; at most %u",
				 config->file, lines->tun_readers, config->tun_readers, CPU_TUN_QUEUES_MAX,
				 config->workers, readers_max);
	return 0;
}

/* The pool is one row of numbers: the address with a host number in one network goes with that in the other, and to
 * the same client (core/pool.h). So that number is what must be free. */
struct host_number {
	uint8_t bytes[16]; /* big-endian */
};

static struct host_number host_number(const struct ip_prefix *network, const struct ip_address *address)
{
	struct host_number number = {0};
	unsigned size = family_bits(address) / 8;
	uint8_t *bytes = number.bytes + sizeof number.bytes - size;
	memcpy(bytes, address->bytes, size);
	for (unsigned bit = 0; bit < network->length; bit++)
		bytes[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
	return number;
}

/* The address with that number in a network; false when the network is too small to have it. */
static bool host_address(const struct ip_prefix *network, const struct host_number *number, struct ip_address *address)
{
	struct ip_prefix base = ip_prefix_network(network);
	unsigned size = family_bits(&base.address) / 8;
	*address = base.address;
	for (unsigned i = 0; i < size; i++)
		address->bytes[i] |= number->bytes[sizeof number->bytes - size + i];
	struct host_number back = host_number(network, address);
	return memcmp(&back, number, sizeof back) == 0;
}

static const struct ip_prefix *gateway_network(const struct gateway_config *config, const struct ip_address *address)
{
	for (size_t i = 0; i < config->addresses.count; i++) {
		if (ip_prefix_contains(&config->addresses.items[i], address))
			return &config->addresses.items[i];
	}
	return NULL;
}

/* Why no client can have the number, or NULL. */
static const char *number_unfit(const struct gateway_config *config, const struct host_number *number)
{
	for (size_t i = 0; i < config->addresses.count; i++) {
		const struct ip_prefix *network = &config->addresses.items[i];
		struct ip_address address;
		if (!host_address(network, number, &address))
			return "beyond the gateway's other, smaller network";
		if (ip_address_equal(&address, &network->address))
			return "the gateway's own address";
		const char *why = address_taken_by_network(network, &address);
		if (why != NULL)
			return why;
	}
	return NULL;
}

static int check_peer_address(const struct gateway_config *config, const struct config_peer *peer, size_t i,
			      struct error *error)
{
	const struct ip_address *address = &peer->addresses.items[i];
	unsigned line = peer->addresses.lines[i];
	char text[IP_TEXT_MAX];
	ip_address_format(address, text);

	const struct ip_prefix *network = gateway_network(config, address);
	if (network == NULL)
		return error_set(error, -EINVAL,
				 "%s:%u: Address = %s: outside the pool; choose one in the [Gateway]'s Address",
				 config->file, line, text);
	struct host_number number = host_number(network, address);
	const char *why = number_unfit(config, &number);
	if (why != NULL)
		return error_set(error, -EINVAL, "%s:%u: Address = %s: %s; choose another", config->file, line, text,
				 why);
	if (i == 0)
		return 0;

	const struct ip_address *first = &peer->addresses.items[0];
	if (first->family == address->family)
		return error_set(error, -EINVAL,
				 "%s:%u: Address = %s: this peer's second IPv%u address; one in each family",
				 config->file, line, text, address->family);
	struct host_number wanted = host_number(gateway_network(config, first), first);
	struct ip_address right;
	char first_text[IP_TEXT_MAX], right_text[IP_TEXT_MAX];
	host_address(network, &wanted, &right);
	if (!ip_address_equal(&right, address))
		return error_set(error, -EINVAL, "%s:%u: Address = %s: not what goes with %s; %s does", config->file,
				 line, text, ip_address_format(first, first_text),
				 ip_address_format(&right, right_text));
	return 0;
}

struct network {
	struct ip_prefix prefix;
	unsigned line;
};

static int network_compare(const void *a, const void *b)
{
	return memcmp(&((const struct network *)a)->prefix, &((const struct network *)b)->prefix,
		      sizeof(struct ip_prefix));
}

/* Lists are often put together by scripts from others: one network written twice is no mistake worth stopping for, but
 * whoever makes routes of them should see it once. */
static int normalize_allowed_ips(struct config_prefixes *list)
{
	if (list->count == 0)
		return 0;
	struct network *networks = calloc(list->count, sizeof *networks);
	if (networks == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < list->count; i++)
		networks[i] = (struct network){ip_prefix_network(&list->items[i]), list->lines[i]};
	qsort(networks, list->count, sizeof *networks, network_compare);
	size_t kept = 0;
	for (size_t i = 0; i < list->count; i++) {
		if (i > 0 && network_compare(&networks[i - 1], &networks[i]) == 0)
			continue;
		list->items[kept] = networks[i].prefix;
		list->lines[kept++] = networks[i].line;
	}
	list->count = kept;
	free(networks);
	return 0;
}

/* The list still has what was written: it is what messages show. */
static int check_peer_networks(const struct gateway_config *config, struct config_peer *peer, struct error *error)
{
	for (size_t i = 0; i < peer->allowed_ips.count; i++) {
		const struct ip_prefix *written = &peer->allowed_ips.items[i];
		struct ip_prefix network = ip_prefix_network(written);
		unsigned line = peer->allowed_ips.lines[i];
		char text[IP_TEXT_MAX], own[IP_TEXT_MAX];
		ip_prefix_format(written, text);

		if (network.length == 0)
			return error_set(error, -EINVAL,
					 "%s:%u: AllowedIPs = %s: everything, which no single client can have; write "
					 "the networks behind it",
					 config->file, line, text);
		const char *why = address_unfit(&network.address);
		if (why != NULL)
			return error_set(error, -EINVAL,
					 "%s:%u: AllowedIPs = %s: %s; write the networks behind the client",
					 config->file, line, text, why);
		for (size_t n = 0; n < config->addresses.count; n++) {
			if (ip_prefix_overlaps(&config->addresses.items[n], &network))
				return error_set(error, -EINVAL,
						 "%s:%u: AllowedIPs = %s: overlaps the pool, %s on line %u; addresses "
						 "of the pool are a client's by Address",
						 config->file, line, text,
						 ip_prefix_format(&config->addresses.items[n], own),
						 config->addresses.lines[n]);
		}
	}
	int result = normalize_allowed_ips(&peer->allowed_ips);
	return result == 0 ? 0 : error_set(error, result, "%s: out of memory", config->file);
}

static int check_peer(const struct gateway_config *config, struct config_peer *peer, const struct config_lines *lines,
		      struct error *error)
{
	int result = 0;
	for (size_t i = 0; i < peer->addresses.count && result == 0; i++)
		result = check_peer_address(config, peer, i, error);
	if (result == 0)
		result = check_peer_networks(config, peer, error);
	if (result == 0)
		result = check_mtu(config->file, lines->mtu, config->mtu, &peer->allowed_ips, "AllowedIPs", error);
	return result;
}

/* A value that only one peer may have. */
struct claim {
	const void *value;
	unsigned line;
	const struct config_peer *peer;
};

static int claim_compare(const void *a, const void *b, void *size)
{
	const struct claim *left = a, *right = b;
	int order = memcmp(left->value, right->value, *(const size_t *)size);
	return order != 0 ? order : (left->line > right->line) - (left->line < right->line);
}

/* The second of two claims to one value of `size` bytes, right after the first, or NULL. Sorts, because a file may have
 * a million peers. */
static const struct claim *claim_conflict(struct claim *claims, size_t count, size_t size)
{
	qsort_r(claims, count, sizeof *claims, claim_compare, &size);
	for (size_t i = 1; i < count; i++) {
		if (memcmp(claims[i - 1].value, claims[i].value, size) == 0)
			return &claims[i];
	}
	return NULL;
}

static int check_peer_keys_differ(const struct gateway_config *config, struct claim *claims, struct error *error)
{
	for (size_t i = 0; i < config->peer_count; i++)
		claims[i] = (struct claim){config->peers[i].public_key, config->peers[i].line, &config->peers[i]};
	const struct claim *second = claim_conflict(claims, config->peer_count, CONFIG_KEY_TEXT_SIZE);
	if (second == NULL)
		return 0;
	return error_set(error, -EINVAL,
			 "%s:%u: PublicKey = %s: the peer on line %u has this key; one [Peer] for a key", config->file,
			 second->line, second->peer->public_key, second[-1].line);
}

static int check_peer_addresses_differ(const struct gateway_config *config, struct claim *claims,
				       struct host_number *numbers, struct error *error)
{
	size_t count = 0;
	for (size_t i = 0; i < config->peer_count; i++) {
		const struct config_addresses *list = &config->peers[i].addresses;
		if (list->count == 0)
			continue;
		numbers[count] = host_number(gateway_network(config, &list->items[0]), &list->items[0]);
		claims[count] = (struct claim){&numbers[count], list->lines[0], &config->peers[i]};
		count++;
	}
	const struct claim *second = claim_conflict(claims, count, sizeof *numbers);
	if (second == NULL)
		return 0;
	char text[IP_TEXT_MAX];
	return error_set(
		error, -EINVAL,
		"%s:%u: Address = %s: the peer on line %u has it, or the one that goes with it; choose another",
		config->file, second->line, ip_address_format(&second->peer->addresses.items[0], text),
		second[-1].line);
}

/* Equal networks only: of those that lie in each other the longest prefix wins. */
static int check_peer_networks_differ(const struct gateway_config *config, struct claim *claims, struct error *error)
{
	size_t count = 0;
	for (size_t i = 0; i < config->peer_count; i++) {
		const struct config_prefixes *list = &config->peers[i].allowed_ips;
		for (size_t n = 0; n < list->count; n++)
			claims[count++] = (struct claim){&list->items[n], list->lines[n], &config->peers[i]};
	}
	const struct claim *second = claim_conflict(claims, count, sizeof(struct ip_prefix));
	if (second == NULL)
		return 0;
	char text[IP_TEXT_MAX];
	return error_set(error, -EINVAL, "%s:%u: AllowedIPs = %s: behind the peer on line %u already; take one away",
			 config->file, second->line, ip_prefix_format(second->value, text), second[-1].line);
}

static size_t most_claims(const struct gateway_config *config)
{
	size_t networks = 0;
	for (size_t i = 0; i < config->peer_count; i++)
		networks += config->peers[i].allowed_ips.count;
	return networks > config->peer_count ? networks : config->peer_count;
}

static int check_peers_differ(const struct gateway_config *config, struct error *error)
{
	struct claim *claims = calloc(most_claims(config) + 1, sizeof *claims);
	struct host_number *numbers = calloc(config->peer_count + 1, sizeof *numbers);
	int result;
	if (claims == NULL || numbers == NULL) {
		result = error_set(error, -ENOMEM, "%s: out of memory", config->file);
		goto cleanup;
	}
	result = check_peer_keys_differ(config, claims, error);
	if (result == 0)
		result = check_peer_addresses_differ(config, claims, numbers, error);
	if (result == 0)
		result = check_peer_networks_differ(config, claims, error);
cleanup:
	free(numbers);
	free(claims);
	return result;
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

	for (size_t i = 0; i < config->peer_count && result == 0; i++)
		result = check_peer(config, &config->peers[i], lines, error);
	return result != 0 ? result : check_peers_differ(config, error);
}

int config_check_client(struct client_config *config, const struct config_lines *lines, struct error *error)
{
	enum { TABLE_DEFAULT = 253, TABLE_LOCAL = 255 }; /* linux/rtnetlink.h; main is between them */
	if (config->route_table >= TABLE_DEFAULT && config->route_table <= TABLE_LOCAL)
		return error_set(error, -EINVAL,
				 "%s:%u: RouteTable = %u: the kernel's own; choose a number that nothing uses, or off",
				 config->file, lines->route_table, config->route_table);
	int result = normalize_allowed_ips(&config->gateway.allowed_ips);
	if (result != 0)
		return error_set(error, result, "%s: out of memory", config->file);
	if (config->mtu == 0)
		return 0;
	return check_mtu(config->file, lines->mtu, config->mtu, &config->gateway.allowed_ips, "AllowedIPs", error);
}
