// SPDX-License-Identifier: Apache-2.0
/* The busiest sessions as the gateway finds them, and what shardtunctl shows of them. */
#include "core/gateway/top.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>

#include "core/cli/ctl_top.h"
#include "core/sessions/peer.h"

enum { MANY = 5000 };

static struct session *sessions; /* MANY */
static struct session_table table;
static struct peer peer = {.public_key = {1}};
static struct gateway_top *top;

static void start(uint32_t count)
{
	struct error error;
	sessions = calloc(MANY, sizeof *sessions);
	cr_assert_not_null(sessions);
	cr_assert(sodium_init() >= 0 && session_table_init(&table, MANY, 2) == 0);
	for (uint32_t i = 0; i < count; i++) {
		sessions[i].id = session_table_take(&table, i % 2);
		sessions[i].peer = &peer;
		sessions[i].born = 1000 + i;
		session_set_active(&sessions[i]);
		session_table_insert(&table, &sessions[i]);
	}
	top = gateway_top_new(&table, &error);
	cr_assert_not_null(top);
}

static void stop(void)
{
	gateway_top_free(top);
	session_table_deinit(&table);
	free(sessions);
}

/* A whole pass that begins at `now`. */
static void pass(uint64_t now)
{
	for (unsigned i = 0; i < 60; i++)
		gateway_top_step(top, now + i * NS_PER_MS);
}

static json_t *answer(enum top_order order, uint32_t count, uint64_t now)
{
	json_t *result = gateway_top_answer(top, order, count, now);
	cr_assert_not_null(result);
	return result;
}

static json_int_t number_of(const json_t *result, size_t i, const char *key)
{
	return json_integer_value(json_object_get(json_array_get(json_object_get(result, "sessions"), i), key));
}

static uint32_t id_of(const json_t *result, size_t i)
{
	const json_t *session = json_array_get(json_object_get(result, "sessions"), i);
	const char *id = json_string_value(json_object_get(session, "id"));
	return id != NULL ? (uint32_t)strtoul(id, NULL, 16) : 0;
}

static void move_bytes(struct session *session, uint64_t rx, uint64_t tx)
{
	session_count(&session->view.rx_bytes, rx);
	session_count(&session->view.tx_bytes, tx);
	session_count(&session->view.rx_packets, rx / 1000);
	session_count(&session->view.tx_packets, tx / 1000);
}

Test(gateway_top, rates_are_the_difference_of_two_looks)
{
	start(10);
	move_bytes(&sessions[3], 777777, 0); /* before the first look: no rate */
	uint64_t now = 100 * NS_PER_S;
	json_t *first = answer(TOP_BITS, 10, now);
	cr_assert(json_is_false(json_object_get(first, "ready")));
	cr_assert_eq(json_array_size(json_object_get(first, "sessions")), 0);
	json_decref(first);
	pass(now);
	move_bytes(&sessions[7], 2000000, 1000000);
	move_bytes(&sessions[2], 0, 5000);
	pass(now + 2 * NS_PER_S);

	json_t *second = answer(TOP_BITS, 10, now + 3 * NS_PER_S);
	cr_assert(json_is_true(json_object_get(second, "ready")));
	cr_assert_eq(json_integer_value(json_object_get(second, "seen")), 10);
	cr_assert_eq(id_of(second, 0), sessions[7].id);
	cr_assert_eq(id_of(second, 1), sessions[2].id);
	cr_assert_eq(number_of(second, 0, "rx_bits_per_second"), 8000000);
	cr_assert_eq(number_of(second, 0, "tx_bits_per_second"), 4000000);
	cr_assert_eq(number_of(second, 0, "rx_packets_per_second"), 1000);
	cr_assert_eq(number_of(second, 2, "rx_bits_per_second"), 0);
	json_decref(second);
	stop();
}

/* More than are kept, in an order that is not that of the slots: the first of each order are right, and in order. */
Test(gateway_top, finds_the_first_of_many_in_each_order)
{
	start(MANY);
	uint64_t now = 100 * NS_PER_S;
	json_decref(answer(TOP_BITS, 1, now));
	pass(now);
	for (uint32_t i = 0; i < MANY; i++) {
		uint64_t rank = (i * 2711ull) % MANY; /* a permutation: 2711 is prime to 5000 */
		move_bytes(&sessions[i], 10000 * rank, 10000 * (MANY - rank) / 2);
		atomic_store(&sessions[i].view.roams, (uint32_t)rank);
		atomic_store(&sessions[i].view.received, now - rank * 1000);
	}
	pass(now + NS_PER_S);
	static const struct {
		enum top_order order;
		uint32_t best; /* its rank */
		int step;
	} cases[] = {{TOP_RX, MANY - 1, -1},	{TOP_TX, 0, 1},	  {TOP_BITS, MANY - 1, -1}, {TOP_PACKETS, MANY - 1, -1},
		     {TOP_BYTES, MANY - 1, -1}, {TOP_SEEN, 0, 1}, {TOP_ROAMS, MANY - 1, -1}};
	for (size_t c = 0; c < ARRAY_SIZE(cases); c++) {
		json_t *result = answer(cases[c].order, TOP_SESSIONS, now + 2 * NS_PER_S);
		cr_assert_eq(json_array_size(json_object_get(result, "sessions")), TOP_SESSIONS);
		for (uint32_t i = 0; i < TOP_SESSIONS; i++) {
			uint32_t rank = (uint32_t)((int64_t)cases[c].best + cases[c].step * (int64_t)i);
			const struct session *found = session_table_find(&table, id_of(result, i));
			cr_assert_not_null(found);
			cr_assert_eq(((uint64_t)(found - sessions) * 2711) % MANY, rank, "case %zu, place %u", c, i);
		}
		json_decref(result);
	}
	json_t *oldest = answer(TOP_AGE, 3, now + 2 * NS_PER_S);
	cr_assert_eq(json_array_size(json_object_get(oldest, "sessions")), 3);
	cr_assert_eq(id_of(oldest, 2), sessions[2].id);
	json_decref(oldest);
	stop();
}

Test(gateway_top, a_slot_with_another_session_has_no_rate)
{
	start(4);
	uint64_t now = 100 * NS_PER_S;
	json_decref(answer(TOP_BITS, 1, now));
	move_bytes(&sessions[1], 1000, 0);
	pass(now);
	session_table_remove(&table, &sessions[1]);
	sessions[1].id += table.sharding.slot_mask + 1; /* the next generation */
	session_table_insert(&table, &sessions[1]);
	move_bytes(&sessions[1], 1000000, 0);
	pass(now + NS_PER_S);
	json_t *result = answer(TOP_BITS, 4, now + 2 * NS_PER_S);
	cr_assert_eq(json_array_size(json_object_get(result, "sessions")), 4);
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(number_of(result, i, "rx_bits_per_second"), 0);
	json_decref(result);

	/* One that ended since the pass is left out. */
	session_table_remove(&table, &sessions[0]);
	result = answer(TOP_BITS, 4, now + 2 * NS_PER_S);
	cr_assert_eq(json_array_size(json_object_get(result, "sessions")), 3);
	json_decref(result);
	stop();
}

Test(gateway_top, a_pass_takes_many_short_steps_and_ends_when_nobody_asks)
{
	start(MANY);
	uint64_t now = 100 * NS_PER_S;
	json_decref(answer(TOP_BITS, 1, now));
	for (int i = 0; i < 39; i++)
		gateway_top_step(top, now);
	json_t *result = answer(TOP_BITS, 1, now);
	cr_assert_eq(json_integer_value(json_object_get(result, "seen")), 0, "not over yet");
	json_decref(result);
	gateway_top_step(top, now);
	result = answer(TOP_BITS, 1, now);
	cr_assert_eq(json_integer_value(json_object_get(result, "seen")), MANY);
	json_decref(result);

	pass(now + NS_PER_S);
	pass(now + 12 * NS_PER_S); /* ten seconds without a request: all is given back */
	result = answer(TOP_BITS, 1, now + 13 * NS_PER_S);
	cr_assert_eq(json_integer_value(json_object_get(result, "seen")), 0);
	cr_assert(json_is_false(json_object_get(result, "ready")));
	json_decref(result);
	stop();
}

Test(gateway_top, orders_have_the_names_that_the_tool_uses)
{
	enum top_order order;
	for (unsigned i = 0; i < CTL_TOP_ORDERS; i++) {
		cr_assert(top_order_parse(ctl_top_orders[i], &order), "%s", ctl_top_orders[i]);
		cr_assert_eq(order, (enum top_order)i);
	}
	cr_assert_eq(CTL_TOP_ORDERS, TOP_ORDER_COUNT);
	cr_assert_not(top_order_parse("", &order));
}

/* --- what there is to see ----------------------------------------------------------------------------------------- */

static const char status_before[] =
	"{\"role\": \"gateway\", \"interface\": {\"name\": \"shardtun0\"}, \"uptime_seconds\": 7384,"
	" \"sessions\": {\"active\": 2, \"max\": 65536}, \"counters\": {\"udp_rx_bytes\": 0, \"udp_rx_packets\": 0},"
	" \"drops\": [{\"count\": 5}], \"threads\": [{\"name\": \"worker 0\", \"cpu\": 1, \"load\": 0.25, "
	"\"drops_uplink\": 5, \"drops_queueing\": 1, \"waiting_sessions\": 9,"
	" \"socket_wait\": {\"count\": 17, \"buckets\": [[100, 10], [5000.5, 3], [9000, 4]]},"
	" \"counters\": {\"udp_rx_packets\": 1000, \"udp_rx_bytes\": 1000000, \"sparse_packets\": 5, "
	"\"sparse_datagrams\": 2}}]}";
static const char status_now[] =
	"{\"role\": \"gateway\", \"interface\": {\"name\": \"shardtun0\"}, \"uptime_seconds\": 7386,"
	" \"sessions\": {\"active\": 2, \"max\": 65536}, \"counters\": {\"udp_rx_bytes\": 25000000, "
	"\"udp_rx_packets\": 20000},"
	" \"drops\": [{\"count\": 25}], \"threads\": [{\"name\": \"worker 0\", \"cpu\": 1, \"load\": 0.25, "
	"\"drops_uplink\": 25, \"drops_queueing\": 41, \"waiting_sessions\": 3, \"waiting_bytes\": 2048,"
	" \"socket_wait\": {\"count\": 116, \"buckets\": [[100, 10], [200, 1], [5000.5, 51], [9000, 53],"
	" [1234567, 1]]},"
	" \"ring_wait\": {\"count\": 1, \"buckets\": [[70, 1]]},"
	" \"counters\": {\"udp_rx_packets\": 21000, \"udp_rx_bytes\": 26000000, \"sparse_packets\": 20, "
	"\"sparse_datagrams\": 7}}]}";
static const char top_now[] =
	"{\"ready\": true, \"seen\": 2, \"sessions\": [{\"id\": \"0000abcd\", \"peer\": "
	"\"b0gusKeyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\","
	" \"addresses\": [\"10.8.0.2\", \"fd00:8::2\"], \"endpoint\": \"192.0.2.2:40000\", \"epoch\": 3, \"roams\": 1,"
	" \"idle_seconds\": 0, \"connected_seconds\": 4000, \"worker\": 0, \"rx_bits_per_second\": 12345678,"
	" \"tx_bits_per_second\": 0, \"rx_packets_per_second\": 1000, \"tx_packets_per_second\": 234},"
	" {\"id\": \"0000beef\", \"name\": \"laptop\\u001b[2J\", \"peer\": \"other\", \"addresses\": [\"10.8.0.3\"],"
	" \"endpoint\": null, \"idle_seconds\": null}]}";

static char *shown(struct ctl_top_view *view)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	ctl_top_write(out, view);
	fclose(out);
	return text;
}

static void expect_in(const char *text, const char *part)
{
	cr_assert_neq(strstr(text, part), NULL, "\"%s\" is missing in:\n%s", part, text);
}

static unsigned sessions_in(const char *text)
{
	return (strstr(text, " 10.8.0.2 ") != NULL ? 1u : 0) + (strstr(text, " 10.8.0.3 ") != NULL ? 1u : 0);
}

static struct ctl_top_view view_of(unsigned width)
{
	return (struct ctl_top_view){.before = {.at = NS_PER_S, .status = json_loads(status_before, 0, NULL)},
				     .now = {.at = 3 * NS_PER_S,
					     .status = json_loads(status_now, 0, NULL),
					     .top = json_loads(top_now, 0, NULL)},
				     .width = width,
				     .rows = 10};
}

static void drop(struct ctl_top_view *view)
{
	json_decref(view->before.status);
	json_decref(view->now.status);
	json_decref(view->now.top);
}

Test(ctl_top, shows_rates_between_two_answers)
{
	struct ctl_top_view view = view_of(200);
	char *text = shown(&view);
	expect_in(text, "shardtun0 gateway, up 2 h 3 min; sessions 2 of 65536\n");
	expect_in(text, "received 100 M bit/s, 10.0 k packets/s; sent - bit/s, - packets/s; drops/s 10\n");
	expect_in(text, "worker 0         1   25%   10.0 k    100 M        -        -        -        -      10\n");
	expect_in(text, "b0gusKeyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
	expect_in(text, "192.0.2.2:40000");
	expect_in(text, "12.3 M");
	expect_in(text, "1234");
	expect_in(text, "1 h");
	expect_in(text, "laptop\\x1b[2J"); /* what a name holds cannot move the cursor */
	free(text);
	drop(&view);
}

/* Of 99 waits between the two answers 49 are of 200 ns or 5 us, 49 of 9 us and one of 1.2 ms. */
Test(ctl_top, shows_the_queues_of_each_worker)
{
	struct ctl_top_view view = view_of(79);
	char *text = shown(&view);
	expect_in(text, "queues     sock p50 sock p99 ring p50 ring p99 sparse/s shaped    bytes drops/s\n");
	expect_in(text, "worker 0     9.0 us   1.2 ms    70 ns    70 ns       10      3 2.00 KiB      20\n");
	cr_expect_eq(ctl_top_queue_lines(view.now.status), 3);
	free(text);
	view.brief = true;
	text = shown(&view);
	cr_expect_null(strstr(text, "queues"));
	free(text);
	/* The first answer: all since the start. */
	view.brief = false;
	json_decref(view.before.status);
	view.before = (struct ctl_top_sample){0};
	text = shown(&view);
	expect_in(text, "worker 0     5.0 us   9.0 us    70 ns    70 ns        -      3 2.00 KiB       -\n");
	free(text);
	drop(&view);
}

Test(ctl_top, no_line_is_wider_than_the_terminal)
{
	for (unsigned width = 40; width < 220; width++) {
		struct ctl_top_view view = view_of(width);
		char *text = shown(&view), *rest = text, *line;
		while ((line = strsep(&rest, "\n")) != NULL) {
			size_t length = strlen(line) - (line[0] == CTL_TOP_HEADING ? 1 : 0);
			cr_assert(length <= width, "%zu of %u columns: %s", length, width, line);
		}
		free(text);
		/* Name and rate stand first. */
		text = shown(&view);
		expect_in(text, "b0gusKeyAA");
		if (width >= 60)
			expect_in(text, "12.3 M");
		free(text);
		drop(&view);
	}
}

Test(ctl_top, filter_looks_at_what_is_known_of_a_client)
{
	static const struct {
		const char *filter;
		unsigned matches;
	} cases[] = {{"", 2},	   {"LAPTOP", 1}, {"10.8.0.", 2},   {"fd00", 1},
		     {"b0gus", 1}, {"beef", 1},	  {"192.0.2.2", 1}, {"no", 0}};
	struct ctl_top_view view = view_of(200);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(view.filter, sizeof view.filter, "%s", cases[i].filter);
		char *text = shown(&view);
		cr_assert_eq(sessions_in(text), cases[i].matches, "%s: %s", cases[i].filter, text);
		free(text);
	}
	drop(&view);
}

Test(ctl_top, a_client_has_threads_only_and_nothing_is_needed)
{
	struct ctl_top_view view = {.width = 80, .rows = 5, .now = {.at = 1, .status = json_loads("{}", 0, NULL)}};
	char *text = shown(&view);
	expect_in(text, "thread");
	cr_assert_null(strstr(text, "endpoint"));
	free(text);
	drop(&view);
}
