// SPDX-License-Identifier: Apache-2.0
/* The registry alone: sessions, addresses and peers as the control plane gives them out and takes them back. The test
 * plays the workers. */
#include "core/sessions/registry.h"

#include <criterion/criterion.h>

enum { PEERS = 8 };

static struct registry registry;
static uint64_t now;	 /* monotonic ns */
static uint32_t moments; /* of HELLOs: their timestamps rise */
static uint8_t psk[KEY_SIZE];

static void leave(void)
{
	registry_deinit(&registry);
	rcu_leave();
}

TestSuite(registry, .fini = leave);

static uint8_t *key_of(size_t peer)
{
	static uint8_t keys[PEERS][KEY_SIZE];
	memset(keys[peer], (int)peer + 1, KEY_SIZE);
	return keys[peer];
}

static int add_peer(size_t peer, const char *address, const char *network)
{
	struct ip_prefix behind;
	struct registry_peer from = {.public_key = key_of(peer), .preshared_key = psk, .networks = &behind};
	if (address != NULL)
		cr_assert(ip_address_parse(address, &from.address));
	if (network != NULL)
		cr_assert(ip_prefix_parse(network, &behind));
	from.network_count = network != NULL;
	return registry_add_peer(&registry, &from, NULL);
}

/* A registry that knows `peers` peers without wishes. */
static void start(const char *network, uint32_t max_sessions, uint32_t workers, size_t peers)
{
	struct ip_prefix own;
	cr_assert(keys_init(NULL) == 0 && ip_prefix_parse(network, &own));
	rcu_join();
	struct registry_params params = {.addresses = &own,
					 .address_count = 1,
					 .max_sessions = max_sessions,
					 .workers = workers,
					 .expected_peers = PEERS};
	cr_assert(registry_init(&registry, &params, NULL) == 0);
	now = 1000 * NS_PER_S;
	for (size_t peer = 0; peer < peers; peer++)
		cr_assert(add_peer(peer, NULL, NULL) == 0);
}

static struct peer *find(size_t peer)
{
	return peers_find(&registry.peers, key_of(peer));
}

/* As a peer is that has shown a cookie. */
static void prove(size_t peer)
{
	find(peer)->freshness = (struct freshness){.at = now, .proven = true};
}

/* A HELLO that is as new as can be, half a second after the one before. */
static struct wire_hello new_hello(void)
{
	struct wire_hello hello = {0};
	store_be64(hello.timestamp, ++moments);
	now += NS_PER_S / 2;
	return hello;
}

/* `cookie`: the number of the cookie in it, or 0. */
static enum drop_reason say(size_t peer, uint32_t session_id, const struct wire_hello *hello, uint64_t cookie,
			    struct registry_grant *grant)
{
	struct registry_request request = {.session_id = session_id, .hello = hello, .cookie = cookie, .now = now};
	return registry_begin(&registry, find(peer), &request, grant);
}

static enum drop_reason begin(size_t peer, uint32_t session_id, struct registry_grant *grant)
{
	struct wire_hello hello = new_hello();
	return say(peer, session_id, &hello, now, grant);
}

/* What the worker does with a session, step by step. */
static void install(struct session *session)
{
	session_table_insert(&registry.table, session);
}

static void confirm(struct session *session)
{
	registry_attach(&registry, session);
	session_set_active(session);
}

static void end(struct session *session)
{
	if (session_is_active(session))
		registry_detach(&registry, session);
	session_table_remove(&registry.table, session);
	registry_retire(&registry, session);
}

static struct session *pending(size_t peer)
{
	struct registry_grant grant;
	cr_assert_eq(begin(peer, 0, &grant), DROP_NONE);
	cr_assert_not_null(grant.made);
	install(grant.made);
	return grant.made;
}

static struct session *connected(size_t peer)
{
	struct session *session = pending(peer);
	confirm(session);
	return session;
}

static uint32_t taken(void)
{
	uint32_t sum = 0;
	for (uint32_t i = 0; i < registry.table.sharding.workers; i++)
		sum += registry.table.workers[i].taken;
	return sum;
}

/* No peer has an address or a network. */
static void expect_empty(void)
{
	registry_collect(&registry);
	cr_assert_eq(registry.pool.used, 0);
	cr_assert_eq(taken(), 0);
}

static uint32_t shard(const struct session *session)
{
	return session_shard(&registry.table.sharding, session->id);
}

static uint32_t routed(const struct session *session)
{
	return registry_route(&registry, 4, session->inner4.address.bytes);
}

/* --- full --------------------------------------------------------------------------------------------------------- */

Test(registry, a_full_pool_refuses_and_leaks_nothing)
{
	struct session *sessions[5];
	struct registry_grant grant;
	start("10.8.0.1/29", 64, 2, 6); /* .2 … .6 */
	for (size_t peer = 0; peer < 5; peer++)
		sessions[peer] = connected(peer);
	for (unsigned i = 0; i < 200; i++)
		cr_assert_eq(begin(5, 0, &grant), DROP_NO_ADDRESS);
	cr_assert_eq(taken(), 5, "no ID is lost");
	cr_assert_eq(registry.pool.used, 5);
	cr_assert(find(5)->pending == NULL && find(5)->sessions == 0);
	uint32_t index = sessions[3]->pool_index;
	end(sessions[3]);
	cr_assert_eq(begin(5, 0, &grant), DROP_NONE, "collected by the one who needs it");
	cr_assert_eq(grant.made->pool_index, index);
	install(grant.made);
	end(grant.made);
	for (size_t peer = 0; peer < 5; peer++) {
		if (peer != 3)
			end(sessions[peer]);
	}
	expect_empty();
}

Test(registry, a_full_table_refuses_and_leaks_nothing)
{
	struct session *sessions[4];
	struct registry_grant grant;
	start("10.8.0.1/24", 4, 3, 5);
	for (size_t peer = 0; peer < 4; peer++)
		sessions[peer] = connected(peer);
	for (unsigned i = 0; i < 200; i++)
		cr_assert_eq(begin(4, 0, &grant), DROP_NO_ADDRESS);
	cr_assert_eq(registry.pool.used, 4, "no address is lost");
	cr_assert(find(4)->pending == NULL && find(4)->sessions == 0);
	end(sessions[0]);
	struct session *last = connected(4);
	cr_assert_neq(last->id, 0);
	for (size_t peer = 1; peer < 4; peer++)
		end(sessions[peer]);
	end(last);
	expect_empty();
}

/* Its new session needs an ID on the old one's worker while both are there. */
Test(registry, a_live_peer_may_come_again_when_the_table_is_full)
{
	struct registry_grant grant;
	start("10.8.0.1/24", 2, 2, 3);
	struct session *mine = connected(0), *other = connected(1);
	cr_assert_eq(begin(2, 0, &grant), DROP_NO_ADDRESS);
	cr_assert_eq(begin(0, 0, &grant), DROP_NONE);
	cr_assert_eq(session_shard(&registry.table.sharding, grant.session_id),
		     session_shard(&registry.table.sharding, mine->id));
	cr_assert_eq(registry.pool.used, 2);
	registry_abandon(&registry, &grant);
	cr_assert_eq(routed(mine), mine->id);
	end(mine);
	end(other);
	expect_empty();
}

Test(registry, what_cannot_be_answered_is_abandoned)
{
	struct registry_grant grant;
	start("10.8.0.1/29", 4, 1, 1);
	for (unsigned i = 0; i < 50; i++) {
		cr_assert_eq(begin(0, 0, &grant), DROP_NONE);
		cr_assert_not_null(grant.made);
		registry_abandon(&registry, &grant);
		expect_empty();
		cr_assert(find(0)->pending == NULL && find(0)->sessions == 0);
	}
	struct session *session = connected(0);
	cr_assert_eq(begin(0, session->id, &grant), DROP_NONE);
	registry_abandon(&registry, &grant);
	cr_assert(find(0)->active == session, "a rekey's session is not the handshake's to end");
	cr_assert_eq(routed(session), session->id);
	end(session);
	expect_empty();
}

/* --- assignment --------------------------------------------------------------------------------------------------- */

/* As the TUN's queues do: the worker reads the session's packets from its own. */
Test(registry, the_worker_follows_the_address)
{
	struct session *sessions[PEERS];
	uint32_t count[3] = {0};
	start("10.8.0.1/24", 64, 3, PEERS);
	for (size_t peer = 0; peer < 6; peer++) {
		sessions[peer] = connected(peer);
		cr_assert_eq(shard(sessions[peer]), sessions[peer]->pool_index % 3);
		count[shard(sessions[peer])]++;
	}
	cr_assert(count[0] == 2 && count[1] == 2 && count[2] == 2);
	for (size_t peer = 0; peer < 6; peer++)
		end(sessions[peer]);
	expect_empty();
}

Test(registry, a_worker_without_room_leaves_a_session_to_another)
{
	struct session *sessions[PEERS];
	start("10.8.0.1/24", 4, 4, PEERS);
	uint32_t worker = 2 % 4, taken_ids[2]; /* after network and gateway */
	for (size_t i = 0; i < ARRAY_SIZE(taken_ids); i++)
		cr_assert((taken_ids[i] = session_table_take(&registry.table, worker)) != 0, "its share of the slots");
	sessions[0] = connected(0);
	cr_assert_eq(sessions[0]->pool_index % 4, worker);
	cr_assert_neq(shard(sessions[0]), worker);
	end(sessions[0]);
	for (size_t i = 0; i < ARRAY_SIZE(taken_ids); i++)
		session_table_give_back(&registry.table, taken_ids[i]);
	expect_empty();
}

Test(registry, a_live_peer_stays_on_its_worker_and_keeps_its_address)
{
	start("10.8.0.1/24", 64, 7, 3);
	struct session *other = connected(1);
	struct session *old = connected(0);
	for (unsigned i = 0; i < 20; i++) {
		struct session *new = pending(0);
		cr_assert_neq(new->id, old->id);
		cr_assert_eq(shard(new), shard(old), "round %u", i);
		cr_assert_eq(new->pool_index, old->pool_index);
		cr_assert_eq(new->replaces, old->id);
		cr_assert_eq(routed(old), old->id, "not before it is confirmed");
		confirm(new);
		cr_assert_eq(routed(old), new->id, "and without a gap");
		end(old);
		registry_collect(&registry);
		cr_assert_eq(routed(new), new->id, "the old one's end takes nothing along");
		cr_assert_eq(registry.pool.used, 2);
		old = new;
	}
	end(old);
	end(other);
	expect_empty();
}

Test(registry, an_address_is_free_when_both_sessions_ended)
{
	start("10.8.0.1/24", 64, 1, 1);
	for (unsigned order = 0; order < 2; order++) {
		struct session *old = connected(0), *new = pending(0);
		end(order == 0 ? old : new);
		registry_collect(&registry);
		cr_assert_eq(registry.pool.used, 1);
		cr_assert_eq(routed(old), order == 0 ? 0 : old->id);
		end(order == 0 ? new : old);
		expect_empty();
	}
}

Test(registry, a_peer_gets_back_the_address_that_it_had)
{
	start("10.8.0.1/24", 64, 2, 3);
	struct session *first = connected(0), *mine = connected(1);
	uint32_t had = mine->pool_index;
	end(mine);
	end(first);
	registry_collect(&registry);
	mine = connected(1);
	cr_assert_eq(mine->pool_index, had);
	end(mine);
	registry_collect(&registry);

	struct wire_hello hello = new_hello();
	struct registry_grant grant;
	cr_assert(ip_address_parse("10.8.0.77", &hello.wish4));
	cr_assert_eq(say(1, 0, &hello, now, &grant), DROP_NONE);
	cr_assert_eq(grant.made->pool_index, had, "before what it would like");
	install(grant.made);
	hello = new_hello();
	cr_assert(ip_address_parse("10.8.0.77", &hello.wish4));
	struct session *own = grant.made;
	cr_assert_eq(say(2, 0, &hello, now, &grant), DROP_NONE);
	cr_assert_eq(grant.made->pool_index, 77);
	install(grant.made);
	end(grant.made);
	end(own);
	expect_empty();
}

Test(registry, a_static_address_is_given_to_nobody_else)
{
	start("10.8.0.1/29", 64, 2, 5);
	cr_assert_eq(add_peer(5, "10.8.0.1", NULL), -EADDRNOTAVAIL, "the gateway's own");
	cr_assert_eq(add_peer(5, "10.9.0.2", NULL), -EADDRNOTAVAIL);
	cr_assert_eq(add_peer(5, "10.8.0.2", NULL), 0);
	cr_assert_eq(add_peer(6, "10.8.0.2", NULL), -EADDRINUSE);
	cr_assert_eq(add_peer(5, "10.8.0.3", NULL), -EEXIST);
	cr_assert_eq(add_peer(6, "10.8.0.3", NULL), 0, "what was refused held nothing");
	uint8_t wished[] = {2, 3};
	struct session *sessions[7];
	struct registry_grant grant;
	for (size_t peer = 0; peer < 3; peer++) {
		struct wire_hello hello = new_hello();
		cr_assert(ip_address_parse(wished[peer % 2] == 2 ? "10.8.0.2" : "10.8.0.3", &hello.wish4));
		cr_assert_eq(say(peer, 0, &hello, now, &grant), DROP_NONE);
		cr_assert_geq(grant.made->pool_index, 4);
		install(sessions[peer] = grant.made);
	}
	cr_assert_eq(begin(3, 0, &grant), DROP_NO_ADDRESS, "what is left is other peers'");
	sessions[5] = connected(5);
	sessions[6] = connected(6);
	cr_assert(sessions[5]->pool_index == 2 && sessions[6]->pool_index == 3);
	end(sessions[5]);
	registry_collect(&registry);
	cr_assert_eq(begin(3, 0, &grant), DROP_NO_ADDRESS, "also while it is not connected");
	end(sessions[6]);
	for (size_t peer = 0; peer < 3; peer++)
		end(sessions[peer]);
	expect_empty();
}

/* --- removal ------------------------------------------------------------------------------------------------------ */

Test(registry, removing_a_peer_names_its_sessions_and_frees_what_it_held)
{
	static const uint8_t behind[4] = {192, 168, 7, 9};
	uint32_t ids[2] = {1, 1};
	start("10.8.0.1/24", 64, 3, 2);
	cr_assert_eq(add_peer(2, "10.8.0.9", "192.168.7.0/24"), 0);
	struct session *active = connected(2), *next = pending(2);
	cr_assert_eq(registry_route(&registry, 4, behind), active->id);
	cr_assert(registry_remove_peer(&registry, key_of(2), ids));
	cr_assert(ids[0] == active->id && ids[1] == next->id);
	cr_assert_null(find(2));
	cr_assert_not(registry_remove_peer(&registry, key_of(2), ids));
	cr_assert_eq(registry_route(&registry, 4, behind), 0, "its networks are gone at once");
	end(active);
	registry_collect(&registry);
	cr_assert_eq(registry.pool.used, 1, "the pending one still has the address");
	end(next);
	expect_empty();
	cr_assert_eq(add_peer(3, "10.8.0.9", "192.168.7.0/24"), 0, "both are free");

	cr_assert(registry_remove_peer(&registry, key_of(1), ids));
	cr_assert(ids[0] == 0 && ids[1] == 0);
}

Test(registry, a_handshake_of_a_removed_peer_changes_nothing)
{
	struct registry_grant grant;
	uint32_t ids[2];
	start("10.8.0.1/24", 64, 1, 1);
	struct peer *peer = find(0); /* as a handshake thread that is on its way to the mutex */
	cr_assert(registry_remove_peer(&registry, key_of(0), ids));
	struct wire_hello hello = new_hello();
	struct registry_request request = {.hello = &hello, .now = now};
	cr_assert_eq(registry_begin(&registry, peer, &request, &grant), DROP_UNKNOWN_PEER);
	expect_empty();
}

Test(registry, a_peer_comes_back_at_once_with_the_same_address_and_network)
{
	static const uint8_t behind[4] = {192, 168, 7, 9};
	struct registry_grant grant;
	uint32_t ids[2];
	start("10.8.0.1/24", 64, 2, 0);
	cr_assert_eq(add_peer(0, "10.8.0.9", "192.168.7.0/24"), 0);
	struct session *old = connected(0);
	cr_assert(registry_remove_peer(&registry, key_of(0), ids));
	cr_assert_eq(add_peer(0, "10.8.0.9", "192.168.7.0/24"), 0);
	cr_assert_eq(begin(0, 0, &grant), DROP_NO_ADDRESS, "until the old session's worker is done");
	end(old);
	struct session *new = connected(0);
	cr_assert_eq(new->pool_index, 9);
	cr_assert_eq(registry_route(&registry, 4, behind), new->id);
	end(new);
	cr_assert_eq(registry_route(&registry, 4, behind), 0);
	expect_empty();
}

/* Its confirmation was in flight when a reload gave its network to another peer. */
Test(registry, a_removed_peers_session_takes_no_route_of_its_heir)
{
	static const uint8_t behind[4] = {192, 168, 7, 9};
	uint32_t ids[2];
	start("10.8.0.1/24", 64, 2, 0);
	cr_assert_eq(add_peer(0, NULL, "192.168.7.0/24"), 0);
	struct session *late = pending(0);
	cr_assert(registry_remove_peer(&registry, key_of(0), ids));
	cr_assert_eq(add_peer(1, NULL, "192.168.7.0/24"), 0);
	struct session *heir = connected(1);
	confirm(late);
	cr_assert_eq(registry_route(&registry, 4, behind), heir->id);
	end(late);
	cr_assert_eq(registry_route(&registry, 4, behind), heir->id);
	end(heir);
	expect_empty();
}

/* Handshakes that are never confirmed use up no address, and are not what a peer "had". */
Test(registry, what_is_not_confirmed_leaves_no_trace)
{
	struct registry_grant grant;
	start("10.8.0.1/29", 64, 1, 3); /* .2 … .6 */
	struct session *first = connected(0);
	uint32_t had = first->pool_index;
	end(first);
	registry_collect(&registry);
	for (unsigned i = 0; i < 20; i++) {
		struct wire_hello hello = new_hello();
		cr_assert(ip_address_parse("10.8.0.6", &hello.wish4));
		cr_assert_eq(say(1, 0, &hello, now, &grant), DROP_NONE);
		install(grant.made);
		end(grant.made);
		struct session *other = pending(2);
		cr_assert_eq(other->pool_index, 3, "its turn comes again and again");
		end(other);
		registry_collect(&registry);
	}
	cr_assert_eq(find(1)->last_index, POOL_NONE);
	cr_assert_eq(find(2)->last_index, POOL_NONE);
	first = connected(0);
	cr_assert_eq(first->pool_index, had);
	end(first);
	expect_empty();
}

/* --- limits and freshness ----------------------------------------------------------------------------------------- */

/* At the same moment as the one before, with a cookie or without. */
static enum drop_reason again(size_t peer, uint64_t cookie, struct registry_grant *grant)
{
	struct wire_hello hello = {0};
	store_be64(hello.timestamp, ++moments);
	return say(peer, 0, &hello, cookie, grant);
}

Test(registry, ten_hellos_a_second_for_each_peer)
{
	struct registry_grant grant;
	start("10.8.0.1/24", 64, 1, 2);
	struct session *mine = pending(0);
	now += 10 * NS_PER_S;
	for (unsigned i = 0; i < REGISTRY_HELLO_BURST; i++)
		cr_assert_eq(again(0, now, &grant), DROP_NONE, "%u", i);
	cr_assert_eq(again(0, now, &grant), DROP_HELLO_RATE);
	cr_assert_eq(grant.cookie, 0, "it has one");
	uint32_t orders = registry.orders;
	struct session *other = pending(1); /* half a second later: its own bucket */
	cr_assert_eq(registry.orders, orders + 1, "what was refused has no order");
	unsigned passed = 0;
	for (unsigned ms = 0; ms < 10000; ms += 10, now += 10 * NS_PER_MS)
		passed += again(0, now, &grant) == DROP_NONE;
	cr_assert(passed >= 100 && passed <= 106, "%u in 10 s", passed);
	end(mine);
	end(other);
	expect_empty();
}

Test(registry, who_has_a_cookie_has_a_rate_of_its_own)
{
	struct registry_grant grant;
	start("10.8.0.1/24", 64, 1, 1);
	struct session *session = pending(0);
	for (unsigned i = 0; i < REGISTRY_HELLO_BURST; i++)
		cr_assert_eq(again(0, 0, &grant), DROP_NONE, "%u", i);
	for (unsigned i = 0; i < 100; i++) {
		cr_assert_eq(again(0, 0, &grant), DROP_HELLO_RATE);
		cr_assert_gt(grant.cookie, 0, "the client may show that it is the one who asks");
	}
	now += NS_PER_MS;
	for (unsigned i = 0; i < REGISTRY_HELLO_BURST - 1; i++) /* and the first */
		cr_assert_eq(again(0, now, &grant), DROP_NONE, "%u", i);
	end(session);
	expect_empty();
}

Test(registry, stale_hellos_take_nothing_from_the_rate)
{
	struct registry_grant grant;
	start("10.8.0.1/24", 64, 1, 1);
	prove(0);
	struct wire_hello first = new_hello(), second = new_hello();
	cr_assert_eq(say(0, 0, &second, 0, &grant), DROP_NONE);
	install(grant.made);
	struct session *session = grant.made;
	uint32_t orders = registry.orders;
	for (unsigned i = 0; i < 100; i++) {
		cr_assert_eq(say(0, 0, &second, 0, &grant), DROP_STALE);
		cr_assert_eq(say(0, 0, &first, 0, &grant), DROP_STALE);
	}
	cr_assert_eq(registry.orders, orders);
	for (unsigned i = 0; i < REGISTRY_HELLO_BURST - 1; i++)
		cr_assert_eq(again(0, 0, &grant), DROP_NONE);
	end(session);
	expect_empty();
}

/* --- what a handshake is for -------------------------------------------------------------------------------------- */

Test(registry, rekey_retransmission_and_new_session_are_told_apart)
{
	struct registry_grant grant, next;
	start("10.8.0.1/24", 64, 1, 2);
	struct session *first = pending(0), *other = connected(1);
	cr_assert_eq(begin(0, 0, &grant), DROP_NONE);
	cr_assert(grant.made == NULL && grant.session_id == first->id && grant.cancels == 0 && grant.epoch == 1);
	cr_assert_eq(begin(0, first->id, &grant), DROP_NONE, "it is pending, so this is no rekey");
	cr_assert(grant.made == NULL && grant.session_id == first->id && grant.epoch == 1);
	confirm(first);
	atomic_store(&first->view.epoch, WIRE_EPOCH_MAX);
	cr_assert_eq(begin(0, first->id, &grant), DROP_NONE);
	cr_assert(grant.made == NULL && grant.session_id == first->id && grant.cancels == 0 && grant.epoch == 1);
	atomic_store(&first->view.epoch, 7);
	cr_assert_eq(begin(0, first->id, &next), DROP_NONE);
	cr_assert(next.epoch == 8 && next.order - grant.order == 1);
	cr_assert_eq(begin(0, other->id, &grant), DROP_NONE, "another peer's ID is none");
	cr_assert(grant.made != NULL && grant.session_id != other->id && grant.epoch == 1);
	install(grant.made);
	cr_assert_eq(begin(0, first->id, &next), DROP_NONE);
	cr_assert_eq(next.cancels, grant.session_id);
	cr_assert(next.session_id == first->id && next.made == NULL);
	end(grant.made);
	end(first);
	end(other);
	expect_empty();
}
