// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/wireguard_plan.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static int compare_prefixes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_prefix));
}

/* --- what a peer is to have --------------------------------------------------------------------------------------- */

/* A network that it has, or is to have or to lose, in the order of the request: the last word counts. */
struct wish {
	struct ip_prefix network; /* without host bits */
	size_t order;
	bool remove;
};

struct wishes {
	struct wish *items;
	size_t count;
};

static void put_wish(struct wishes *wishes, const struct ip_prefix *network, bool remove)
{
	size_t order = wishes->count++;
	wishes->items[order] = (struct wish){*network, order, remove};
}

static int compare_wishes(const void *a, const void *b)
{
	const struct wish *one = a, *other = b;
	int order = compare_prefixes(&one->network, &other->network);
	return order != 0 ? order : (one->order > other->order) - (one->order < other->order);
}

static void put_address(struct wishes *wishes, const struct ip_prefix *address, uint8_t length)
{
	const struct ip_prefix host = {address->address, length};
	if (address->address.family != 0)
		put_wish(wishes, &host, false);
}

/* What "get=1" says of it. */
static void put_present(struct wishes *wishes, const struct registry *registry, const struct peer *peer)
{
	struct ip_prefix address4, address6;
	if (peer->fixed_index != POOL_NONE) {
		pool_addresses(&registry->pool, peer->fixed_index, &address4, &address6);
		put_address(wishes, &address4, 32);
		put_address(wishes, &address6, 128);
	}
	const struct peer_networks *networks = peer_networks(peer);
	for (uint32_t i = 0; i < networks->count; i++)
		put_wish(wishes, &networks->items[i], false);
}

/* One of its allowed IPs: its address of the pool, or a network behind it. */
static int take_allowed(struct wireguard_planned *item, const struct registry *registry,
			const struct ip_prefix *network)
{
	const struct pool *pool = &registry->pool;
	const struct ip_prefix *own = network->address.family == 4 ? &pool->gateway4 : &pool->gateway6;
	uint32_t index;
	if (network->length == 0)
		return -EOPNOTSUPP;
	if (!ip_prefix_overlaps(own, network)) {
		item->networks[item->network_count++] = *network;
		return ip_address_unfit(&network->address) != NULL ? -EINVAL : 0;
	}
	if (network->length != (network->address.family == 4 ? 32 : 128))
		return -EOPNOTSUPP;
	if (!pool_index(pool, &network->address, &index))
		return -EADDRNOTAVAIL;
	if (item->index != POOL_NONE && item->index != index)
		return -EOPNOTSUPP;
	item->index = index;
	return 0;
}

/* Networks are sorted, and each is there once, since the wishes are. */
static int grant(struct wireguard_planned *item, const struct registry *registry, struct wishes *wishes)
{
	int result = 0;
	qsort(wishes->items, wishes->count, sizeof *wishes->items, compare_wishes);
	for (size_t i = 0; i < wishes->count && result == 0; i++) {
		const struct wish *wish = &wishes->items[i];
		bool last = i + 1 == wishes->count || compare_prefixes(&wish->network, &wish[1].network) != 0;
		if (last && !wish->remove)
			result = take_allowed(item, registry, &wish->network);
	}
	return result;
}

static int plan_allowed(struct wireguard_planned *item, const struct registry *registry,
			const struct wireguard_set *set)
{
	const struct wireguard_change *change = item->change;
	size_t present = item->there != NULL ? peer_networks(item->there)->count + 2 : 0;
	size_t most = present + change->count + 1;
	struct wishes wishes = {.items = calloc(most, sizeof *wishes.items)};
	item->networks = calloc(most, sizeof *item->networks);
	item->index = POOL_NONE;
	int result = wishes.items != NULL && item->networks != NULL ? 0 : -ENOMEM;
	if (result == 0 && item->there != NULL && !change->replace_allowed)
		put_present(&wishes, registry, item->there);
	for (size_t i = 0; result == 0 && i < change->count; i++) {
		const struct wireguard_allowed *allowed = &set->allowed[change->first + i];
		put_wish(&wishes, &allowed->network, allowed->remove);
	}
	if (result == 0)
		result = grant(item, registry, &wishes);
	free(wishes.items);
	/* It keeps an address that the request does not say: each peer has one. */
	if (item->index == POOL_NONE && item->there != NULL)
		item->index = item->there->fixed_index;
	return result;
}

static void plan_contact(struct wireguard_planned *item)
{
	const struct wireguard_change *change = item->change;
	const struct contact *present = item->there != NULL ? peer_contact(item->there) : NULL;
	item->contact = present != NULL ? *present : (struct contact){0};
	if (change->has_endpoint) {
		item->contact.endpoint = change->endpoint;
		item->contact.host = NULL;
	}
	if (change->has_keepalive)
		item->contact.keepalive = change->keepalive;
}

static bool is_altered(const struct wireguard_planned *item)
{
	const struct peer *there = item->there;
	const struct peer_networks *networks = peer_networks(there);
	uint8_t preshared_key[KEY_SIZE];
	peer_preshared_key(there, preshared_key);
	bool same_key = sodium_memcmp(item->preshared_key, preshared_key, KEY_SIZE) == 0;
	sodium_memzero(preshared_key, sizeof preshared_key);
	return !same_key || !contact_equal(&item->contact, peer_contact(there)) ||
	       item->network_count != networks->count ||
	       (item->network_count != 0 &&
		memcmp(item->networks, networks->items, item->network_count * sizeof *item->networks) != 0);
}

static enum wireguard_step step_of(const struct wireguard_planned *item)
{
	if (item->there == NULL)
		return WIREGUARD_ADD;
	if (item->index != item->there->fixed_index)
		return WIREGUARD_REPLACE;
	return is_altered(item) ? WIREGUARD_ALTER : WIREGUARD_KEEP;
}

static int plan_item(struct wireguard_planned *item, const struct wireguard_plan *plan, const struct wireguard_set *set)
{
	const struct wireguard_change *change = item->change;
	struct peer *there = peers_find(&plan->registry->peers, change->public_key);
	bool other = there != NULL && peer_protocol(there) != PEER_WIREGUARD;
	item->there = other ? NULL : there;
	item->step = WIREGUARD_KEEP;
	if (change->remove && item->there != NULL)
		item->step = WIREGUARD_REMOVE;
	if (change->remove || (change->update_only && item->there == NULL))
		return 0;
	if (other)
		return -EEXIST;
	if (memcmp(change->public_key, set->running->wireguard_keys->public_key, KEY_SIZE) == 0)
		return -EINVAL;
	if (change->has_psk)
		memcpy(item->preshared_key, change->preshared_key, KEY_SIZE);
	else if (item->there != NULL)
		peer_preshared_key(item->there, item->preshared_key);
	plan_contact(item);
	int result = plan_allowed(item, plan->registry, set);
	if (result == 0)
		item->step = step_of(item);
	return result;
}

/* --- what only one peer may have ---------------------------------------------------------------------------------- */

/* Something that is given, or given back, and its peer. */
struct claim {
	union {
		uint32_t index;
		struct ip_prefix network;
	};
	const struct wireguard_planned *item;
};

static int compare_indexes(const void *a, const void *b)
{
	uint32_t one = ((const struct claim *)a)->index, other = ((const struct claim *)b)->index;
	return (one > other) - (one < other);
}

static int compare_networks(const void *a, const void *b)
{
	return compare_prefixes(&((const struct claim *)a)->network, &((const struct claim *)b)->network);
}

static bool comes(const struct wireguard_planned *item)
{
	return item->step == WIREGUARD_ADD || item->step == WIREGUARD_REPLACE;
}

static bool goes(const struct wireguard_planned *item)
{
	return item->step == WIREGUARD_REMOVE || item->step == WIREGUARD_REPLACE;
}

static bool any_twice(struct claim *claims, size_t count, int (*compare)(const void *a, const void *b))
{
	qsort(claims, count, sizeof *claims, compare);
	for (size_t i = 1; i < count; i++) {
		if (compare(&claims[i - 1], &claims[i]) == 0)
			return true;
	}
	return false;
}

/* `claims` has room for one of each item, twice. */
static int check_addresses(const struct wireguard_plan *plan, struct claim *claims)
{
	struct claim *free_again = claims + plan->count;
	size_t wanted = 0, given = 0;
	for (size_t i = 0; i < plan->count; i++) {
		const struct wireguard_planned *item = &plan->items[i];
		if (comes(item) && item->index != POOL_NONE)
			claims[wanted++] = (struct claim){.index = item->index, .item = item};
		if (goes(item))
			free_again[given++] = (struct claim){.index = item->there->fixed_index, .item = item};
	}
	if (any_twice(claims, wanted, compare_indexes))
		return -EADDRINUSE;
	qsort(free_again, given, sizeof *free_again, compare_indexes);
	for (size_t i = 0; i < wanted; i++) {
		if (registry_address_held(plan->registry, claims[i].index) &&
		    bsearch(&claims[i], free_again, given, sizeof *claims, compare_indexes) == NULL)
			return -EADDRINUSE;
	}
	return 0;
}

/* Peers that come without an address get one that no other is to have. */
static int choose_addresses(const struct wireguard_plan *plan)
{
	bool *taken = calloc(plan->registry->pool.size + 1, sizeof *taken);
	int result = taken != NULL ? 0 : -ENOMEM;
	for (size_t i = 0; i < plan->count && result == 0; i++) {
		if (comes(&plan->items[i]) && plan->items[i].index != POOL_NONE)
			taken[plan->items[i].index] = true;
	}
	for (size_t i = 0; i < plan->count && result == 0; i++) {
		struct wireguard_planned *item = &plan->items[i];
		uint64_t number = load_be64(item->change->public_key);
		if (!comes(item) || item->index != POOL_NONE)
			continue;
		for (size_t tries = 0; tries <= plan->count; tries++) {
			item->index = registry_choose_address(plan->registry, number);
			if (item->index == POOL_NONE || !taken[item->index])
				break;
			number = item->index + 1;
		}
		if (item->index == POOL_NONE || taken[item->index])
			result = -EADDRINUSE;
		else
			taken[item->index] = true;
	}
	free(taken);
	return result;
}

/* Whether the request says which networks the owner of one has, so that another peer may have it unless both are to.
 * Items are in the order of their keys. */
static bool owner_is_named(const struct wireguard_plan *plan, const struct peer *owner)
{
	size_t low = 0, high = plan->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct wireguard_planned *item = &plan->items[middle];
		int order = memcmp(item->change->public_key, owner->public_key, KEY_SIZE);
		if (order == 0)
			return goes(item) || item->step == WIREGUARD_ALTER;
		low = order < 0 ? middle + 1 : low;
		high = order < 0 ? high : middle;
	}
	return false;
}

static bool has_networks(const struct wireguard_planned *item)
{
	return comes(item) || item->step == WIREGUARD_ALTER;
}

static int check_networks(const struct wireguard_plan *plan)
{
	size_t count = 0, filled = 0;
	for (size_t i = 0; i < plan->count; i++)
		count += has_networks(&plan->items[i]) ? plan->items[i].network_count : 0;
	struct claim *claims = calloc(count + 1, sizeof *claims);
	if (claims == NULL)
		return -ENOMEM;
	int result = 0;
	for (size_t i = 0; i < plan->count; i++) {
		const struct wireguard_planned *item = &plan->items[i];
		for (size_t n = 0; has_networks(item) && n < item->network_count; n++) {
			struct network_route *route = networks_exact(&plan->registry->networks, &item->networks[n]);
			if (route != NULL && !owner_is_named(plan, route->owner))
				result = -EADDRINUSE;
			claims[filled++] = (struct claim){.network = item->networks[n], .item = item};
		}
	}
	if (result == 0 && any_twice(claims, filled, compare_networks))
		result = -EADDRINUSE;
	free(claims);
	return result;
}

static int check(const struct wireguard_plan *plan)
{
	struct claim *claims = calloc(2 * plan->count + 1, sizeof *claims);
	if (claims == NULL)
		return -ENOMEM;
	int result = check_addresses(plan, claims);
	free(claims);
	if (result == 0)
		result = choose_addresses(plan);
	return result == 0 ? check_networks(plan) : result;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static int compare_keys(const void *a, const void *b)
{
	const struct wireguard_planned *one = a, *other = b;
	return memcmp(one->change->public_key, other->change->public_key, KEY_SIZE);
}

int wireguard_plan_make(struct wireguard_plan *plan, struct registry *registry, const struct wireguard_set *set)
{
	*plan = (struct wireguard_plan){.registry = registry};
	plan->items = calloc(set->count + 1, sizeof *plan->items);
	if (plan->items == NULL)
		return -ENOMEM;
	plan->count = set->count;
	for (size_t i = 0; i < set->count; i++)
		plan->items[i].change = &set->changes[i];
	qsort(plan->items, plan->count, sizeof *plan->items, compare_keys);
	int result = 0;
	for (size_t i = 0; i < plan->count && result == 0; i++) {
		if (i > 0 && compare_keys(&plan->items[i - 1], &plan->items[i]) == 0)
			result = -EINVAL;
		else
			result = plan_item(&plan->items[i], plan, set);
	}
	return result == 0 ? check(plan) : result;
}

void wireguard_plan_free(struct wireguard_plan *plan)
{
	for (size_t i = 0; i < plan->count; i++)
		free(plan->items[i].networks);
	if (plan->items != NULL)
		explicit_bzero(plan->items, plan->count * sizeof *plan->items);
	free(plan->items);
	*plan = (struct wireguard_plan){0};
}
