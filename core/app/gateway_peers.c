// SPDX-License-Identifier: Apache-2.0
#include "core/app/gateway_peers.h"

#include <sodium.h>

#include "core/app/identity.h"

/* --- from the configuration -----------------------------------------------------------------------------------------
 */

/* IPv4 and IPv6 address of a peer come from one index, so either names both. */
static int peer_address(const struct pool *pool, const struct config_peer *from, struct ip_address *address,
			struct error *error)
{
	uint32_t first = POOL_NONE;
	*address = (struct ip_address){0};
	for (size_t i = 0; i < from->addresses.count; i++) {
		char text[IP_TEXT_MAX];
		uint32_t index;
		const struct ip_address *item = &from->addresses.items[i];
		ip_address_format(item, text);
		if (!pool_index(pool, item, &index))
			return error_set(error, -EINVAL, "%s:%u: Address = %s: not one that the gateway can give out",
					 from->file, from->addresses.lines[i], text);
		if (first != POOL_NONE && first != index)
			return error_set(error, -EINVAL,
					 "%s:%u: Address = %s: IPv4 and IPv6 address must have the same host number; "
					 "give one of them, the other follows",
					 from->file, from->addresses.lines[i], text);
		first = index;
		*address = *item;
	}
	return 0;
}

static int load_peer(struct registry *registry, const struct config_peer *from, struct error *error)
{
	uint8_t public_key[KEY_SIZE], preshared_key[KEY_SIZE];
	struct registry_peer peer = {.public_key = public_key,
				     .preshared_key = preshared_key,
				     .name = from->name,
				     .networks = from->allowed_ips.items,
				     .network_count = from->allowed_ips.count};
	struct identity_remote remote = {.public_key = from->public_key,
					 .preshared_key = from->preshared_key,
					 .preshared_key_file = from->preshared_key_file};
	int result = identity_load_remote(&remote, public_key, preshared_key, error);
	if (result != 0)
		return error_prefix(error, result, "%s:%u: ", from->file, from->line);
	result = peer_address(&registry->pool, from, &peer.address, error);
	if (result == 0) {
		result = registry_add_peer(registry, &peer, error);
		if (result != 0)
			error_prefix(error, result, "%s:%u: ", from->file,
				     from->addresses.count != 0 ? from->addresses.lines[0] : from->line);
	}
	sodium_memzero(preshared_key, sizeof preshared_key);
	return result;
}

int gateway_peers_load(struct registry *registry, const struct gateway_config *config, struct error *error)
{
	int result = 0;
	for (size_t i = 0; result == 0 && i < config->peer_count; i++)
		result = load_peer(registry, &config->peers[i], error);
	return result;
}

/* --- one peer -------------------------------------------------------------------------------------------------------
 */

int gateway_peers_add(struct registry *registry, const struct registry_peer *peer, const struct session_ender *ender,
		      struct error *error)
{
	int result = registry_add_peer(registry, peer, error);
	if (result != 0 || peer->address.family == 0)
		return result;
	uint32_t id = pool_lookup(&registry->pool, peer->address.family, peer->address.bytes);
	if (id != 0)
		ender->end(ender->context, id, WIRE_BYE_RESTARTING);
	return 0;
}

bool gateway_peers_remove(struct registry *registry, const uint8_t public_key[KEY_SIZE], enum wire_bye_reason reason,
			  const struct session_ender *ender, size_t *ended)
{
	uint32_t ids[2];
	if (!registry_remove_peer(registry, public_key, ids))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		if (ids[i] == 0)
			continue;
		ender->end(ender->context, ids[i], reason);
		++*ended;
	}
	return true;
}

/* --- all of them ----------------------------------------------------------------------------------------------------
 */

struct difference {
	struct registry *registry, *wanted;
	const struct session_ender *ender;
	struct gateway_peers_change *change;
	struct error *error;
	int result;
};

static bool same_networks(const struct peer *a, const struct peer *b)
{
	if (a->network_count != b->network_count)
		return false;
	for (uint32_t i = 0; i < a->network_count; i++) {
		if (a->networks[i].length != b->networks[i].length ||
		    !ip_address_equal(&a->networks[i].address, &b->networks[i].address))
			return false;
	}
	return true;
}

static bool same_peer(const struct peer *a, const struct peer *b)
{
	return sodium_memcmp(a->preshared_key, b->preshared_key, KEY_SIZE) == 0 && a->fixed_index == b->fixed_index &&
	       same_networks(a, b);
}

/* One that changed comes back soon: its client has to hear about the new address. */
static void remove_unless_wanted(struct peer *peer, void *context)
{
	struct difference *difference = context;
	struct gateway_peers_change *change = difference->change;
	const struct peer *wanted = peers_find(&difference->wanted->peers, peer->public_key);
	if (wanted != NULL && same_peer(peer, wanted)) {
		change->unchanged++;
		if (difference->result == 0 && registry_rename_peer(difference->registry, peer, peer_name(wanted)) != 0)
			difference->result = error_set(difference->error, -ENOMEM, "peer: out of memory");
		return;
	}
	if (wanted != NULL)
		change->changed++;
	else
		change->removed++;
	(void)gateway_peers_remove(difference->registry, peer->public_key,
				   wanted != NULL ? WIRE_BYE_RESTARTING : WIRE_BYE_REMOVED, difference->ender,
				   &change->ended);
}

static void add_unless_there(struct peer *wanted, void *context)
{
	struct difference *difference = context;
	if (difference->result != 0 || peers_find(&difference->registry->peers, wanted->public_key) != NULL)
		return;
	struct registry_peer peer = {.public_key = wanted->public_key,
				     .preshared_key = wanted->preshared_key,
				     .name = peer_name(wanted),
				     .networks = wanted->networks,
				     .network_count = wanted->network_count};
	if (wanted->fixed_index != POOL_NONE) {
		struct ip_prefix address4, address6;
		pool_addresses(&difference->wanted->pool, wanted->fixed_index, &address4, &address6);
		peer.address = address4.address.family != 0 ? address4.address : address6.address;
	}
	difference->result = gateway_peers_add(difference->registry, &peer, difference->ender, difference->error);
	difference->change->added++;
}

/* The control thread alone adds and removes peers, so it may go through them without the mutex. First all go and then
 * all come: one may get the address of another. */
int gateway_peers_follow(struct registry *registry, struct registry *wanted, const struct session_ender *ender,
			 struct gateway_peers_change *change, struct error *error)
{
	*change = (struct gateway_peers_change){0};
	struct difference difference = {
		.registry = registry, .wanted = wanted, .ender = ender, .change = change, .error = error};
	peers_for_each(&registry->peers, remove_unless_wanted, &difference);
	peers_for_each(&wanted->peers, add_unless_there, &difference);
	if (difference.result != 0)
		return error_prefix(error, difference.result,
				    "%zu peers are removed, but not all could be added; reload again: ",
				    change->removed + change->changed);
	change->added -= change->changed;
	return 0;
}
