// SPDX-License-Identifier: Apache-2.0
/* Data of a WireGuard client through the gateway, both ways. What is dropped is in test_wireguard_drops.c. */
#include "tests/unit/wireguard_by_hand.h"

TestSuite(wireguard_path, .timeout = 60);

enum { PACKET = 2048 };

static uint8_t payload[TUN_PACKET_MAX];

static void *filled(void *bytes, size_t length, uint64_t seed)
{
	struct random random = {.state = seed};
	random_fill(&random, bytes, length);
	return bytes;
}

/* A packet of `length` bytes from the client, or to it. */
static uint32_t build(const struct packet_spec *spec, uint32_t length, uint8_t packet[PACKET])
{
	uint32_t header = (uint32_t)packet_header_length(spec);
	return (uint32_t)packet_build(spec, payload, length - header, packet);
}

static uint32_t padded(uint32_t length)
{
	uint32_t to = (length + 15) / 16 * 16;
	return to < HARNESS_MTU ? to : HARNESS_MTU;
}

static void expect_at_tun(struct wg_client *wg, const uint8_t *packet, uint32_t length)
{
	size_t got_length = 0;
	const uint8_t *got = node_take_packet(&wg->h->gateway.node, &got_length);
	cr_assert_not_null(got, "%u bytes", length);
	cr_assert_eq(got_length, length);
	cr_assert_arr_eq(got, packet, length);
	cr_assert_eq(node_waiting(&wg->h->gateway.node), 0);
}

/* --- up ----------------------------------------------------------------------------------------------------------- */

Test(wireguard_path, the_first_packet_confirms_the_key_and_nothing_is_answered)
{
	struct wg_client *wg = wg_start((struct harness_options){0});
	uint8_t packet[PACKET] = {0};
	uint32_t length = build(&wg->to_gateway4, 100, packet);
	const struct session *session = wg_session(wg);
	cr_assert_eq(session->next->dialect, &dialect_wireguard);
	wg_send(wg, packet, padded(length));
	cr_assert_null(session->next);
	cr_assert_eq(session->current->dialect, &dialect_wireguard);
	cr_assert_eq(session->current->epoch, WG_EPOCH);
	cr_assert_eq(session->view.suite, AEAD_WIREGUARD);
	expect_at_tun(wg, packet, length);
	cr_assert_eq(wg->kept_count, 0);
	wg_finish(wg);
}

/* Padded to 16, not at all, or more than that: the packet's own header says where it ends. */
Test(wireguard_path, packets_of_every_size_arrive_without_their_padding)
{
	struct wg_client *wg = WG_START_UP(0);
	uint8_t packet[PACKET];
	filled(payload, sizeof payload, 3);
	for (unsigned version = 4; version <= 6; version += 2) {
		const struct packet_spec *spec = version == 4 ? &wg->to_gateway4 : &wg->to_gateway6;
		for (uint32_t length = version == 4 ? 28 : 48; length <= HARNESS_MTU; length += 1 + length % 3) {
			memset(packet, 0, sizeof packet);
			cr_assert_eq(build(spec, length, packet), length);
			uint32_t sizes[] = {padded(length), length, length + 100};
			for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
				wg_send(wg, packet, sizes[i]);
				expect_at_tun(wg, packet, length);
			}
			memset(packet + length, 0xee, 16);
			wg_send(wg, packet, padded(length));
			expect_at_tun(wg, packet, length);
		}
	}
	wg_finish(wg);
}

Test(wireguard_path, tcp_segments_become_a_super_packet)
{
	enum { COUNT = 10, SIZE = 1000 };
	struct wg_client *wg = WG_START_UP(0);
	struct packet_spec spec = wg->to_gateway4;
	uint8_t train[COUNT * (SIZE + 100)];
	uint32_t length = 0, step = 0;
	filled(payload, sizeof payload, 4);
	spec.protocol = IPPROTO_TCP;
	for (uint32_t i = 0; i < COUNT; i++) {
		uint8_t packet[PACKET] = {0};
		uint32_t bytes = (uint32_t)packet_build(&spec, payload + i * SIZE, SIZE, packet);
		step = wg_seal(wg, packet, padded(bytes), train + length);
		length += step;
		spec.sequence += SIZE;
		spec.id++;
	}
	struct udp_message message = {
		.data = train,
		.length = length,
		.segment_size = (uint16_t)step,
		.endpoint = {.remote = wg->address, .local = wg->h->gateway_address.sin6_addr},
	};
	cr_assert(link_inject(&wg->h->gateway.node.link, &message));
	harness_pump(wg->h);
	const struct frame *frame = node_take(&wg->h->gateway.node);
	cr_assert_not_null(frame);
	cr_assert_eq(frame->length, VNET_HEADER_SIZE + 40 + COUNT * SIZE);
	cr_assert_arr_eq(frame->data + VNET_HEADER_SIZE + 40, payload, COUNT * SIZE);
	cr_assert_eq(node_waiting(&wg->h->gateway.node), 0, "one frame");
	wg_finish(wg);
}

Test(wireguard_path, a_keepalive_is_accepted_and_wakes_no_key)
{
	struct wg_client *wg = WG_START_UP(0);
	cr_assert_not(transport_key_is_live(wg_session(wg)->current));
	uint64_t before = gateway_count(wg->h, STATS_rx_keepalive), control = gateway_count(wg->h, STATS_rx_control);
	wg->h->clock.monotonic += NS_PER_S;
	wg_send(wg, NULL, 0);
	cr_assert_eq(gateway_count(wg->h, STATS_rx_keepalive), before + 1);
	cr_assert_eq(gateway_count(wg->h, STATS_rx_control), control + 1);
	cr_assert_eq(wg_session(wg)->received, wg->h->clock.monotonic, "the session lives");
	cr_assert_not(transport_key_is_live(wg_session(wg)->current));
	cr_assert_eq(node_waiting(&wg->h->gateway.node), 0);
	cr_assert_eq(wg->kept_count, 0);
	wg_finish(wg);
}

/* --- down --------------------------------------------------------------------------------------------------------- */

/* Opens a message as the client does: the packet's bytes come to lie behind the header. Returns how many. */
static uint32_t open_at_client(struct wg_client *wg, uint8_t *message, uint32_t length)
{
	static const uint8_t start[8] = {4, 0, 0, 0, 0xc1, 0x1e, 0x47, 0x03};
	struct message_head head;
	struct aead_op op;
	cr_assert_geq(length, WG_DATA_MIN);
	cr_assert_arr_eq(message, start, sizeof start);
	wg_head_read(&head, message);
	transport_open_op(&op, &head, message, length);
	transport_open(wg->engine, wg->key, &op, 1);
	cr_assert(op.authentic);
	cr_assert_neq(transport_accept(wg->engine, wg->key, &op), REPLAY_REJECT);
	return op.length;
}

static bool all_zero(const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

Test(wireguard_path, packets_to_the_client_are_padded_to_16_but_not_beyond_the_mtu)
{
	struct wg_client *wg = WG_START_UP(0);
	uint8_t packet[PACKET];
	uint64_t counter = 0;
	filled(payload, sizeof payload, 5);
	for (unsigned version = 4; version <= 6; version += 2) {
		const struct packet_spec *spec = version == 4 ? &wg->to_client4 : &wg->to_client6;
		for (uint32_t length = version == 4 ? 28 : 48; length <= HARNESS_MTU; length++) {
			build(spec, length, packet);
			node_put_packet(&wg->h->gateway.node, packet, length);
			harness_pump(wg->h);
			cr_assert_eq(wg->kept_count, 1);
			uint8_t *message = wg->kept[0].data;
			cr_assert_eq(wg->kept[0].length, 32 + padded(length), "%u bytes", length);
			cr_assert_eq(load_le64(message + 8), counter++);
			cr_assert_eq(open_at_client(wg, message, wg->kept[0].length), padded(length));
			cr_assert_arr_eq(message + 16, packet, length);
			cr_assert(all_zero(message + 16 + length, padded(length) - length), "%u bytes", length);
			wg_forget(wg);
		}
	}
	wg_finish(wg);
}

/* The padding of one segment lies where the payload of the next one does. */
static void send_super_packet(struct wg_client *wg, uint8_t protocol, uint32_t size, uint32_t bytes)
{
	static uint8_t frame[TUN_FRAME_MAX];
	struct packet_spec spec = wg->to_client4;
	spec.protocol = protocol;
	uint32_t header = protocol == IPPROTO_TCP ? 40 : 28, at = 0;
	node_put_frame(&wg->h->gateway.node, frame, packet_build_frame(&spec, payload, bytes, (uint16_t)size, frame));
	harness_pump(wg->h);
	for (size_t i = 0; i < wg->kept_count; i++) {
		struct udp_datagrams datagrams = udp_datagrams(&wg->kept[i]);
		while (udp_datagrams_next(&datagrams)) {
			uint32_t own = bytes - at < size ? bytes - at : size;
			cr_assert_eq(open_at_client(wg, datagrams.data, datagrams.length), padded(header + own));
			cr_assert(packet_is_right(datagrams.data + 16, header + own), "checksums and lengths");
			cr_assert_arr_eq(datagrams.data + 16 + header, payload + at, own);
			cr_assert(all_zero(datagrams.data + 16 + header + own, padded(header + own) - header - own));
			at += own;
		}
	}
	cr_assert_eq(at, bytes, "%u of %u", at, bytes);
	wg_forget(wg);
}

Test(wireguard_path, super_packets_are_cut_and_padded)
{
	struct wg_client *wg = WG_START_UP(0);
	static const uint32_t sizes[] = {100, 519, 1000, 1001, 1380};
	filled(payload, sizeof payload, 6);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (unsigned full = 1; full <= 40; full += 13) {
			send_super_packet(wg, IPPROTO_TCP, sizes[i], full * sizes[i] + 7);
			send_super_packet(wg, IPPROTO_UDP, sizes[i], full * sizes[i] + 8);
		}
	}
	wg_finish(wg);
}

/* Through a queue in which packets of all sizes lie one behind the other. */
Test(wireguard_path, packets_that_waited_are_as_they_were)
{
	enum { COUNT = 40 };
	struct wg_client *wg = WG_START_UP(.limits[0] = {.down = 4000});
	static uint8_t packets[COUNT][PACKET];
	uint32_t lengths[COUNT], got = 0;
	filled(payload, sizeof payload, 7);
	for (uint32_t i = 0; i < COUNT; i++) {
		struct packet_spec spec = wg->to_client4;
		spec.id = (uint16_t)i;
		lengths[i] = build(&spec, 28 + 30 * i, packets[i]);
		node_put_packet(&wg->h->gateway.node, packets[i], lengths[i]);
	}
	harness_pump(wg->h);
	for (unsigned ms = 0; ms < 400 && got < COUNT; ms++) {
		for (size_t i = 0; i < wg->kept_count; i++) {
			struct udp_datagrams datagrams = udp_datagrams(&wg->kept[i]);
			while (udp_datagrams_next(&datagrams)) {
				cr_assert_eq(open_at_client(wg, datagrams.data, datagrams.length),
					     padded(lengths[got]));
				cr_assert_arr_eq(datagrams.data + 16, packets[got], lengths[got]);
				got++;
			}
		}
		wg_forget(wg);
		pass_ms(wg->h, 1);
	}
	cr_assert_eq(got, COUNT, "%u", got);
	cr_assert_gt(gateway_count(wg->h, STATS_limited_packets), 0, "some had to wait");
	wg_finish(wg);
}

Test(wireguard_path, a_keepalive_follows_data_that_was_not_answered)
{
	struct wg_client *wg = WG_START_UP(0);
	uint8_t packet[PACKET] = {0};
	uint32_t length = build(&wg->to_gateway4, 100, packet);
	wg_send(wg, packet, padded(length));
	expect_at_tun(wg, packet, length);
	uint64_t before = gateway_count(wg->h, STATS_tx_keepalive);
	harness_advance(wg->h, SESSION_KEEPALIVE_NS - WORKER_TICK_NS);
	cr_assert_eq(wg->kept_count, 0);
	harness_advance(wg->h, 2 * WORKER_TICK_NS);
	cr_assert_eq(wg->kept_count, 1);
	cr_assert_eq(wg->kept[0].length, WG_DATA_MIN);
	cr_assert_eq(open_at_client(wg, wg->kept[0].data, wg->kept[0].length), 0);
	cr_assert_eq(gateway_count(wg->h, STATS_tx_keepalive), before + 1);
	wg_finish(wg);
}

/* --- where the client is ------------------------------------------------------------------------------------------ */

static bool is_at(const struct wg_client *wg, struct sockaddr_in6 address)
{
	const struct endpoint *endpoint = &wg_session(wg)->endpoint;
	return endpoint->remote.sin6_port == address.sin6_port &&
	       memcmp(&endpoint->remote.sin6_addr, &address.sin6_addr, sizeof address.sin6_addr) == 0;
}

Test(wireguard_path, the_newest_packet_moves_the_endpoint_at_once)
{
	struct wg_client *wg = WG_START_UP(0);
	struct sockaddr_in6 home = wg->address, away = network_address("198.51.100.200", 1234);
	uint8_t late[WG_DATA_MIN], packet[PACKET] = {0};
	wg_send(wg, packet, build(&wg->to_gateway4, 100, packet)); /* so that there is a replay window */
	(void)node_take(&wg->h->gateway.node);
	uint32_t length = build(&wg->to_client4, 1000, packet);
	wg_seal(wg, NULL, 0, late);
	wg->address = away;
	wg_send(wg, NULL, 0);
	cr_assert(is_at(wg, away));
	cr_assert_eq(gateway_count(wg->h, STATS_roams), 1);
	cr_assert_eq(wg_session(wg)->view.roams, 1);
	cr_assert_eq(wg->kept_count, 0, "no ping");
	for (unsigned i = 0; i < 20; i++) {
		node_put_packet(&wg->h->gateway.node, packet, length);
		harness_pump(wg->h);
	}
	cr_assert_eq(gateway_count(wg->h, STATS_udp_tx_data), 20, "nor a limit");
	harness_advance(wg->h, 2 * SESSION_PATH_NS);
	cr_assert(is_at(wg, away), "for good");

	wg->address = home;
	uint64_t accepted = gateway_count(wg->h, STATS_rx_keepalive);
	wg_inject(wg, late, sizeof late);
	cr_assert_eq(gateway_count(wg->h, STATS_rx_keepalive), accepted + 1);
	cr_assert(is_at(wg, away), "what comes late from elsewhere moves nothing");
	wg_send(wg, NULL, 0);
	cr_assert(is_at(wg, home));
	wg_finish(wg);
}

Test(wireguard_path, a_key_is_confirmed_from_anywhere)
{
	struct wg_client *wg = wg_start((struct harness_options){0});
	wg->address = network_address("198.51.100.200", 1234);
	wg_send(wg, NULL, 0);
	cr_assert(is_at(wg, wg->address));
	cr_assert_eq(wg_session(wg)->path_deadline, 0);
	cr_assert_eq(wg->kept_count, 0);
	wg_finish(wg);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

Test(wireguard_path, a_session_ends_without_a_word)
{
	struct wg_client *wg = WG_START_UP(.reset = true);
	uint8_t packet[PACKET] = {0};
	cr_assert(harness_remove_peer(wg->h, 0));
	harness_pump(wg->h);
	cr_assert_eq(gateway_count(wg->h, STATS_sessions_ended), 1);
	cr_assert_eq(wg->kept_count, 0, "no BYE");
	wg_send(wg, packet, padded(build(&wg->to_gateway4, 100, packet)));
	cr_assert_eq(gateway_drops(wg->h, DROP_SESSION), 1);
	cr_assert_eq(wg->kept_count, 0, "no RESET");
	wg_finish(wg);
}

Test(wireguard_path, a_key_ends_after_180_seconds)
{
	struct wg_client *wg = WG_START_UP(.session_timeout = 1000);
	uint8_t packet[PACKET];
	uint32_t length = build(&wg->to_client4, 100, packet);
	harness_advance(wg->h, 180 * NS_PER_S - WORKER_TICK_NS);
	node_put_packet(&wg->h->gateway.node, packet, length);
	harness_pump(wg->h);
	cr_assert_eq(wg->kept_count, 1);
	harness_advance(wg->h, 2 * WORKER_TICK_NS);
	node_put_packet(&wg->h->gateway.node, packet, length);
	harness_pump(wg->h);
	cr_assert_eq(gateway_drops(wg->h, DROP_OUT_NO_KEY), 1);
	wg_send(wg, NULL, 0);
	cr_assert_eq(gateway_drops(wg->h, DROP_EPOCH), 1);
	wg_finish(wg);
}
