// SPDX-License-Identifier: Apache-2.0
/* A request to libnftables' process and its answer, while the test is that process: whole, in pieces, late, never. */
#include "tun/nftables_exchange.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int ends[2]; /* the caller's, the process's */
static struct nftables_exchange exchange;

static void begin(void)
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
}

static void end(void)
{
	nftables_exchange_end(&exchange);
	close(ends[0]);
	close(ends[1]);
}

TestSuite(nftables_exchange, .init = begin, .fini = end, .timeout = 60);

static struct nftables_request request_for(const char *payload)
{
	return (struct nftables_request){
		.operation = NFTABLES_LAY, .name = "table", .length = (uint32_t)strlen(payload)};
}

static void ask(const char *payload)
{
	const struct nftables_request request = request_for(payload);
	cr_assert_eq(nftables_exchange_begin(&exchange, &request, payload), 0);
}

static int step(int wait_ms)
{
	return nftables_exchange_step(&exchange, ends[0], wait_ms);
}

static void answer(int code, const char *text)
{
	const struct nftables_answer head = {.code = code, .length = (uint32_t)strlen(text)};
	cr_assert(nftables_send(ends[1], &head, sizeof head) && nftables_send(ends[1], text, strlen(text)));
}

Test(nftables_exchange, nobody_is_waited_for)
{
	struct nftables_request got;
	char payload[16];
	ask("flush table");
	cr_assert_eq(step(0), 0);
	cr_assert_eq(step(20), 0, "for a while");
	cr_assert(nftables_receive(ends[1], &got, sizeof got) && nftables_receive(ends[1], payload, got.length));
	cr_assert(got.operation == NFTABLES_LAY && got.length == 11 && memcmp(payload, "flush table", 11) == 0);
	cr_assert_eq(step(0), 0);
	answer(-7, "why");
	cr_assert_eq(step(0), 1);
	cr_assert(exchange.answer.code == -7 && strcmp(exchange.text, "why") == 0);
	cr_assert_eq(step(0), 1, "it stays answered");
	cr_assert_not(nftables_exchange_is_old(&exchange));
}

Test(nftables_exchange, is_the_same_only_for_the_same_request)
{
	ask("one");
	struct nftables_request request = request_for("one");
	cr_assert(nftables_exchange_is(&exchange, &request, "one"));
	cr_assert_not(nftables_exchange_is(&exchange, &request, "two"));
	request.family = NFTABLES_NETDEV;
	cr_assert_not(nftables_exchange_is(&exchange, &request, "one"));
	request = request_for("one");
	request.operation = NFTABLES_REMOVE;
	cr_assert_not(nftables_exchange_is(&exchange, &request, "one"));
	nftables_exchange_end(&exchange);
	request = request_for("one");
	cr_assert_not(nftables_exchange_is(&exchange, &request, "one"));
}

/* More than the socket takes, read byte by byte at first, and an answer in pieces. */
Test(nftables_exchange, passes_in_pieces)
{
	enum { LONG = 4 * 1048576 };
	char *payload = malloc(LONG + 1), *got = malloc(LONG);
	struct nftables_request request;
	memset(payload, 'x', LONG);
	payload[LONG] = '\0';
	ask(payload);
	cr_assert_eq(step(0), 0);
	cr_assert_lt(exchange.sent, (size_t)LONG, "the process has read nothing yet");
	cr_assert(nftables_receive(ends[1], &request, sizeof request));
	for (size_t at = 0; at < LONG;) {
		ssize_t part = recv(ends[1], got + at, at < 10 ? 1 : LONG - at, MSG_DONTWAIT);
		at += part > 0 ? (size_t)part : 0;
		cr_assert_eq(step(0), 0);
	}
	cr_assert_arr_eq(got, payload, LONG);
	const struct nftables_answer head = {.code = 1, .length = 3};
	for (size_t i = 0; i < sizeof head; i++) {
		cr_assert_eq(step(0), 0);
		cr_assert(nftables_send(ends[1], (const char *)&head + i, 1));
	}
	cr_assert_eq(step(0), 0);
	cr_assert(nftables_send(ends[1], "ye", 2));
	cr_assert_eq(step(0), 0);
	cr_assert(nftables_send(ends[1], "s", 1));
	cr_assert_eq(step(0), 1);
	cr_assert_str_eq(exchange.text, "yes");
	free(payload);
	free(got);
}

Test(nftables_exchange, an_empty_answer_is_one)
{
	ask("");
	cr_assert_eq(step(0), 0);
	answer(0, "");
	cr_assert_eq(step(0), 1);
	cr_assert_str_eq(exchange.text, "");
}

Test(nftables_exchange, a_process_that_ended_is_seen)
{
	ask("one");
	cr_assert_eq(step(0), 0);
	shutdown(ends[1], SHUT_RDWR);
	cr_assert_eq(step(60000), -EPIPE);
	nftables_exchange_end(&exchange);
	ask("one");
	cr_assert_eq(step(0), -EPIPE);
}

Test(nftables_exchange, an_answer_of_any_length_is_not_believed)
{
	const struct nftables_answer head = {.length = UINT32_MAX};
	ask("one");
	cr_assert(nftables_send(ends[1], &head, sizeof head));
	cr_assert_eq(step(0), -EPIPE);
}
