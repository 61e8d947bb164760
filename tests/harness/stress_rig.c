// SPDX-License-Identifier: Apache-2.0
#include "tests/harness/stress_rig.h"

#include <stdlib.h>

#include "tests/harness/inside.h"

enum {
	STRESS_RIG_PAUSE_MS = 2,
	STRESS_RIG_SMALL = 2, /* packets of each client and direction, each time */
	STRESS_RIG_SUPER = 8, /* a super-packet every so many times */
	STRESS_RIG_SLOTS = 256,
	STRESS_RIG_HELLO_INNER = WIRE_HELLO_SIZE - WIRE_OVERHEAD,
};

void pause_ms(unsigned ms)
{
	const struct timespec time = {.tv_nsec = (long)ms * 1000000};
	(void)nanosleep(&time, NULL);
}

uint32_t stress_rig_random(uint32_t limit)
{
	static _Atomic uint64_t seeds;
	static _Thread_local struct random random;
	if (random.state == 0)
		random.state = (atomic_fetch_add_explicit(&seeds, 1, memory_order_relaxed) + 1) * 0x9e3779b97f4a7c15u;
	return random_below(&random, limit);
}

/* --- clocks ------------------------------------------------------------------------------------------------------- */

static uint64_t fast_monotonic(const struct clock *clock)
{
	(void)clock;
	return clock_monotonic(&clock_system) * STRESS_RIG_SPEED;
}

static uint64_t real_wall(const struct clock *clock)
{
	(void)clock;
	return clock_wall(&clock_system);
}

const struct clock stress_rig_fast_clock = {.monotonic = fast_monotonic, .wall = real_wall};

/* --- traffic ------------------------------------------------------------------------------------------------------ */

/* What one client sends, or is sent. */
struct stress_rig_flow {
	uint32_t address; /* that the frames are made for */
	uint8_t *small, *super;
	size_t small_length, super_length;
};

struct feed {
	struct stress_rig *rig;
	struct stress_rig_flow flows[HARNESS_CLIENTS][2]; /* enum direction */
	uint8_t frame[TUN_FRAME_MAX];
};

static void make_flow(struct stress_rig_flow *flow, size_t client, enum direction direction, uint32_t address,
		      size_t inner)
{
	static const uint8_t payload[20000];
	static const uint8_t remote[4] = {203, 0, 113, 9};
	struct packet_spec udp = packet_spec_plain(4, IPPROTO_UDP, (uint8_t)client);
	memcpy(direction == TO_GATEWAY ? udp.source : udp.destination, &address, sizeof address);
	memcpy(direction == TO_GATEWAY ? udp.destination : udp.source, remote, sizeof remote);
	struct packet_spec tcp = udp;
	tcp.protocol = IPPROTO_TCP;
	if (flow->small == NULL) {
		flow->small = calloc(1, TUN_FRAME_MAX);
		flow->super = calloc(1, TUN_FRAME_MAX);
		must(flow->small != NULL && flow->super != NULL, "frames");
	}
	flow->small_length = packet_build_frame(&udp, payload, inner - packet_header_length(&udp), 0, flow->small);
	flow->super_length = packet_build_frame(&tcp, payload, sizeof payload, 1380, flow->super);
	flow->address = address;
}

static void feed_flow(struct feed *feed, size_t client, enum direction direction, unsigned round)
{
	struct stress_rig *rig = feed->rig;
	struct stress_rig_flow *flow = &feed->flows[client][direction];
	struct harness *h = rig->h;
	struct tun_pair *tun = direction == TO_GATEWAY ? &h->clients[client].node.tun : &h->gateway.node.tun;
	uint32_t address = atomic_load_explicit(&rig->addresses[client], memory_order_relaxed);
	bool as_hello = direction == TO_GATEWAY && client < rig->hello_size_packets;
	if (address == 0)
		return;
	if (address != flow->address)
		make_flow(flow, client, direction, address, as_hello ? STRESS_RIG_HELLO_INNER : 300);
	for (unsigned i = 0; i < STRESS_RIG_SMALL; i++)
		(void)tun_pair_put(tun, flow->small, flow->small_length);
	if (round % STRESS_RIG_SUPER == client % STRESS_RIG_SUPER && !as_hello)
		(void)tun_pair_put(tun, flow->super, flow->super_length);
}

/* The source address says whose packet it is. */
static void note_arrival(struct stress_rig *rig, const uint8_t *frame)
{
	uint32_t source;
	memcpy(&source, frame + VNET_HEADER_SIZE + IPV4_AT_SOURCE, sizeof source);
	for (size_t i = 0; i < rig->h->options.clients; i++) {
		if (source == atomic_load_explicit(&rig->addresses[i], memory_order_relaxed))
			atomic_fetch_add_explicit(&rig->arrived[i], 1, memory_order_relaxed);
	}
}

static void *run_feeder(void *argument)
{
	struct stress_rig *rig = argument;
	struct harness *h = rig->h;
	struct feed *feed = calloc(1, sizeof *feed);
	must(feed != NULL, "feeder");
	feed->rig = rig;
	for (unsigned round = 0; !atomic_load_explicit(&rig->stop, memory_order_relaxed); round++) {
		for (size_t i = 0; i < h->options.clients; i++) {
			feed_flow(feed, i, TO_GATEWAY, round);
			feed_flow(feed, i, TO_CLIENT, round);
			while (tun_pair_take(&h->clients[i].node.tun, feed->frame) > 0)
				continue;
		}
		while (tun_pair_take(&h->gateway.node.tun, feed->frame) > 0)
			note_arrival(rig, feed->frame);
		pause_ms(STRESS_RIG_PAUSE_MS);
	}
	for (size_t i = 0; i < HARNESS_CLIENTS; i++) {
		for (unsigned k = 0; k < 2; k++) {
			free(feed->flows[i][k].small);
			free(feed->flows[i][k].super);
		}
	}
	free(feed);
	return NULL;
}

/* --- the control thread's view ------------------------------------------------------------------------------------ */

/* What `shardtunctl sessions` reads, and whether it can be true. */
static bool plausible(const struct session *session, uint32_t slot, uint32_t mask)
{
	const struct session_view *view = &session->view;
	static const uint8_t no_key[KEY_SIZE];
	uint64_t rx = atomic_load_explicit(&view->rx_packets, memory_order_relaxed);
	uint64_t tx = atomic_load_explicit(&view->tx_packets, memory_order_relaxed);
	uint64_t port = atomic_load_explicit(&view->remote[2], memory_order_relaxed);
	unsigned epoch = atomic_load_explicit(&view->epoch, memory_order_relaxed);
	unsigned suite = atomic_load_explicit(&view->suite, memory_order_relaxed);
	bool active = session_is_active(session);
	bool confirmed = epoch != 0 && suite != 0;
	return (session->id & mask) == slot && session->inner4.address.family != 0 &&
	       memcmp(session->peer->public_key, no_key, KEY_SIZE) != 0 && epoch <= 15 && (confirmed || !active) &&
	       port <= UINT16_MAX && rx < 1ull << 40 && tx < 1ull << 40;
}

static void walk(struct stress_rig *rig, uint32_t seen[STRESS_RIG_SLOTS])
{
	const struct session_table *table = &rig->h->gateway.registry.table;
	uint64_t orphans = 0;
	for (uint32_t slot = 0; slot <= table->sharding.slot_mask; slot++) {
		const struct session *session = rcu_read(&table->slots[slot]);
		uint32_t id = session != NULL ? session->id : 0;
		if (session != NULL && !plausible(session, slot, table->sharding.slot_mask))
			atomic_fetch_add_explicit(&rig->nonsense, 1, memory_order_relaxed);
		orphans += session != NULL && atomic_load_explicit(&session->peer->removed, memory_order_relaxed);
		if (id != seen[slot]) {
			atomic_fetch_add_explicit(&rig->appeared, id != 0, memory_order_relaxed);
			atomic_fetch_add_explicit(&rig->vanished, seen[slot] != 0, memory_order_relaxed);
		}
		seen[slot] = id;
	}
	atomic_store_explicit(&rig->orphans, orphans, memory_order_relaxed);
	atomic_fetch_add_explicit(&rig->walks, 1, memory_order_relaxed);
}

static void *run_looker(void *argument)
{
	struct stress_rig *rig = argument;
	struct gateway_node *gateway = &rig->h->gateway;
	uint32_t seen[STRESS_RIG_SLOTS] = {0};
	uint64_t before = 0;
	rcu_join();
	while (!atomic_load_explicit(&rig->stop, memory_order_relaxed)) {
		walk(rig, seen);
		uint64_t received = node_counter(&gateway->node, STATS_udp_rx_packets);
		if (received < before)
			atomic_fetch_add_explicit(&rig->nonsense, 1, memory_order_relaxed);
		before = received;
		(void)registry_collect(&gateway->registry);
		rcu_quiescent();
		rcu_offline();
		pause_ms(1);
		rcu_online();
	}
	rcu_leave();
	return NULL;
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

void stress_rig_look(struct stress_rig *rig)
{
	for (size_t i = 0; i < rig->h->options.clients; i++) {
		struct client_node *client = &rig->h->clients[i];
		harness_take_snapshot(client);
		uint32_t address;
		memcpy(&address, client->seen.lease.address4.address.bytes, sizeof address);
		if (client->seen.state == CLIENT_UP)
			atomic_store_explicit(&rig->addresses[i], address, memory_order_relaxed);
	}
}

/* Time passes; false when there is none left. */
static bool wait_a_little(struct stress_rig *rig, uint64_t *deadline)
{
	stress_rig_look(rig);
	/* That end is not read, and a full Unix socket would block the sender, as no network does. */
	for (size_t i = 0; i < rig->h->options.clients; i++) {
		if (rig->stopped[i])
			link_clear(&rig->h->clients[i].node.link);
	}
	pause_ms(STRESS_RIG_PAUSE_MS);
	uint64_t now = clock_monotonic(&clock_system);
	if (*deadline == 0)
		*deadline = now + STRESS_RIG_PATIENCE_S * NS_PER_S;
	return now < *deadline;
}

bool stress_rig_wait(struct stress_rig *rig, const _Atomic uint64_t *number, uint64_t least)
{
	uint64_t deadline = 0;
	while (atomic_load_explicit(number, memory_order_relaxed) < least) {
		if (!wait_a_little(rig, &deadline))
			return false;
	}
	return true;
}

bool stress_rig_wait_counter(struct stress_rig *rig, const struct node *node, enum stats_counter counter,
			     uint64_t least)
{
	uint64_t deadline = 0;
	while (node_counter(node, counter) < least) {
		if (!wait_a_little(rig, &deadline))
			return false;
	}
	return true;
}

bool stress_rig_wait_drops(struct stress_rig *rig, const struct node *node, enum drop_reason reason, uint64_t least)
{
	uint64_t deadline = 0;
	while (node_drops(node, reason) < least) {
		if (!wait_a_little(rig, &deadline))
			return false;
	}
	return true;
}

bool stress_rig_wait_up(struct stress_rig *rig, size_t client)
{
	uint64_t deadline = 0;
	while (rig->h->clients[client].seen.state != CLIENT_UP) {
		if (!wait_a_little(rig, &deadline))
			return false;
	}
	return true;
}

bool stress_rig_wait_traffic(struct stress_rig *rig, uint64_t packets)
{
	struct harness *h = rig->h;
	uint64_t goals[HARNESS_CLIENTS];
	for (size_t i = 0; i < h->options.clients; i++)
		goals[i] = node_counter(&h->clients[i].node, STATS_tun_tx_packets) + packets;
	bool good = stress_rig_wait_counter(rig, &h->gateway.node, STATS_tun_tx_packets,
					    node_counter(&h->gateway.node, STATS_tun_tx_packets) + packets);
	for (size_t i = 0; good && i < h->options.clients; i++)
		good = stress_rig_wait_counter(rig, &h->clients[i].node, STATS_tun_tx_packets, goals[i]);
	return good;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

void stress_rig_open(struct stress_rig *rig, const struct harness_options *options,
		     const struct clock *handshaker_clock)
{
	struct harness_options filled = *options;
	filled.clock = &clock_system;
	filled.reader = true;
	*rig = (struct stress_rig){.h = harness_new(&filled)};
	struct harness *h = rig->h;
	must(h->gateway.registry.table.sharding.slot_mask < STRESS_RIG_SLOTS, "too many slots");
	harness_stop_gateway(h, false);
	for (size_t i = 0; handshaker_clock != NULL && i < h->options.handshakers; i++)
		h->gateway.handshakes[i].node.clock = handshaker_clock;
	harness_start_gateway(h);
	for (size_t i = 0; i < h->options.clients; i++) {
		harness_stop_client(h, i, false);
		h->clients[i].node.clock = &stress_rig_fast_clock;
		harness_start_client(h, i);
	}
}

bool stress_rig_start(struct stress_rig *rig)
{
	struct harness *h = rig->h;
	harness_spawn_gateway(h);
	must(pthread_create(&rig->feeder, NULL, run_feeder, rig) == 0, "thread");
	must(pthread_create(&rig->looker, NULL, run_looker, rig) == 0, "thread");
	for (size_t i = 0; i < h->options.clients; i++) {
		harness_spawn_client(h, i);
		harness_connect(h, i);
	}
	bool up = true;
	for (size_t i = 0; i < h->options.clients; i++)
		up = up && stress_rig_wait_up(rig, i);
	return up;
}

void stress_rig_stop_client(struct stress_rig *rig, size_t client)
{
	harness_join_client(rig->h, client);
	harness_stop_client(rig->h, client, false);
	harness_start_client(rig->h, client);
	rig->stopped[client] = true;
}

void stress_rig_start_client(struct stress_rig *rig, size_t client)
{
	rig->stopped[client] = false;
	link_clear(&rig->h->clients[client].node.link);
	harness_spawn_client(rig->h, client);
	harness_connect(rig->h, client);
}

const char *stress_rig_end(struct stress_rig *rig)
{
	struct harness *h = rig->h;
	harness_join_gateway(h);
	for (size_t i = 0; i < h->options.clients; i++)
		harness_join_client(h, i);
	atomic_store_explicit(&rig->stop, true, memory_order_relaxed);
	(void)pthread_join(rig->feeder, NULL);
	rcu_offline();
	(void)pthread_join(rig->looker, NULL);
	rcu_online();
	h->network.hooks = (struct link_hooks){0};
	harness_pump(h);
	return harness_problem(h);
}

void stress_rig_close(struct stress_rig *rig)
{
	harness_free(rig->h);
}
