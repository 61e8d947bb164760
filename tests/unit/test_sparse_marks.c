// SPDX-License-Identifier: Apache-2.0
/* DATA_SPARSE: when it is sent, and what a receiver does with it. */
#include "tests/harness/unit.h"

static struct harness *h;
static unsigned seen[WIRE_TYPES]; /* messages by type, to clients */

static unsigned carry(void *context, struct link *from, struct udp_message *message)
{
	(void)context;
	if (from == &h->gateway.node.link)
		seen[wire_type(message->data)]++;
	return 1;
}

static void start(const struct peer_limits *limits)
{
	struct harness_options options = {.sparse = true, .no_offloads = true, .clients = 1};
	if (limits != NULL)
		options.limits[0] = *limits;
	h = harness_new(&options);
	harness_connect(h, 0);
	harness_pump(h);
	h->network.hooks = (struct link_hooks){.carry = carry};
	memset(seen, 0, sizeof seen);
}

static void stop(void)
{
	h->network.hooks = (struct link_hooks){0};
	finish(h);
}

/* From a queue of the gateway's TUN to the client, which answers: whether the packet arrives. */
static bool send_down(bool sparse)
{
	uint8_t frame[200] = {0};
	size_t length = harness_echo(h, 0, TO_CLIENT, 4, 1, 50, frame + VNET_HEADER_SIZE), arrived;
	struct tun_pair *pair = sparse ? &h->gateway.sparse : &h->gateway.node.tun;
	cr_assert_eq(tun_pair_put(pair, frame, VNET_HEADER_SIZE + length), 0);
	harness_pump(h);
	return node_take_packet(&h->clients[0].node, &arrived) != NULL && arrived == length;
}

static struct transport_key *gateways_key(void)
{
	return harness_gateway_session(h, 0)->current;
}

Test(sparse_marks, only_sparse_flows_have_a_mark)
{
	start(NULL);
	gateways_key()->peer_capabilities = WIRE_TAKES_SPARSE;
	cr_assert(send_down(true) && send_down(false) && send_down(true));
	cr_expect_eq(seen[WIRE_DATA_SPARSE], 2);
	cr_expect_eq(seen[WIRE_DATA], 1);
	stop();
}

Test(sparse_marks, who_does_not_take_it_gets_none)
{
	start(NULL);
	cr_expect_eq(gateways_key()->peer_capabilities, 0, "this client has one socket");
	gateways_key()->peer_capabilities = WIRE_MARKS_SPARSE;
	cr_assert(send_down(true) && send_down(false));
	cr_expect_eq(seen[WIRE_DATA_SPARSE], 0);
	cr_expect_eq(seen[WIRE_DATA], 2);
	stop();
}

/* Their packets may wait in the session's own queue, and must not be overtaken there. */
Test(sparse_marks, sessions_with_limits_have_none)
{
	start(&(struct peer_limits){.down = 1000 * 1000});
	gateways_key()->peer_capabilities = WIRE_TAKES_SPARSE;
	cr_assert(send_down(true) && send_down(false));
	cr_expect_eq(seen[WIRE_DATA_SPARSE], 0);
	cr_expect_eq(seen[WIRE_DATA], 2);
	stop();
}

Test(sparse_marks, both_sides_say_what_they_can)
{
	for (uint8_t gateway = 0; gateway < 4; gateway++) {
		h = START(.clients = 1);
		h->gateway.common.capabilities = gateway;
		harness_connect(h, 0);
		harness_pump(h);
		cr_expect_eq(h->clients[0].role.session->current->peer_capabilities, gateway);
		cr_expect_eq(gateways_key()->peer_capabilities, 0);
		finish(h);
	}
}

/* The gateway's program sorts by the mark only if the client sets any. */
Test(sparse_marks, the_program_is_told_whether_the_client_marks)
{
	for (unsigned marks = 0; marks < 2; marks++) {
		h = START(.clients = 1, .sparse_udp = true);
		struct tun_queue *queue = &h->clients[0].node.tun.queue;
		struct tun_pair second;
		struct sparse_queue shared = {0};
		if (marks) {
			cr_assert_eq(tun_pair_open(&second, queue->offloads), 0);
			queue->sparse = &second.queue;
			queue->shared = &shared;
		}
		harness_connect(h, 0);
		harness_pump(h);
		uint32_t id = h->clients[0].role.session->id, most = 0;
		const struct sparse_sessions *sparse = &h->gateway.sparse_sessions;
		for (size_t i = 0; i < sparse->members; i++)
			most = sparse->sessions[i].id == id ? sparse->sessions[i].most : most;
		cr_expect_eq(most, marks ? SPARSE_SESSIONS_MARKED : SPARSE_COST_MOST);
		cr_expect_eq(gateways_key()->peer_capabilities, marks ? WIRE_MARKS_SPARSE : 0);
		if (marks) {
			queue->sparse = NULL;
			tun_pair_close(&second);
		}
		finish(h);
	}
}

/* It is DATA but for the order: answers, counters and the endpoint follow. */
Test(sparse_marks, is_taken_as_data)
{
	start(NULL);
	struct session *client = h->clients[0].role.session;
	client->current->peer_capabilities = WIRE_TAKES_SPARSE;
	gateways_key()->peer_capabilities = WIRE_TAKES_SPARSE;
	uint64_t before = h->clients[0].node.worker->now;
	harness_advance(h, NS_PER_S);
	cr_assert(send_down(true));
	cr_expect_gt(client->received, before);
	cr_expect_gt(client->keepalive_owed_since, 0);
	cr_expect_eq(client->view.rx_packets, 1);
	cr_assert(pings(h));
	stop();
}
