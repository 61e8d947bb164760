// SPDX-License-Identifier: Apache-2.0
/* Several callers of libnftables' process, whose answers are not waited for: each one has its answer in the end,
 * however long answers take. The process is the test's, and answers when it is told to. */
#include <criterion/criterion.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/gateway/forward.h"
#include "tun/nftables_process.h"

enum { REQUESTS = 3, HELD = 4, ROUNDS_MAX = 20 }; /* the first two are descriptors of the process */

static struct nftables *nftables;
static struct error error;
static int told[2]; /* a byte for each answer; 'x': it ends instead */

#define DROPS                                                                                                      \
	"{\"chain\":{\"family\":\"ip\",\"table\":\"filter\",\"name\":\"FORWARD\",\"hook\":\"forward\",\"prio\":0," \
	"\"policy\":\"drop\"}}"

static void answer(const struct nftables_request *request, const char *payload)
{
	bool lists = request->operation == NFTABLES_QUERY, counters = strstr(payload, "counters") != NULL;
	const char *text = !lists ? "" : counters ? "{\"nftables\":[]}" : "{\"nftables\":[" DROPS "]}";
	const struct nftables_answer head = {.code = request->operation == NFTABLES_CHECK,
					     .length = (uint32_t)strlen(text)};
	(void)(nftables_send(REQUESTS, &head, sizeof head) && nftables_send(REQUESTS, text, head.length));
}

static int serve(void *context)
{
	struct nftables_request request;
	(void)context;
	while (nftables_receive(REQUESTS, &request, sizeof request)) {
		char byte, *payload = calloc(1, request.length + 1);
		if (payload == NULL || !nftables_receive(REQUESTS, payload, request.length) ||
		    read(HELD, &byte, 1) != 1 || byte == 'x')
			break;
		answer(&request, payload);
		free(payload);
	}
	_exit(0);
}

static void begin(void)
{
	const struct nftables_confine confine = {.run = serve};
	cr_assert_eq(pipe(told), 0);
	nftables = nftables_open(&confine, told[0], &error);
	cr_assert(nftables != NULL && nftables_do_not_wait(nftables, 1, &error) == 0, "%s", error.text);
}

static void end(void)
{
	nftables_close(nftables);
	close(told[0]);
	close(told[1]);
}

TestSuite(nftables_turns, .init = begin, .fini = end, .timeout = 60);

/* What is under way is answered, as an event of the caller's loop. */
static void tell(char byte)
{
	struct pollfd polled = {.fd = nftables_fd(nftables), .events = POLLIN};
	cr_assert_eq(write(told[1], &byte, 1), 1);
	cr_assert_eq(poll(&polled, 1, 30000), 1);
	nftables_poll(nftables);
}

static bool is_there(int result)
{
	cr_assert(result == 1 || result == -EINPROGRESS, "%d", result);
	return result == 1;
}

static int lay(const char *commands)
{
	const struct nftables_table table = {
		.subject = "test", .family = NFTABLES_INET, .name = "one", .commands = commands};
	return nftables_lay(nftables, &table, &error);
}

/* As the reconciler calls them: both after each answer, in the same order. */
Test(nftables_turns, the_first_caller_does_not_keep_the_second_one_from_its_answer)
{
	bool one = false, two = false;
	for (unsigned i = 0; i < ROUNDS_MAX && !(one && two); i++) {
		bool first = is_there(nftables_check(nftables, "one", &error));
		bool second = is_there(nftables_check_netdev(nftables, "two", &error));
		one |= first;
		two |= second;
		if (!(one && two))
			tell('.');
	}
	cr_assert(one && two, "%d %d", one, two);
}

Test(nftables_turns, an_answer_of_before_a_change_is_forgotten)
{
	cr_assert_eq(lay("a"), -EINPROGRESS);
	tell('.');
	cr_assert_eq(nftables_check_netdev(nftables, "two", &error), -EINPROGRESS);
	tell('.');
	for (unsigned i = 0; i < ROUNDS_MAX && lay("b") != 0; i++)
		tell('.');
	cr_assert_eq(lay("a"), -EINPROGRESS, "the rules are those of b");
}

Test(nftables_turns, an_answer_goes_with_its_process)
{
	cr_assert_eq(lay("a"), -EINPROGRESS);
	tell('.');
	cr_assert_eq(nftables_check_netdev(nftables, "two", &error), -EINPROGRESS);
	cr_assert_eq(nftables_starts(nftables), 1);
	tell('x');
	for (unsigned i = 0; i < ROUNDS_MAX * 100 && nftables_starts(nftables) == 1; i++) {
		cr_assert_eq(lay("a"), -EINPROGRESS, "its tables went with it");
		usleep(1000);
	}
	cr_assert_eq(nftables_starts(nftables), 2);
}

Test(nftables_turns, other_programs_rules_are_seen_though_each_listing_takes_long)
{
	static char beyond[1][IF_NAMESIZE] = {"eth9"};
	struct ip_prefix pool;
	struct gateway_config config = {.addresses = {.items = &pool, .count = 1},
					.masquerade = {.items = beyond, .count = 1}};
	struct gateway_forward forward;
	bool one = false;
	cr_assert(ip_prefix_parse("10.8.0.1/16", &pool));
	gateway_forward_init(&forward, &config, nftables, "shardtun-lo", 1);
	gateway_forward_look(&forward, true);
	for (unsigned i = 0; i < ROUNDS_MAX && (forward.waits || !one); i++) {
		tell('.');
		gateway_forward_answered(&forward);
		one |= is_there(nftables_check(nftables, "one", &error));
	}
	cr_assert(forward.paths[0][0].suspected);
	cr_assert_str_eq(forward.paths[0][0].suspect.chain, "FORWARD");
	cr_assert(one, "who checks rules has his turn meanwhile");
	gateway_forward_deinit(&forward);
}
