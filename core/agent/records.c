// SPDX-License-Identifier: Apache-2.0
#include "core/agent/records.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool records_key(char key[ETCD_KEY_MAX], const char *prefix, const char *kind, const char *name)
{
	int length = snprintf(key, ETCD_KEY_MAX, "%s%s%s", prefix, kind, name);
	return length > 0 && length < ETCD_KEY_MAX;
}

bool records_number_key(char key[ETCD_KEY_MAX], const char *prefix, const char *kind, unsigned number)
{
	char text[16];
	(void)snprintf(text, sizeof text, "%u", number);
	return records_key(key, prefix, kind, text);
}

json_t *records_read(const char *value, size_t length)
{
	json_t *object = json_loadb(value, length, JSON_REJECT_DUPLICATES, NULL);
	json_t *version = json_object_get(object, "version");
	if (!json_is_integer(version) || json_integer_value(version) < 1 ||
	    json_integer_value(version) > RECORDS_VERSION) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static char *dump(json_t *object)
{
	char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	return text;
}

char *records_block(const char *node, const char *uuid)
{
	return dump(json_pack("{s:i, s:s, s:s}", "version", RECORDS_VERSION, "node", node, "uuid", uuid));
}

char *records_clean(const char *node)
{
	return dump(json_pack("{s:i, s:b, s:s}", "version", RECORDS_VERSION, "clean", 1, "node", node));
}

char *records_node(const struct ownership_node_key *node)
{
	return dump(json_pack("{s:i, s:s, s:s, s:s, s:s, s:b}", "version", RECORDS_VERSION, "uuid", node->uuid,
			      "machine", node->machine, "inside", node->inside, "agent", node->agent, "draining",
			      (int)node->draining));
}

char *records_takers(const struct ownership_takers *takers)
{
	json_t *names = json_array(), *machines = json_array();
	for (size_t i = 0; i < takers->count; i++) {
		json_array_append_new(names, json_string(takers->names[i]));
		json_array_append_new(machines, json_string(takers->machines[i]));
	}
	return dump(json_pack("{s:i, s:o, s:o}", "version", RECORDS_VERSION, "members", names, "machines", machines));
}

enum { SECRET_TEXT = sodium_base64_ENCODED_LEN(OWNERSHIP_SECRET, sodium_base64_VARIANT_ORIGINAL) };

char *records_secret(const uint8_t secret[OWNERSHIP_SECRET])
{
	char text[SECRET_TEXT];
	sodium_bin2base64(text, sizeof text, secret, OWNERSHIP_SECRET, sodium_base64_VARIANT_ORIGINAL);
	char *value = dump(json_pack("{s:i, s:s}", "version", RECORDS_VERSION, "secret", text));
	explicit_bzero(text, sizeof text);
	return value;
}

/* --- the read ----------------------------------------------------------------------------------------------------- */

static const char *const kinds[RECORDS_READS] = {
	[RECORDS_BLOCKS] = RECORDS_BLOCK,      [RECORDS_TAKENS] = RECORDS_TAKEN,
	[RECORDS_NODES] = RECORDS_NODE,	       [RECORDS_MEMBER_LIST] = RECORDS_MEMBERS,
	[RECORDS_TAKER_LIST] = RECORDS_TAKERS, [RECORDS_SECRET_READ] = RECORDS_SECRET,
};

void records_ask(struct etcd_txn *txn, const char *prefix)
{
	for (size_t i = 0; i < RECORDS_READS; i++) {
		char key[ETCD_KEY_MAX];
		const struct etcd_range range = {.key = key, .prefix = i < RECORDS_MEMBER_LIST};
		if (records_key(key, prefix, kinds[i], ""))
			etcd_txn_range(txn, &range);
		else
			txn->failed = -ENAMETOOLONG;
	}
}

/* A text of at most size - 1 bytes, or false. */
static bool take_text(json_t *object, const char *name, char *text, size_t size)
{
	const char *value = json_string_value(json_object_get(object, name));
	if (value == NULL || value[0] == '\0' || strlen(value) >= size)
		return false;
	memcpy(text, value, strlen(value) + 1);
	return true;
}

/* 0: it is none. */
static unsigned block_number(const struct etcd_kv *kv, size_t skip)
{
	char *end;
	const char *text = kv->key + skip;
	if (kv->key_length <= skip || strlen(kv->key) != kv->key_length || text[0] < '1' || text[0] > '9')
		return 0;
	unsigned long number = strtoul(text, &end, 10);
	return *end == '\0' && number < OWNERSHIP_BLOCKS ? (unsigned)number : 0;
}

struct reading {
	struct ownership_view *view;
	size_t prefix; /* bytes in front of a key's kind */
	size_t skip;   /* bytes in front of its name */
	struct records_unreadable unreadable;
};

static void count_unreadable(struct reading *reading, const struct etcd_kv *kv)
{
	if (reading->unreadable.count++ == 0)
		(void)snprintf(reading->unreadable.first, sizeof reading->unreadable.first, "%s",
			       kv->key_length > reading->prefix ? kv->key + reading->prefix : "");
}

static void read_block(struct reading *reading, const struct etcd_kv *kv)
{
	unsigned number = block_number(kv, reading->skip);
	if (number == 0) {
		count_unreadable(reading, kv);
		return;
	}
	struct ownership_block_key *key = &reading->view->blocks[number];
	json_t *object = records_read(kv->value, kv->value_length);
	key->mod_revision = kv->mod_revision;
	if (object != NULL && json_is_true(json_object_get(object, "clean")) && kv->lease == 0)
		key->kind = OWNERSHIP_CLEAN;
	else if (object != NULL && take_text(object, "node", key->node, sizeof key->node) &&
		 take_text(object, "uuid", key->uuid, sizeof key->uuid))
		key->kind = OWNERSHIP_OWNED;
	else
		key->kind = OWNERSHIP_UNREADABLE;
	if (key->kind == OWNERSHIP_UNREADABLE)
		count_unreadable(reading, kv);
	json_decref(object);
}

static void read_taken(struct reading *reading, const struct etcd_kv *kv)
{
	unsigned number = block_number(kv, reading->skip);
	if (number != 0)
		reading->view->blocks[number].taken_revision = kv->mod_revision;
	else
		count_unreadable(reading, kv);
}

static void read_node(struct reading *reading, const struct etcd_kv *kv)
{
	struct ownership_view *view = reading->view;
	struct ownership_node_key *node = &view->nodes[view->node_count];
	json_t *object = records_read(kv->value, kv->value_length);
	size_t length = kv->key_length - reading->skip;
	if (view->node_count < OWNERSHIP_NODES_MAX && length > 0 && length < sizeof node->name) {
		memcpy(node->name, kv->key + reading->skip, length + 1);
		node->create_revision = kv->create_revision;
		node->mod_revision = kv->mod_revision;
		/* The name is in use in any case: one that cannot be read has another uuid than ours, and drains. */
		node->draining = object == NULL || json_is_true(json_object_get(object, "draining"));
		if (!take_text(object, "uuid", node->uuid, sizeof node->uuid))
			(void)snprintf(node->uuid, sizeof node->uuid, "?");
		(void)take_text(object, "inside", node->inside, sizeof node->inside);
		(void)take_text(object, "agent", node->agent, sizeof node->agent);
		(void)take_text(object, "machine", node->machine, sizeof node->machine);
		view->node_count++;
	}
	if (object == NULL)
		count_unreadable(reading, kv);
	json_decref(object);
}

_Static_assert(OWNERSHIP_MACHINE == OWNERSHIP_NAME, "read_list() reads both");

/* Whether it is a list of names. */
static bool read_list(const json_t *list, char names[][OWNERSHIP_NAME], size_t *count)
{
	const json_t *name;
	size_t index;
	if (!json_is_array(list) || json_array_size(list) > OWNERSHIP_NODES_MAX)
		return false;
	json_array_foreach (list, index, name) {
		const char *text = json_string_value(name);
		if (text == NULL || text[0] == '\0' || strlen(text) >= OWNERSHIP_NAME)
			return false;
		memcpy(names[(*count)++], text, strlen(text) + 1);
	}
	return true;
}

/* Without this key nothing is known of members: it may have been removed by mistake. */
static void read_members(struct reading *reading, const struct etcd_kv *kv)
{
	struct ownership_view *view = reading->view;
	json_t *object = records_read(kv->value, kv->value_length);
	view->members_revision = kv->mod_revision;
	view->members_readable = read_list(json_object_get(object, "members"), view->members, &view->member_count);
	if (!view->members_readable)
		count_unreadable(reading, kv);
	json_decref(object);
}

static void read_takers(struct reading *reading, const struct etcd_kv *kv)
{
	struct ownership_view *view = reading->view;
	json_t *object = records_read(kv->value, kv->value_length);
	struct ownership_takers *takers = &view->takers;
	size_t machines = 0;
	view->takers_revision = kv->mod_revision;
	view->takers_readable = read_list(json_object_get(object, "members"), takers->names, &takers->count) &&
				read_list(json_object_get(object, "machines"), takers->machines, &machines) &&
				machines == takers->count;
	if (!view->takers_readable)
		count_unreadable(reading, kv);
	json_decref(object);
}

static void read_secret(struct reading *reading, const struct etcd_kv *kv)
{
	struct ownership_view *view = reading->view;
	json_t *object = records_read(kv->value, kv->value_length);
	const char *text = json_string_value(json_object_get(object, "secret"));
	size_t length = 0;
	view->secret_revision = kv->mod_revision;
	view->secret_readable = text != NULL &&
				sodium_base642bin(view->secret, sizeof view->secret, text, strlen(text), NULL, &length,
						  NULL, sodium_base64_VARIANT_ORIGINAL) == 0 &&
				length == sizeof view->secret;
	if (!view->secret_readable)
		count_unreadable(reading, kv);
	json_decref(object);
}

static int read_keys(struct reading *reading, json_t *answer)
{
	static void (*const readers[RECORDS_READS])(struct reading *, const struct etcd_kv *) = {
		read_block, read_taken, read_node, read_members, read_takers, read_secret};
	for (size_t i = 0; i < RECORDS_READS; i++) {
		json_t *range = etcd_txn_answer(answer, i, "response_range"), *object;
		size_t index;
		if (range == NULL || reading->view->revision == 0)
			return -EPROTO;
		reading->skip = reading->prefix + strlen(kinds[i]);
		json_array_foreach (etcd_range_kvs(range), index, object) {
			struct etcd_kv kv;
			int result = etcd_kv_read(object, &kv);
			if (result != 0)
				return result;
			readers[i](reading, &kv);
			etcd_kv_free(&kv);
		}
	}
	return 0;
}

int records_view(json_t *answer, const char *prefix, struct ownership_view *view, struct records_unreadable *unreadable)
{
	struct reading reading = {.view = calloc(1, sizeof *view), .prefix = strlen(prefix)};
	if (reading.view == NULL)
		return -ENOMEM;
	reading.view->revision = etcd_revision(answer);
	int result = read_keys(&reading, answer);
	if (result == 0) {
		*view = *reading.view;
		*unreadable = reading.unreadable;
	}
	explicit_bzero(reading.view->secret, sizeof reading.view->secret);
	free(reading.view);
	return result;
}
