// SPDX-License-Identifier: Apache-2.0
/* Many peers at once: read what is there of a group, add the rest of it in one transaction. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/agent/registration_session.h"

enum { TRIES = 20 };

struct import {
	struct registration_session session;
	const struct registration *peers; /* of the group, as the next two */
	struct registration_result *results;
	size_t count;
	bool write;
	struct registration_value next;
};

/* Operations of a peer, in reading and in writing. */
static size_t operations(const struct registration *peer)
{
	return 2 + peer->network_count;
}

/* The first operations of a read; then come those of each peer. */
enum { ASKED_NEXT, ASKED_POOL, ASKED_PEERS };

static size_t group_size(const struct registration *peers, size_t count)
{
	size_t size = 0, used = ASKED_PEERS;
	while (size < count && peers[size].index != 0 && used + operations(&peers[size]) <= ETCD_TXN_MAX)
		used += operations(&peers[size++]);
	return size;
}

static void refuse(struct registration_result *result, const char *what, const char *why)
{
	result->fate = REGISTRATION_REFUSED;
	(void)snprintf(result->why, sizeof result->why, "%.100s: %s", what, why);
}

/* --- what is there ------------------------------------------------------------------------------------------------ */

static int read_group(struct import *import)
{
	char network[IP_TEXT_MAX];
	struct registration_session *session = &import->session;
	struct etcd_txn txn;
	etcd_txn_begin(&txn);
	registration_ask(session, &txn, RECORDS_NEXT, "");
	registration_ask(session, &txn, RECORDS_POOL, "");
	for (size_t i = 0; i < import->count; i++) {
		const struct registration *peer = &import->peers[i];
		registration_ask(session, &txn, RECORDS_PEER, peer->key);
		registration_ask_index(session, &txn, peer->index);
		for (size_t n = 0; n < peer->network_count; n++)
			registration_ask(session, &txn, RECORDS_NET, registration_network(peer->networks[n], network));
	}
	return registration_read(session, &txn);
}

static bool same_text(json_t *object, const char *name, const char *text)
{
	const char *has = json_string_value(json_object_get(object, name));
	return has == NULL || text == NULL ? has == text : strcmp(has, text) == 0;
}

static bool same_networks(json_t *object, const struct registration *peer)
{
	json_t *list = json_object_get(object, "networks");
	bool same = json_array_size(list) == peer->network_count;
	for (size_t i = 0; same && i < peer->network_count; i++) {
		char network[IP_TEXT_MAX];
		const char *has = json_string_value(json_array_get(list, i));
		same = has != NULL && strcmp(has, registration_network(peer->networks[i], network)) == 0;
	}
	return same;
}

/* A sealed key looks different each time, so only whether there is one is compared. */
static void compare(struct registration_result *result, const struct registration_value *record,
		    const struct registration *peer)
{
	json_t *object = record->object;
	const struct registration_limits *limits = &peer->limits;
	const struct {
		const char *name;
		bool same;
	} members[] = {
		{"index", peer->index == 0 || json_integer_value(json_object_get(object, "index")) == peer->index},
		{"name", same_text(object, "name", peer->name)},
		{"protocol", same_text(object, "protocol", peer->protocol)},
		{"networks", same_networks(object, peer)},
		{"rate_up", same_text(object, "rate_up", limits->rate_up)},
		{"rate_down", same_text(object, "rate_down", limits->rate_down)},
		{"burst", same_text(object, "burst", limits->burst)},
		{"quota", same_text(object, "quota", limits->quota)},
		{"quota_rate", same_text(object, "quota_rate", limits->quota_rate)},
		{"psk", json_is_string(json_object_get(object, "psk")) == (peer->psk != NULL)},
	};
	size_t length = 0;
	result->fate = REGISTRATION_PRESENT;
	result->index = (uint32_t)json_integer_value(json_object_get(object, "index"));
	for (size_t i = 0; i < ARRAY_SIZE(members) && length < sizeof result->why; i++) {
		if (!members[i].same)
			length += (size_t)snprintf(result->why + length, sizeof result->why - length, "%s%s",
						   length != 0 ? ", " : "", members[i].name);
	}
}

/* Of its own key alone. */
static void judge_record(struct registration_result *result, struct registration_value *record,
			 const struct registration *peer)
{
	*result = (struct registration_result){.fate = REGISTRATION_ADDED, .index = peer->index};
	if (record->mod_revision != 0 && record->object == NULL)
		refuse(result, "its record in etcd", "no JSON, or of a newer version");
	else if (record->mod_revision != 0)
		compare(result, record, peer);
	json_decref(record->object);
}

/* `operation` is that of the peer's own key. */
static int judge_peer(struct import *import, size_t i, size_t operation)
{
	const struct registration *peer = &import->peers[i];
	struct registration_result *result = &import->results[i];
	struct registration_session *session = &import->session;
	struct registration_value record;
	char text[IP_TEXT_MAX];
	int code = registration_value(session, operation, &record);
	if (code != 0)
		return code;
	judge_record(result, &record, peer);
	(void)snprintf(text, sizeof text, "index %" PRIu32, peer->index);
	if (result->fate == REGISTRATION_ADDED && !registration_can_have(session, peer->index))
		refuse(result, text, "no address that can be given");
	if (result->fate == REGISTRATION_ADDED && registration_present(session, operation + 1))
		refuse(result, text, "another peer has this address");
	for (size_t n = 0; n < peer->network_count && result->fate == REGISTRATION_ADDED; n++) {
		if (registration_present(session, operation + 2 + n))
			refuse(result, registration_network(peer->networks[n], text), "another peer has this network");
	}
	return 0;
}

static bool shares_network(const struct registration *a, const struct registration *b)
{
	char one[IP_TEXT_MAX], other[IP_TEXT_MAX];
	for (size_t i = 0; i < a->network_count; i++) {
		for (size_t n = 0; n < b->network_count; n++) {
			if (strcmp(registration_network(a->networks[i], one),
				   registration_network(b->networks[n], other)) == 0)
				return true;
		}
	}
	return false;
}

/* Two of the group that want the same: etcd takes no key twice in a transaction. */
static void refuse_twice(struct import *import, size_t i)
{
	const struct registration *peer = &import->peers[i];
	for (size_t n = 0; n < i && import->results[i].fate == REGISTRATION_ADDED; n++) {
		const struct registration *other = &import->peers[n];
		if (import->results[n].fate == REGISTRATION_ADDED &&
		    (strcmp(peer->key, other->key) == 0 || peer->index == other->index || shares_network(peer, other)))
			refuse(&import->results[i], other->key,
			       "has the same key, address or network, and came before");
	}
}

static int judge_group(struct import *import)
{
	size_t operation = ASKED_PEERS;
	int result = registration_see_pool(&import->session, ASKED_POOL);
	if (result == 0)
		result = registration_value(&import->session, ASKED_NEXT, &import->next);
	for (size_t i = 0; i < import->count && result == 0; i++) {
		result = judge_peer(import, i, operation);
		operation += operations(&import->peers[i]);
		refuse_twice(import, i);
	}
	return result;
}

/* --- adding ------------------------------------------------------------------------------------------------------- */

static int write_group(struct import *import)
{
	struct registration_session *session = &import->session;
	uint32_t next, highest = 0;
	struct etcd_txn txn;
	int result = registration_next(session, &import->next, &next);
	if (result != 0)
		return result;
	etcd_txn_begin(&txn);
	for (size_t i = 0; i < import->count; i++) {
		const struct registration *peer = &import->peers[i];
		if (import->results[i].fate != REGISTRATION_ADDED)
			continue;
		registration_claim_peer(session, &txn, peer, peer->index);
		highest = peer->index > highest ? peer->index : highest;
	}
	if (highest == 0) {
		etcd_txn_abort(&txn);
		return 0;
	}
	/* Those that are added later come behind. */
	if (highest >= next)
		registration_put_next(session, &txn, &import->next, highest + 1);
	return registration_commit(session, &txn);
}

static int import_group(struct import *import)
{
	int result = -EAGAIN;
	registration_restart(&import->session);
	for (unsigned try = 0; try < TRIES && result == -EAGAIN; try++) {
		json_decref(import->next.object);
		import->next = (struct registration_value){0};
		result = read_group(import);
		if (result == 0)
			result = judge_group(import);
		if (result == 0 && import->write)
			result = write_group(import);
	}
	return result != -EAGAIN ? result
				 : error_set(import->session.error, -EBUSY,
					     "others change the same peers at the same time; try again");
}

/* One without an index of its own. */
static int import_one(struct import *import)
{
	const struct registration *peer = import->peers;
	struct registration_result *result = import->results;
	struct registration_session *session = &import->session;
	struct registration_value record;
	struct etcd_txn txn;
	registration_restart(session);
	etcd_txn_begin(&txn);
	registration_ask(session, &txn, RECORDS_PEER, peer->key);
	int code = registration_read(session, &txn);
	if (code == 0)
		code = registration_value(session, 0, &record);
	if (code != 0)
		return code;
	judge_record(result, &record, peer); /* its index is 0 */
	if (result->fate != REGISTRATION_ADDED || !import->write)
		return 0;
	code = registration_add_one(session, peer, &result->index);
	if (code != -EEXIST)
		return code;
	result->fate = REGISTRATION_REFUSED;
	(void)snprintf(result->why, sizeof result->why, "%.*s", (int)sizeof result->why - 1, session->error->text);
	return 0;
}

int registration_import(const struct registration_call *call, const struct registration *peers,
			struct registration_result *results, size_t count, bool write, size_t *done,
			struct error *error)
{
	struct import import = {.write = write};
	*done = 0;
	int result = registration_open(&import.session, call, error);
	while (*done < count && result == 0) {
		import.peers = peers + *done;
		import.results = results + *done;
		import.count = group_size(import.peers, count - *done);
		if (import.count != 0) {
			result = import_group(&import);
		} else {
			import.count = 1;
			result = import_one(&import);
		}
		*done += result == 0 ? import.count : 0;
	}
	json_decref(import.next.object);
	registration_close(&import.session);
	return result;
}
