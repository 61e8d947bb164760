// SPDX-License-Identifier: Apache-2.0
/* A gateway of four workers, two handshake threads and a TUN reader under traffic, while sessions renew their keys,
 * end, come back, and lose their peers, and while its end comes in the middle of that. What has to overlap is counted
 * on both sides. Under ThreadSanitizer this is the test of the pool's memory order. */
#include <sodium.h>
#include <stdlib.h>

#include "tests/harness/stress_rig.h"
#include "tests/stress/tap.h"

enum {
	CLIENTS = 8,
	PACKETS = 300, /* that each side delivers while something else goes on, at least */
	DELAYS = 8,    /* at each of the two points */
	REKEYS = 2 * CLIENTS,
	RESTARTS = 2 * CLIENTS,
	REMOVALS = 6, /* of each kind */
	CHURNS = 20,  /* of all peers */
	DELAY_MS = 4,
	HOLD_MS = 60000, /* a CLIENT_ACK waits no longer for the test */
};

/* --- delays and faults ----------------------------------------------------------------------------------------------
 */

/* What the network does to senders; its hooks run on their threads. */
struct trouble {
	struct crowd *crowd;
	_Atomic bool faults, delays;
	_Atomic uint64_t no_buffers, short_sends, too_long, no_offload, would_block;
	_Atomic uint64_t slow_workers;
	/* a CLIENT_ACK that waits in the hook until the test lets it go */
	_Atomic int held_client; /* whose; -1: none */
	_Atomic uint64_t held;	 /* how many were */
	_Atomic bool release;
};

static _Thread_local bool on_handshake_thread;
static _Atomic bool slow_handshakes;
static _Atomic uint64_t slow_grants;

static uint64_t marking_monotonic(const struct clock *clock)
{
	(void)clock;
	on_handshake_thread = true;
	return clock_monotonic(&clock_system);
}

static uint64_t marking_wall(const struct clock *clock)
{
	(void)clock;
	return clock_wall(&clock_system);
}

/* Says which threads are handshake threads. */
static const struct clock marking_clock = {.monotonic = marking_monotonic, .wall = marking_wall};

/* A handshake thread that makes no key pairs ahead draws its ephemeral key between the registry's grant and the message
 * to the worker. */
static void slow_random(void *const buffer, const size_t size)
{
	if (on_handshake_thread && atomic_load_explicit(&slow_handshakes, memory_order_relaxed) && size == KEY_SIZE &&
	    crowd_random(2) == 0) {
		atomic_fetch_add_explicit(&slow_grants, 1, memory_order_relaxed);
		pause_ms(DELAY_MS);
	}
	randombytes_sysrandom_implementation.buf(buffer, size);
}

static void count(_Atomic uint64_t *word)
{
	atomic_fetch_add_explicit(word, 1, memory_order_relaxed);
}

/* Keys are installed, the WELCOME is not sent yet, and nobody reads the worker's inbox. */
static void delay_worker(struct trouble *trouble, const struct udp_message *message)
{
	if (wire_type(message->data) != WIRE_WELCOME || crowd_random(2) != 0)
		return;
	count(&trouble->slow_workers);
	pause_ms(DELAY_MS);
}

static int accept_some(void *context, struct link *from, const struct udp_message *messages, size_t messages_count)
{
	struct trouble *trouble = context;
	bool train = messages[0].segment_size != 0 && messages[0].length > messages[0].segment_size;
	if (atomic_load_explicit(&trouble->delays, memory_order_relaxed))
		delay_worker(trouble, &messages[0]);
	if (!atomic_load_explicit(&trouble->faults, memory_order_relaxed))
		return (int)messages_count;
	uint32_t dice = crowd_random(64);
	/* One client's device takes no trains at all. */
	if (train && from == &trouble->crowd->h->clients[1].node.link && dice < 8) {
		count(&trouble->no_offload);
		return -EIO;
	}
	if (train && dice < 8) {
		count(&trouble->too_long);
		return -EMSGSIZE;
	}
	if (dice < 12) {
		count(&trouble->no_buffers);
		return -ENOBUFS;
	}
	if (dice < 16) {
		count(&trouble->would_block);
		return -EAGAIN;
	}
	if (messages_count > 1 && dice < 40) {
		count(&trouble->short_sends);
		return (int)(1 + crowd_random((uint32_t)messages_count - 1));
	}
	return (int)messages_count;
}

static unsigned hold_ack(void *context, struct link *from, struct udp_message *message)
{
	struct trouble *trouble = context;
	int client = atomic_load_explicit(&trouble->held_client, memory_order_acquire);
	if (client < 0 || from != &trouble->crowd->h->clients[client].node.link ||
	    wire_type(message->data) != WIRE_CLIENT_ACK)
		return 1;
	atomic_store_explicit(&trouble->held_client, -1, memory_order_relaxed);
	count(&trouble->held);
	for (unsigned i = 0; i < HOLD_MS && !atomic_load_explicit(&trouble->release, memory_order_acquire); i++)
		pause_ms(1);
	return 1;
}

static void open_scene(struct crowd *crowd, struct trouble *trouble)
{
	*trouble = (struct trouble){.crowd = crowd, .held_client = -1};
	crowd_open(crowd,
		   &(struct harness_options){.clients = CLIENTS,
					     .workers = 4,
					     .handshakers = 2,
					     .reset = true,
					     .late_ephemerals = true, /* see slow_random() */
					     .stage_sampling = 4,
					     .max_sessions = 32,
					     .rekey_interval = 10},
		   &marking_clock);
	crowd->h->network.hooks = (struct link_hooks){.accept = accept_some, .carry = hold_ack, .context = trouble};
}

static void start_scene(struct tap *tap, struct crowd *crowd)
{
	bool up = crowd_start(crowd);
	tap_ok(tap, up, "all clients are up");
	if (!up)
		exit(tap_done(tap));
}

static void close_scene(struct tap *tap, struct crowd *crowd)
{
	const char *problem = crowd_end(crowd);
	if (problem != NULL)
		printf("# %s\n", problem);
	tap_ok(tap, problem == NULL, "every packet was delivered or counted, no nonce used twice, no address lost");
	tap_ok(tap, crowd->nonsense == 0, "who walked over the table saw nothing impossible");
	printf("# %lu walks, %lu sessions appeared, %lu vanished\n", crowd->walks, crowd->appeared, crowd->vanished);
	crowd_close(crowd);
}

/* --- scenes ----------------------------------------------------------------------------------------------------------
 */

static bool wait_for_delays(struct crowd *crowd, struct trouble *trouble)
{
	return crowd_wait(crowd, &slow_grants, DELAYS) && crowd_wait(crowd, &trouble->slow_workers, DELAYS);
}

static bool wait_for_each_fault(struct crowd *crowd, struct trouble *trouble)
{
	return crowd_wait(crowd, &trouble->no_buffers, 1) && crowd_wait(crowd, &trouble->short_sends, 1) &&
	       crowd_wait(crowd, &trouble->too_long, 1) && crowd_wait(crowd, &trouble->no_offload, 1) &&
	       crowd_wait(crowd, &trouble->would_block, 1);
}

/* Keys arrive before packets, however slow either thread is. */
static void rekeys(struct tap *tap)
{
	struct crowd crowd;
	struct trouble trouble;
	open_scene(&crowd, &trouble);
	const struct node *gateway = &crowd.h->gateway.node;
	slow_grants = 0;
	slow_handshakes = trouble.delays = true;
	start_scene(tap, &crowd);
	trouble.faults = true;
	uint64_t walks = crowd.walks, rekeyed = node_counter(gateway, STATS_rekeys);
	tap_ok(tap, crowd_wait_traffic(&crowd, PACKETS), "traffic flows both ways through senders that fail");
	bool renewed = crowd_wait_counter(&crowd, gateway, STATS_rekeys, rekeyed + REKEYS);
	tap_ok(tap, renewed, "meanwhile sessions renew their keys");
	uint64_t before = node_counter(gateway, STATS_rekeys);
	tap_ok(tap,
	       crowd_wait_traffic(&crowd, PACKETS) && crowd_wait_counter(&crowd, gateway, STATS_rekeys, before + 1),
	       "and traffic flows on");
	tap_ok(tap, crowd_wait(&crowd, &crowd.walks, walks + 1), "while somebody walks over the session table");
	tap_ok(tap, wait_for_delays(&crowd, &trouble),
	       "handshake threads and workers were held between grant, keys and WELCOME");
	tap_ok(tap, wait_for_each_fault(&crowd, &trouble), "each kind of failure was there");
	tap_ok(tap, node_drops(gateway, DROP_SESSION) == 0 && node_drops(gateway, DROP_EPOCH) == 0,
	       "no packet came before its session or key");
	tap_ok(tap, node_counter(gateway, STATS_sessions_ended) == 0, "all sessions lived on");
	printf("# %lu rekeys; held %lu handshakes, %lu workers; ENOBUFS %lu, EMSGSIZE %lu, EIO %lu, EAGAIN %lu, short "
	       "%lu\n",
	       node_counter(gateway, STATS_rekeys), slow_grants, trouble.slow_workers, trouble.no_buffers,
	       trouble.too_long, trouble.no_offload, trouble.would_block, trouble.short_sends);
	slow_handshakes = false;
	close_scene(tap, &crowd);
}

/* Somebody walks over the whole session table. On a busy machine that takes a while, and what came and went meanwhile
 * was not seen. */
static bool walked(struct crowd *crowd)
{
	return crowd_wait(crowd, &crowd->walks, crowd->walks + 2);
}

/* One client leaves and comes back while frames for its address and for all others go on. */
static bool restart(struct crowd *crowd, size_t client)
{
	const struct node *gateway = &crowd->h->gateway.node;
	uint64_t ended = node_counter(gateway, STATS_sessions_ended);
	uint32_t address = crowd->addresses[client];
	crowd_stop_client(crowd, client);
	bool good = crowd_wait_counter(crowd, gateway, STATS_sessions_ended, ended + 1);
	uint64_t lost = node_drops(gateway, DROP_OUT_NO_SESSION);
	uint64_t read = node_counter(gateway, STATS_tun_rx_packets);
	good = good && crowd_wait_drops(crowd, gateway, DROP_OUT_NO_SESSION, lost + 1) &&
	       crowd_wait_counter(crowd, gateway, STATS_tun_rx_packets, read + 1);
	crowd_start_client(crowd, client);
	return good && crowd_wait_up(crowd, client) && crowd->addresses[client] == address && walked(crowd);
}

static void ends(struct tap *tap)
{
	struct crowd crowd;
	struct trouble trouble;
	open_scene(&crowd, &trouble);
	start_scene(tap, &crowd);
	const struct node *gateway = &crowd.h->gateway.node;
	bool good = true;
	uint64_t before = node_counter(gateway, STATS_tun_tx_packets);
	for (unsigned i = 0; good && i < RESTARTS; i++)
		good = restart(&crowd, i % CLIENTS);
	tap_ok(tap, good, "clients leave while frames for them are read, and get their addresses back");
	tap_ok(tap, crowd_wait_counter(&crowd, gateway, STATS_tun_tx_packets, before + PACKETS),
	       "packets of the others went on");
	tap_ok(tap,
	       crowd_wait(&crowd, &crowd.appeared, CLIENTS + RESTARTS) && crowd_wait(&crowd, &crowd.vanished, RESTARTS),
	       "who walks over the session table saw them come and go");

	/* The end comes while handshakes are answered. */
	slow_handshakes = true;
	for (size_t i = 0; i < CLIENTS; i++)
		crowd_stop_client(&crowd, i);
	uint64_t hellos = node_counter(gateway, STATS_rx_hello), grants = slow_grants;
	for (size_t i = 0; i < CLIENTS; i++)
		crowd_start_client(&crowd, i);
	tap_ok(tap,
	       crowd_wait_counter(&crowd, gateway, STATS_rx_hello, hellos + 1) &&
		       crowd_wait(&crowd, &slow_grants, grants + 1),
	       "HELLOs are being answered when the gateway ends");
	close_scene(tap, &crowd);
	slow_handshakes = false;
}

/* As the gateway's control thread does it. */
static void remove_peer(struct harness *h, size_t client)
{
	uint32_t ids[2] = {0, 0};
	rcu_online();
	(void)registry_remove_peer(&h->gateway.registry, h->clients[client].identity.keys.public_key, ids);
	rcu_offline();
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		struct inbox_message *message = calloc(1, sizeof *message);
		if (message == NULL)
			abort();
		message->kind = INBOX_END;
		message->session_id = ids[i];
		message->end.reason = WIRE_BYE_RESTARTING; /* so that it comes back soon */
		inbox_post(h->gateway.inboxes[session_shard(&h->gateway.registry.table.sharding, ids[i])], message);
	}
}

static bool add_peer(struct harness *h, size_t client)
{
	struct registry_peer peer = {.public_key = h->clients[client].identity.keys.public_key,
				     .preshared_key = h->clients[client].remote.preshared_key};
	rcu_online();
	int result = registry_add_peer(&h->gateway.registry, &peer, NULL);
	rcu_offline();
	return result == 0;
}

/* The peer goes when its session has keys and the client knows them, and has not confirmed them. */
static bool remove_between(struct crowd *crowd, struct trouble *trouble, size_t client)
{
	uint64_t held = trouble->held;
	crowd_stop_client(crowd, client);
	trouble->release = false;
	atomic_store_explicit(&trouble->held_client, (int)client, memory_order_release);
	crowd_start_client(crowd, client);
	bool good = crowd_wait(crowd, &trouble->held, held + 1);
	remove_peer(crowd->h, client);
	good = add_peer(crowd->h, client) && good;
	atomic_store_explicit(&trouble->release, true, memory_order_release);
	return good && crowd_wait_up(crowd, client) && walked(crowd);
}

static bool remove_under_traffic(struct crowd *crowd, size_t client)
{
	const struct node *gateway = &crowd->h->gateway.node;
	uint64_t ended = node_counter(gateway, STATS_sessions_ended);
	remove_peer(crowd->h, client);
	bool good = crowd_wait_counter(crowd, gateway, STATS_sessions_ended, ended + 1);
	/* Until it is there again its HELLOs are refused. */
	uint64_t refused = node_drops(gateway, DROP_UNKNOWN_PEER);
	good = good && crowd_wait_drops(crowd, gateway, DROP_UNKNOWN_PEER, refused + 1);
	crowd->h->clients[client].seen.state = CLIENT_HANDSHAKE;
	return add_peer(crowd->h, client) && good && crowd_wait_up(crowd, client) && walked(crowd);
}

/* All peers go and come while a handshake thread is held with one's grant: what it sends then finds nobody. */
static bool churn(struct crowd *crowd, unsigned times)
{
	const struct node *gateway = &crowd->h->gateway.node;
	uint64_t started = node_counter(gateway, STATS_sessions_started);
	uint64_t late = node_counter(gateway, STATS_handshakes_late);
	bool good = true;
	for (unsigned i = 0; good && i < times; i++) {
		good = crowd_wait(crowd, &slow_grants, slow_grants + 1);
		for (size_t client = 0; good && client < CLIENTS; client++) {
			remove_peer(crowd->h, client);
			good = add_peer(crowd->h, client);
		}
	}
	return good && crowd_wait_counter(crowd, gateway, STATS_handshakes_late, late + 1) &&
	       crowd_wait_counter(crowd, gateway, STATS_sessions_started, started + REMOVALS);
}

/* Soon after a peer went, its sessions did. */
static bool no_orphans(struct crowd *crowd)
{
	bool good = walked(crowd);
	for (unsigned i = 0; good && crowd->orphans != 0 && i < CROWD_PATIENCE_S * 500; i++) {
		crowd_look(crowd);
		pause_ms(2);
	}
	return good && crowd->orphans == 0;
}

static void peers(struct tap *tap)
{
	struct crowd crowd;
	struct trouble trouble;
	open_scene(&crowd, &trouble);
	start_scene(tap, &crowd);
	const struct node *gateway = &crowd.h->gateway.node;
	bool good = true;
	for (size_t i = 0; good && i < REMOVALS; i++)
		good = remove_between(&crowd, &trouble, i % CLIENTS);
	tap_ok(tap, good && trouble.held == REMOVALS, "peers go and come between WELCOME and CLIENT_ACK");
	for (size_t i = 0; good && i < REMOVALS; i++)
		good = remove_under_traffic(&crowd, i % CLIENTS);
	tap_ok(tap, good, "peers go and come under traffic, and are refused meanwhile");
	slow_handshakes = true;
	uint64_t before = node_counter(gateway, STATS_tun_tx_packets), hellos = node_counter(gateway, STATS_rx_hello);
	tap_ok(tap, churn(&crowd, CHURNS), "peers go and come between grant and keys");
	tap_ok(tap, no_orphans(&crowd), "no session outlives its peer");
	tap_ok(tap, crowd_wait_counter(&crowd, gateway, STATS_tun_tx_packets, before + PACKETS), "packets went on");
	tap_ok(tap,
	       crowd_wait_counter(&crowd, gateway, STATS_rx_hello, hellos + 1) &&
		       crowd_wait(&crowd, &crowd.vanished, 2 * REMOVALS),
	       "while handshake threads answered");
	printf("# %lu handshakes came too late for their peers\n", node_counter(gateway, STATS_handshakes_late));
	close_scene(tap, &crowd);
	slow_handshakes = false;
}

int main(void)
{
	struct tap tap = {0};
	struct randombytes_implementation random = randombytes_sysrandom_implementation;
	random.buf = slow_random;
	if (randombytes_set_implementation(&random) != 0)
		abort();
	rekeys(&tap);
	ends(&tap);
	peers(&tap);
	return tap_done(&tap);
}
