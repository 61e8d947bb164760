// SPDX-License-Identifier: Apache-2.0
/* The harness's gateway: workers, handshake threads and TUN reader as core/gateway/threads.c puts them together,
 * over links instead of sockets. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/harness/inside.h"

enum { COPIES = 64 };

static struct node *worker_node(struct gateway_node *gateway, unsigned i)
{
	return i == 0 ? &gateway->node : &gateway->others[i - 1];
}

static struct gateway_role *worker_role(struct gateway_node *gateway, unsigned i)
{
	return i == 0 ? &gateway->role : &gateway->other_roles[i - 1];
}

struct worker *harness_gateway_worker(struct harness *h, unsigned index)
{
	return worker_node(&h->gateway, index)->worker;
}

struct worker *harness_owner(struct harness *h, uint32_t session_id)
{
	return harness_gateway_worker(h, session_shard(&h->gateway.registry.table.sharding, session_id));
}

/* --- links and ciphers: once -------------------------------------------------------------------------------------- */

void gateway_open(struct harness *h)
{
	struct gateway_node *gateway = &h->gateway;
	const struct harness_options *options = &h->options;
	must(options->workers <= HARNESS_WORKERS && options->handshakers <= HARNESS_HANDSHAKERS, "too many threads");
	gateway->group[0] = &gateway->node.link;
	for (unsigned i = 1; i < options->workers; i++) {
		struct node *node = &gateway->others[i - 1];
		must(link_open_member(&node->link, &h->network, h->gateway_address) == 0, "link");
		node->tun = gateway->node.tun;
		node->tun.other = -1; /* frames are taken from the first one */
		node_settings(node, h);
		gateway->group[i] = &node->link;
	}
	for (unsigned i = 0; i < options->handshakers; i++) {
		struct node *node = &gateway->handshakes[i].node;
		must(link_open_member(&node->link, &h->network, h->gateway_address) == 0, "link");
		node_settings(node, h);
		gateway->group[options->workers + i] = &node->link;
	}
	gateway->links = (struct link_group){&gateway->handoff.steering, gateway->group};
	gateway->node.link.group = &gateway->links;
	cookie_jar_init(&gateway->jar);
	reset_secret_init(&gateway->reset_secret, gateway->identity.keys.private_key);
}

void gateway_close(struct harness *h)
{
	for (unsigned i = 1; i < h->options.workers; i++) {
		udp_close(&h->gateway.others[i - 1].link.base);
		node_close_engine(&h->gateway.others[i - 1]);
	}
	for (unsigned i = 0; i < h->options.handshakers; i++) {
		udp_close(&h->gateway.handshakes[i].node.link.base);
		node_close_engine(&h->gateway.handshakes[i].node);
	}
}

/* --- starting ----------------------------------------------------------------------------------------------------- */

static void start_registry(struct harness *h)
{
	const struct harness_options *options = &h->options;
	struct ip_prefix own[2];
	must(ip_prefix_parse(options->address4, &own[0]) && ip_prefix_parse(options->address6, &own[1]), "addresses");
	struct registry_params params = {.addresses = own,
					 .address_count = ARRAY_SIZE(own),
					 .max_sessions = options->max_sessions,
					 .workers = options->workers,
					 .expected_peers = options->listed,
					 .fence = options->block_peers != 0 ? &h->gateway.fence : NULL};
	fence_init(&h->gateway.fence, options->block_peers);
	must(registry_init(&h->gateway.registry, &params, NULL) == 0, "registry");
}

int harness_add_peer(struct harness *h, size_t client)
{
	const struct harness_options *options = &h->options;
	const char *const *texts = options->networks[client];
	struct ip_prefix networks[ARRAY_SIZE(options->networks[0])];
	uint8_t psk[KEY_SIZE];
	harness_psk(psk, (uint32_t)client);
	struct registry_peer peer = {
		.public_key = h->clients[client].identity.keys.public_key,
		.preshared_key = psk,
		.networks = networks,
		.limits = options->limits[client],
	};
	if (options->fixed[client] != NULL)
		must(ip_address_parse(options->fixed[client], &peer.address), "address");
	for (; peer.network_count < ARRAY_SIZE(networks) && texts[peer.network_count] != NULL; peer.network_count++)
		must(ip_prefix_parse(texts[peer.network_count], &networks[peer.network_count]), "network");
	return registry_add_peer(&h->gateway.registry, &peer, NULL);
}

static void tell(struct harness *h, const struct inbox_message *from)
{
	struct inbox_message *message = malloc(sizeof *message);
	must(message != NULL, "message");
	*message = *from;
	inbox_post(&harness_owner(h, from->session_id)->inbox, message);
}

bool harness_remove_peer(struct harness *h, size_t client)
{
	uint32_t ids[2];
	if (!registry_remove_peer(&h->gateway.registry, h->clients[client].identity.keys.public_key, ids))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		if (ids[i] != 0)
			tell(h, &(struct inbox_message){
					.kind = INBOX_END, .session_id = ids[i], .end.reason = WIRE_BYE_REMOVED});
	}
	return true;
}

static void tell_sessions(struct harness *h, const uint32_t ids[2])
{
	for (size_t i = 0; i < 2; i++) {
		if (ids[i] != 0)
			tell(h, &(struct inbox_message){.kind = INBOX_LIMITS, .session_id = ids[i]});
	}
}

void harness_limit_peer(struct harness *h, size_t client, const struct peer_limits *limits)
{
	uint32_t ids[2];
	registry_limit_peer(&h->gateway.registry, harness_peer(h, client), limits, ids);
	tell_sessions(h, ids);
}

void harness_change_networks(struct harness *h, size_t client, const struct ip_prefix *networks, size_t count)
{
	struct registry *registry = &h->gateway.registry;
	struct peer *peer = harness_peer(h, client);
	struct error error = {0};
	uint32_t ids[2];
	must(registry_keep_networks(registry, peer, networks, count) == 0, "networks that stay");
	must(registry_add_networks(registry, peer, networks, count, &error) == 0, error.text);
	if (registry_peer_sessions(registry, peer->public_key, ids))
		tell_sessions(h, ids);
}

void harness_change_preshared_key(struct harness *h, size_t client)
{
	struct peer *peer = harness_peer(h, client);
	uint8_t key[KEY_SIZE];
	peer_preshared_key(peer, key);
	key[5] ^= 1;
	registry_set_preshared_key(&h->gateway.registry, peer, key);
}

static void start_worker(struct harness *h, unsigned i)
{
	struct gateway_node *gateway = &h->gateway;
	struct node *node = worker_node(gateway, i);
	*worker_role(gateway, i) = (struct gateway_role){
		.registry = &gateway->registry,
		.reset_secret = h->options.reset ? &gateway->reset_secret : NULL,
		.session_timeout = h->options.session_timeout,
		.client_to_client = h->options.client_to_client,
		.initiators = h->options.wireguard ? gateway->initiators : NULL,
		.initiator_count = h->options.handshakers,
	};
	gateway_role_limits(worker_role(gateway, i), h->options.workers);
	event_source_init(&worker_role(gateway, i)->events, &gateway->events, h->options.workers);
	gateway->copies[i] = copy_ring_new(COPIES, UDP_MESSAGE_MAX, NULL);
	must(gateway->copies[i] != NULL, "copies");
	struct worker_params params = {
		.index = i,
		.role = &gateway_worker_role,
		.role_state = worker_role(gateway, i),
		.table = &gateway->registry.table,
		.handoff = &gateway->handoff,
		.copies = gateway->copies[i],
		.reads_tun = !h->options.reader,
		.sources = h->options.reader ? 1 : h->options.workers - 1,
		.wakers = !h->options.reader && h->options.workers > 1 ? gateway->wakers : NULL,
		.sparse = i == 0 && h->options.sparse_udp ? &gateway->sparse_sessions : NULL,
		.sparse_udp = &gateway->sparse_link.base,
	};
	node_start(node, &params);
	gateway->inboxes[i] = &node->worker->inbox;
	gateway->wakers[i] = &node->worker->loop.waker;
	gateway->targets[i] = (struct handoff_target){gateway->copies[i], gateway->wakers[i]};
}

/* Arrays of the program, without one. */
static void start_sparse(struct harness *h)
{
	struct gateway_node *gateway = &h->gateway;
	if (h->options.sparse) {
		must(tun_pair_open(&gateway->sparse, gateway->node.tun.queue.offloads) == 0, "second TUN");
		gateway->node.tun.queue.sparse = &gateway->sparse.queue;
		gateway->node.tun.queue.shared = &gateway->sparse_shared;
	}
	if (!h->options.sparse_udp)
		return;
	struct sparse_sessions *sparse = &gateway->sparse_sessions;
	*sparse = (struct sparse_sessions){
		.program = -1, .steering = gateway->handoff.steering, .members = SPARSE_SESSIONS_LEAST};
	sparse->queues = calloc(h->options.workers, sizeof *sparse->queues);
	sparse->sessions = calloc((size_t)h->options.workers * sparse->members, sizeof *sparse->sessions);
	must(sparse->queues != NULL && sparse->sessions != NULL, "arrays");
	must(link_open_member(&gateway->sparse_link, &h->network, h->gateway_address) == 0, "second link");
}

static void stop_sparse(struct gateway_node *gateway)
{
	if (gateway->node.tun.queue.sparse != NULL)
		tun_pair_close(&gateway->sparse);
	gateway->node.tun.queue.sparse = NULL;
	if (gateway->sparse_sessions.queues == NULL)
		return;
	udp_close(&gateway->sparse_link.base);
	free(gateway->sparse_sessions.queues);
	free(gateway->sparse_sessions.sessions);
	gateway->sparse_sessions.queues = NULL;
}

void harness_inject_sparse(struct harness *h, const struct udp_message *message)
{
	h->gateway.sparse_sessions.queues[0].entered++;
	must(link_inject(&h->gateway.sparse_link, message), "room in the second link");
}

static void start_reader(struct harness *h)
{
	struct gateway_node *gateway = &h->gateway;
	struct tun_reader_params params = {
		.tun = &gateway->node.tun.queue,
		.clock = gateway->node.clock,
		.registry = &gateway->registry,
		.wakers = gateway->wakers,
		.stage_sampling = gateway->node.stage_sampling,
		.ticks_per_second = NS_PER_S,
	};
	gateway->reader = tun_reader_new(&params, NULL);
	must(gateway->reader != NULL, "TUN reader");
	for (unsigned i = 0; i < h->options.workers; i++) {
		const struct worker_source rings = {.ring = frame_dispatch_ring(&gateway->reader->dispatch, i),
						    .sparse = frame_dispatch_sparse_ring(&gateway->reader->dispatch, i),
						    .busy = &gateway->reader->busy};
		worker_set_source(worker_node(gateway, i)->worker, 0, &rings);
	}
}

/* Workers that read the TUN pass frames to each other. */
static void connect_workers(struct harness *h)
{
	struct gateway_node *gateway = &h->gateway;
	for (unsigned i = 0; i < h->options.workers; i++) {
		size_t source = 0;
		for (unsigned other = 0; other < h->options.workers; other++) {
			if (other == i)
				continue;
			struct worker *reads = worker_node(gateway, other)->worker;
			const struct worker_source ring = {.ring = worker_ring(reads, i)};
			worker_set_source(worker_node(gateway, i)->worker, source++, &ring);
		}
	}
}

static void start_handshaker(struct harness *h, unsigned i)
{
	struct gateway_node *gateway = &h->gateway;
	struct handshake_node *handshake = &gateway->handshakes[i];
	handshake->copies = copy_ring_new(COPIES, UDP_MESSAGE_MAX, NULL);
	must(handshake->copies != NULL, "copies");
	struct handshaker_params params = {
		.common = &gateway->common,
		.udp = &handshake->node.link.base,
		.aead = node_engine(&handshake->node),
		.clock = handshake->node.clock,
		.handoff = &gateway->handoff,
		.copies = handshake->copies,
		.ephemerals = h->options.late_ephemerals ? 0 : HANDSHAKER_EPHEMERALS,
		.stage_sampling = handshake->node.stage_sampling,
		.ticks_per_second = NS_PER_S,
	};
	handshake->handshaker = handshaker_new(&params, NULL);
	must(handshake->handshaker != NULL, "handshake thread");
	gateway->initiators[i] = &handshake->handshaker->inbox;
	gateway->targets[h->options.workers + i] = (struct handoff_target){handshake->copies,
									   &handshake->handshaker->loop.waker};
}

/* The node of the first worker counts for all. */
static void collect_stats(struct harness *h)
{
	struct node *node = &h->gateway.node;
	for (unsigned i = 1; i < h->options.workers; i++)
		node->stats[node->stats_count++] = &h->gateway.others[i - 1].worker->loop.stats;
	for (unsigned i = 0; i < h->options.handshakers; i++)
		node->stats[node->stats_count++] = &h->gateway.handshakes[i].handshaker->loop.stats;
	if (h->gateway.reader != NULL)
		node->stats[node->stats_count++] = &h->gateway.reader->loop.stats;
}

void harness_start_gateway(struct harness *h)
{
	struct gateway_node *gateway = &h->gateway;
	const struct harness_options *options = &h->options;
	start_registry(h);
	for (size_t i = 0; i < options->listed; i++)
		must(harness_add_peer(h, i) == 0, "peer");
	gateway->handoff = (struct handoff){
		.steering = {.workers = options->workers,
			     .handshakers = options->handshakers,
			     .slot_mask = gateway->registry.table.sharding.slot_mask},
		.table = &gateway->registry.table,
		.targets = gateway->targets,
	};
	gateway->common = (struct handshaker_common){
		.registry = &gateway->registry,
		.identity = &gateway->identity,
		.wireguard = options->wireguard ? &gateway->wireguard : NULL,
		.jar = &gateway->jar,
		.reset_secret = &gateway->reset_secret,
		.inboxes = gateway->inboxes,
		.share = options->handshakers,
		.mtu = options->mtu,
		.rekey_interval = options->rekey_interval,
		.session_timeout = options->session_timeout,
		.suites = options->suites,
		.always_cookie = options->always_cookie,
		.events = &gateway->events,
	};
	must(event_queue_init(&gateway->events) == 0, "events");
	start_sparse(h);
	for (unsigned i = 0; i < options->workers; i++)
		start_worker(h, i);
	if (options->reader)
		start_reader(h);
	else
		connect_workers(h);
	for (unsigned i = 0; i < options->handshakers; i++)
		start_handshaker(h, i);
	collect_stats(h);
}

void harness_stop_gateway(struct harness *h, bool orderly)
{
	struct gateway_node *gateway = &h->gateway;
	for (unsigned i = 0; i < h->options.handshakers; i++) {
		gateway->initiators[i] = NULL;
		handshaker_free(gateway->handshakes[i].handshaker);
		copy_ring_free(gateway->handshakes[i].copies);
		link_clear(&gateway->handshakes[i].node.link);
	}
	for (unsigned i = 0; i < h->options.workers; i++) {
		node_stop(worker_node(gateway, i), orderly);
		copy_ring_free(gateway->copies[i]);
	}
	tun_reader_free(gateway->reader);
	gateway->reader = NULL;
	stop_sparse(gateway);
	event_queue_deinit(&gateway->events);
	registry_deinit(&gateway->registry);
}

/* --- running ------------------------------------------------------------------------------------------------------ */

static bool held(const struct gateway_node *gateway, unsigned number)
{
	return (gateway->held & 1u << number) != 0;
}

/* As core/gateway/contacts.c does. */
static void stand_peers(struct harness *h)
{
	struct registry_grant grant;
	while (h->options.wireguard &&
	       registry_stand(&h->gateway.registry, clock_monotonic(h->gateway.node.clock), &grant))
		tell(h, &(struct inbox_message){
				.kind = INBOX_STAND, .session_id = grant.session_id, .stand.made = grant.made});
}

bool gateway_turn(struct harness *h, bool *blocked)
{
	struct gateway_node *gateway = &h->gateway;
	bool moved = false;
	if (gateway->node.worker == NULL)
		return false;
	for (unsigned i = 0; i < h->options.workers; i++)
		moved |= !held(gateway, i) && node_turn(worker_node(gateway, i), blocked);
	for (unsigned i = 0; i < h->options.handshakers; i++)
		moved |= !held(gateway, h->options.workers + i) &&
			 handshaker_turn(gateway->handshakes[i].handshaker) > 0;
	if (gateway->reader != NULL)
		moved |= tun_reader_turn(gateway->reader) > 0;
	(void)registry_collect(&gateway->registry);
	stand_peers(h);
	return moved;
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

struct peer *harness_peer(struct harness *h, size_t client)
{
	return peers_find(&h->gateway.registry.peers, h->clients[client].identity.keys.public_key);
}

static struct session *active_session(const struct peer *peer)
{
	if (peer == NULL)
		return NULL;
	/* The registry notices the confirmation with the peer's next handshake. */
	return peer->pending != NULL && session_is_active(peer->pending) ? peer->pending : peer->active;
}

static struct session *pending_session(const struct peer *peer)
{
	return peer != NULL && peer->pending != NULL && !session_is_active(peer->pending) ? peer->pending : NULL;
}

struct session *harness_gateway_session(struct harness *h, size_t client)
{
	return active_session(harness_peer(h, client));
}

struct session *harness_pending_session(struct harness *h, size_t client)
{
	return pending_session(harness_peer(h, client));
}

static uint32_t sum_of_workers(struct harness *h, size_t offset)
{
	uint32_t sum = 0;
	for (unsigned i = 0; i < h->options.workers; i++)
		sum += *(_Atomic uint32_t *)((char *)worker_role(&h->gateway, i) + offset);
	return sum;
}

/* Sessions and addresses, counted anew from the peers. */
struct counted {
	uint32_t active, wireguard, pending, used;
	uint8_t taken[1 << 16];
};

/* What is wrong about the peer, or NULL. */
static const char *count_peer(struct counted *counted, const struct pool *pool, const struct peer *peer)
{
	const struct session *of[] = {active_session(peer), pending_session(peer)};
	counted->active += of[0] != NULL;
	counted->wireguard += of[0] != NULL && peer_protocol(peer) == PEER_WIREGUARD;
	counted->pending += of[1] != NULL;
	counted->used += of[0] != NULL || of[1] != NULL;
	if (of[0] != NULL && of[1] != NULL && of[0]->next != NULL)
		return "a peer has two pending handshakes";
	for (size_t k = 0; k < ARRAY_SIZE(of); k++) {
		if (of[k] == NULL || (k == 1 && of[0] != NULL && of[0]->pool_index == of[1]->pool_index))
			continue;
		if (of[k]->pool_index < sizeof counted->taken && counted->taken[of[k]->pool_index]++ != 0)
			return "an address has two owners";
	}
	if (of[0] != NULL && pool_lookup(pool, 4, of[0]->inner4.address.bytes) != of[0]->id)
		return "an active session's address leads elsewhere";
	return NULL;
}

static const char *count_peers(struct harness *h, struct counted *counted)
{
	struct registry *registry = &h->gateway.registry;
	const char *wrong = NULL;
	for (size_t i = 0; wrong == NULL && i < h->options.listed; i++)
		wrong = count_peer(counted, &registry->pool, harness_peer(h, i));
	struct peer_link walk;
	const struct peer *peer;
	peer_walk_begin(&walk, &registry->peers.wireguard);
	while (wrong == NULL && (peer = peer_walk_next(&walk, &registry->peers.wireguard)) != NULL)
		wrong = count_peer(counted, &registry->pool, peer);
	peer_walk_end(&walk);
	return wrong;
}

bool gateway_problem(struct harness *h)
{
	struct gateway_node *gateway = &h->gateway;
	struct pool *pool = &gateway->registry.pool;
	struct counted counted = {0};
	uint32_t sessions = 0;
	if (gateway->node.worker == NULL)
		return false;
	const char *wrong = count_peers(h, &counted);
	for (unsigned i = 0; i < h->options.workers; i++)
		sessions += worker_node(gateway, i)->worker->session_count;
	uint32_t gauge_active = sum_of_workers(h, offsetof(struct gateway_role, active));
	uint32_t gauge_pending = sum_of_workers(h, offsetof(struct gateway_role, pending));
	if (wrong != NULL)
		snprintf(h->problem, sizeof h->problem, "%s", wrong);
	else if (pool->used != counted.used)
		snprintf(h->problem, sizeof h->problem, "pool: %u used, %u have an owner", pool->used, counted.used);
	else if (gauge_active != counted.active || gauge_pending != counted.pending)
		snprintf(h->problem, sizeof h->problem, "gauges: %u active, %u pending, but %u and %u", gauge_active,
			 gauge_pending, counted.active, counted.pending);
	else if (sum_of_workers(h, offsetof(struct gateway_role, wireguard)) != counted.wireguard)
		snprintf(h->problem, sizeof h->problem, "not %u sessions of WireGuard clients", counted.wireguard);
	else if (sessions != counted.active + counted.pending)
		snprintf(h->problem, sizeof h->problem, "%u sessions, but %u", sessions,
			 counted.active + counted.pending);
	else
		return false;
	return true;
}
