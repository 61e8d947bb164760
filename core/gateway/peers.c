// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/peers.h"

#include <sodium.h>
#include <stdlib.h>

#include "core/daemon/identity.h"

enum { PEERS_BETWEEN_QUIET = 1024 };

/* --- from the configuration --------------------------------------------------------------------------------------- */

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

static uint32_t rate_of(uint32_t own, uint32_t all)
{
	uint32_t rate = own != 0 ? own : all;
	return rate != CONFIG_RATE_OFF ? rate : 0;
}

struct peer_limits gateway_peer_limits(const struct config_limits *own, const struct config_limits *all)
{
	const struct config_quota *quota = own->quota.bytes != 0 ? &own->quota : &all->quota;
	return (struct peer_limits){.up = rate_of(own->up, all->up),
				    .down = rate_of(own->down, all->down),
				    .burst = own->burst != 0 ? own->burst : all->burst,
				    .quota = quota->bytes != CONFIG_QUOTA_OFF ? quota->bytes : 0,
				    .period = quota->period,
				    .after = rate_of(own->quota_rate, all->quota_rate)};
}

/* The address of an endpoint that is one, v4-mapped; unspecified for a name. */
static struct in6_addr endpoint_address(const struct config_endpoint *endpoint)
{
	struct ip_address address = {0};
	struct in6_addr mapped = IN6ADDR_ANY_INIT;
	if (!ip_address_parse(endpoint->host, &address))
		return mapped;
	if (address.family == 6)
		memcpy(&mapped, address.bytes, sizeof mapped);
	else
		mapped.s6_addr[10] = mapped.s6_addr[11] = 0xff;
	if (address.family == 4)
		memcpy(&mapped.s6_addr[12], address.bytes, 4);
	return mapped;
}

struct contact gateway_peer_contact(const struct config_endpoint *endpoint, uint32_t keepalive)
{
	struct contact contact = {.keepalive = (uint16_t)keepalive};
	if (endpoint == NULL)
		return contact;
	contact.endpoint = (struct sockaddr_in6){
		.sin6_family = AF_INET6, .sin6_port = htons(endpoint->port), .sin6_addr = endpoint_address(endpoint)};
	if (IN6_IS_ADDR_UNSPECIFIED(&contact.endpoint.sin6_addr))
		contact.host = endpoint->host;
	return contact;
}

static int load_peer(struct registry *registry, const struct config_peer *from, const struct config_limits *all,
		     struct error *error)
{
	uint8_t public_key[KEY_SIZE], preshared_key[KEY_SIZE];
	struct registry_peer peer = {.public_key = public_key,
				     .preshared_key = preshared_key,
				     .name = from->name,
				     .networks = from->allowed_ips.items,
				     .network_count = from->allowed_ips.count,
				     .limits = gateway_peer_limits(&from->limits, all),
				     .protocol = gateway_peer_protocol(from->protocol),
				     .contact = gateway_peer_contact(from->endpoint, from->persistent_keepalive)};
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

/* Whether it gets an address that the configuration does not say. */
static bool gets_an_address(const struct config_peer *peer)
{
	return peer->protocol == CONFIG_PROTOCOL_WIREGUARD && peer->addresses.count == 0;
}

size_t gateway_peers_addressless(const struct gateway_config *config)
{
	size_t count = 0;
	for (size_t i = 0; i < config->peer_count; i++)
		count += gets_an_address(&config->peers[i]);
	return count;
}

static int load_those(struct registry *registry, const struct gateway_config *config, bool without_address,
		      struct error *error)
{
	int result = 0;
	for (size_t i = 0; result == 0 && i < config->peer_count; i++) {
		if (gets_an_address(&config->peers[i]) != without_address)
			continue;
		result = load_peer(registry, &config->peers[i], &config->limits, error);
		if (i % PEERS_BETWEEN_QUIET == 0)
			rcu_quiescent(); /* a million take a second */
	}
	return result;
}

/* Configured addresses are held before others are given out. */
int gateway_peers_load(struct registry *registry, const struct gateway_config *config, struct error *error)
{
	int result = load_those(registry, config, false, error);
	return result == 0 ? load_those(registry, config, true, error) : result;
}

/* --- one peer ----------------------------------------------------------------------------------------------------- */

int gateway_peers_add(struct registry *registry, const struct registry_peer *peer, const struct session_ender *ender,
		      struct error *error)
{
	int result = registry_add_peer(registry, peer, error);
	registry->changes++;
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
	const struct peer *peer = peers_find(&registry->peers, public_key);
	bool confirmed = peer != NULL && registry_peer_session(registry, peer) != NULL;
	if (!registry_remove_peer(registry, public_key, ids))
		return false;
	registry->changes++;
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		if (ids[i] != 0)
			ender->end(ender->context, ids[i], reason);
	}
	*ended += confirmed;
	return true;
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

static bool same_networks(const struct peer *a, const struct peer *b)
{
	const struct peer_networks *one = peer_networks(a), *other = peer_networks(b);
	return one->count == other->count && memcmp(one->items, other->items, one->count * sizeof *one->items) == 0;
}

static bool same_preshared_key(const struct peer *a, const struct peer *b)
{
	uint8_t one[KEY_SIZE], other[KEY_SIZE];
	peer_preshared_key(a, one);
	peer_preshared_key(b, other);
	bool same = sodium_memcmp(one, other, KEY_SIZE) == 0;
	sodium_memzero(one, sizeof one);
	sodium_memzero(other, sizeof other);
	return same;
}

static bool same_peer(const struct peer *a, const struct peer *b)
{
	return a->fixed_index == b->fixed_index && peer_protocol(a) == peer_protocol(b);
}

static bool same_name(const struct peer *a, const struct peer *b)
{
	const char *one = peer_name(a), *other = peer_name(b);
	return one == NULL || other == NULL ? one == other : strcmp(one, other) == 0;
}

static bool same_limits(const struct peer *a, const struct peer *b)
{
	struct peer_limits one = peer_limits(a), other = peer_limits(b);
	return one.up == other.up && one.down == other.down && one.burst == other.burst && one.quota == other.quota &&
	       one.period == other.period && one.after == other.after;
}

static bool list_add(struct gateway_peer_list *list, struct peer *peer)
{
	size_t count = list->count;
	if ((count & (count - 1)) == 0) {
		void *items = reallocarray(list->items, count == 0 ? 1 : 2 * count, sizeof *list->items);
		if (items == NULL)
			return false;
		list->items = items;
	}
	list->items[list->count++] = peer;
	return true;
}

struct comparison {
	const struct registry *registry, *wanted;
	struct gateway_peers_difference *difference;
	bool out_of_memory;
};

static void compare_pair(struct comparison *comparison, const struct peer *peer, struct peer *wanted)
{
	struct gateway_peers_difference *difference = comparison->difference;
	bool listed = true;
	if (!same_peer(peer, wanted))
		listed = list_add(&difference->changed, wanted);
	else
		listed = ((same_preshared_key(peer, wanted) && same_networks(peer, wanted)) ||
			  list_add(&difference->altered, wanted)) &&
			 (same_name(peer, wanted) || list_add(&difference->renamed, wanted)) &&
			 (same_limits(peer, wanted) || list_add(&difference->limited, wanted)) &&
			 (contact_equal(peer_contact(peer), peer_contact(wanted)) ||
			  list_add(&difference->moved, wanted));
	comparison->out_of_memory |= !listed;
}

static void compare_present(struct peer *peer, void *context)
{
	struct comparison *comparison = context;
	struct peer *wanted = peers_find(&comparison->wanted->peers, peer->public_key);
	if (wanted != NULL)
		compare_pair(comparison, peer, wanted);
	else
		comparison->out_of_memory |= !list_add(&comparison->difference->removed, peer);
}

static void compare_wanted(struct peer *wanted, void *context)
{
	struct comparison *comparison = context;
	if (peers_find(&comparison->registry->peers, wanted->public_key) == NULL)
		comparison->out_of_memory |= !list_add(&comparison->difference->added, wanted);
}

static void compare_named(struct peer *wanted, void *context)
{
	struct comparison *comparison = context;
	const struct peer *peer = peers_find(&comparison->registry->peers, wanted->public_key);
	if (peer != NULL)
		compare_pair(comparison, peer, wanted);
	else
		compare_wanted(wanted, context);
}

static int compared(struct comparison *comparison, struct error *error)
{
	struct gateway_peers_difference *difference = comparison->difference;
	difference->unchanged = peers_count(&comparison->registry->peers) - difference->removed.count -
				difference->changed.count - difference->altered.count;
	if (!comparison->out_of_memory)
		return 0;
	gateway_peers_difference_free(difference);
	return error_set(error, -ENOMEM, "peers: out of memory");
}

int gateway_peers_compare(struct registry *registry, struct registry *wanted,
			  struct gateway_peers_difference *difference, struct error *error)
{
	*difference = (struct gateway_peers_difference){0};
	struct comparison comparison = {.registry = registry, .wanted = wanted, .difference = difference};
	peers_for_each(&registry->peers, compare_present, &comparison);
	peers_for_each(&wanted->peers, compare_wanted, &comparison);
	return compared(&comparison, error);
}

int gateway_peers_compare_named(struct registry *registry, struct registry *wanted,
				struct gateway_peers_difference *difference, struct error *error)
{
	*difference = (struct gateway_peers_difference){0};
	struct comparison comparison = {.registry = registry, .wanted = wanted, .difference = difference};
	peers_for_each(&wanted->peers, compare_named, &comparison);
	return compared(&comparison, error);
}

void gateway_peers_difference_free(struct gateway_peers_difference *difference)
{
	free(difference->removed.items);
	free(difference->changed.items);
	free(difference->altered.items);
	free(difference->added.items);
	free(difference->renamed.items);
	free(difference->limited.items);
	free(difference->moved.items);
	*difference = (struct gateway_peers_difference){0};
}

static size_t remove_all(struct registry *registry, const struct gateway_peer_list *list, enum wire_bye_reason reason,
			 const struct session_ender *ender)
{
	size_t ended = 0;
	for (size_t i = 0; i < list->count; i++)
		(void)gateway_peers_remove(registry, list->items[i]->public_key, reason, ender, &ended);
	return ended;
}

static int add_wanted(struct registry *registry, const struct registry *wanted, const struct peer *from,
		      const struct session_ender *ender, struct error *error)
{
	const struct peer_networks *networks = peer_networks(from);
	uint8_t preshared_key[KEY_SIZE];
	struct registry_peer peer = {.public_key = from->public_key,
				     .preshared_key = preshared_key,
				     .name = peer_name(from),
				     .networks = networks->items,
				     .network_count = networks->count,
				     .limits = peer_limits(from),
				     .protocol = peer_protocol(from),
				     .freshness = from->freshness.proven ? &from->freshness : NULL};
	if (peer_contact(from) != NULL)
		peer.contact = *peer_contact(from);
	if (from->fixed_index != POOL_NONE) {
		struct ip_prefix address4, address6;
		pool_addresses(&wanted->pool, from->fixed_index, &address4, &address6);
		peer.address = address4.address.family != 0 ? address4.address : address6.address;
	}
	peer_preshared_key(from, preshared_key);
	int result = gateway_peers_add(registry, &peer, ender, error);
	sodium_memzero(preshared_key, sizeof preshared_key);
	return result;
}

static int add_all(struct registry *registry, const struct registry *wanted, const struct gateway_peer_list *list,
		   const struct session_ender *ender, struct error *error)
{
	int result = 0;
	for (size_t i = 0; i < list->count && result == 0; i++)
		result = add_wanted(registry, wanted, list->items[i], ender, error);
	return result;
}

/* A HELLO recorded before a peer changed must not count as fresh after it. One of the other protocol is none. */
static void keep_freshness(struct registry *registry, const struct gateway_peer_list *changed)
{
	for (size_t i = 0; i < changed->count; i++) {
		struct peer *wanted = changed->items[i];
		const struct peer *peer = peers_find(&registry->peers, wanted->public_key);
		if (peer != NULL && peer_protocol(peer) == peer_protocol(wanted))
			(void)registry_peer_freshness(registry, wanted->public_key, &wanted->freshness);
	}
}

static int rename_all(struct registry *registry, const struct gateway_peer_list *list, struct error *error)
{
	for (size_t i = 0; i < list->count; i++) {
		struct peer *peer = peers_find(&registry->peers, list->items[i]->public_key);
		if (peer != NULL && registry_rename_peer(registry, peer, peer_name(list->items[i])) != 0)
			return error_set(error, -ENOMEM, "peer: out of memory");
	}
	return 0;
}

static void tell_sessions(const struct session_ender *ender, const uint32_t ids[2])
{
	for (size_t n = 0; n < 2; n++) {
		if (ids[n] != 0)
			ender->limit(ender->context, ids[n]);
	}
}

int gateway_peers_alter(struct registry *registry, struct peer *peer, const struct registry_peer *to,
			const struct session_ender *ender, struct error *error)
{
	uint32_t ids[2];
	registry_set_preshared_key(registry, peer, to->preshared_key);
	int result = registry_add_networks(registry, peer, to->networks, to->network_count, error);
	if (registry_peer_sessions(registry, peer->public_key, ids))
		tell_sessions(ender, ids);
	return result;
}

/* The networks that they are not to have any more. */
static int narrow_all(struct registry *registry, const struct gateway_peer_list *list, struct error *error)
{
	for (size_t i = 0; i < list->count; i++) {
		struct peer *peer = peers_find(&registry->peers, list->items[i]->public_key);
		const struct peer_networks *networks = peer_networks(list->items[i]);
		if (peer != NULL && registry_keep_networks(registry, peer, networks->items, networks->count) != 0)
			return error_set(error, -ENOMEM, "peer: out of memory");
	}
	return 0;
}

static int alter_all(struct registry *registry, const struct gateway_peer_list *list, const struct session_ender *ender,
		     struct error *error)
{
	int result = 0;
	for (size_t i = 0; i < list->count && result == 0; i++) {
		struct peer *wanted = list->items[i], *peer = peers_find(&registry->peers, wanted->public_key);
		const struct peer_networks *networks = peer_networks(wanted);
		uint8_t preshared_key[KEY_SIZE];
		const struct registry_peer to = {
			.preshared_key = preshared_key, .networks = networks->items, .network_count = networks->count};
		peer_preshared_key(wanted, preshared_key);
		if (peer != NULL)
			result = gateway_peers_alter(registry, peer, &to, ender, error);
		sodium_memzero(preshared_key, sizeof preshared_key);
	}
	return result;
}

static int move_all(struct registry *registry, const struct gateway_peer_list *list, const struct session_ender *ender,
		    struct error *error)
{
	for (size_t i = 0; i < list->count; i++) {
		struct peer *peer = peers_find(&registry->peers, list->items[i]->public_key);
		const struct contact *contact = peer_contact(list->items[i]);
		uint32_t ids[2] = {0};
		if (peer != NULL && contact != NULL && registry_reach_peer(registry, peer, contact) != 0)
			return error_set(error, -ENOMEM, "peer: out of memory");
		if (registry_peer_sessions(registry, list->items[i]->public_key, ids))
			tell_sessions(ender, ids);
	}
	return 0;
}

static void limit_all(struct registry *registry, const struct gateway_peer_list *list,
		      const struct session_ender *ender)
{
	for (size_t i = 0; i < list->count; i++) {
		struct peer *peer = peers_find(&registry->peers, list->items[i]->public_key);
		struct peer_limits limits = peer_limits(list->items[i]);
		uint32_t ids[2] = {0};
		if (peer != NULL)
			registry_limit_peer(registry, peer, &limits, ids);
		tell_sessions(ender, ids);
	}
}

/* All is taken away before anything is given, since one peer may get the address or a network of another. The client of
 * a changed peer is to connect again at once, for its new address: BYE says "restarting". */
int gateway_peers_follow(struct registry *registry, const struct registry *wanted,
			 const struct gateway_peers_difference *difference, const struct session_ender *ender,
			 struct gateway_peers_change *change, struct error *error)
{
	*change = (struct gateway_peers_change){.added = difference->added.count,
						.removed = difference->removed.count,
						.changed = difference->changed.count + difference->altered.count,
						.unchanged = difference->unchanged};
	keep_freshness(registry, &difference->changed);
	keep_freshness(registry, &difference->ended);
	change->ended = remove_all(registry, &difference->removed, WIRE_BYE_REMOVED, ender) +
			remove_all(registry, &difference->changed, WIRE_BYE_RESTARTING, ender) +
			remove_all(registry, &difference->ended, WIRE_BYE_RESTARTING, ender);
	int result = narrow_all(registry, &difference->altered, error);
	if (result == 0)
		result = narrow_all(registry, &difference->narrowed, error);
	if (result == 0)
		result = add_all(registry, wanted, &difference->changed, ender, error);
	if (result == 0)
		result = add_all(registry, wanted, &difference->added, ender, error);
	if (result == 0)
		result = alter_all(registry, &difference->altered, ender, error);
	if (result == 0)
		result = rename_all(registry, &difference->renamed, error);
	if (result == 0)
		result = move_all(registry, &difference->moved, ender, error);
	limit_all(registry, &difference->limited, ender);
	if (result != 0)
		error_prefix(error, result, "peers or networks are missing now; reload again: ");
	return result;
}
