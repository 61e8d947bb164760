// SPDX-License-Identifier: Apache-2.0
#include "core/agent/registration.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/value.h"
#include "core/agent/registration_session.h"
#include "core/base/ip.h"
#include "core/cluster/sealed_psk.h"
#include "crypto/keys.h"

enum { INDEXES_AT_ONCE = 100, TRIES = 20 };

/* --- checks ------------------------------------------------------------------------------------------------------- */

static int check_value(const char *what, const struct value_type *type, const char *text, uint64_t low, uint64_t high,
		       void *value, struct error *error)
{
	const struct value_context context = {.low = low, .high = high};
	int result = text != NULL ? type->parse(value, text, &context, error) : 0;
	return result == 0 ? 0 : error_prefix(error, result, "%s %.64s: ", what, text);
}

static int check_limits(const struct registration_limits *texts, struct error *error)
{
	struct config_limits limits = {0};
	int result = check_value("rate", &value_rate, texts->rate_up, CONFIG_RATE_LOW, CONFIG_RATE_HIGH, &limits.up,
				 error);
	if (result == 0)
		result = check_value("rate", &value_rate, texts->rate_down, CONFIG_RATE_LOW, CONFIG_RATE_HIGH,
				     &limits.down, error);
	if (result == 0)
		result = check_value("burst", &value_size_or_auto, texts->burst, CONFIG_BURST_LOW, CONFIG_BURST_HIGH,
				     &limits.burst, error);
	if (result == 0)
		result = check_value("quota", &value_quota, texts->quota, CONFIG_QUOTA_LOW, CONFIG_QUOTA_HIGH,
				     &limits.quota, error);
	if (result == 0)
		result = check_value("rate", &value_rate, texts->quota_rate, CONFIG_RATE_LOW, CONFIG_RATE_HIGH,
				     &limits.quota_rate, error);
	return result;
}

int registration_check(const struct registration *peer, struct error *error)
{
	uint8_t key[KEY_SIZE];
	char *name = NULL;
	if (!key_parse(peer->key, key))
		return error_set(error, -EINVAL, "%.60s: not a public key: 32 bytes in base64", peer->key);
	int result = check_value("name", &value_name, peer->name, 1, CONFIG_NAME_SIZE - 1, &name, error);
	value_name.free(&name);
	if (result == 0)
		result = check_limits(&peer->limits, error);
	if (result != 0)
		return result;
	if (strcmp(peer->protocol, "shardtun") != 0 && strcmp(peer->protocol, "wireguard") != 0)
		return error_set(error, -EINVAL, "%.40s: the protocol is shardtun or wireguard", peer->protocol);
	if (peer->psk != NULL && strlen(peer->psk) != SEALED_PSK_TEXT_SIZE - 1)
		return error_set(error, -EINVAL, "the pre-shared key is not sealed");
	for (size_t i = 0; i < peer->network_count; i++) {
		struct ip_prefix prefix;
		if (!ip_prefix_parse(peer->networks[i], &prefix))
			return error_set(error, -EINVAL, "%.60s: not a network", peer->networks[i]);
	}
	return 0;
}

/* --- adding ------------------------------------------------------------------------------------------------------- */

/* The first index from *index on that can be given, and that no peer has. */
static int find_index(struct registration_session *session, uint32_t *index)
{
	const struct registration_pool *pool = &session->pool;
	while (*index < (pool->size != 0 ? pool->size : UINT32_MAX - INDEXES_AT_ONCE)) {
		struct etcd_txn txn;
		etcd_txn_begin(&txn);
		for (uint32_t i = 0; i < INDEXES_AT_ONCE; i++)
			registration_ask_index(session, &txn, *index + i);
		int result = registration_read(session, &txn);
		if (result != 0)
			return result;
		for (uint32_t i = 0; i < INDEXES_AT_ONCE; i++) {
			if (registration_present(session, i) || !registration_can_have(session, *index + i))
				continue;
			*index += i;
			return 0;
		}
		*index += INDEXES_AT_ONCE;
	}
	return error_set(session->error, -ENOSPC,
			 "no address is left: indexes are given in order, and not again; set %s" RECORDS_NEXT
			 " in etcd to the first of those that are free, or name an address",
			 session->prefix);
}

/* The first operations of the read: then come the index, if one is named, and networks. */
enum { ASKED_PEER, ASKED_NEXT, ASKED_POOL, ASKED_OTHERS };

static int read_peer(struct registration_session *session, const struct registration *peer)
{
	char network[IP_TEXT_MAX];
	struct etcd_txn txn;
	etcd_txn_begin(&txn);
	registration_ask(session, &txn, RECORDS_PEER, peer->key);
	registration_ask(session, &txn, RECORDS_NEXT, "");
	registration_ask(session, &txn, RECORDS_POOL, "");
	if (peer->index != 0)
		registration_ask_index(session, &txn, peer->index);
	for (size_t i = 0; i < peer->network_count; i++)
		registration_ask(session, &txn, RECORDS_NET, registration_network(peer->networks[i], network));
	return registration_read(session, &txn);
}

/* After that: whether a key or the pool stands in the way. */
static int refuse_present(struct registration_session *session, const struct registration *peer)
{
	char network[IP_TEXT_MAX];
	size_t networks = ASKED_OTHERS + (peer->index != 0);
	if (registration_present(session, ASKED_PEER))
		return error_set(session->error, -EEXIST, "%s: there is such a peer", peer->key);
	if (peer->index != 0 && !registration_can_have(session, peer->index))
		return error_set(session->error, -EINVAL, "index %" PRIu32 ": no address that can be given",
				 peer->index);
	if (peer->index != 0 && registration_present(session, ASKED_OTHERS))
		return error_set(session->error, -EEXIST, "index %" PRIu32 ": another peer has this address",
				 peer->index);
	for (size_t i = 0; i < peer->network_count; i++) {
		if (registration_present(session, networks + i))
			return error_set(session->error, -EEXIST, "%s: another peer has this network",
					 registration_network(peer->networks[i], network));
	}
	return 0;
}

static int try_to_add(struct registration_session *session, const struct registration *peer,
		      const struct registration_value *next, uint32_t *index)
{
	struct etcd_txn txn;
	int result = 0;
	*index = peer->index;
	if (peer->index == 0)
		result = registration_next(session, next, index);
	if (result == 0 && peer->index == 0)
		result = find_index(session, index);
	if (result != 0)
		return result;
	etcd_txn_begin(&txn);
	registration_claim_peer(session, &txn, peer, *index);
	if (peer->index == 0)
		registration_put_next(session, &txn, next, *index + 1);
	return registration_commit(session, &txn);
}

int registration_add_one(struct registration_session *session, const struct registration *peer, uint32_t *index)
{
	for (unsigned try = 0; try < TRIES; try++) {
		struct registration_value next = {0};
		int result = read_peer(session, peer);
		if (result == 0)
			result = registration_see_pool(session, ASKED_POOL);
		if (result == 0)
			result = refuse_present(session, peer);
		if (result == 0)
			result = registration_value(session, ASKED_NEXT, &next);
		if (result == 0)
			result = try_to_add(session, peer, &next, index);
		json_decref(next.object);
		if (result != -EAGAIN)
			return result;
	}
	return error_set(session->error, -EBUSY, "others add peers at the same time; try again");
}

int registration_add(const struct registration_call *call, const struct registration *peer, uint32_t *index,
		     struct error *error)
{
	struct registration_session session;
	int result = registration_check(peer, error);
	if (result != 0)
		return result;
	result = registration_open(&session, call, error);
	if (result == 0)
		result = registration_add_one(&session, peer, index);
	registration_close(&session);
	return result;
}

/* --- deleting ----------------------------------------------------------------------------------------------------- */

/* A key that the peer's record names. It may be another's, where records were written by hand. */
static void release(struct registration_session *session, struct etcd_txn *txn, const char *kind, const char *name,
		    size_t operation, const char *owner)
{
	char key[ETCD_KEY_MAX];
	struct registration_value value;
	if (registration_value(session, operation, &value) != 0 || !records_key(key, session->prefix, kind, name)) {
		txn->failed = -EPROTO;
		return;
	}
	const char *has = json_string_value(json_object_get(value.object, "key"));
	if (has != NULL && strcmp(has, owner) == 0) {
		etcd_txn_unchanged(txn, key, value.mod_revision);
		etcd_txn_delete(txn, key);
	}
	json_decref(value.object);
}

static const char *network_of(json_t *networks, size_t i)
{
	const char *text = json_string_value(json_array_get(networks, i));
	return text != NULL ? text : "";
}

static int delete_record(struct registration_session *session, const char *key, const struct registration_value *record)
{
	char path[ETCD_KEY_MAX], index[24];
	json_t *networks = json_object_get(record->object, "networks");
	size_t count = json_array_size(networks) < ETCD_TXN_MAX - 2 ? json_array_size(networks) : ETCD_TXN_MAX - 2;
	struct etcd_txn txn;
	(void)snprintf(index, sizeof index, "%" JSON_INTEGER_FORMAT,
		       json_integer_value(json_object_get(record->object, "index")));
	etcd_txn_begin(&txn);
	registration_ask(session, &txn, RECORDS_INDEX, index);
	for (size_t i = 0; i < count; i++)
		registration_ask(session, &txn, RECORDS_NET, network_of(networks, i));
	int result = registration_read(session, &txn);
	if (result != 0)
		return result;
	etcd_txn_begin(&txn);
	if (records_key(path, session->prefix, RECORDS_PEER, key)) {
		etcd_txn_unchanged(&txn, path, record->mod_revision);
		etcd_txn_delete(&txn, path);
	}
	release(session, &txn, RECORDS_INDEX, index, 0, key);
	for (size_t i = 0; i < count; i++)
		release(session, &txn, RECORDS_NET, network_of(networks, i), 1 + i, key);
	return registration_commit(session, &txn);
}

static int delete_peer(struct registration_session *session, const char *key)
{
	struct registration_value record = {0};
	struct etcd_txn txn;
	etcd_txn_begin(&txn);
	registration_ask(session, &txn, RECORDS_PEER, key);
	int result = registration_read(session, &txn);
	if (result == 0)
		result = registration_value(session, 0, &record);
	if (result == 0 && record.mod_revision == 0)
		result = error_set(session->error, -ENOENT, "%s: there is no such peer", key);
	else if (result == 0 && record.object == NULL)
		result = error_set(session->error, -EPROTO,
				   "%s: its record is no JSON, or of a newer version: it is left alone", key);
	if (result == 0)
		result = delete_record(session, key, &record);
	json_decref(record.object);
	return result != -EAGAIN ? result
				 : error_set(session->error, -EAGAIN, "%s: it was changed meanwhile; try again", key);
}

int registration_delete(const struct registration_call *call, const char *key, struct error *error)
{
	struct registration_session session;
	uint8_t bytes[KEY_SIZE];
	if (!key_parse(key, bytes))
		return error_set(error, -EINVAL, "%.60s: not a public key: 32 bytes in base64", key);
	int result = registration_open(&session, call, error);
	if (result == 0)
		result = delete_peer(&session, key);
	registration_close(&session);
	return result;
}
