// SPDX-License-Identifier: Apache-2.0
#include "core/sessions/networks.h"

#include <stdlib.h>

enum {
	ARRAY_MIN = 16, /* slots */
	ARRAY_FULL = 2, /* at most one slot in so many is used: probes stay short, and end */
	ARRAY_ROOM = 4, /* slots for each network in a new array */
};

/* Used once: empty, then a network's, then of one that was taken out. */
struct slot {
	uint64_t hash; /* written before `route`, then constant */
	_Atomic(struct network_route *) route;
};

/* Open addressing with linear probing. A network keeps its slot, and the slots before it never become empty again, so a
 * lookup cannot miss it. A full array is replaced as a whole by one that is complete. */
struct network_array {
	_Atomic uint64_t lengths[2];  /* bit n % 64 of word n / 64: there are networks of n + 1 bits */
	size_t mask;		      /* slots - 1 */
	struct network_route removed; /* stands for all that were taken out; of length 0, it matches nothing */
	struct rcu_head rcu;
	struct slot slots[];
};

static inline struct network_key key_from(unsigned version, const uint8_t *address)
{
	if (version == 4)
		return (struct network_key){.high = (uint64_t)load_be32(address) << 32};
	return (struct network_key){load_be64(address), load_be64(address + 8)};
}

/* The first `length` bits, 1 to 128, and zeros. */
static inline struct network_key key_truncate(struct network_key key, unsigned length)
{
	if (length <= 64)
		return (struct network_key){.high = key.high & UINT64_MAX << (64 - length)};
	return (struct network_key){key.high, key.low & UINT64_MAX << (128 - length)};
}

/* Multiplications as in MurmurHash3's finalizer; three, so that every bit of both halves reaches the low bits, which
 * choose the slot. No seed: the keys in the table come from the configuration, not from packets. */
static inline uint64_t key_hash(struct network_key key, unsigned length)
{
	uint64_t hash = (key.high ^ length) * 0xff51afd7ed558ccdu;
	hash = (hash ^ hash >> 33 ^ key.low) * 0xc4ceb9fe1a85ec53u;
	hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccdu;
	return hash ^ hash >> 33;
}

/* The slot of a network and the network, or the empty slot where it would go and NULL. */
static inline struct slot *probe(struct network_array *array, struct network_key key, unsigned length,
				 struct network_route **found)
{
	uint64_t hash = key_hash(key, length);
	for (size_t i = hash;; i++) {
		struct slot *slot = &array->slots[i & array->mask];
		struct network_route *route = rcu_read(&slot->route);
		if (route == NULL || (slot->hash == hash && route->key.high == key.high && route->key.low == key.low &&
				      route->prefix.length == length)) {
			*found = route;
			return slot;
		}
	}
}

struct network_route *networks_search(struct network_array *array, unsigned version, const uint8_t *address)
{
	struct network_key key = key_from(version, address);
	for (unsigned word = ARRAY_SIZE(array->lengths); word-- > 0;) {
		uint64_t lengths = atomic_load_explicit(&array->lengths[word], memory_order_acquire);
		while (lengths != 0) {
			unsigned bit = 63 - (unsigned)__builtin_clzll(lengths);
			unsigned length = 64 * word + bit + 1;
			struct network_route *route;
			probe(array, key_truncate(key, length), length, &route);
			if (route != NULL)
				return route;
			lengths ^= 1ull << bit;
		}
	}
	return NULL;
}

struct network_route *networks_exact(const struct networks *table, const struct ip_prefix *prefix)
{
	unsigned version = prefix->address.family;
	struct network_array *array = rcu_read(version == 4 ? &table->ipv4.array : &table->ipv6.array);
	if (array == NULL || prefix->length == 0)
		return NULL;
	struct network_key key = key_truncate(key_from(version, prefix->address.bytes), prefix->length);
	struct network_route *route;
	probe(array, key, prefix->length, &route);
	return route;
}

static void array_free(struct rcu_head *head)
{
	rcu_after_readers_begin();
	free(caa_container_of(head, struct network_array, rcu));
}

static void route_free(struct rcu_head *head)
{
	rcu_after_readers_begin();
	free(caa_container_of(head, struct network_route, rcu));
}

/* Puts another array in the place of the old one, which may be NULL. */
static void replace(struct network_family *family, struct network_array *array)
{
	struct network_array *old = rcu_read(&family->array);
	rcu_publish(&family->array, array);
	if (old != NULL)
		rcu_after_readers(&old->rcu, array_free);
}

static struct network_array *array_new(size_t networks)
{
	size_t slots = ARRAY_MIN;
	while (slots < ARRAY_ROOM * networks)
		slots *= 2;
	size_t size = sizeof(struct network_array) + slots * sizeof(struct slot);
	struct network_array *array = aligned_alloc(CACHE_LINE, (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
	if (array == NULL)
		return NULL;
	memset(array, 0, size);
	array->mask = slots - 1;
	return array;
}

static void array_put(struct network_array *array, struct network_route *route)
{
	unsigned length = route->prefix.length;
	struct network_route *none;
	struct slot *slot = probe(array, route->key, length, &none);
	slot->hash = key_hash(route->key, length);
	rcu_publish(&slot->route, route);
	atomic_fetch_or_explicit(&array->lengths[(length - 1) / 64], 1ull << (length - 1) % 64, memory_order_release);
}

/* Room for one more: a new array when the one that is there has too few empty slots. */
static int make_room(struct network_family *family)
{
	struct network_array *old = rcu_read(&family->array);
	if (old != NULL && ARRAY_FULL * (family->used + 1) <= old->mask + 1)
		return 0;
	struct network_array *array = array_new(family->count + 1);
	if (array == NULL)
		return -ENOMEM;
	for (size_t i = 0; old != NULL && i <= old->mask; i++) {
		struct network_route *route = rcu_read(&old->slots[i].route);
		if (route != NULL && route != &old->removed)
			array_put(array, route);
	}
	family->used = family->count;
	replace(family, array);
	return 0;
}

static struct network_family *family_of(struct networks *table, const struct ip_prefix *prefix)
{
	return prefix->address.family == 4 ? &table->ipv4 : &table->ipv6;
}

static bool prefix_valid(const struct ip_prefix *prefix)
{
	uint8_t family = prefix->address.family;
	return prefix->length > 0 && ((family == 4 && prefix->length <= 32) || (family == 6 && prefix->length <= 128));
}

static struct network_route *find_exactly(struct network_family *family, struct network_key key, unsigned length)
{
	struct network_array *array = rcu_read(&family->array);
	struct network_route *route = NULL;
	if (array != NULL)
		probe(array, key, length, &route);
	return route;
}

int networks_add(struct networks *table, const struct ip_prefix *prefix, const void *owner,
		 struct network_route **route, struct error *error)
{
	char text[IP_TEXT_MAX];
	if (!prefix_valid(prefix))
		return error_set(error, -EINVAL, "%s: no network that can be behind a peer",
				 ip_prefix_format(prefix, text));
	struct network_family *family = family_of(table, prefix);
	struct ip_prefix network = ip_prefix_network(prefix);
	struct network_key key = key_from(network.address.family, network.address.bytes);
	if (find_exactly(family, key, network.length) != NULL)
		return error_set(error, -EEXIST, "%s: is behind a peer already", ip_prefix_format(&network, text));

	struct network_route *added = aligned_alloc(CACHE_LINE, sizeof *added);
	if (added == NULL || make_room(family) != 0) {
		free(added);
		return error_set(error, -ENOMEM, "%s: out of memory", ip_prefix_format(&network, text));
	}
	memset(added, 0, sizeof *added);
	added->owner = owner;
	added->prefix = network;
	added->key = key;
	array_put(rcu_read(&family->array), added);
	family->count++;
	family->used++;
	family->of_length[network.length]++;
	*route = added;
	return 0;
}

void networks_remove(struct networks *table, struct network_route *route)
{
	struct network_family *family = family_of(table, &route->prefix);
	struct network_array *array = rcu_read(&family->array);
	unsigned length = route->prefix.length;
	struct network_route *same;
	struct slot *slot = probe(array, route->key, length, &same);
	rcu_publish(&slot->route, &array->removed);
	if (--family->of_length[length] == 0)
		atomic_fetch_and_explicit(&array->lengths[(length - 1) / 64], ~(1ull << (length - 1) % 64),
					  memory_order_release);
	if (--family->count == 0)
		replace(family, NULL);
	rcu_after_readers(&route->rcu, route_free);
}

void networks_init(struct networks *table)
{
	memset(table, 0, sizeof *table);
}

static void free_all(struct network_family *family)
{
	struct network_array *array = rcu_read(&family->array);
	for (size_t i = 0; array != NULL && i <= array->mask; i++) {
		struct network_route *route = rcu_read(&array->slots[i].route);
		if (route != &array->removed)
			free(route);
	}
	free(array);
}

void networks_deinit(struct networks *table)
{
	free_all(&table->ipv4);
	free_all(&table->ipv6);
	networks_init(table);
}
