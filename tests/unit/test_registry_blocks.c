// SPDX-License-Identifier: Apache-2.0
/* The registry of a gateway in a cluster: it serves the clients of the blocks that it owns, under IDs of these. */
#include <criterion/criterion.h>
#include <errno.h>

#include "core/sessions/registry.h"

enum { PEERS = 4, BLOCK_PEERS = 16 };

static struct registry registry;
static struct fence fence;
static uint64_t now;	 /* monotonic ns */
static uint32_t moments; /* of HELLOs: their timestamps rise */
static uint8_t keys[PEERS][KEY_SIZE], psk[KEY_SIZE];

/* Of the clients: two of block 1, one of block 3, and one of block 4. */
static const char *const addresses[PEERS] = {"10.8.0.5", "10.8.0.6", "10.8.0.40", "10.8.0.63"};
static const unsigned blocks[PEERS] = {1, 1, 3, 4};

static int add_peer(size_t peer, const char *address, enum peer_protocol protocol, struct error *error)
{
	memset(keys[peer], (int)peer + 1, KEY_SIZE);
	struct registry_peer from = {.public_key = keys[peer], .preshared_key = psk, .protocol = protocol};
	if (address != NULL)
		cr_assert(ip_address_parse(address, &from.address));
	return registry_add_peer(&registry, &from, error);
}

static void start(void)
{
	struct ip_prefix own;
	cr_assert(keys_init(NULL) == 0 && ip_prefix_parse("10.8.0.1/20", &own));
	rcu_join();
	fence_init(&fence, BLOCK_PEERS);
	struct registry_params params = {.addresses = &own,
					 .address_count = 1,
					 .max_sessions = 100,
					 .workers = 2,
					 .expected_peers = PEERS,
					 .fence = &fence};
	cr_assert_eq(registry_init(&registry, &params, NULL), 0);
	now = 1000 * NS_PER_S;
	for (size_t peer = 0; peer < PEERS; peer++)
		cr_assert_eq(add_peer(peer, addresses[peer], PEER_SHARDTUN, NULL), 0);
}

static void leave(void)
{
	registry_deinit(&registry);
	rcu_leave();
}

TestSuite(registry_blocks, .init = start, .fini = leave);

/* For the next minute; 0: none. */
static void own(unsigned one, unsigned other)
{
	struct block_set set = {0};
	if (one != 0)
		block_set_add(&set, one);
	if (other != 0)
		block_set_add(&set, other);
	cr_assert(fence_own(&fence, &set, now + 60 * NS_PER_S, now) >= 0);
}

static struct peer *find(size_t peer)
{
	return peers_find(&registry.peers, keys[peer]);
}

/* A HELLO, half a second after the one before. `proven`: with a new cookie. */
static enum drop_reason say(size_t peer, uint32_t session_id, bool proven, struct registry_grant *grant)
{
	struct wire_hello hello = {0};
	store_be64(hello.timestamp, ++moments);
	now += NS_PER_S / 2;
	struct registry_request request = {
		.session_id = session_id, .hello = &hello, .cookie = proven ? now : 0, .now = now};
	return registry_begin(&registry, find(peer), &request, grant);
}

static struct session *connected(size_t peer)
{
	struct registry_grant grant;
	cr_assert_eq(say(peer, 0, true, &grant), DROP_NONE);
	cr_assert_not_null(grant.made);
	session_table_insert(&registry.table, grant.made);
	registry_attach(&registry, grant.made);
	session_set_active(grant.made);
	return grant.made;
}

static void end(struct session *session)
{
	registry_detach(&registry, session);
	session_table_remove(&registry.table, session);
	registry_retire(&registry, session);
	(void)registry_collect(&registry);
}

Test(registry_blocks, ids_are_of_the_block_of_the_address)
{
	for (size_t peer = 0; peer < 3; peer++) {
		for (unsigned i = 0; i < 300; i++) { /* slots and generations in all orders */
			own(1, 3);
			struct session *session = connected(peer);
			cr_assert_eq(block_of_session(session->id), blocks[peer]);
			cr_assert_eq(session->id >> 28, 0);
			cr_assert_eq(block_of_index(session->pool_index, BLOCK_PEERS), blocks[peer]);
			cr_assert_eq(registry.table.in_block[blocks[peer]], 1);
			end(session);
			cr_assert_eq(registry.table.in_block[blocks[peer]], 0);
		}
	}
}

Test(registry_blocks, a_worker_owns_an_id_whatever_its_block)
{
	own(1, 3);
	struct session *session = connected(2);
	cr_assert_eq(session_shard(&registry.table.sharding, session->id),
		     session->pool_index % registry.table.sharding.workers);
	cr_assert_eq(session_table_find(&registry.table, session->id), session);
	cr_assert_null(session_table_find(&registry.table, session->id ^ 1u << 20), "another block");
	end(session);
}

Test(registry_blocks, a_client_of_a_block_that_is_not_ours_is_refused)
{
	struct registry_grant grant;
	own(1, 0);
	cr_assert_eq(say(2, 0, true, &grant), DROP_BLOCK);
	cr_assert_eq(grant.cookie, 0, "no COOKIE either");
	cr_assert_eq(registry.pool.used, 0);
	struct session *session = connected(0);
	now += 61 * NS_PER_S; /* past the deadline */
	cr_assert_eq(say(0, session->id, true, &grant), DROP_BLOCK, "no new keys");
	cr_assert_eq(say(1, 0, true, &grant), DROP_BLOCK);
	own(3, 0);
	cr_assert_eq(say(2, 0, true, &grant), DROP_NONE);
	registry_abandon(&registry, &grant);
	end(session);
}

/* Else a recording would have us forward it without end. */
Test(registry_blocks, what_is_refused_is_limited_by_the_rate_of_its_peer)
{
	struct registry_grant grant;
	struct wire_hello hello = {0};
	struct registry_request request = {.hello = &hello, .now = now};
	own(1, 0);
	for (unsigned i = 0; i < REGISTRY_HELLO_BURST; i++)
		cr_assert_eq(registry_begin(&registry, find(2), &request, &grant), DROP_BLOCK, "%u", i);
	cr_assert_eq(registry_begin(&registry, find(2), &request, &grant), DROP_HELLO_RATE);
	request.cookie = now;
	cr_assert_eq(registry_begin(&registry, find(2), &request, &grant), DROP_BLOCK,
		     "a proven source has its own rate");
}

/* Meanwhile another gateway took HELLOs of the client: what was recorded of these must not be new here. */
Test(registry_blocks, a_block_that_comes_back_needs_a_cookie_of_each_client)
{
	struct registry_grant grant;
	own(1, 3);
	end(connected(0));
	cr_assert_eq(say(0, 0, false, &grant), DROP_NONE, "its timestamp is enough");
	registry_abandon(&registry, &grant);
	own(3, 0);
	own(1, 3);
	cr_assert_eq(say(0, 0, false, &grant), DROP_STALE);
	cr_assert_neq(grant.cookie, 0, "it gets one");
	cr_assert_eq(say(0, 0, true, &grant), DROP_NONE);
	registry_abandon(&registry, &grant);
	cr_assert_eq(say(0, 0, false, &grant), DROP_NONE, "once");
	registry_abandon(&registry, &grant);
}

Test(registry_blocks, a_peer_needs_an_address_in_a_block)
{
	struct error error;
	struct registry_grant grant;
	memset(keys[3], 4, KEY_SIZE);
	uint32_t ids[2];
	cr_assert(registry_remove_peer(&registry, keys[3], ids));
	cr_assert_eq(add_peer(3, NULL, PEER_SHARDTUN, &error), -EADDRNOTAVAIL);
	cr_assert_not_null(strstr(error.text, "Address: a client of a cluster needs one"));
	cr_assert_eq(add_peer(3, NULL, PEER_WIREGUARD, &error), -EADDRNOTAVAIL, "none that follows from its key");
	cr_assert_eq(add_peer(3, "10.8.15.240", PEER_SHARDTUN, &error), -EADDRNOTAVAIL);
	cr_assert_not_null(strstr(error.text, "above the last of 255 blocks of 16 addresses"));
	cr_assert_eq(add_peer(3, "10.8.15.239", PEER_SHARDTUN, &error), 0, "the last of the last block");
	own(255, 0);
	cr_assert_eq(say(3, 0, true, &grant), DROP_NONE);
	cr_assert_eq(block_of_session(grant.session_id), 255);
	registry_abandon(&registry, &grant);
}

Test(registry_blocks, wireguard_clients_have_blocks_too)
{
	struct registry_grant grant;
	uint8_t timestamp[WIRE_TIMESTAMP_SIZE] = {1};
	uint32_t ids[2];
	cr_assert(registry_remove_peer(&registry, keys[2], ids));
	cr_assert_eq(add_peer(2, addresses[2], PEER_WIREGUARD, NULL), 0);
	own(1, 0);
	cr_assert_eq(registry_begin_wireguard(&registry, find(2), timestamp, now, &grant), DROP_BLOCK);
	own(3, 0);
	cr_assert_eq(registry_begin_wireguard(&registry, find(2), timestamp, now, &grant), DROP_NONE);
	cr_assert_eq(block_of_session(grant.session_id), 3);
	registry_abandon(&registry, &grant);
}

/* Of peers that the gateway connects to, those of other gateways' blocks do not delay the rest. */
Test(registry_blocks, sessions_stand_for_peers_of_our_blocks_alone)
{
	struct registry_grant grant;
	uint32_t ids[2];
	const struct contact contact = {
		.endpoint = {.sin6_family = AF_INET6, .sin6_port = htons(51820), .sin6_addr = IN6ADDR_LOOPBACK_INIT}};
	for (size_t peer = 0; peer < PEERS; peer++) {
		struct registry_peer from = {
			.public_key = keys[peer], .preshared_key = psk, .protocol = PEER_WIREGUARD, .contact = contact};
		cr_assert(registry_remove_peer(&registry, keys[peer], ids) &&
			  ip_address_parse(addresses[peer], &from.address));
		cr_assert_eq(registry_add_peer(&registry, &from, NULL), 0);
	}
	cr_assert(!registry_stand(&registry, now, &grant), "nothing is ours");
	own(4, 0);
	cr_assert(registry_stand(&registry, now, &grant), "the last in the list");
	cr_assert_eq(block_of_session(grant.session_id), 4);
	cr_assert(!registry_stand(&registry, now, &(struct registry_grant){0}), "it has one");
	registry_abandon(&registry, &grant);
}

Test(registry_blocks, has_no_more_sessions_than_ids_in_a_block)
{
	struct registry other;
	struct ip_prefix own4;
	struct error error;
	cr_assert(ip_prefix_parse("10.8.0.1/20", &own4));
	struct registry_params params = {.addresses = &own4,
					 .address_count = 1,
					 .max_sessions = BLOCK_SESSIONS_MAX + 1,
					 .workers = 1,
					 .fence = &fence};
	cr_assert_eq(registry_init(&other, &params, &error), -EINVAL);
	params.max_sessions = BLOCK_SESSIONS_MAX;
	cr_assert_eq(registry_init(&other, &params, &error), 0);
	cr_assert_leq(other.table.sharding.slot_mask, BLOCK_ID_MASK);
	registry_deinit(&other);
}
