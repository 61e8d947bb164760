// SPDX-License-Identifier: Apache-2.0
/* What the gateway says of its pool is written to etcd, once, and again when it is another one. */
#include <criterion/criterion.h>

#include "core/agent/agent_state.h"
#include "core/agent/etcd_request.h"
#include "tests/unit/etcd_keys.h"

TestSuite(agent_pool, .timeout = 60);

enum { ROUNDS_MAX = 1000 };

static struct etcd_keys store;
static struct agent agent;
static struct agent_settings settings = {.endpoint_count = 1, .prefix = "/p/"};
static uint64_t now = 1000 * NS_PER_S;

static uint64_t tell(const struct clock *clock)
{
	(void)clock;
	return now;
}

static const struct clock injected = {.monotonic = tell, .wall = tell};

static void begin(void)
{
	struct error error = {0};
	etcd_keys_start(&store);
	settings.endpoints[0] = store.server.url;
	const struct etcd_params params = agent_settings_etcd(&settings, &clock_system);
	agent.settings = &settings;
	agent.clock = &injected;
	agent.etcd = etcd_new(&params, &error);
	cr_assert_not_null(agent.etcd, "%s", error.text);
}

static void end(void)
{
	etcd_free(agent.etcd);
	etcd_keys_stop(&store);
}

static void see(const char *text)
{
	json_t *pool = text != NULL ? json_loads(text, 0, NULL) : NULL;
	agent_pool_see(&agent, pool);
	json_decref(pool);
	agent_pool_step(&agent);
	for (int i = 0; i < ROUNDS_MAX && agent.pool.writing; i++)
		cr_assert_eq(etcd_run(agent.etcd, NULL, 0, 20), 0);
	cr_assert_not(agent.pool.writing);
}

static void has(json_int_t size, size_t reserved)
{
	json_t *value = etcd_keys_value(&store, "/p/pool");
	cr_assert_not_null(value);
	cr_assert_eq(json_integer_value(json_object_get(value, "version")), RECORDS_VERSION);
	cr_assert_eq(json_integer_value(json_object_get(value, "size")), size);
	cr_assert_eq(json_array_size(json_object_get(value, "reserved")), reserved);
	json_decref(value);
}

Test(agent_pool, is_written_when_it_is_another_one, .init = begin, .fini = end)
{
	see(NULL); /* a gateway that says nothing of it */
	see("{\"size\":0}");
	see("{\"size\":65536,\"reserved\":[0,1,2,3,4]}");
	cr_assert_eq(store.writes, 0);
	see("{\"size\":65536,\"reserved\":[0,1,65535]}");
	has(65536, 3);
	see("{\"size\":65536,\"reserved\":[0,1,65535]}");
	cr_assert_eq(store.writes, 1);
	see("{\"size\":4294967295,\"reserved\":[4294967291,4294967292,4294967293,4294967294]}");
	has(4294967295, 4);
	cr_assert_eq(store.writes, 2);
}

static void is_written_a_second_later(void)
{
	see(NULL);
	cr_assert_eq(store.writes, 0, "that is too soon");
	now += NS_PER_S;
	see(NULL);
	has(256, 1);
	cr_assert_not(agent.pool.due);
	cr_assert_not(agent.pool.warned);
}

Test(agent_pool, is_written_later_where_etcd_does_not_answer, .init = begin, .fini = end)
{
	stand_in_fn *answer = store.server.answer;
	store.server.answer = NULL;
	stand_in_stop(&store.server);
	see("{\"size\":256,\"reserved\":[0]}");
	cr_assert(agent.pool.due);
	cr_assert(agent.pool.warned);
	etcd_free(agent.etcd);
	atomic_store(&store.server.ending, false);
	stand_in_start(&store.server, answer, &store);
	settings.endpoints[0] = store.server.url;
	struct error error = {0};
	const struct etcd_params params = agent_settings_etcd(&settings, &clock_system);
	agent.etcd = etcd_new(&params, &error);
	is_written_a_second_later();
}

Test(agent_pool, is_written_later_where_there_is_no_memory_for_it, .init = begin, .fini = end)
{
	agent.etcd->ending = true; /* a request is refused as if there were none */
	see("{\"size\":256,\"reserved\":[0]}");
	cr_assert(agent.pool.due);
	agent.etcd->ending = false;
	is_written_a_second_later();
}
