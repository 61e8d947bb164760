// SPDX-License-Identifier: Apache-2.0
/* Twenty take-overs in a row, each by another process, while packets go both ways: no packet is lost, no client
 * handshakes.
 *
 * All processes have the harness's sockets, from before the first thread. The first one has the clients too, puts
 * packets in and counts those that come out, and its gateway is the first that hands over. The others wait for their
 * turn. */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/handover/export.h"
#include "core/handover/import.h"
#include "core/handover/takeover.h"
#include "core/handover/word.h"
#include "tests/harness/harness.h"
#include "tests/stress/tap.h"
#include "workers/freeze.h"

enum {
	TAKEOVERS = 20,
	WORKERS = 2,
	CLIENTS = 6,
	PAYLOAD = 300,
	WINDOW = 4,  /* packets under way for each client and direction */
	ROUNDS = 20, /* in which all of them come, before and after each take-over */
	PATIENCE_MS = 60000,
};

static const struct takeover_party party = {.layout = "stress"};

/* Of all processes. */
struct shared {
	_Atomic unsigned ready;	  /* processes that wait for their turn */
	_Atomic unsigned serving; /* the number of the one that serves */
	_Atomic unsigned failed;
	_Atomic uint64_t dropped[TAKEOVERS + 1]; /* by each: on a slow machine packets wait in rings for too long */
	_Atomic uint64_t frozen_at, served_at;	 /* of the last take-over, monotonic ns */
};

struct flow {
	struct tun_pair *in, *out;
	uint8_t frame[2 * PAYLOAD];
	size_t length;
};

struct scene {
	struct harness *h;
	struct shared *shared;
	int ends[TAKEOVERS][2]; /* of the connection between a process and the next: the old one's, the new one's */
	struct event_loop *handshakers[1], *loops[WORKERS];
	struct worker *workers[WORKERS];
	struct freeze_kind kinds[2];
	struct handover_export export;
	struct flow flows[2 * CLIENTS];
	uint64_t offered, arrived;
};

static void pause_us(unsigned us)
{
	const struct timespec time = {.tv_nsec = (long)us * 1000};
	nanosleep(&time, NULL);
}

/* --- a gateway of each process ------------------------------------------------------------------------------------ */

static void collect_threads(struct scene *scene)
{
	scene->handshakers[0] = &scene->h->gateway.handshakes[0].handshaker->loop;
	for (unsigned i = 0; i < WORKERS; i++) {
		scene->workers[i] = harness_gateway_worker(scene->h, i);
		scene->loops[i] = &scene->workers[i]->loop;
	}
	scene->kinds[0] = (struct freeze_kind){scene->handshakers, 1};
	scene->kinds[1] = (struct freeze_kind){scene->loops, WORKERS};
}

/* While packets go on: a worker stands still for a portion at a time. */
static void export_worker(struct scene *scene, uint32_t number)
{
	struct event_loop *loop = scene->loops[number];
	const struct freeze_kind kind = {&loop, 1};
	uint32_t slot = number;
	while (slot != HANDOVER_NO_SLOT && freeze(&kind, 1, NULL, 0, &clock_system, PATIENCE_MS * NS_PER_MS)) {
		rcu_online();
		(void)worker_settle(scene->workers[number]);
		slot = handover_export_sessions(&scene->export, slot);
		rcu_offline();
		thaw(&kind, 1);
	}
}

static int export_gateway(void *context, const struct handover_memory **memory, struct error *error)
{
	struct scene *scene = context;
	struct gateway_node *gateway = &scene->h->gateway;
	if (!freeze(scene->kinds, 1, NULL, 0, &clock_system, PATIENCE_MS * NS_PER_MS))
		return error_set(error, -ETIMEDOUT, "handshakes do not rest");
	int result = handover_export_begin(&scene->export, &gateway->registry, &gateway->jar);
	for (uint32_t i = 0; result == 0 && i < WORKERS; i++)
		export_worker(scene, i);
	rcu_online();
	if (result == 0)
		result = handover_export_finish(&scene->export, clock_monotonic(&clock_system));
	rcu_offline();
	*error = scene->export.error;
	*memory = &scene->export.memory;
	return result;
}

static int freeze_gateway(void *context, struct error *error)
{
	struct scene *scene = context;
	atomic_store(&scene->shared->frozen_at, clock_monotonic(&clock_system));
	if (freeze(scene->kinds, ARRAY_SIZE(scene->kinds), scene->workers, WORKERS, &clock_system,
		   PATIENCE_MS * NS_PER_MS))
		return 0;
	return error_set(error, -ETIMEDOUT, "threads do not stand still");
}

static int write_gateway(void *context, struct error *error)
{
	struct scene *scene = context;
	struct stats_snapshot totals = {0};
	const struct handover_now now = {.totals = &totals,
					 .now = clock_monotonic(&clock_system),
					 .frozen = atomic_load(&scene->shared->frozen_at)};
	rcu_online();
	int result = handover_export_moved(&scene->export, &now);
	rcu_offline();
	*error = scene->export.error;
	return result;
}

static void thaw_gateway(void *context)
{
	struct scene *scene = context;
	thaw(scene->kinds, ARRAY_SIZE(scene->kinds));
}

static void show_drops(struct scene *scene, unsigned number)
{
	const struct node *node = &scene->h->gateway.node;
	atomic_store(&scene->shared->dropped[number],
		     node_drops(node, DROP_OUT_QUEUE) + node_drops(node, DROP_OUT_RING));
}

/* Waits until the other process says something. */
static bool readable(struct scene *scene, unsigned number)
{
	struct pollfd readable = {.fd = scene->ends[number][0], .events = POLLIN};
	for (unsigned waited = 0; waited < PATIENCE_MS; waited++) {
		show_drops(scene, number);
		if (poll(&readable, 1, 1) == 1)
			return true;
	}
	return false;
}

static bool hand_over(struct scene *scene, unsigned number)
{
	static const struct takeover_owner pattern = {
		.export = export_gateway, .freeze = freeze_gateway, .follow = write_gateway, .thaw = thaw_gateway};
	struct takeover_owner owner = pattern;
	struct descriptor_list none = {0};
	struct error error = {""};
	int fd = scene->ends[number][0];
	owner.context = scene;
	if (descriptor_list_add(&none, "none", 0) == 0 && readable(scene, number) &&
	    takeover_answer(fd, &party, &error) == 0 && takeover_give(fd, &none, 0, &error) == 0 &&
	    readable(scene, number) && takeover_export(fd, &owner, &error) == 0 && readable(scene, number) &&
	    takeover_hand_over(fd, &owner, &scene->export.memory, PATIENCE_MS, &error) == TAKEOVER_GIVEN) {
		show_drops(scene, number);
		return true;
	}
	printf("# process %u: %s\n", number, error.text);
	return false;
}

/* All, or an error; then they are this process's. */
static int take_sessions(struct scene *scene, int fd, const struct handover_memory *memory, struct error *error)
{
	struct gateway_node *gateway = &scene->h->gateway;
	struct stats *totals = aligned_alloc(CACHE_LINE, sizeof *totals);
	struct handover_import import;
	if (totals == NULL)
		return -ENOMEM;
	memset(totals, 0, sizeof *totals);
	const struct handover_target target = {.registry = &gateway->registry,
					       .engine = gateway->node.worker->aead,
					       .jar = &gateway->jar,
					       .totals = totals,
					       .now = clock_monotonic(&clock_system),
					       .workers = scene->workers};
	int result = handover_read(&import, memory, &target, error);
	if (result != 0)
		return result;
	handover_take_over(&import, &target);
	result = takeover_await_offer(fd, PATIENCE_MS, error);
	if (result == 0)
		result = handover_check_moved(&import, clock_monotonic(&clock_system), error);
	if (result == 0 && !handover_claim(memory))
		result = error_set(error, -ETIMEDOUT, "too late");
	if (result == 0)
		handover_follow(&import, &target);
	if (result == 0 && (import.count != CLIENTS || import.gone != 0))
		result = error_set(error, -EIO, "%zu sessions, %zu gone", import.count, import.gone);
	handover_discard(&import);
	return result;
}

static bool take_over(struct scene *scene, unsigned number)
{
	struct takeover_given given;
	struct handover_memory memory;
	struct error error = {""};
	int fd = scene->ends[number - 1][1];
	if (takeover_ask(fd, &party, &given, &error) != 0 || takeover_receive(fd, &memory, PATIENCE_MS, &error) != 0 ||
	    take_sessions(scene, fd, &memory, &error) != 0) {
		printf("# process %u: %s\n", number, error.text);
		return false;
	}
	harness_spawn_gateway(scene->h);
	atomic_store(&scene->shared->served_at, clock_monotonic(&clock_system));
	atomic_store(&scene->shared->serving, number);
	handover_memory_wipe(&memory);
	handover_memory_close(&memory);
	return true;
}

/* Waits until the process before it serves and may have been asked, then takes over, and hands over in its turn. It
 * ends without a word: its threads stand still. */
static _Noreturn void be(struct scene *scene, unsigned number)
{
	/* Of all that is the first one's gateway only descriptors are used again. */
	harness_start_gateway(scene->h);
	collect_threads(scene);
	atomic_fetch_add(&scene->shared->ready, 1);
	char turn;
	bool good = recv(scene->ends[number - 1][1], &turn, 1, 0) == 1 && take_over(scene, number);
	good = good && (number == TAKEOVERS || hand_over(scene, number));
	if (!good)
		atomic_fetch_add(&scene->shared->failed, 1);
	fflush(stdout);
	if (number != TAKEOVERS)
		_exit(0);
	for (;; pause_us(1000)) /* until it is killed */
		show_drops(scene, number);
}

/* --- packets ------------------------------------------------------------------------------------------------------ */

static void make_flows(struct scene *scene)
{
	uint8_t payload[PAYLOAD] = {1};
	for (size_t i = 0; i < CLIENTS; i++) {
		struct tun_pair *gateway = &scene->h->gateway.node.tun, *client = &scene->h->clients[i].node.tun;
		struct flow *down = &scene->flows[2 * i], *up = down + 1;
		struct packet_spec spec = harness_spec(scene->h, i, TO_CLIENT, 4, IPPROTO_UDP);
		*down = (struct flow){.in = gateway, .out = client};
		down->length = packet_build_frame(&spec, payload, sizeof payload, 0, down->frame);
		spec = harness_spec(scene->h, i, TO_GATEWAY, 4, IPPROTO_UDP);
		*up = (struct flow){.in = client, .out = gateway};
		up->length = packet_build_frame(&spec, payload, sizeof payload, 0, up->frame);
	}
}

/* Several datagrams may come as one frame. */
static void collect(struct scene *scene)
{
	static uint8_t frame[TUN_FRAME_MAX];
	for (size_t i = 0; i < ARRAY_SIZE(scene->flows); i++) {
		size_t headers = scene->flows[i].length - PAYLOAD, length;
		while ((length = tun_pair_take(scene->flows[i].out, frame)) > headers)
			scene->arrived += (length - headers) / PAYLOAD;
	}
}

static uint64_t dropped(const struct scene *scene)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i <= TAKEOVERS; i++)
		sum += atomic_load(&scene->shared->dropped[i]);
	return sum;
}

static bool all_came(const struct scene *scene)
{
	return scene->arrived + dropped(scene) == scene->offered;
}

/* So many packets on each flow, and all come. */
static bool round_trip(struct scene *scene)
{
	for (unsigned n = 0; n < WINDOW; n++) {
		for (size_t i = 0; i < ARRAY_SIZE(scene->flows); i++) {
			struct flow *flow = &scene->flows[i];
			scene->offered += tun_pair_put(flow->in, flow->frame, flow->length) == 0;
		}
	}
	for (unsigned waited = 0; waited < PATIENCE_MS * 10 && !all_came(scene); waited++) {
		collect(scene);
		if (!all_came(scene))
			pause_us(100);
	}
	return all_came(scene);
}

static bool rounds(struct scene *scene)
{
	bool good = true;
	for (unsigned i = 0; good && i < ROUNDS; i++)
		good = round_trip(scene);
	return good;
}

/* --- the first process -------------------------------------------------------------------------------------------- */

static bool connect_client(struct scene *scene, size_t client)
{
	harness_connect(scene->h, client);
	return harness_await_state(&scene->h->clients[client], CLIENT_UP, PATIENCE_MS);
}

/* Packets are under way when it begins; returns when the next process serves. */
static bool next(struct scene *scene, unsigned number)
{
	const struct shared *shared = scene->shared;
	bool good = send(scene->ends[number][0], "", 1, 0) == 1;
	if (number == 0)
		good = good && hand_over(scene, number);
	while (good && atomic_load(&shared->serving) != number + 1 && atomic_load(&shared->failed) == 0)
		good = number == 0 || round_trip(scene);
	return good && atomic_load(&shared->failed) == 0 && rounds(scene);
}

static uint64_t of_clients(const struct scene *scene, enum stats_counter counter)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < CLIENTS; i++)
		sum += node_counter(&scene->h->clients[i].node, counter);
	return sum;
}

static void run(struct scene *scene, struct tap *tap)
{
	bool good = true;
	uint64_t longest = 0, all = 0;
	for (size_t i = 0; i < CLIENTS; i++)
		good = good && connect_client(scene, i);
	tap_ok(tap, good, "the clients connect");
	make_flows(scene);
	good = good && rounds(scene);
	uint64_t hellos = of_clients(scene, STATS_tx_hello);
	for (unsigned number = 0; good && number < TAKEOVERS; number++) {
		good = next(scene, number);
		uint64_t pause = atomic_load(&scene->shared->served_at) - atomic_load(&scene->shared->frozen_at);
		longest = pause > longest ? pause : longest;
		all += pause;
	}
	printf("# %lu of %lu packets, %lu waited for too long; from the freeze until the next one serves %.1f ms, at "
	       "most %.1f ms\n",
	       scene->arrived, scene->offered, dropped(scene), (double)all / TAKEOVERS / 1e6, (double)longest / 1e6);
	tap_ok(tap, good && atomic_load(&scene->shared->serving) == TAKEOVERS, "one process after the other serves");
	tap_ok(tap, all_came(scene), "no packet is lost");
	tap_ok(tap, of_clients(scene, STATS_tx_hello) == hellos && of_clients(scene, STATS_rx_reset) == 0,
	       "no client handshakes");
	tap_ok(tap, longest < 5 * NS_PER_S, "none waits for long");
}

int main(void)
{
	struct tap tap = {0};
	struct scene *scene = calloc(1, sizeof *scene);
	pid_t processes[TAKEOVERS];
	if (scene == NULL)
		return 1;
	scene->shared = mmap(NULL, sizeof *scene->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	scene->h = harness_new(&(struct harness_options){
		.clients = CLIENTS, .workers = WORKERS, .clock = &clock_system, .fast_aead = true});
	for (unsigned i = 0; i < TAKEOVERS; i++) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, scene->ends[i]) != 0)
			return 1;
	}
	fflush(stdout);
	for (unsigned i = 0; i < TAKEOVERS; i++) {
		processes[i] = fork();
		if (processes[i] == 0)
			be(scene, i + 1);
	}
	while (atomic_load(&scene->shared->ready) != TAKEOVERS)
		pause_us(1000);
	collect_threads(scene);
	harness_spawn_gateway(scene->h);
	for (size_t i = 0; i < CLIENTS; i++)
		harness_spawn_client(scene->h, i);
	run(scene, &tap);
	for (unsigned i = 0; i < TAKEOVERS; i++) {
		(void)kill(processes[i], SIGKILL);
		(void)waitpid(processes[i], NULL, 0);
	}
	int status = tap_done(&tap);
	fflush(stdout);
	_exit(status); /* its own gateway stands still for good: nothing is to be sent under its keys any more */
}
