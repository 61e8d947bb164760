// SPDX-License-Identifier: Apache-2.0
/* Sessions of WireGuard peers at the registry alone: which one an initiation makes keys for, and what is refused. */
#include <criterion/criterion.h>

#include "core/sessions/registry.h"

enum { PEERS = 2 };

static struct registry registry;
static struct peer *peers[PEERS];
static uint64_t now; /* monotonic ns */
static uint8_t timestamp[WIRE_TIMESTAMP_SIZE];

static void start(void)
{
	static const char *const addresses[PEERS] = {"10.8.0.9", "10.8.0.10"};
	static const uint8_t psk[KEY_SIZE];
	struct ip_prefix own;
	cr_assert(keys_init(NULL) == 0 && ip_prefix_parse("10.8.0.1/24", &own));
	rcu_join();
	const struct registry_params params = {
		.addresses = &own, .address_count = 1, .max_sessions = 1, .workers = 2, .expected_peers = PEERS};
	cr_assert_eq(registry_init(&registry, &params, NULL), 0);
	now = 1000 * NS_PER_S;
	for (unsigned i = 0; i < PEERS; i++) {
		uint8_t key[KEY_SIZE] = {1, (uint8_t)i};
		struct registry_peer from = {.public_key = key, .preshared_key = psk, .protocol = PEER_WIREGUARD};
		cr_assert(ip_address_parse(addresses[i], &from.address));
		cr_assert_eq(registry_add_peer(&registry, &from, NULL), 0);
		peers[i] = peers_find(&registry.peers, key);
	}
}

static void leave(void)
{
	registry_deinit(&registry);
	rcu_leave();
}

TestSuite(registry_wireguard, .init = start, .fini = leave);

/* Makes the timestamp one that is above all before, half a second later. */
static void pass(void)
{
	static uint64_t moments;
	store_be64(timestamp, ++moments);
	now += NS_PER_S / 2;
}

static enum drop_reason initiate(size_t peer, struct registry_grant *grant)
{
	return registry_begin_wireguard(&registry, peers[peer], timestamp, now, grant);
}

/* What the worker does with a session. */
static struct session *install(const struct registry_grant *grant)
{
	cr_assert_not_null(grant->made);
	session_table_insert(&registry.table, grant->made);
	return grant->made;
}

static void end(struct session *session)
{
	if (session_is_active(session))
		registry_detach(&registry, session);
	session_table_remove(&registry.table, session);
	registry_retire(&registry, session);
	registry_collect(&registry);
}

Test(registry_wireguard, an_initiation_makes_one_session_and_then_renews_it)
{
	struct registry_grant grant, second;
	pass();
	cr_assert_eq(initiate(0, &grant), DROP_NONE);
	cr_assert(grant.epoch == 1 && grant.cancels == 0);
	struct session *session = install(&grant);
	uint32_t id = session->id;
	pass();
	cr_assert_eq(initiate(0, &second), DROP_NONE, "before it is confirmed");
	cr_assert(second.made == NULL && second.session_id == id && second.epoch == 1);
	cr_assert_eq(second.order - grant.order, 1);
	registry_attach(&registry, session);
	session_set_active(session);
	for (unsigned epoch = 1; epoch <= 16; epoch++) {
		pass();
		atomic_store(&session->view.epoch, (uint8_t)((epoch - 1) % 15 + 1));
		cr_assert_eq(initiate(0, &grant), DROP_NONE);
		cr_assert(grant.made == NULL && grant.session_id == id);
		cr_assert_eq(grant.epoch, wg_next_epoch((epoch - 1) % 15 + 1, false));
		cr_assert(grant.epoch % 2 == 1, "even ones are for handshakes that we initiate");
	}
	pass();
	atomic_store(&session->view.epoch, 0);
	cr_assert_eq(initiate(0, &grant), DROP_NONE);
	cr_assert_eq(grant.epoch, 1, "its keys were gone");
	cr_assert_eq(registry.pool.used, 1);
	end(session);
	cr_assert_eq(registry.pool.used, 0);
	cr_assert(pool_held(&registry.pool, peers[0]->fixed_index), "the address stays the peer's");
	pass();
	cr_assert_eq(initiate(0, &grant), DROP_NONE);
	cr_assert(grant.made != NULL && grant.session_id != id);
	registry_abandon(&registry, &grant);
}

Test(registry_wireguard, a_timestamp_counts_once)
{
	struct registry_grant grant;
	pass();
	cr_assert_eq(initiate(0, &grant), DROP_NONE);
	registry_abandon(&registry, &grant);
	now += NS_PER_S;
	cr_assert_eq(initiate(0, &grant), DROP_STALE);
	cr_assert_eq(initiate(1, &grant), DROP_NONE, "but for each peer");
	registry_abandon(&registry, &grant);
}

Test(registry_wireguard, what_is_refused_changes_nothing)
{
	struct registry_grant grant;
	pass();
	cr_assert_eq(initiate(0, &grant), DROP_NONE);
	struct session *session = install(&grant);
	pass();
	now -= NS_PER_S / 2 - NS_PER_MS;
	cr_assert_eq(initiate(0, &grant), DROP_HELLO_RATE);
	now += NS_PER_S;
	cr_assert_eq(initiate(0, &grant), DROP_NONE, "the timestamp is not used up");
	pass();
	cr_assert_eq(initiate(1, &grant), DROP_NO_ADDRESS, "MaxSessions");
	end(session);
	cr_assert_eq(initiate(1, &grant), DROP_NONE);
	registry_abandon(&registry, &grant);
}

Test(registry_wireguard, a_removed_peer_is_unknown)
{
	struct registry_grant grant;
	uint32_t ids[2];
	pass();
	cr_assert(registry_remove_peer(&registry, peers[0]->public_key, ids));
	cr_assert_eq(initiate(0, &grant), DROP_UNKNOWN_PEER);
}
