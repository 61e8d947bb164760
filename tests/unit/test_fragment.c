// SPDX-License-Identifier: Apache-2.0
/* Fragments of IPv4 packets, put together again: alone, and through the tunnel. */
#include "tun/fragment.h"

#include "tests/harness/unit.h"

TestSuite(fragment, .timeout = 60);

enum { LONGEST = 65535 };

static uint8_t message[LONGEST], packet[LONGEST], original[LONGEST], whole[LONGEST];

static uint16_t word(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint8_t ip_length(const uint8_t *ip)
{
	return (uint8_t)((ip[0] & 15) * 4);
}

/* Puts a fragment's payload where it belongs in `whole`; returns how many bytes. Its header is right. */
static uint32_t place(const uint8_t *fragment, uint32_t length, uint32_t mtu, bool *last)
{
	uint32_t header = ip_length(fragment), field = word(fragment + 6);
	cr_assert_leq(length, mtu);
	cr_assert_eq(word(fragment + 2), length);
	cr_assert_eq(packet_sum(fragment, header), 0xffff);
	*last = (field & 0x2000) == 0;
	if (!*last)
		cr_assert_eq((length - header) % 8, 0);
	memcpy(whole + (field & 0x1fff) * 8, fragment + header, length - header);
	return length - header;
}

static void fragments_are_the_packet(const struct packet_spec *spec, uint32_t payload, uint32_t mtu)
{
	uint32_t length = (uint32_t)packet_build(spec, message, payload, packet);
	uint32_t header = ip_length(packet), got = 0, count = 0, part;
	uint8_t *fragment;
	bool last = false;
	memcpy(original, packet, length);
	struct fragmenter fragmenter;
	fragment_start(&fragmenter, packet, length, ip_length(packet), mtu);
	for (; fragment_next(&fragmenter, &fragment, &part); count++) {
		cr_assert_not(last);
		got += place(fragment, part, mtu, &last);
		cr_assert_eq(memcmp(fragment + 4, original + 4, 2), 0, "the same ID");
		cr_assert_eq(memcmp(fragment + 8, original + 8, 2), 0, "TTL and protocol");
		cr_assert_eq(memcmp(fragment + 12, original + 12, 8), 0, "addresses");
	}
	cr_assert(last);
	cr_assert_eq(count, fragment_count(length, header, mtu));
	cr_assert_eq(got, length - header);
	cr_assert_eq(memcmp(whole, original + header, got), 0);
}

Test(fragment, whatever_is_cut_can_be_put_together)
{
	struct random random = {1};
	random_fill(&random, message, sizeof message);
	for (unsigned i = 0; i < 2000; i++) {
		struct packet_spec spec = packet_spec_plain(4, IPPROTO_UDP, 1);
		spec.dont_fragment = false;
		spec.ip_options_length = (uint8_t)(random_below(&random, 11) * 4);
		memset(spec.ip_options, 1, sizeof spec.ip_options);
		uint32_t mtu = 68 + random_below(&random, 1500);
		uint32_t payload = mtu + random_below(&random, 4 * mtu);
		fragments_are_the_packet(&spec, payload, mtu);
	}
}

Test(fragment, only_the_first_has_options_that_are_not_to_be_copied)
{
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_UDP, 1);
	/* Record route (not copied), router alert (copied), and one that says it is longer than there is room. */
	const uint8_t options[12] = {7, 3, 4, 0x94, 4, 0, 0, 1, 68, 40, 0, 0};
	const uint8_t expected[12] = {1, 1, 1, 0x94, 4, 0, 0, 1, 68, 40, 0, 0};
	memcpy(spec.ip_options, options, sizeof options);
	spec.ip_options_length = sizeof options;
	uint32_t length = (uint32_t)packet_build(&spec, message, 1000, packet);
	struct fragmenter fragmenter;
	uint8_t *fragment;
	fragment_start(&fragmenter, packet, length, ip_length(packet), 400);
	cr_assert(fragment_next(&fragmenter, &fragment, &length));
	cr_expect_eq(memcmp(fragment + 20, options, sizeof options), 0);
	cr_assert(fragment_next(&fragmenter, &fragment, &length));
	cr_expect_eq(memcmp(fragment + 20, expected, sizeof expected), 0);
}

Test(fragment, a_fragment_can_be_cut_again)
{
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_UDP, 1);
	uint32_t length = (uint32_t)packet_build(&spec, message, 1000, packet), got = 0;
	packet[6] = 0x20 | 1, packet[7] = 2; /* more follow it; it starts at 258 * 8 */
	struct fragmenter fragmenter;
	uint8_t *fragment;
	bool last;
	fragment_start(&fragmenter, packet, length, ip_length(packet), 300);
	while (fragment_next(&fragmenter, &fragment, &length)) {
		cr_expect_eq(word(fragment + 6) & 0x1fff, 258 + got / 8);
		got += place(fragment, length, 300, &last);
		cr_expect_not(last);
	}
	cr_expect_eq(got, 1008);
}

/* --- through the tunnel ------------------------------------------------------------------------------------------- */

static uint32_t arrives(struct harness *h, uint32_t *packets)
{
	uint32_t got = 0;
	bool last = false;
	size_t length;
	for (const uint8_t *fragment; (fragment = node_take_packet(&h->clients[0].node, &length)) != NULL; ++*packets)
		got += place(fragment, (uint32_t)length, HARNESS_MTU, &last);
	cr_assert(last);
	return got;
}

Test(fragment, a_long_packet_reaches_the_client_in_pieces)
{
	struct harness *h = START_UP(0);
	struct packet_spec spec = harness_spec(h, 0, TO_CLIENT, 4, IPPROTO_UDP);
	spec.dont_fragment = false;
	uint64_t before = gateway_count(h, STATS_tun_rx_packets);
	size_t length = packet_build(&spec, message, 3 * HARNESS_MTU, packet);
	memcpy(original, packet, length);
	node_put_packet(&h->gateway.node, packet, length);
	harness_pump(h);
	uint32_t packets = 0;
	cr_assert_eq(arrives(h, &packets), length - 20);
	cr_assert_eq(memcmp(whole, original + 20, length - 20), 0);
	cr_assert_eq(packets, fragment_count((uint32_t)length, 20, HARNESS_MTU));
	cr_assert_eq(gateway_count(h, STATS_tun_rx_packets) - before, packets);
	cr_assert_eq(node_drops(&h->gateway.node, DROP_OUT_TOO_BIG), 0);
	finish(h);
}

Test(fragment, so_does_each_of_a_super_packet)
{
	struct harness *h = START_UP(0);
	struct packet_spec spec = harness_spec(h, 0, TO_CLIENT, 4, IPPROTO_UDP);
	spec.dont_fragment = false;
	static uint8_t frame[TUN_FRAME_MAX];
	uint64_t before = gateway_count(h, STATS_tun_rx_packets);
	/* Three datagrams too long by a little, and one that is not. */
	size_t length = packet_build_frame(&spec, message, 3 * HARNESS_MTU + 100, HARNESS_MTU, frame);
	node_put_frame(&h->gateway.node, frame, length);
	harness_pump(h);
	cr_assert_eq(gateway_count(h, STATS_tun_rx_packets) - before, 7);
	cr_assert_eq(node_counter(&h->clients[0].node, STATS_tun_tx_packets), 7);
	finish(h);
}
