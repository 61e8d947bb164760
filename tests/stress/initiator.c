// SPDX-License-Identifier: Apache-2.0
/* A gateway that initiates WireGuard handshakes, on all its threads and under traffic: to peers that answer, that do
 * not, and that initiate at the same time; while their Endpoints, networks and pre-shared keys become others, they go
 * and come, and another thread reads what "wg show" shows; until the end comes in the middle of that. Under
 * ThreadSanitizer this is the test of what passes between workers, handshake threads and the control plane. The
 * gateway's clock is fast, so that attempts end and keys grow old within seconds. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>

#include "tests/harness/stress_rig.h"
#include "tests/harness/wireguard.h"
#include "tests/stress/tap.h"

enum {
	PEERS = 6, /* the first of which says nothing, and is left as it is */
	PATIENCE_S = 120,
	CHANGE_MS = 10, /* between two changes */
	BEGINS = 48,	/* rounds of traffic between two handshakes that a peer begins */
	/* what has to happen, at least */
	PACKETS = 500,
	INITIATIONS = 60,
	RESPONSES = 30,
	BEGUN = 10, /* by peers */
	UNANSWERED = 1,
	REKEYS = 10,
	CHANGES = 100,
	REMOVALS = 10,
	LOOKS = 100,
};

struct scene {
	struct harness *h;
	struct wireguard *w;
	pthread_t peers, looker;
	uint8_t *frames[PEERS]; /* to each, for the gateway's TUN */
	size_t lengths[PEERS];
	struct sockaddr_in6 addresses[PEERS]; /* where they are; constant */
	struct ip_address inner[PEERS];
	uint8_t keys[PEERS][KEY_SIZE], right[PEERS][KEY_SIZE], wrong[PEERS][KEY_SIZE]; /* public, pre-shared */
	unsigned changes, removals, stands, resolved;				       /* of the control plane */
	_Atomic bool stop;
	_Atomic uint64_t packets; /* that peers received */
	_Atomic uint64_t looks;	  /* at a session with keys */
	_Atomic uint64_t nonsense;
};

/* --- the peers ---------------------------------------------------------------------------------------------------- */

static void send_some(struct scene *scene, unsigned round)
{
	struct wireguard *w = scene->w;
	for (size_t i = 0; i < PEERS; i++) {
		(void)tun_pair_put(&scene->h->gateway.node.tun, scene->frames[i], scene->lengths[i]);
		if (round % 4 == 0 && w->clients[i].current.key != NULL)
			wireguard_send(w, i, NULL, 0);
	}
	if (round % BEGINS != 0)
		return;
	size_t who = 1 + round / BEGINS % (PEERS - 1);
	wireguard_prepare(w, who);
	wireguard_send_initiation(w, who);
}

static void *run_peers(void *argument)
{
	struct scene *scene = argument;
	uint8_t *frame = malloc(TUN_FRAME_MAX);
	for (unsigned round = 1; !atomic_load_explicit(&scene->stop, memory_order_relaxed); round++) {
		send_some(scene, round);
		(void)wireguard_receive(scene->w);
		for (size_t i = 0; i < PEERS; i++) {
			struct wireguard_packet *packet;
			while ((packet = wireguard_take(scene->w, i)) != NULL) {
				atomic_fetch_add_explicit(&scene->packets, 1, memory_order_relaxed);
				free(packet);
			}
		}
		while (tun_pair_take(&scene->h->gateway.node.tun, frame) > 0)
			continue;
		pause_ms(1);
	}
	free(frame);
	return NULL;
}

/* --- the looker --------------------------------------------------------------------------------------------------- */

/* As core/gateway/wireguard_get.c does: the key is one of two, and no mixture. */
static void look(struct scene *scene, size_t i)
{
	struct registry *registry = &scene->h->gateway.registry;
	const struct peer *peer = peers_find(&registry->peers, scene->keys[i]);
	if (peer == NULL)
		return;
	uint8_t key[KEY_SIZE];
	peer_preshared_key(peer, key);
	const struct contact *contact = peer_contact(peer);
	const struct peer_networks *networks = peer_networks(peer);
	const struct session *session = registry_peer_session(registry, peer);
	bool good = memcmp(key, scene->right[i], KEY_SIZE) == 0 || memcmp(key, scene->wrong[i], KEY_SIZE) == 0;
	good &= contact == NULL || contact->host == NULL || strcmp(contact->host, "peer.example") == 0;
	for (uint32_t n = 0; n < networks->count; n++)
		good &= networks->items[n].length == 24;
	if (!good)
		atomic_fetch_add_explicit(&scene->nonsense, 1, memory_order_relaxed);
	if (session != NULL && atomic_load_explicit(&session->view.keyed, memory_order_relaxed) != 0)
		atomic_fetch_add_explicit(&scene->looks, 1, memory_order_relaxed);
}

static void *run_looker(void *argument)
{
	struct scene *scene = argument;
	rcu_join();
	while (!atomic_load_explicit(&scene->stop, memory_order_relaxed)) {
		for (size_t i = 0; i < PEERS; i++)
			look(scene, i);
		rcu_quiescent();
		rcu_offline();
		pause_ms(1);
		rcu_online();
	}
	rcu_leave();
	return NULL;
}

/* --- the control plane -------------------------------------------------------------------------------------------- */

static void post(struct scene *scene, const struct inbox_message *from)
{
	struct gateway_node *gateway = &scene->h->gateway;
	struct inbox_message *message = malloc(sizeof *message);
	if (message == NULL)
		abort();
	*message = *from;
	inbox_post(gateway->inboxes[session_shard(&gateway->registry.table.sharding, from->session_id)], message);
}

static void post_each(struct scene *scene, const uint32_t ids[2], enum inbox_kind kind)
{
	for (size_t i = 0; i < 2; i++) {
		if (ids[i] != 0)
			post(scene, &(struct inbox_message){
					    .kind = kind, .session_id = ids[i], .end.reason = WIRE_BYE_REMOVED});
	}
}

static void insist(bool good)
{
	if (!good)
		abort();
}

/* Where it is, where nothing is, or a name that is to be resolved. */
static struct contact some_contact(const struct scene *scene, size_t i)
{
	struct contact contact = {.endpoint = scene->addresses[i], .keepalive = (uint16_t)stress_rig_random(40)};
	uint32_t dice = stress_rig_random(4);
	if (dice == 0)
		contact.endpoint = network_address("198.51.100.250", 9);
	if (dice == 1) {
		contact.host = "peer.example";
		contact.endpoint.sin6_addr = in6addr_any;
	}
	return contact;
}

static void add_peer(struct scene *scene, size_t i)
{
	const struct registry_peer peer = {.public_key = scene->keys[i],
					   .preshared_key = scene->right[i],
					   .address = scene->inner[i],
					   .protocol = PEER_WIREGUARD,
					   .contact.endpoint = scene->addresses[i]};
	insist(registry_add_peer(&scene->h->gateway.registry, &peer, NULL) == 0);
}

static void remove_peer(struct scene *scene, size_t i)
{
	uint32_t ids[2] = {0};
	(void)registry_remove_peer(&scene->h->gateway.registry, scene->keys[i], ids);
	post_each(scene, ids, INBOX_END);
}

static void change_networks(struct scene *scene, size_t i, struct peer *peer)
{
	struct registry *registry = &scene->h->gateway.registry;
	struct error error;
	const struct ip_prefix networks[] = {{{4, {192, 168, (uint8_t)(2 * i), 0}}, 24},
					     {{4, {192, 168, (uint8_t)(2 * i + 1), 0}}, 24}};
	size_t first = stress_rig_random(2), count = stress_rig_random((uint32_t)(3 - first));
	insist(registry_keep_networks(registry, peer, &networks[first], count) == 0);
	insist(registry_add_networks(registry, peer, &networks[first], count, &error) == 0);
}

static void change(struct scene *scene, size_t i)
{
	struct registry *registry = &scene->h->gateway.registry;
	struct peer *peer = peers_find(&registry->peers, scene->keys[i]);
	const struct contact contact = some_contact(scene, i);
	uint32_t ids[2], dice = stress_rig_random(8);
	scene->changes++;
	if (dice == 0) {
		remove_peer(scene, i);
		add_peer(scene, i);
		scene->removals++;
		return;
	}
	if (dice < 3)
		registry_set_preshared_key(registry, peer, dice == 1 ? scene->wrong[i] : scene->right[i]);
	else if (dice < 5)
		change_networks(scene, i, peer);
	else
		insist(registry_reach_peer(registry, peer, &contact) == 0);
	if (registry_peer_sessions(registry, scene->keys[i], ids))
		post_each(scene, ids, INBOX_LIMITS);
}

/* What core/gateway/contacts.c does each second. */
static void keep_standing(struct scene *scene)
{
	struct registry *registry = &scene->h->gateway.registry;
	struct registry_grant grant;
	struct registry_name name;
	uint32_t ids[2];
	(void)registry_collect(registry);
	while (registry_stand(registry, clock_monotonic(&stress_rig_fast_clock), &grant)) {
		scene->stands++;
		if (grant.made != NULL)
			post(scene, &(struct inbox_message){.kind = INBOX_STAND,
							    .session_id = grant.session_id,
							    .stand.made = grant.made});
	}
	while (registry_next_name(registry, clock_monotonic(&stress_rig_fast_clock), &name)) {
		for (size_t i = 0; i < PEERS; i++) {
			if (memcmp(name.public_key, scene->keys[i], KEY_SIZE) != 0)
				continue;
			registry_resolved(registry, &name, &scene->addresses[i].sin6_addr, ids);
			post_each(scene, ids, INBOX_LIMITS);
			scene->resolved++;
		}
	}
}

static bool happened(const struct scene *scene)
{
	const struct node *gateway = &scene->h->gateway.node;
	return scene->packets >= PACKETS && scene->changes >= CHANGES && scene->removals >= REMOVALS &&
	       scene->looks >= LOOKS && scene->resolved > 0 &&
	       node_counter(gateway, STATS_tx_wg_initiation) >= INITIATIONS &&
	       node_counter(gateway, STATS_rx_wg_response) >= RESPONSES &&
	       node_counter(gateway, STATS_rx_wg_initiation) >= BEGUN &&
	       node_counter(gateway, STATS_wg_unanswered) >= UNANSWERED &&
	       node_counter(gateway, STATS_staged_frames) > 0 && node_counter(gateway, STATS_rekeys) >= REKEYS;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static void make_peer(struct scene *scene, size_t i)
{
	static const uint8_t payload[200];
	struct wireguard *w = scene->w;
	struct wireguard_client *c = &w->clients[i];
	struct packet_spec spec = wireguard_spec(w, i, TO_CLIENT, 4, IPPROTO_UDP);
	scene->frames[i] = calloc(1, TUN_FRAME_MAX);
	insist(scene->frames[i] != NULL);
	scene->lengths[i] = packet_build_frame(&spec, payload, sizeof payload, 0, scene->frames[i]);
	scene->addresses[i] = c->address;
	scene->inner[i] = c->inner4.address;
	memcpy(scene->keys[i], c->identity.keys.public_key, KEY_SIZE);
	memcpy(scene->right[i], c->remote.preshared_key, KEY_SIZE);
	for (size_t n = 0; n < KEY_SIZE; n++)
		scene->wrong[i][n] = scene->right[i][n] ^ 0xa5;
	c->responds = i != 0;
	remove_peer(scene, i);
	add_peer(scene, i);
}

static void set_up(struct scene *scene)
{
	struct harness *h = harness_new(&(struct harness_options){.clients = 1,
								  .wireguard = true,
								  .clock = &stress_rig_fast_clock,
								  .workers = 3,
								  .handshakers = 2,
								  .reader = true});
	*scene = (struct scene){.h = h, .w = wireguard_new(h, PEERS)};
	scene->w->lossy = true;
	for (size_t i = 0; i < PEERS; i++)
		make_peer(scene, i);
	harness_spawn_gateway(h);
	insist(pthread_create(&scene->peers, NULL, run_peers, scene) == 0);
	insist(pthread_create(&scene->looker, NULL, run_looker, scene) == 0);
}

static void control(struct scene *scene)
{
	uint64_t deadline = clock_monotonic(&clock_system) + PATIENCE_S * NS_PER_S;
	while (!happened(scene) && clock_monotonic(&clock_system) < deadline) {
		rcu_online();
		keep_standing(scene);
		change(scene, 1 + stress_rig_random(PEERS - 1));
		rcu_offline();
		pause_ms(CHANGE_MS);
	}
}

static void end(struct scene *scene)
{
	harness_join_gateway(scene->h);
	atomic_store_explicit(&scene->stop, true, memory_order_relaxed);
	pthread_join(scene->peers, NULL);
	rcu_offline();
	pthread_join(scene->looker, NULL);
	rcu_online();
	/* What is still in queues is brought to its end on this thread, so that it can be counted; no session is made
	 * any more, in which frames might wait. */
	for (size_t i = 0; i < PEERS; i++)
		remove_peer(scene, i);
	wireguard_pump(scene->w);
}

static void report(struct tap *tap, const struct scene *scene)
{
	const struct node *gateway = &scene->h->gateway.node;
	printf("# %lu packets; %lu initiations, %lu responses, %lu attempts in vain; peers began %lu; %lu rekeys\n",
	       scene->packets, node_counter(gateway, STATS_tx_wg_initiation),
	       node_counter(gateway, STATS_rx_wg_response), node_counter(gateway, STATS_wg_unanswered),
	       node_counter(gateway, STATS_rx_wg_initiation), node_counter(gateway, STATS_rekeys));
	printf("# %u changes, %u of peers themselves; %u sessions made for an Endpoint, %u names resolved; %lu frames "
	       "waited; %lu handshakes late\n",
	       scene->changes, scene->removals, scene->stands, scene->resolved,
	       node_counter(gateway, STATS_staged_frames), node_counter(gateway, STATS_handshakes_late));
	tap_ok(tap, happened(scene), "handshakes began at both sides, were answered or not, and all changed meanwhile");
	tap_ok(tap, scene->nonsense == 0, "who looked at the peers saw nothing impossible");
	const char *problem = harness_problem(scene->h);
	if (problem != NULL)
		printf("# %s\n", problem);
	tap_ok(tap, problem == NULL, "every packet was delivered or counted, no nonce used twice");
}

int main(void)
{
	struct tap tap = {0};
	static struct scene scene;
	set_up(&scene);
	control(&scene);
	end(&scene);
	report(&tap, &scene);
	for (size_t i = 0; i < PEERS; i++)
		free(scene.frames[i]);
	wireguard_free(scene.w);
	harness_free(scene.h);
	return tap_done(&tap);
}
