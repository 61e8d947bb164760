// SPDX-License-Identifier: Apache-2.0
/* A gateway's blocks as its agent says them: cluster.h, and the control commands over it. The test plays the workers.
 */
#include "core/gateway/cluster.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "core/daemon/daemon.h"
#include "core/gateway/control_cluster.h"
#include "core/gateway/reload.h"
#include "tests/unit/control_words.h"

static struct registry registry;
static struct fence fence;
static struct cluster cluster;
static struct gateway_running running;
static struct daemon own_daemon;
static uint64_t now;
static unsigned wakes, changes, answers, answered_block;
static uint64_t workers_at; /* the version of the fence that workers followed */

static uint64_t read_now(const struct clock *clock)
{
	(void)clock;
	return now;
}

static const struct clock test_clock = {.monotonic = read_now, .wall = read_now};

static void wake(void *context)
{
	(void)context;
	wakes++;
}

static bool fenced(void *context, uint64_t version)
{
	(void)context;
	return workers_at >= version;
}

static void changed(void *context)
{
	(void)context;
	changes++;
}

static void released(void *context, struct control_ticket ticket, unsigned block)
{
	(void)context, (void)ticket;
	answers++;
	answered_block = block;
}

static void begin(void)
{
	now = clock_monotonic(&clock_system); /* the timer's clock */
	fence_init(&fence, 4096);
	const struct cluster_params params = {
		.node = "gw1",
		.fence = &fence,
		.registry = &registry,
		.clock = &test_clock,
		.effects = {.wake = wake, .fenced = fenced, .changed = changed, .released = released}};
	cr_assert_eq(cluster_open(&cluster, &params, NULL), 0);
	running.cluster = &cluster;
	running.registry = &registry;
	registry.pool.size = 65536;
	own_daemon.params.context = &running;
}

static void end(void)
{
	cluster_close(&cluster);
}

TestSuite(cluster, .init = begin, .fini = end);

static void own(const char *blocks, uint64_t for_ns)
{
	struct block_set set;
	cr_assert(block_set_parse(blocks, &set));
	cr_assert_eq(cluster_own(&cluster, &set, now + for_ns, NULL), 0);
}

static bool due(int ms)
{
	struct pollfd timer = {.fd = cluster.timer_fd, .events = POLLIN};
	return poll(&timer, 1, ms) == 1;
}

Test(cluster, workers_and_routes_hear_of_a_change_and_not_of_a_deadline_put_off)
{
	own("7,8", NS_PER_S);
	cr_assert(wakes == 1 && changes == 1);
	own("7,8", 2 * NS_PER_S);
	cr_assert(wakes == 1 && changes == 1);
	own("8", 2 * NS_PER_S);
	cr_assert(wakes == 2 && changes == 2);
	cr_assert(!fence_serves(&fence, 7, now) && fence_serves(&fence, 8, now));
	cr_assert_eq(cluster.fences, 0);
}

Test(cluster, a_deadline_wakes_the_control_thread)
{
	own("7", NS_PER_S / 10);
	cr_assert(!due(0));
	cr_assert(due(5000));
	now += NS_PER_S / 10;
	wakes = changes = 0;
	cluster_step(&cluster);
	cr_assert(wakes == 1 && changes == 1 && cluster.fences == 1);
	cr_assert(!due(0), "nothing is left to wait for");
	cr_assert_eq(fence_until(&fence, 7), 0);
}

Test(cluster, a_block_that_is_extended_too_late_was_lost)
{
	own("7", NS_PER_S);
	uint32_t term = fence_term(&fence, 7);
	now += NS_PER_S;
	own("7", NS_PER_S);
	cr_assert_eq(cluster.fences, 1);
	cr_assert_eq(fence_term(&fence, 7), term + 1);
	cr_assert(fence_serves(&fence, 7, now));
}

Test(cluster, a_release_is_answered_when_the_workers_are_through)
{
	own("7,8", 50 * NS_PER_S);
	workers_at = fence_version(&fence);
	wakes = 0;
	cluster_release(&cluster, 7, (struct control_ticket){0});
	cr_assert(!fence_serves(&fence, 7, now) && fence_serves(&fence, 8, now));
	cr_assert(wakes == 1 && answers == 0);
	cr_assert(due(5000), "it looks again soon");
	cluster_step(&cluster);
	cr_assert(wakes == 2 && answers == 0);
	workers_at = fence_version(&fence);
	cluster_step(&cluster);
	cr_assert(answers == 1 && answered_block == 7 && wakes == 2);
	cluster_step(&cluster);
	cr_assert_eq(answers, 1, "once");
	cr_assert_eq(cluster.fences, 0, "it was handed over");
}

Test(cluster, releases_are_bounded)
{
	workers_at = 0;
	for (unsigned i = 0; i < CLUSTER_RELEASES; i++) {
		cr_assert(cluster_may_release(&cluster));
		cluster_release(&cluster, 1 + i, (struct control_ticket){0});
	}
	cr_assert(!cluster_may_release(&cluster));
	workers_at = UINT64_MAX;
	cluster_step(&cluster);
	cr_assert_eq(answers, CLUSTER_RELEASES, "also for blocks that were not ours");
	cr_assert(cluster_may_release(&cluster));
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

typedef json_t *handler(void *context, char *const *words, size_t count, struct error *error);

static json_t *say(handler *handle, const char *line, struct error *error)
{
	struct control_words words;
	control_words_of(line, &words);
	return handle(&own_daemon, words.words, words.count, error);
}

static void refuses(handler *handle, const char *line, const char *text)
{
	struct error error = {0};
	cr_assert_null(say(handle, line, &error), "%s", line);
	cr_assert_not_null(strstr(error.text, text), "%s: %s", line, error.text);
}

Test(cluster, commands_say_what_is_served)
{
	struct error error = {0};
	char line[128];
	snprintf(line, sizeof line, "%llu 3,1,255", (unsigned long long)(now + 1800 * NS_PER_MS));
	json_t *answer = say(gateway_control_cluster_own, line, &error);
	char *text = json_dumps(json_object_get(answer, "blocks"), JSON_COMPACT);
	cr_assert_str_eq(text, "[1,3,255]");
	json_int_t instance = json_integer_value(json_object_get(answer, "instance"));
	cr_assert_gt(instance, 0, "a number of this process");
	json_t *pool = json_object_get(answer, "pool");
	cr_assert_eq(json_integer_value(json_object_get(pool, "size")), 65536);
	cr_assert_geq(json_array_size(json_object_get(pool, "reserved")), 1);
	free(text);
	json_decref(answer);
	answer = say(gateway_control_cluster, "", &error);
	json_t *blocks = json_object_get(answer, "blocks"), *first = json_array_get(blocks, 0);
	cr_assert_str_eq(json_string_value(json_object_get(answer, "node")), "gw1");
	cr_assert_eq(json_integer_value(json_object_get(answer, "block_size")), 4096);
	cr_assert_eq(json_array_size(blocks), 3);
	cr_assert_eq(json_integer_value(json_object_get(first, "block")), 1);
	cr_assert_eq(json_integer_value(json_object_get(first, "until_ms")), 1800);
	cr_assert_eq(json_integer_value(json_object_get(first, "sessions")), 0);
	json_decref(answer);
	snprintf(line, sizeof line, "%llu -", (unsigned long long)(now + NS_PER_S));
	answer = say(gateway_control_cluster_own, line, &error);
	text = json_dumps(json_object_get(answer, "blocks"), JSON_COMPACT);
	cr_assert_str_eq(text, "[]");
	cr_assert_eq(json_integer_value(json_object_get(answer, "instance")), instance, "as before");
	free(text);
	json_decref(answer);
}

Test(cluster, commands_refuse_what_is_no_time_and_no_block)
{
	own("7", NS_PER_S);
	refuses(gateway_control_cluster_own, "1", "cluster-own wants a time");
	refuses(gateway_control_cluster_own, "x 7", "no time in ns");
	refuses(gateway_control_cluster_own, "-1 7", "no time in ns");
	refuses(gateway_control_cluster_own, "99999999999999999999999 7", "no time in ns");
	refuses(gateway_control_cluster_own, "18446744073709551615 7", "a deadline further than 60 s away");
	refuses(gateway_control_cluster_own, "1 0", "no list of blocks");
	refuses(gateway_control_cluster_own, "1 256", "no list of blocks");
	refuses(gateway_control_cluster_own, "1 7,7", "no list of blocks");
	refuses(gateway_control_cluster_release, "", "cluster-release wants a block");
	refuses(gateway_control_cluster_release, "0", "no list of blocks");
	refuses(gateway_control_cluster_release, "-", "one block is released at a time");
	refuses(gateway_control_cluster_release, "1,2", "one block is released at a time");
	refuses(gateway_control_cluster, "x", "cluster takes no words");
	cr_assert(fence_serves(&fence, 7, now), "none of these changed anything");
	running.cluster = NULL;
	refuses(gateway_control_cluster, "", "in no cluster; give it ClusterNode");
	refuses(gateway_control_cluster_own, "1 -", "in no cluster");
	refuses(gateway_control_cluster_release, "1", "in no cluster");
}
