// SPDX-License-Identifier: Apache-2.0
/* Many sessions that end at once are collected in batches: by the control thread with a pause between, and by
 * handshakes. The test plays the workers. */
#include <criterion/criterion.h>
#include <poll.h>

#include "core/gateway/collector.h"

enum { PEERS = 2 * REGISTRY_COLLECT_MAX + 100 };

static struct registry registry;
static uint64_t now = 1000 * NS_PER_S;
static uint32_t moments; /* of HELLOs: their timestamps rise */
static struct session *sessions[PEERS];

static const uint8_t *key_of(uint32_t peer)
{
	static uint8_t key[KEY_SIZE];
	store_be32(key, peer + 1);
	return key;
}

static struct session *connect_peer(uint32_t peer)
{
	struct wire_hello hello = {0};
	struct registry_grant grant;
	store_be64(hello.timestamp, ++moments);
	now += NS_PER_S;
	struct registry_request request = {.hello = &hello, .cookie = now, .now = now};
	cr_assert_eq(registry_begin(&registry, peers_find(&registry.peers, key_of(peer)), &request, &grant), DROP_NONE,
		     "peer %u", peer);
	cr_assert_not_null(grant.made);
	session_table_insert(&registry.table, grant.made);
	registry_attach(&registry, grant.made);
	session_set_active(grant.made);
	return grant.made;
}

/* All peers but the last are connected, then all these sessions end. */
static void setup(void)
{
	static const uint8_t psk[KEY_SIZE];
	struct ip_prefix own;
	cr_assert(keys_init(NULL) == 0 && ip_prefix_parse("10.8.0.1/16", &own));
	rcu_join();
	struct registry_params params = {
		.addresses = &own, .address_count = 1, .max_sessions = PEERS, .workers = 2, .expected_peers = PEERS};
	cr_assert(registry_init(&registry, &params, NULL) == 0);
	for (uint32_t peer = 0; peer < PEERS; peer++) {
		struct registry_peer from = {.public_key = key_of(peer), .preshared_key = psk};
		cr_assert(registry_add_peer(&registry, &from, NULL) == 0);
	}
	for (uint32_t peer = 0; peer < PEERS - 1; peer++)
		sessions[peer] = connect_peer(peer);
	for (uint32_t peer = 0; peer < PEERS - 1; peer++) {
		registry_detach(&registry, sessions[peer]);
		session_table_remove(&registry.table, sessions[peer]);
		registry_retire(&registry, sessions[peer]);
	}
}

static void teardown(void)
{
	registry_deinit(&registry);
	rcu_leave();
}

TestSuite(registry_collect, .init = setup, .fini = teardown);

Test(registry_collect, a_call_takes_a_batch_and_says_whether_to_come_again)
{
	uint32_t left = PEERS - 1;
	for (unsigned call = 0; call < 2; call++) {
		cr_assert_eq(registry_collect(&registry), REGISTRY_COLLECT_MAX, "call %u", call);
		left -= REGISTRY_COLLECT_MAX;
		cr_assert_eq(registry.pool.used, left);
	}
	cr_assert_eq(registry_collect(&registry), left);
	cr_assert_eq(registry.pool.used, 0);
	cr_assert_eq(registry_collect(&registry), 0);
}

Test(registry_collect, a_handshake_takes_a_batch)
{
	struct session *session = connect_peer(PEERS - 1);
	cr_assert_eq(registry.pool.used, PEERS - 1 - REGISTRY_COLLECT_MAX + 1);
	registry_detach(&registry, session);
	session_table_remove(&registry.table, session);
	registry_retire(&registry, session);
	/* The rest goes with the registry, or LeakSanitizer finds it. */
}

/* Its session was retired and not collected: the peer comes back all the same, to its address and worker. */
Test(registry_collect, a_peer_whose_end_was_not_collected_yet_comes_back)
{
	uint32_t last = PEERS - 2, address = sessions[last]->pool_index, old = sessions[last]->id;
	struct session *session = connect_peer(last);
	cr_assert_eq(session->pool_index, address);
	cr_assert_eq(session->replaces, old);
	while (registry_collect(&registry) != 0)
		;
	cr_assert_eq(registry.pool.used, 1, "its address is not given up with its old session");
	uint8_t bytes[4] = {10, 8, 0, 0};
	store_be16(bytes + 2, (uint16_t)address);
	cr_assert_eq(registry_route(&registry, 4, bytes), session->id);
	registry_detach(&registry, session);
	session_table_remove(&registry.table, session);
	registry_retire(&registry, session);
}

Test(registry_collect, the_collector_comes_again_until_none_is_left)
{
	struct collector collector;
	cr_assert_eq(collector_open(&collector, &registry, NULL), 0);
	struct pollfd due = {.fd = collector.timer_fd, .events = POLLIN};
	cr_assert_eq(poll(&due, 1, 0), 0, "nothing is due before the first step");
	collector_step(&collector);
	unsigned steps = 1;
	while (registry.pool.used != 0) {
		cr_assert_eq(poll(&due, 1, 10000), 1, "after %u steps", steps);
		collector_step(&collector);
		steps++;
	}
	cr_assert_eq(steps, (PEERS - 1 + REGISTRY_COLLECT_MAX - 1) / REGISTRY_COLLECT_MAX);
	cr_assert_eq(poll(&due, 1, 20), 0, "and not when none is left");
	collector_close(&collector);
}
