// SPDX-License-Identifier: Apache-2.0
/* All threads of a gateway stand still, many times, with packets under way each time: nothing of theirs changes
 * while they do, their sessions can be written meanwhile, and all packets come in the end. */
#include <stdlib.h>
#include <time.h>

#include "core/handover/export.h"
#include "tests/harness/harness.h"
#include "tests/stress/tap.h"
#include "workers/freeze.h"

enum {
	WORKERS = 3,
	CLIENTS = 6,
	PAYLOAD = 300,
	CYCLES = 500,
	ROUNDS = 200,
	BURST = 40, /* packets for each client, each round */
	PATIENCE_MS = 60000,
	STANDS_US = 500,
};

struct scene {
	struct harness *h;
	uint8_t *frames[CLIENTS];
	size_t lengths[CLIENTS];
	uint64_t offered[CLIENTS], delivered[CLIENTS];
	struct event_loop *handshakers[1], *readers[1], *loops[WORKERS];
	struct worker *workers[WORKERS];
	struct freeze_kind kinds[3];
	unsigned under_way; /* rounds in which packets were under way */
};

static void pause_us(unsigned us)
{
	const struct timespec time = {.tv_nsec = (long)us * 1000};
	nanosleep(&time, NULL);
}

static bool connect_client(struct scene *scene, size_t client)
{
	struct client_node *node = &scene->h->clients[client];
	uint8_t payload[PAYLOAD] = {1};
	harness_connect(scene->h, client);
	scene->frames[client] = calloc(1, 2 * PAYLOAD);
	if (!harness_await_state(node, CLIENT_UP, PATIENCE_MS) || scene->frames[client] == NULL)
		return false;
	struct packet_spec spec = harness_spec(scene->h, client, TO_CLIENT, 4, IPPROTO_UDP);
	scene->lengths[client] = packet_build_frame(&spec, payload, sizeof payload, 0, scene->frames[client]);
	return true;
}

static uint64_t sum(const uint64_t counts[CLIENTS])
{
	uint64_t total = 0;
	for (size_t i = 0; i < CLIENTS; i++)
		total += counts[i];
	return total;
}

/* A machine that is slow lets them wait in the rings for too long. */
static uint64_t dropped(const struct scene *scene)
{
	const struct node *node = &scene->h->gateway.node;
	return node_drops(node, DROP_OUT_QUEUE) + node_drops(node, DROP_OUT_RING);
}

/* A client may write several datagrams as one frame. */
static bool all_came(struct scene *scene)
{
	static uint8_t frame[TUN_FRAME_MAX];
	size_t length;
	for (size_t i = 0; i < CLIENTS; i++) {
		size_t headers = scene->lengths[i] - PAYLOAD;
		while ((length = tun_pair_take(&scene->h->clients[i].node.tun, frame)) > headers)
			scene->delivered[i] += (length - headers) / PAYLOAD;
	}
	return sum(scene->delivered) + dropped(scene) == sum(scene->offered);
}

static void offer(struct scene *scene)
{
	struct tun_pair *tun = &scene->h->gateway.node.tun;
	for (unsigned n = 0; n < BURST; n++) {
		for (size_t i = 0; i < CLIENTS; i++)
			scene->offered[i] += tun_pair_put(tun, scene->frames[i], scene->lengths[i]) == 0;
	}
}

static uint64_t counted(const struct scene *scene)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < scene->h->gateway.node.stats_count; i++)
		sum += stats_total(scene->h->gateway.node.stats[i]);
	return sum + stats_total(&scene->h->gateway.node.worker->loop.stats);
}

static bool freeze_all(struct scene *scene)
{
	return freeze(scene->kinds, ARRAY_SIZE(scene->kinds), scene->workers, WORKERS, &clock_system,
		      PATIENCE_MS * NS_PER_MS);
}

/* Both parts; a gateway that serves writes the first one before it stands still. */
static bool write_sessions(struct scene *scene)
{
	struct registry *registry = &scene->h->gateway.registry;
	struct stats_snapshot totals = {0};
	uint64_t now = clock_monotonic(&clock_system);
	const struct handover_now end = {.totals = &totals, .now = now, .frozen = now};
	struct handover_export export;
	bool good = handover_export_begin(&export, registry, &scene->h->gateway.jar) == 0;
	for (uint32_t i = 0; good && i < WORKERS; i++) {
		for (uint32_t slot = i; slot != HANDOVER_NO_SLOT;)
			slot = handover_export_sessions(&export, slot);
		good = export.writer.result == 0;
	}
	good = good && handover_export_finish(&export, now) == 0 && handover_export_moved(&export, &end) == 0;
	handover_export_end(&export, true);
	return good;
}

/* Whether the sessions could be written, and the threads did nothing meanwhile. */
static bool stand(struct scene *scene)
{
	uint64_t before = counted(scene);
	pause_us(STANDS_US);
	rcu_online();
	bool written = write_sessions(scene);
	rcu_offline();
	return written && counted(scene) == before;
}

static bool round_of(struct scene *scene, unsigned number)
{
	offer(scene);
	if (number % 2 != 0)
		pause_us(number % 16 * 20);
	if (!freeze_all(scene))
		return false;
	scene->under_way += !all_came(scene);
	bool stood = stand(scene);
	thaw(scene->kinds, ARRAY_SIZE(scene->kinds));
	bool came = false;
	for (unsigned waited = 0; waited < PATIENCE_MS && !came; waited++) {
		came = all_came(scene);
		if (!came)
			pause_us(1000);
	}
	return stood && came;
}

static void run(struct scene *scene, struct tap *tap)
{
	bool up = true, good = true;
	for (size_t i = 0; i < CLIENTS; i++)
		up = up && connect_client(scene, i);
	tap_ok(tap, up, "the clients connect");
	if (!up)
		return;
	/* One may not have gone on yet when it is to stand again. */
	for (unsigned i = 0; good && i < CYCLES; i++) {
		good = freeze_all(scene);
		thaw(scene->kinds, ARRAY_SIZE(scene->kinds));
	}
	tap_ok(tap, good, "they stand and go on many times, one upon the other");
	unsigned rounds = 0;
	for (; good && rounds < ROUNDS; rounds++)
		good = round_of(scene, rounds);
	printf("# %u rounds, packets were under way in %u; %lu of %lu waited for too long\n", rounds, scene->under_way,
	       dropped(scene), sum(scene->offered));
	tap_ok(tap, good, "they stand, and lose nothing");
	tap_ok(tap, scene->under_way > ROUNDS / 20, "with packets under way");
	/* One that is stopped while it stands still ends. */
	tap_ok(tap, freeze_all(scene), "they stand at the end");
}

static void collect_threads(struct scene *scene)
{
	struct harness *h = scene->h;
	scene->handshakers[0] = &h->gateway.handshakes[0].handshaker->loop;
	scene->readers[0] = h->gateway.reader != NULL ? &h->gateway.reader->loop : NULL;
	for (unsigned i = 0; i < WORKERS; i++) {
		scene->workers[i] = harness_gateway_worker(h, i);
		scene->loops[i] = &scene->workers[i]->loop;
	}
	scene->kinds[0] = (struct freeze_kind){scene->handshakers, 1};
	scene->kinds[1] = (struct freeze_kind){scene->readers, h->gateway.reader != NULL ? 1 : 0};
	scene->kinds[2] = (struct freeze_kind){scene->loops, WORKERS};
}

static void scene_of(bool reader, struct tap *tap)
{
	struct scene *scene = calloc(1, sizeof *scene);
	if (scene == NULL)
		abort();
	scene->h = harness_new(&(struct harness_options){
		.clients = CLIENTS, .workers = WORKERS, .reader = reader, .clock = &clock_system, .fast_aead = true});
	collect_threads(scene);
	harness_spawn_gateway(scene->h);
	for (size_t i = 0; i < CLIENTS; i++)
		harness_spawn_client(scene->h, i);
	run(scene, tap);
	for (size_t i = 0; i < CLIENTS; i++)
		harness_join_client(scene->h, i);
	harness_join_gateway(scene->h);
	for (size_t i = 0; i < CLIENTS; i++)
		free(scene->frames[i]);
	harness_pump(scene->h);
	const char *problem = harness_problem(scene->h);
	tap_ok(tap, problem == NULL, problem != NULL ? problem : "everything is accounted for");
	harness_free(scene->h);
	free(scene);
}

int main(void)
{
	struct tap tap = {0};
	scene_of(false, &tap);
	scene_of(true, &tap);
	return tap_done(&tap);
}
