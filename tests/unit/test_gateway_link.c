// SPDX-License-Identifier: Apache-2.0
/* Requests of the agent to the gateway's control socket: answered, declined, late, and to no gateway. */
#include "core/agent/gateway_link.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/control/control.h"
#include "core/control/listener.h"

TestSuite(gateway_link, .timeout = 120);

enum { GUARD = 2000 /* rounds of 10 ms */, LIMIT_MS = 60000 };

static char directory[] = "/tmp/shardtun-link-XXXXXX", path[64];
static struct control_listener listener;
static struct control *control;
static uint64_t now = NS_PER_S;

static uint64_t time_now(const struct clock *clock)
{
	(void)clock;
	return now;
}

static const struct clock test_clock = {.monotonic = time_now, .wall = time_now};

static json_t *answer_it(void *context, char *const *arguments, size_t count, struct error *error)
{
	(void)context;
	if (count == 1 && strcmp(arguments[0], "wrong") == 0) {
		error_set(error, -EINVAL, "that is wrong");
		return NULL;
	}
	return json_pack("{s:i}", "arguments", (int)count);
}

static const struct control_command commands[] = {{"cluster-own", "for the test", answer_it}};

static void serve(void)
{
	struct error error = {0};
	cr_assert_not_null(mkdtemp(directory));
	(void)snprintf(path, sizeof path, "%s/gateway.sock", directory);
	cr_assert_eq(control_listener_open(&listener, path, &error), 0, "%s", error.text);
	const struct control_params params = {
		.listener = &listener, .commands = commands, .command_count = 1, .clock = &clock_system};
	control = control_new(&params, &error);
	cr_assert_not_null(control, "%s", error.text);
}

static void finish(struct gateway_link *link)
{
	gateway_link_free(link);
	control_free(control);
	control_listener_close(&listener);
	rmdir(directory);
}

static struct gateway_link *new_link(const char *socket)
{
	struct error error = {0};
	struct gateway_link *link = gateway_link_new(socket, &test_clock, &error);
	cr_assert_not_null(link, "%s", error.text);
	return link;
}

static struct {
	unsigned calls;
	enum ownership_answer answer;
	int arguments;
	char text[256];
} result;

static void take(void *context, enum ownership_answer answer, json_t *object, const char *text)
{
	(void)context;
	result.calls++;
	result.answer = answer;
	result.arguments = (int)json_integer_value(json_object_get(object, "arguments"));
	(void)snprintf(result.text, sizeof result.text, "%s", text != NULL ? text : "");
}

static void send_and_wait(struct gateway_link *link, const char *request, bool gateway_runs)
{
	gateway_link_send(link, request, LIMIT_MS, take, NULL);
	cr_assert(gateway_link_busy(link));
	result.calls = 0;
	for (int round = 0; round < GUARD && result.calls == 0; round++) {
		struct pollfd polled;
		if (gateway_link_poll(link, &polled))
			poll(&polled, 1, 10);
		if (gateway_runs)
			control_poll(control);
		gateway_link_run(link);
	}
	cr_assert_eq(result.calls, 1);
	cr_assert_not(gateway_link_busy(link));
}

Test(gateway_link, a_request_is_answered_and_the_next_one_too)
{
	serve();
	struct gateway_link *link = new_link(path);
	send_and_wait(link, "cluster-own 7 1,2,3", true);
	cr_assert_eq(result.answer, OWNERSHIP_ANSWERED);
	cr_assert_eq(result.arguments, 2);
	send_and_wait(link, "cluster-own 8", true);
	cr_assert_eq(result.arguments, 1);
	finish(link);
}

Test(gateway_link, what_the_gateway_declines_has_its_text)
{
	serve();
	struct gateway_link *link = new_link(path);
	send_and_wait(link, "cluster-own wrong", true);
	cr_assert_eq(result.answer, OWNERSHIP_DECLINED);
	cr_assert_not_null(strstr(result.text, "that is wrong"), "%s", result.text);
	finish(link);
}

Test(gateway_link, without_a_gateway_that_is_known_at_once)
{
	serve();
	char other[80];
	(void)snprintf(other, sizeof other, "%s.not", path);
	struct gateway_link *link = new_link(other);
	send_and_wait(link, "cluster-own 7", false);
	cr_assert_eq(result.answer, OWNERSHIP_NO_GATEWAY);
	/* A file without a listener, as a killed gateway leaves it. */
	gateway_link_free(link);
	link = new_link(path);
	close(listener.fd);
	listener.fd = -1;
	send_and_wait(link, "cluster-own 7", false);
	cr_assert_eq(result.answer, OWNERSHIP_NO_GATEWAY);
	unlink(path);
	finish(link);
}

Test(gateway_link, a_gateway_that_hangs_is_late_but_may_still_act)
{
	serve();
	struct gateway_link *link = new_link(path);
	gateway_link_send(link, "cluster-own 7", LIMIT_MS, take, NULL);
	result.calls = 0;
	gateway_link_run(link);
	cr_assert_eq(result.calls, 0);
	cr_assert_eq(gateway_link_deadline(link), now + LIMIT_MS * NS_PER_MS);
	now += LIMIT_MS * NS_PER_MS;
	gateway_link_run(link);
	cr_assert_eq(result.calls, 1);
	cr_assert_eq(result.answer, OWNERSHIP_UNANSWERED);
	finish(link);
}
