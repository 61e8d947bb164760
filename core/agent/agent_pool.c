// SPDX-License-Identifier: Apache-2.0
/* Which indexes there are, from the gateway to etcd: peers that are added without a gateway get no other one.
 */
#include <inttypes.h>
#include <string.h>

#include "core/agent/agent_state.h"
#include "core/base/log.h"

/* False: the gateway has said nothing that can be used. */
static bool make_text(json_t *pool, char text[AGENT_POOL])
{
	json_t *reserved = json_object_get(pool, "reserved"), *index;
	json_int_t size = json_integer_value(json_object_get(pool, "size"));
	size_t i;
	if (size <= 0 || size > UINT32_MAX || json_array_size(reserved) > REGISTRATION_RESERVED_MAX)
		return false;
	int length = snprintf(text, AGENT_POOL, "{\"version\":%d,\"size\":%" JSON_INTEGER_FORMAT ",\"reserved\":[",
			      RECORDS_VERSION, size);
	json_array_foreach (reserved, i, index)
		length += snprintf(text + length, AGENT_POOL - (size_t)length, "%s%" PRIu32, i != 0 ? "," : "",
				   (uint32_t)json_integer_value(index));
	(void)snprintf(text + length, AGENT_POOL - (size_t)length, "]}");
	return true;
}

void agent_pool_see(struct agent *agent, json_t *pool)
{
	char text[AGENT_POOL];
	if (!make_text(pool, text) || strcmp(text, agent->pool.text) == 0)
		return;
	memcpy(agent->pool.text, text, sizeof text);
	agent->pool.due = true;
}

static void again_later(struct agent *agent)
{
	agent->pool.due = true;
	agent->pool.not_before = clock_monotonic(agent->clock) + NS_PER_S;
}

static void written(void *context, const struct etcd_answer *answer)
{
	struct agent *agent = context;
	agent->pool.writing = false;
	if (answer->code == 0 || answer->code == -ECANCELED) {
		agent->pool.warned = false;
		return;
	}
	if (!agent->pool.warned)
		log_warning("%s" RECORDS_POOL " cannot be written, so peers that are added without a gateway are not "
			    "held to the pool: %s",
			    agent->settings->prefix, answer->text);
	agent->pool.warned = true;
	again_later(agent);
}

void agent_pool_step(struct agent *agent)
{
	struct agent_pool *pool = &agent->pool;
	char key[ETCD_KEY_MAX];
	struct etcd_txn txn;
	if (!pool->due || pool->writing || clock_monotonic(agent->clock) < pool->not_before ||
	    !records_key(key, agent->settings->prefix, RECORDS_POOL, ""))
		return;
	etcd_txn_begin(&txn);
	etcd_txn_put(&txn, key, pool->text, 0);
	pool->due = false;
	pool->writing = etcd_txn(agent->etcd, &txn, false, AGENT_WRITE_MS, written, agent) == 0;
	if (!pool->writing)
		again_later(agent);
}
