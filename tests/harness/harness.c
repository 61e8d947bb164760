// SPDX-License-Identifier: Apache-2.0
#include "tests/harness/inside.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/log.h"
#include "core/protocol/wg_handshake.h"

enum {
	PUMP_ROUNDS = 100000, /* a network that is not quiet by then is broken */
	PUMP_BLOCKED = 64,    /* turns in which nothing moves and a socket takes no more */
};

void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "harness: %s: %s\n", what, strerror(errno));
	abort();
}

/* --- clock -------------------------------------------------------------------------------------------------------- */

static uint64_t manual_monotonic(const struct clock *clock)
{
	return ((const struct manual_clock *)clock)->monotonic;
}

static uint64_t manual_wall(const struct clock *clock)
{
	return ((const struct manual_clock *)clock)->wall;
}

/* --- nodes -------------------------------------------------------------------------------------------------------- */

void node_settings(struct node *node, struct harness *h)
{
	if (h->options.fast_aead)
		node->fast = aead_engine_new("auto", NULL);
	else
		checked_aead_init(&node->checked, "auto");
	node->clock = h->options.clock != NULL ? h->options.clock : &h->clock.base;
	node->stage_sampling = h->options.stage_sampling;
}

static void node_open(struct node *node, struct harness *h, struct sockaddr_in6 address)
{
	bool offloads = !h->options.no_offloads;
	must(link_open(&node->link, &h->network, address) == 0, "link");
	must(tun_pair_open(&node->tun, (struct tun_offloads){offloads, offloads, offloads}) == 0, "tun");
	node_settings(node, h);
}

struct aead_engine *node_engine(struct node *node)
{
	return node->fast != NULL ? node->fast : &node->checked.base;
}

void node_start(struct node *node, const struct worker_params *wanted)
{
	struct worker_params params = *wanted;
	params.udp = &node->link.base;
	params.tun = &node->tun.queue;
	params.aead = node_engine(node);
	params.clock = node->clock;
	params.stage_sampling = node->stage_sampling;
	params.ticks_per_second = NS_PER_S;
	node->worker = worker_new(&params, NULL);
	must(node->worker != NULL, "worker");
	node->stats[node->stats_count++] = &node->worker->loop.stats;
}

void node_stop(struct node *node, bool orderly)
{
	if (orderly) {
		event_loop_stop(&node->worker->loop);
		worker_run(node->worker);
	}
	worker_free(node->worker);
	node->worker = NULL;
	node->stats_count = 0;
	link_clear(&node->link);
}

static void node_collect(struct node *node)
{
	uint8_t frame[TUN_FRAME_MAX];
	size_t length;
	while ((length = tun_pair_take(&node->tun, frame)) > 0) {
		if (node->frame_first + node->frame_count == node->frame_room) {
			node->frame_room = node->frame_room * 2 + 64;
			node->frames = realloc(node->frames, node->frame_room * sizeof *node->frames);
			must(node->frames != NULL, "frames");
		}
		struct frame *kept = &node->frames[node->frame_first + node->frame_count++];
		*kept = (struct frame){.data = malloc(length), .length = (uint32_t)length};
		must(kept->data != NULL, "frame");
		memcpy(kept->data, frame, length);
	}
}

/* Frames that were given out live until here. */
static void node_forget(struct node *node)
{
	for (size_t i = 0; i < node->frame_first; i++)
		free(node->frames[i].data);
	if (node->frame_first != 0)
		memmove(node->frames, node->frames + node->frame_first, node->frame_count * sizeof *node->frames);
	node->frame_first = 0;
}

void node_close_engine(struct node *node)
{
	if (node->fast != NULL)
		aead_engine_free(node->fast);
	else
		checked_aead_deinit(&node->checked);
}

static void node_close(struct node *node)
{
	worker_free(node->worker);
	session_table_deinit(&node->table);
	node->frame_first += node->frame_count;
	node->frame_count = 0;
	node_forget(node);
	free(node->frames);
	tun_pair_close(&node->tun);
	udp_close(&node->link.base);
	node_close_engine(node);
}

/* --- gateway and clients ------------------------------------------------------------------------------------------ */

/* The gateway's private key is number 0, client i's is i + 1. */
static void make_identity(struct handshake_identity *identity, uint32_t number)
{
	uint8_t private_key[KEY_SIZE];
	key_derive(private_key, sizeof private_key, NULL, 0, "harness identity", &number, sizeof number);
	handshake_identity_init(identity, private_key);
}

void harness_psk(uint8_t psk[KEY_SIZE], uint32_t number)
{
	key_derive(psk, KEY_SIZE, NULL, 0, "harness psk", &number, sizeof number);
}

static uint32_t available_suites(struct node *node)
{
	uint32_t mask = 0;
	for (unsigned suite = AEAD_SUITE_FIRST; suite <= AEAD_SUITE_LAST; suite++) {
		if (aead_engine_suite(node_engine(node), suite) != NULL)
			mask |= 1u << suite;
	}
	return mask;
}

void harness_allow(struct harness *h, size_t client, const char *const *networks, size_t count)
{
	enum { MOST = 8 };
	struct ip_prefix prefixes[MOST];
	must(count <= MOST, "AllowedIPs");
	for (size_t i = 0; i < count; i++)
		must(ip_prefix_parse(networks[i], &prefixes[i]), "AllowedIPs");
	ip_set_deinit(&h->clients[client].allowed);
	must(ip_set_init(&h->clients[client].allowed, prefixes, count) == 0, "AllowedIPs");
}

void harness_start_client(struct harness *h, size_t client)
{
	struct client_node *c = &h->clients[client];
	c->role = (struct client_role){
		.identity = &c->identity,
		.remote = &c->remote,
		.allowed = &c->allowed,
		.networks = &c->networks,
		.mtu = h->options.mtu,
		.persistent_keepalive = h->options.persistent_keepalive,
	};
	memcpy(c->role.suites, h->options.client_suites, sizeof c->role.suites);
	must(client_role_init(&c->role) == 0, "client role");
	c->seen = (struct client_snapshot){.bye_reason = -1};
	must(session_table_init(&c->node.table, 1, 1) == 0, "table");
	struct worker_params params = {
		.role = &client_worker_role, .role_state = &c->role, .table = &c->node.table, .reads_tun = true};
	node_start(&c->node, &params);
}

void harness_stop_client(struct harness *h, size_t client, bool orderly)
{
	struct client_node *c = &h->clients[client];
	node_stop(&c->node, orderly);
	session_table_deinit(&c->node.table);
	client_role_deinit(&c->role);
}

static void fill_options(struct harness_options *o, const struct harness_options *wished)
{
	*o = *wished;
	must(o->clients <= HARNESS_CLIENTS, "too many clients");
	o->listed = o->listed != 0 ? o->listed : o->clients;
	o->address4 = o->address4 != NULL ? o->address4 : "10.8.0.1/24";
	o->address6 = o->address6 != NULL ? o->address6 : "fd00:8::1/64";
	o->workers = o->workers != 0 ? o->workers : 1;
	o->handshakers = o->handshakers != 0 ? o->handshakers : 1;
	o->max_sessions = o->max_sessions != 0 ? o->max_sessions : 64;
	o->mtu = o->mtu != 0 ? o->mtu : HARNESS_MTU;
	o->rekey_interval = o->rekey_interval != 0 ? o->rekey_interval : HARNESS_REKEY_INTERVAL;
	o->session_timeout = o->session_timeout != 0 ? o->session_timeout : HARNESS_SESSION_TIMEOUT;
}

static void fill_suites(struct harness *h)
{
	uint32_t available = available_suites(&h->gateway.node);
	if (h->options.suites == 0)
		h->options.suites = available;
	uint8_t *offer = h->options.client_suites;
	if (offer[0] != 0)
		return;
	for (unsigned suite = AEAD_SUITE_FIRST; suite <= AEAD_SUITE_LAST; suite++) {
		if (available & 1u << suite)
			*offer++ = (uint8_t)suite;
	}
}

static void open_client(struct harness *h, size_t i)
{
	struct client_node *c = &h->clients[i];
	char text[64];
	snprintf(text, sizeof text, h->options.ipv6_outside ? "2001:db8:1::%zu" : "198.51.100.%zu", i + 1);
	node_open(&c->node, h, network_address(text, (uint16_t)(40000 + i)));
	uint8_t psk[KEY_SIZE];
	make_identity(&c->identity, (uint32_t)i + 1);
	harness_psk(psk, (uint32_t)i);
	must(handshake_remote_init(&c->remote, &c->identity, h->gateway.identity.keys.public_key, psk), "remote");
	harness_allow(h, i, (const char *const[]){"0.0.0.0/0", "::/0"}, 2);
}

struct harness *harness_new(const struct harness_options *options)
{
	log_set_level(LOG_LEVEL_ERROR);
	must(keys_init(NULL) == 0, "keys");
	struct harness *h = calloc(1, sizeof *h);
	must(h != NULL, "memory");
	fill_options(&h->options, options);
	h->clock = (struct manual_clock){
		.base = {.monotonic = manual_monotonic, .wall = manual_wall},
		.monotonic = 1000 * NS_PER_S,
		.wall = 1800000000 * NS_PER_S,
	};
	h->gateway_address = network_address(h->options.ipv6_outside ? "2001:db8::1" : "192.0.2.1", HARNESS_PORT);
	make_identity(&h->gateway.identity, 0);
	uint8_t private_key[KEY_SIZE];
	key_derive(private_key, sizeof private_key, NULL, 0, "harness wireguard gateway", NULL, 0);
	wg_identity_init(&h->gateway.wireguard, private_key);
	rcu_join();
	node_open(&h->gateway.node, h, h->gateway_address);
	gateway_open(h);
	for (size_t i = 0; i < h->options.clients; i++)
		open_client(h, i);
	fill_suites(h);
	harness_start_gateway(h);
	for (size_t i = 0; !h->options.unproven && i < h->options.listed; i++) {
		struct freshness *freshness = &harness_peer(h, i)->freshness;
		*freshness = (struct freshness){.at = clock_monotonic(h->gateway.node.clock), .proven = true};
		wire_timestamp(freshness->last, clock_wall(h->gateway.node.clock));
	}
	for (size_t i = 0; i < h->options.clients; i++)
		harness_start_client(h, i);
	return h;
}

void harness_free(struct harness *h)
{
	if (h == NULL)
		return;
	for (size_t i = 0; i < h->options.clients; i++) {
		if (h->clients[i].node.worker != NULL)
			client_role_deinit(&h->clients[i].role);
		ip_set_deinit(&h->clients[i].allowed);
		node_close(&h->clients[i].node);
	}
	if (h->gateway.node.worker != NULL)
		harness_stop_gateway(h, false);
	node_close(&h->gateway.node);
	gateway_close(h);
	rcu_leave();
	free(h);
}

/* --- running ------------------------------------------------------------------------------------------------------ */

void harness_connect(struct harness *h, size_t client)
{
	struct client_target *target = malloc(sizeof *target);
	must(target != NULL, "target");
	*target = (struct client_target){.candidates = {{h->gateway_address, h->options.mtu}}, .count = 1};
	free(mailbox_post(&h->clients[client].role.targets, target));
	worker_wake(h->clients[client].node.worker);
}

void harness_take_snapshot(struct client_node *client)
{
	struct client_snapshot *snapshot = mailbox_take(&client->role.snapshots);
	if (snapshot == NULL)
		return;
	client->seen = *snapshot;
	client->snapshots++;
	free(snapshot);
}

/* A node's turn: whether anything moved. */
bool node_turn(struct node *node, bool *blocked)
{
	if (node->worker == NULL)
		return false;
	uint64_t sent = node_counter(node, STATS_udp_tx_packets);
	bool moved = worker_turn(node->worker) > 0;
	node_collect(node);
	*blocked |= node->worker->send.blocked;
	return moved || node_counter(node, STATS_udp_tx_packets) != sent;
}

void harness_pump(struct harness *h)
{
	node_forget(&h->gateway.node);
	for (size_t i = 0; i < h->options.clients; i++)
		node_forget(&h->clients[i].node);

	unsigned rounds = 0, still = 0;
	bool moved, blocked;
	do {
		blocked = false;
		moved = gateway_turn(h, &blocked);
		for (size_t i = 0; i < h->options.clients; i++) {
			moved |= node_turn(&h->clients[i].node, &blocked);
			if (h->clients[i].node.worker != NULL)
				harness_take_snapshot(&h->clients[i]);
		}
		still = moved ? 0 : still + 1;
		must(++rounds < PUMP_ROUNDS, "the workers never rest");
	} while (moved || (blocked && still < PUMP_BLOCKED));
}

void harness_advance(struct harness *h, uint64_t ns)
{
	harness_pump(h);
	while (ns > 0) {
		uint64_t step = ns < WORKER_TICK_NS ? ns : WORKER_TICK_NS;
		h->clock.monotonic += step;
		h->clock.wall += step;
		ns -= step;
		harness_pump(h);
	}
}

bool harness_wait(struct harness *h, size_t client, enum client_state state, uint64_t ns)
{
	for (uint64_t waited = 0;; waited += WORKER_TICK_NS) {
		harness_pump(h);
		if (h->clients[client].role.state == state)
			return true;
		if (waited >= ns)
			return false;
		harness_advance(h, WORKER_TICK_NS);
	}
}

bool harness_up(struct harness *h)
{
	bool up = true;
	for (size_t i = 0; i < h->options.clients; i++)
		harness_connect(h, i);
	for (size_t i = 0; i < h->options.clients; i++)
		up &= harness_wait(h, i, CLIENT_UP, 5 * NS_PER_S);
	return up;
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

struct session *harness_client_session(struct harness *h, size_t client)
{
	return h->clients[client].role.session;
}

uint64_t node_counter(const struct node *node, enum stats_counter counter)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < node->stats_count; i++)
		sum += atomic_load_explicit(&node->stats[i]->counters[counter], memory_order_relaxed);
	return sum;
}

uint64_t node_drops(const struct node *node, enum drop_reason reason)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < node->stats_count; i++)
		sum += atomic_load_explicit(&node->stats[i]->drops[reason], memory_order_relaxed);
	return sum;
}

static bool node_problem(struct harness *h, const struct node *node, const char *name)
{
	if (node->checked.reused != 0) {
		snprintf(h->problem, sizeof h->problem, "%s: %zu nonces were used again", name, node->checked.reused);
		return true;
	}
	if (node->worker == NULL)
		return false;
	struct stats_snapshot sum = {0};
	for (size_t i = 0; i < node->stats_count; i++)
		stats_read(node->stats[i], &sum);
	const uint64_t *counters = sum.counters;
	uint64_t up = counters[STATS_tun_tx_packets] + counters[STATS_rx_control] + stats_drop_sum(&sum, UPLINK);
	uint64_t down = counters[STATS_udp_tx_data] + stats_drop_sum(&sum, DOWNLINK);
	uint64_t received = counters[STATS_udp_rx_packets] + counters[STATS_forwards_taken];
	if (received != up)
		snprintf(h->problem, sizeof h->problem, "%s: %lu datagrams received, %lu accounted for", name, received,
			 up);
	else if (counters[STATS_tun_rx_packets] != down)
		snprintf(h->problem, sizeof h->problem, "%s: %lu packets read from the TUN, %lu accounted for", name,
			 counters[STATS_tun_rx_packets], down);
	else if (counters[STATS_udp_tx_packets] != counters[STATS_udp_tx_data] + counters[STATS_udp_tx_control])
		snprintf(h->problem, sizeof h->problem, "%s: sent datagrams are neither data nor control", name);
	else if (node->worker->send.count != 0)
		snprintf(h->problem, sizeof h->problem, "%s: not quiet: %u trains wait", name,
			 node->worker->send.count);
	else
		return false;
	return true;
}

/* No two that seal may use the same nonce under one key, whichever threads they are. */
static bool nonce_problem(struct harness *h)
{
	const struct checked_aead *engines[HARNESS_WORKERS + HARNESS_HANDSHAKERS + HARNESS_CLIENTS];
	size_t count = 0;
	engines[count++] = &h->gateway.node.checked;
	for (size_t i = 1; i < h->options.workers; i++)
		engines[count++] = &h->gateway.others[i - 1].checked;
	for (size_t i = 0; i < h->options.handshakers; i++)
		engines[count++] = &h->gateway.handshakes[i].node.checked;
	for (size_t i = 0; i < h->options.clients; i++)
		engines[count++] = &h->clients[i].node.checked;
	size_t reused = checked_aead_reused(engines, count);
	if (reused != 0)
		snprintf(h->problem, sizeof h->problem, "%zu nonces were used again", reused);
	return reused != 0;
}

const char *harness_problem(struct harness *h)
{
	char name[32];
	if (node_problem(h, &h->gateway.node, "gateway") || gateway_problem(h))
		return h->problem;
	for (size_t i = 0; i < h->options.clients; i++) {
		snprintf(name, sizeof name, "client %zu", i);
		if (node_problem(h, &h->clients[i].node, name))
			return h->problem;
	}
	return nonce_problem(h) ? h->problem : NULL;
}
