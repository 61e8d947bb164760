// SPDX-License-Identifier: Apache-2.0
/* Each way to lose a packet is counted once, under its own name, and does nothing else. */
#include <sodium.h>

#include "tests/harness/unit.h"

TestSuite(drops, .timeout = 60);

/* What a node has dropped so far, and that since then it dropped `packets` for one reason and none for others. */
static struct stats_snapshot snapshot(const struct node *node)
{
	struct stats_snapshot sum = {0};
	for (size_t i = 0; i < node->stats_count; i++)
		stats_read(node->stats[i], &sum);
	return sum;
}

static void expect_drops(const struct node *node, const struct stats_snapshot *before, enum drop_reason reason,
			 uint64_t packets, const char *what)
{
	struct stats_snapshot after = snapshot(node);
	for (unsigned i = 0; i < DROP_COUNT; i++)
		cr_assert_eq(after.drops[i] - before->drops[i], i == reason ? packets : 0, "%s: %lu as %s", what,
			     after.drops[i] - before->drops[i], drop_infos[i].label);
}

/* --- from the network --------------------------------------------------------------------------------------------- */

static uint32_t data(struct harness *h, const uint8_t *plaintext, uint32_t length, uint8_t *message)
{
	struct session *session = harness_client_session(h, 0);
	return node_seal(&h->clients[0].node, session, session->current, WIRE_DATA, plaintext, length, message);
}

static uint32_t control(struct harness *h, enum wire_type type, uint32_t length, uint8_t *message)
{
	static const uint8_t zeroes[64];
	struct session *session = harness_client_session(h, 0);
	return node_seal(&h->clients[0].node, session, session->current, type, zeroes, length, message);
}

/* A good packet of the client's, to be spoilt. */
static uint32_t good(struct harness *h, uint8_t version, uint8_t *packet)
{
	struct packet_spec spec = harness_spec(h, 0, TO_GATEWAY, version, IPPROTO_UDP);
	return (uint32_t)packet_build(&spec, (const uint8_t *)"text", 4, packet);
}

static uint32_t hello(struct harness *h, uint8_t *message)
{
	struct handshake_initiator initiator;
	uint8_t random[HANDSHAKE_HELLO_RANDOM];
	struct wire_hello payload = {.mtu = HARNESS_MTU, .suites = {AEAD_CHACHA20_POLY1305}};
	wire_timestamp(payload.timestamp, h->clock.wall + NS_PER_S);
	randombytes_buf(random, sizeof random);
	cr_assert(handshake_write_hello(&initiator, &h->clients[0].identity, &h->clients[0].remote, 0, &payload, random,
					message));
	return WIRE_HELLO_SIZE;
}

static void mend_mac1(struct harness *h, uint8_t *message)
{
	mac_compute(message + WIRE_HELLO_MAC1, h->gateway.identity.mac1_key, message, WIRE_HELLO_MAC1);
}

#define MAKE(name) static uint32_t name(struct harness *h, uint8_t *message)

MAKE(nothing)
{
	(void)h, (void)message;
	return 0;
}
MAKE(short_for_any)
{
	return control(h, WIRE_KEEPALIVE, 0, message), WIRE_SMALLEST - 1;
}
MAKE(short_keepalive)
{
	return control(h, WIRE_KEEPALIVE, 0, message) - 1;
}
MAKE(empty_data)
{
	return control(h, WIRE_DATA, 0, message);
}
MAKE(short_bye)
{
	return control(h, WIRE_BYE, 0, message);
}
MAKE(short_hello)
{
	return hello(h, message) - 1;
}
MAKE(long_ack)
{
	return control(h, WIRE_CLIENT_ACK, 1, message);
}
MAKE(long_bye)
{
	return control(h, WIRE_BYE, 2, message);
}
MAKE(long_keepalive)
{
	return control(h, WIRE_KEEPALIVE, 1, message);
}
MAKE(long_hello)
{
	return hello(h, message) + 1;
}
MAKE(hello_version_2)
{
	uint32_t length = hello(h, message);
	message[0] = 0x21;
	return length;
}
MAKE(welcome_version_2)
{
	uint32_t length = hello(h, message);
	message[0] = 0x22;
	return length;
}
MAKE(welcome_to_a_gateway)
{
	uint32_t length = hello(h, message);
	message[0] = 0x12;
	return length;
}
MAKE(type_0)
{
	uint32_t length = control(h, WIRE_KEEPALIVE, 0, message);
	message[0] &= 0xf0;
	return length;
}
MAKE(type_cookie)
{
	uint32_t length = control(h, WIRE_KEEPALIVE, 0, message);
	message[0] = 0x17;
	return length;
}
MAKE(type_15)
{
	uint32_t length = control(h, WIRE_KEEPALIVE, 0, message);
	message[0] |= 0x0f;
	return length;
}
MAKE(other_session)
{
	uint32_t length = control(h, WIRE_KEEPALIVE, 0, message);
	message[1] ^= 0x08;
	return length;
}
MAKE(session_of_29_bits)
{
	uint32_t length = control(h, WIRE_KEEPALIVE, 0, message);
	message[1] ^= 0x10;
	return length;
}
MAKE(session_0)
{
	uint32_t length = control(h, WIRE_KEEPALIVE, 0, message);
	memset(message + 1, 0, 4);
	return length;
}
MAKE(epoch_0)
{
	uint32_t length = control(h, WIRE_KEEPALIVE, 0, message);
	message[1] |= 0x08;
	message[0] &= 0x0f;
	return length;
}
MAKE(next_epoch)
{
	uint32_t length = control(h, WIRE_KEEPALIVE, 0, message);
	message[0] = (uint8_t)(message[0] + 0x10);
	return length;
}
MAKE(forged_counter)
{
	uint32_t length = control(h, WIRE_KEEPALIVE, 0, message);
	message[8] ^= 1;
	return length;
}
MAKE(forged_type)
{
	uint32_t length = control(h, WIRE_KEEPALIVE, 0, message);
	message[0] = (uint8_t)((message[0] & 0xf0) | WIRE_CLIENT_ACK);
	return length;
}
MAKE(forged_text)
{
	uint8_t packet[256];
	uint32_t length = data(h, packet, good(h, 4, packet), message);
	message[WIRE_TRANSPORT_HEADER_SIZE + 20] ^= 0x40;
	return length;
}
MAKE(forged_tag)
{
	uint8_t packet[256];
	uint32_t length = data(h, packet, good(h, 4, packet), message);
	message[length - 1] ^= 0x80;
	return length;
}
MAKE(not_ip)
{
	return data(h, (const uint8_t *)"\x50 this is not an IP packet at all", 32, message);
}
MAKE(one_byte)
{
	return data(h, (const uint8_t *)"\x45", 1, message);
}
MAKE(longer_than_it_says)
{
	uint8_t packet[256] = {0};
	return data(h, packet, good(h, 4, packet) + 1, message);
}
MAKE(ipv6_shorter_than_it_says)
{
	uint8_t packet[256];
	return data(h, packet, good(h, 6, packet) - 1, message);
}
MAKE(source_of_another)
{
	uint8_t packet[256];
	uint32_t length = good(h, 4, packet);
	packet[15]++;
	return data(h, packet, length, message);
}
MAKE(source6_of_another)
{
	uint8_t packet[256];
	uint32_t length = good(h, 6, packet);
	packet[23]++;
	return data(h, packet, length, message);
}
MAKE(to_another_client)
{
	uint8_t packet[256];
	uint32_t length = good(h, 4, packet);
	memcpy(packet + 16, harness_client_session(h, 1)->inner4.address.bytes, 4);
	return data(h, packet, length, message);
}
MAKE(to_another_client6)
{
	uint8_t packet[256];
	uint32_t length = good(h, 6, packet);
	memcpy(packet + 24, harness_client_session(h, 1)->inner6.address.bytes, 16);
	return data(h, packet, length, message);
}
MAKE(to_the_broadcast_address)
{
	uint8_t packet[256];
	uint32_t length = good(h, 4, packet);
	memcpy(packet + 16, "\x0a\x08\x00\xff", 4);
	return data(h, packet, length, message);
}
MAKE(hello_without_mac1)
{
	uint32_t length = hello(h, message);
	message[WIRE_HELLO_MAC1] ^= 1;
	return length;
}
MAKE(hello_with_a_broken_static)
{
	uint32_t length = hello(h, message);
	message[45] ^= 1;
	mend_mac1(h, message);
	return length;
}
MAKE(hello_with_a_broken_payload)
{
	uint32_t length = hello(h, message);
	message[1100] ^= 1;
	mend_mac1(h, message);
	return length;
}
MAKE(hello_with_another_session)
{
	uint32_t length = hello(h, message);
	message[4] ^= 1; /* the header is in the prologue */
	mend_mac1(h, message);
	return length;
}
MAKE(hello_of_the_past)
{
	h->clock.wall -= 10 * NS_PER_S;
	uint32_t length = hello(h, message);
	h->clock.wall += 10 * NS_PER_S;
	return length;
}
MAKE(longer_than_the_buffer)
{
	(void)h;
	memset(message, 0x14, UDP_MESSAGE_MAX + 1);
	return UDP_MESSAGE_MAX + 1;
}

static const struct {
	const char *what;
	uint32_t (*make)(struct harness *h, uint8_t *message);
	enum drop_reason reason;
} uplink_cases[] = {
#define CASE(make, reason)          \
	{                           \
#make, make, reason \
	}
	CASE(nothing, DROP_RUNT),
	CASE(short_for_any, DROP_RUNT),
	CASE(short_keepalive, DROP_RUNT),
	CASE(empty_data, DROP_RUNT),
	CASE(short_bye, DROP_RUNT),
	CASE(short_hello, DROP_RUNT),
	CASE(long_ack, DROP_OVERSIZED),
	CASE(long_bye, DROP_OVERSIZED),
	CASE(long_keepalive, DROP_OVERSIZED),
	CASE(long_hello, DROP_OVERSIZED),
	CASE(hello_version_2, DROP_VERSION),
	CASE(welcome_version_2, DROP_VERSION),
	CASE(welcome_to_a_gateway, DROP_TYPE),
	CASE(type_0, DROP_TYPE),
	CASE(type_cookie, DROP_TYPE),
	CASE(type_15, DROP_TYPE),
	CASE(other_session, DROP_SESSION),
	CASE(session_of_29_bits, DROP_SESSION),
	CASE(session_0, DROP_SESSION),
	CASE(epoch_0, DROP_TYPE), /* WireGuard's, and its reserved bytes are not zero */
	CASE(next_epoch, DROP_EPOCH),
	CASE(forged_counter, DROP_FORGED),
	CASE(forged_type, DROP_FORGED),
	CASE(forged_text, DROP_FORGED),
	CASE(forged_tag, DROP_FORGED),
	CASE(not_ip, DROP_INNER_MALFORMED),
	CASE(one_byte, DROP_INNER_MALFORMED),
	CASE(longer_than_it_says, DROP_INNER_MALFORMED),
	CASE(ipv6_shorter_than_it_says, DROP_INNER_MALFORMED),
	CASE(source_of_another, DROP_INNER_SOURCE),
	CASE(source6_of_another, DROP_INNER_SOURCE),
	CASE(to_another_client, DROP_INNER_DESTINATION),
	CASE(to_another_client6, DROP_INNER_DESTINATION),
	CASE(to_the_broadcast_address, DROP_INNER_DESTINATION),
	CASE(hello_without_mac1, DROP_MAC1),
	CASE(hello_with_a_broken_static, DROP_HANDSHAKE_FORGED),
	CASE(hello_with_a_broken_payload, DROP_HANDSHAKE_FORGED),
	CASE(hello_with_another_session, DROP_HANDSHAKE_FORGED),
	CASE(hello_of_the_past, DROP_STALE),
	CASE(longer_than_the_buffer, DROP_TRUNCATED),
#undef CASE
};

static uint8_t message[UDP_MESSAGE_MAX + 64];

Test(drops, each_reason_at_the_gateway_counts_one)
{
	struct harness *h = START_UP(.clients = 2);
	for (size_t i = 0; i < ARRAY_SIZE(uplink_cases); i++) {
		const char *what = uplink_cases[i].what;
		struct stats_snapshot before = snapshot(&h->gateway.node);
		struct session session = *harness_gateway_session(h, 0);
		uint32_t length = uplink_cases[i].make(h, message);
		impairment_forge(&h->gateway.node, &h->clients[0].node, message, length);
		harness_pump(h);
		expect_drops(&h->gateway.node, &before, uplink_cases[i].reason, 1, what);
		cr_assert_eq(gateway_count(h, STATS_udp_rx_packets) - before.counters[STATS_udp_rx_packets], 1);
		/* A late one may come from a client with a wrong clock: it gets a COOKIE. */
		unsigned answers = uplink_cases[i].reason == DROP_STALE;
		cr_assert_eq(gateway_count(h, STATS_udp_tx_packets) - before.counters[STATS_udp_tx_packets], answers,
			     "%s is answered", what);
		cr_assert_eq(node_waiting(&h->gateway.node), 0, "%s reaches the TUN", what);
		cr_assert_eq(session_is_active(harness_gateway_session(h, 0)), session_is_active(&session), "%s", what);
		cr_assert_eq(h->gateway.role.pending, 0, "%s makes a session", what);
		check(h);
	}
	cr_assert(pings(h), "and nothing happened to the session");
	finish(h);
}

Test(drops, the_second_time_is_a_replay)
{
	struct harness *h = START_UP(0);
	struct impairment *impairment = impairment_new(h, 1);
	impairment->types = 1 << WIRE_DATA | 1 << WIRE_BYE;
	impairment->keep = true;
	cr_assert(pings(h));
	struct stats_snapshot gateway = snapshot(&h->gateway.node), client = snapshot(&h->clients[0].node);
	impairment_replay(impairment, 0);
	impairment_replay(impairment, 1);
	harness_pump(h);
	expect_drops(&h->gateway.node, &gateway, DROP_REPLAY, 1, "DATA again");
	expect_drops(&h->clients[0].node, &client, DROP_REPLAY, 1, "DATA again");
	cr_assert_eq(node_waiting(&h->gateway.node) + node_waiting(&h->clients[0].node), 0);
	impairment_free(impairment);
	finish(h);
}

/* A train is dropped datagram by datagram. */
Test(drops, a_train_counts_by_datagram)
{
	struct harness *h = START_UP(0);
	struct stats_snapshot before = snapshot(&h->gateway.node);
	memset(message, 0x14, 1000);
	struct udp_message train = {
		.data = message,
		.length = 1000,
		.segment_size = 300,
		.endpoint = {.remote = h->clients[0].node.link.address, .local = h->gateway_address.sin6_addr},
	};
	cr_assert(link_inject(&h->gateway.node.link, &train));
	harness_pump(h);
	expect_drops(&h->gateway.node, &before, DROP_SESSION, 4, "train");
	finish(h);
}

/* The first is answered, the same ones behind it are stale. */
Test(drops, the_same_hello_is_answered_once)
{
	enum { COUNT = 50 };
	struct harness *h = START_UP(0);
	struct stats_snapshot before = snapshot(&h->gateway.node);
	hello(h, message);
	for (unsigned i = 1; i < COUNT; i++)
		memcpy(message + i * WIRE_HELLO_SIZE, message, WIRE_HELLO_SIZE);
	struct udp_message train = {
		.data = message,
		.length = COUNT * WIRE_HELLO_SIZE,
		.segment_size = WIRE_HELLO_SIZE,
		.endpoint = {.remote = network_address("198.51.100.99", 9), .local = h->gateway_address.sin6_addr},
	};
	cr_assert(link_inject(&h->gateway.node.link, &train));
	harness_pump(h);
	struct stats_snapshot after = snapshot(&h->gateway.node);
	cr_assert_eq(after.counters[STATS_rx_hello] - before.counters[STATS_rx_hello], 1);
	cr_assert_eq(after.drops[DROP_STALE] - before.drops[DROP_STALE], COUNT - 1);
	cr_assert(pings(h));
	finish(h);
}

static void expect_at_client(struct harness *h, const uint8_t *bytes, uint32_t length, enum drop_reason reason,
			     const char *what)
{
	struct stats_snapshot before = snapshot(&h->clients[0].node);
	impairment_forge(&h->clients[0].node, &h->gateway.node, bytes, length);
	harness_pump(h);
	expect_drops(&h->clients[0].node, &before, reason, 1, what);
	cr_assert_eq(node_waiting(&h->clients[0].node), 0, "%s", what);
}

static uint32_t from_gateway(struct harness *h, enum wire_type type, const uint8_t *plaintext, uint32_t length)
{
	struct session *session = harness_gateway_session(h, 0);
	return node_seal(&h->gateway.node, session, session->current, type, plaintext, length, message);
}

Test(drops, each_reason_at_the_client_counts_one)
{
	struct harness *h = START_UP(0);
	uint8_t packet[256];
	expect_at_client(h, message, hello(h, message), DROP_TYPE, "HELLO");
	expect_at_client(h, message, from_gateway(h, WIRE_CLIENT_ACK, packet, 0), DROP_TYPE, "CLIENT_ACK");
	memset(message, 0x12, WIRE_WELCOME_MAX + 1);
	expect_at_client(h, message, WIRE_WELCOME_MIN - 1, DROP_RUNT, "short WELCOME");
	expect_at_client(h, message, WIRE_WELCOME_MAX + 1, DROP_OVERSIZED, "long WELCOME");
	expect_at_client(h, message, WIRE_WELCOME_MIN, DROP_UNEXPECTED, "WELCOME without a HELLO");

	harness_allow(h, 0, (const char *const[]){"203.0.113.0/24", "2001:db8::/32"}, 2);
	struct packet_spec spec = harness_spec(h, 0, TO_CLIENT, 4, IPPROTO_UDP);
	cr_assert(pings(h), "203.0.113.9 is allowed");
	spec.source[2]++;
	uint32_t length = (uint32_t)packet_build(&spec, NULL, 0, packet);
	expect_at_client(h, message, from_gateway(h, WIRE_DATA, packet, length), DROP_INNER_SOURCE, "not AllowedIPs");
	spec.source[2]--;
	spec.destination[3]++;
	length = (uint32_t)packet_build(&spec, NULL, 0, packet);
	expect_at_client(h, message, from_gateway(h, WIRE_DATA, packet, length), DROP_INNER_DESTINATION, "not to us");
	cr_assert(pings(h));
	finish(h);
}

/* --- WELCOME ------------------------------------------------------------------------------------------------------ */

/* Answers a HELLO as the gateway would, but with this payload. */
static uint32_t answer(struct harness *h, const uint8_t *hello_message, const struct wire_welcome *welcome)
{
	struct handshake_responder responder;
	uint8_t client_key[KEY_SIZE], static_static[KEY_SIZE];
	struct noise_keypair ephemeral;
	struct wire_hello payload;
	struct noise_keys secrets;
	cr_assert(handshake_read_static(&responder, &h->gateway.identity, hello_message, client_key));
	cr_assert(noise_dh(h->gateway.identity.keys.private_key, client_key, static_static));
	cr_assert(handshake_read_payload(&responder, static_static, hello_message, &payload));
	randombytes_buf(ephemeral.private_key, sizeof ephemeral.private_key);
	noise_public_key(ephemeral.private_key, ephemeral.public_key);
	return (uint32_t)handshake_write_welcome(&responder, h->clients[0].remote.preshared_key, welcome, &ephemeral,
						 message, &secrets);
}

Test(drops, a_refused_welcome_changes_nothing)
{
	struct harness *h = START(0);
	struct impairment *impairment = lose(h, 1 << WIRE_HELLO);
	impairment->keep = true;
	harness_connect(h, 0);
	harness_pump(h);
	const uint8_t *asked = impairment->kept[0].message.data;
	struct wire_welcome good_one = {
		.session_id = 7, .suite = AEAD_CHACHA20_POLY1305, .epoch = 1, .mtu = 1420, .session_timeout = 60};
	cr_assert(ip_prefix_parse("10.8.0.9/24", &good_one.address4));

	struct wire_welcome bad = good_one;
	bad.suite = 3;
	expect_at_client(h, message, answer(h, asked, &bad), DROP_PAYLOAD, "unknown suite");
	bad.suite = 0;
	expect_at_client(h, message, answer(h, asked, &bad), DROP_PAYLOAD, "suite 0");
	bad = good_one;
	bad.epoch = 0;
	expect_at_client(h, message, answer(h, asked, &bad), DROP_HANDSHAKE_FORGED, "epoch 0");
	bad.epoch = 16;
	expect_at_client(h, message, answer(h, asked, &bad), DROP_HANDSHAKE_FORGED, "epoch 16");
	bad = good_one;
	bad.mtu = WIRE_MTU_MIN - 1;
	expect_at_client(h, message, answer(h, asked, &bad), DROP_HANDSHAKE_FORGED, "MTU");
	bad = good_one;
	bad.address4 = (struct ip_prefix){0};
	expect_at_client(h, message, answer(h, asked, &bad), DROP_HANDSHAKE_FORGED, "no address");
	uint32_t length = answer(h, asked, &good_one);
	message[1] ^= 1;
	expect_at_client(h, message, length, DROP_HANDSHAKE_FORGED, "two session IDs");
	message[1] ^= 1;
	message[length - 1] ^= 1;
	expect_at_client(h, message, length, DROP_HANDSHAKE_FORGED, "tag");
	cr_assert_eq(h->clients[0].role.state, CLIENT_HANDSHAKE);

	impairment_replay(impairment, 0);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP, "the good one is still taken");
	cr_assert_eq(client_count(h, STATS_tx_hello), 1);
	impairment_free(impairment);
	finish(h);
}

/* --- from and to the TUN ------------------------------------------------------------------------------------------ */

static void expect_from_tun(struct harness *h, const uint8_t *packet, size_t length, enum drop_reason reason,
			    const char *what)
{
	struct stats_snapshot before = snapshot(&h->gateway.node);
	node_put_packet(&h->gateway.node, packet, length);
	harness_pump(h);
	expect_drops(&h->gateway.node, &before, reason, 1, what);
	cr_assert_eq(gateway_count(h, STATS_tun_rx_packets) - before.counters[STATS_tun_rx_packets], 1, "%s", what);
	check(h);
}

Test(drops, each_reason_on_the_way_out_counts_one)
{
	struct harness *h = START_UP(0);
	uint8_t packet[2000];
	struct packet_spec spec = harness_spec(h, 0, TO_CLIENT, 4, IPPROTO_UDP);
	size_t length = packet_build(&spec, message, 100, packet);
	expect_from_tun(h, packet, 0, DROP_OUT_MALFORMED, "no packet");
	expect_from_tun(h, packet, 19, DROP_OUT_MALFORMED, "half a header");
	expect_from_tun(h, packet, length - 1, DROP_OUT_MALFORMED, "shorter than it says");
	expect_from_tun(h, (const uint8_t *)"\x70 neither 4 nor 6, whatever", 28, DROP_OUT_MALFORMED, "version 7");
	length = packet_build(&spec, message, HARNESS_MTU - 28, packet);
	node_put_packet(&h->gateway.node, packet, length);
	harness_pump(h);
	cr_assert_not_null(node_take_packet(&h->clients[0].node, &length), "exactly the MTU fits");
	length = packet_build(&spec, message, HARNESS_MTU - 27, packet);
	expect_from_tun(h, packet, length, DROP_OUT_TOO_BIG, "one byte too long");
	spec.destination[3]++;
	length = packet_build(&spec, message, 100, packet);
	expect_from_tun(h, packet, length, DROP_OUT_NO_SESSION, "a free address");
	spec.destination[0] = 99;
	length = packet_build(&spec, message, 100, packet);
	expect_from_tun(h, packet, length, DROP_OUT_NO_SESSION, "not in the pool");
	spec = harness_spec(h, 0, TO_CLIENT, 6, IPPROTO_UDP);
	spec.destination[8] ^= 1;
	length = packet_build(&spec, message, 100, packet);
	expect_from_tun(h, packet, length, DROP_OUT_NO_SESSION, "IPv6, not in the pool");
	finish(h);
}

Test(drops, what_the_tun_refuses_counts_by_packet)
{
	struct harness *h = START_UP(0);
	static uint8_t frame[TUN_FRAME_MAX];
	struct packet_spec spec = harness_spec(h, 0, TO_GATEWAY, 4, IPPROTO_TCP);
	size_t length = packet_build_frame(&spec, message, 10 * 1000, 1000, frame);
	struct stats_snapshot before = snapshot(&h->gateway.node);
	h->gateway.node.tun.write_error = -ENOBUFS;
	node_put_frame(&h->clients[0].node, frame, length);
	harness_pump(h);
	expect_drops(&h->gateway.node, &before, DROP_TUN_WRITE, 10, "TUN");
	cr_assert_eq(gateway_count(h, STATS_tun_tx_packets), before.counters[STATS_tun_tx_packets]);
	cr_assert(pings(h));
	finish(h);
}
