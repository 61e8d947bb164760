// SPDX-License-Identifier: Apache-2.0
/* A gateway and its clients on threads of their own: they connect, carry traffic both ways, are looked at by the
 * control thread meanwhile, lose one client, and end under load. Under ThreadSanitizer this is the test of which thread
 * may read what. */
#include <pthread.h>
#include <stdlib.h>

#include "perf/export/status.h"
#include "tests/harness/harness.h"
#include "tests/stress/tap.h"

enum {
	ROUNDS = 3,
	CLIENTS = 3,
	NODES = CLIENTS + 1,
	PACKETS = 2000, /* that each side delivers in a round, at least */
	READS = 20,	/* of the reports while counters moved, at least */
	PATIENCE_S = 60,
};

struct scene {
	struct harness *h;
	struct node *nodes[NODES]; /* the gateway last */
	pthread_t feeder, reader;
	uint8_t *frames[NODES][CLIENTS][2];
	size_t lengths[NODES][CLIENTS][2];
	struct tsc_calibration tsc;
	_Atomic bool stop;
	_Atomic unsigned reads; /* reports that saw other numbers than the one before */
	_Atomic unsigned failed_reports;
};

static void pause_ms(unsigned ms)
{
	const struct timespec time = {.tv_nsec = (long)ms * 1000000};
	nanosleep(&time, NULL);
}

/* One client's path has a device that takes no trains. */
static int refuse_trains(void *context, struct link *from, const struct udp_message *messages, size_t count)
{
	const struct scene *scene = context;
	if (from != &scene->nodes[1]->link)
		return (int)count;
	return messages[0].segment_size != 0 && messages[0].length > messages[0].segment_size ? -EIO : 1;
}

/* --- the other ends of the TUNs ----------------------------------------------------------------------------------- */

static void make_frames(struct scene *scene)
{
	static const uint8_t payload[20000];
	for (size_t n = 0; n < NODES; n++) {
		bool gateway = n == CLIENTS;
		for (size_t c = 0; c < (gateway ? CLIENTS : 1); c++) {
			size_t client = gateway ? c : n;
			enum direction way = gateway ? TO_CLIENT : TO_GATEWAY;
			struct packet_spec udp = harness_spec(scene->h, client, way, 6, IPPROTO_UDP);
			struct packet_spec tcp = harness_spec(scene->h, client, way, 4, IPPROTO_TCP);
			for (size_t i = 0; i < 2; i++) {
				scene->frames[n][c][i] = calloc(1, TUN_FRAME_MAX);
				scene->lengths[n][c][i] = packet_build_frame(i ? &tcp : &udp, payload,
									     i ? sizeof payload : 300, i ? 1380 : 0,
									     scene->frames[n][c][i]);
			}
		}
	}
}

static void *feed(void *argument)
{
	struct scene *scene = argument;
	uint8_t *frame = malloc(TUN_FRAME_MAX);
	while (!atomic_load_explicit(&scene->stop, memory_order_relaxed)) {
		for (size_t n = 0; n < NODES; n++) {
			for (size_t c = 0; c < CLIENTS && scene->frames[n][c][0] != NULL; c++) {
				for (unsigned i = 0; i < 8; i++)
					(void)tun_pair_put(&scene->nodes[n]->tun, scene->frames[n][c][i == 0],
							   scene->lengths[n][c][i == 0]);
			}
			while (tun_pair_take(&scene->nodes[n]->tun, frame) > 0)
				continue;
		}
	}
	free(frame);
	return NULL;
}

/* --- the control thread's view ------------------------------------------------------------------------------------ */

static struct status_source describe(const struct scene *scene, struct status_thread threads[NODES],
				     struct status_offload *offload)
{
	for (size_t n = 0; n < NODES; n++)
		threads[n] = (struct status_thread){.name = "worker",
						    .cpu = -1,
						    .stats = &scene->nodes[n]->worker->loop.stats,
						    .stages = &scene->nodes[n]->worker->loop.stages};
	const struct gateway_node *gateway = &scene->h->gateway;
	*offload = (struct status_offload){"udp_gso", scene->nodes[1]->link.base.gso};
	return (struct status_source){
		.role = "gateway",
		.interface = "none",
		.threads = threads,
		.thread_count = NODES,
		.offloads = offload,
		.offload_count = 1,
		.sessions = {.active = atomic_load_explicit(&gateway->node.worker->session_count,
							    memory_order_relaxed)},
		.pool = {.used = gateway->registry.pool.used, .size = gateway->registry.pool.usable},
		.tsc = scene->tsc,
		.stage_sampling = 2,
	};
}

static bool report(const struct status_source *source)
{
	json_t *status = status_json(source), *stages = status_stages(source);
	bool good = status != NULL && stages != NULL;
	json_decref(status);
	json_decref(stages);
	return good;
}

static void *look(void *argument)
{
	struct scene *scene = argument;
	uint64_t before = 0;
	while (!atomic_load_explicit(&scene->stop, memory_order_relaxed)) {
		struct status_thread threads[NODES];
		struct status_offload offload;
		struct status_source source = describe(scene, threads, &offload);
		if (!report(&source))
			scene->failed_reports++;
		struct stats_snapshot sum = {0};
		for (size_t n = 0; n < NODES; n++)
			stats_read(threads[n].stats, &sum);
		uint64_t now = sum.counters[STATS_udp_rx_packets] + sum.counters[STATS_tun_rx_packets];
		if (now != before)
			atomic_fetch_add_explicit(&scene->reads, 1, memory_order_relaxed);
		before = now;
	}
	return NULL;
}

static bool wait_state(struct client_node *client, enum client_state state)
{
	return harness_await_state(client, state, PATIENCE_S * 1000);
}

static bool wait_traffic(const struct scene *scene)
{
	for (unsigned i = 0; i < PATIENCE_S * 200; i++) {
		bool enough = atomic_load_explicit(&scene->reads, memory_order_relaxed) >= READS;
		for (size_t n = 0; n < NODES; n++)
			enough &= node_counter(scene->nodes[n], STATS_tun_tx_packets) >= PACKETS;
		if (enough)
			return true;
		pause_ms(5);
	}
	return false;
}

/* --- a round ------------------------------------------------------------------------------------------------------ */

static void start_thread(pthread_t *thread, void *(*function)(void *), void *argument)
{
	if (pthread_create(thread, NULL, function, argument) != 0)
		abort();
}

static void end_node(struct scene *scene, size_t n)
{
	if (n == CLIENTS)
		harness_join_gateway(scene->h);
	else
		harness_join_client(scene->h, n);
}

static void set_up(struct scene *scene, unsigned round)
{
	struct harness *h = harness_new(&(struct harness_options){
		.clients = CLIENTS,
		.clock = &clock_system,
		.stage_sampling = 2,
		.max_sessions = 16,
		.workers = 1 + round % 3,
		.handshakers = 1 + round % 2,
		.reader = round % 3 != 0,
	});
	*scene = (struct scene){.h = h, .tsc = tsc_calibrate()};
	for (size_t n = 0; n < NODES; n++)
		scene->nodes[n] = n == CLIENTS ? &h->gateway.node : &h->clients[n].node;
	h->network.hooks = (struct link_hooks){.accept = refuse_trains, .context = scene};
	harness_spawn_gateway(h);
	for (size_t n = 0; n < CLIENTS; n++)
		harness_spawn_client(h, n);
}

static void tear_down(struct scene *scene)
{
	for (size_t n = 0; n < NODES; n++) {
		for (size_t c = 0; c < CLIENTS; c++) {
			free(scene->frames[n][c][0]);
			free(scene->frames[n][c][1]);
		}
	}
	harness_free(scene->h);
}

static void play(struct tap *tap, unsigned round)
{
	struct scene scene;
	set_up(&scene, round);
	struct harness *h = scene.h;
	bool up = true;
	for (size_t n = 0; n < CLIENTS; n++)
		harness_connect(h, n);
	for (size_t n = 0; n < CLIENTS; n++)
		up &= wait_state(&h->clients[n], CLIENT_UP);
	tap_ok(tap, up, "all clients are up");
	if (!up)
		exit(tap_done(tap));

	/* A client's lease reaches this thread by the snapshot; its session is read here only because it was published.
	 */
	make_frames(&scene);
	start_thread(&scene.feeder, feed, &scene);
	start_thread(&scene.reader, look, &scene);
	tap_ok(tap, wait_traffic(&scene), "traffic flows both ways while the reports are read");
	printf("# %u reports saw the counters move\n", scene.reads);
	tap_ok(tap, !scene.nodes[1]->link.base.gso, "one client's device took no trains");

	/* Under load: one client first, then the gateway and the others in an order that changes. */
	end_node(&scene, 0);
	for (size_t i = 0; i < NODES - 1; i++)
		end_node(&scene, 1 + (i + round) % (NODES - 1));
	scene.stop = true;
	pthread_join(scene.feeder, NULL);
	pthread_join(scene.reader, NULL);
	tap_ok(tap, scene.failed_reports == 0, "each report was made");

	/* What is still in queues is brought to its end on this thread, so that it can be counted. */
	h->network.hooks = (struct link_hooks){0};
	harness_pump(h);
	tap_ok(tap, node_counter(scene.nodes[0], STATS_tx_bye) == 1, "the client that left said BYE");
	tap_ok(tap, node_counter(scene.nodes[CLIENTS], STATS_sessions_ended) >= 1, "and the gateway heard it");
	const char *problem = harness_problem(h);
	if (problem != NULL)
		printf("# %s\n", problem);
	tap_ok(tap, problem == NULL, "every packet was delivered or counted, no nonce used twice");
	tear_down(&scene);
}

int main(void)
{
	struct tap tap = {0};
	for (unsigned round = 0; round < ROUNDS; round++)
		play(&tap, round);
	return tap_done(&tap);
}
