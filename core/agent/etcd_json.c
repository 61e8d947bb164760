// SPDX-License-Identifier: Apache-2.0
#include "core/agent/etcd_json.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- texts -------------------------------------------------------------------------------------------------------- */

static json_t *base64(const void *bytes, size_t length)
{
	size_t size = sodium_base64_encoded_len(length, sodium_base64_VARIANT_ORIGINAL);
	char *text = malloc(size);
	if (text == NULL)
		return NULL;
	sodium_bin2base64(text, size, bytes, length, sodium_base64_VARIANT_ORIGINAL);
	json_t *string = json_string(text);
	free(text);
	return string;
}

static json_t *base64_text(const char *text)
{
	return base64(text, strlen(text));
}

/* Terminated; NULL where it is no base64, or without memory. A field that is left out is empty. */
static char *from_base64(json_t *object, const char *name, size_t *length, int *code)
{
	json_t *member = json_object_get(object, name);
	const char *text = member != NULL ? json_string_value(member) : "";
	size_t size = text != NULL ? strlen(text) : 0;
	char *bytes = malloc(size + 1);
	*code = bytes == NULL ? -ENOMEM : -EPROTO;
	if (bytes == NULL || text == NULL ||
	    sodium_base642bin((unsigned char *)bytes, size, text, size, NULL, length, NULL,
			      sodium_base64_VARIANT_ORIGINAL) != 0) {
		free(bytes);
		return NULL;
	}
	bytes[*length] = '\0';
	*code = 0;
	return bytes;
}

static json_t *number_text(uint64_t number)
{
	return json_sprintf("%" PRIu64, number);
}

uint64_t etcd_number(json_t *object, const char *name)
{
	json_t *member = json_object_get(object, name);
	const char *text = json_string_value(member);
	if (text != NULL)
		return strtoull(text, NULL, 10);
	return json_integer_value(member) > 0 ? (uint64_t)json_integer_value(member) : 0;
}

uint64_t etcd_revision(json_t *answer)
{
	return etcd_number(json_object_get(answer, "header"), "revision");
}

/* --- keys and values ---------------------------------------------------------------------------------------------- */

int etcd_kv_read(json_t *object, struct etcd_kv *kv)
{
	int code;
	*kv = (struct etcd_kv){0};
	kv->key = from_base64(object, "key", &kv->key_length, &code);
	if (kv->key != NULL)
		kv->value = from_base64(object, "value", &kv->value_length, &code);
	if (kv->key != NULL && kv->key_length == 0)
		code = -EPROTO;
	if (code != 0) {
		etcd_kv_free(kv);
		return code;
	}
	kv->create_revision = etcd_number(object, "create_revision");
	kv->mod_revision = etcd_number(object, "mod_revision");
	kv->lease = (int64_t)etcd_number(object, "lease");
	return 0;
}

void etcd_kv_free(struct etcd_kv *kv)
{
	free(kv->key);
	free(kv->value);
	*kv = (struct etcd_kv){0};
}

/* --- ranges ------------------------------------------------------------------------------------------------------- */

/* The first key behind all that begin with the prefix: its last byte is one greater. Our keys are ASCII. */
static json_t *prefix_end(const char *prefix)
{
	char end[ETCD_KEY_MAX];
	int length = snprintf(end, sizeof end, "%s", prefix);
	if (length <= 0 || (size_t)length >= sizeof end)
		return NULL;
	end[length - 1]++;
	return base64(end, (size_t)length);
}

json_t *etcd_range_body(const struct etcd_range *range)
{
	json_t *body = json_object();
	int bad = 0;
	if (range->prefix) {
		/* The next key after another one is that with a zero byte behind it: its terminator. */
		json_t *from = range->after != NULL ? base64(range->after, strlen(range->after) + 1)
						    : base64_text(range->key);
		bad |= json_object_set_new(body, "key", from);
		bad |= json_object_set_new(body, "range_end", prefix_end(range->key));
	} else {
		bad |= json_object_set_new(body, "key", base64_text(range->key));
	}
	if (range->limit != 0)
		bad |= json_object_set_new(body, "limit", number_text(range->limit));
	if (range->revision != 0)
		bad |= json_object_set_new(body, "revision", number_text(range->revision));
	if (bad != 0) {
		json_decref(body);
		return NULL;
	}
	return body;
}

json_t *etcd_watch_body(const char *prefix, uint64_t from_revision)
{
	json_t *body = json_object(), *create = json_object();
	int bad = json_object_set(body, "create_request", create);
	bad |= json_object_set_new(create, "key", base64_text(prefix));
	bad |= json_object_set_new(create, "range_end", prefix_end(prefix));
	bad |= json_object_set_new(create, "start_revision", number_text(from_revision));
	json_decref(create);
	if (bad != 0) {
		json_decref(body);
		return NULL;
	}
	return body;
}

json_t *etcd_range_kvs(json_t *answer)
{
	json_t *kvs = json_object_get(answer, "kvs");
	return json_is_array(kvs) ? kvs : NULL;
}

/* --- transactions ------------------------------------------------------------------------------------------------- */

void etcd_txn_begin(struct etcd_txn *txn)
{
	*txn = (struct etcd_txn){.compare = json_array(), .success = json_array()};
	if (txn->compare == NULL || txn->success == NULL)
		txn->failed = -ENOMEM;
}

void etcd_txn_abort(struct etcd_txn *txn)
{
	json_decref(txn->compare);
	json_decref(txn->success);
	*txn = (struct etcd_txn){.failed = -EINVAL};
}

static void append(struct etcd_txn *txn, json_t *list, json_t *item, int bad)
{
	if (bad != 0 || item == NULL) {
		txn->failed = -ENOMEM;
		json_decref(item);
	} else if (json_array_size(list) >= ETCD_TXN_MAX) {
		txn->failed = txn->failed != 0 ? txn->failed : -E2BIG;
		json_decref(item);
	} else if (json_array_append_new(list, item) != 0) {
		txn->failed = -ENOMEM;
	}
}

static void compare_revision(struct etcd_txn *txn, const char *key, const char *target, const char *member,
			     uint64_t revision)
{
	json_t *item = json_object();
	int bad = json_object_set_new(item, "key", base64_text(key));
	bad |= json_object_set_new(item, "target", json_string(target));
	bad |= json_object_set_new(item, "result", json_string("EQUAL"));
	bad |= json_object_set_new(item, member, number_text(revision));
	append(txn, txn->compare, item, bad);
}

void etcd_txn_absent(struct etcd_txn *txn, const char *key)
{
	compare_revision(txn, key, "CREATE", "create_revision", 0);
}

void etcd_txn_unchanged(struct etcd_txn *txn, const char *key, uint64_t mod_revision)
{
	compare_revision(txn, key, "MOD", "mod_revision", mod_revision);
}

void etcd_txn_created(struct etcd_txn *txn, const char *key, uint64_t create_revision)
{
	compare_revision(txn, key, "CREATE", "create_revision", create_revision);
}

static void operation(struct etcd_txn *txn, const char *kind, json_t *request, int bad)
{
	json_t *item = json_object();
	bad |= json_object_set_new(item, kind, request);
	append(txn, txn->success, item, bad);
}

void etcd_txn_put(struct etcd_txn *txn, const char *key, const char *value, int64_t lease)
{
	json_t *put = json_object();
	int bad = json_object_set_new(put, "key", base64_text(key));
	bad |= json_object_set_new(put, "value", base64_text(value));
	if (lease != 0)
		bad |= json_object_set_new(put, "lease", json_sprintf("%" PRId64, lease));
	operation(txn, "request_put", put, bad);
}

void etcd_txn_delete(struct etcd_txn *txn, const char *key)
{
	json_t *request = json_object();
	int bad = json_object_set_new(request, "key", base64_text(key));
	operation(txn, "request_delete_range", request, bad);
}

void etcd_txn_range(struct etcd_txn *txn, const struct etcd_range *range)
{
	operation(txn, "request_range", etcd_range_body(range), 0);
}

int etcd_txn_body(struct etcd_txn *txn, json_t **body)
{
	int failed = txn->failed;
	*body = NULL;
	if (failed == 0) {
		*body = json_object();
		if (json_object_set(*body, "compare", txn->compare) != 0 ||
		    json_object_set(*body, "success", txn->success) != 0) {
			json_decref(*body);
			*body = NULL;
			failed = -ENOMEM;
		}
	}
	etcd_txn_abort(txn);
	return failed;
}

json_t *etcd_txn_answer(json_t *answer, size_t index, const char *kind)
{
	return json_object_get(json_array_get(json_object_get(answer, "responses"), index), kind);
}

bool etcd_txn_succeeded(json_t *answer)
{
	return json_is_true(json_object_get(answer, "succeeded"));
}

/* A request's error has the members at the top, that of a stream within "error". */
const char *etcd_error_text(json_t *answer, unsigned *code)
{
	json_t *error = json_object_get(answer, "error");
	if (error == NULL && json_object_get(answer, "code") == NULL)
		return NULL;
	json_t *holder = json_is_object(error) ? error : answer;
	json_t *number = json_object_get(holder, "grpc_code");
	if (number == NULL)
		number = json_object_get(holder, "code");
	*code = json_integer_value(number) > 0 ? (unsigned)json_integer_value(number) : 0;
	const char *text = json_string_value(json_object_get(holder, "message"));
	if (text == NULL)
		text = json_string_value(error);
	return text != NULL ? text : "an error without a text";
}
