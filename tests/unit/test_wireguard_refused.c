// SPDX-License-Identifier: Apache-2.0
/* Handshake messages of WireGuard's that the gateway refuses: under which name, and that nothing else comes of it. */
#include "crypto/wg_mac.h"
#include "tests/unit/hello_by_hand.h"
#include "tests/unit/wireguard_unit.h"

TestSuite(wireguard_refused, .timeout = 60);

static struct stats_snapshot snapshot(const struct wireguard *w)
{
	struct stats_snapshot sum = {0};
	const struct node *node = &w->h->gateway.node;
	for (size_t i = 0; i < node->stats_count; i++)
		stats_read(node->stats[i], &sum);
	return sum;
}

/* One message of the first client's comes: it is dropped for this reason, and is not answered. */
static void expect(struct wireguard *w, const uint8_t *message, uint32_t length, enum drop_reason reason,
		   const char *what)
{
	uint32_t orders = w->h->gateway.registry.orders;
	struct stats_snapshot before = snapshot(w);
	wireguard_send_raw(w, 0, message, length);
	wireguard_pump(w);
	struct stats_snapshot after = snapshot(w);
	for (unsigned i = 0; i < DROP_COUNT; i++)
		cr_assert_eq(after.drops[i] - before.drops[i], i == reason, "%s: %lu as %s", what,
			     after.drops[i] - before.drops[i], drop_infos[i].label);
	cr_assert_eq(after.counters[STATS_udp_tx_packets], before.counters[STATS_udp_tx_packets], "%s is answered",
		     what);
	cr_assert_eq(w->h->gateway.registry.orders, orders, "%s begins a handshake", what);
}

/* mac1 as for this gateway, over whatever is in front of it. */
static void sign(struct wireguard *w, uint8_t *message, size_t length)
{
	wg_mac(message + length - WG_MACS_SIZE, w->h->gateway.wireguard.mac1_key, KEY_SIZE, message,
	       length - WG_MACS_SIZE);
}

Test(wireguard_refused, lengths_around_each)
{
	static const uint32_t sizes[] = {[WG_INITIATION] = 148, [WG_RESPONSE] = 92, [WG_COOKIE_REPLY] = 64};
	struct wireguard *w = WG_UP(1);
	for (unsigned type = WG_INITIATION; type <= WG_COOKIE_REPLY; type++) {
		uint8_t message[200] = {(uint8_t)type};
		for (uint32_t length = 0; length < sizeof message; length++) {
			if (length != sizes[type])
				expect(w, message, length, length < sizes[type] ? DROP_RUNT : DROP_OVERSIZED, "length");
		}
	}
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

Test(wireguard_refused, what_answers_nothing)
{
	struct wireguard *w = WG_UP(1);
	for (unsigned named = 0; named < 2; named++) {
		uint8_t response[WG_RESPONSE_SIZE] = {0}, reply[WG_COOKIE_REPLY_SIZE] = {0};
		uint32_t index = named != 0 ? wg_index(wireguard_session(w, 0)->id, 1) : 0x12345678;
		wg_header(response, WG_RESPONSE, 7);
		store_be32(response + WG_RESPONSE_RECEIVER, index);
		sign(w, response, sizeof response);
		wg_header(reply, WG_COOKIE_REPLY, index);
		expect(w, response, sizeof response, DROP_UNEXPECTED, "response");
		expect(w, reply, sizeof reply, DROP_UNEXPECTED, "cookie reply");
	}
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

Test(wireguard_refused, reserved_bytes)
{
	struct wireguard *w = WG_START(1);
	struct wireguard_client *c = &w->clients[0];
	wireguard_prepare(w, 0);
	for (unsigned bit = 0; bit < 24; bit++) {
		uint8_t message[WG_INITIATION_SIZE];
		memcpy(message, c->initiation, sizeof message);
		message[1 + bit / 8] ^= (uint8_t)(1 << bit % 8);
		sign(w, message, sizeof message);
		expect(w, message, sizeof message, DROP_TYPE, "a reserved bit");
	}
	wireguard_send_initiation(w, 0);
	wireguard_pump(w);
	cr_assert_eq(c->responses, 1);
	wg_unit_finish(w);
}

Test(wireguard_refused, what_was_not_made_for_this_gateway)
{
	struct wireguard *w = WG_START(1);
	struct wireguard_client *c = &w->clients[0];
	wireguard_prepare(w, 0);
	for (size_t at = 4; at < WG_INITIATION_MAC1 + MAC_SIZE; at++) {
		uint8_t message[WG_INITIATION_SIZE];
		memcpy(message, c->initiation, sizeof message);
		message[at] ^= 0x20;
		expect(w, message, sizeof message, DROP_MAC1, "one bit");
	}
	struct handshake_remote right = c->remote;
	uint8_t other[KEY_SIZE] = {3};
	cr_assert(wg_remote_init(&c->remote, &c->identity, w->h->clients[0].identity.keys.public_key, other));
	wireguard_prepare(w, 0);
	expect(w, c->initiation, sizeof c->initiation, DROP_MAC1, "for another key");
	cr_assert(wg_remote_init(&c->remote, &c->identity, w->h->gateway.identity.keys.public_key, other));
	wireguard_prepare(w, 0);
	expect(w, c->initiation, sizeof c->initiation, DROP_MAC1, "for the gateway's other key");
	c->remote = right;
	cr_assert(wireguard_initiate(w, 0));
	wg_unit_finish(w);
}

/* mac1 takes no more than the gateway's public key. */
Test(wireguard_refused, what_does_not_open)
{
	struct wireguard *w = WG_START(1);
	struct wireguard_client *c = &w->clients[0];
	wireguard_prepare(w, 0);
	for (size_t at = WG_INITIATION_NOISE; at < WG_INITIATION_MAC1; at++) {
		uint8_t message[WG_INITIATION_SIZE];
		memcpy(message, c->initiation, sizeof message);
		message[at] ^= 0x20;
		sign(w, message, sizeof message);
		expect(w, message, sizeof message, DROP_HANDSHAKE_FORGED, "one bit");
	}
	uint8_t zero[WG_INITIATION_SIZE];
	memcpy(zero, c->initiation, sizeof zero);
	memset(zero + WG_INITIATION_NOISE, 0, KEY_SIZE);
	sign(w, zero, sizeof zero);
	expect(w, zero, sizeof zero, DROP_HANDSHAKE_FORGED, "an ephemeral key that is no point");
	cr_assert_null(wireguard_session(w, 0));
	wireguard_send_initiation(w, 0);
	wireguard_pump(w);
	cr_assert_eq(c->responses, 1, "none of them used its timestamp up");
	wg_unit_finish(w);
}

Test(wireguard_refused, replays_and_older_timestamps)
{
	struct wireguard *w = WG_START(1);
	struct wireguard_client *c = &w->clients[0];
	uint8_t older[WG_INITIATION_SIZE], first[WG_INITIATION_SIZE];
	wireguard_prepare(w, 0);
	memcpy(older, c->initiation, sizeof older);
	cr_assert(wireguard_initiate(w, 0));
	memcpy(first, c->initiation, sizeof first);
	for (unsigned i = 0; i < 3; i++) {
		wireguard_advance(w, i * 100 * NS_PER_S);
		expect(w, first, sizeof first, DROP_STALE, "again");
		expect(w, older, sizeof older, DROP_STALE, "one that came late");
	}
	wireguard_advance(w, NS_PER_S);
	cr_assert(wireguard_initiate(w, 0));
	expect(w, first, sizeof first, DROP_STALE, "the one before");
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

Test(wireguard_refused, two_within_20_ms)
{
	struct wireguard *w = WG_UP(1);
	struct wireguard_client *c = &w->clients[0];
	wireguard_prepare(w, 0);
	expect(w, c->initiation, sizeof c->initiation, DROP_HELLO_RATE, "at once");
	w->h->clock.monotonic += 20 * NS_PER_MS - 1;
	expect(w, c->initiation, sizeof c->initiation, DROP_HELLO_RATE, "still too soon");
	w->h->clock.monotonic++;
	wireguard_send_initiation(w, 0);
	wireguard_pump(w);
	cr_assert_eq(c->responses, 2);
	wg_unit_finish(w);
}

/* --- keys that are not a WireGuard peer's ------------------------------------------------------------------------- */

Test(wireguard_refused, a_key_that_is_not_listed)
{
	struct wireguard *w = WG_START(1);
	struct wireguard_client *c = &w->clients[0];
	uint32_t ids[2];
	cr_assert(registry_remove_peer(&w->h->gateway.registry, c->identity.keys.public_key, ids));
	wireguard_prepare(w, 0);
	expect(w, c->initiation, sizeof c->initiation, DROP_UNKNOWN_PEER, "not listed");
	cr_assert_str_eq(wg_event(w), "refused wireguard unknown_peer");
	cr_assert_eq(wireguard_list(w, 0, NULL), 0);
	wireguard_send_initiation(w, 0);
	wireguard_pump(w);
	cr_assert_eq(c->responses, 1, "now it is");
	wg_unit_finish(w);
}

Test(wireguard_refused, the_key_of_a_client_of_ours)
{
	struct wireguard *w = WG_START(1);
	struct wireguard_client *c = &w->clients[0];
	const uint8_t *psk = w->h->clients[0].remote.preshared_key;
	wg_identity_init(&c->identity, w->h->clients[0].identity.keys.private_key);
	cr_assert(wg_remote_init(&c->remote, &c->identity, w->h->gateway.wireguard.keys.public_key, psk));
	wireguard_prepare(w, 0);
	expect(w, c->initiation, sizeof c->initiation, DROP_UNKNOWN_PEER, "a peer of ours");
	cr_assert_str_eq(wg_event(w), "refused wireguard other_protocol");
	cr_assert_eq(atomic_load(&harness_peer(w->h, 0)->static_static_state), 0, "that is cached for its protocol");
	cr_assert(harness_up(w->h) && pings(w->h), "which it can still speak");
	wg_unit_finish(w);
}

Test(wireguard_refused, hello_with_the_key_of_a_wireguard_client)
{
	struct wireguard *w = WG_UP(1);
	struct client_node *own = &w->h->clients[0];
	struct by_hand by;
	struct handshake_identity identity = own->identity;
	struct handshake_remote remote = own->remote;
	while (*wg_event(w) != '\0')
		continue;
	handshake_identity_init(&own->identity, w->clients[0].identity.keys.private_key);
	cr_assert(handshake_remote_init(&own->remote, &own->identity, w->h->gateway.identity.keys.public_key,
					w->clients[0].remote.preshared_key));
	send_hello(w->h, &by, 0, wireguard_session(w, 0)->id);
	wireguard_pump(w);
	cr_assert_eq(wg_drops(w, DROP_UNKNOWN_PEER), 1);
	cr_assert_eq(wg_count(w, STATS_tx_welcome), 0);
	cr_assert_str_eq(wg_event(w), "refused other_protocol");
	cr_assert(wg_pings(w, 0));
	own->identity = identity;
	own->remote = remote;
	wg_unit_finish(w);
}

Test(wireguard_refused, another_preshared_key)
{
	struct wireguard *w = WG_START(1);
	struct wireguard_client *c = &w->clients[0];
	c->remote.preshared_key[5] ^= 1;
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_not(wireguard_initiate(w, 0), "the response does not open");
		wireguard_advance(w, 5 * NS_PER_S);
	}
	cr_assert_eq(c->refused, 3);
	cr_assert_not(session_is_active(wireguard_session(w, 0)));
	cr_assert_eq(w->h->gateway.registry.pool.used, 1);
	wireguard_advance(w, WG_REJECT_AFTER_S * NS_PER_S);
	cr_assert_null(wireguard_session(w, 0));
	cr_assert_eq(w->h->gateway.registry.pool.used, 0);
	cr_assert_str_eq(wg_event(w), "refused wireguard not_confirmed");
	c->remote.preshared_key[5] ^= 1;
	cr_assert(wireguard_initiate(w, 0));
	wg_unit_finish(w);
}

Test(wireguard_refused, all_where_they_are_not_served)
{
	struct wireguard *w = WG_START(1);
	w->h->gateway.common.wireguard = NULL;
	wireguard_prepare(w, 0);
	expect(w, w->clients[0].initiation, WG_INITIATION_SIZE, DROP_TYPE, "initiation");
	cr_assert(harness_up(w->h) && pings(w->h));
	wg_unit_finish(w);
}

/* --- between handshake thread and worker -------------------------------------------------------------------------- */

Test(wireguard_refused, keys_of_a_removed_peer_come_late)
{
	for (unsigned live = 0; live < 2; live++) {
		struct wireguard *w = live != 0 ? WG_UP(1) : WG_START(1);
		uint32_t ids[2];
		uint64_t answers = wg_count(w, STATS_tx_wg_response);
		wireguard_advance(w, NS_PER_S);
		w->h->gateway.held = 1; /* the worker */
		wireguard_prepare(w, 0);
		wireguard_send_initiation(w, 0);
		wireguard_pump(w);
		cr_assert(registry_remove_peer(&w->h->gateway.registry, w->clients[0].identity.keys.public_key, ids));
		w->h->gateway.held = 0;
		wireguard_pump(w);
		cr_assert_eq(wg_count(w, STATS_handshakes_late), 1);
		cr_assert_eq(wg_count(w, STATS_tx_wg_response), answers);
		cr_assert_eq(w->h->gateway.registry.pool.used, 0);
		cr_assert_eq(harness_gateway_worker(w->h, 0)->session_count, 0);
		wg_unit_finish(w);
	}
}

Test(wireguard_refused, more_clients_than_there_may_be_sessions)
{
	struct wireguard *w = WG_START(3, .max_sessions = 2);
	cr_assert(wireguard_initiate(w, 0) && wireguard_initiate(w, 1));
	wireguard_prepare(w, 2);
	wireguard_send_initiation(w, 2);
	wireguard_pump(w);
	cr_assert_eq(wg_drops(w, DROP_NO_ADDRESS), 1);
	cr_assert_eq(w->clients[2].responses, 0);
	wireguard_advance(w, (WG_WIPE_AFTER_S + 1) * NS_PER_S);
	cr_assert(wireguard_initiate(w, 2), "when the others are gone");
	wg_unit_finish(w);
}
