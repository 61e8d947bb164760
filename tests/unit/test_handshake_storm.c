// SPDX-License-Identifier: Apache-2.0
/* More clients than the handshake thread can answer, as after a restart of the gateway: it goes on working for those
 * that still wait for its answer, so that as many are connected as it has time for, and in the end all are.
 *
 * The thread and the messages are real; its time is not: each turn takes as long as its work would on a thread that can
 * answer RATE HELLOs a second. Clients follow core/protocol/PROTOCOL.md: a new HELLO after a second, then doubling,
 * each ± 25 %, or at once after COOKIE, and up to two more after the next ones; and WELCOME counts for the latest HELLO
 * alone. */
#include <stdlib.h>

#include "tests/harness/unit.h"
#include "workers/client_hello.h"

TestSuite(handshake_storm, .timeout = 120);

enum {
	RATE = 200, /* HELLOs answered in a second, if there is nothing else to do */
	CLIENTS = 15 * RATE,
	CLIENT_RATE = 5 * RATE, /* come in a second, until all are there; and then they ask again */
	SOCKET = 4096,		/* datagrams: twenty seconds' work waits in the kernel */
	PORT = 4000,
};
#define ANSWER_NS   (NS_PER_S / RATE)
#define DATAGRAM_NS (ANSWER_NS / 30) /* to receive it and check its macs, and send COOKIE */

struct storm_client {
	struct handshake_identity identity;
	struct handshake_remote remote;
	struct handshake_initiator initiator; /* of its latest HELLO */
	uint64_t due, wait;
	uint8_t cookie[COOKIE_SIZE];
	unsigned repeats;
	bool has_cookie, cookie_sent, repeat, connected;
};

struct storm_datagram {
	uint32_t client;
	uint8_t bytes[WIRE_HELLO_SIZE];
};

struct storm {
	struct udp_socket base; /* the handshake thread's */
	struct harness *h;
	struct udp_socket *real;
	struct storm_client clients[CLIENTS];
	struct storm_datagram socket[SOCKET];
	uint32_t first, waiting;
	unsigned connected, late;      /* answers that were in time, or not */
	struct inbox_message *answers; /* all of them, linked by their nodes */
	uint64_t random, start, timestamps;
};

/* A number from -25 % to 25 % of `wait`. */
static uint64_t with_jitter(struct storm *storm, uint64_t wait)
{
	storm->random = storm->random * 6364136223846793005u + 1442695040888963407u;
	return wait * 3 / 4 + (storm->random >> 33) % (wait / 2);
}

static uint64_t now(const struct storm *storm)
{
	return storm->h->clock.monotonic;
}

static struct endpoint endpoint_of(const struct storm *storm, uint32_t client)
{
	struct endpoint from = {.remote = network_address("198.18.0.0", PORT),
				.local = storm->h->gateway_address.sin6_addr};
	store_be16(&from.remote.sin6_addr.s6_addr[14], (uint16_t)client);
	return from;
}

static uint32_t client_of(const struct endpoint *endpoint)
{
	return load_be16(&endpoint->remote.sin6_addr.s6_addr[14]);
}

/* --- the socket --------------------------------------------------------------------------------------------------- */

static int storm_receive(struct udp_socket *socket, struct udp_message *messages, size_t count)
{
	struct storm *storm = (struct storm *)socket;
	size_t n = 0;
	for (; n < count && storm->waiting > 0; n++, storm->waiting--) {
		const struct storm_datagram *datagram = &storm->socket[storm->first++ % SOCKET];
		memcpy(messages[n].data, datagram->bytes, WIRE_HELLO_SIZE);
		messages[n].length = WIRE_HELLO_SIZE;
		messages[n].segment_size = 0;
		messages[n].truncated = false;
		messages[n].endpoint = endpoint_of(storm, datagram->client);
	}
	return (int)n;
}

/* COOKIE: the client comes back at once. */
static int storm_send(struct udp_socket *socket, const struct udp_message *messages, size_t count)
{
	struct storm *storm = (struct storm *)socket;
	for (size_t i = 0; i < count; i++) {
		struct storm_client *client = &storm->clients[client_of(&messages[i].endpoint)];
		if (!handshake_read_cookie(&client->initiator, &client->remote, messages[i].data, messages[i].length,
					   client->cookie))
			continue;
		client->has_cookie = true;
		if (!client->cookie_sent) {
			client->wait = NS_PER_S;
			client->due = now(storm);
		} else if (client->repeats < CLIENT_REPEATS) {
			client->repeats++;
			client->repeat = true;
		}
	}
	return (int)count;
}

static const struct udp_ops storm_ops = {.receive = storm_receive, .send = storm_send};

/* --- the clients -------------------------------------------------------------------------------------------------- */

static void send_hello(struct storm *storm, uint32_t number)
{
	struct storm_client *client = &storm->clients[number];
	struct wire_hello hello = {.mtu = 1420};
	struct storm_datagram datagram = {.client = number};
	uint8_t random[HANDSHAKE_HELLO_RANDOM];
	storm->timestamps++;
	key_derive(random, sizeof random, NULL, 0, "storm", &storm->timestamps, sizeof storm->timestamps);
	wire_timestamp(hello.timestamp, storm->h->clock.wall + storm->timestamps);
	memcpy(hello.suites, storm->h->options.client_suites, sizeof hello.suites);
	client->cookie_sent = client->has_cookie;
	if (client->has_cookie)
		memcpy(hello.challenge, client->cookie, sizeof hello.challenge);
	cr_assert(handshake_write_hello(&client->initiator, &client->identity, &client->remote, 0, &hello, random,
					datagram.bytes));
	if (client->has_cookie)
		handshake_add_mac2(client->cookie, datagram.bytes);
	if (storm->waiting < SOCKET)
		storm->socket[(storm->first + storm->waiting++) % SOCKET] = datagram;
	bool repeats = client->repeat && client->due > now(storm);
	client->repeat = false;
	if (repeats)
		return; /* outside of its intervals */
	client->repeats = 0;
	client->due = now(storm) + with_jitter(storm, client->wait);
	client->wait = client->wait < 16 * NS_PER_S ? 2 * client->wait : client->wait;
}

static void send_hellos(struct storm *storm)
{
	for (uint32_t i = 0; i < CLIENTS; i++) {
		const struct storm_client *client = &storm->clients[i];
		if (!client->connected && (client->repeat || client->due <= now(storm)))
			send_hello(storm, i);
	}
}

/* What goes to the worker is kept from it, so that no session ends before the storm does. */
static void take_answers(struct storm *storm)
{
	struct inbox_message *message;
	while ((message = inbox_take(storm->h->gateway.inboxes[0])) != NULL) {
		struct storm_client *client = &storm->clients[client_of(&message->install.from)];
		if (!client->connected && wire_magic(message->install.answer) == client->initiator.magic) {
			client->connected = true;
			storm->connected++;
		} else {
			storm->late++;
		}
		message->node.next = storm->answers != NULL ? &storm->answers->node : NULL;
		storm->answers = message;
	}
}

/* --- time --------------------------------------------------------------------------------------------------------- */

static uint64_t worked(const struct storm *storm)
{
	const struct harness *h = storm->h;
	uint64_t answers = gateway_count(h, STATS_rx_hello) + node_drops(&h->gateway.node, DROP_STALE);
	return answers * ANSWER_NS + gateway_count(h, STATS_udp_rx_packets) * DATAGRAM_NS;
}

static double seconds(const struct storm *storm)
{
	return (double)(now(storm) - storm->start) / (double)NS_PER_S;
}

static void run_until(struct storm *storm, double end)
{
	while (seconds(storm) < end && storm->connected < CLIENTS) {
		uint64_t before = worked(storm);
		send_hellos(storm);
		(void)handshaker_turn(storm->h->gateway.handshakes[0].handshaker);
		take_answers(storm);
		uint64_t step = worked(storm) - before;
		storm->h->clock.monotonic += step != 0 ? step : NS_PER_MS;
		storm->h->clock.wall += step != 0 ? step : NS_PER_MS;
	}
}

/* `waiting`: room in the thread's own queue. */
static struct storm *start(uint32_t waiting)
{
	struct storm *storm = calloc(1, sizeof *storm);
	cr_assert_not_null(storm);
	struct harness *h = START(.address4 = "10.8.0.1/16", .max_sessions = CLIENTS);
	storm->h = h;
	storm->base.ops = &storm_ops;
	storm->random = 1;
	storm->start = h->clock.monotonic;
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct storm_client *client = &storm->clients[i];
		const uint8_t preshared_key[KEY_SIZE] = {0};
		uint8_t private_key[KEY_SIZE];
		key_derive(private_key, sizeof private_key, NULL, 0, "storm client", &i, sizeof i);
		handshake_identity_init(&client->identity, private_key);
		cr_assert(handshake_remote_init(&client->remote, &client->identity, h->gateway.identity.keys.public_key,
						preshared_key));
		struct registry_peer peer = {.public_key = client->identity.keys.public_key,
					     .preshared_key = preshared_key};
		cr_assert_eq(registry_add_peer(&h->gateway.registry, &peer, NULL), 0);
		client->due = storm->start + i * NS_PER_S / CLIENT_RATE;
		client->wait = NS_PER_S;
	}
	struct handshaker *handshaker = h->gateway.handshakes[0].handshaker;
	hello_queue_deinit(&handshaker->waiting);
	cr_assert_eq(hello_queue_init(&handshaker->waiting, waiting), 0);
	storm->real = handshaker->params.udp;
	handshaker->params.udp = &storm->base;
	return storm;
}

static void finish_storm(struct storm *storm)
{
	struct harness *h = storm->h;
	h->gateway.handshakes[0].handshaker->params.udp = storm->real;
	while (storm->answers != NULL) {
		struct inbox_message *message = storm->answers;
		storm->answers = message->node.next != NULL
					 ? caa_container_of(message->node.next, struct inbox_message, node)
					 : NULL;
		inbox_post(h->gateway.inboxes[0], message);
	}
	harness_pump(h);
	harness_free(h);
	free(storm);
}

static void live_through_it(uint32_t waiting)
{
	enum { SECONDS = 8 };
	struct storm *storm = start(waiting);
	run_until(storm, SECONDS);
	cr_log_info("%u connected in %.1f s, %u answers too late, %llu HELLOs", storm->connected, seconds(storm),
		    storm->late, (unsigned long long)storm->timestamps);
	cr_expect_geq(storm->connected, SECONDS * RATE * 7 / 10);
	cr_expect_leq(storm->late, storm->connected / 20);
	run_until(storm, 1000);
	cr_log_info("all after %.1f s", seconds(storm));
	cr_expect_eq(storm->connected, CLIENTS);
	cr_expect_lt(seconds(storm), 2.5 * CLIENTS / RATE);
	cr_expect_gt(node_drops(&storm->h->gateway.node, DROP_HELLO_LATE), 0);
	uint64_t asked = gateway_count(storm->h, STATS_udp_rx_packets);
	uint64_t dropped = node_drops(&storm->h->gateway.node, DROP_HELLO_LATE) +
			   node_drops(&storm->h->gateway.node, DROP_COOKIE) +
			   node_drops(&storm->h->gateway.node, DROP_STALE);
	cr_expect_eq(asked, gateway_count(storm->h, STATS_rx_hello) + dropped, "each HELLO is counted");
	finish_storm(storm);
}

/* What waits in the thread's own queue is 0.6 seconds' work. */
Test(handshake_storm, connects_as_many_as_there_is_time_for)
{
	live_through_it(128);
}

/* It is five seconds' work: longer than its clients wait. */
Test(handshake_storm, connects_as_many_on_a_slow_machine)
{
	live_through_it(1024);
}
