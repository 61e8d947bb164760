// SPDX-License-Identifier: Apache-2.0
/* Quotas of a gateway of four workers under traffic, while periods begin, limits change, and peers go and come: what
 * workers count, and the control plane sets to 0, writes and reads. */
#include <stdlib.h>
#include <unistd.h>

#include "core/gateway/quota.h"
#include "tests/harness/stress_rig.h"
#include "tests/stress/tap.h"

enum { CLIENTS = 6, PERIODS = 12, REMOVALS = 6, QUOTA = 1 << 16, DAY_S = 86400 };

static _Atomic uint64_t day = 20786;

static uint64_t read_wall(const struct clock *clock)
{
	(void)clock;
	return atomic_load(&day) * DAY_S * NS_PER_S;
}

static uint64_t read_monotonic(const struct clock *clock)
{
	(void)clock;
	return clock_monotonic(&clock_system);
}

static const struct clock days = {.wall = read_wall, .monotonic = read_monotonic};

struct scene {
	struct stress_rig rig;
	struct quota quota;
	struct session_ender ender;
	char path[64];
};

static void tell(struct harness *h, uint32_t id, enum inbox_kind kind)
{
	struct inbox_message *message = calloc(1, sizeof *message);
	if (message == NULL)
		abort();
	message->kind = kind;
	message->session_id = id;
	if (kind == INBOX_END)
		message->end.reason = WIRE_BYE_RESTARTING; /* so that it comes back soon */
	inbox_post(h->gateway.inboxes[session_shard(&h->gateway.registry.table.sharding, id)], message);
}

static void limit(void *context, uint32_t id)
{
	tell(context, id, INBOX_LIMITS);
}

static void step(struct scene *scene)
{
	rcu_online();
	quota_step(&scene->quota);
	rcu_offline();
}

static uint64_t used(struct scene *scene, size_t client)
{
	rcu_online();
	const struct peer *peer = harness_peer(scene->rig.h, client);
	const struct usage *usage = peer != NULL ? peer_usage(peer) : NULL;
	uint64_t bytes = usage != NULL ? atomic_load(&usage->used) : 0;
	rcu_offline();
	return bytes;
}

/* Within the patience, with the control plane's step in between. */
static bool wait_used(struct scene *scene, size_t client, uint64_t bytes)
{
	for (unsigned ms = 0; ms < STRESS_RIG_PATIENCE_S * 1000 && used(scene, client) < bytes; ms++) {
		stress_rig_look(&scene->rig);
		pause_ms(1);
		if (ms % 16 == 0)
			step(scene);
	}
	return used(scene, client) >= bytes;
}

static bool new_period(struct scene *scene)
{
	bool good = true;
	atomic_fetch_add(&day, 1);
	step(scene);
	for (size_t client = 0; client < CLIENTS; client++)
		good = wait_used(scene, client, QUOTA) && good;
	/* Two packets at most are under way at two workers, where a peer was added again. */
	for (size_t client = 0; client < CLIENTS; client++)
		good = used(scene, client) < QUOTA + 2 * HARNESS_MTU && good;
	return good;
}

static bool raise_limit(struct scene *scene, size_t client, uint64_t bytes)
{
	struct harness *h = scene->rig.h;
	const struct peer_limits limits = {.quota = bytes, .period = CALENDAR_DAY, .after = client % 2 != 0 ? 80 : 0};
	uint32_t ids[2] = {0};
	rcu_online();
	registry_limit_peer(&h->gateway.registry, harness_peer(h, client), &limits, ids);
	rcu_offline();
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		if (ids[i] != 0)
			tell(h, ids[i], INBOX_LIMITS);
	}
	return wait_used(scene, client, bytes);
}

/* Its record outlives it. */
static bool add_again(struct scene *scene, size_t client)
{
	struct harness *h = scene->rig.h;
	uint32_t ids[2] = {0};
	uint64_t before = used(scene, client);
	rcu_online();
	(void)registry_remove_peer(&h->gateway.registry, h->clients[client].identity.keys.public_key, ids);
	int result = harness_add_peer(h, client);
	rcu_offline();
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		if (ids[i] != 0)
			tell(h, ids[i], INBOX_END);
	}
	return result == 0 && used(scene, client) >= before;
}

static void open_scene(struct scene *scene)
{
	struct harness_options options = {.clients = CLIENTS, .workers = 4, .reset = true, .max_sessions = 32};
	for (size_t client = 0; client < CLIENTS; client++)
		options.limits[client] = (struct peer_limits){.quota = QUOTA, .period = CALENDAR_DAY};
	stress_rig_open(&scene->rig, &options, NULL);
	scene->ender = (struct session_ender){.limit = limit, .context = scene->rig.h};
	(void)snprintf(scene->path, sizeof scene->path, "/tmp/stress_quota.%d", (int)getpid());
	const struct quota_params params = {.registry = &scene->rig.h->gateway.registry,
					    .clock = &days,
					    .ender = &scene->ender,
					    .path = scene->path};
	if (quota_open(&scene->quota, &params, NULL) != 0)
		abort();
}

int main(void)
{
	static struct scene scene;
	struct tap tap = {0};
	bool good;
	open_scene(&scene);
	good = stress_rig_start(&scene.rig);
	tap_ok(&tap, good, "all clients are up");
	if (!good)
		return tap_done(&tap);
	for (unsigned i = 0; good && i < PERIODS; i++)
		good = new_period(&scene);
	tap_ok(&tap, good, "in each period each client has its quota, to the packet");
	for (size_t client = 0; good && client < CLIENTS; client++)
		good = raise_limit(&scene, client, 2 * QUOTA);
	tap_ok(&tap, good, "and what it is raised by");
	for (size_t i = 0; good && i < REMOVALS; i++) {
		good = add_again(&scene, i % CLIENTS);
		step(&scene);
	}
	tap_ok(&tap, good, "a peer that is added again has used what it had");
	for (unsigned i = 0; good && i < 2; i++)
		good = new_period(&scene);
	tap_ok(&tap, good, "and goes on in the next period");
	const char *problem = stress_rig_end(&scene.rig);
	if (problem != NULL)
		printf("# %s\n", problem);
	tap_ok(&tap, problem == NULL, "every packet was delivered or counted");
	quota_close(&scene.quota);
	tap_ok(&tap, scene.quota.over <= CLIENTS && !scene.quota.failed, "and what is used was written");
	stress_rig_close(&scene.rig);
	(void)unlink(scene.path);
	return tap_done(&tap);
}
