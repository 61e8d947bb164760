// SPDX-License-Identifier: Apache-2.0
#include "core/agent/registration.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/agent/records.h"
#include "core/base/ip.h"
#include "crypto/keys.h"

#define KEY_NEXT "next"
enum { LIMIT_MS = 5000, TRIES = 20, POLL_MS = 100, NAME_MAX_BYTES = 64 };

/* One connection to etcd, and the answer to the request that was waited for. */
struct session {
	const struct agent_settings *settings;
	struct etcd *etcd;
	struct error *error;
	bool answered;
	int code;
	json_t *body;
};

static void take(void *context, const struct etcd_answer *answer)
{
	struct session *session = context;
	session->answered = true;
	session->code = answer->code;
	if (answer->code == 0)
		session->body = json_incref(answer->body);
	else if (answer->code != -ECANCELED)
		error_set(session->error, answer->code, "%s", answer->text);
}

/* `result` is that of beginning the request. */
static int wait_for_answer(struct session *session, int result)
{
	while (result == 0 && !session->answered)
		result = etcd_run(session->etcd, NULL, 0, POLL_MS);
	if (result != 0)
		return error_set(session->error, result, "etcd: %s", strerror(-result));
	return session->code;
}

static void begin(struct session *session)
{
	json_decref(session->body);
	session->body = NULL;
	session->answered = false;
	session->code = 0;
}

/* The key's value and revision; *mod_revision 0: there is none. The caller owns *value, which may be NULL. */
static int read_key(struct session *session, const char *kind, const char *name, json_t **value, uint64_t *mod_revision)
{
	char key[ETCD_KEY_MAX];
	const struct etcd_range range = {.key = key};
	struct etcd_kv kv;
	*value = NULL;
	*mod_revision = 0;
	begin(session);
	if (!records_key(key, session->settings->prefix, kind, name))
		return error_set(session->error, -ENAMETOOLONG, "%s%s: too long", kind, name);
	int result = wait_for_answer(session, etcd_range(session->etcd, &range, 0, LIMIT_MS, take, session));
	json_t *first = json_array_get(etcd_range_kvs(session->body), 0);
	if (result != 0 || first == NULL)
		return result;
	result = etcd_kv_read(first, &kv);
	if (result != 0)
		return error_set(session->error, result, "%s: no answer of etcd's", key);
	*value = records_read(kv.value, kv.value_length);
	*mod_revision = kv.mod_revision;
	etcd_kv_free(&kv);
	return 0;
}

/* -EAGAIN: a comparison did not hold. */
static int commit(struct session *session, struct etcd_txn *txn)
{
	begin(session);
	int result = wait_for_answer(session, etcd_txn(session->etcd, txn, false, LIMIT_MS, take, session));
	return result != 0 || etcd_txn_succeeded(session->body) ? result : -EAGAIN;
}

static int open_session(struct session *session, const struct agent_settings *settings, struct error *error)
{
	const struct etcd_params params = agent_settings_etcd(settings, &clock_system);
	*session = (struct session){.settings = settings, .error = error};
	session->etcd = etcd_new(&params, error);
	return session->etcd != NULL ? 0 : -EINVAL;
}

static void close_session(struct session *session)
{
	etcd_free(session->etcd);
	json_decref(session->body);
}

/* --- adding ------------------------------------------------------------------------------------------------------- */

static int check(const struct registration *peer, struct error *error)
{
	uint8_t key[KEY_SIZE];
	if (!key_parse(peer->key, key))
		return error_set(error, -EINVAL, "%.60s: not a public key: 32 bytes in base64", peer->key);
	if (peer->name != NULL && strlen(peer->name) > NAME_MAX_BYTES)
		return error_set(error, -EINVAL, "a name has at most %d bytes", NAME_MAX_BYTES);
	if (strcmp(peer->protocol, "shardtun") != 0 && strcmp(peer->protocol, "wireguard") != 0)
		return error_set(error, -EINVAL, "%.40s: the protocol is shardtun or wireguard", peer->protocol);
	for (size_t i = 0; i < peer->network_count; i++) {
		struct ip_prefix prefix;
		if (!ip_prefix_parse(peer->networks[i], &prefix))
			return error_set(error, -EINVAL, "%.60s: not a network", peer->networks[i]);
	}
	return 0;
}

static void network_text(const char *text, char network[IP_TEXT_MAX])
{
	struct ip_prefix prefix;
	(void)ip_prefix_parse(text, &prefix); /* it was checked */
	prefix = ip_prefix_network(&prefix);
	ip_prefix_format(&prefix, network);
}

static char *make_value(const struct registration *peer, uint32_t index)
{
	json_t *networks = json_array();
	for (size_t i = 0; i < peer->network_count; i++) {
		char network[IP_TEXT_MAX];
		network_text(peer->networks[i], network);
		json_array_append_new(networks, json_string(network));
	}
	json_t *object = json_pack("{s:i, s:I, s:s, s:o}", "version", RECORDS_VERSION, "index", (json_int_t)index,
				   "protocol", peer->protocol, "networks", networks);
	if (object != NULL && peer->name != NULL && json_object_set_new(object, "name", json_string(peer->name)) != 0) {
		json_decref(object);
		object = NULL;
	}
	char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	return text;
}

/* One key that must not be there, and is there afterwards. */
static void claim(struct session *session, struct etcd_txn *txn, const char *kind, const char *name, const char *value)
{
	char key[ETCD_KEY_MAX];
	if (!records_key(key, session->settings->prefix, kind, name)) {
		txn->failed = -ENAMETOOLONG;
		return;
	}
	etcd_txn_absent(txn, key);
	etcd_txn_put(txn, key, value, 0);
}

static int try_index(struct session *session, const struct registration *peer, uint32_t index, uint64_t next_revision)
{
	char text[64], key[ETCD_KEY_MAX], *value = make_value(peer, index);
	char *owner = NULL;
	struct etcd_txn txn;
	etcd_txn_begin(&txn);
	if (value == NULL || asprintf(&owner, "{\"version\":%d,\"key\":\"%s\"}", RECORDS_VERSION, peer->key) < 0 ||
	    !records_key(key, session->settings->prefix, KEY_NEXT, "")) {
		txn.failed = -ENOMEM;
		owner = NULL;
	} else {
		claim(session, &txn, RECORDS_PEER, peer->key, value);
		(void)snprintf(text, sizeof text, "%" PRIu32, index);
		claim(session, &txn, RECORDS_INDEX, text, owner);
		for (size_t i = 0; i < peer->network_count; i++) {
			char network[IP_TEXT_MAX];
			network_text(peer->networks[i], network);
			claim(session, &txn, RECORDS_NET, network, owner);
		}
		(void)snprintf(text, sizeof text, "{\"version\":%d,\"next\":%" PRIu32 "}", RECORDS_VERSION, index + 1);
		etcd_txn_unchanged(&txn, key, next_revision);
		etcd_txn_put(&txn, key, text, 0);
	}
	int result = commit(session, &txn);
	free(value);
	free(owner);
	return result;
}

/* Whether a key stands in the way. */
static int refuse_taken(struct session *session, const struct registration *peer)
{
	uint64_t revision;
	json_t *value;
	int result = read_key(session, RECORDS_PEER, peer->key, &value, &revision);
	json_decref(value);
	if (result == 0 && revision != 0)
		return error_set(session->error, -EEXIST, "%s: there is such a peer", peer->key);
	for (size_t i = 0; result == 0 && i < peer->network_count; i++) {
		char network[IP_TEXT_MAX];
		network_text(peer->networks[i], network);
		result = read_key(session, RECORDS_NET, network, &value, &revision);
		json_decref(value);
		if (result == 0 && revision != 0)
			return error_set(session->error, -EEXIST, "%s: another peer has this network", network);
	}
	return result;
}

/* Another agent may add at the same time, and indices may have been given by hand: each try takes a later one. */
static int add(struct session *session, const struct registration *peer, uint32_t *index)
{
	uint32_t least = 1;
	for (int i = 0; i < TRIES; i++) {
		uint64_t revision;
		json_t *value;
		int result = refuse_taken(session, peer);
		if (result == 0)
			result = read_key(session, KEY_NEXT, "", &value, &revision);
		if (result != 0)
			return result;
		json_int_t next = json_integer_value(json_object_get(value, "next"));
		bool readable = revision == 0 || (next >= 1 && next < UINT32_MAX);
		json_decref(value);
		if (!readable)
			return error_set(session->error, -EPROTO, "%s" KEY_NEXT " in etcd cannot be read",
					 session->settings->prefix);
		*index = next > (json_int_t)least ? (uint32_t)next : least;
		result = try_index(session, peer, *index, revision);
		if (result != -EAGAIN)
			return result;
		least = *index + 1;
	}
	return error_set(session->error, -EBUSY,
			 "the next indices are all in use; set %s" KEY_NEXT " in etcd to a free one",
			 session->settings->prefix);
}

int registration_add(const struct agent_settings *settings, const struct registration *peer, uint32_t *index,
		     struct error *error)
{
	struct session session;
	int result = check(peer, error);
	if (result != 0)
		return result;
	result = open_session(&session, settings, error);
	if (result == 0)
		result = add(&session, peer, index);
	close_session(&session);
	return result;
}

/* --- deleting ----------------------------------------------------------------------------------------------------- */

static void release(struct session *session, struct etcd_txn *txn, const char *kind, const char *name)
{
	char key[ETCD_KEY_MAX];
	if (records_key(key, session->settings->prefix, kind, name))
		etcd_txn_delete(txn, key);
	else
		txn->failed = -ENAMETOOLONG;
}

static int delete (struct session *session, const char *key)
{
	char path[ETCD_KEY_MAX], text[16];
	uint64_t revision;
	json_t *value, *network;
	size_t i;
	struct etcd_txn txn;
	int result = read_key(session, RECORDS_PEER, key, &value, &revision);
	if (result == 0 && revision == 0)
		result = error_set(session->error, -ENOENT, "%s: there is no such peer", key);
	else if (result == 0 && value == NULL)
		result = error_set(session->error, -EPROTO,
				   "%s: its record is no JSON, or of a newer version: it is left alone", key);
	if (result != 0)
		return result;
	etcd_txn_begin(&txn);
	if (records_key(path, session->settings->prefix, RECORDS_PEER, key))
		etcd_txn_unchanged(&txn, path, revision);
	release(session, &txn, RECORDS_PEER, key);
	(void)snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(value, "index")));
	release(session, &txn, RECORDS_INDEX, text);
	json_array_foreach (json_object_get(value, "networks"), i, network)
		release(session, &txn, RECORDS_NET,
			json_string_value(network) != NULL ? json_string_value(network) : "");
	result = commit(session, &txn);
	json_decref(value);
	return result != -EAGAIN ? result
				 : error_set(session->error, -EAGAIN, "%s: it was changed meanwhile; try again", key);
}

int registration_delete(const struct agent_settings *settings, const char *key, struct error *error)
{
	struct session session;
	uint8_t bytes[KEY_SIZE];
	if (!key_parse(key, bytes))
		return error_set(error, -EINVAL, "%.60s: not a public key: 32 bytes in base64", key);
	int result = open_session(&session, settings, error);
	if (result == 0)
		result = delete (&session, key);
	close_session(&session);
	return result;
}
