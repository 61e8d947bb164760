// SPDX-License-Identifier: Apache-2.0
#include "core/sessions/peer.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>

#include "crypto/noise.h"

enum {
	BUCKETS_MIN = 64,
	BUCKETS_MAX = 1 << 24,
	CHUNK_MIN = 64, /* peers; each chunk is twice the one before */
	CHUNK_MAX = 4096,
};

enum static_static_state {
	STATIC_STATIC_NONE,
	STATIC_STATIC_WRITING,
	STATIC_STATIC_READY,
	STATIC_STATIC_BAD, /* the public key is no usable point */
};

struct peer_chunk {
	struct peer_chunk *next;
	uint32_t count;
	struct peer peers[];
};

_Static_assert(sizeof((struct peers *)0)->hash_key == crypto_shorthash_KEYBYTES, "SipHash's key");

/* What was written before a peer was added is read after it was found. The table orders the two by atomics that
 * ThreadSanitizer does not see. */
#ifdef RCU_TSAN
#define tsan_publish(node) __tsan_release(node)
#define tsan_find(node)	   __tsan_acquire(node)
#else
#define tsan_publish(node) ((void)0)
#define tsan_find(node)	   ((void)0)
#endif

/* --- memory ------------------------------------------------------------------------------------------------------- */

/* Called with the mutex held. */
static bool arena_grow(struct peer_arena *arena)
{
	struct peer_chunk *chunk = secret_new(sizeof *chunk + arena->next_chunk * sizeof *chunk->peers);
	if (chunk == NULL)
		return false;
	chunk->count = arena->next_chunk;
	chunk->next = arena->chunks;
	arena->chunks = chunk;
	for (uint32_t i = chunk->count; i-- > 0;) {
		chunk->peers[i].next_free = arena->free;
		arena->free = &chunk->peers[i];
	}
	if (arena->next_chunk < CHUNK_MAX)
		arena->next_chunk *= 2;
	return true;
}

static struct peer *arena_take(struct peer_arena *arena)
{
	pthread_mutex_lock(&arena->mutex);
	struct peer *peer = arena->free;
	if (peer == NULL && arena_grow(arena))
		peer = arena->free;
	if (peer != NULL) {
		arena->free = peer->next_free;
		arena->used++;
	}
	pthread_mutex_unlock(&arena->mutex);
	return peer;
}

static void arena_give_back(struct peer_arena *arena, struct peer *peer)
{
	pthread_mutex_lock(&arena->mutex);
	peer->next_free = arena->free;
	arena->free = peer;
	arena->used--;
	pthread_mutex_unlock(&arena->mutex);
}

static void arena_deinit(struct peer_arena *arena)
{
	while (arena->chunks != NULL) {
		struct peer_chunk *chunk = arena->chunks;
		arena->chunks = chunk->next;
		for (uint32_t i = 0; i < chunk->count; i++) {
			/* NULL in free ones */
			free(atomic_load_explicit(&chunk->peers[i].networks, memory_order_relaxed));
			peer_wireguard_free(chunk->peers[i].wireguard);
			free(atomic_load_explicit(&chunk->peers[i].name, memory_order_relaxed));
		}
		secret_free(chunk);
	}
	pthread_mutex_destroy(&arena->mutex);
}

struct peer *peer_new(struct peers *peers)
{
	struct peer *peer = arena_take(&peers->arena);
	if (peer != NULL)
		*peer = (struct peer){.fixed_index = POOL_NONE, .last_index = POOL_NONE};
	return peer;
}

int peer_speak_wireguard(struct peer *peer)
{
	peer->wireguard = peer_wireguard_new(peer);
	return peer->wireguard != NULL ? 0 : -ENOMEM;
}

static void free_name(struct rcu_head *head)
{
	rcu_after_readers_begin();
	free(caa_container_of(head, struct peer_name, rcu));
}

int peer_rename(struct peer *peer, const char *name)
{
	struct peer_name *old = atomic_load_explicit(&peer->name, memory_order_relaxed), *new = NULL;
	if (name != NULL) {
		size_t size = strlen(name) + 1;
		new = malloc(sizeof *new + size);
		if (new == NULL)
			return -ENOMEM;
		memcpy(new->text, name, size);
	}
	rcu_publish(&peer->name, new);
	if (old != NULL)
		rcu_after_readers(&old->rcu, free_name);
	return 0;
}

/* --- networks and pre-shared key ---------------------------------------------------------------------------------- */

_Static_assert(sizeof(struct ip_prefix) == sizeof(struct ip_address) + 1, "compared as bytes");

static int compare_prefixes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_prefix));
}

struct peer_networks *peer_networks_new(const struct ip_prefix *networks, size_t count)
{
	struct peer_networks *new = calloc(1, sizeof *new + count * sizeof *new->items);
	if (new == NULL)
		return NULL;
	for (size_t i = 0; i < count; i++)
		new->items[i] = ip_prefix_network(&networks[i]);
	new->count = (uint32_t)count;
	qsort(new->items, count, sizeof *new->items, compare_prefixes);
	return new;
}

bool peer_networks_have(const struct peer_networks *networks, const struct ip_prefix *network)
{
	return bsearch(network, networks->items, networks->count, sizeof *network, compare_prefixes) != NULL;
}

static void free_networks(struct rcu_head *head)
{
	rcu_after_readers_begin();
	free(caa_container_of(head, struct peer_networks, rcu));
}

void peer_set_networks(struct peer *peer, struct peer_networks *networks)
{
	struct peer_networks *old = atomic_load_explicit(&peer->networks, memory_order_relaxed);
	rcu_publish(&peer->networks, networks);
	if (old != NULL)
		rcu_after_readers(&old->rcu, free_networks);
}

/* A sequence lock: a reader that saw a word of the new key sees the odd version too, and reads again. Boehm, "Can
 * Seqlocks Get Along With Programming Language Memory Models?", MSPC 2012. Not a copy under RCU, since that would be
 * locked memory for each. */
void peer_preshared_key(const struct peer *peer, uint8_t out[KEY_SIZE])
{
	uint64_t words[PEER_KEY_WORDS];
	uint32_t version;
	do {
		version = atomic_load_explicit(&peer->preshared_version, memory_order_acquire);
		for (size_t i = 0; i < PEER_KEY_WORDS; i++)
			words[i] = atomic_load_explicit(&peer->preshared_key[i], memory_order_acquire);
	} while ((version & 1) != 0 || atomic_load_explicit(&peer->preshared_version, memory_order_relaxed) != version);
	memcpy(out, words, KEY_SIZE);
	sodium_memzero(words, sizeof words);
}

void peer_set_preshared_key(struct peer *peer, const uint8_t key[KEY_SIZE])
{
	uint32_t version = atomic_load_explicit(&peer->preshared_version, memory_order_relaxed);
	uint64_t words[PEER_KEY_WORDS];
	memcpy(words, key, KEY_SIZE);
	atomic_store_explicit(&peer->preshared_version, version + 1, memory_order_relaxed);
	for (size_t i = 0; i < PEER_KEY_WORDS; i++)
		atomic_store_explicit(&peer->preshared_key[i], words[i], memory_order_release);
	atomic_store_explicit(&peer->preshared_version, version + 2, memory_order_release);
	sodium_memzero(words, sizeof words);
}

/* --- end ---------------------------------------------------------------------------------------------------------- */

void peer_discard(struct peers *peers, struct peer *peer)
{
	struct usage *usage = peer_usage(peer);
	if (usage != NULL)
		usage_put(usage);
	free(atomic_load_explicit(&peer->networks, memory_order_relaxed));
	peer_wireguard_free(peer->wireguard);
	free(atomic_load_explicit(&peer->name, memory_order_relaxed));
	sodium_memzero(peer, sizeof *peer);
	arena_give_back(&peers->arena, peer);
}

/* On liburcu's thread. */
static void discard_removed(struct rcu_head *head)
{
	struct peer *peer = caa_container_of(head, struct peer, rcu);
	rcu_after_readers_begin();
	peer_discard(peer->peers, peer);
}

static void discard_after_readers(struct peers *peers, struct peer *peer)
{
	peer->peers = peers;
	rcu_after_readers(&peer->rcu, discard_removed);
}

/* --- table -------------------------------------------------------------------------------------------------------- */

/* Keyed, since peers choose their own public keys. */
static unsigned long hash_of(const struct peers *peers, const uint8_t public_key[KEY_SIZE])
{
	unsigned long hash;
	uint8_t bytes[crypto_shorthash_BYTES];
	_Static_assert(sizeof hash <= sizeof bytes, "of the hash");
	crypto_shorthash(bytes, public_key, KEY_SIZE, peers->hash_key);
	memcpy(&hash, bytes, sizeof hash);
	return hash;
}

static int key_matches(struct cds_lfht_node *node, const void *public_key)
{
	const struct peer *peer = caa_container_of(node, struct peer, node);
	tsan_find(node);
	return memcmp(peer->public_key, public_key, KEY_SIZE) == 0;
}

int peers_init(struct peers *peers, size_t expected, struct error *error)
{
	size_t buckets = BUCKETS_MIN;
	while (buckets < expected && buckets < BUCKETS_MAX)
		buckets *= 2;
	*peers = (struct peers){.arena = {.mutex = PTHREAD_MUTEX_INITIALIZER, .next_chunk = CHUNK_MIN}};
	CDS_INIT_LIST_HEAD(&peers->wireguard);
	randombytes_buf(peers->hash_key, sizeof peers->hash_key);
	/* No automatic resizing: liburcu would start a thread that inherits the CPU mask of the caller, which is
	 * usually pinned. */
	peers->table = cds_lfht_new(buckets, buckets, buckets, 0, NULL);
	if (peers->table == NULL)
		return error_set(error, -ENOMEM, "table of %zu peers: out of memory", expected);
	return 0;
}

void peers_deinit(struct peers *peers)
{
	struct cds_lfht_iter iter;
	struct cds_lfht_node *node;
	if (peers->table == NULL)
		return;
	cds_lfht_for_each(peers->table, &iter, node) cds_lfht_del(peers->table, node);
	int result = cds_lfht_destroy(peers->table, NULL);
	assert(result == 0);
	(void)result;
	arena_deinit(&peers->arena);
	*peers = (struct peers){0};
}

/* One more, or one less (-1). */
static void count_peer(struct peers *peers, const struct peer *peer, size_t more)
{
	atomic_fetch_add_explicit(&peers->count, more, memory_order_relaxed);
	if (peer->wireguard != NULL)
		atomic_fetch_add_explicit(&peers->wireguard_count, more, memory_order_relaxed);
}

int peers_add(struct peers *peers, struct peer *peer)
{
	tsan_publish(&peer->node);
	struct cds_lfht_node *there = cds_lfht_add_unique(peers->table, hash_of(peers, peer->public_key), key_matches,
							  peer->public_key, &peer->node);
	if (there != &peer->node)
		return -EEXIST;
	count_peer(peers, peer, 1);
	if (peer->wireguard != NULL)
		cds_list_add_tail(&peer->wireguard->link.node, &peers->wireguard);
	return 0;
}

void peers_remove(struct peers *peers, struct peer *peer)
{
	assert(!peer->removed);
	peer->removed = true;
	cds_lfht_del(peers->table, &peer->node);
	if (peer->wireguard != NULL)
		cds_list_del(&peer->wireguard->link.node);
	count_peer(peers, peer, (size_t)-1);
	if (peer->sessions == 0)
		discard_after_readers(peers, peer);
}

void peer_get(struct peer *peer)
{
	assert(!peer->removed);
	peer->sessions++;
}

void peer_put(struct peers *peers, struct peer *peer)
{
	assert(peer->sessions > 0);
	if (--peer->sessions == 0 && peer->removed)
		discard_after_readers(peers, peer);
}

struct peer *peers_find(const struct peers *peers, const uint8_t public_key[KEY_SIZE])
{
	struct cds_lfht_iter iter;
	cds_lfht_lookup(peers->table, hash_of(peers, public_key), key_matches, public_key, &iter);
	struct cds_lfht_node *node = cds_lfht_iter_get_node(&iter);
	return node != NULL ? caa_container_of(node, struct peer, node) : NULL;
}

void peers_for_each(struct peers *peers, void (*callback)(struct peer *peer, void *context), void *context)
{
	struct cds_lfht_iter iter;
	struct cds_lfht_node *node;
	cds_lfht_for_each(peers->table, &iter, node) callback(caa_container_of(node, struct peer, node), context);
}

/* --- DH of the static keys ---------------------------------------------------------------------------------------- */

/* The first caller writes the result; others read it only once the state says that it is complete. */
static void keep_static_static(struct peer *peer, const uint8_t static_static[KEY_SIZE])
{
	uint32_t expected = STATIC_STATIC_NONE;
	if (!atomic_compare_exchange_strong_explicit(&peer->static_static_state, &expected, STATIC_STATIC_WRITING,
						     memory_order_relaxed, memory_order_relaxed))
		return;
	memcpy(peer->static_static, static_static, KEY_SIZE);
	atomic_store_explicit(&peer->static_static_state, STATIC_STATIC_READY, memory_order_release);
}

bool peer_static_static(struct peer *peer, const uint8_t private_key[KEY_SIZE], uint8_t out[KEY_SIZE])
{
	uint32_t state = atomic_load_explicit(&peer->static_static_state, memory_order_acquire);
	if (likely(state == STATIC_STATIC_READY)) {
		memcpy(out, peer->static_static, KEY_SIZE);
		return true;
	}
	if (state == STATIC_STATIC_BAD)
		return false;
	if (!noise_dh(private_key, peer->public_key, out)) {
		atomic_store_explicit(&peer->static_static_state, STATIC_STATIC_BAD, memory_order_relaxed);
		return false;
	}
	keep_static_static(peer, out);
	return true;
}
