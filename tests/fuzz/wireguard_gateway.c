// SPDX-License-Identifier: Apache-2.0
/* A gateway with WireGuard clients, and an attacker that has what they sent and delivers it at any time, from any
 * address and with any bytes changed, while clients come, go, roam and sleep. No initiation is accepted twice, none
 * that was changed is accepted at all, no message is delivered twice, nothing but the newest data moves a session, and
 * when the attack stops every client gets through. With some the gateway initiates, too: of what answers that, the same
 * holds. */
#include "tests/fuzz/input.h"
#include "tests/harness/wireguard.h"

enum { CLIENTS = 3, STEPS = 64, KEPT = 64, EDITS = 3 };

// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name
const char *__asan_default_options(void);
// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name
const char *__asan_default_options(void)
{
	return "detect_leaks=0"; /* what peers own is found from locked memory alone */
}

struct message {
	size_t client;
	bool accepted; /* an initiation that the gateway answered, or a response that it took */
	uint32_t length;
	uint8_t bytes[512];
};

struct world {
	struct wireguard *w;
	size_t kept_count;
	struct message kept[KEPT]; /* all that clients sent, the last ones */
};

static struct message *keep(struct world *world, size_t client, const uint8_t *bytes, uint32_t length)
{
	struct message *message = &world->kept[world->kept_count++ % KEPT];
	*message = (struct message){.client = client, .length = length};
	memcpy(message->bytes, bytes, length);
	return message;
}

static uint64_t counted(const struct world *world, enum stats_counter counter)
{
	return node_counter(&world->w->h->gateway.node, counter);
}

/* What is authentic and new comes once; then the attacker has it. */
static void initiate(struct world *world, size_t client)
{
	struct wireguard_client *c = &world->w->clients[client];
	wireguard_prepare(world->w, client);
	struct message *message = keep(world, client, c->initiation, sizeof c->initiation);
	uint64_t before = counted(world, STATS_rx_wg_initiation);
	wireguard_send_initiation(world->w, client);
	wireguard_pump(world->w);
	message->accepted = counted(world, STATS_rx_wg_initiation) != before;
}

static void send_data(struct world *world, size_t client, uint8_t size)
{
	uint8_t packet[512] = {0}, payload[256] = {0}, message[512];
	struct packet_spec spec = wireguard_spec(world->w, client, TO_GATEWAY, 4, IPPROTO_UDP);
	if (world->w->clients[client].current.key == NULL)
		return;
	uint32_t length = size != 0 ? (uint32_t)packet_build(&spec, payload, size, packet) : 0;
	uint32_t sealed = wireguard_seal(world->w, client, packet, wg_padded_size(length, HARNESS_MTU), message);
	(void)keep(world, client, message, sealed);
	wireguard_send_raw(world->w, client, message, sealed);
	wireguard_pump(world->w);
}

/* A packet for the client: it may make the gateway initiate. Either the client answers, or the attacker has what would
 * have been its answer. */
static void put_to_client(struct world *world, size_t client, uint8_t choice)
{
	struct wireguard_client *c = &world->w->clients[client];
	unsigned before = c->initiations;
	c->responds = (choice & 0x80) != 0;
	c->demands_cookie = (choice & 0x60) == 0x60;
	wireguard_put(world->w, client, choice);
	wireguard_pump(world->w);
	if (c->initiations == before || (c->responds && c->demands_cookie))
		return;
	if (!c->responds)
		wireguard_respond(world->w, client);
	keep(world, client, c->response, sizeof c->response)->accepted = c->responds;
}

/* Lists a client anew, as one that the gateway may initiate to. */
static void reach(struct world *world, size_t client)
{
	const struct contact contact = {.endpoint = world->w->clients[client].address, .keepalive = 25};
	struct registry *registry = &world->w->h->gateway.registry;
	insist(registry_reach_peer(registry, wireguard_peer(world->w, client), &contact) == 0, "an Endpoint");
	wireguard_pump(world->w);
}

static void empty_tun(struct world *world)
{
	while (node_take(&world->w->h->gateway.node) != NULL)
		continue;
}

/* A kept message comes again, perhaps changed, from home or from elsewhere. */
static void attack(struct world *world, struct input *input)
{
	struct harness *h = world->w->h;
	if (world->kept_count == 0)
		return;
	size_t most = world->kept_count < KEPT ? world->kept_count : KEPT;
	struct message *original = &world->kept[input_byte(input) % most], message = *original;
	uint8_t how = input_byte(input);
	for (unsigned i = 0; i < how % (EDITS + 1); i++) {
		uint16_t at = input_u16(input);
		message.bytes[at % message.length] ^= input_byte(input);
	}
	if (how & 0x10)
		message.length = input_u16(input) % sizeof message.bytes;
	struct udp_message datagram = {
		.data = message.bytes,
		.length = message.length,
		.endpoint = {.remote = world->w->clients[message.client].address,
			     .local = h->gateway_address.sin6_addr},
	};
	if (how & 0x20)
		datagram.endpoint.remote = network_address("198.51.100.200", (uint16_t)(1000 + how));
	uint64_t initiations = counted(world, STATS_rx_wg_initiation), packets = counted(world, STATS_tun_tx_packets);
	uint64_t responses = counted(world, STATS_rx_wg_response);
	uint64_t roams = counted(world, STATS_roams), keepalives = counted(world, STATS_rx_keepalive);
	if (!link_inject(&h->gateway.node.link, &datagram))
		return;
	wireguard_pump(world->w);
	if (counted(world, STATS_rx_wg_initiation) != initiations) {
		insist(!original->accepted, "an initiation counts twice");
		insist(message.length == WG_INITIATION_SIZE && original->length == WG_INITIATION_SIZE &&
			       memcmp(message.bytes, original->bytes, WG_INITIATION_SIZE - MAC_SIZE) == 0,
		       "an initiation counts after a change");
		original->accepted = true;			 /* it came too soon after another one before */
		keepalives = counted(world, STATS_rx_keepalive); /* its client has confirmed it */
	}
	if (counted(world, STATS_rx_wg_response) != responses) {
		insist(!original->accepted, "a response counts twice");
		insist(message.length == WG_RESPONSE_SIZE && original->length == WG_RESPONSE_SIZE &&
			       memcmp(message.bytes, original->bytes, WG_RESPONSE_SIZE - MAC_SIZE) == 0,
		       "a response counts after a change");
		original->accepted = true;
	}
	insist(counted(world, STATS_tun_tx_packets) == packets, "data counts twice, or after a change");
	insist(counted(world, STATS_rx_keepalive) == keepalives, "a keepalive counts twice, or after a change");
	insist(counted(world, STATS_roams) == roams, "a session moved");
}

static void roam(struct world *world, size_t client, uint8_t where)
{
	char text[64];
	(void)snprintf(text, sizeof text, "203.0.%u.%zu", 100 + where % 8, client + 1);
	wireguard_move(world->w, client, text, (uint16_t)(2000 + where));
	send_data(world, client, 0);
}

static void relist(struct world *world, size_t client)
{
	uint32_t ids[2];
	struct harness *h = world->w->h;
	if (!registry_remove_peer(&h->gateway.registry, world->w->clients[client].identity.keys.public_key, ids))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		struct inbox_message *message = ids[i] != 0 ? calloc(1, sizeof *message) : NULL;
		if (message == NULL)
			continue;
		*message = (struct inbox_message){
			.kind = INBOX_END, .session_id = ids[i], .end.reason = WIRE_BYE_REMOVED};
		inbox_post(&harness_owner(h, ids[i])->inbox, message);
	}
	wireguard_pump(world->w);
	insist(wireguard_list(world->w, client, NULL) == 0, "a peer comes back");
	world->kept_count = 0; /* its timestamps are forgotten: what it sent before may count once more */
}

static void step(struct world *world, struct input *input)
{
	uint8_t what = input_byte(input), choice = input_byte(input);
	size_t client = choice % CLIENTS;
	switch (what % 8) {
	case 0:
	case 1:
	case 2:
		attack(world, input);
		break;
	case 3:
		initiate(world, client);
		break;
	case 4:
		if ((what & 8) != 0)
			put_to_client(world, client, choice);
		else
			send_data(world, client, choice);
		break;
	case 5:
		roam(world, client, choice);
		break;
	case 6:
		if ((what & 0xf0) == 0xf0)
			relist(world, client);
		world->w->clients[client].mute = (what & 8) != 0;
		break;
	default:
		wireguard_advance(world->w, (1 + choice) * ((what & 8) != 0 ? NS_PER_S : WORKER_TICK_NS));
	}
	empty_tun(world);
}

/* Without the attacker, five seconds after the last initiation. */
static void gets_through(struct world *world, size_t client)
{
	struct wireguard_client *c = &world->w->clients[client];
	c->mute = false;
	for (unsigned tries = 0; tries < 4; tries++) {
		wireguard_advance(world->w, 5 * NS_PER_S);
		initiate(world, client); /* one that follows a cookie has it */
		if (!c->waits)
			break;
	}
	for (size_t i = 0; i < CLIENTS; i++) { /* what waited for the others may have come meanwhile */
		for (struct wireguard_packet *packet; (packet = wireguard_take(world->w, i)) != NULL;)
			free(packet);
	}
	empty_tun(world);
	insist(wireguard_ping(world->w, client, TO_GATEWAY), "a client does not get through");
	insist(wireguard_ping(world->w, client, TO_CLIENT), "a client is not reached");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	uint8_t how = input_byte(&input);
	struct world world = {0};
	struct harness *h = harness_new(&(struct harness_options){.clients = 1,
								  .late_ephemerals = true,
								  .reset = true,
								  .wireguard = true,
								  .workers = 1 + (how & 1),
								  .always_cookie = (how & 2) != 0});
	world.w = wireguard_new(h, CLIENTS);
	for (size_t i = 0; i < CLIENTS && (how & 4) != 0; i++)
		reach(&world, i);
	for (unsigned i = 0; i < STEPS && input.left > 0; i++)
		step(&world, &input);
	for (size_t i = 0; i < CLIENTS; i++)
		gets_through(&world, i);
	wireguard_pump(world.w);
	const char *problem = harness_problem(h);
	insist(problem == NULL, problem != NULL ? problem : "");
	wireguard_free(world.w);
	harness_free(h);
	return 0;
}
