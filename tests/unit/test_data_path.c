// SPDX-License-Identifier: Apache-2.0
/* What goes into one TUN comes out of the other: sizes, super-packets, ECN, and a socket that does not take everything.
 * What is dropped on the way is in test_drops.c. */
#include "tests/harness/unit.h"

static uint8_t payload[TUN_PACKET_MAX];

static void fill_payload(void)
{
	struct random random = {.state = 11};
	random_fill(&random, payload, sizeof payload);
}
TestSuite(data_path, .init = fill_payload, .timeout = 60);

static struct node *sender(struct harness *h, enum direction direction)
{
	return direction == TO_GATEWAY ? &h->clients[0].node : &h->gateway.node;
}

static struct node *receiver(struct harness *h, enum direction direction)
{
	return direction == TO_GATEWAY ? &h->gateway.node : &h->clients[0].node;
}

/* --- packets ------------------------------------------------------------------------------------------------------ */

/* An echo request of each size; growing ones are never merged, ICMP neither. */
Test(data_path, packets_of_every_size_arrive_as_they_were)
{
	enum { BATCH = 40 };
	static uint8_t sent[BATCH][HARNESS_MTU];
	size_t lengths[BATCH];
	struct harness *h = START_UP(0);
	for (unsigned round = 0; round < 4; round++) {
		enum direction direction = round % 2 ? TO_CLIENT : TO_GATEWAY;
		uint8_t version = round / 2 ? 6 : 4;
		size_t most = HARNESS_MTU - (version == 4 ? 28 : 48), size = 0;
		while (size <= most) {
			size_t count = 0;
			for (; count < BATCH && size <= most; count++, size += size < 40 || size > 1300 ? 1 : 7) {
				lengths[count] = harness_echo(h, 0, direction, version, (uint16_t)size, size,
							      sent[count]);
				node_put_packet(sender(h, direction), sent[count], lengths[count]);
			}
			harness_pump(h);
			for (size_t i = 0; i < count; i++) {
				size_t length = 0;
				const uint8_t *got = node_take_packet(receiver(h, direction), &length);
				cr_assert_not_null(got);
				cr_assert_eq(length, lengths[i]);
				cr_assert_eq(memcmp(got, sent[i], length), 0, "IPv%u, %zu bytes", version, length);
			}
			cr_assert_eq(node_waiting(receiver(h, direction)), 0);
		}
	}
	finish(h);
}

/* What the TUN gave as one frame with a partial checksum comes out of the other TUN as the same frame. */
static void send_frame(struct harness *h, enum direction direction, uint8_t version, uint8_t protocol,
		       uint32_t segments, uint32_t size, uint32_t last)
{
	static uint8_t frame[TUN_FRAME_MAX];
	struct packet_spec spec = harness_spec(h, 0, direction, version, protocol);
	size_t bytes = (segments - 1) * size + last;
	size_t length = packet_build_frame(&spec, payload, bytes, segments > 1 ? (uint16_t)size : 0, frame);
	uint64_t packets = node_counter(receiver(h, direction), STATS_tun_tx_packets);
	node_put_frame(sender(h, direction), frame, length);
	harness_pump(h);
	const struct frame *got = node_take(receiver(h, direction));
	cr_assert_not_null(got, "IPv%u protocol %u, %u of %u", version, protocol, segments, size);
	cr_assert_eq(node_waiting(receiver(h, direction)), 0, "one frame: IPv%u protocol %u, %u of %u", version,
		     protocol, segments, size);
	cr_assert_eq(node_counter(receiver(h, direction), STATS_tun_tx_packets) - packets, segments);
	if (segments > 1) {
		cr_assert_eq(got->length, length);
		cr_assert_eq(memcmp(got->data, frame, length), 0, "IPv%u protocol %u, %u of %u", version, protocol,
			     segments, size);
	} else {
		cr_assert(packet_is_right(got->data + VNET_HEADER_SIZE, got->length - VNET_HEADER_SIZE));
	}
}

static void send_frames(struct harness *h, enum direction direction, uint8_t version, uint8_t protocol)
{
	struct packet_spec spec = harness_spec(h, 0, direction, version, protocol);
	uint32_t header = (uint32_t)packet_header_length(&spec), full = HARNESS_MTU - header;
	static const uint32_t counts[] = {1, 2, 3, 16, 17, 33, 40};
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		send_frame(h, direction, version, protocol, counts[i], full, full);
		send_frame(h, direction, version, protocol, counts[i], full, 1);
		send_frame(h, direction, version, protocol, counts[i], 500, 499);
	}
	send_frame(h, direction, version, protocol, 64, 900, 900);
	send_frame(h, direction, version, protocol, (TUN_PACKET_MAX - 40) / full, full, full);
}

Test(data_path, super_packets_arrive_as_super_packets)
{
	struct harness *h = START_UP(0);
	for (unsigned i = 0; i < 8; i++)
		send_frames(h, i & 1 ? TO_CLIENT : TO_GATEWAY, i & 2 ? 6 : 4, i & 4 ? IPPROTO_TCP : IPPROTO_UDP);
	finish(h);
}

/* More than 64 datagrams are two trains of near-equal size, and one frame again on the other side. */
Test(data_path, a_super_packet_of_more_than_64_packets_takes_several_trains)
{
	struct harness *h = START_UP(0);
	struct impairment *impairment = impairment_new(h, 1);
	impairment->types = 1 << WIRE_DATA;
	impairment->keep = true;
	send_frame(h, TO_GATEWAY, 4, IPPROTO_TCP, 100, 536, 536);
	cr_assert_eq(impairment->kept_count, 2);
	cr_assert_eq(impairment->kept[0].message.length, 50 * (536 + 40 + WIRE_OVERHEAD));
	cr_assert_eq(impairment->kept[1].message.length, 50 * (536 + 40 + WIRE_OVERHEAD));
	impairment_free(impairment);
	finish(h);
}

/* Puts everything that came out as TCP packets end to end, whatever frames it came in. */
static size_t stream(struct node *node, uint8_t *bytes, uint32_t first_sequence)
{
	const struct frame *frame;
	size_t end = 0;
	while ((frame = node_take(node)) != NULL) {
		const uint8_t *packet = frame->data + VNET_HEADER_SIZE;
		size_t header = 20 + 20, length = frame->length - VNET_HEADER_SIZE - header;
		size_t at = load_be32(packet + 20 + TCP_AT_SEQUENCE) - first_sequence;
		memcpy(bytes + at, packet + header, length);
		end += length;
	}
	return end;
}

Test(data_path, a_smaller_session_mtu_cuts_tcp_smaller_and_keeps_the_bytes)
{
	static uint8_t frame[TUN_FRAME_MAX], bytes[TUN_PACKET_MAX];
	struct harness *h = START_UP(.mtu = 1280);
	struct packet_spec spec = harness_spec(h, 0, TO_CLIENT, 4, IPPROTO_TCP);
	size_t length = packet_build_frame(&spec, payload, 50000, 1380, frame);
	node_put_frame(&h->gateway.node, frame, length);
	harness_pump(h);
	cr_assert_eq(client_count(h, STATS_tun_tx_packets), (50000 + 1239) / 1240);
	cr_assert_eq(stream(&h->clients[0].node, bytes, spec.sequence), 50000);
	cr_assert_eq(memcmp(bytes, payload, 50000), 0);
	finish(h);
}

/* Neither GSO, GRO nor the TUN's offloads: packets, one by one. */
Test(data_path, without_any_offload_the_bytes_are_the_same)
{
	static uint8_t frame[TUN_FRAME_MAX], bytes[TUN_PACKET_MAX];
	for (unsigned off = 0; off < 8; off++) {
		struct harness *h = START_UP(.no_offloads = off & 4);
		struct node *nodes[] = {&h->gateway.node, &h->clients[0].node};
		for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
			nodes[i]->link.base.gso = !(off & 1);
			nodes[i]->link.base.gro = !(off & 2);
		}
		for (unsigned direction = 0; direction < 2; direction++) {
			struct packet_spec spec = harness_spec(h, 0, (enum direction)direction, 4, IPPROTO_TCP);
			size_t length = packet_build_frame(&spec, payload, 60000, 1380, frame);
			struct node *to = receiver(h, (enum direction)direction);
			node_put_frame(sender(h, (enum direction)direction), frame, length);
			harness_pump(h);
			cr_assert_eq(node_counter(to, STATS_tun_tx_packets), 44);
			cr_assert_eq(stream(to, bytes, spec.sequence), 60000, "offloads %u", off);
			cr_assert_eq(memcmp(bytes, payload, 60000), 0, "offloads %u", off);
			if (off & 4)
				cr_assert_eq(node_counter(to, STATS_tun_tx_frames), 44);
		}
		finish(h);
	}
}

Test(data_path, small_packets_of_one_session_share_a_train)
{
	struct harness *h = START_UP(0);
	uint8_t packet[256];
	uint64_t calls = client_count(h, STATS_udp_tx_calls), packets = client_count(h, STATS_udp_tx_packets);
	for (uint16_t i = 0; i < 30; i++)
		node_put_packet(&h->clients[0].node, packet, harness_echo(h, 0, TO_GATEWAY, 4, i, 100, packet));
	harness_pump(h);
	cr_assert_eq(client_count(h, STATS_udp_tx_packets) - packets, 30);
	cr_assert_eq(client_count(h, STATS_udp_tx_calls) - calls, 1);
	cr_assert_eq(gateway_count(h, STATS_tun_tx_packets), 30);
	finish(h);
}

Test(data_path, late_and_doubled_datagrams_arrive_once_each)
{
	enum { COUNT = 400 };
	struct harness *h = START_UP(0);
	struct impairment *impairment = impairment_new(h, 3);
	impairment->types = 1 << WIRE_DATA;
	impairment->delay = 30;
	impairment->repeat = 30;
	unsigned arrived[COUNT] = {0};
	for (unsigned i = 0; i < COUNT; i++) {
		uint8_t packet[256];
		node_put_packet(&h->clients[0].node, packet,
				harness_echo(h, 0, TO_GATEWAY, 4, (uint16_t)i, 20, packet));
		harness_pump(h);
		if (i % 10 == 9)
			impairment_release(impairment);
		harness_pump(h);
		const struct frame *frame;
		while ((frame = node_take(&h->gateway.node)) != NULL)
			arrived[load_be16(frame->data + VNET_HEADER_SIZE + 26)]++;
	}
	for (unsigned i = 0; i < COUNT; i++)
		cr_assert_eq(arrived[i], 1, "packet %u: %u times", i, arrived[i]);
	cr_assert_gt(node_drops(&h->gateway.node, DROP_REPLAY), COUNT / 10);
	impairment_free(impairment);
	finish(h);
}

Test(data_path, clients_reach_each_other_only_when_that_is_configured)
{
	for (unsigned allowed = 0; allowed < 2; allowed++) {
		struct harness *h = START_UP(.clients = 2, .client_to_client = allowed);
		uint8_t packet[256];
		struct packet_spec spec = harness_spec(h, 0, TO_GATEWAY, 4, IPPROTO_UDP);
		memcpy(spec.destination, harness_client_session(h, 1)->inner4.address.bytes, 4);
		size_t length = packet_build(&spec, payload, 100, packet);
		node_put_packet(&h->clients[0].node, packet, length);
		harness_pump(h);
		const uint8_t *at_gateway = node_take_packet(&h->gateway.node, &length);
		cr_assert_eq(at_gateway != NULL, allowed);
		if (allowed) {
			node_put_packet(&h->gateway.node, at_gateway, length); /* as the host's routes would */
			harness_pump(h);
			const uint8_t *got = node_take_packet(&h->clients[1].node, &length);
			cr_assert_not_null(got);
			cr_assert_eq(memcmp(got, packet, length), 0);
		}
		finish(h);
	}
}

/* --- ECN ---------------------------------------------------------------------------------------------------------- */

struct ecn_hook {
	uint8_t sent; /* what the sender wrote */
	uint8_t path; /* what the path makes of it */
};

static unsigned mark(void *context, struct link *from, struct udp_message *message)
{
	(void)from;
	struct ecn_hook *hook = context;
	hook->sent = message->ecn;
	message->ecn = hook->path;
	return 1;
}

/* RFC 6040, figure 4, in the numbers of the wire: Not-ECT 0, ECT(1) 1, ECT(0) 2, CE 3; 9: dropped. */
static const uint8_t rfc6040[4][4] = {
	/* outer 0  1  2  3      inner */
	{0, 0, 0, 9}, /* Not-ECT */
	{1, 1, 1, 3}, /* ECT(1) */
	{2, 1, 2, 3}, /* ECT(0) */
	{3, 3, 3, 3}, /* CE */
};

static void send_marked(struct harness *h, uint8_t version, uint8_t inner, uint8_t outer, struct ecn_hook *hook)
{
	uint8_t packet[256];
	struct packet_spec spec = harness_spec(h, 0, TO_GATEWAY, version, IPPROTO_UDP);
	spec.tos = (uint8_t)(0xb8 | inner);
	hook->path = outer;
	node_put_packet(&h->clients[0].node, packet, packet_build(&spec, payload, 100, packet));
	uint64_t drops = node_drops(&h->gateway.node, DROP_ECN);
	harness_pump(h);
	cr_assert_eq(hook->sent, inner, "the outer header says what the inner does");
	size_t length = 0;
	const uint8_t *got = node_take_packet(&h->gateway.node, &length);
	uint8_t expected = rfc6040[inner][outer];
	cr_assert_eq(got == NULL, expected == 9, "inner %u, outer %u", inner, outer);
	cr_assert_eq(node_drops(&h->gateway.node, DROP_ECN) - drops, expected == 9);
	if (got == NULL)
		return;
	uint8_t tos = version == 4 ? got[1] : (uint8_t)(load_be16(got) >> 4);
	cr_assert_eq(tos, 0xb8 | expected, "IPv%u, inner %u, outer %u: %02x", version, inner, outer, tos);
	cr_assert(packet_is_right(got, length), "checksums");
}

Test(data_path, ecn_goes_by_rfc_6040)
{
	struct harness *h = START_UP(0);
	struct ecn_hook hook = {0};
	h->network.hooks = (struct link_hooks){.carry = mark, .context = &hook};
	for (unsigned i = 0; i < 32; i++)
		send_marked(h, i & 16 ? 6 : 4, (i >> 2) & 3, i & 3, &hook);
	h->network.hooks = (struct link_hooks){0};
	finish(h);
}

/* --- a socket that does not take everything ----------------------------------------------------------------------- */

struct mood {
	const struct link *whose; /* NULL: all links' */
	int error;		  /* what trains (or all) get; 0 nothing */
	bool trains_only;
	unsigned times;	  /* that often; 0: always */
	size_t most;	  /* messages taken at once; 0: all */
	unsigned percent; /* how often the error comes; 0: always */
	struct random random;
	unsigned refused;
	uint8_t refused_bytes[1 << 17], taken_bytes[1 << 17];
	size_t refused_length, taken_length;
};

static void record(uint8_t *bytes, size_t *length, const struct udp_message *message)
{
	if (*length + message->length > 1 << 17)
		return;
	memcpy(bytes + *length, message->data, message->length);
	*length += message->length;
}

static int refuse_or_take(void *context, struct link *from, const struct udp_message *messages, size_t count)
{
	struct mood *mood = context;
	if (mood->whose != NULL && mood->whose != from)
		return (int)count;
	size_t taken = mood->most != 0 && mood->most < count ? mood->most : count;
	for (size_t i = 0; i < taken; i++) {
		bool train = messages[i].length > messages[i].segment_size && messages[i].segment_size != 0;
		bool refuse = mood->error != 0 && (train || !mood->trains_only) &&
			      (mood->times == 0 || mood->refused < mood->times) &&
			      (mood->percent == 0 || random_chance(&mood->random, mood->percent));
		if (refuse && i > 0)
			return (int)i;
		if (refuse) {
			mood->refused++;
			record(mood->refused_bytes, &mood->refused_length, &messages[i]);
			return mood->error;
		}
	}
	return (int)taken;
}

static unsigned watch(void *context, struct link *from, struct udp_message *message)
{
	struct mood *mood = context;
	if (mood->whose == from)
		record(mood->taken_bytes, &mood->taken_length, message);
	return 1;
}

static struct mood *set_mood(struct harness *h, int error)
{
	static struct mood mood;
	mood = (struct mood){.whose = &h->clients[0].node.link, .error = error, .random = {5}};
	h->network.hooks = (struct link_hooks){.accept = refuse_or_take, .carry = watch, .context = &mood};
	return &mood;
}

static void put_super_packet(struct harness *h, size_t bytes)
{
	static uint8_t frame[TUN_FRAME_MAX];
	struct packet_spec spec = harness_spec(h, 0, TO_GATEWAY, 4, IPPROTO_TCP);
	node_put_frame(&h->clients[0].node, frame, packet_build_frame(&spec, payload, bytes, 1380, frame));
}

Test(data_path, a_train_that_the_device_refuses_goes_one_by_one_as_it_was_sealed)
{
	static const int errors[] = {-EIO, -EMSGSIZE};
	static uint8_t bytes[TUN_PACKET_MAX];
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		struct harness *h = START_UP(0);
		struct mood *mood = set_mood(h, errors[i]);
		mood->trains_only = true;
		uint32_t sequence = harness_spec(h, 0, TO_GATEWAY, 4, IPPROTO_TCP).sequence;
		put_super_packet(h, 30000);
		harness_pump(h);
		cr_assert_eq(mood->refused, 1);
		cr_assert_gt(mood->refused_length, 30000);
		cr_assert_eq(mood->taken_length, mood->refused_length);
		cr_assert_eq(memcmp(mood->taken_bytes, mood->refused_bytes, mood->taken_length), 0,
			     "sent again, not sealed again");
		cr_assert_eq(client_count(h, STATS_udp_tx_fallback), 1);
		cr_assert_eq(stream(&h->gateway.node, bytes, sequence), 30000);
		cr_assert_eq(memcmp(bytes, payload, 30000), 0);

		put_super_packet(h, 30000);
		harness_pump(h);
		cr_assert_eq(stream(&h->gateway.node, bytes, sequence), 30000);
		cr_assert_eq(mood->refused, errors[i] == -EIO ? 1 : 2, "EIO: this device never will");
		cr_assert_eq(h->clients[0].node.link.base.gso, errors[i] != -EIO);
		h->network.hooks = (struct link_hooks){0};
		finish(h);
	}
}

Test(data_path, without_buffers_the_train_is_dropped_and_counted)
{
	static uint8_t bytes[TUN_PACKET_MAX];
	struct harness *h = START_UP(0);
	struct mood *mood = set_mood(h, -ENOBUFS);
	mood->times = 1;
	uint32_t sequence = harness_spec(h, 0, TO_GATEWAY, 4, IPPROTO_TCP).sequence;
	put_super_packet(h, 13800);
	harness_pump(h);
	cr_assert_eq(node_drops(&h->clients[0].node, DROP_OUT_SEND), 10);
	cr_assert_eq(node_waiting(&h->gateway.node), 0);
	put_super_packet(h, 13800);
	harness_pump(h);
	cr_assert_eq(stream(&h->gateway.node, bytes, sequence), 13800);
	cr_assert_eq(node_drops(&h->clients[0].node, DROP_OUT_SEND), 10);
	h->network.hooks = (struct link_hooks){0};
	finish(h);
}

/* While the socket is full the TUN is not read; afterwards everything comes, once, in order. */
Test(data_path, a_full_socket_stops_reading_the_tun_and_loses_nothing)
{
	enum { COUNT = 300 };
	struct harness *h = START_UP(0);
	struct mood *mood = set_mood(h, -EAGAIN);
	uint8_t packet[1500];
	uint64_t before = client_count(h, STATS_tun_rx_packets);
	for (unsigned i = 0; i < COUNT; i++) {
		node_put_packet(&h->clients[0].node, packet,
				harness_echo(h, 0, TO_GATEWAY, 4, (uint16_t)i, 1000, packet));
		if (i % 100 == 50)
			harness_pump(h);
	}
	harness_pump(h);
	uint64_t read = client_count(h, STATS_tun_rx_packets) - before;
	cr_assert_gt(read, 0);
	cr_assert_leq(read, 64, "%lu were read, the others wait in the TUN", read);
	cr_assert_eq(gateway_count(h, STATS_tun_tx_packets), 0);
	cr_assert(h->clients[0].node.worker->send.blocked);

	mood->error = 0;
	mood->most = 1;
	for (unsigned i = 0; i < COUNT;) {
		harness_pump(h);
		const struct frame *frame = node_take(&h->gateway.node);
		cr_assert_not_null(frame, "packet %u", i);
		for (; frame != NULL; frame = node_take(&h->gateway.node), i++)
			cr_assert_eq(load_be16(frame->data + VNET_HEADER_SIZE + 26), i);
	}
	cr_assert_eq(node_drops(&h->clients[0].node, DROP_OUT_SEND), 0);
	h->network.hooks = (struct link_hooks){0};
	finish(h);
}

/* Everything at once, for a while: harness_problem() looks for lost packets and reused nonces. */
Test(data_path, a_moody_socket_breaks_no_promise)
{
	static const int errors[] = {0, -EAGAIN, -ENOBUFS, -EMSGSIZE, -EIO, -EPERM};
	struct random random = {.state = 21};
	struct harness *h = START_UP(.rekey_interval = 20);
	struct mood *mood = set_mood(h, 0);
	mood->whose = NULL;
	mood->percent = 40;
	for (unsigned i = 0; i < 1500; i++) {
		mood->error = errors[random_below(&random, ARRAY_SIZE(errors))];
		mood->most = random_below(&random, 4);
		mood->trains_only = random_chance(&random, 50);
		if (i % 50 == 0)
			h->clients[0].node.link.base.gso = h->gateway.node.link.base.gso = true;
		uint8_t packet[1500];
		for (unsigned k = random_below(&random, 4); k > 0; k--) {
			enum direction way = random_chance(&random, 50) ? TO_CLIENT : TO_GATEWAY;
			size_t size = random_below(&random, 1300);
			node_put_packet(sender(h, way), packet, harness_echo(h, 0, way, 6, 0, size, packet));
		}
		if (random_chance(&random, 20))
			put_super_packet(h, 1 + random_below(&random, 65000));
		harness_advance(h, random_below(&random, 200) * NS_PER_MS);
		while (node_take(&h->gateway.node) != NULL || node_take(&h->clients[0].node) != NULL)
			continue;
	}
	cr_assert_gt(gateway_count(h, STATS_rekeys), 3);
	cr_assert_gt(client_count(h, STATS_udp_tx_fallback), 10);
	cr_assert_gt(node_drops(&h->clients[0].node, DROP_OUT_SEND), 100);
	h->network.hooks = (struct link_hooks){0};
	finish(h);
}

/* The check of nonces itself notices when one is used twice. */
Test(data_path, a_reused_nonce_would_be_noticed)
{
	struct harness *h = START_UP(0);
	cr_assert(pings(h));
	harness_client_session(h, 0)->current->send_counter--;
	cr_assert_not(harness_ping(h, 0, TO_GATEWAY));
	const char *problem = harness_problem(h);
	cr_assert_not_null(problem);
	cr_assert_str_eq(problem, "client 0: 1 nonces were used again");
	harness_free(h);
}
