// SPDX-License-Identifier: Apache-2.0
#include "config/check_peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/check_networks.h"

enum { PLACE_MAX = 256 };

/* "line 7", or "FILE:7" when that is not the file that the message is about. */
static const char *place(const char *about, const char *file, unsigned line, char text[PLACE_MAX])
{
	if (strcmp(about, file) == 0)
		(void)snprintf(text, PLACE_MAX, "line %u", line);
	else
		(void)snprintf(text, PLACE_MAX, "%s:%u", file, line);
	return text;
}

/* The pool is one row of numbers: the address with a host number in one network goes with that in the other, and to
 * the same client (core/sessions/pool.h). So that number is what must be free. */
struct host_number {
	uint8_t bytes[16]; /* big-endian */
};

static struct host_number host_number(const struct ip_prefix *network, const struct ip_address *address)
{
	struct host_number number = {0};
	unsigned size = check_family_bits(address) / 8;
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
	unsigned size = check_family_bits(&base.address) / 8;
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
		const char *why = check_address_of_network(network, &address);
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
				 peer->file, line, text);
	struct host_number number = host_number(network, address);
	const char *why = number_unfit(config, &number);
	if (why != NULL)
		return error_set(error, -EINVAL, "%s:%u: Address = %s: %s; choose another", peer->file, line, text,
				 why);
	if (i == 0)
		return 0;

	const struct ip_address *first = &peer->addresses.items[0];
	if (first->family == address->family)
		return error_set(error, -EINVAL,
				 "%s:%u: Address = %s: this peer's second IPv%u address; one in each family",
				 peer->file, line, text, address->family);
	struct host_number wanted = host_number(gateway_network(config, first), first);
	struct ip_address right;
	char first_text[IP_TEXT_MAX], right_text[IP_TEXT_MAX];
	host_address(network, &wanted, &right);
	if (!ip_address_equal(&right, address))
		return error_set(error, -EINVAL, "%s:%u: Address = %s: not what goes with %s; %s does", peer->file,
				 line, text, ip_address_format(first, first_text),
				 ip_address_format(&right, right_text));
	return 0;
}

/* The list still has what was written: it is what messages show. */
static int check_peer_networks(const struct gateway_config *config, struct config_peer *peer, struct error *error)
{
	for (size_t i = 0; i < peer->allowed_ips.count; i++) {
		const struct ip_prefix *written = &peer->allowed_ips.items[i];
		struct ip_prefix network = ip_prefix_network(written);
		unsigned line = peer->allowed_ips.lines[i];
		char text[IP_TEXT_MAX], own[IP_TEXT_MAX], where[PLACE_MAX];
		ip_prefix_format(written, text);

		if (network.length == 0)
			return error_set(error, -EINVAL,
					 "%s:%u: AllowedIPs = %s: everything, which no single client can have; write "
					 "the networks behind it",
					 peer->file, line, text);
		const char *why = ip_address_unfit(&network.address);
		if (why != NULL)
			return error_set(error, -EINVAL,
					 "%s:%u: AllowedIPs = %s: %s; write the networks behind the client", peer->file,
					 line, text, why);
		for (size_t n = 0; n < config->addresses.count; n++) {
			if (ip_prefix_overlaps(&config->addresses.items[n], &network))
				return error_set(error, -EINVAL,
						 "%s:%u: AllowedIPs = %s: overlaps the pool, %s on %s; addresses of "
						 "the pool are a client's by Address",
						 peer->file, line, text,
						 ip_prefix_format(&config->addresses.items[n], own),
						 place(peer->file, config->file, config->addresses.lines[n], where));
		}
	}
	int result = check_normalize_networks(&peer->allowed_ips);
	return result == 0 ? 0 : error_set(error, result, "%s: out of memory", config->file);
}

static int check_peer(const struct gateway_config *config, struct config_peer *peer, unsigned mtu_line,
		      struct error *error)
{
	int result = 0;
	if (peer->protocol == CONFIG_PROTOCOL_WIREGUARD && !config->wireguard)
		return error_set(error, -EINVAL,
				 "%s:%u: Protocol = wireguard: the gateway does not serve it; write WireGuard = yes in "
				 "[Gateway]",
				 peer->file, peer->protocol_line);
	for (size_t i = 0; i < peer->addresses.count && result == 0; i++)
		result = check_peer_address(config, peer, i, error);
	if (result == 0)
		result = check_peer_networks(config, peer, error);
	if (result == 0)
		result = check_mtu(config->file, mtu_line, config->mtu, &peer->allowed_ips, "AllowedIPs", error);
	return result;
}

/* --- what only one peer may have ---------------------------------------------------------------------------------- */

/* A peer's claim to a value. */
struct claim {
	uint64_t digest; /* of the value: what most comparisons end with, without a look at the value */
	const void *value;
	const struct config_peer *peer;
	unsigned line;
};

struct claims {
	struct claim *items;
	size_t count;
	size_t size; /* of each value */
};

static void claim_add(struct claims *claims, const void *value, const struct config_peer *peer, unsigned line)
{
	uint64_t digest = 0;
	for (size_t i = 0; i < claims->size; i += sizeof digest) {
		uint64_t word = 0;
		size_t left = claims->size - i;
		memcpy(&word, (const char *)value + i, left < sizeof word ? left : sizeof word);
		digest = (digest ^ word) * 0x9e3779b97f4a7c15; /* equal values: equal digests; no more is needed */
		digest ^= digest >> 32;
	}
	claims->items[claims->count++] = (struct claim){digest, value, peer, line};
}

/* In the order of the files, a peer is before another when its struct is. */
static int claim_order(const struct claim *a, const struct claim *b)
{
	if (a->peer != b->peer)
		return a->peer < b->peer ? -1 : 1;
	return (a->line > b->line) - (a->line < b->line);
}

static int claim_compare(const void *a, const void *b, void *size)
{
	const struct claim *left = a, *right = b;
	if (left->digest != right->digest)
		return left->digest < right->digest ? -1 : 1;
	int order = memcmp(left->value, right->value, *(const size_t *)size);
	return order != 0 ? order : claim_order(left, right);
}

/* The first in the files that claims what another one before has, right behind that one; or NULL. Sorts, because there
 * may be a million peers. */
static const struct claim *claims_conflict(struct claims *claims)
{
	const struct claim *first = NULL;
	qsort_r(claims->items, claims->count, sizeof *claims->items, claim_compare, &claims->size);
	for (size_t i = 1; i < claims->count; i++) {
		const struct claim *one = &claims->items[i - 1], *other = &claims->items[i];
		if (one->digest == other->digest && memcmp(one->value, other->value, claims->size) == 0 &&
		    (first == NULL || claim_order(other, first) < 0))
			first = other;
	}
	return first;
}

/* `why` surrounds the place of the first. */
static int refuse_second(const struct claim *second, const char *key, const char *value, const char *const why[2],
			 struct error *error)
{
	char text[PLACE_MAX];
	const struct claim *first = second - 1;
	place(second->peer->file, first->peer->file, first->line, text);
	return error_set(error, -EINVAL, "%s:%u: %s = %s: %s%s%s", second->peer->file, second->line, key, value, why[0],
			 text, why[1]);
}

static int check_keys_differ(const struct gateway_config *config, struct claims *claims, struct error *error)
{
	*claims = (struct claims){.items = claims->items, .size = CONFIG_KEY_TEXT_SIZE};
	for (size_t i = 0; i < config->peer_count; i++)
		claim_add(claims, config->peers[i].public_key, &config->peers[i], config->peers[i].line);
	const struct claim *second = claims_conflict(claims);
	if (second == NULL)
		return 0;
	static const char *const why[][2] = {
		{"the peer on ", " has this key; one [Peer] for a key"},
		{"the peer on ",
		 " has this key, and another Protocol; a key is for one: give this peer a key of its own"},
	};
	bool another = second->peer->protocol != second[-1].peer->protocol;
	return refuse_second(second, "PublicKey", second->value, why[another], error);
}

static int check_addresses_differ(const struct gateway_config *config, struct claims *claims,
				  struct host_number *numbers, struct error *error)
{
	*claims = (struct claims){.items = claims->items, .size = sizeof *numbers};
	for (size_t i = 0; i < config->peer_count; i++) {
		const struct config_addresses *list = &config->peers[i].addresses;
		if (list->count == 0)
			continue;
		numbers[i] = host_number(gateway_network(config, &list->items[0]), &list->items[0]);
		claim_add(claims, &numbers[i], &config->peers[i], list->lines[0]);
	}
	const struct claim *second = claims_conflict(claims);
	if (second == NULL)
		return 0;
	char text[IP_TEXT_MAX];
	ip_address_format(&second->peer->addresses.items[0], text);
	static const char *const why[] = {"the peer on ", " has it, or the one that goes with it; choose another"};
	return refuse_second(second, "Address", text, why, error);
}

/* Equal networks only: of those that lie in each other the longest prefix wins. */
static int check_networks_differ(const struct gateway_config *config, struct claims *claims, struct error *error)
{
	*claims = (struct claims){.items = claims->items, .size = sizeof(struct ip_prefix)};
	for (size_t i = 0; i < config->peer_count; i++) {
		const struct config_prefixes *list = &config->peers[i].allowed_ips;
		for (size_t n = 0; n < list->count; n++)
			claim_add(claims, &list->items[n], &config->peers[i], list->lines[n]);
	}
	const struct claim *second = claims_conflict(claims);
	if (second == NULL)
		return 0;
	char text[IP_TEXT_MAX];
	ip_prefix_format(second->value, text);
	static const char *const why[] = {"behind the peer on ", " already; take one away"};
	return refuse_second(second, "AllowedIPs", text, why, error);
}

static size_t most_claims(const struct gateway_config *config)
{
	size_t networks = 0;
	for (size_t i = 0; i < config->peer_count; i++)
		networks += config->peers[i].allowed_ips.count;
	return networks > config->peer_count ? networks : config->peer_count;
}

static int check_differ(const struct gateway_config *config, struct error *error)
{
	struct claims claims = {.items = calloc(most_claims(config) + 1, sizeof *claims.items)};
	struct host_number *numbers = calloc(config->peer_count + 1, sizeof *numbers);
	int result;
	if (claims.items == NULL || numbers == NULL) {
		result = error_set(error, -ENOMEM, "%s: out of memory", config->file);
		goto cleanup;
	}
	result = check_keys_differ(config, &claims, error);
	if (result == 0)
		result = check_addresses_differ(config, &claims, numbers, error);
	if (result == 0)
		result = check_networks_differ(config, &claims, error);
cleanup:
	free(numbers);
	free(claims.items);
	return result;
}

int check_peers(const struct gateway_config *config, unsigned mtu_line, struct error *error)
{
	int result = 0;
	for (size_t i = 0; i < config->peer_count && result == 0; i++)
		result = check_peer(config, &config->peers[i], mtu_line, error);
	return result != 0 ? result : check_differ(config, error);
}
