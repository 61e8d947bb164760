// SPDX-License-Identifier: Apache-2.0
/* The client of etcd's JSON gateway against a server that stands for it: what is sent, what is made of the answers, and
 * what happens when an endpoint fails. */
#include "core/agent/etcd.h"

#include <criterion/criterion.h>

#include "tests/unit/etcd_stand_in.h"

TestSuite(etcd, .timeout = 120);

enum { GUARD_MS = 60000 };

/* What the last function call of a request left. */
static struct {
	unsigned calls;
	int code;
	bool unknown;
	unsigned grpc;
	char text[512];
	uint64_t revision;
	json_t *body;
} result;

static void take(void *context, const struct etcd_answer *answer)
{
	(void)context;
	result.calls++;
	result.code = answer->code;
	result.unknown = answer->unknown;
	result.grpc = answer->grpc;
	result.revision = answer->revision;
	(void)snprintf(result.text, sizeof result.text, "%s", answer->text != NULL ? answer->text : "");
	json_decref(result.body);
	result.body = answer->body != NULL ? json_incref(answer->body) : NULL;
}

static struct etcd *client(const char *first, const char *second)
{
	struct error error = {0};
	const struct etcd_params params = {
		.endpoints = {first, second}, .endpoint_count = second != NULL ? 2 : 1, .clock = &clock_system};
	struct etcd *etcd = etcd_new(&params, &error);
	cr_assert_not_null(etcd, "%s", error.text);
	return etcd;
}

static uint64_t failures(const struct etcd *etcd)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < ETCD_FAILURES; i++)
		sum += etcd_counters(etcd)->failures[i];
	return sum;
}

static void run_until_answered(struct etcd *etcd)
{
	uint64_t end = clock_monotonic(&clock_system) + GUARD_MS * NS_PER_MS;
	result.calls = 0;
	while (result.calls == 0 && clock_monotonic(&clock_system) < end)
		cr_assert_eq(etcd_run(etcd, NULL, 0, 20), 0);
	cr_assert_eq(result.calls, 1);
}

static void read_all(struct etcd *etcd, unsigned try_ms, unsigned limit_ms)
{
	const struct etcd_range range = {.key = "/a/", .prefix = true, .limit = 2};
	cr_assert_eq(etcd_range(etcd, &range, try_ms, limit_ms, take, NULL), 0);
	run_until_answered(etcd);
}

static const char *sent_text(json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

/* --- bodies ------------------------------------------------------------------------------------------------------- */

Test(etcd, a_range_is_base64_and_numbers_are_strings)
{
	json_t *body = etcd_range_body(
		&(struct etcd_range){.key = "/a/", .prefix = true, .limit = 2, .revision = 1ull << 60});
	cr_assert_str_eq(sent_text(body, "key"), "L2Ev");
	cr_assert_str_eq(sent_text(body, "range_end"), "L2Ew");
	cr_assert_str_eq(sent_text(body, "limit"), "2");
	cr_assert_str_eq(sent_text(body, "revision"), "1152921504606846976");
	json_decref(body);
	/* The next page begins behind the last key of the one before. */
	body = etcd_range_body(&(struct etcd_range){.key = "/a/", .prefix = true, .after = "/a/x"});
	cr_assert_str_eq(sent_text(body, "key"), "L2EveAA=");
	cr_assert_null(sent_text(body, "limit"));
	json_decref(body);
	body = etcd_range_body(&(struct etcd_range){.key = "/a/x"});
	cr_assert_null(sent_text(body, "range_end"));
	json_decref(body);
}

Test(etcd, a_transaction_has_at_most_128_operations)
{
	struct etcd_txn txn;
	json_t *body;
	etcd_txn_begin(&txn);
	for (int i = 0; i < ETCD_TXN_MAX; i++)
		etcd_txn_put(&txn, "/a", "b", 7);
	cr_assert_eq(etcd_txn_body(&txn, &body), 0);
	cr_assert_eq(json_array_size(json_object_get(body, "success")), ETCD_TXN_MAX);
	json_decref(body);
	etcd_txn_begin(&txn);
	for (int i = 0; i <= ETCD_TXN_MAX; i++)
		etcd_txn_put(&txn, "/a", "b", 7);
	cr_assert_eq(etcd_txn_body(&txn, &body), -E2BIG);
	cr_assert_null(body);
}

Test(etcd, a_transaction_compares_revisions_and_puts)
{
	struct etcd_txn txn;
	json_t *body;
	etcd_txn_begin(&txn);
	etcd_txn_absent(&txn, "/a");
	etcd_txn_unchanged(&txn, "/b", 12);
	etcd_txn_put(&txn, "/a", "b", 77);
	etcd_txn_delete(&txn, "/b");
	cr_assert_eq(etcd_txn_body(&txn, &body), 0);
	json_t *first = json_array_get(json_object_get(body, "compare"), 0);
	json_t *second = json_array_get(json_object_get(body, "compare"), 1);
	cr_assert_str_eq(sent_text(first, "target"), "CREATE");
	cr_assert_str_eq(sent_text(first, "create_revision"), "0");
	cr_assert_str_eq(sent_text(second, "target"), "MOD");
	cr_assert_str_eq(sent_text(second, "mod_revision"), "12");
	json_t *put = json_object_get(json_array_get(json_object_get(body, "success"), 0), "request_put");
	cr_assert_str_eq(sent_text(put, "value"), "Yg==");
	cr_assert_str_eq(sent_text(put, "lease"), "77");
	json_decref(body);
}

Test(etcd, a_key_and_value_may_have_zero_bytes_and_zero_fields_are_left_out)
{
	struct etcd_kv kv;
	json_t *object = json_pack("{s:s, s:s}", "key", "YQBi", "mod_revision", "18446744073709551615");
	cr_assert_eq(etcd_kv_read(object, &kv), 0);
	cr_assert_eq(kv.key_length, 3);
	cr_assert_eq(memcmp(kv.key, "a\0b", 4), 0);
	cr_assert_eq(kv.value_length, 0);
	cr_assert_str_eq(kv.value, "");
	cr_assert_eq(kv.mod_revision, UINT64_MAX);
	cr_assert_eq(kv.lease, 0);
	etcd_kv_free(&kv);
	json_decref(object);
	static const char *const bad[] = {"{\"key\":\"***\"}", "{}", "{\"key\":7}", "{\"key\":\"YQ==\",\"value\":[]}",
					  "[]"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		object = json_loads(bad[i], 0, NULL);
		cr_assert_eq(etcd_kv_read(object, &kv), -EPROTO, "%s", bad[i]);
		json_decref(object);
	}
}

Test(etcd, no_succeeded_is_false_and_no_ttl_is_zero)
{
	json_t *body = json_loads("{\"header\":{\"revision\":\"9\"}}", 0, NULL);
	cr_assert_not(etcd_txn_succeeded(body));
	cr_assert_eq(etcd_number(body, "TTL"), 0);
	cr_assert_eq(etcd_revision(body), 9);
	cr_assert_null(etcd_range_kvs(body));
	json_decref(body);
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static const char two_keys[] = "{\"header\":{\"revision\":\"41\"},\"kvs\":[{\"key\":\"L2EvMQ==\",\"value\":\"eA==\","
			       "\"mod_revision\":\"40\"},{\"key\":\"L2EvMg==\"}],\"more\":true,\"count\":\"5\"}";

static void reply_keys(struct stand_in *server, const char *path, json_t *request, const char *token,
		       struct stand_in_reply *reply)
{
	(void)server, (void)token;
	reply->text = strdup(strcmp(path, "/v3/kv/range") == 0 && sent_text(request, "key") != NULL ? two_keys : "{}");
}

static void reply_unavailable(struct stand_in *server, const char *path, json_t *request, const char *token,
			      struct stand_in_reply *reply)
{
	(void)server, (void)path, (void)request, (void)token;
	reply->status = 503;
	reply->text = strdup("{\"error\":\"etcdserver: no leader\",\"message\":\"etcdserver: no leader\",\"code\":14}");
}

static void reply_late(struct stand_in *server, const char *path, json_t *request, const char *token,
		       struct stand_in_reply *reply)
{
	(void)server, (void)path, (void)request, (void)token;
	reply->wait = 5000;
	reply->text = strdup(two_keys);
}

static void reply_nothing(struct stand_in *server, const char *path, json_t *request, const char *token,
			  struct stand_in_reply *reply)
{
	(void)server, (void)path, (void)request, (void)token, (void)reply;
}

static void reply_refused(struct stand_in *server, const char *path, json_t *request, const char *token,
			  struct stand_in_reply *reply)
{
	(void)server, (void)path, (void)request, (void)token;
	reply->status = 404;
	reply->text = strdup("{\"error\":\"etcdserver: requested lease not found\",\"code\":5}");
}

static void reply_garbage(struct stand_in *server, const char *path, json_t *request, const char *token,
			  struct stand_in_reply *reply)
{
	(void)server, (void)path, (void)request, (void)token;
	reply->text = strdup("<html>");
}

Test(etcd, a_range_is_read)
{
	struct stand_in server = {0};
	stand_in_start(&server, reply_keys, NULL);
	struct etcd *etcd = client(server.url, NULL);
	read_all(etcd, 0, GUARD_MS);
	cr_assert_eq(result.code, 0, "%s", result.text);
	cr_assert_eq(result.revision, 41);
	struct etcd_kv kv;
	cr_assert_eq(etcd_kv_read(json_array_get(etcd_range_kvs(result.body), 0), &kv), 0);
	cr_assert_str_eq(kv.key, "/a/1");
	cr_assert_str_eq(kv.value, "x");
	cr_assert_eq(kv.mod_revision, 40);
	etcd_kv_free(&kv);
	cr_assert_eq(etcd_counters(etcd)->requests, 1);
	cr_assert_eq(failures(etcd), 0);
	cr_assert_gt(etcd_counters(etcd)->latency_sum, 0);
	json_decref(result.body);
	etcd_free(etcd);
	stand_in_stop(&server);
}

/* One that refuses, has no leader, does not answer in time, closes, or is something else: the next has its turn. */
static void check_second(stand_in_fn *first)
{
	struct stand_in bad = {0}, good = {0};
	stand_in_start(&good, reply_keys, NULL);
	if (first != NULL)
		stand_in_start(&bad, first, NULL);
	struct etcd *etcd = client(first != NULL ? bad.url : "http://127.0.0.1:1", good.url);
	read_all(etcd, 1000, GUARD_MS);
	cr_assert_eq(result.code, 0, "%s", result.text);
	cr_assert_eq(result.revision, 41);
	cr_assert_eq(failures(etcd), 1);
	cr_assert_eq(etcd_counters(etcd)->moves, 1);
	read_all(etcd, 1000, GUARD_MS);
	cr_assert_eq(failures(etcd), 1, "it stays with the one that answers");
	json_decref(result.body);
	etcd_free(etcd);
	if (first != NULL)
		stand_in_stop(&bad);
	stand_in_stop(&good);
}

Test(etcd, an_endpoint_that_refuses_is_left)
{
	check_second(NULL);
}

Test(etcd, an_endpoint_without_a_leader_is_left)
{
	check_second(reply_unavailable);
}

Test(etcd, an_endpoint_that_is_late_is_left)
{
	check_second(reply_late);
}

Test(etcd, an_endpoint_that_closes_is_left)
{
	check_second(reply_nothing);
}

Test(etcd, an_endpoint_that_is_no_etcd_is_left)
{
	check_second(reply_garbage);
}

static void put_one(struct etcd *etcd, unsigned limit_ms)
{
	struct etcd_txn txn;
	etcd_txn_begin(&txn);
	etcd_txn_put(&txn, "/a", "b", 0);
	cr_assert_eq(etcd_txn(etcd, &txn, false, limit_ms, take, NULL), 0);
	run_until_answered(etcd);
}

Test(etcd, what_may_have_been_written_is_not_written_again)
{
	struct stand_in bad = {0}, good = {0};
	stand_in_start(&bad, reply_nothing, NULL);
	stand_in_start(&good, reply_keys, NULL);
	struct etcd *etcd = client(bad.url, good.url);
	put_one(etcd, GUARD_MS);
	cr_assert_neq(result.code, 0);
	cr_assert(result.unknown);
	cr_assert_eq(atomic_load(&good.requests), 0);
	etcd_free(etcd);
	/* A refused connection has written nothing. */
	etcd = client("http://127.0.0.1:1", good.url);
	put_one(etcd, GUARD_MS);
	cr_assert_eq(result.code, 0, "%s", result.text);
	json_decref(result.body);
	etcd_free(etcd);
	stand_in_stop(&bad);
	stand_in_stop(&good);
}

Test(etcd, what_etcd_refuses_is_an_error_with_its_text)
{
	struct stand_in server = {0};
	stand_in_start(&server, reply_refused, NULL);
	struct etcd *etcd = client(server.url, NULL);
	put_one(etcd, GUARD_MS);
	cr_assert_eq(result.code, -EREMOTEIO);
	cr_assert_eq(result.grpc, 5);
	cr_assert_not(result.unknown);
	cr_assert_not_null(strstr(result.text, "requested lease not found"), "%s", result.text);
	json_decref(result.body);
	etcd_free(etcd);
	stand_in_stop(&server);
}

Test(etcd, without_any_endpoint_a_request_ends_in_time)
{
	struct etcd *etcd = client("http://127.0.0.1:1", "http://127.0.0.1:2");
	read_all(etcd, 0, 300);
	cr_assert_neq(result.code, 0);
	cr_assert_not(result.unknown);
	cr_assert_gt(failures(etcd), 2, "both were tried again");
	etcd_free(etcd);
}

Test(etcd, the_end_of_the_client_ends_its_requests)
{
	struct stand_in server = {0};
	stand_in_start(&server, reply_late, NULL);
	struct etcd *etcd = client(server.url, NULL);
	const struct etcd_range range = {.key = "/a"};
	cr_assert_eq(etcd_range(etcd, &range, 0, GUARD_MS, take, NULL), 0);
	cr_assert_eq(etcd_run(etcd, NULL, 0, 1), 0);
	result.calls = 0;
	etcd_free(etcd);
	cr_assert_eq(result.calls, 1);
	cr_assert_eq(result.code, -ECANCELED);
	stand_in_stop(&server);
}

Test(etcd, a_file_of_tls_that_is_not_there_is_named)
{
	struct error error = {0};
	const struct etcd_params params = {.endpoints = {"https://127.0.0.1:1"},
					   .endpoint_count = 1,
					   .ca = "/nonexistent/ca.pem",
					   .clock = &clock_system};
	cr_assert_null(etcd_new(&params, &error));
	cr_assert_not_null(strstr(error.text, "/nonexistent/ca.pem"), "%s", error.text);
}

/* --- user and password -------------------------------------------------------------------------------------------- */

/* Tokens are "t1", "t2", ..; the state is the number of the one that is good. */
static void reply_with_token(struct stand_in *server, const char *path, json_t *request, const char *token,
			     struct stand_in_reply *reply)
{
	atomic_uint *good = server->state;
	char expected[16];
	(void)snprintf(expected, sizeof expected, "t%u", atomic_load(good));
	if (strcmp(path, "/v3/auth/authenticate") == 0) {
		const char *password = sent_text(request, "password");
		if (password == NULL || strcmp(password, "secret") != 0) {
			reply->status = 400;
			reply->text = strdup("{\"error\":\"etcdserver: authentication failed\",\"code\":3}");
		} else if (asprintf(&reply->text, "{\"header\":{},\"token\":\"%s\"}", expected) < 0) {
			reply->text = NULL;
		}
	} else if (token == NULL || strcmp(token, expected) != 0) {
		reply->status = 401;
		reply->text = strdup("{\"error\":\"etcdserver: invalid auth token\",\"code\":16}");
	} else {
		reply->text = strdup(two_keys);
	}
}

static struct etcd *client_with_password(const char *url, const char *password)
{
	struct error error = {0};
	const struct etcd_params params = {
		.endpoints = {url}, .endpoint_count = 1, .user = "agent", .password = password, .clock = &clock_system};
	struct etcd *etcd = etcd_new(&params, &error);
	cr_assert_not_null(etcd, "%s", error.text);
	return etcd;
}

Test(etcd, a_token_is_fetched_and_fetched_again_when_it_has_expired)
{
	struct stand_in server = {0};
	atomic_uint good = 1;
	stand_in_start(&server, reply_with_token, &good);
	struct etcd *etcd = client_with_password(server.url, "secret");
	read_all(etcd, 0, GUARD_MS);
	cr_assert_eq(result.code, 0, "%s", result.text);
	cr_assert_eq(atomic_load(&server.requests), 2);
	read_all(etcd, 0, GUARD_MS);
	cr_assert_eq(atomic_load(&server.requests), 3, "the token is used again");
	atomic_store(&good, 2);
	read_all(etcd, 0, GUARD_MS);
	cr_assert_eq(result.code, 0, "%s", result.text);
	cr_assert_eq(atomic_load(&server.requests), 6);
	json_decref(result.body);
	etcd_free(etcd);
	stand_in_stop(&server);
}

Test(etcd, a_wrong_password_is_an_error)
{
	struct stand_in server = {0};
	atomic_uint good = 1;
	stand_in_start(&server, reply_with_token, &good);
	struct etcd *etcd = client_with_password(server.url, "wrong");
	read_all(etcd, 0, GUARD_MS);
	cr_assert_neq(result.code, 0);
	cr_assert_not_null(strstr(result.text, "user \"agent\""), "%s", result.text);
	cr_assert_not_null(strstr(result.text, "authentication failed"), "%s", result.text);
	cr_assert_null(strstr(result.text, "wrong"));
	etcd_free(etcd);
	stand_in_stop(&server);
}

/* --- watches ------------------------------------------------------------------------------------------------------ */

static struct {
	char text[1024]; /* what was reported, in short */
	size_t length;
	bool over;
	struct etcd_watch *watch;
	bool stop_at_first;
} seen;

static void see(void *context, const struct etcd_event *event)
{
	static const char *const names[] = {"watching", "put", "delete", "seen", "compacted", "lost"};
	(void)context;
	seen.length += (size_t)snprintf(seen.text + seen.length, sizeof seen.text - seen.length, "%s %s%s%llu;",
					names[event->kind], event->kv != NULL ? event->kv->key : "",
					event->kv != NULL ? " " : "", (unsigned long long)event->revision);
	seen.over = event->kind == ETCD_COMPACTED || event->kind == ETCD_LOST;
	if (seen.stop_at_first && event->kind == ETCD_PUT) {
		etcd_watch_stop(seen.watch);
		seen.watch = NULL;
		seen.over = true;
	}
}

static void reply_watch(struct stand_in *server, const char *path, json_t *request, const char *token,
			struct stand_in_reply *reply)
{
	json_t *create = json_object_get(request, "create_request");
	const char *from = sent_text(create, "start_revision");
	(void)path, (void)token;
	if (from == NULL || strcmp(from, "30") != 0)
		return;
	reply->text = strdup(server->state);
	reply->stays = true;
}

static void watch_until_over(struct etcd *etcd)
{
	uint64_t end = clock_monotonic(&clock_system) + GUARD_MS * NS_PER_MS;
	while (!seen.over && clock_monotonic(&clock_system) < end)
		cr_assert_eq(etcd_run(etcd, NULL, 0, 20), 0);
	cr_assert(seen.over);
}

static void check_watch(const char *lines, const char *expected)
{
	struct stand_in server = {0};
	stand_in_start(&server, reply_watch, (void *)(uintptr_t)lines);
	struct etcd *etcd = client(server.url, NULL);
	seen.watch = etcd_watch_start(etcd, "/a/", 30, see, NULL);
	cr_assert_not_null(seen.watch);
	watch_until_over(etcd);
	cr_assert_str_eq(seen.text, expected);
	etcd_watch_stop(seen.watch);
	etcd_free(etcd);
	stand_in_stop(&server);
}

#define CREATED "{\"result\":{\"header\":{\"revision\":\"41\"},\"created\":true}}\n"
#define CHANGES                                                                                                     \
	"{\"result\":{\"header\":{\"revision\":\"43\"},\"events\":[{\"kv\":{\"key\":\"L2EvMQ==\",\"mod_revision\":" \
	"\"42\"}},"                                                                                                 \
	"{\"type\":\"DELETE\",\"kv\":{\"key\":\"L2EvMg==\",\"mod_revision\":\"43\"}}]}}\n"

Test(etcd, a_watch_reports_changes_and_a_compaction)
{
	check_watch(CREATED CHANGES "{\"result\":{\"header\":{},\"canceled\":true,\"compact_revision\":\"90\"}}\n",
		    "watching 41;put /a/1 42;delete /a/2 43;seen 43;compacted 90;");
}

/* The header has the store's revision of now, also where etcd catches up in batches: what comes in the next ones is not
 * seen yet. */
Test(etcd, a_watch_that_was_late_has_seen_what_it_was_sent)
{
	check_watch(CREATED "{\"result\":{\"header\":{\"revision\":\"5000\"},\"events\":[{\"kv\":{\"key\":\"L2EvMQ==\","
			    "\"mod_revision\":\"42\"}}]}}\n"
			    "{\"result\":{\"header\":{\"revision\":\"5000\"},\"events\":[{\"kv\":{\"key\":\"L2EvMQ==\","
			    "\"mod_revision\":\"43\"}}]}}\n"
			    "{\"result\":{\"header\":{},\"canceled\":true,\"compact_revision\":\"90\"}}\n",
		    "watching 41;put /a/1 42;seen 42;put /a/1 43;seen 43;compacted 90;");
}

Test(etcd, a_watch_that_etcd_ends_is_lost)
{
	check_watch(CREATED "{\"error\":{\"grpc_code\":14,\"message\":\"no leader\"}}\n", "watching 41;lost 0;");
}

Test(etcd, a_watch_of_garbage_is_lost)
{
	check_watch(CREATED "hello\n", "watching 41;lost 0;");
}

Test(etcd, a_watch_can_be_stopped_within_its_function)
{
	seen.stop_at_first = true;
	check_watch(CREATED CHANGES, "watching 41;put /a/1 42;");
}

Test(etcd, a_watch_without_an_endpoint_is_lost)
{
	struct etcd *etcd = client("http://127.0.0.1:1", NULL);
	seen.watch = etcd_watch_start(etcd, "/a/", 30, see, NULL);
	watch_until_over(etcd);
	cr_assert_str_eq(seen.text, "lost 0;");
	etcd_watch_stop(seen.watch);
	etcd_free(etcd);
}

/* A watch, and ranges that fail while `state` says so. */
static void reply_watch_and_some(struct stand_in *server, const char *path, json_t *request, const char *token,
				 struct stand_in_reply *reply)
{
	(void)request, (void)token;
	reply->stays = strcmp(path, "/v3/watch") == 0;
	if (reply->stays || !atomic_load((atomic_bool *)server->state))
		reply->text = strdup(reply->stays ? CREATED : two_keys);
}

static void watch_until_it_stands(struct etcd *etcd)
{
	seen.length = 0;
	seen.text[0] = '\0';
	seen.watch = etcd_watch_start(etcd, "/a/", 30, see, NULL);
	uint64_t end = clock_monotonic(&clock_system) + GUARD_MS * NS_PER_MS;
	while (seen.length == 0 && clock_monotonic(&clock_system) < end)
		cr_assert_eq(etcd_run(etcd, NULL, 0, 20), 0);
	cr_assert_str_eq(seen.text, "watching 41;");
}

Test(etcd, a_watch_is_in_doubt_once_its_endpoint_has_failed)
{
	struct stand_in server = {0};
	atomic_bool fails = false;
	stand_in_start(&server, reply_watch_and_some, &fails);
	struct etcd *etcd = client(server.url, NULL);
	watch_until_it_stands(etcd);
	read_all(etcd, 0, GUARD_MS);
	cr_assert_not(etcd_watch_in_doubt(seen.watch));
	atomic_store(&fails, true);
	read_all(etcd, 0, 50);
	cr_assert_neq(result.code, 0);
	atomic_store(&fails, false);
	read_all(etcd, 0, GUARD_MS);
	cr_assert_eq(result.code, 0, "%s", result.text);
	cr_assert(etcd_watch_in_doubt(seen.watch), "an answer to another request says nothing about it");
	etcd_watch_stop(seen.watch);
	watch_until_it_stands(etcd);
	cr_assert_not(etcd_watch_in_doubt(seen.watch));
	etcd_watch_stop(seen.watch);
	json_decref(result.body);
	etcd_free(etcd);
	stand_in_stop(&server);
}
