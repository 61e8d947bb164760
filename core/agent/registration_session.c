// SPDX-License-Identifier: Apache-2.0
#include "core/agent/registration_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POLL_MS = 100, FIRST_INDEX = 2 /* 0 is the network's, 1 mostly a gateway's own */ };

void registration_restart(struct registration_session *session)
{
	session->deadline = clock_monotonic(&clock_system) + session->call->limit_ms * NS_PER_MS;
}

int registration_open(struct registration_session *session, const struct registration_call *call, struct error *error)
{
	const struct etcd_params params = agent_settings_etcd(call->settings, &clock_system);
	*session = (struct registration_session){
		.call = call, .prefix = call->settings->prefix, .pool = call->pool, .error = error};
	session->etcd = etcd_new(&params, error);
	registration_restart(session);
	return session->etcd != NULL ? 0 : -EINVAL;
}

void registration_close(struct registration_session *session)
{
	etcd_free(session->etcd);
	json_decref(session->body);
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static void take(void *context, const struct etcd_answer *answer)
{
	struct registration_session *session = context;
	session->answered = true;
	session->code = answer->code;
	if (answer->code == 0)
		session->body = json_incref(answer->body);
	else if (answer->code != -ECANCELED)
		error_set(session->error, answer->code, "%s%s%s",
			  answer->code == -ETIMEDOUT || answer->code == -EIO
				  ? "etcd does not answer, so peers cannot be changed now: "
				  : "",
			  answer->text, answer->unknown ? "; the change may have been made all the same" : "");
}

/* What is left of the limit. */
static unsigned left_ms(const struct registration_session *session)
{
	uint64_t now = clock_monotonic(&clock_system);
	return now < session->deadline ? (unsigned)((session->deadline - now) / NS_PER_MS) + 1 : 1;
}

static bool is_cancelled(const struct registration_session *session)
{
	const _Atomic bool *cancelled = session->call->cancelled;
	return cancelled != NULL && atomic_load_explicit(cancelled, memory_order_relaxed);
}

/* The request has a limit of its own, so this ends. */
static int run(struct registration_session *session, struct etcd_txn *txn, bool reads_only)
{
	json_decref(session->body);
	session->body = NULL;
	session->answered = false;
	session->code = 0;
	int result = etcd_txn(session->etcd, txn, reads_only, left_ms(session), take, session);
	while (result == 0 && !session->answered && !is_cancelled(session))
		result = etcd_run(session->etcd, NULL, 0, POLL_MS);
	if (result != 0)
		return error_set(session->error, result, "etcd: %s", strerror(-result));
	if (!session->answered)
		return error_set(session->error, -ECANCELED, "the agent ends");
	return session->code;
}

int registration_read(struct registration_session *session, struct etcd_txn *txn)
{
	return run(session, txn, true);
}

int registration_commit(struct registration_session *session, struct etcd_txn *txn)
{
	int result = run(session, txn, false);
	return result != 0 || etcd_txn_succeeded(session->body) ? result : -EAGAIN;
}

/* --- keys that are read ------------------------------------------------------------------------------------------- */

void registration_ask(const struct registration_session *session, struct etcd_txn *txn, const char *kind,
		      const char *name)
{
	char key[ETCD_KEY_MAX];
	const struct etcd_range range = {.key = key};
	if (records_key(key, session->prefix, kind, name))
		etcd_txn_range(txn, &range);
	else
		txn->failed = -ENAMETOOLONG;
}

void registration_ask_index(const struct registration_session *session, struct etcd_txn *txn, uint32_t index)
{
	char text[16];
	(void)snprintf(text, sizeof text, "%" PRIu32, index);
	registration_ask(session, txn, RECORDS_INDEX, text);
}

static json_t *first_of(const struct registration_session *session, size_t operation)
{
	return json_array_get(etcd_range_kvs(etcd_txn_answer(session->body, operation, "response_range")), 0);
}

bool registration_present(const struct registration_session *session, size_t operation)
{
	return first_of(session, operation) != NULL;
}

int registration_value(struct registration_session *session, size_t operation, struct registration_value *value)
{
	json_t *first = first_of(session, operation);
	struct etcd_kv kv;
	*value = (struct registration_value){0};
	if (first == NULL)
		return 0;
	int result = etcd_kv_read(first, &kv);
	if (result != 0)
		return error_set(session->error, result, "this is no answer of etcd's");
	value->object = records_read(kv.value, kv.value_length);
	value->mod_revision = kv.mod_revision;
	etcd_kv_free(&kv);
	return 0;
}

/* --- the pool ----------------------------------------------------------------------------------------------------- */

static bool read_pool(json_t *object, struct registration_pool *pool)
{
	json_t *reserved = json_object_get(object, "reserved"), *index;
	json_int_t size = json_integer_value(json_object_get(object, "size"));
	size_t i;
	if (size <= 0 || size > UINT32_MAX || json_array_size(reserved) > REGISTRATION_RESERVED_MAX)
		return false;
	*pool = (struct registration_pool){.size = (uint32_t)size, .reserved_count = json_array_size(reserved)};
	json_array_foreach (reserved, i, index)
		pool->reserved[i] = (uint32_t)json_integer_value(index);
	return true;
}

int registration_see_pool(struct registration_session *session, size_t operation)
{
	struct registration_value value = {0};
	int result = session->call->pool.size == 0 ? registration_value(session, operation, &value) : 0;
	if (result != 0 || session->call->pool.size != 0 || value.mod_revision == 0)
		return result;
	if (!read_pool(value.object, &session->pool))
		result = error_set(session->error, -EPROTO, "%s" RECORDS_POOL " is no pool, or of a newer version",
				   session->prefix);
	json_decref(value.object);
	return result;
}

bool registration_can_have(const struct registration_session *session, uint32_t index)
{
	const struct registration_pool *pool = &session->pool;
	for (size_t i = 0; i < pool->reserved_count; i++) {
		if (pool->reserved[i] == index)
			return false;
	}
	return index != 0 && (pool->size == 0 || index < pool->size);
}

/* --- the index ---------------------------------------------------------------------------------------------------- */

int registration_next(const struct registration_session *session, const struct registration_value *value,
		      uint32_t *next)
{
	json_int_t number = json_integer_value(json_object_get(value->object, "next"));
	*next = FIRST_INDEX;
	if (value->mod_revision == 0)
		return 0;
	if (number < 1 || number > UINT32_MAX)
		return error_set(session->error, -EPROTO, "%s" RECORDS_NEXT " is no number, or of a newer version",
				 session->prefix);
	if (number > FIRST_INDEX)
		*next = (uint32_t)number;
	return 0;
}

void registration_put_next(const struct registration_session *session, struct etcd_txn *txn,
			   const struct registration_value *before, uint32_t next)
{
	char key[ETCD_KEY_MAX], text[64];
	(void)snprintf(text, sizeof text, "{\"version\":%d,\"next\":%" PRIu32 "}", RECORDS_VERSION, next);
	if (records_key(key, session->prefix, RECORDS_NEXT, "")) {
		etcd_txn_unchanged(txn, key, before->mod_revision);
		etcd_txn_put(txn, key, text, 0);
	} else {
		txn->failed = -ENAMETOOLONG;
	}
}

/* --- keys that are written ---------------------------------------------------------------------------------------- */

const char *registration_network(const char *text, char network[IP_TEXT_MAX])
{
	struct ip_prefix prefix;
	(void)ip_prefix_parse(text, &prefix); /* it was checked */
	prefix = ip_prefix_network(&prefix);
	return ip_prefix_format(&prefix, network);
}

static char *make_value(const struct registration *peer, uint32_t index)
{
	const struct registration_limits *limits = &peer->limits;
	json_t *networks = json_array();
	for (size_t i = 0; i < peer->network_count; i++) {
		char network[IP_TEXT_MAX];
		json_array_append_new(networks, json_string(registration_network(peer->networks[i], network)));
	}
	json_t *object = json_pack("{s:i, s:s*, s:I, s:s, s:o, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*}", "version",
				   RECORDS_VERSION, "name", peer->name, "index", (json_int_t)index, "protocol",
				   peer->protocol, "networks", networks, "rate_up", limits->rate_up, "rate_down",
				   limits->rate_down, "burst", limits->burst, "quota", limits->quota, "quota_rate",
				   limits->quota_rate, "psk", peer->psk);
	char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	return text;
}

void registration_claim(const struct registration_session *session, struct etcd_txn *txn, const char *kind,
			const char *name, const char *value)
{
	char key[ETCD_KEY_MAX];
	if (!records_key(key, session->prefix, kind, name)) {
		txn->failed = -ENAMETOOLONG;
		return;
	}
	etcd_txn_absent(txn, key);
	etcd_txn_put(txn, key, value, 0);
}

void registration_claim_peer(const struct registration_session *session, struct etcd_txn *txn,
			     const struct registration *peer, uint32_t index)
{
	char text[16], network[IP_TEXT_MAX], owner[128], *value = make_value(peer, index);
	if (value == NULL) {
		txn->failed = -ENOMEM;
		return;
	}
	(void)snprintf(owner, sizeof owner, "{\"version\":%d,\"key\":\"%s\"}", RECORDS_VERSION, peer->key);
	(void)snprintf(text, sizeof text, "%" PRIu32, index);
	registration_claim(session, txn, RECORDS_PEER, peer->key, value);
	registration_claim(session, txn, RECORDS_INDEX, text, owner);
	for (size_t i = 0; i < peer->network_count; i++)
		registration_claim(session, txn, RECORDS_NET, registration_network(peer->networks[i], network), owner);
	free(value);
}
