// SPDX-License-Identifier: Apache-2.0
/* What of a WireGuard client's messages is dropped, under which name; and that nothing else comes of it. */
#include "tests/unit/wireguard_by_hand.h"

TestSuite(wireguard_drops, .timeout = 60);

enum { LONGEST = 2048 };

static uint32_t good_packet(const struct packet_spec *spec, uint8_t *packet)
{
	return (uint32_t)packet_build(spec, (const uint8_t *)"text", 4, packet);
}

static struct stats_snapshot snapshot(const struct wg_client *wg)
{
	struct stats_snapshot sum = {0};
	const struct node *node = &wg->h->gateway.node;
	for (size_t i = 0; i < node->stats_count; i++)
		stats_read(node->stats[i], &sum);
	return sum;
}

/* One message comes: it is dropped for this reason, and is not answered. DROP_NONE: it is accepted. */
static void expect(struct wg_client *wg, uint8_t *message, uint32_t length, enum drop_reason reason, const char *what)
{
	struct stats_snapshot before = snapshot(wg);
	wg_inject(wg, message, length);
	struct stats_snapshot after = snapshot(wg);
	for (unsigned i = 0; i < DROP_COUNT; i++)
		cr_assert_eq(after.drops[i] - before.drops[i], i == reason, "%s: %lu as %s", what,
			     after.drops[i] - before.drops[i], drop_infos[i].label);
	cr_assert_eq(after.counters[STATS_udp_tx_packets], before.counters[STATS_udp_tx_packets], "%s is answered",
		     what);
	if (reason != DROP_NONE)
		cr_assert_eq(node_waiting(&wg->h->gateway.node), 0, "%s reaches the TUN", what);
	check(wg->h);
}

static void expect_sealed(struct wg_client *wg, const uint8_t *plaintext, uint32_t length, enum drop_reason reason,
			  const char *what)
{
	uint8_t message[LONGEST + WG_DATA_MIN];
	expect(wg, message, wg_seal(wg, plaintext, length, message), reason, what);
}

/* Whether the session still works. */
static void expect_alive(struct wg_client *wg)
{
	uint8_t packet[256] = {0};
	expect_sealed(wg, packet, good_packet(&wg->to_gateway4, packet), DROP_NONE, "a good one");
	size_t length;
	cr_assert_not_null(node_take_packet(&wg->h->gateway.node, &length));
	cr_assert_eq(node_waiting(&wg->h->gateway.node), 0);
}

Test(wireguard_drops, lengths_below_that_of_a_keepalive)
{
	struct wg_client *wg = WG_START_UP(.reset = true);
	uint8_t message[WG_DATA_MIN];
	wg_seal(wg, NULL, 0, message);
	for (uint32_t length = 0; length < WG_DATA_MIN; length++)
		expect(wg, message, length, DROP_RUNT, "short");
	expect(wg, message, WG_DATA_MIN, DROP_NONE, "32 bytes are a keepalive");
	expect(wg, message, WG_DATA_MIN, DROP_REPLAY, "again");
	expect_alive(wg);
	wg_finish(wg);
}

Test(wireguard_drops, types_and_reserved_bytes)
{
	struct wg_client *wg = WG_START_UP(.reset = true);
	uint8_t message[WG_DATA_MIN];
	wg_seal(wg, NULL, 0, message);
	for (unsigned type = 0; type < 16; type++) {
		message[0] = (uint8_t)type;
		if (type == 0 || type > 4)
			expect(wg, message, sizeof message, DROP_TYPE, "unknown type");
	}
	message[0] = 4;
	for (unsigned bit = 0; bit < 24; bit++) {
		message[1 + bit / 8] ^= (uint8_t)(1 << bit % 8);
		expect(wg, message, sizeof message, DROP_TYPE, "a reserved bit");
		message[1 + bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	expect(wg, message, sizeof message, DROP_NONE, "as it was");
	wg_finish(wg);
}

/* Their lengths are checked; none is answered yet. */
Test(wireguard_drops, handshakes)
{
	static const uint32_t sizes[] = {[1] = 148, [2] = 92, [3] = 64};
	for (unsigned handshakers = 1; handshakers <= 3; handshakers++) {
		struct wg_client *wg = WG_START_UP(.reset = true, .handshakers = handshakers);
		uint8_t message[149] = {0};
		for (unsigned type = 1; type <= 3; type++) {
			for (unsigned index = 0; index < 4; index++) {
				message[0] = (uint8_t)type;
				message[7] = message[11] = (uint8_t)index;
				expect(wg, message, sizes[type], DROP_TYPE, "right length");
				expect(wg, message, sizes[type] - 1, DROP_RUNT, "too short");
				expect(wg, message, sizes[type] + 1, DROP_OVERSIZED, "too long");
			}
		}
		expect_alive(wg);
		wg_finish(wg);
	}
}

Test(wireguard_drops, indexes_that_name_no_key)
{
	struct wg_client *wg = WG_START_UP(.reset = true);
	uint32_t id = wg_session(wg)->id;
	uint8_t message[WG_DATA_MIN];
	for (unsigned epoch = 0; epoch < 16; epoch++) {
		wg->key->receiver = wg_index(id, epoch);
		wg_seal(wg, NULL, 0, message);
		if (epoch != WG_EPOCH)
			expect(wg, message, sizeof message, DROP_EPOCH, "another epoch");
	}
	for (unsigned bit = 0; bit < 28; bit++) {
		wg->key->receiver = wg_index(id ^ 1u << bit, WG_EPOCH);
		wg_seal(wg, NULL, 0, message);
		expect(wg, message, sizeof message, DROP_SESSION, "another session");
	}
	wg->key->receiver = 0;
	wg_seal(wg, NULL, 0, message);
	expect(wg, message, sizeof message, DROP_SESSION, "index 0");
	wg->key->receiver = wg_index(id, WG_EPOCH);
	expect_alive(wg);
	wg_finish(wg);
}

/* A session's keys are of one protocol: messages of the other one find them, and are not opened. */
Test(wireguard_drops, messages_of_the_other_protocol)
{
	struct wg_client *wg = WG_START_UP(.clients = 2, .reset = true);
	uint8_t message[WIRE_OVERHEAD + 64] = {0};
	for (unsigned type = WIRE_CLIENT_ACK; type <= WIRE_KEEPALIVE; type++) {
		wire_transport_header(message, WG_EPOCH, (enum wire_type)type, wg_session(wg)->id, 0);
		uint32_t length = type == WIRE_BYE ? 26 : type == WIRE_DATA ? 80 : 25;
		expect(wg, message, length, DROP_PROTOCOL, "ours, for a session of WireGuard's");
	}
	const struct session *other = harness_gateway_session(wg->h, 1);
	uint64_t opened = other->current->opened;
	wg->key->receiver = wg_index(other->id, other->current->epoch);
	expect_sealed(wg, NULL, 0, DROP_PROTOCOL, "WireGuard's, for a session of ours");
	cr_assert_eq(other->current->opened, opened);
	wg->key->receiver = wg_index(wg_session(wg)->id, WG_EPOCH);
	expect_alive(wg);
	wg_finish(wg);
}

/* In one batch, and the same session and epoch: what is collected for one protocol is not taken for the other's. */
Test(wireguard_drops, messages_of_the_other_protocol_in_one_train)
{
	struct wg_client *wg = WG_START_UP(.reset = true);
	uint8_t train[6 * WG_DATA_MIN];
	for (size_t i = 0; i < 6; i++) {
		uint8_t *message = train + i * WG_DATA_MIN;
		wg_seal(wg, NULL, 0, message);
		if (i % 2 != 0)
			wire_transport_header(message, WG_EPOCH, WIRE_DATA, wg_session(wg)->id, (uint32_t)i);
	}
	struct udp_message message = {
		.data = train,
		.length = sizeof train,
		.segment_size = WG_DATA_MIN,
		.endpoint = {.remote = wg->address, .local = wg->h->gateway_address.sin6_addr},
	};
	uint64_t keepalives = gateway_count(wg->h, STATS_rx_keepalive);
	cr_assert(link_inject(&wg->h->gateway.node.link, &message));
	harness_pump(wg->h);
	cr_assert_eq(gateway_count(wg->h, STATS_rx_keepalive) - keepalives, 3);
	cr_assert_eq(gateway_drops(wg->h, DROP_PROTOCOL), 3);
	wg_finish(wg);
}

Test(wireguard_drops, forgeries_and_replays)
{
	struct wg_client *wg = WG_START_UP(.reset = true);
	uint8_t packet[256] = {0}, message[LONGEST];
	uint32_t length = wg_seal(wg, packet, good_packet(&wg->to_gateway4, packet), message);
	for (uint32_t at = WG_DATA_COUNTER; at < length; at++) {
		uint8_t forged[LONGEST];
		memcpy(forged, message, length);
		forged[at] ^= 0x40;
		expect(wg, forged, length, DROP_FORGED, "one bit");
	}
	expect(wg, message, length, DROP_NONE, "the true one");
	(void)node_take(&wg->h->gateway.node);
	wg_seal(wg, packet, good_packet(&wg->to_gateway4, packet), message);
	wg->key->send_counter = 1ull << 40;
	expect_alive(wg);
	expect(wg, message, length, DROP_REPLAY, "far behind");
	wg->key->send_counter = WG_REJECT_AFTER_MESSAGES;
	expect_sealed(wg, NULL, 0, DROP_REPLAY, "a counter beyond the last one");
	wg->key->send_counter = (1ull << 40) + 1;
	expect_alive(wg);
	wg_finish(wg);
}

Test(wireguard_drops, what_is_no_packet)
{
	struct wg_client *wg = WG_START_UP(.reset = true);
	uint8_t packet[LONGEST] = {0};
	for (uint32_t length = 1; length < 20; length++) {
		packet[0] = 0x45;
		expect_sealed(wg, packet, length, DROP_INNER_MALFORMED, "half a header");
	}
	memset(packet, 0, sizeof packet);
	expect_sealed(wg, packet, 64, DROP_INNER_MALFORMED, "padding alone");
	for (unsigned version = 4; version <= 6; version += 2) {
		const struct packet_spec *spec = version == 4 ? &wg->to_gateway4 : &wg->to_gateway6;
		memset(packet, 0, sizeof packet);
		uint32_t length = good_packet(spec, packet);
		for (uint32_t left = 1; left < length; left++)
			expect_sealed(wg, packet, left, DROP_INNER_MALFORMED, "longer than the data");
		store_be16(packet + (version == 4 ? IPV4_AT_LENGTH : IPV6_AT_LENGTH), 0xffff);
		expect_sealed(wg, packet, 64, DROP_INNER_MALFORMED, "much longer than the data");
	}
	(void)good_packet(&wg->to_gateway4, packet);
	store_be16(packet + IPV4_AT_LENGTH, 19);
	expect_sealed(wg, packet, 32, DROP_INNER_MALFORMED, "shorter than its header");
	packet[0] = 0x75;
	expect_sealed(wg, packet, 32, DROP_INNER_MALFORMED, "version 7");
	expect_alive(wg);
	wg_finish(wg);
}

Test(wireguard_drops, what_is_not_the_client_s)
{
	struct wg_client *wg = WG_START_UP(.clients = 2, .reset = true);
	const struct session *other = harness_gateway_session(wg->h, 1);
	uint8_t packet[256] = {0};
	struct packet_spec spec = wg->to_gateway4;
	memcpy(spec.source, other->inner4.address.bytes, 4);
	expect_sealed(wg, packet, good_packet(&spec, packet), DROP_INNER_SOURCE, "another client's address");
	spec = wg->to_gateway6;
	memcpy(spec.source, other->inner6.address.bytes, 16);
	expect_sealed(wg, packet, good_packet(&spec, packet), DROP_INNER_SOURCE, "another client's IPv6 address");
	spec = wg->to_gateway4;
	memcpy(spec.destination, other->inner4.address.bytes, 4);
	expect_sealed(wg, packet, good_packet(&spec, packet), DROP_INNER_DESTINATION, "to another client");
	expect_alive(wg);
	wg_finish(wg);
}

/* --- several workers ---------------------------------------------------------------------------------------------- */

/* Behind data of ours, in a GRO batch: what is for another worker reaches it. */
Test(wireguard_drops, a_train_is_taken_apart)
{
	for (unsigned workers = 1; workers <= 3; workers++) {
		struct wg_client *wg = WG_START_UP(.clients = 6, .workers = workers, .reader = true,
						   .no_offloads = true);
		struct harness *h = wg->h;
		size_t other = 1;
		while (workers > 1 &&
		       harness_owner(h, harness_gateway_session(h, other)->id) == harness_owner(h, wg_session(wg)->id))
			cr_assert_lt(++other, 6);
		uint8_t inner[256] = {0}, train[4 * 128] = {0};
		struct session *first = harness_client_session(h, other);
		uint32_t length = (uint32_t)harness_echo(h, other, TO_GATEWAY, 4, 1, 128 - WIRE_OVERHEAD - 28, inner);
		cr_assert_eq(node_seal(&h->clients[other].node, first, first->current, WIRE_DATA, inner, length, train),
			     128);
		for (size_t i = 1; i < 4; i++) {
			uint8_t padded[256] = {0};
			(void)good_packet(&wg->to_gateway4, padded);
			cr_assert_eq(wg_seal(wg, padded, 96, train + i * 128), 128);
		}
		train[3 * 128 + 4] ^= 0x08; /* of a session that there is not */
		uint64_t before = gateway_count(h, STATS_handed_over);
		struct udp_message message = {
			.data = train,
			.length = sizeof train,
			.segment_size = 128,
			.endpoint = {.remote = wg->address, .local = h->gateway_address.sin6_addr},
		};
		cr_assert(link_inject(&h->gateway.node.link, &message));
		harness_pump(h);
		cr_assert_eq(gateway_count(h, STATS_handed_over) - before, workers > 1 ? 2 : 0, "%u workers", workers);
		cr_assert_eq(gateway_drops(h, DROP_SESSION), 1);
		cr_assert_eq(node_waiting(&h->gateway.node), 3);
		while (node_take(&h->gateway.node) != NULL)
			continue;
		wg_finish(wg);
	}
}
