// SPDX-License-Identifier: Apache-2.0
/* Peers as the agent of a cluster passes them on. */
#include "core/gateway/cluster_peers.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cluster/sealed_psk.h"
#include "core/gateway/cluster.h"

static struct registry registry;
static struct fence fence;
static struct cluster cluster;
static struct gateway_running running;
static struct handshake_identity identity;
static struct gateway_config config;
static struct ip_prefix own;
static char keys[4][KEY_TEXT_SIZE];
static uint8_t bytes[4][KEY_SIZE];
static unsigned ended, limited;

static void end(void *context, uint32_t session_id, enum wire_bye_reason reason)
{
	(void)context, (void)session_id, (void)reason;
	ended++;
}

static void limit(void *context, uint32_t session_id)
{
	(void)context, (void)session_id;
	limited++;
}

static void begin(void)
{
	cr_assert(keys_init(NULL) == 0 && ip_prefix_parse("10.8.0.1/16", &own));
	rcu_join();
	fence_init(&fence, 4096);
	config.addresses = (struct config_prefixes){.items = &own, .count = 1};
	identity.keys.private_key[0] = 7;
	const struct registry_params params = {.addresses = &own,
					       .address_count = 1,
					       .max_sessions = 16,
					       .workers = 1,
					       .expected_peers = 8,
					       .fence = &fence};
	cr_assert_eq(registry_init(&registry, &params, NULL), 0);
	running = (struct gateway_running){.config = &config,
					   .identity = &identity,
					   .registry = &registry,
					   .cluster = &cluster,
					   .ender = {.end = end, .limit = limit}};
	for (size_t i = 0; i < 4; i++) {
		memset(bytes[i], (int)i + 1, KEY_SIZE);
		key_format(bytes[i], keys[i]);
	}
}

static void leave(void)
{
	registry_deinit(&registry);
	rcu_leave();
}

TestSuite(cluster_peers, .init = begin, .fini = leave);

static size_t slices; /* of the last file */

static json_t *apply_file(const char *path, struct error *error)
{
	json_t *answer;
	struct cluster_peers *peers = cluster_peers_new(&running, path, error);
	cr_assert_not_null(peers);
	cluster_peers_read(peers);
	for (slices = 1; !cluster_peers_apply(peers, &answer, error); slices++)
		cr_assert_null(answer);
	cluster_peers_free(peers);
	return answer;
}

/* The answer as text, freed by the next call; NULL: an error. */
static const char *apply(const char *text, struct error *error)
{
	static char *shown;
	char path[] = "/tmp/test_cluster_peers.XXXXXX";
	int fd = mkstemp(path);
	cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	json_t *answer = apply_file(path, error);
	unlink(path);
	close(fd);
	free(shown);
	shown = answer != NULL ? json_dumps(answer, JSON_COMPACT) : NULL;
	json_decref(answer);
	return shown;
}

static void answers(const char *text, const char *expected)
{
	struct error error = {0};
	const char *shown = apply(text, &error);
	cr_assert_not_null(shown, "%s", error.text);
	cr_assert_str_eq(shown, expected);
}

static const struct peer *find(size_t i)
{
	return peers_find(&registry.peers, bytes[i]);
}

/* "{"op":"put","key":KEY,MORE}" and a line's end. */
static char *put(size_t i, const char *more)
{
	static char lines[4][1024];
	snprintf(lines[i], sizeof lines[i], "{\"op\":\"put\",\"key\":\"%s\",%s}\n", keys[i], more);
	return lines[i];
}

#define SNAPSHOT "{\"op\":\"snapshot\"}\n"

Test(cluster_peers, a_snapshot_is_all_there_is)
{
	char text[4096], sealed[SEALED_PSK_TEXT_SIZE];
	static const uint8_t psk[KEY_SIZE] = {8, 8};
	sealed_psk_write(identity.keys.private_key, bytes[1], psk, sealed);
	char more[512];
	snprintf(more, sizeof more,
		 "\"index\":5000,\"name\":\"ann\",\"networks\":[\"192.168.7.9/24\",\"fd07::/64\"],\"rate_up\":\"8M\","
		 "\"psk\":\"%s\",\"later\":[]",
		 sealed);
	snprintf(text, sizeof text, SNAPSHOT "%s%s", put(0, "\"index\":7"), put(1, more));
	answers(text, "{\"peers\":2,\"changed\":2,\"refused_count\":0,\"refused\":[]}");
	const struct peer *ann = find(1);
	cr_assert(ann != NULL && ann->fixed_index == 5000 && peer_networks(ann)->count == 2);
	cr_assert_str_eq(peer_name(ann), "ann");
	cr_assert_eq(peer_limits(ann).up, 8000);
	uint8_t has[KEY_SIZE];
	peer_preshared_key(ann, has);
	cr_assert_arr_eq(has, psk, KEY_SIZE);
	cr_assert_eq(find(0)->fixed_index, 7);
	answers(text, "{\"peers\":2,\"changed\":0,\"refused_count\":0,\"refused\":[]}");
	snprintf(text, sizeof text, SNAPSHOT "%s", put(2, "\"index\":7"));
	answers(text, "{\"peers\":1,\"changed\":3,\"refused_count\":0,\"refused\":[]}");
	cr_assert(find(0) == NULL && find(1) == NULL && find(2) != NULL);
	answers(SNAPSHOT, "{\"peers\":0,\"changed\":1,\"refused_count\":0,\"refused\":[]}");
}

Test(cluster_peers, changes_leave_the_others)
{
	char text[4096];
	answers(put(0, "\"index\":7"), "{\"peers\":1,\"changed\":1,\"refused_count\":0,\"refused\":[]}");
	answers(put(1, "\"index\":8"), "{\"peers\":2,\"changed\":1,\"refused_count\":0,\"refused\":[]}");
	answers(put(1, "\"index\":8,\"name\":\"bob\""),
		"{\"peers\":2,\"changed\":1,\"refused_count\":0,\"refused\":[]}");
	answers(put(1, "\"index\":9,\"name\":\"bob\""),
		"{\"peers\":2,\"changed\":1,\"refused_count\":0,\"refused\":[]}");
	cr_assert(find(0) != NULL && find(1)->fixed_index == 9);
	snprintf(text, sizeof text, "{\"op\":\"delete\",\"key\":\"%s\"}\n%s{\"op\":\"delete\",\"key\":\"%s\"}\n%s",
		 keys[0], put(2, "\"index\":10"), keys[2], put(3, "\"index\":7"));
	answers(text, "{\"peers\":2,\"changed\":2,\"refused_count\":0,\"refused\":[]}");
	cr_assert(find(0) == NULL && find(1) != NULL && find(2) == NULL && find(3)->fixed_index == 7);
	snprintf(text, sizeof text, "{\"op\":\"delete\",\"key\":\"%s\"}\n%s", keys[3], put(3, "\"index\":7"));
	answers(text, "{\"peers\":2,\"changed\":0,\"refused_count\":0,\"refused\":[]}");
	snprintf(text, sizeof text, "{\"op\":\"delete\",\"key\":\"%s\"}\n%s{\"op\":\"delete\",\"key\":\"%s\"}\n",
		 keys[3], put(3, "\"index\":7"), keys[3]);
	answers(text, "{\"peers\":1,\"changed\":1,\"refused_count\":0,\"refused\":[]}");
	cr_assert_eq(ended, 0);
}

/* What a hand wrote into etcd: each bad line is named, and the others count. */
Test(cluster_peers, bad_lines_are_refused_one_by_one)
{
	static const char *const bad[][2] = {
		{"{\"op\":\"put\",\"key\":\"x\",\"index\":7}", "line 2: key: no public key"},
		{"{\"op\":\"put\",\"index\":7}", "line 2: key: no public key"},
		{"no JSON", "line 2: no JSON object"},
		{"[]", "line 2: no JSON object"},
		{"", "line 2: no JSON object"},
		{"{\"op\":\"snapshot\"}", "line 2: key: no public key"},
		{"{\"op\":7,\"key\":\"x\"}", "line 2: op: no text"},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char text[2048], expected[512];
		struct error error = {0};
		snprintf(text, sizeof text, SNAPSHOT "%s\n%s", bad[i][0], put(0, "\"index\":7"));
		snprintf(expected, sizeof expected, "\"refused_count\":1,\"refused\":[\"%s\"]}", bad[i][1]);
		const char *shown = apply(text, &error);
		cr_assert(shown != NULL && strstr(shown, expected) != NULL, "%s: %s", bad[i][0], shown);
		cr_assert_not_null(find(0));
	}
	static const char *const members[][2] = {
		{"\"index\":0", "index: none of the pool"},
		{"\"index\":-1", "index: none of the pool"},
		{"\"index\":65536", "index: none of the pool"},
		{"\"index\":1", "index: 1 has no address that can be given out"}, /* the gateway's own */
		{"\"index\":\"7\"", "index: none of the pool"},
		{"\"name\":\"a\"", "index: none of the pool"},
		{"\"index\":7,\"name\":\"a b\"", "name: no name"},
		{"\"index\":7,\"name\":7", "name: no text"},
		{"\"index\":7,\"networks\":\"10.0.0.0/8\"", "networks: no list"},
		{"\"index\":7,\"networks\":[7]", "networks: no text"},
		{"\"index\":7,\"networks\":[\"10.8.1.0/24\"]", "networks: 10.8.1.0/24 overlaps the pool"},
		{"\"index\":7,\"networks\":[\"10.8.1.0/24, 192.168.9.0/24\"]", "networks: no IP network"},
		{"\"index\":7,\"protocol\":\"ipsec\"", "protocol: "},
		{"\"index\":7,\"protocol\":\"wireguard\"", "protocol: this gateway does not serve WireGuard"},
		{"\"index\":7,\"rate_up\":\"1\"", "rate_up: "},
		{"\"index\":7,\"psk\":\"AAAA\"", "psk: not sealed for this peer"},
		{"\"index\":7,\"index\":8", "no JSON object"},
	};
	for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
		struct error error = {0};
		const char *shown = apply(put(1, members[i][0]), &error);
		cr_assert(shown != NULL && strstr(shown, members[i][1]) != NULL, "%s: %s", members[i][0], shown);
		cr_assert_null(find(1));
		cr_assert_not_null(find(0), "as before");
	}
}

/* They are all counted, but only the first are listed; and each is, whatever it quotes. */
Test(cluster_peers, many_bad_lines_are_counted)
{
	static char text[65536];
	struct error error = {0};
	size_t length = (size_t)snprintf(text, sizeof text, SNAPSHOT);
	for (unsigned i = 0; i < 250; i++)
		length += (size_t)snprintf(text + length, sizeof text - length,
					   "{\"op\":\"put\",\"key\":\"%.*s\xc3\xa9\",\"index\":7}\n", 43,
					   "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
	const char *shown = apply(text, &error);
	cr_assert(shown != NULL && strstr(shown, "\"refused_count\":250,") != NULL, "%s", shown);
	unsigned listed = 0;
	for (const char *found = shown; (found = strstr(found, "no public key")) != NULL; found++)
		listed++;
	cr_assert_eq(listed, CLUSTER_PEERS_REFUSED);
}

Test(cluster_peers, an_index_given_twice_is_the_first_ones)
{
	char text[4096];
	struct error error = {0};
	snprintf(text, sizeof text, SNAPSHOT "%s%s", put(0, "\"index\":7"), put(1, "\"index\":7"));
	const char *shown = apply(text, &error);
	cr_assert(shown != NULL && strstr(shown, "another peer has the same host number") != NULL, "%s", shown);
	cr_assert(find(0) != NULL && find(1) == NULL);
	cr_assert_null(apply(put(2, "\"index\":7"), &error), "a change: a snapshot puts it right");
	cr_assert_not_null(find(0));
}

Test(cluster_peers, takes_a_regular_file_only)
{
	struct error error = {0};
	cr_assert_null(apply_file("/dev/null", &error));
	cr_assert_not_null(strstr(error.text, "no regular file"));
	cr_assert_null(apply_file("relative", &error));
	cr_assert_not_null(strstr(error.text, "give the absolute path"));
	cr_assert_null(apply_file("/nonexistent/peers", &error));
	cr_assert_null(apply_file("/tmp", &error));
}

/* As many as a slice has, and one more: first added, then renamed, then removed again. */
Test(cluster_peers, many_changes_come_in_slices)
{
	enum { MANY = CLUSTER_PEERS_SLICE + 1 };
	static const char *const names[] = {"ann", "bob"};
	char expected[64];
	for (size_t round = 0; round < 2; round++) {
		char *text = NULL;
		size_t size;
		FILE *file = open_memstream(&text, &size);
		(void)fputs(SNAPSHOT, file);
		for (unsigned i = 0; i < MANY; i++) {
			uint8_t key[KEY_SIZE] = {9, (uint8_t)i, (uint8_t)(i >> 8)};
			char shown[KEY_TEXT_SIZE];
			key_format(key, shown);
			fprintf(file, "{\"op\":\"put\",\"key\":\"%s\",\"index\":%u,\"name\":\"%s\"}\n", shown, i + 2,
				names[round]);
		}
		(void)fclose(file);
		snprintf(expected, sizeof expected, "{\"peers\":%d,\"changed\":%d,\"refused_count\":0,\"refused\":[]}",
			 MANY, MANY);
		answers(text, expected);
		cr_assert_geq(slices, 2);
		free(text);
	}
	snprintf(expected, sizeof expected, "{\"peers\":0,\"changed\":%d,\"refused_count\":0,\"refused\":[]}", MANY);
	answers(SNAPSHOT, expected);
	cr_assert_geq(slices, 2);
}

/* A snapshot of so many peers: where each one's address and network is that of the peer `by` places on. */
static char *all_moved(unsigned many, unsigned by)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);
	(void)fputs(SNAPSHOT, file);
	for (unsigned i = 0; i < many; i++) {
		unsigned at = (i + by) % many;
		uint8_t key[KEY_SIZE] = {9, (uint8_t)i, (uint8_t)(i >> 8)};
		char shown[KEY_TEXT_SIZE];
		key_format(key, shown);
		fprintf(file, "{\"op\":\"put\",\"key\":\"%s\",\"index\":%u,\"networks\":[\"172.16.%u.%u/32\"]}\n",
			shown, i % 2 == 0 ? i + 2 : at / 2 * 2 + 3, at >> 8, at & 0xff);
	}
	(void)fclose(file);
	return text;
}

/* Half of them keep their address, and get a network that another peer has; the others change both. */
Test(cluster_peers, those_that_change_come_in_slices_too)
{
	enum { MANY = 2 * (CLUSTER_PEERS_SLICE + 1) };
	char expected[96];
	snprintf(expected, sizeof expected, "{\"peers\":%d,\"changed\":%d,\"refused_count\":0,\"refused\":[]}", MANY,
		 MANY);
	for (unsigned by = 0; by <= 2; by += 2) {
		char *text = all_moved(MANY, by);
		answers(text, expected);
		cr_assert_geq(slices, by == 0 ? 3 : 5, "%zu", slices);
		free(text);
	}
	for (unsigned i = 0; i < MANY; i++) {
		uint8_t key[KEY_SIZE] = {9, (uint8_t)i, (uint8_t)(i >> 8)};
		const struct peer *peer = peers_find(&registry.peers, key);
		unsigned at = (i + 2) % MANY;
		cr_assert(peer != NULL && peer_networks(peer)->count == 1, "%u", i);
		const uint8_t *network = peer_networks(peer)->items[0].address.bytes;
		cr_assert(network[2] == at >> 8 && network[3] == (at & 0xff), "%u", i);
		cr_assert_eq(peer->fixed_index, i % 2 == 0 ? i + 2 : at / 2 * 2 + 3);
	}
}

static bool changes_networks(const char *text)
{
	struct error error = {0};
	char path[] = "/tmp/test_cluster_peers.XXXXXX";
	int fd = mkstemp(path);
	cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	json_t *answer;
	struct cluster_peers *peers = cluster_peers_new(&running, path, &error);
	cluster_peers_read(peers);
	while (!cluster_peers_apply(peers, &answer, &error))
		;
	bool changes = cluster_peers_change_networks(peers);
	cluster_peers_free(peers);
	json_decref(answer);
	unlink(path);
	close(fd);
	return changes;
}

Test(cluster_peers, only_what_touches_networks_has_routes_planned_anew)
{
	static const char network[] = "\"networks\":[\"192.168.7.0/24\"]";
	char more[256], gone[256];
	cr_expect_not(changes_networks(put(0, "\"index\":7")), "a peer without");
	snprintf(more, sizeof more, "\"index\":8,%s", network);
	cr_expect(changes_networks(put(1, more)), "one with comes");
	snprintf(more, sizeof more, "\"index\":8,\"name\":\"ann\",%s", network);
	cr_expect_not(changes_networks(put(1, more)), "is renamed");
	snprintf(more, sizeof more, "\"index\":9,%s", network);
	cr_expect(changes_networks(put(1, more)), "has another address");
	cr_expect(changes_networks(put(1, "\"index\":9")), "loses it");
	cr_expect(changes_networks(put(1, more)), "gets it back");
	snprintf(gone, sizeof gone, "{\"op\":\"delete\",\"key\":\"%s\"}\n", keys[0]);
	cr_expect_not(changes_networks(gone), "one without goes");
	snprintf(gone, sizeof gone, "{\"op\":\"delete\",\"key\":\"%s\"}\n", keys[1]);
	cr_expect(changes_networks(gone), "one with goes");
}
