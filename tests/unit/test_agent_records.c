// SPDX-License-Identifier: Apache-2.0
/* The values in etcd, as agents write and read them, whatever else stands there; the lines about peers. */
#include "core/agent/records.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/agent/agent_state.h"

TestSuite(agent_records, .timeout = 60);

static struct ownership_view view;
static struct records_unreadable unreadable;

static json_t *base64(const char *text)
{
	char coded[512];
	sodium_bin2base64(coded, sizeof coded, (const unsigned char *)text, strlen(text),
			  sodium_base64_VARIANT_ORIGINAL);
	return json_string(coded);
}

static void add(json_t *kvs, const char *key, const char *value, int revision, int lease)
{
	json_t *kv = json_pack("{s:o, s:o, s:i, s:i}", "key", base64(key), "value", base64(value), "mod_revision",
			       revision, "create_revision", revision);
	if (lease != 0)
		json_object_set_new(kv, "lease", json_integer(lease));
	json_array_append_new(kvs, kv);
}

/* Reads an answer with those keys: blocks, marks, nodes, members. */
static int read_keys(json_t *kvs[RECORDS_READS])
{
	json_t *responses = json_array();
	for (size_t i = 0; i < RECORDS_READS; i++)
		json_array_append_new(responses, json_pack("{s:{s:o}}", "response_range", "kvs", kvs[i]));
	json_t *answer = json_pack("{s:{s:s}, s:o}", "header", "revision", "77", "responses", responses);
	int result = records_view(answer, "/p/", &view, &unreadable);
	json_decref(answer);
	return result;
}

static void begin(json_t *kvs[RECORDS_READS])
{
	for (size_t i = 0; i < RECORDS_READS; i++)
		kvs[i] = json_array();
}

static char *written_takers(void)
{
	const struct ownership_takers takers = {.count = 2, .names = {"gw2", "x"}, .machines = {"m1", "m2"}};
	return records_takers(&takers);
}

Test(agent_records, what_an_agent_writes_it_reads)
{
	json_t *kvs[RECORDS_READS];
	char *block = records_block("gw1", "u1"), *clean = records_clean("gw2"),
	     *node = records_node(&(struct ownership_node_key){
		     .uuid = "u1", .machine = "m1", .inside = "10.9.0.1:5", .agent = "10.9.0.1:6", .draining = true});
	begin(kvs);
	add(kvs[RECORDS_BLOCKS], "/p/block/1", block, 5, 9);
	add(kvs[RECORDS_BLOCKS], "/p/block/255", clean, 6, 0);
	add(kvs[RECORDS_TAKENS], "/p/taken/1", block, 5, 0);
	add(kvs[RECORDS_TAKENS], "/p/taken/2", block, 4, 0);
	add(kvs[RECORDS_NODES], "/p/node/gw1", node, 3, 9);
	add(kvs[RECORDS_MEMBER_LIST], "/p/members", "{\"version\":1,\"members\":[\"gw1\",\"gw2\"]}", 2, 0);
	uint8_t random[OWNERSHIP_SECRET] = {1, 2, 3, [OWNERSHIP_SECRET - 1] = 4};
	char *secret = records_secret(random), *takers = written_takers();
	add(kvs[RECORDS_TAKER_LIST], "/p/takers", takers, 8, 0);
	add(kvs[RECORDS_SECRET_READ], "/p/secret", secret, 9, 0);
	cr_assert_eq(read_keys(kvs), 0);
	cr_assert_eq(unreadable.count, 0);
	cr_assert_eq(view.revision, 77);
	cr_assert(view.takers_readable);
	cr_assert_eq(view.takers_revision, 8);
	cr_assert_eq(view.takers.count, 2);
	cr_assert_str_eq(view.takers.names[1], "x");
	cr_assert_str_eq(view.takers.machines[1], "m2");
	cr_assert(view.secret_readable);
	cr_assert_eq(view.secret_revision, 9);
	cr_assert_arr_eq(view.secret, random, sizeof random);
	cr_assert_str_eq(view.nodes[0].agent, "10.9.0.1:6");
	cr_assert_str_eq(view.nodes[0].machine, "m1");
	cr_assert_eq(view.nodes[0].mod_revision, 3);
	cr_assert_eq(view.members_revision, 2);
	cr_assert_eq(view.blocks[1].kind, OWNERSHIP_OWNED);
	cr_assert_str_eq(view.blocks[1].node, "gw1");
	cr_assert_str_eq(view.blocks[1].uuid, "u1");
	cr_assert_eq(view.blocks[1].mod_revision, 5);
	cr_assert_eq(view.blocks[1].taken_revision, 5);
	cr_assert_eq(view.blocks[2].kind, OWNERSHIP_ABSENT);
	cr_assert_eq(view.blocks[2].taken_revision, 4);
	cr_assert_eq(view.blocks[255].kind, OWNERSHIP_CLEAN);
	cr_assert_eq(view.node_count, 1);
	cr_assert_str_eq(view.nodes[0].inside, "10.9.0.1:5");
	cr_assert(view.nodes[0].draining);
	cr_assert(view.members_readable);
	cr_assert_str_eq(view.members[1], "gw2");
	free(block), free(clean), free(node), free(secret), free(takers);
}

/* Each value makes the key one that is there and says nothing. */
static void cannot_be_read(unsigned read, const char *key, const char *const *values, size_t count,
			   const bool *readable, const uint64_t *revision)
{
	for (size_t i = 0; i < count; i++) {
		json_t *kvs[RECORDS_READS];
		begin(kvs);
		add(kvs[read], key, values[i], 5, 0);
		cr_assert_eq(read_keys(kvs), 0);
		cr_assert_not(*readable, "%s", values[i]);
		cr_assert_eq(*revision, 5);
		cr_assert_eq(unreadable.count, 1);
	}
}

Test(agent_records, takers_without_their_machines_cannot_be_read)
{
	static const char *const values[] = {
		"",
		"{\"version\":1,\"members\":[\"gw1\"]}",
		"{\"version\":1,\"members\":[\"gw1\"],\"machines\":[]}",
		"{\"version\":1,\"members\":[\"gw1\"],\"machines\":[\"m1\",\"m2\"]}",
		"{\"version\":1,\"members\":[\"gw1\"],\"machines\":[7]}",
		"{\"version\":1,\"members\":[\"gw1\"],\"machines\":[\"\"]}",
		"{\"version\":1,\"members\":[\"gw1\"],\"machines\":[\"012345678901234567890123456789012\"]}"};
	cannot_be_read(RECORDS_TAKER_LIST, "/p/takers", values, ARRAY_SIZE(values), &view.takers_readable,
		       &view.takers_revision);
}

Test(agent_records, a_secret_that_cannot_be_read_is_none)
{
	static const char *const values[] = {
		"",
		"{\"version\":1}",
		"{\"version\":1,\"secret\":\"AAAA\"}",
		"{\"version\":1,\"secret\":7}",
		"{\"version\":1,\"secret\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISI=\"}",
		"{\"version\":2,\"secret\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"}"};
	cannot_be_read(RECORDS_SECRET_READ, "/p/secret", values, ARRAY_SIZE(values), &view.secret_readable,
		       &view.secret_revision);
}

Test(agent_records, what_cannot_be_read_is_left_alone)
{
	static const char *const values[] = {
		"",
		"no JSON",
		"{}",
		"[]",
		"{\"version\":2,\"node\":\"a\",\"uuid\":\"b\"}",
		"{\"version\":1,\"node\":\"a\"}",
		"{\"version\":\"1\",\"node\":\"a\",\"uuid\":\"b\"}",
		"{\"version\":1,\"node\":7,\"uuid\":\"b\"}",
		"{\"version\":0,\"clean\":true}",
		"{\"version\":1,\"node\":\"a-name-that-is-longer-than-names-can-be\",\"uuid\":\"b\"}"};
	json_t *kvs[RECORDS_READS];
	begin(kvs);
	for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
		char key[32];
		(void)snprintf(key, sizeof key, "/p/block/%u", i + 1);
		add(kvs[RECORDS_BLOCKS], key, values[i], 5, 9);
	}
	/* A "clean" with a lease would vanish like an owner's key. */
	add(kvs[RECORDS_BLOCKS], "/p/block/100", "{\"version\":1,\"clean\":true}", 5, 9);
	cr_assert_eq(read_keys(kvs), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(values); i++)
		cr_assert_eq(view.blocks[i + 1].kind, OWNERSHIP_UNREADABLE, "%s", values[i]);
	cr_assert_eq(view.blocks[100].kind, OWNERSHIP_UNREADABLE);
	cr_assert_eq(unreadable.count, ARRAY_SIZE(values) + 1);
	cr_assert_str_eq(unreadable.first, "block/1");
	cr_assert_not(view.members_readable, "without the key nothing is known of members");
}

Test(agent_records, numbers_that_are_no_blocks_and_names_that_are_too_long_are_passed_over)
{
	static const char *const keys[] = {"/p/block/0",
					   "/p/block/256",
					   "/p/block/01",
					   "/p/block/",
					   "/p/block/1x",
					   "/p/block/-1",
					   "/p/block/99999999999999999999"};
	json_t *kvs[RECORDS_READS];
	begin(kvs);
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		add(kvs[RECORDS_BLOCKS], keys[i], "{\"version\":1,\"clean\":true}", 5, 0);
	add(kvs[RECORDS_NODES], "/p/node/a-name-that-is-longer-than-names-can-be", "{}", 1, 1);
	add(kvs[RECORDS_NODES], "/p/node/gw1", "no JSON", 1, 1);
	add(kvs[RECORDS_MEMBER_LIST], "/p/members", "{\"version\":1,\"members\":[7]}", 2, 0);
	cr_assert_eq(read_keys(kvs), 0);
	for (unsigned block = 0; block < OWNERSHIP_BLOCKS; block++)
		cr_assert_eq(view.blocks[block].kind, OWNERSHIP_ABSENT);
	cr_assert_eq(view.node_count, 1, "its name is in use");
	cr_assert(view.nodes[0].draining);
	cr_assert_not(view.members_readable);
}

Test(agent_records, an_answer_to_something_else_is_refused_and_changes_nothing)
{
	view = (struct ownership_view){.revision = 5, .member_count = 1};
	json_t *answer = json_loads("{\"header\":{\"revision\":\"7\"},\"responses\":[{}]}", 0, NULL);
	cr_assert_eq(records_view(answer, "/p/", &view, &unreadable), -EPROTO);
	cr_assert_eq(view.revision, 5);
	cr_assert_eq(view.member_count, 1);
	json_decref(answer);
}

Test(agent_records, a_peer_is_a_line_and_what_is_none_is_left_out)
{
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	static const char key[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
	static const char good[] = "{\"version\":1,\"name\":\"a\\nb\",\"index\":7,\"networks\":[\"10.1.0.0/16\"]}";
	cr_assert_eq(agent_peers_write(file, key, good, strlen(good)), 0);
	cr_assert_eq(agent_peers_write(file, key, "{\"version\":2}", 13), -EPROTO);
	cr_assert_eq(agent_peers_write(file, key, "hello", 5), -EPROTO);
	cr_assert_eq(agent_peers_write(file, "KE\"Y", good, strlen(good)), -EPROTO);
	cr_assert_eq(agent_peers_write(file, "", good, strlen(good)), -EPROTO);
	cr_assert_eq(agent_peers_delete(file, "KEY="), -EPROTO);
	(void)fclose(file);
	cr_assert_eq(strchr(text, '\n'), text + size - 1, "one line: %s", text);
	json_t *line = json_loads(text, 0, NULL);
	cr_assert_str_eq(json_string_value(json_object_get(line, "op")), "put");
	cr_assert_str_eq(json_string_value(json_object_get(line, "key")), key);
	cr_assert_eq(json_integer_value(json_object_get(line, "index")), 7);
	cr_assert_null(json_object_get(line, "version"));
	json_decref(line);
	free(text);
}
