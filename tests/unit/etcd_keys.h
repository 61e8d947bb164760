// SPDX-License-Identifier: Apache-2.0
/* What stands for etcd (etcd_stand_in.h), with keys: transactions that compare revisions, put, read and delete. */
#pragma once

#include <pthread.h>
#include <sodium.h>

#include "core/agent/etcd_json.h"
#include "tests/unit/etcd_stand_in.h"

struct etcd_keys {
	struct stand_in server;
	pthread_mutex_t lock; /* of the rest */
	json_t *keys;	      /* in base64 -> {"key", "value", "mod_revision", "create_revision"}, as a range has it */
	uint64_t revision;
	unsigned refusals;	     /* so many of the next transactions that write find their comparisons wrong */
	unsigned reads, writes;	     /* transactions, without and with a put or a delete */
	size_t operations, compares; /* most of one transaction */
};

static uint64_t etcd_keys_revision(json_t *keys, const char *key, const char *which)
{
	return etcd_number(json_object_get(keys, key), which);
}

static bool etcd_keys_hold(const struct etcd_keys *store, json_t *compares)
{
	json_t *compare;
	size_t i;
	json_array_foreach (compares, i, compare) {
		const char *target = json_string_value(json_object_get(compare, "target"));
		const char *which = strcmp(target, "CREATE") == 0 ? "create_revision" : "mod_revision";
		const char *key = json_string_value(json_object_get(compare, "key"));
		if (etcd_keys_revision(store->keys, key, which) != etcd_number(compare, which))
			return false;
	}
	return true;
}

static void etcd_keys_put(struct etcd_keys *store, json_t *put)
{
	const char *key = json_string_value(json_object_get(put, "key"));
	uint64_t created = etcd_keys_revision(store->keys, key, "create_revision");
	json_object_set_new(
		store->keys, key,
		json_pack("{s:s, s:O, s:o, s:o}", "key", key, "value", json_object_get(put, "value"), "mod_revision",
			  json_sprintf("%llu", (unsigned long long)store->revision), "create_revision",
			  json_sprintf("%llu", (unsigned long long)(created != 0 ? created : store->revision))));
}

/* All keys from `key` to in front of `range_end`, or that one alone. */
static json_t *etcd_keys_range(const struct etcd_keys *store, json_t *range)
{
	const char *from = json_string_value(json_object_get(range, "key"));
	const char *to = json_string_value(json_object_get(range, "range_end")), *key;
	json_t *kvs = json_array(), *kv;
	char low[512] = "", high[512] = "", name[512];
	size_t length;
	sodium_base642bin((unsigned char *)low, sizeof low - 1, from, strlen(from), NULL, &length, NULL,
			  sodium_base64_VARIANT_ORIGINAL);
	if (to != NULL)
		sodium_base642bin((unsigned char *)high, sizeof high - 1, to, strlen(to), NULL, &length, NULL,
				  sodium_base64_VARIANT_ORIGINAL);
	json_object_foreach (store->keys, key, kv) {
		memset(name, 0, sizeof name);
		sodium_base642bin((unsigned char *)name, sizeof name - 1, key, strlen(key), NULL, &length, NULL,
				  sodium_base64_VARIANT_ORIGINAL);
		if (to == NULL ? strcmp(name, low) == 0 : strcmp(name, low) >= 0 && strcmp(name, high) < 0)
			json_array_append(kvs, kv);
	}
	return json_pack("{s:{s:o}}", "response_range", "kvs", kvs);
}

static bool etcd_keys_writes(json_t *operations)
{
	json_t *operation;
	size_t i;
	json_array_foreach (operations, i, operation) {
		if (json_object_get(operation, "request_range") == NULL)
			return true;
	}
	return false;
}

static json_t *etcd_keys_carry_out(struct etcd_keys *store, json_t *operations)
{
	json_t *responses = json_array(), *operation;
	size_t i;
	json_array_foreach (operations, i, operation) {
		json_t *put = json_object_get(operation, "request_put");
		json_t *range = json_object_get(operation, "request_range");
		json_t *deleted = json_object_get(operation, "request_delete_range");
		if (put != NULL)
			etcd_keys_put(store, put);
		if (deleted != NULL)
			json_object_del(store->keys, json_string_value(json_object_get(deleted, "key")));
		json_array_append_new(responses, range != NULL ? etcd_keys_range(store, range) : json_object());
	}
	return responses;
}

static void etcd_keys_answer(struct stand_in *server, const char *path, json_t *request, const char *token,
			     struct stand_in_reply *reply)
{
	struct etcd_keys *store = server->state;
	(void)token;
	if (strcmp(path, "/v3/kv/txn") != 0)
		return;
	json_t *compares = json_object_get(request, "compare"), *operations = json_object_get(request, "success");
	pthread_mutex_lock(&store->lock);
	bool writes = etcd_keys_writes(operations), holds = etcd_keys_hold(store, compares);
	if (json_array_size(operations) > store->operations)
		store->operations = json_array_size(operations);
	if (json_array_size(compares) > store->compares)
		store->compares = json_array_size(compares);
	*(writes ? &store->writes : &store->reads) += 1;
	if (writes && store->refusals != 0) {
		store->refusals--;
		holds = false;
	}
	store->revision += writes && holds;
	json_t *answer = json_pack("{s:{s:o}, s:o}", "header", "revision",
				   json_sprintf("%llu", (unsigned long long)store->revision), "responses",
				   holds ? etcd_keys_carry_out(store, operations) : json_array());
	if (holds)
		json_object_set_new(answer, "succeeded", json_true());
	pthread_mutex_unlock(&store->lock);
	reply->text = json_dumps(answer, JSON_COMPACT);
	json_decref(answer);
}

static inline void etcd_keys_start(struct etcd_keys *store)
{
	*store = (struct etcd_keys){.lock = PTHREAD_MUTEX_INITIALIZER, .keys = json_object(), .revision = 10};
	stand_in_start(&store->server, etcd_keys_answer, store);
}

static inline void etcd_keys_stop(struct etcd_keys *store)
{
	stand_in_stop(&store->server);
	json_decref(store->keys);
}

/* The value of a key, the caller's, or NULL. */
static inline json_t *etcd_keys_value(struct etcd_keys *store, const char *key)
{
	char base64[512], text[4096];
	size_t length = 0;
	sodium_bin2base64(base64, sizeof base64, (const unsigned char *)key, strlen(key),
			  sodium_base64_VARIANT_ORIGINAL);
	pthread_mutex_lock(&store->lock);
	const char *value = json_string_value(json_object_get(json_object_get(store->keys, base64), "value"));
	if (value != NULL)
		sodium_base642bin((unsigned char *)text, sizeof text, value, strlen(value), NULL, &length, NULL,
				  sodium_base64_VARIANT_ORIGINAL);
	pthread_mutex_unlock(&store->lock);
	return length != 0 ? json_loadb(text, length, 0, NULL) : NULL;
}

static inline void etcd_keys_set(struct etcd_keys *store, const char *key, const char *value)
{
	struct etcd_txn txn;
	json_t *body;
	etcd_txn_begin(&txn);
	etcd_txn_put(&txn, key, value, 0);
	if (etcd_txn_body(&txn, &body) != 0)
		abort();
	pthread_mutex_lock(&store->lock);
	store->revision++;
	json_decref(etcd_keys_carry_out(store, json_object_get(body, "success")));
	pthread_mutex_unlock(&store->lock);
	json_decref(body);
}
