// SPDX-License-Identifier: Apache-2.0
/* What our own clients get, WireGuard clients get too: isolation, networks behind them, limits, quotas, too-big
 * messages, clamped segments, figures. */
#include "tests/unit/wireguard_unit.h"

TestSuite(wireguard_features, .timeout = 60);

enum { PACKET = 2048, SIZE = 1000, KBITS = 8000 /* a byte each µs */, BURST = 4 * SIZE };

static const uint8_t zeros[PACKET];

/* The first client is listed with something besides. */
static struct wireguard *start(struct harness_options options, const struct registry_peer *also)
{
	struct wireguard *w = wg_unit_start(2, options);
	uint32_t ids[2];
	cr_assert(registry_remove_peer(&w->h->gateway.registry, w->clients[0].identity.keys.public_key, ids));
	cr_assert_eq(wireguard_list(w, 0, also), 0);
	cr_assert(wireguard_up(w));
	wireguard_advance(w, NS_PER_S);
	return w;
}

static uint32_t build(const struct packet_spec *spec, uint32_t length, uint8_t packet[PACKET])
{
	return (uint32_t)packet_build(spec, zeros, length - packet_header_length(spec), packet);
}

/* --- between clients ---------------------------------------------------------------------------------------------- */

Test(wireguard_features, clients_of_both_kinds_reach_each_other_only_if_that_is_configured)
{
	for (unsigned allowed = 0; allowed < 2; allowed++) {
		struct wireguard *w = WG_UP(2, .client_to_client = allowed != 0);
		struct harness *h = w->h;
		uint8_t packet[PACKET];
		cr_assert(harness_up(h));
		const uint8_t *others[] = {wireguard_session(w, 1)->inner4.address.bytes,
					   harness_gateway_session(h, 0)->inner4.address.bytes};
		for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
			struct packet_spec spec = wireguard_spec(w, 0, TO_GATEWAY, 4, IPPROTO_UDP);
			memcpy(spec.destination, others[i], 4);
			wireguard_send(w, 0, packet, build(&spec, 100, packet));
			wireguard_pump(w);
			cr_assert_eq(node_waiting(&h->gateway.node), allowed);
			(void)node_take(&h->gateway.node);
			cr_assert_eq(wg_drops(w, DROP_INNER_DESTINATION), allowed != 0 ? 0 : i + 1);
		}
		wg_unit_finish(w);
	}
}

Test(wireguard_features, a_client_sends_from_its_own_address_alone)
{
	struct wireguard *w = WG_UP(2);
	uint8_t packet[PACKET];
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct packet_spec spec = wireguard_spec(w, 1, TO_GATEWAY, version, IPPROTO_UDP);
		wireguard_send(w, 0, packet, build(&spec, 100, packet));
		wireguard_pump(w);
	}
	cr_assert_eq(wg_drops(w, DROP_INNER_SOURCE), 2);
	cr_assert_eq(node_waiting(&w->h->gateway.node), 0);
	wg_unit_finish(w);
}

Test(wireguard_features, a_network_behind_a_client)
{
	static const uint8_t host[4] = {192, 168, 7, 9};
	struct ip_prefix network;
	cr_assert(ip_prefix_parse("192.168.7.0/24", &network));
	struct wireguard *w = start((struct harness_options){0},
				    &(struct registry_peer){.networks = &network, .network_count = 1});
	uint8_t packet[PACKET];
	struct packet_spec to = wireguard_spec(w, 0, TO_CLIENT, 4, IPPROTO_UDP);
	struct packet_spec from = wireguard_spec(w, 0, TO_GATEWAY, 4, IPPROTO_UDP);
	memcpy(to.destination, host, sizeof host);
	memcpy(from.source, host, sizeof host);
	node_put_packet(&w->h->gateway.node, packet, build(&to, 100, packet));
	wireguard_pump(w);
	struct wireguard_packet *got = wireguard_take(w, 0);
	cr_assert(got != NULL && got->length == 100);
	free(got);
	wireguard_send(w, 0, packet, build(&from, 100, packet));
	wireguard_send(w, 1, packet, build(&from, 100, packet));
	wireguard_pump(w);
	cr_assert_eq(node_waiting(&w->h->gateway.node), 1, "and is no other's");
	cr_assert_eq(wg_drops(w, DROP_INNER_SOURCE), 1);
	wireguard_advance(w, 200 * NS_PER_S);
	cr_assert(wireguard_initiate(w, 0));
	node_put_packet(&w->h->gateway.node, packet, build(&to, 100, packet));
	wireguard_pump(w);
	got = wireguard_take(w, 0);
	cr_assert_not_null(got, "after new keys too");
	free(got);
	wg_unit_finish(w);
}

/* --- sizes -------------------------------------------------------------------------------------------------------- */

Test(wireguard_features, what_is_too_long_is_told_so)
{
	struct wireguard *w = WG_UP(1);
	struct node *gateway = &w->h->gateway.node;
	uint8_t packet[PACKET];
	size_t length;
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct packet_spec spec = wireguard_spec(w, 0, TO_CLIENT, version, IPPROTO_UDP);
		spec.dont_fragment = true;
		node_put_packet(gateway, packet, build(&spec, HARNESS_MTU, packet));
		wireguard_pump(w);
		struct wireguard_packet *got = wireguard_take(w, 0);
		cr_assert(got != NULL && got->length == HARNESS_MTU);
		free(got);
		node_put_packet(gateway, packet, build(&spec, HARNESS_MTU + 1, packet));
		wireguard_pump(w);
		cr_assert_eq(wireguard_waiting(w), 0);
		const uint8_t *answer = node_take_packet(gateway, &length);
		cr_assert_not_null(answer);
		cr_assert_eq(version == 4 ? answer[20] : answer[40], version == 4 ? 3 : 2, "type of the ICMP message");
		cr_assert_eq(load_be16(answer + (version == 4 ? 26 : 46)), HARNESS_MTU);
	}
	cr_assert_eq(wg_drops(w, DROP_OUT_TOO_BIG), 2);
	wg_unit_finish(w);
}

/* 4 bytes of option in front of nothing else. */
static struct packet_spec syn(struct packet_spec spec)
{
	static const uint8_t mss[4] = {2, 4, 1460 >> 8, 1460 & 0xff};
	spec.protocol = IPPROTO_TCP;
	spec.tcp_flags = TEST_TCP_SYN;
	memcpy(spec.tcp_options, mss, sizeof mss);
	spec.tcp_options_length = sizeof mss;
	return spec;
}

Test(wireguard_features, segments_are_clamped_both_ways)
{
	enum { MSS_AT = 20 + 20 + 2 };
	struct wireguard *w = WG_UP(1);
	struct node *gateway = &w->h->gateway.node;
	uint8_t packet[PACKET];
	size_t length;
	struct packet_spec spec = syn(wireguard_spec(w, 0, TO_GATEWAY, 4, IPPROTO_TCP));
	wireguard_send(w, 0, packet, build(&spec, 44, packet));
	wireguard_pump(w);
	const uint8_t *got = node_take_packet(gateway, &length);
	cr_assert(got != NULL && packet_is_right(got, length));
	cr_assert_eq(load_be16(got + MSS_AT), HARNESS_MTU - 40);
	spec = syn(wireguard_spec(w, 0, TO_CLIENT, 4, IPPROTO_TCP));
	node_put_packet(gateway, packet, build(&spec, 44, packet));
	wireguard_pump(w);
	struct wireguard_packet *down = wireguard_take(w, 0);
	cr_assert(down != NULL && packet_is_right(down->data, down->length));
	cr_assert_eq(load_be16(down->data + MSS_AT), HARNESS_MTU - 40);
	free(down);
	wg_unit_finish(w);
}

/* --- limits ------------------------------------------------------------------------------------------------------- */

static void put(struct wireguard *w, enum direction direction, size_t client)
{
	uint8_t packet[PACKET];
	struct packet_spec spec = wireguard_spec(w, client, direction, 4, IPPROTO_UDP);
	uint32_t length = build(&spec, SIZE, packet);
	if (direction == TO_GATEWAY)
		wireguard_send(w, client, packet, length);
	else
		node_put_packet(&w->h->gateway.node, packet, length);
}

/* How many came out. */
static unsigned take(struct wireguard *w, enum direction direction, size_t client)
{
	unsigned count = 0;
	if (direction == TO_GATEWAY) {
		while (node_take(&w->h->gateway.node) != NULL)
			count++;
		return count;
	}
	for (struct wireguard_packet *packet; (packet = wireguard_take(w, client)) != NULL; count++)
		free(packet);
	return count;
}

static void check_rate(enum direction direction)
{
	struct peer_limits limits = {.burst = BURST};
	*(direction == TO_GATEWAY ? &limits.up : &limits.down) = KBITS;
	struct wireguard *w = start((struct harness_options){.no_offloads = true},
				    &(struct registry_peer){.limits = limits});
	for (unsigned i = 0; i < 50; i++)
		put(w, direction, 0);
	wireguard_pump(w);
	unsigned got = take(w, direction, 0);
	cr_assert_eq(got, BURST / SIZE + 1);
	put(w, direction, 1);
	wireguard_pump(w);
	cr_assert_eq(take(w, direction, 1), 1, "the other has no limit");
	for (unsigned ms = 1; ms <= 60; ms++) {
		for (unsigned half = 0; half < 2; half++) {
			w->h->clock.monotonic += NS_PER_MS / 2;
			wireguard_pump(w);
		}
		got += take(w, direction, 0);
		cr_assert_leq(got, BURST / SIZE + 2 + ms, "after %u ms", ms);
	}
	cr_assert_eq(got, 50, "all came, at the rate");
	wg_unit_finish(w);
}

Test(wireguard_features, rates)
{
	check_rate(TO_GATEWAY);
	check_rate(TO_CLIENT);
}

Test(wireguard_features, a_quota)
{
	struct wireguard *w = start((struct harness_options){0},
				    &(struct registry_peer){.limits = {.quota = 10 * SIZE + 1}});
	for (unsigned i = 0; i < 8; i++) {
		put(w, TO_GATEWAY, 0);
		put(w, TO_CLIENT, 0);
		wireguard_pump(w);
	}
	cr_assert_eq(take(w, TO_GATEWAY, 0) + take(w, TO_CLIENT, 0), 11, "to the packet, both ways together");
	cr_assert_eq(wg_drops(w, DROP_QUOTA_UP) + wg_drops(w, DROP_QUOTA_DOWN), 5);
	wireguard_advance(w, 120 * NS_PER_S);
	cr_assert(wireguard_initiate(w, 0), "the session lives on");
	put(w, TO_GATEWAY, 0);
	wireguard_pump(w);
	cr_assert_eq(take(w, TO_GATEWAY, 0), 0);
	wg_unit_finish(w);
}

/* --- what is shown ------------------------------------------------------------------------------------------------ */

Test(wireguard_features, the_session_s_figures)
{
	struct wireguard *w = WG_UP(1);
	for (unsigned i = 0; i < 5; i++) {
		put(w, TO_GATEWAY, 0);
		put(w, TO_CLIENT, 0);
		put(w, TO_CLIENT, 0);
		wireguard_pump(w);
	}
	const struct session_view *view = &wireguard_session(w, 0)->view;
	cr_assert(view->rx_packets == 5 && view->rx_bytes == 5 * SIZE, "without padding");
	cr_assert(view->tx_packets == 10 && view->tx_bytes == 10 * SIZE);
	cr_assert_eq(view->suite, AEAD_WIREGUARD);
	cr_assert_eq(view->received, w->h->clock.monotonic);
	(void)take(w, TO_GATEWAY, 0);
	wg_unit_finish(w);
}
