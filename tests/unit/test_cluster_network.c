// SPDX-License-Identifier: Apache-2.0
/* The map of owners as a gateway keeps it: in one text or in parts, for FORWARD, for display, and by its control
 * commands. There are no links here, so there are no rules: those are for tests/netns/cases/cluster_map.sh. */
#include "core/gateway/cluster_network.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/daemon/daemon.h"
#include "core/gateway/cluster.h"
#include "core/gateway/cluster_link.h"
#include "core/gateway/control_cluster.h"
#include "core/gateway/reload.h"

static struct cluster_network network;
static struct error error;

static void begin(void)
{
	const struct cluster_network_params params = {.interface = "shardtun0", .port = 5555};
	cr_assert_eq(cluster_network_open(&network, &params, &error), 0, "%s", error.text);
}

static void end(void)
{
	cluster_network_close(&network);
}

TestSuite(cluster_network, .init = begin, .fini = end);

static void is_map(const char *expected)
{
	json_t *list = cluster_network_describe(&network);
	char *text = json_dumps(list, JSON_COMPACT | JSON_SORT_KEYS);
	cr_expect_str_eq(text, expected);
	free(text);
	json_decref(list);
}

static int part(unsigned serial, unsigned number, unsigned count, const char *text)
{
	return cluster_network_part(&network, serial, number, count, text, &error);
}

Test(cluster_network, owners_are_shown_with_their_blocks)
{
	is_map("[]");
	cr_assert_eq(cluster_network_map(
			     &network, "9=198.51.100.3,7=198.51.100.2:5556,8=198.51.100.2:5556,7=[2001:db8:9::2]:5556",
			     &error),
		     0);
	is_map("[{\"address\":\"198.51.100.2\",\"blocks\":[7,8],\"port\":5556},"
	       "{\"address\":\"198.51.100.3\",\"blocks\":[9]},"
	       "{\"address\":\"2001:db8:9::2\",\"blocks\":[7],\"port\":5556}]");
	cr_expect(network.entries[0] == 3 && network.entries[1] == 1);
	cr_assert_lt(cluster_network_map(&network, "7=198.51.100.4,300=198.51.100.5", &error), 0);
	cr_expect(network.entries[0] == 3 && network.entries[1] == 1, "a bad map changes nothing");
	cr_assert_eq(cluster_network_map(&network, "-", &error), 0);
	is_map("[]");
}

Test(cluster_network, an_address_of_this_machine_is_no_owner_and_keeps_no_other_one_away)
{
	cr_assert_eq(cluster_network_map(&network, "7=198.51.100.2,8=127.0.0.1:5557,9=[::1]:1", &error), 0);
	is_map("[{\"address\":\"198.51.100.2\",\"blocks\":[7]}]");
	cr_expect(network.left_out == 2 && network.entries[0] == 1);
	cr_assert_eq(cluster_network_map(&network, "7=198.51.100.2", &error), 0);
	cr_expect_eq(network.left_out, 0);
}

Test(cluster_network, parts_are_one_map)
{
	cr_assert_eq(part(1, 1, 3, "7=198.51.100.2"), 1);
	cr_assert_eq(part(1, 2, 3, "8=198.51.100.2,9=198.51.100.2"), 1);
	is_map("[]");
	cr_assert_eq(part(1, 3, 3, "10=198.51.100.2"), 0);
	is_map("[{\"address\":\"198.51.100.2\",\"blocks\":[7,8,9,10]}]");
	cr_assert_eq(part(2, 1, 1, "7=198.51.100.2"), 0, "one part is all");
	is_map("[{\"address\":\"198.51.100.2\",\"blocks\":[7]}]");
}

Test(cluster_network, parts_that_do_not_follow_are_refused)
{
	static const struct {
		unsigned serial, number, count;
	} wrong[] = {{1, 3, 3}, {2, 2, 3}, {1, 2, 2}, {1, 0, 3}, {1, 4, 3}};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		cr_assert_eq(part(1, 1, 3, "7=198.51.100.2"), 1);
		cr_expect_lt(part(wrong[i].serial, wrong[i].number, wrong[i].count, "8=198.51.100.2"), 0, "%zu", i);
		cr_expect_lt(part(1, 2, 3, "8=198.51.100.2"), 0, "%zu: it has to begin anew", i);
	}
	cr_assert_lt(part(1, 1, 0, "7=198.51.100.2"), 0);
	cr_assert_eq(part(3, 1, 2, "7=198.51.100.2"), 1);
	cr_assert_eq(part(4, 1, 2, "8=198.51.100.2"), 1, "another map begins");
	cr_assert_eq(part(4, 2, 2, "9=198.51.100.2"), 0);
	is_map("[{\"address\":\"198.51.100.2\",\"blocks\":[8,9]}]");
}

Test(cluster_network, parts_are_bounded)
{
	static char text[CLUSTER_MAP_TEXT_MAX / 2 + 2];
	memset(text, '7', sizeof text - 1);
	cr_assert_eq(part(1, 1, 3, text), 1);
	cr_assert_lt(part(1, 2, 3, text), 0);
	cr_assert_not_null(strstr(error.text, "part 2 of 3 is too much"), "%s", error.text);
}

Test(cluster_network, forward_reaches_owners_in_its_own_family)
{
	struct sockaddr_in6 of[BLOCK_COUNT];
	cr_assert_eq(cluster_network_map(&network,
					 "7=198.51.100.2:6000,8=198.51.100.3,8=[2001:db8:9::3]:6001,9=2001:db8:9::4",
					 &error),
		     0);
	cluster_network_owners(&network, 4, 5556, of);
	static const uint8_t mapped[16] = {[10] = 0xff, 0xff, 198, 51, 100, 2};
	cr_expect(of[7].sin6_family == AF_INET6 && of[7].sin6_port == htons(6000));
	cr_expect_arr_eq(of[7].sin6_addr.s6_addr, mapped, sizeof mapped);
	cr_expect_eq(of[8].sin6_port, htons(5556), "our own port where there is none");
	cr_expect(of[9].sin6_family == 0 && of[1].sin6_family == 0);
	cluster_network_owners(&network, 6, 5556, of);
	static const uint8_t native[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 9, [15] = 3};
	cr_expect_arr_eq(of[8].sin6_addr.s6_addr, native, sizeof native);
	cr_expect(of[8].sin6_port == htons(6001) && of[9].sin6_port == htons(5556) && of[7].sin6_family == 0);
}

/* --- the commands ------------------------------------------------------------------------------------------------- */

static struct cluster cluster;
static struct cluster_link link_between;
static struct gateway_running running = {.cluster = &cluster, .map = &network};
static struct daemon own_daemon = {.params.context = &running};

typedef json_t *handler(void *context, char *const *words, size_t count, struct error *error);

static const char *answer(handler *handle, const char *line)
{
	static char text[sizeof error.text];
	char copy[256], *words[4], *rest = NULL;
	size_t count = 0;
	(void)snprintf(copy, sizeof copy, "%s", line);
	for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
		words[count++] = word;
	json_t *result = handle(&own_daemon, words, count, &error);
	char *dump = result != NULL ? json_dumps(result, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	(void)snprintf(text, sizeof text, "%s", dump != NULL ? dump : error.text);
	free(dump);
	json_decref(result);
	return text;
}

static bool forwards(unsigned block)
{
	const struct forward_owners *owners = link_between.forwarder.owners;
	return owners != NULL && owners->of[block].sin6_family != 0;
}

Test(cluster_network, commands_set_the_map_for_forward_too)
{
	static const struct config_endpoint own = {.host = "198.51.100.1", .port = 5556};
	rcu_join();
	running.link = &link_between;
	link_between.params.address = &own;
	cr_expect_str_eq(answer(gateway_control_cluster_map, "7=198.51.100.2"),
			 "{\"ipv4\":1,\"ipv6\":0,\"left_out\":0}");
	cr_expect(forwards(7) && !forwards(8));
	cr_expect_str_eq(answer(gateway_control_cluster_map_part, "1 1/2 8=198.51.100.2"),
			 "{\"ipv4\":1,\"ipv6\":0,\"left_out\":0}");
	cr_expect(forwards(7) && !forwards(8), "not before the last part");
	cr_expect_str_eq(answer(gateway_control_cluster_map_part, "1 2/2 8=2001:db8:9::2"),
			 "{\"ipv4\":1,\"ipv6\":1,\"left_out\":0}");
	cr_expect(!forwards(7) && forwards(8));
	cr_expect_str_eq(answer(gateway_control_cluster_map, "-"), "{\"ipv4\":0,\"ipv6\":0,\"left_out\":0}");
	cr_expect(!forwards(8));
	forwarder_deinit(&link_between.forwarder);
	rcu_leave();
	rcu_after_readers_barrier();
}

Test(cluster_network, commands_refuse_what_they_cannot_read)
{
	static const struct {
		handler *handle;
		const char *line, *why;
	} cases[] = {
		{gateway_control_cluster_map, "", "cluster-map wants"},
		{gateway_control_cluster_map, "1=198.51.100.2 2=198.51.100.2", "cluster-map wants"},
		{gateway_control_cluster_map, "7", "\"7\" is not BLOCK=ADDRESS"},
		{gateway_control_cluster_map_part, "1 1/2", "cluster-map-part wants"},
		{gateway_control_cluster_map_part, "1 1 7=198.51.100.2", "cluster-map-part wants"},
		{gateway_control_cluster_map_part, "x 1/2 7=198.51.100.2", "SERIAL x: not a number"},
		{gateway_control_cluster_map_part, "1 -1/2 7=198.51.100.2", "NUMBER -1: not a number"},
		{gateway_control_cluster_map_part, "1 1/ 7=198.51.100.2", "COUNT : not a number"},
		{gateway_control_cluster_map_part, "1 1/2/3 7=198.51.100.2", "COUNT 2/3: not a number"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *text = answer(cases[i].handle, cases[i].line);
		cr_expect_not_null(strstr(text, cases[i].why), "%s: %s", cases[i].line, text);
	}
}
