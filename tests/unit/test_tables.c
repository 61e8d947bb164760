// SPDX-License-Identifier: Apache-2.0
/* Session table, address pool and peers. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>

#include "core/peer.h"
#include "core/pool.h"
#include "core/table.h"

Test(table, finds_the_whole_id_only)
{
	struct session_table table;
	cr_assert(session_table_init(&table, 1000, 77) == 0);
	cr_assert(table.mask == 1023, "rounded up");
	uint32_t id = session_table_new_id(&table);
	struct session *session = session_new(id, 1);
	session_table_insert(&table, session);
	cr_assert(session_table_find(&table, id) == session);
	cr_assert(session_table_find(&table, id ^ 1024) == NULL, "another generation of the same slot");
	cr_assert(session_table_find(&table, 0) == NULL);
	session_table_remove(&table, session);
	cr_assert(session_table_find(&table, id) == NULL);
	session_free(session);
	session_table_deinit(&table);
}

Test(table, gives_each_slot_once_and_never_id_zero)
{
	struct session_table table;
	cr_assert(session_table_init(&table, 16, UINT32_MAX) == 0); /* the generation wraps at once */
	struct session *sessions[16];
	for (size_t i = 0; i < 16; i++) {
		uint32_t id = session_table_new_id(&table);
		cr_assert(id != 0);
		cr_assert(session_table_find(&table, id) == NULL);
		sessions[i] = session_new(id, 1);
		session_table_insert(&table, sessions[i]);
	}
	cr_assert(session_table_new_id(&table) == 0, "full");
	cr_assert(table.count == 16);
	uint32_t old = sessions[5]->id;
	session_table_remove(&table, sessions[5]);
	uint32_t id = session_table_new_id(&table);
	cr_assert((id & table.mask) == (old & table.mask) && id != old, "the same slot under a new ID");
	for (size_t i = 0; i < 16; i++)
		session_free(sessions[i]);
	session_table_deinit(&table);
}

static struct pool make_pool(const char *network4, const char *network6)
{
	struct pool pool;
	struct ip_prefix addresses[2];
	size_t count = 0;
	struct error error = {0};
	if (network4 != NULL)
		cr_assert(ip_prefix_parse(network4, &addresses[count++]));
	if (network6 != NULL)
		cr_assert(ip_prefix_parse(network6, &addresses[count++]));
	cr_assert(pool_init(&pool, addresses, count, &error) == 0, "%s", error.text);
	return pool;
}

static struct ip_address address(const char *text)
{
	struct ip_address parsed;
	cr_assert(ip_address_parse(text, &parsed));
	return parsed;
}

Test(pool, one_index_is_both_families)
{
	struct pool pool = make_pool("10.8.0.1/16", "fd00:8::1/64");
	struct ip_prefix address4, address6;
	struct ip_address wish = address("10.8.1.7");
	uint32_t index;
	char text[IP_TEXT_MAX];
	cr_assert(pool_index(&pool, &wish, &index));
	cr_assert(index == 256 + 7);
	pool_addresses(&pool, index, &address4, &address6);
	cr_assert(strcmp(ip_prefix_format(&address4, text), "10.8.1.7/16") == 0, "%s", text);
	cr_assert(strcmp(ip_prefix_format(&address6, text), "fd00:8::107/64") == 0, "%s", text);
	pool_deinit(&pool);
}

Test(pool, withholds_network_broadcast_and_own_addresses)
{
	struct pool pool = make_pool("192.168.9.3/29", "fd00:8::5/64");
	static const char *const refused[] = {"192.168.9.0", "192.168.9.3", "192.168.9.7", "192.168.9.8", "fd00:8::",
					      "fd00:8::3",   "fd00:8::5",   "fd00:8::8",   "fd00:9::2"};
	uint32_t index;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		struct ip_address wish = address(refused[i]);
		cr_expect(!pool_index(&pool, &wish, &index), "%s", refused[i]);
	}
	cr_assert(pool.usable == 4, "%u: 1, 2, 4 and 6", pool.usable);
	bool given[8] = {false};
	for (unsigned i = 0; i < 4; i++) {
		index = pool_reserve(&pool, POOL_NONE);
		cr_assert(index != POOL_NONE && !given[index]);
		given[index] = true;
	}
	cr_assert(given[1] && given[2] && given[4] && given[6]);
	cr_assert(pool_reserve(&pool, POOL_NONE) == POOL_NONE, "full");
	pool_deinit(&pool);
}

Test(pool, lookup_sees_active_entries_only)
{
	struct pool pool = make_pool("10.8.0.1/24", "fd00:8::1/64");
	struct ip_address four = address("10.8.0.9"), six = address("fd00:8::9"), far4 = address("11.8.0.9"),
			  far6 = address("fd00:8:0:1::9");
	cr_assert(pool_reserve(&pool, 9) == 9);
	cr_assert(pool_reserve(&pool, 9) == POOL_NONE, "taken");
	cr_assert(pool_lookup(&pool, 4, four.bytes) == 0, "only reserved");
	pool_activate(&pool, 9, 0xabcd0009);
	cr_assert(pool_lookup(&pool, 4, four.bytes) == 0xabcd0009);
	cr_assert(pool_lookup(&pool, 6, six.bytes) == 0xabcd0009);
	cr_assert(pool_lookup(&pool, 4, far4.bytes) == 0);
	cr_assert(pool_lookup(&pool, 6, far6.bytes) == 0);
	pool_activate(&pool, 9, 0xabce0009); /* a newer session takes over */
	cr_assert(pool_lookup(&pool, 6, six.bytes) == 0xabce0009);
	pool_release(&pool, 9);
	cr_assert(pool_lookup(&pool, 4, four.bytes) == 0);
	pool_release(&pool, 9);
	cr_assert(pool.used == 0, "releasing twice counts once");
	pool_deinit(&pool);
}

Test(pool, freed_addresses_rest_and_held_ones_wait_for_their_peer)
{
	struct pool pool = make_pool("10.8.0.1/28", NULL);
	pool_hold(&pool, 4);
	uint32_t first = pool_reserve(&pool, POOL_NONE);
	pool_release(&pool, first);
	for (unsigned i = 1; i < pool.usable - 1; i++) {
		uint32_t next = pool_reserve(&pool, POOL_NONE);
		cr_assert(next != first && next != 4, "%u", next);
	}
	cr_assert(pool_reserve(&pool, POOL_NONE) == first, "the last one left");
	cr_assert(pool_reserve(&pool, POOL_NONE) == POOL_NONE);
	cr_assert(pool_reserve(&pool, 4) == 4);
	pool_deinit(&pool);
}

Test(pool, one_family_is_enough_and_none_left_is_an_error)
{
	struct pool pool = make_pool(NULL, "fd00:8::1/120");
	struct ip_address six = address("fd00:8::20"), four = address("10.8.0.9");
	cr_assert(pool_reserve(&pool, 0x20) == 0x20);
	pool_activate(&pool, 0x20, 7);
	cr_assert(pool_lookup(&pool, 6, six.bytes) == 7);
	cr_assert(pool_lookup(&pool, 4, four.bytes) == 0);
	pool_deinit(&pool);

	struct ip_prefix alone;
	struct error error = {0};
	cr_assert(ip_prefix_parse("10.8.0.1/32", &alone));
	cr_assert(pool_init(&pool, &alone, 1, &error) == -EINVAL);
	cr_assert(strstr(error.text, "no address for clients") != NULL);
}

Test(peers, are_found_by_key)
{
	struct peers peers;
	struct error error = {0};
	cr_assert(keys_init(&error) == 0);
	cr_assert(peers_init(&peers, 100, &error) == 0);
	srandom(3);
	for (size_t i = 0; i < 100; i++) {
		for (size_t b = 0; b < KEY_SIZE; b++)
			peers.list[i].public_key[b] = (uint8_t)random();
		peers.list[i].fixed_index = (uint32_t)i;
	}
	uint8_t wanted[KEY_SIZE];
	memcpy(wanted, peers.list[42].public_key, KEY_SIZE);
	peers_sort(&peers);
	struct peer *found = peers_find(&peers, wanted);
	cr_assert(found != NULL && found->fixed_index == 42);
	wanted[31] ^= 1;
	cr_assert(peers_find(&peers, wanted) == NULL);
	peers_deinit(&peers);
	cr_assert(peers_find(&peers, wanted) == NULL, "none at all");
}
