// SPDX-License-Identifier: Apache-2.0
/* New keys for a session that lives on: epochs, previous and next keys, limits of age and number. */
#include "tests/harness/unit.h"

TestSuite(rekey, .timeout = 60);

static const uint32_t confirmations = 1 << WIRE_CLIENT_ACK;

static struct session *at_gateway(struct harness *h)
{
	return harness_gateway_session(h, 0);
}

static struct session *at_client(struct harness *h)
{
	return harness_client_session(h, 0);
}

/* Moves data each second until the client made the next key its current one. */
static void until_rekey(struct harness *h)
{
	unsigned epoch = at_client(h)->current->epoch;
	for (unsigned second = 0; at_client(h)->current->epoch == epoch; second++) {
		cr_assert_lt(second, 2 * HARNESS_REKEY_INTERVAL);
		cr_assert(pings(h));
		harness_advance(h, NS_PER_S);
	}
}

Test(rekey, keeps_id_and_address_and_steps_the_epoch)
{
	struct harness *h = START_UP(0);
	uint32_t id = at_client(h)->id;
	struct ip_prefix inner4 = at_client(h)->inner4;
	uint64_t start = h->clock.monotonic;
	until_rekey(h);
	uint64_t after = (h->clock.monotonic - start) / NS_PER_S;
	cr_assert_geq(after, HARNESS_REKEY_INTERVAL * 8 / 10, "%lu s", after);
	cr_assert_leq(after, HARNESS_REKEY_INTERVAL + 2, "%lu s", after);
	cr_assert_eq(at_client(h)->id, id);
	cr_assert_eq(at_gateway(h)->id, id);
	cr_assert(ip_address_equal(&at_client(h)->inner4.address, &inner4.address));
	cr_assert_eq(at_client(h)->current->epoch, 2);
	cr_assert_eq(at_gateway(h)->current->epoch, 2);
	cr_assert_eq(gateway_count(h, STATS_rekeys), 1);
	cr_assert_eq(client_count(h, STATS_rekeys), 1);
	cr_assert_eq(gateway_count(h, STATS_sessions_started), 1);
	cr_assert_eq(gateway_count(h, STATS_sessions_ended), 0);
	cr_assert(pings(h));
	finish(h);
}

Test(rekey, forty_of_them_wrap_the_epoch_and_lose_nothing)
{
	struct harness *h = START_UP(0);
	uint8_t seen[WIRE_EPOCH_MAX + 2] = {0};
	for (unsigned i = 0; i < 40; i++) {
		unsigned epoch = at_client(h)->current->epoch;
		until_rekey(h);
		cr_assert_eq(at_client(h)->current->epoch, wire_next_epoch(epoch));
		seen[at_client(h)->current->epoch]++;
	}
	for (unsigned epoch = 1; epoch <= WIRE_EPOCH_MAX; epoch++)
		cr_assert_geq(seen[epoch], 2);
	cr_assert_eq(seen[0], 0);
	cr_assert_eq(gateway_count(h, STATS_rekeys), 40);
	finish(h);
}

/* Every handshake message may be lost, doubled or late, also KEEPALIVE; data is not, and none of it may be missed. */
Test(rekey, bad_impairment_for_handshakes_loses_no_data)
{
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct harness *h = START_UP(.rekey_interval = 20, .session_timeout = 100);
		struct impairment *impairment = impairment_new(h, seed);
		impairment->types = IMPAIRMENT_HANDSHAKE | confirmations | 1 << WIRE_KEEPALIVE;
		impairment->lose = 40;
		impairment->delay = 20;
		impairment->repeat = 20;
		for (unsigned tick = 0; tick < 4000; tick++) {
			cr_assert(harness_ping(h, 0, TO_GATEWAY), "seed %lu tick %u", seed, tick);
			cr_assert(harness_ping(h, 0, TO_CLIENT), "seed %lu tick %u", seed, tick);
			harness_advance(h, WORKER_TICK_NS);
			if (tick % 3 == 0)
				impairment_release(impairment);
		}
		cr_assert_gt(gateway_count(h, STATS_rekeys), 20, "seed %lu: %lu", seed, gateway_count(h, STATS_rekeys));
		cr_assert_eq(gateway_count(h, STATS_sessions_started), 1);
		impairment_free(impairment);
		finish(h);
	}
}

Test(rekey, another_preshared_key_counts_from_the_next_handshake)
{
	struct harness *h = START_UP(.rekey_interval = 20);
	const uint32_t id = harness_gateway_session(h, 0)->id;
	harness_change_preshared_key(h, 0);
	harness_advance(h, NS_PER_S);
	cr_assert(harness_ping(h, 0, TO_GATEWAY) && harness_ping(h, 0, TO_CLIENT));
	h->clients[0].remote.preshared_key[5] ^= 1;
	until_rekey(h);
	cr_assert_eq(gateway_count(h, STATS_rekeys), 1);
	cr_assert_eq(harness_gateway_session(h, 0)->id, id);
	cr_assert(harness_ping(h, 0, TO_GATEWAY) && harness_ping(h, 0, TO_CLIENT));
	finish(h);
}

Test(rekey, idle_keys_are_not_renewed)
{
	struct harness *h = START_UP(.session_timeout = 2000);
	harness_advance(h, 1000 * NS_PER_S);
	cr_assert_eq(client_count(h, STATS_tx_hello), 1);
	cr_assert(pings(h));
	harness_advance(h, NS_PER_S);
	cr_assert_eq(client_count(h, STATS_tx_hello), 2, "but at once when data moves");
	finish(h);
}

Test(rekey, many_packets_are_a_reason_too_in_either_direction)
{
	for (unsigned direction = 0; direction < 2; direction++) {
		struct harness *h = START_UP(0);
		if (direction == 0)
			at_client(h)->current->send_counter = TRANSPORT_REKEY_PACKETS - 1;
		else
			at_client(h)->current->opened = TRANSPORT_REKEY_PACKETS - 1;
		harness_advance(h, NS_PER_S);
		cr_assert_eq(client_count(h, STATS_rekeys), 0);
		cr_assert(pings(h));
		harness_advance(h, NS_PER_S);
		cr_assert_eq(client_count(h, STATS_rekeys), 1);
		finish(h);
	}
}

/* The gateway seals under the confirmed key until the next one is confirmed. */
Test(rekey, before_confirmation_nothing_changes_at_the_gateway)
{
	struct harness *h = START_UP(0);
	struct impairment *impairment = lose(h, confirmations | 1 << WIRE_DATA);
	impairment->from = &h->clients[0].node.link;
	while (at_client(h)->current->epoch == 1) {
		cr_assert_not(harness_ping(h, 0, TO_GATEWAY)); /* moves data, for the client to rekey */
		cr_assert(harness_ping(h, 0, TO_CLIENT));
		harness_advance(h, NS_PER_S);
	}
	cr_assert_eq(at_gateway(h)->current->epoch, 1);
	cr_assert_eq(at_gateway(h)->next->epoch, 2);
	cr_assert(harness_ping(h, 0, TO_CLIENT), "under the old key");
	cr_assert_eq(at_gateway(h)->current->send_counter, node_counter(&h->gateway.node, STATS_udp_tx_packets) -
								   node_counter(&h->gateway.node, STATS_tx_welcome));
	impairment->lose = 0;
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	cr_assert_eq(at_gateway(h)->current->epoch, 2);
	impairment_free(impairment);
	finish(h);
}

/* The handshake is given up after 5 s of CLIENT_ACK, and so is the one after: what the gateway sends still opens. */
Test(rekey, confirmations_lost_for_two_handshakes_leave_the_old_key_usable)
{
	struct harness *h = START_UP(0);
	struct impairment *impairment = lose(h, confirmations | 1 << WIRE_DATA);
	impairment->from = &h->clients[0].node.link;
	cr_assert_not(harness_ping(h, 0, TO_GATEWAY));
	harness_advance(h, (HARNESS_REKEY_INTERVAL + 1) * NS_PER_S - 15 * NS_PER_S);
	while (client_count(h, STATS_rx_welcome) < 4) {
		cr_assert(harness_ping(h, 0, TO_CLIENT), "after %lu handshakes", client_count(h, STATS_rx_welcome) - 1);
		(void)harness_ping(h, 0, TO_GATEWAY);
		harness_advance(h, NS_PER_S);
	}
	cr_assert_eq(at_gateway(h)->current->epoch, 1);
	cr_assert_eq(at_client(h)->current->epoch, 2);
	cr_assert_eq(at_client(h)->previous->epoch, 1);
	impairment->lose = 0;
	cr_assert(pings(h));
	cr_assert_eq(at_gateway(h)->current->epoch, 2);
	impairment_free(impairment);
	finish(h);
}

/* A message under the session's key of this epoch, sealed behind its owner's back, counters going on. */
static void send_under(struct harness *h, struct transport_key *key, uint64_t counter)
{
	uint8_t message[64];
	key->send_counter = counter;
	uint32_t length = node_seal(&h->clients[0].node, at_client(h), key, WIRE_KEEPALIVE, NULL, 0, message);
	impairment_forge(&h->gateway.node, &h->clients[0].node, message, length);
	harness_pump(h);
}

/* To seal under it after its owner dropped it; free() frees it, as KEEPALIVE leaves it asleep. */
static struct transport_key *copy_of(const struct transport_key *key)
{
	struct transport_key *copy = aligned_alloc(CACHE_LINE, sizeof *copy);
	*copy = *key;
	copy->live = NULL;
	return copy;
}

Test(rekey, the_previous_key_opens_for_10_s_and_no_longer)
{
	struct harness *h = START_UP(0);
	until_rekey(h);
	uint64_t used = at_gateway(h)->current->first_opened;
	struct transport_key *old = copy_of(at_client(h)->previous);
	uint64_t before = gateway_count(h, STATS_rx_keepalive);
	harness_advance(h, used + SESSION_PREVIOUS_KEY_NS - NS_PER_MS - h->clock.monotonic);
	send_under(h, old, old->send_counter);
	cr_assert_eq(gateway_count(h, STATS_rx_keepalive), before + 1);
	harness_advance(h, WORKER_TICK_NS + NS_PER_MS);
	cr_assert_null(at_gateway(h)->previous);
	send_under(h, old, old->send_counter);
	cr_assert_eq(gateway_count(h, STATS_rx_keepalive), before + 1);
	cr_assert_eq(node_drops(&h->gateway.node, DROP_EPOCH), 1);
	cr_assert(pings(h));
	harness_advance(h, SESSION_PREVIOUS_KEY_NS);
	cr_assert_null(at_client(h)->previous);
	free(old);
	finish(h);
}

Test(rekey, an_unconfirmed_next_key_expires_after_10_s)
{
	struct harness *h = START_UP(0);
	struct impairment *impairment = lose(h, 1 << WIRE_WELCOME | 1 << WIRE_DATA);
	while (at_gateway(h)->next == NULL) {
		(void)harness_ping(h, 0, TO_GATEWAY);
		harness_advance(h, WORKER_TICK_NS);
	}
	impairment->types |= 1 << WIRE_HELLO;
	harness_advance(h, 9 * NS_PER_S);
	cr_assert_not_null(at_gateway(h)->next);
	harness_advance(h, NS_PER_S + WORKER_TICK_NS);
	cr_assert_null(at_gateway(h)->next);
	impairment->lose = 0;
	cr_assert(pings(h));
	impairment_free(impairment);
	finish(h);
}

/* Only HELLO is lost, so neither side gets new keys; the session itself stays. */
Test(rekey, a_key_dies_after_an_hour)
{
	struct harness *h = START_UP(.session_timeout = 7200);
	struct impairment *impairment = lose(h, 1 << WIRE_HELLO);
	harness_advance(h, DIALECT_OWN_KEY_MAX_AGE_NS - 2 * NS_PER_S);
	cr_assert(pings(h));
	struct transport_key *old = copy_of(at_client(h)->current);
	harness_advance(h, 2 * NS_PER_S + WORKER_TICK_NS);
	cr_assert_null(at_client(h)->current);
	cr_assert_null(at_gateway(h)->current);
	cr_assert_not(pings(h));
	cr_assert_not(harness_ping(h, 0, TO_CLIENT));
	cr_assert_eq(node_drops(&h->clients[0].node, DROP_OUT_NO_KEY), 1);
	cr_assert_eq(node_drops(&h->gateway.node, DROP_OUT_NO_KEY), 1);
	send_under(h, old, old->send_counter);
	cr_assert_eq(node_drops(&h->gateway.node, DROP_EPOCH), 1);
	uint32_t id = at_client(h)->id;
	impairment->lose = 0;
	harness_advance(h, 20 * NS_PER_S);
	cr_assert(pings(h));
	cr_assert_eq(at_client(h)->id, id, "ID and address outlived the key");
	free(old);
	impairment_free(impairment);
	finish(h);
}

Test(rekey, the_counter_limit_drops_and_never_wraps)
{
	struct harness *h = START_UP(0);
	struct impairment *impairment = lose(h, 1 << WIRE_HELLO);
	for (unsigned direction = 0; direction < 2; direction++) {
		struct node *node = direction == 0 ? &h->clients[0].node : &h->gateway.node;
		struct session *session = direction == 0 ? at_client(h) : at_gateway(h);
		session->current->send_counter = TRANSPORT_COUNTER_LIMIT - 2;
		for (unsigned i = 0; i < 5; i++)
			cr_assert_eq(harness_ping(h, 0, (enum direction)direction), i < 2);
		cr_assert_eq(node_drops(node, DROP_OUT_LIMIT), 3);
		harness_advance(h, 12 * NS_PER_S); /* KEEPALIVE would be due */
		cr_assert_eq(session->current->send_counter, TRANSPORT_COUNTER_LIMIT);
	}
	impairment->lose = 0;
	harness_advance(h, 20 * NS_PER_S);
	cr_assert(pings(h), "new keys end it");
	impairment_free(impairment);
	finish(h);
}

/* HELLO names the peer's own active session or makes a new one; another peer's ID is no way in. */
Test(rekey, naming_another_peers_session_makes_a_new_one)
{
	struct harness *h = START_UP(.clients = 2);
	uint32_t id = at_client(h)->id, other = harness_client_session(h, 1)->id;
	at_client(h)->id = other;
	struct session *victim = harness_gateway_session(h, 1);
	h->clients[0].role.rekey_interval = 0;
	struct impairment *impairment = lose(h, 1 << WIRE_WELCOME);
	harness_advance(h, NS_PER_S);
	(void)harness_ping(h, 0, TO_GATEWAY);
	harness_advance(h, NS_PER_S);
	at_client(h)->id = id;
	cr_assert_geq(gateway_count(h, STATS_rx_hello), 3);
	cr_assert_null(victim->next);
	cr_assert_null(at_gateway(h)->next);
	cr_assert_not_null(harness_peer(h, 0)->pending);
	cr_assert(harness_ping(h, 1, TO_GATEWAY));
	impairment_free(impairment);
	finish(h);
}

/* Two processes with one key: the first has the session, the second asks for one and hears nothing, the first rekeys.
 */
Test(rekey, takes_the_place_of_a_pending_new_session)
{
	struct harness *h = START(.clients = 2, .listed = 1);
	h->clients[1].identity = h->clients[0].identity;
	h->clients[1].remote = h->clients[0].remote;
	harness_connect(h, 0);
	cr_assert(harness_wait(h, 0, CLIENT_UP, NS_PER_S));
	harness_advance(h, NS_PER_S);
	struct impairment *impairment = lose(h, 1 << WIRE_WELCOME);
	harness_connect(h, 1);
	harness_advance(h, WORKER_TICK_NS);
	cr_assert_not_null(harness_peer(h, 0)->pending);
	harness_stop_client(h, 1, false);
	h->clients[0].role.rekey_interval = 0;
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	harness_advance(h, NS_PER_S);
	cr_assert_null(harness_peer(h, 0)->pending);
	cr_assert_not_null(at_gateway(h)->next);
	impairment_free(impairment);
	finish(h);
}

Test(rekey, a_hello_that_is_refused_leaves_a_pending_rekey_alone)
{
	struct harness *h = START_UP(0);
	struct impairment *impairment = lose(h, 1 << WIRE_WELCOME | 1 << WIRE_DATA | 1 << WIRE_COOKIE);
	while (at_gateway(h)->next == NULL) {
		(void)harness_ping(h, 0, TO_GATEWAY);
		harness_advance(h, WORKER_TICK_NS);
	}
	/* The same client as a new process whose clock is behind: it asks for a new session. */
	harness_stop_client(h, 0, false);
	harness_start_client(h, 0);
	h->clock.wall -= 3600 * NS_PER_S;
	harness_connect(h, 0);
	harness_pump(h);
	cr_assert_eq(node_drops(&h->gateway.node, DROP_STALE), 1);
	cr_assert_not_null(at_gateway(h)->next);
	impairment_free(impairment);
	finish(h);
}
