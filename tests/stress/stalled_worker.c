// SPDX-License-Identifier: Apache-2.0
/* One of four workers stands still for two seconds while all get packets: its own clients wait, those of the others
 * notice nothing. However slow the machine is, since each client that is served gets its next packet when the last ones
 * came. */
#include <stdlib.h>

#include "tests/harness/harness.h"
#include "tests/stress/tap.h"

enum {
	WORKERS = 4,
	CLIENTS = 8, /* two of each worker */
	STALLED = 1,
	PAYLOAD = 300,
	WINDOW = 2,	/* packets under way to a client that is served: too few for any queue to stand */
	LOST_MS = 5000, /* one that did not come by then is lost */
	LOSS_PERCENT = 5,
	PATIENCE_MS = 60000,
	QUIET_MS = 200,
	BEFORE_MS = 500,
	STALL_MS = 2000,
	AFTER_MS = 500,
	ROUNDS = 500, /* at least, in each of these */
	BURST = 8,    /* packets in a round for a client that is not served: soon more than its worker has room for */
};

struct scene {
	struct harness *h;
	struct link *stalled_link;
	uint32_t worker[CLIENTS]; /* of its session */
	uint8_t *frames[CLIENTS];
	size_t lengths[CLIENTS];
	uint64_t offered[CLIENTS], delivered[CLIENTS], lost[CLIENTS]; /* in this part */
	uint8_t part;						      /* which fills the packets */
	_Atomic bool hold;
	_Atomic bool held; /* the worker really stands */
};

static void pause_ms(unsigned ms)
{
	const struct timespec time = {.tv_nsec = (long)ms * 1000000};
	nanosleep(&time, NULL);
}

/* The worker's socket does not return. */
static int stand_still(void *context, struct link *from, const struct udp_message *messages, size_t count)
{
	struct scene *scene = context;
	(void)messages;
	while (from == scene->stalled_link && atomic_load_explicit(&scene->hold, memory_order_acquire)) {
		atomic_store_explicit(&scene->held, true, memory_order_release);
		pause_ms(1);
	}
	return (int)count;
}

static void make_frame(struct scene *scene, size_t client)
{
	uint8_t payload[PAYLOAD];
	memset(payload, scene->part, sizeof payload);
	struct packet_spec spec = harness_spec(scene->h, client, TO_CLIENT, 4, IPPROTO_UDP);
	scene->lengths[client] = packet_build_frame(&spec, payload, sizeof payload, 0, scene->frames[client]);
}

static bool connect_client(struct scene *scene, size_t client)
{
	struct client_node *node = &scene->h->clients[client];
	harness_connect(scene->h, client);
	if (!harness_await_state(node, CLIENT_UP, PATIENCE_MS))
		return false;
	scene->worker[client] = session_shard(&scene->h->gateway.registry.table.sharding, node->seen.lease.session_id);
	scene->frames[client] = calloc(1, 2 * PAYLOAD);
	return scene->frames[client] != NULL;
}

/* A client may write several datagrams as one frame. */
static void collect(struct scene *scene)
{
	static uint8_t frame[TUN_FRAME_MAX];
	size_t length;
	for (size_t i = 0; i < CLIENTS; i++) {
		size_t headers = scene->lengths[i] - PAYLOAD;
		while ((length = tun_pair_take(&scene->h->clients[i].node.tun, frame)) > headers) {
			if (frame[length - 1] == scene->part)
				scene->delivered[i] += (length - headers) / PAYLOAD;
		}
	}
}

static uint64_t sum(const struct scene *scene, const uint64_t counts[CLIENTS], bool stalled)
{
	uint64_t total = 0;
	for (size_t i = 0; i < CLIENTS; i++)
		total += (scene->worker[i] == STALLED) == stalled ? counts[i] : 0;
	return total;
}

/* Its worker does not stand. */
static bool served(const struct scene *scene, size_t client)
{
	return scene->worker[client] != STALLED || !atomic_load_explicit(&scene->hold, memory_order_relaxed);
}

/* Waits until no client that is served has more packets under way. */
static void wait_for_room(struct scene *scene, uint64_t most)
{
	for (size_t i = 0; i < CLIENTS; i++) {
		for (unsigned waited = 0; served(scene, i); waited++, pause_ms(1)) {
			collect(scene);
			uint64_t under_way = scene->offered[i] - scene->delivered[i] - scene->lost[i];
			if (under_way <= most)
				break;
			scene->lost[i] += waited >= LOST_MS ? under_way : 0;
		}
	}
}

/* A packet for each client that is served in a round, until some time has passed, or they lost many, and none is under
 * way to those that are served. */
static void offer(struct scene *scene, unsigned ms, unsigned rounds)
{
	memset(scene->offered, 0, sizeof scene->offered);
	memset(scene->delivered, 0, sizeof scene->delivered);
	memset(scene->lost, 0, sizeof scene->lost);
	scene->part++;
	for (size_t i = 0; i < CLIENTS; i++)
		make_frame(scene, i);
	struct tun_pair *tun = &scene->h->gateway.node.tun;
	uint64_t end = clock_monotonic(&clock_system) + ms * NS_PER_MS;
	for (unsigned round = 0;
	     sum(scene, scene->lost, false) <= rounds / 10 && (round < rounds || clock_monotonic(&clock_system) < end);
	     round++) {
		for (size_t i = 0; i < CLIENTS; i++) {
			for (unsigned n = served(scene, i) ? 1 : BURST; n > 0; n--)
				scene->offered[i] += tun_pair_put(tun, scene->frames[i], scene->lengths[i]) == 0;
		}
		pause_ms(1);
		wait_for_room(scene, WINDOW - 1);
	}
	wait_for_room(scene, 0);
}

static bool few_lost(const struct scene *scene, bool stalled)
{
	uint64_t offered = sum(scene, scene->offered, stalled), delivered = sum(scene, scene->delivered, stalled);
	printf("# %s: %lu of %lu delivered\n", stalled ? "the stalled worker" : "the others", delivered, offered);
	return offered != 0 && delivered * 100 >= offered * (100 - LOSS_PERCENT);
}

static bool spread(const struct scene *scene)
{
	unsigned counts[WORKERS] = {0};
	bool even = true;
	for (size_t i = 0; i < CLIENTS; i++)
		counts[scene->worker[i]]++;
	for (size_t i = 0; i < WORKERS; i++)
		even &= counts[i] == CLIENTS / WORKERS;
	return even;
}

static void stall(struct scene *scene, struct tap *tap)
{
	/* Nothing is under way, and what comes next makes it send, and stand. */
	atomic_store_explicit(&scene->hold, true, memory_order_release);
	for (unsigned i = 0; i < PATIENCE_MS && !atomic_load_explicit(&scene->held, memory_order_acquire); i++)
		offer(scene, 1, 1);
	tap_ok(tap, atomic_load_explicit(&scene->held, memory_order_acquire), "the worker stands");
	offer(scene, STALL_MS, ROUNDS);
	tap_ok(tap, sum(scene, scene->delivered, true) == 0, "its clients get nothing meanwhile");
	tap_ok(tap, node_drops(&scene->h->gateway.node, DROP_OUT_RING) > 0,
	       "there are more packets than it has room for");
	tap_ok(tap, few_lost(scene, false), "the others lose less than 5 % of theirs");
	atomic_store_explicit(&scene->hold, false, memory_order_release);
}

/* What the stalled worker still had for its clients comes. */
static void wait_for_late(struct scene *scene)
{
	uint64_t before = 0, now = 0;
	for (unsigned waited = 0; waited < PATIENCE_MS && (now == 0 || now != before); waited += QUIET_MS) {
		before = now;
		for (unsigned i = 0; i < QUIET_MS; i++, pause_ms(1))
			collect(scene);
		now = sum(scene, scene->delivered, true);
	}
}

static void run(struct scene *scene, struct tap *tap)
{
	bool up = true;
	for (size_t i = 0; i < CLIENTS; i++)
		up = up && connect_client(scene, i);
	tap_ok(tap, up && spread(scene), "each worker has as many clients");
	if (!up)
		return;
	offer(scene, BEFORE_MS, ROUNDS);
	tap_ok(tap, few_lost(scene, false) && few_lost(scene, true), "before, all are served");
	stall(scene, tap);
	wait_for_late(scene);
	offer(scene, AFTER_MS, ROUNDS);
	tap_ok(tap, few_lost(scene, false) && few_lost(scene, true), "afterwards, all are served again");
}

int main(void)
{
	struct tap tap = {0};
	struct scene *scene = calloc(1, sizeof *scene);
	if (scene == NULL)
		return 1;
	scene->h = harness_new(&(struct harness_options){
		.clients = CLIENTS, .workers = WORKERS, .reader = true, .clock = &clock_system, .fast_aead = true});
	scene->stalled_link = &scene->h->gateway.others[STALLED - 1].link;
	scene->h->network.hooks = (struct link_hooks){.accept = stand_still, .context = scene};
	harness_spawn_gateway(scene->h);
	for (size_t i = 0; i < CLIENTS; i++)
		harness_spawn_client(scene->h, i);
	run(scene, &tap);
	for (size_t i = 0; i < CLIENTS; i++)
		harness_join_client(scene->h, i);
	harness_join_gateway(scene->h);
	for (size_t i = 0; i < CLIENTS; i++)
		free(scene->frames[i]);
	harness_pump(scene->h);
	const char *problem = harness_problem(scene->h);
	tap_ok(&tap, problem == NULL, problem != NULL ? problem : "everything is accounted for");
	harness_free(scene->h);
	free(scene);
	return tap_done(&tap);
}
