// SPDX-License-Identifier: Apache-2.0
/* A gateway that restarts, peers that come, go and change, clients whose clocks jump, and an attacker that has all
 * their HELLOs and delivers them at any time and from any address. No HELLO is ever accepted twice; one that was
 * accepted before changes nothing at all; no session moves; and when the attack stops, every client gets through. */
#include "tests/fuzz/input.h"
#include "tests/harness/harness.h"
#include "tests/harness/impairment.h"

enum { CLIENTS = 2, STEPS = 48, JUMP_S = 4000 };

// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name
const char *__asan_default_options(void);
// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name
const char *__asan_default_options(void)
{
	return "detect_leaks=0"; /* what peers own is found from locked memory alone */
}

struct world {
	struct harness *h;
	struct impairment *impairment; /* loses each HELLO, and keeps it: it arrives by deliver() alone */
	bool clocks;		       /* they jump, also back; else the gateway restarts and peers change */
	size_t next;		       /* of the kept ones that did not arrive in their turn yet */
	bool accepted[IMPAIRMENT_KEPT];
};

/* What a HELLO that is known must leave as it is. */
struct traces {
	uint64_t orders, used, fresh; /* no padding: two of these are compared whole */
	uint64_t tats[CLIENTS][2];
	const struct session *active[CLIENTS], *pending[CLIENTS];
	const struct transport_key *next[CLIENTS];
};

static struct traces traces_of(struct harness *h)
{
	const struct registry *registry = &h->gateway.registry;
	struct traces t;
	memset(&t, 0, sizeof t);
	t.orders = registry->orders, t.used = registry->pool.used, t.fresh = registry->pool.fresh;
	for (size_t i = 0; i < CLIENTS; i++) {
		const struct peer *peer = harness_peer(h, i);
		if (peer == NULL)
			continue;
		t.tats[i][0] = peer->proven_tat, t.tats[i][1] = peer->newer_tat;
		t.active[i] = harness_gateway_session(h, i);
		t.pending[i] = harness_pending_session(h, i);
		t.next[i] = t.active[i] != NULL ? t.active[i]->next : NULL;
	}
	return t;
}

static void nobody_moved(struct harness *h)
{
	for (size_t i = 0; i < CLIENTS; i++) {
		const struct session *session = harness_gateway_session(h, i);
		const struct sockaddr_in6 *home = &h->clients[i].node.link.address;
		insist(session == NULL || (session->endpoint.remote.sin6_port == home->sin6_port &&
					   memcmp(&session->endpoint.remote.sin6_addr, &home->sin6_addr, 16) == 0),
		       "a session moved");
	}
}

/* A kept HELLO arrives, from home or from elsewhere, perhaps with one bit changed. */
static void deliver(struct world *world, size_t i, bool home, uint16_t bit)
{
	struct harness *h = world->h;
	uint8_t bytes[WIRE_HELLO_SIZE];
	const struct udp_message *kept = &world->impairment->kept[i].message;
	struct udp_message message = {.data = bytes, .length = WIRE_HELLO_SIZE, .endpoint = kept->endpoint};
	memcpy(bytes, kept->data, sizeof bytes);
	if (bit != 0)
		bytes[bit / 8 % WIRE_HELLO_SIZE] ^= (uint8_t)(1u << bit % 8);
	if (!home)
		message.endpoint.remote = network_address("203.0.113.9", (uint16_t)(1000 + i));
	harness_pump(h);
	struct traces before = traces_of(h);
	uint64_t count = node_counter(&h->gateway.node, STATS_rx_hello);
	if (!link_inject(&h->gateway.node.link, &message))
		return;
	harness_pump(h);
	count = node_counter(&h->gateway.node, STATS_rx_hello) - count;
	insist(count <= 1, "one HELLO, two handshakes");
	if (count == 1) {
		insist(bit == 0 || bit / 8 % WIRE_HELLO_SIZE >= WIRE_HELLO_MAC2,
		       "a HELLO that was changed is accepted");
		insist(!world->accepted[i], "a HELLO is accepted twice");
		world->accepted[i] = true;
	} else if (world->accepted[i]) {
		struct traces after = traces_of(h);
		insist(memcmp(&before, &after, sizeof before) == 0,
		       "a HELLO that was accepted before changes something");
	}
}

/* What is new arrives in its turn, while time goes by. */
static void settle(struct world *world, unsigned ticks)
{
	for (unsigned tick = 0; tick < ticks; tick++) {
		for (unsigned most = 0; most < 16 && world->next < world->impairment->kept_count; most++)
			deliver(world, world->next++, true, 0);
		harness_advance(world->h, WORKER_TICK_NS);
	}
}

static void change_peer(struct harness *h, size_t client)
{
	struct freshness freshness;
	uint8_t psk[KEY_SIZE];
	struct registry_peer changed = {.public_key = h->clients[client].identity.keys.public_key,
					.preshared_key = psk,
					.freshness = &freshness};
	const struct peer *peer = harness_peer(h, client);
	if (peer == NULL || !registry_peer_freshness(&h->gateway.registry, changed.public_key, &freshness))
		return;
	peer_preshared_key(peer, psk);
	(void)harness_remove_peer(h, client);
	harness_pump(h);
	insist(registry_add_peer(&h->gateway.registry, &changed, NULL) == 0, "a peer changes");
}

static void restart_gateway(struct world *world, bool orderly)
{
	struct harness *h = world->h;
	harness_stop_gateway(h, orderly);
	cookie_jar_init(&h->gateway.jar);
	harness_start_gateway(h);
}

static void restart_client(struct world *world, size_t client, bool orderly)
{
	harness_stop_client(world->h, client, orderly);
	harness_start_client(world->h, client);
	harness_connect(world->h, client);
}

static void peers_change(struct world *world, uint8_t choice)
{
	struct harness *h = world->h;
	size_t client = choice & 1;
	if (world->clocks) {
		uint64_t jump = NS_PER_S * (choice >> 2) * (JUMP_S / 64);
		h->clock.wall = choice & 2 ? h->clock.wall + jump : h->clock.wall - jump;
		return;
	}
	switch (choice >> 1 & 3) {
	case 0:
		restart_gateway(world, (choice & 8) != 0);
		break;
	case 1:
		(void)harness_remove_peer(h, client);
		break;
	case 2:
		(void)harness_add_peer(h, client);
		break;
	default:
		change_peer(h, client);
	}
	harness_pump(h);
}

static void step(struct world *world, struct input *input)
{
	uint8_t what = input_byte(input), choice = input_byte(input);
	size_t kept = world->impairment->kept_count;
	switch (what % 8) {
	case 0:
	case 1: /* any of all there were, the newest first */
		if (kept != 0)
			deliver(world, kept - 1 - choice % kept, (what & 8) != 0, 0);
		break;
	case 2:
		if (kept != 0)
			deliver(world, kept - 1 - choice % kept, true, input_u16(input));
		break;
	case 3:
	case 4:
		peers_change(world, choice);
		break;
	case 5:
		restart_client(world, choice & 1, (choice & 2) != 0);
		break;
	case 6: /* time without what the clients say */
		harness_advance(world->h, (1 + choice % 64) * WORKER_TICK_NS);
		break;
	default:
		if (harness_client_session(world->h, choice & 1) != NULL)
			(void)harness_ping(world->h, choice & 1, TO_GATEWAY);
		settle(world, 1 + (choice >> 1) % 64);
	}
	nobody_moved(world->h);
}

/* Without the attacker. */
static bool gets_through(struct world *world, size_t client)
{
	for (unsigned tries = 0; tries < 8; tries++) {
		settle(world, 20 * NS_PER_S / WORKER_TICK_NS);
		if (world->impairment->kept_count == IMPAIRMENT_KEPT)
			return true; /* no more are kept, so none arrive */
		if (harness_client_session(world->h, client) != NULL && harness_ping(world->h, client, TO_GATEWAY))
			return true;
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct world world = {.clocks = (input_byte(&input) & 1) != 0};
	world.h = harness_new(&(struct harness_options){
		.clients = CLIENTS, .late_ephemerals = true, .unproven = true, .reset = true, .rekey_interval = 30});
	world.impairment = impairment_new(world.h, 1);
	world.impairment->types = 1 << WIRE_HELLO;
	world.impairment->keep = true;
	world.impairment->lose = 100;
	for (size_t i = 0; i < CLIENTS; i++)
		harness_connect(world.h, i);
	settle(&world, 4);
	for (unsigned i = 0; i < STEPS && input.left > 0; i++)
		step(&world, &input);
	for (size_t i = 0; i < CLIENTS; i++) {
		if (harness_peer(world.h, i) == NULL)
			insist(harness_add_peer(world.h, i) == 0, "a peer comes back");
	}
	for (size_t i = 0; i < CLIENTS; i++)
		insist(gets_through(&world, i), "a client does not get through");
	nobody_moved(world.h);
	harness_pump(world.h);
	const char *problem = harness_problem(world.h);
	insist(problem == NULL, problem != NULL ? problem : "");
	impairment_free(world.impairment);
	harness_free(world.h);
	return 0;
}
