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

/* --- delays and faults -------------------------------------------------------------------------------------------- */

/* What the network does to senders; its hooks run on their threads. */
struct trouble {
	struct stress_rig *rig;
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
	    stress_rig_random(2) == 0) {
		atomic_fetch_add_explicit(&slow_grants, 1, memory_order_relaxed);
		pause_ms(DELAY_MS);
	}
	randombytes_sysrandom_implementation.buf(buffer, size);
}

static void count(_Atomic uint64_t *word)
{
	atomic_fetch_add_explicit(word, 1, memory_order_relaxed);
}

/* Keys are installed, the WELCOME is not sent yet, and the worker's inbox is not read. */
static void delay_worker(struct trouble *trouble, const struct udp_message *message)
{
	if (wire_type(message->data) != WIRE_WELCOME || stress_rig_random(2) != 0)
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
	uint32_t dice = stress_rig_random(64);
	/* One client's device takes no trains at all. */
	if (train && from == &trouble->rig->h->clients[1].node.link && dice < 8) {
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
		return (int)(1 + stress_rig_random((uint32_t)messages_count - 1));
	}
	return (int)messages_count;
}

static unsigned hold_ack(void *context, struct link *from, struct udp_message *message)
{
	struct trouble *trouble = context;
	int client = atomic_load_explicit(&trouble->held_client, memory_order_acquire);
	if (client < 0 || from != &trouble->rig->h->clients[client].node.link ||
	    wire_type(message->data) != WIRE_CLIENT_ACK)
		return 1;
	atomic_store_explicit(&trouble->held_client, -1, memory_order_relaxed);
	count(&trouble->held);
	for (unsigned i = 0; i < HOLD_MS && !atomic_load_explicit(&trouble->release, memory_order_acquire); i++)
		pause_ms(1);
	return 1;
}

static void open_scene(struct stress_rig *rig, struct trouble *trouble)
{
	*trouble = (struct trouble){.rig = rig, .held_client = -1};
	stress_rig_open(rig,
			&(struct harness_options){.clients = CLIENTS,
						  .workers = 4,
						  .handshakers = 2,
						  .reset = true,
						  .late_ephemerals = true, /* see slow_random() */
						  .stage_sampling = 4,
						  .max_sessions = 32,
						  .rekey_interval = 10},
			&marking_clock);
	rig->h->network.hooks = (struct link_hooks){.accept = accept_some, .carry = hold_ack, .context = trouble};
}

static void start_scene(struct tap *tap, struct stress_rig *rig)
{
	bool up = stress_rig_start(rig);
	tap_ok(tap, up, "all clients are up");
	if (!up)
		exit(tap_done(tap));
}

static void close_scene(struct tap *tap, struct stress_rig *rig)
{
	const char *problem = stress_rig_end(rig);
	if (problem != NULL)
		printf("# %s\n", problem);
	tap_ok(tap, problem == NULL, "every packet was delivered or counted, no nonce used twice, no address lost");
	tap_ok(tap, rig->nonsense == 0, "who walked over the table saw nothing impossible");
	printf("# %lu walks, %lu sessions appeared, %lu vanished\n", rig->walks, rig->appeared, rig->vanished);
	stress_rig_close(rig);
}

/* --- scenes ------------------------------------------------------------------------------------------------------- */

static bool wait_for_delays(struct stress_rig *rig, struct trouble *trouble)
{
	return stress_rig_wait(rig, &slow_grants, DELAYS) && stress_rig_wait(rig, &trouble->slow_workers, DELAYS);
}

static bool wait_for_each_fault(struct stress_rig *rig, struct trouble *trouble)
{
	return stress_rig_wait(rig, &trouble->no_buffers, 1) && stress_rig_wait(rig, &trouble->short_sends, 1) &&
	       stress_rig_wait(rig, &trouble->too_long, 1) && stress_rig_wait(rig, &trouble->no_offload, 1) &&
	       stress_rig_wait(rig, &trouble->would_block, 1);
}

/* Keys arrive before packets, however slow either thread is. */
static void rekeys(struct tap *tap)
{
	struct stress_rig rig;
	struct trouble trouble;
	open_scene(&rig, &trouble);
	const struct node *gateway = &rig.h->gateway.node;
	slow_grants = 0;
	slow_handshakes = trouble.delays = true;
	start_scene(tap, &rig);
	trouble.faults = true;
	uint64_t walks = rig.walks, rekeyed = node_counter(gateway, STATS_rekeys);
	tap_ok(tap, stress_rig_wait_traffic(&rig, PACKETS), "traffic flows both ways through senders that fail");
	bool renewed = stress_rig_wait_counter(&rig, gateway, STATS_rekeys, rekeyed + REKEYS);
	tap_ok(tap, renewed, "meanwhile sessions renew their keys");
	uint64_t before = node_counter(gateway, STATS_rekeys);
	tap_ok(tap,
	       stress_rig_wait_traffic(&rig, PACKETS) &&
		       stress_rig_wait_counter(&rig, gateway, STATS_rekeys, before + 1),
	       "and traffic flows on");
	tap_ok(tap, stress_rig_wait(&rig, &rig.walks, walks + 1), "while somebody walks over the session table");
	tap_ok(tap, wait_for_delays(&rig, &trouble),
	       "handshake threads and workers were held between grant, keys and WELCOME");
	tap_ok(tap, wait_for_each_fault(&rig, &trouble), "each kind of failure was there");
	tap_ok(tap, node_drops(gateway, DROP_SESSION) == 0 && node_drops(gateway, DROP_EPOCH) == 0,
	       "no packet came before its session or key");
	tap_ok(tap, node_counter(gateway, STATS_sessions_ended) == 0, "all sessions lived on");
	printf("# %lu rekeys; held %lu handshakes, %lu workers; ENOBUFS %lu, EMSGSIZE %lu, EIO %lu, EAGAIN %lu, short "
	       "%lu\n",
	       node_counter(gateway, STATS_rekeys), slow_grants, trouble.slow_workers, trouble.no_buffers,
	       trouble.too_long, trouble.no_offload, trouble.would_block, trouble.short_sends);
	slow_handshakes = false;
	close_scene(tap, &rig);
}

/* A walk over the whole session table. On a busy machine that takes a while, and what came and went meanwhile
 * was not seen. */
static bool walked(struct stress_rig *rig)
{
	return stress_rig_wait(rig, &rig->walks, rig->walks + 2);
}

/* One client leaves and comes back while frames for its address and for all others go on. */
static bool restart(struct stress_rig *rig, size_t client)
{
	const struct node *gateway = &rig->h->gateway.node;
	uint64_t ended = node_counter(gateway, STATS_sessions_ended);
	uint32_t address = rig->addresses[client];
	stress_rig_stop_client(rig, client);
	bool good = stress_rig_wait_counter(rig, gateway, STATS_sessions_ended, ended + 1);
	uint64_t lost = node_drops(gateway, DROP_OUT_NO_SESSION);
	uint64_t read = node_counter(gateway, STATS_tun_rx_packets);
	good = good && stress_rig_wait_drops(rig, gateway, DROP_OUT_NO_SESSION, lost + 1) &&
	       stress_rig_wait_counter(rig, gateway, STATS_tun_rx_packets, read + 1);
	stress_rig_start_client(rig, client);
	return good && stress_rig_wait_up(rig, client) && rig->addresses[client] == address && walked(rig);
}

static void ends(struct tap *tap)
{
	struct stress_rig rig;
	struct trouble trouble;
	open_scene(&rig, &trouble);
	start_scene(tap, &rig);
	const struct node *gateway = &rig.h->gateway.node;
	bool good = true;
	uint64_t before = node_counter(gateway, STATS_tun_tx_packets);
	for (unsigned i = 0; good && i < RESTARTS; i++)
		good = restart(&rig, i % CLIENTS);
	tap_ok(tap, good, "clients leave while frames for them are read, and get their addresses back");
	tap_ok(tap, stress_rig_wait_counter(&rig, gateway, STATS_tun_tx_packets, before + PACKETS),
	       "packets of the others went on");
	tap_ok(tap,
	       stress_rig_wait(&rig, &rig.appeared, CLIENTS + RESTARTS) &&
		       stress_rig_wait(&rig, &rig.vanished, RESTARTS),
	       "who walks over the session table saw them come and go");

	/* The end comes while handshakes are answered. */
	slow_handshakes = true;
	for (size_t i = 0; i < CLIENTS; i++)
		stress_rig_stop_client(&rig, i);
	uint64_t hellos = node_counter(gateway, STATS_rx_hello), grants = slow_grants;
	for (size_t i = 0; i < CLIENTS; i++)
		stress_rig_start_client(&rig, i);
	tap_ok(tap,
	       stress_rig_wait_counter(&rig, gateway, STATS_rx_hello, hellos + 1) &&
		       stress_rig_wait(&rig, &slow_grants, grants + 1),
	       "HELLOs are being answered when the gateway ends");
	close_scene(tap, &rig);
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
static bool remove_between(struct stress_rig *rig, struct trouble *trouble, size_t client)
{
	uint64_t held = trouble->held;
	stress_rig_stop_client(rig, client);
	trouble->release = false;
	atomic_store_explicit(&trouble->held_client, (int)client, memory_order_release);
	stress_rig_start_client(rig, client);
	bool good = stress_rig_wait(rig, &trouble->held, held + 1);
	remove_peer(rig->h, client);
	good = add_peer(rig->h, client) && good;
	atomic_store_explicit(&trouble->release, true, memory_order_release);
	return good && stress_rig_wait_up(rig, client) && walked(rig);
}

static bool remove_under_traffic(struct stress_rig *rig, size_t client)
{
	const struct node *gateway = &rig->h->gateway.node;
	uint64_t ended = node_counter(gateway, STATS_sessions_ended);
	remove_peer(rig->h, client);
	bool good = stress_rig_wait_counter(rig, gateway, STATS_sessions_ended, ended + 1);
	/* Until it is there again its HELLOs are refused. */
	uint64_t refused = node_drops(gateway, DROP_UNKNOWN_PEER);
	good = good && stress_rig_wait_drops(rig, gateway, DROP_UNKNOWN_PEER, refused + 1);
	rig->h->clients[client].seen.state = CLIENT_HANDSHAKE;
	return add_peer(rig->h, client) && good && stress_rig_wait_up(rig, client) && walked(rig);
}

/* All peers go and come while a handshake thread is held with one's grant: what it sends then finds no peer. */
static bool churn(struct stress_rig *rig, unsigned times)
{
	const struct node *gateway = &rig->h->gateway.node;
	uint64_t started = node_counter(gateway, STATS_sessions_started);
	uint64_t late = node_counter(gateway, STATS_handshakes_late);
	bool good = true;
	for (unsigned i = 0; good && i < times; i++) {
		good = stress_rig_wait(rig, &slow_grants, slow_grants + 1);
		for (size_t client = 0; good && client < CLIENTS; client++) {
			remove_peer(rig->h, client);
			good = add_peer(rig->h, client);
		}
	}
	return good && stress_rig_wait_counter(rig, gateway, STATS_handshakes_late, late + 1) &&
	       stress_rig_wait_counter(rig, gateway, STATS_sessions_started, started + REMOVALS);
}

/* Soon after a peer went, its sessions did. */
static bool no_orphans(struct stress_rig *rig)
{
	bool good = walked(rig);
	for (unsigned i = 0; good && rig->orphans != 0 && i < STRESS_RIG_PATIENCE_S * 500; i++) {
		stress_rig_look(rig);
		pause_ms(2);
	}
	return good && rig->orphans == 0;
}

static void peers(struct tap *tap)
{
	struct stress_rig rig;
	struct trouble trouble;
	open_scene(&rig, &trouble);
	start_scene(tap, &rig);
	const struct node *gateway = &rig.h->gateway.node;
	bool good = true;
	for (size_t i = 0; good && i < REMOVALS; i++)
		good = remove_between(&rig, &trouble, i % CLIENTS);
	tap_ok(tap, good && trouble.held == REMOVALS, "peers go and come between WELCOME and CLIENT_ACK");
	for (size_t i = 0; good && i < REMOVALS; i++)
		good = remove_under_traffic(&rig, i % CLIENTS);
	tap_ok(tap, good, "peers go and come under traffic, and are refused meanwhile");
	slow_handshakes = true;
	uint64_t before = node_counter(gateway, STATS_tun_tx_packets), hellos = node_counter(gateway, STATS_rx_hello);
	tap_ok(tap, churn(&rig, CHURNS), "peers go and come between grant and keys");
	tap_ok(tap, no_orphans(&rig), "no session outlives its peer");
	tap_ok(tap, stress_rig_wait_counter(&rig, gateway, STATS_tun_tx_packets, before + PACKETS), "packets went on");
	tap_ok(tap,
	       stress_rig_wait_counter(&rig, gateway, STATS_rx_hello, hellos + 1) &&
		       stress_rig_wait(&rig, &rig.vanished, 2 * REMOVALS),
	       "while handshake threads answered");
	printf("# %lu handshakes came too late for their peers\n", node_counter(gateway, STATS_handshakes_late));
	close_scene(tap, &rig);
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
