// SPDX-License-Identifier: Apache-2.0
/* When the agent takes its watch for lost: reads are ahead of it, and it does not report what the agent writes to see
 * that; or its endpoint has failed, and reads are answered again. The agent's time is the test's; etcd is one that
 * stands for it. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "core/agent/agent_state.h"
#include "tests/unit/etcd_stand_in.h"

TestSuite(agent_watch, .timeout = 120);

enum { SEEN = 41, WRITTEN = 60, ROUNDS_MAX = 5000 };

/* What the stand-in does. */
static struct {
	atomic_bool reports;	     /* the watch has an event of the write, once there was one */
	atomic_bool refuses;	     /* the role may not write there */
	atomic_bool silent;	     /* no request but a watch is answered */
	atomic_uint watches, writes; /* requests */
} etcd;

static struct stand_in server;
static struct agent agent;
static struct agent_settings settings = {.endpoint_count = 1, .prefix = "/p/", .node = "gw1"};

/* --- time --------------------------------------------------------------------------------------------------------- */

static uint64_t now = 1000 * NS_PER_S;

static uint64_t tell(const struct clock *clock)
{
	(void)clock;
	return now;
}

static const struct clock injected = {.monotonic = tell, .wall = tell};

/* --- etcd --------------------------------------------------------------------------------------------------------- */

#define CREATED "{\"result\":{\"header\":{\"revision\":\"41\"},\"created\":true}}\n"
/* /p/watch/gw1 */
#define REPORT                                                                                                       \
	"{\"result\":{\"header\":{\"revision\":\"60\"},\"events\":[{\"kv\":{\"key\":\"L3Avd2F0Y2gvZ3cx\",\"value\":" \
	"\"e30=\",\"mod_revision\":\"60\"}}]}}\n"

static void answer_watch(struct stand_in_reply *reply)
{
	atomic_fetch_add(&etcd.watches, 1);
	reply->stays = true;
	while (atomic_load(&etcd.reports) && atomic_load(&etcd.writes) == 0 && !atomic_load(&server.ending))
		usleep(1000);
	reply->text = strdup(atomic_load(&etcd.reports) ? CREATED REPORT : CREATED);
}

static void answer(struct stand_in *stand_in, const char *path, json_t *request, const char *token,
		   struct stand_in_reply *reply)
{
	(void)stand_in, (void)token, (void)request;
	if (strcmp(path, "/v3/watch") == 0) {
		answer_watch(reply);
		return;
	}
	if (atomic_load(&etcd.silent))
		return;
	atomic_fetch_add(&etcd.writes, 1);
	reply->status = atomic_load(&etcd.refuses) ? 403 : 200;
	reply->text = strdup(atomic_load(&etcd.refuses)
				     ? "{\"error\":\"etcdserver: permission denied\",\"code\":7}"
				     : "{\"header\":{\"revision\":\"60\"},\"succeeded\":true,\"responses\":[{}]}");
}

static void begin(void)
{
	struct error error = {0};
	stand_in_start(&server, answer, NULL);
	settings.endpoints[0] = server.url;
	const struct etcd_params params = agent_settings_etcd(&settings, &clock_system);
	agent.settings = &settings;
	agent.clock = &injected;
	agent.etcd = etcd_new(&params, &error);
	cr_assert_not_null(agent.etcd, "%s", error.text);
	agent.peers.phase = PEERS_FOLLOWING;
	agent.watch.seen = agent.read_revision = SEEN;
	ownership_init(&agent.rule, "gw1", "u1", "m", OWNERSHIP_BLOCKS - 1, 0, 1);
}

static void end(void)
{
	agent_watch_close(&agent);
	etcd_free(agent.etcd);
	stand_in_stop(&server);
}

/* What has been begun comes to its end, within the same moment of the agent's time. */
static void settle(void)
{
	struct agent_watch *watch = &agent.watch;
	for (int i = 0; i < ROUNDS_MAX && (watch->probing || atomic_load(&etcd.watches) == 0); i++)
		cr_assert_eq(etcd_run(agent.etcd, NULL, 0, 20), 0);
	cr_assert_not(watch->probing);
}

static void step(uint64_t later)
{
	now += later;
	agent_watch_step(&agent);
	settle();
}

/* --- the decision ------------------------------------------------------------------------------------------------- */

Test(agent_watch, one_that_is_not_behind_is_left_alone, .init = begin, .fini = end)
{
	step(0);
	cr_assert_not_null(agent.watch.watch);
	for (int i = 0; i < 50; i++)
		step(AGENT_STALE);
	cr_assert_eq(atomic_load(&etcd.writes), 0);
	cr_assert_eq(atomic_load(&etcd.watches), 1);
}

Test(agent_watch, one_that_reports_the_write_goes_on, .init = begin, .fini = end)
{
	atomic_store(&etcd.reports, true);
	step(0);
	const struct etcd_watch *first = agent.watch.watch;
	agent.read_revision = SEEN + 1; /* another program's, of which the watch has nothing */
	step(NS_PER_MS);
	step(AGENT_STALE - NS_PER_MS);
	cr_assert_eq(atomic_load(&etcd.writes), 0, "that may be on its way");
	step(NS_PER_MS);
	cr_assert_eq(atomic_load(&etcd.writes), 1);
	for (int i = 0; i < ROUNDS_MAX && agent.watch.seen < WRITTEN; i++)
		cr_assert_eq(etcd_run(agent.etcd, NULL, 0, 20), 0);
	cr_assert_eq(agent.watch.seen, WRITTEN);
	for (int i = 0; i < 20; i++)
		step(AGENT_STALE);
	cr_assert_eq(agent.watch.watch, first);
	cr_assert_eq(atomic_load(&etcd.writes), 1);
	agent.read_revision = WRITTEN + 1;
	step(NS_PER_MS);
	step(AGENT_STALE);
	cr_assert_eq(atomic_load(&etcd.writes), 2, "the pause between two is over");
}

Test(agent_watch, one_that_does_not_report_the_write_is_begun_again, .init = begin, .fini = end)
{
	step(0);
	agent.read_revision = SEEN + 1;
	step(NS_PER_MS);
	step(AGENT_STALE);
	cr_assert_eq(atomic_load(&etcd.writes), 1);
	cr_assert_not_null(agent.watch.watch);
	step(AGENT_STALE - NS_PER_MS);
	cr_assert_not_null(agent.watch.watch, "the report may be on its way");
	step(NS_PER_MS);
	cr_assert_null(agent.watch.watch);
	cr_assert_eq(agent.watch.seen, SEEN, "it begins where it was");
	step(0);
	cr_assert_not_null(agent.watch.watch);
	/* The next write waits, or an etcd that is slow would be written to twice a second. */
	step(NS_PER_MS);
	step(AGENT_STALE);
	step(AGENT_STALE);
	cr_assert_eq(atomic_load(&etcd.writes), 1);
	step(AGENT_PROBE);
	cr_assert_eq(atomic_load(&etcd.writes), 2);
}

Test(agent_watch, where_the_role_may_not_write_it_is_begun_again_without, .init = begin, .fini = end)
{
	atomic_store(&etcd.refuses, true);
	step(0);
	agent.read_revision = SEEN + 1;
	step(NS_PER_MS);
	for (unsigned i = 0; i < AGENT_PROBES; i++) {
		cr_assert_not_null(agent.watch.watch);
		cr_assert_eq(atomic_load(&etcd.writes), i);
		step(NS_PER_S);
	}
	cr_assert_eq(atomic_load(&etcd.writes), AGENT_PROBES);
	step(AGENT_STALE);
	cr_assert_null(agent.watch.watch);
	cr_assert_eq(agent.watch.probes_failed, 0);
}

static bool read_ended;

static void ended(void *context, const struct etcd_answer *answer)
{
	(void)context, (void)answer;
	read_ended = true;
}

static void read_key(void)
{
	const struct etcd_range range = {.key = "/p/members"};
	read_ended = false;
	cr_assert_eq(etcd_range(agent.etcd, &range, 0, 100, ended, NULL), 0);
	for (int i = 0; i < ROUNDS_MAX && !read_ended; i++)
		cr_assert_eq(etcd_run(agent.etcd, NULL, 0, 20), 0);
	cr_assert(read_ended);
}

Test(agent_watch, one_whose_endpoint_has_failed_is_begun_again, .init = begin, .fini = end)
{
	step(0);
	read_key();
	agent_watch_doubt(&agent);
	cr_assert_not_null(agent.watch.watch);
	atomic_store(&etcd.silent, true);
	read_key();
	atomic_store(&etcd.silent, false);
	agent_watch_doubt(&agent);
	cr_assert_null(agent.watch.watch);
	cr_assert_eq(agent.watch.seen, SEEN, "it begins where it was");
	step(0);
	cr_assert_not_null(agent.watch.watch);
	for (int i = 0; i < ROUNDS_MAX && atomic_load(&etcd.watches) < 2; i++)
		cr_assert_eq(etcd_run(agent.etcd, NULL, 0, 20), 0);
	agent_watch_doubt(&agent);
	cr_assert_not_null(agent.watch.watch, "once");
}
