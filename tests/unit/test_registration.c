// SPDX-License-Identifier: Apache-2.0
/* Peers on their way into etcd and out of it: which keys, in how many transactions of at most 128 operations, and what
 * becomes of it when others write at the same time. With a real etcd: tests/netns/cases/cluster_peers.sh. */
#include "core/agent/registration.h"

#include <criterion/criterion.h>

#include "crypto/keys.h"
#include "tests/unit/etcd_keys.h"

TestSuite(registration, .timeout = 120);

enum { MANY = 200, LIMIT_MS = 60000 };

static struct etcd_keys store;
static struct agent_settings settings = {.endpoint_count = 1, .prefix = "/p/"};
static struct registration_call call = {.settings = &settings, .limit_ms = LIMIT_MS};
static char keys[MANY][KEY_TEXT_SIZE];

static void begin(void)
{
	etcd_keys_start(&store);
	settings.endpoints[0] = store.server.url;
	for (unsigned i = 0; i < MANY; i++) {
		uint8_t bytes[KEY_SIZE] = {1, (uint8_t)i};
		key_format(bytes, keys[i]);
	}
}

static void end(void)
{
	etcd_keys_stop(&store);
}

static struct registration peer_of(unsigned number, uint32_t index)
{
	return (struct registration){.key = keys[number], .protocol = "shardtun", .index = index};
}

static void has(const char *key, const char *member, const char *text)
{
	json_t *value = etcd_keys_value(&store, key);
	cr_assert_not_null(value, "%s is not there", key);
	cr_assert_str_eq(json_string_value(json_object_get(value, member)), text);
	json_decref(value);
}

static bool has_not(const char *key)
{
	json_t *value = etcd_keys_value(&store, key);
	json_decref(value);
	return value == NULL;
}

static int add(const struct registration *peer, uint32_t *index, const char *text)
{
	struct error error = {0};
	int result = registration_add(&call, peer, index, &error);
	if (text != NULL)
		cr_assert_not_null(strstr(error.text, text), "%s", error.text);
	else
		cr_assert_eq(result, 0, "%s", error.text);
	return result;
}

Test(registration, a_peer_its_index_and_its_networks_are_one_transaction, .init = begin, .fini = end)
{
	struct registration peer = peer_of(0, 0);
	char path[128];
	uint32_t index = 0;
	peer.networks[peer.network_count++] = "10.1.2.3/16";
	add(&peer, &index, NULL);
	cr_assert_eq(index, 2);
	cr_assert_eq(store.writes, 1);
	has("/p/index/2", "key", keys[0]);
	has("/p/net/10.1.0.0/16", "key", keys[0]);
	(void)snprintf(path, sizeof path, "/p/peer/%s", keys[0]);
	has(path, "protocol", "shardtun");
	cr_assert_eq(add(&peer, &index, "there is such a peer"), -EEXIST);
	peer.key = keys[1];
	cr_assert_eq(add(&peer, &index, "another peer has this network"), -EEXIST);
	peer.network_count = 0;
	peer.index = 2;
	cr_assert_eq(add(&peer, &index, "index 2: another peer has this address"), -EEXIST);
	struct error error = {0};
	cr_assert_eq(registration_delete(&call, keys[0], &error), 0, "%s", error.text);
	cr_assert(has_not("/p/index/2"));
	cr_assert(has_not("/p/net/10.1.0.0/16"));
	cr_assert(has_not(path));
	cr_assert_eq(registration_delete(&call, keys[0], &error), -ENOENT);
	peer.index = 0;
	add(&peer, &index, NULL);
	cr_assert_eq(index, 3, "an index that was given in order is not given again");
}

Test(registration, what_others_write_meanwhile_is_read_again, .init = begin, .fini = end)
{
	struct registration peer = peer_of(0, 0);
	uint32_t index = 0;
	store.refusals = 3;
	add(&peer, &index, NULL);
	cr_assert_eq(store.writes, 4);
	peer = peer_of(1, 0);
	store.refusals = 1000;
	cr_assert_eq(add(&peer, &index, "others add peers at the same time"), -EBUSY);
	store.refusals = 0;
	struct error error = {0};
	store.refusals = 1;
	cr_assert_eq(registration_delete(&call, keys[0], &error), -EAGAIN);
	cr_assert_not_null(strstr(error.text, "it was changed meanwhile"), "%s", error.text);
}

Test(registration, keys_of_a_newer_version_are_left_alone, .init = begin, .fini = end)
{
	struct registration peer = peer_of(0, 0);
	struct error error = {0};
	char path[128];
	uint32_t index = 0;
	(void)snprintf(path, sizeof path, "/p/peer/%s", keys[0]);
	etcd_keys_set(&store, path, "{\"version\":2}");
	cr_assert_eq(add(&peer, &index, "there is such a peer"), -EEXIST);
	cr_assert_eq(registration_delete(&call, keys[0], &error), -EPROTO);
	cr_assert_not_null(strstr(error.text, "of a newer version: it is left alone"), "%s", error.text);
	etcd_keys_set(&store, "/p/next", "{\"version\":2,\"next\":9}");
	peer = peer_of(1, 0);
	cr_assert_eq(add(&peer, &index, "/p/next is no number, or of a newer version"), -EPROTO);
	cr_assert_eq(store.writes, 0);
}

/* Where the caller has no pool, as for the command of the agent: that which an agent has written. */
Test(registration, no_index_is_beyond_the_pool_that_etcd_has, .init = begin, .fini = end)
{
	struct registration peer = peer_of(0, 0);
	uint32_t index = 0;
	etcd_keys_set(&store, "/p/pool", "{\"version\":1,\"size\":16,\"reserved\":[0,2,15]}");
	add(&peer, &index, NULL);
	cr_assert_eq(index, 3);
	peer = peer_of(1, 16);
	cr_assert_eq(add(&peer, &index, "index 16: no address that can be given"), -EINVAL);
	peer.index = 15;
	cr_assert_eq(add(&peer, &index, "index 15: no address that can be given"), -EINVAL);
	peer.index = 14;
	add(&peer, &index, NULL);
	etcd_keys_set(&store, "/p/next", "{\"version\":1,\"next\":14}");
	peer = peer_of(2, 0);
	cr_assert_eq(add(&peer, &index, "no address is left"), -ENOSPC);
	etcd_keys_set(&store, "/p/pool", "{\"version\":2}");
	cr_assert_eq(add(&peer, &index, "/p/pool is no pool, or of a newer version"), -EPROTO);
	call.pool = (struct registration_pool){.size = 32};
	add(&peer, &index, NULL);
	cr_assert_eq(index, 15, "what the caller says comes first");
}

/* Its index and networks, as its record names them, may be another's. */
Test(registration, what_a_record_names_and_another_has_stays, .init = begin, .fini = end)
{
	struct error error = {0};
	char path[128], text[256];
	(void)snprintf(path, sizeof path, "/p/peer/%s", keys[0]);
	etcd_keys_set(&store, path, "{\"version\":1,\"index\":7,\"networks\":[\"10.1.0.0/16\"]}");
	(void)snprintf(text, sizeof text, "{\"version\":1,\"key\":\"%s\"}", keys[1]);
	etcd_keys_set(&store, "/p/index/7", text);
	etcd_keys_set(&store, "/p/net/10.1.0.0/16", text);
	cr_assert_eq(registration_delete(&call, keys[0], &error), 0, "%s", error.text);
	cr_assert(has_not(path));
	has("/p/index/7", "key", keys[1]);
	has("/p/net/10.1.0.0/16", "key", keys[1]);
}

/* --- many --------------------------------------------------------------------------------------------------------- */

static struct registration peers[MANY];
static struct registration_result results[MANY];

static unsigned count_fates(enum registration_fate fate)
{
	unsigned count = 0;
	for (unsigned i = 0; i < MANY; i++)
		count += results[i].fate == fate;
	return count;
}

static void import(bool write)
{
	struct error error = {0};
	size_t done = 0;
	memset(results, 0, sizeof results);
	cr_assert_eq(registration_import(&call, peers, results, MANY, write, &done, &error), 0, "%s", error.text);
	cr_assert_eq(done, MANY);
}

Test(registration, groups_have_at_most_128_operations, .init = begin, .fini = end)
{
	for (unsigned i = 0; i < MANY; i++)
		peers[i] = peer_of(i, 10 + i);
	import(false);
	cr_assert_eq(count_fates(REGISTRATION_ADDED), MANY);
	cr_assert_eq(store.writes, 0, "it was only to be said");
	import(true);
	cr_assert_eq(count_fates(REGISTRATION_ADDED), MANY);
	/* Two operations of each peer, and "next"; in reading "pool", too. */
	cr_assert_eq(store.writes, (MANY + 62) / 63);
	cr_assert_eq(store.operations, ETCD_TXN_MAX);
	cr_assert_leq(store.compares, ETCD_TXN_MAX);
	json_t *next = etcd_keys_value(&store, "/p/next");
	cr_assert_eq(json_integer_value(json_object_get(next, "next")), 10 + MANY);
	json_decref(next);
	import(true);
	cr_assert_eq(count_fates(REGISTRATION_PRESENT), MANY);
	cr_assert_eq(store.writes, (MANY + 62) / 63, "nothing is written twice");
}

Test(registration, peers_with_many_networks_make_smaller_groups, .init = begin, .fini = end)
{
	static char networks[MANY][REGISTRATION_NETWORKS_MAX][32];
	for (unsigned i = 0; i < MANY; i++) {
		peers[i] = peer_of(i, 10 + i);
		/* 2 to 34 operations. */
		for (unsigned n = 0; n < i % (REGISTRATION_NETWORKS_MAX + 1); n++) {
			(void)snprintf(networks[i][n], sizeof networks[i][n], "10.%u.%u.0/24", 100 + n, i);
			peers[i].networks[peers[i].network_count++] = networks[i][n];
		}
	}
	import(true);
	cr_assert_eq(count_fates(REGISTRATION_ADDED), MANY);
	cr_assert_leq(store.operations, ETCD_TXN_MAX);
	cr_assert_leq(store.compares, ETCD_TXN_MAX);
	has("/p/net/10.131.32.0/24", "key", keys[32]);
	has("/p/net/10.100.199.0/24", "key", keys[199]);
}

Test(registration, what_is_imported_has_to_fit_into_the_pool, .init = begin, .fini = end)
{
	etcd_keys_set(&store, "/p/pool", "{\"version\":1,\"size\":100,\"reserved\":[0,1,99]}");
	for (unsigned i = 0; i < MANY; i++)
		peers[i] = peer_of(i, 10 + i);
	import(true);
	cr_assert_eq(count_fates(REGISTRATION_ADDED), 89);
	cr_assert_eq(results[89].fate, REGISTRATION_REFUSED);
	cr_assert_str_eq(results[89].why, "index 99: no address that can be given");
	cr_assert(has_not("/p/index/100"));
}

Test(registration, two_of_a_group_that_want_the_same_are_told_apart, .init = begin, .fini = end)
{
	for (unsigned i = 0; i < MANY; i++)
		peers[i] = peer_of(i, 10 + i);
	peers[1].index = peers[0].index;
	peers[3].key = peers[2].key;
	store.refusals = 1; /* a group is tried again as a whole */
	import(true);
	cr_assert_eq(count_fates(REGISTRATION_ADDED), MANY - 2);
	cr_assert_eq(results[1].fate, REGISTRATION_REFUSED);
	cr_assert_not_null(strstr(results[1].why, keys[0]), "%s", results[1].why);
	cr_assert_eq(results[3].fate, REGISTRATION_REFUSED);
	has("/p/index/10", "key", keys[0]);
	has("/p/index/12", "key", keys[2]);
}
