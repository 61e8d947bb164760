// SPDX-License-Identifier: Apache-2.0
/* The table of peers: what is found, when a peer's memory ends, and the DH that each keeps. */
#include "core/sessions/peer.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>

#include "crypto/noise.h"

/* The test's thread is a reader like any other from here on. */
static void start(struct peers *peers, size_t expected)
{
	struct error error = {0};
	cr_assert(keys_init(&error) == 0);
	cr_assert(peers_init(peers, expected, &error) == 0, "%s", error.text);
	rcu_join();
}

static void wait_for_readers(void)
{
	rcu_offline();
	rcu_after_readers_barrier();
	rcu_online();
}

static void finish(struct peers *peers)
{
	rcu_leave();
	rcu_after_readers_barrier();
	peers_deinit(peers);
}

static void make_key(uint8_t key[KEY_SIZE], uint32_t number)
{
	memset(key, 0xa5, KEY_SIZE);
	store_be32(key + 28, number);
}

static struct peer *add(struct peers *peers, uint32_t number)
{
	struct peer *peer = peer_new(peers);
	cr_assert(peer != NULL);
	make_key(peer->public_key, number);
	cr_assert(peers_add(peers, peer) == 0);
	return peer;
}

static struct peer *find(const struct peers *peers, uint32_t number)
{
	uint8_t key[KEY_SIZE];
	make_key(key, number);
	return peers_find(peers, key);
}

static bool wiped(const struct peer *peer)
{
	uint8_t preshared_key[KEY_SIZE];
	peer_preshared_key(peer, preshared_key);
	return sodium_is_zero(peer->public_key, KEY_SIZE) && sodium_is_zero(preshared_key, KEY_SIZE) &&
	       sodium_is_zero(peer->static_static, KEY_SIZE);
}

static void fill_secrets(struct peer *peer)
{
	uint8_t key[KEY_SIZE];
	memset(key, 1, sizeof key);
	peer_set_preshared_key(peer, key);
	memset(peer->static_static, 2, KEY_SIZE);
}

static const struct ip_prefix some[] = {{{4, {192, 168, 8, 9}}, 24}, {{4, {10, 0, 0, 0}}, 8}, {{6, {0x20, 1}}, 32}};

/* The first `count` of those. */
static void set_networks(struct peer *peer, size_t count)
{
	struct peer_networks *networks = peer_networks_new(some, count);
	cr_assert_not_null(networks);
	peer_set_networks(peer, networks);
}

/* --- table -------------------------------------------------------------------------------------------------------- */

Test(peers, are_found_by_key)
{
	struct peers peers;
	struct peer *added[100];
	start(&peers, 100);
	cr_assert(find(&peers, 1) == NULL, "none at all");
	for (uint32_t i = 0; i < 100; i++)
		added[i] = add(&peers, i);
	cr_assert(peers_count(&peers) == 100);
	for (uint32_t i = 0; i < 100; i++)
		cr_assert(find(&peers, i) == added[i]);
	for (size_t byte = 0; byte < KEY_SIZE; byte++) {
		uint8_t key[KEY_SIZE];
		make_key(key, 42);
		key[byte] ^= 0x80;
		cr_assert(peers_find(&peers, key) == NULL, "byte %zu", byte);
	}
	finish(&peers);
}

Test(peers, a_new_one_is_empty)
{
	struct peers peers;
	start(&peers, 1);
	struct peer *peer = peer_new(&peers);
	cr_assert(wiped(peer) && !peer_has_networks(peer) && peer_networks(peer)->count == 0 && peer->sessions == 0);
	cr_assert(peer->fixed_index == POOL_NONE && peer->last_index == POOL_NONE && !peer->removed);
	cr_assert(peer->active == NULL && peer->pending == NULL && peer->proven_tat == 0 && peer->newer_tat == 0);
	cr_assert(!peer->freshness.proven && peer->freshness.cookie == 0);
	cr_assert(peers_count(&peers) == 0);
	finish(&peers);
}

Test(peers, a_key_is_there_once)
{
	struct peers peers;
	start(&peers, 10);
	struct peer *first = add(&peers, 7), *second = peer_new(&peers);
	make_key(second->public_key, 7);
	cr_assert(peers_add(&peers, second) == -EEXIST);
	cr_assert(find(&peers, 7) == first && peers_count(&peers) == 1);
	peer_discard(&peers, second);
	cr_assert(find(&peers, 7) == first && peers.arena.used == 1);
	finish(&peers);
}

Test(peers, more_come_than_were_expected)
{
	enum { MANY = 20000 };
	struct peers peers;
	start(&peers, 10);
	struct peer **added = calloc(MANY, sizeof(struct peer *));
	for (uint32_t i = 0; i < MANY; i++)
		added[i] = add(&peers, i);
	for (uint32_t i = 0; i < MANY; i++)
		cr_assert(find(&peers, i) == added[i]);
	for (uint32_t i = 0; i < MANY; i += 2)
		peers_remove(&peers, added[i]);
	cr_assert(peers_count(&peers) == MANY / 2);
	for (uint32_t i = 0; i < MANY; i++)
		cr_assert(find(&peers, i) == (i % 2 == 0 ? NULL : added[i]));
	wait_for_readers();
	cr_assert(peers.arena.used == MANY / 2, "%zu", peers.arena.used);

	struct peer_chunk *newest = peers.arena.chunks;
	for (uint32_t i = 0; i < MANY; i += 2)
		add(&peers, i);
	cr_assert(peers.arena.chunks == newest, "the memory of those that left is used again");
	free(added);
	finish(&peers);
}

struct visit {
	struct peers *peers;
	unsigned visits[100];
};

static uint32_t number_of(const struct peer *peer)
{
	return load_be32(peer->public_key + 28);
}

static void visit_and_remove_odd_ones(struct peer *peer, void *context)
{
	struct visit *visit = context;
	visit->visits[number_of(peer)]++;
	if (number_of(peer) % 2 == 1)
		peers_remove(visit->peers, peer);
}

Test(peers, each_is_visited_once_and_may_be_removed_then)
{
	struct peers peers;
	start(&peers, 4); /* long chains */
	struct visit visit = {.peers = &peers};
	for (uint32_t i = 0; i < 100; i++)
		add(&peers, i);
	peers_for_each(&peers, visit_and_remove_odd_ones, &visit);
	for (uint32_t i = 0; i < 100; i++)
		cr_assert(visit.visits[i] == 1 && (find(&peers, i) != NULL) == (i % 2 == 0));
	peers_for_each(&peers, visit_and_remove_odd_ones, &visit);
	for (uint32_t i = 0; i < 100; i++)
		cr_assert(visit.visits[i] == 2 - i % 2);
	wait_for_readers();
	cr_assert(peers.arena.used == 50);
	finish(&peers);
}

Test(peers, each_table_hashes_with_a_key_of_its_own)
{
	struct peers one, other;
	start(&one, 1);
	cr_assert(peers_init(&other, 1, NULL) == 0);
	cr_assert(memcmp(one.hash_key, other.hash_key, sizeof one.hash_key) != 0);
	peers_deinit(&other);
	finish(&one);
}

/* --- what may change ---------------------------------------------------------------------------------------------- */

Test(peers, another_preshared_key)
{
	struct peers peers;
	uint8_t key[KEY_SIZE], got[KEY_SIZE];
	start(&peers, 1);
	struct peer *peer = add(&peers, 3);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < KEY_SIZE; i++)
			key[i] = (uint8_t)(7 * i + round);
		peer_set_preshared_key(peer, key);
		peer_preshared_key(peer, got);
		cr_assert_arr_eq(got, key, KEY_SIZE);
	}
	finish(&peers);
}

Test(peers, other_networks)
{
	static const struct ip_prefix network = {{4, {192, 168, 8, 0}}, 24}, longer = {{4, {192, 168, 8, 0}}, 25};
	struct peers peers;
	start(&peers, 1);
	struct peer *peer = add(&peers, 3);
	set_networks(peer, 3);
	const struct peer_networks *first = peer_networks(peer);
	cr_assert(first->count == 3 && peer_has_networks(peer));
	cr_assert(first->items[0].length == 8 && first->items[2].length == 32, "they are sorted");
	cr_assert(peer_networks_have(first, &network), "without host bits");
	cr_assert_not(peer_networks_have(first, &longer));
	set_networks(peer, 1);
	cr_assert_eq(peer_networks(peer)->count, 1);
	cr_assert(peer_networks_have(first, &some[1]), "this thread may still read the others");
	peer_set_networks(peer, NULL);
	cr_assert(!peer_has_networks(peer) && peer_networks(peer)->count == 0);
	finish(&peers);
}

/* --- the end of a peer -------------------------------------------------------------------------------------------- */

Test(peers, one_that_was_never_added_goes_at_once)
{
	struct peers peers;
	start(&peers, 1);
	struct peer *peer = peer_new(&peers);
	fill_secrets(peer);
	set_networks(peer, 2);
	peer_discard(&peers, peer);
	cr_assert(wiped(peer) && peers.arena.used == 0);
	cr_assert(peer_new(&peers) == peer, "its memory is used again");
	cr_assert(wiped(peer) && !peer_has_networks(peer) && peer->fixed_index == POOL_NONE);
	finish(&peers);
}

Test(peers, a_removed_one_is_good_until_readers_are_through)
{
	struct peers peers;
	start(&peers, 10);
	struct peer *peer = add(&peers, 3);
	fill_secrets(peer);
	set_networks(peer, 2);
	cr_assert(find(&peers, 3) == peer);
	peers_remove(&peers, peer);
	cr_assert(find(&peers, 3) == NULL && peers_count(&peers) == 0);
	struct timespec moment = {.tv_nsec = 50 * 1000 * 1000};
	nanosleep(&moment, NULL);
	cr_assert(peer->removed && !wiped(peer) && peers.arena.used == 1, "this thread may still read it");

	struct peer *next = add(&peers, 3);
	cr_assert(next != peer && find(&peers, 3) == next, "the key may come back meanwhile");
	wait_for_readers();
	cr_assert(wiped(peer) && peers.arena.used == 1);
	finish(&peers);
}

Test(peers, a_removed_one_waits_for_its_sessions)
{
	struct peers peers;
	start(&peers, 10);
	struct peer *peer = add(&peers, 3);
	peer_get(peer);
	peer_get(peer);
	peer_put(&peers, peer);
	wait_for_readers();
	cr_assert(find(&peers, 3) == peer, "not removed");
	peer_get(peer);
	peers_remove(&peers, peer);
	wait_for_readers();
	cr_assert(peers.arena.used == 1 && !wiped(peer) && peer->removed, "two sessions are left");
	peer_put(&peers, peer);
	wait_for_readers();
	cr_assert(peers.arena.used == 1 && !wiped(peer), "one");
	peer_put(&peers, peer);
	cr_assert(!wiped(peer), "this thread may still read it");
	wait_for_readers();
	cr_assert(peers.arena.used == 0 && wiped(peer));
	finish(&peers);
}

Test(peers, one_without_sessions_stays_until_it_is_removed)
{
	struct peers peers;
	start(&peers, 10);
	struct peer *peer = add(&peers, 3);
	peer_get(peer);
	peer_put(&peers, peer);
	wait_for_readers();
	cr_assert(find(&peers, 3) == peer && peers.arena.used == 1 && !wiped(peer));
	finish(&peers);
}

/* LeakSanitizer sees to it. */
Test(peers, the_table_takes_all_of_them_along)
{
	struct peers peers;
	start(&peers, 10);
	set_networks(peer_new(&peers), 2); /* never added */
	set_networks(add(&peers, 1), 2);
	struct peer *removed = add(&peers, 2);
	set_networks(removed, 2);
	peer_get(removed);
	peers_remove(&peers, removed);
	finish(&peers);
	peers_deinit(&peers); /* nothing is left, and nothing happens */
}

/* --- DH of the static keys ---------------------------------------------------------------------------------------- */

static void make_pair(uint8_t private_key[KEY_SIZE], uint8_t public_key[KEY_SIZE])
{
	randombytes_buf(private_key, KEY_SIZE);
	noise_public_key(private_key, public_key);
}

struct static_static {
	struct peers peers;
	struct peer *peer;
	uint8_t own_private[KEY_SIZE], own_public[KEY_SIZE], peer_private[KEY_SIZE], expected[KEY_SIZE];
};

static void start_static_static(struct static_static *s)
{
	start(&s->peers, 1);
	s->peer = peer_new(&s->peers);
	make_pair(s->own_private, s->own_public);
	make_pair(s->peer_private, s->peer->public_key);
	cr_assert(noise_dh(s->peer_private, s->own_public, s->expected), "as the peer computes it");
	cr_assert(peers_add(&s->peers, s->peer) == 0);
}

Test(peers, keep_the_dh_of_the_static_keys)
{
	struct static_static s;
	uint8_t out[KEY_SIZE] = {0}, other[KEY_SIZE] = {1};
	start_static_static(&s);
	cr_assert(peer_static_static(s.peer, s.own_private, out) && memcmp(out, s.expected, KEY_SIZE) == 0);
	memset(out, 0, sizeof out);
	cr_assert(peer_static_static(s.peer, other, out) && memcmp(out, s.expected, KEY_SIZE) == 0, "it was kept");
	finish(&s.peers);
}

Test(peers, compute_the_dh_while_another_thread_writes_it)
{
	struct static_static s;
	uint8_t out[KEY_SIZE] = {0};
	start_static_static(&s);
	atomic_store(&s.peer->static_static_state, 1);
	cr_assert(peer_static_static(s.peer, s.own_private, out) && memcmp(out, s.expected, KEY_SIZE) == 0);
	cr_assert(atomic_load(&s.peer->static_static_state) == 1 && sodium_is_zero(s.peer->static_static, KEY_SIZE),
		  "nobody writes between the other one's words");
	finish(&s.peers);
}

Test(peers, refuse_a_key_that_is_no_point)
{
	struct peers peers;
	uint8_t private_key[KEY_SIZE] = {5}, out[KEY_SIZE];
	start(&peers, 1);
	struct peer *peer = peer_new(&peers); /* its public key is zero */
	cr_assert(peers_add(&peers, peer) == 0);
	cr_assert(!peer_static_static(peer, private_key, out));
	cr_assert(!peer_static_static(peer, private_key, out));
	finish(&peers);
}
