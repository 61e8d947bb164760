// SPDX-License-Identifier: Apache-2.0
/* Rekeys under traffic, in impairment that loses, repeats, delays and reorders all there is: what the impairment lets
 * through is never lost for lack of a key. */
#include "tests/harness/unit.h"

TestSuite(rekey_impairment, .timeout = 120);

enum { REKEYS = 40 /* the epoch wraps twice */ };

/* What the impairment let through in one direction. */
struct carried {
	uint64_t data;	   /* DATA, each once */
	uint64_t repeated; /* transport messages that came a second time */
};

struct forecast {
	struct harness *h;
	struct impairment *impairment;
	struct link_hooks inner;
	struct carried to_gateway, to_client;
};

static struct carried *way(struct forecast *forecast, const struct link *from)
{
	return from == &forecast->h->clients[0].node.link ? &forecast->to_gateway : &forecast->to_client;
}

static uint32_t datagrams(const struct udp_message *message)
{
	uint32_t step = message->segment_size != 0 ? message->segment_size : message->length;
	return (message->length + step - 1) / step;
}

static void count(struct carried *carried, const struct udp_message *message, unsigned times)
{
	unsigned type = wire_type(message->data);
	if (type < WIRE_CLIENT_ACK || type > WIRE_KEEPALIVE || times == 0)
		return;
	carried->data += type == WIRE_DATA ? datagrams(message) : 0;
	carried->repeated += (times - 1) * datagrams(message);
}

static unsigned carry_and_count(void *context, struct link *from, struct udp_message *message)
{
	struct forecast *forecast = context;
	unsigned times = forecast->inner.carry(forecast->inner.context, from, message);
	count(way(forecast, from), message, times);
	return times;
}

static void release(struct forecast *forecast)
{
	const struct impairment *impairment = forecast->impairment;
	for (size_t i = 0; i < impairment->delayed_count; i++)
		count(way(forecast, impairment->delayed[i].from), &impairment->delayed[i].message, 1);
	impairment_release(forecast->impairment);
	harness_pump(forecast->h);
}

static void move_data(struct harness *h, struct random *random)
{
	uint8_t packet[1500];
	for (unsigned direction = 0; direction < 2; direction++) {
		struct node *from = direction == TO_GATEWAY ? &h->clients[0].node : &h->gateway.node;
		for (unsigned i = random_below(random, 4); i > 0; i--) {
			size_t length = harness_echo(h, 0, (enum direction)direction, 4, (uint16_t)i,
						     random_below(random, 1300), packet);
			node_put_packet(from, packet, length);
		}
	}
	harness_pump(h);
	while (node_take(&h->gateway.node) != NULL || node_take(&h->clients[0].node) != NULL)
		continue;
}

static void expect(const struct node *node, const struct carried *carried, uint64_t seed)
{
	cr_assert_eq(node_drops(node, DROP_EPOCH), 0, "seed %lu: %lu", seed, node_drops(node, DROP_EPOCH));
	cr_assert_eq(node_drops(node, DROP_FORGED), 0, "seed %lu: %lu", seed, node_drops(node, DROP_FORGED));
	cr_assert_eq(node_drops(node, DROP_SESSION), 0);
	cr_assert_eq(node_drops(node, DROP_REPLAY), carried->repeated, "seed %lu: %lu of %lu", seed,
		     node_drops(node, DROP_REPLAY), carried->repeated);
	cr_assert_eq(node_counter(node, STATS_tun_tx_packets), carried->data + 1, "seed %lu: %lu of %lu", seed,
		     node_counter(node, STATS_tun_tx_packets), carried->data + 1);
	cr_assert_gt(carried->data, 1000);
	cr_assert_gt(carried->repeated, 100);
}

static void storm(uint64_t seed, unsigned workers)
{
	struct harness *h = START_UP(.rekey_interval = 20, .workers = workers, .reader = workers > 1);
	cr_assert(pings(h)); /* DATA moves from here on */
	struct random random = {.state = seed};
	struct forecast forecast = {.h = h, .impairment = impairment_new(h, seed)};
	struct impairment *impairment = forecast.impairment;
	impairment->types = ~0u;
	impairment->lose = 15;
	impairment->delay = 15;
	impairment->repeat = 15;
	forecast.inner = h->network.hooks;
	h->network.hooks = (struct link_hooks){.carry = carry_and_count, .context = &forecast};
	unsigned seen[WIRE_EPOCH_MAX + 1] = {0}, epoch = 1;
	for (unsigned tick = 0; gateway_count(h, STATS_rekeys) < REKEYS; tick++) {
		cr_assert_lt(tick, 10000);
		move_data(h, &random);
		harness_advance(h, WORKER_TICK_NS);
		if (random_chance(&random, 20))
			release(&forecast);
		unsigned now = harness_gateway_session(h, 0)->current->epoch;
		cr_assert(now == epoch || now == wire_next_epoch(epoch));
		seen[now] += now != epoch;
		epoch = now;
	}
	release(&forecast);
	for (unsigned i = 1; i <= WIRE_EPOCH_MAX; i++)
		cr_assert_geq(seen[i], 2);
	cr_assert_eq(gateway_count(h, STATS_sessions_started), 1);
	expect(&h->gateway.node, &forecast.to_gateway, seed);
	expect(&h->clients[0].node, &forecast.to_client, seed);
	impairment_free(impairment);
	finish(h);
}

Test(rekey_impairment, forty_rekeys_lose_nothing_that_arrived)
{
	for (uint64_t seed = 1; seed <= 3; seed++)
		storm(seed, 1);
}

Test(rekey_impairment, nor_with_several_workers_and_a_reader)
{
	storm(4, 3);
}
