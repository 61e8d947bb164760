// SPDX-License-Identifier: Apache-2.0
/* A cluster gateway's routes, with and without the thread that finds out what differs. Each test runs in a process and
 * a network namespace of its own. */
#include "core/gateway/routes_keeper.h"

#include <criterion/criterion.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

enum { PEERS = 3 * GATEWAY_ROUTES_AT_ONCE, BLOCK = 1024 };

static struct error error;
static struct registry registry;
static struct fence fence;
static struct gateway_routes routes;
static struct routes_keeper keeper;
static struct ip_prefix own;
static const struct config_prefixes addresses = {.items = &own, .count = 1};
static struct config_addresses shared;
static unsigned finished;

static void run(const char *command)
{
	cr_assert_eq(system(command), 0, "%s", command);
}

static void add_peer(uint32_t index)
{
	struct ip_prefix network, address4, address6;
	char text[IP_TEXT_MAX];
	static const uint8_t no_psk[KEY_SIZE];
	uint8_t key[KEY_SIZE] = {1, (uint8_t)index, (uint8_t)(index >> 8)};
	(void)snprintf(text, sizeof text, "172.16.%u.%u/32", index >> 8, index & 0xff);
	cr_assert(ip_prefix_parse(text, &network));
	pool_addresses(&registry.pool, index, &address4, &address6);
	const struct registry_peer peer = {.public_key = key,
					   .preshared_key = no_psk,
					   .networks = &network,
					   .network_count = 1,
					   .address = address4.address};
	cr_assert_eq(registry_add_peer(&registry, &peer, &error), 0, "%s", error.text);
}

/* Half of the peers are in block 2, the others in block 3; the latter is ours. */
static void setup(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		cr_skip_test("a network namespace of our own needs CAP_SYS_ADMIN");
	run("ip link add link0 type veth peer name peer0 && ip link set peer0 up && ip link set link0 up");
	cr_assert(keys_init(NULL) == 0 && ip_prefix_parse("10.8.0.1/16", &own));
	rcu_join();
	fence_init(&fence, BLOCK);
	const struct registry_params params = {.addresses = &own,
					       .address_count = 1,
					       .max_sessions = 16,
					       .workers = 1,
					       .expected_peers = 2 * PEERS,
					       .fence = &fence};
	cr_assert_eq(registry_init(&registry, &params, &error), 0, "%s", error.text);
	for (uint32_t i = 0; i < 2 * PEERS; i++)
		add_peer(i < PEERS ? BLOCK + i : 2 * BLOCK + i - PEERS);
	routes = (struct gateway_routes){.netlink = netlink_open(&error),
					 .ifindex = if_nametoindex("link0"),
					 .addresses = &addresses,
					 .shared = &shared,
					 .fence = &fence};
	cr_assert_not_null(routes.netlink, "%s", error.text);
	routes_keeper_init(&keeper, &routes, &registry);
}

static void teardown(void)
{
	routes_keeper_end(&keeper);
	gateway_routes_free(&routes);
	netlink_close(routes.netlink);
	registry_deinit(&registry);
	rcu_leave();
}

TestSuite(routes_keeper, .init = setup, .fini = teardown, .timeout = 120);

static void own_block(unsigned block)
{
	struct block_set set = {0};
	uint64_t now = clock_monotonic(&clock_system);
	block_set_add(&set, block);
	cr_assert_geq(fence_own(&fence, &set, now + 30 * NS_PER_S, now), 0);
}

static void note_finished(void *context)
{
	(void)context;
	finished++;
}

static void start(void)
{
	cr_assert_eq(routes_keeper_start(&keeper, NULL, note_finished, NULL, &error), 0, "%s", error.text);
}

/* Until the job is done; how many turns of the loop that took. */
static unsigned poll_until_finished(void)
{
	unsigned turns = 0, before = finished;
	struct pollfd polled = {.fd = routes_keeper_fd(&keeper), .events = POLLIN};
	while (finished == before) {
		rcu_offline();
		cr_assert_eq(poll(&polled, 1, 60000), 1);
		rcu_online();
		routes_keeper_poll(&keeper);
		turns++;
	}
	return turns;
}

static unsigned in_kernel(void)
{
	struct netlink_routes have = {0};
	cr_assert_eq(netlink_routes_read(routes.netlink, 4, 254, &have, &error), 0, "%s", error.text);
	size_t count = have.count;
	netlink_routes_free(&have);
	return (unsigned)count;
}

/* What a second call, once the job is done, says of it. */
static struct reconcile_found run_keeper(bool restore)
{
	struct reconcile_found found = {0}, result = {0};
	routes_keeper_run(&keeper, restore, &found);
	cr_assert(found.pending);
	(void)poll_until_finished();
	routes_keeper_run(&keeper, restore, &result);
	cr_assert_not(result.pending);
	return result;
}

Test(routes_keeper, without_a_thread_all_is_done_at_once)
{
	struct reconcile_found found = {0};
	own_block(3);
	cr_assert_eq(gateway_routes_plan(&routes, &registry), 0);
	routes_keeper_run(&keeper, true, &found);
	cr_assert(found.missing == PEERS + 1 && found.left == 0 && !found.pending, "%u", found.missing);
	cr_assert_eq(in_kernel(), PEERS + 1, "their networks, and the block");
	cr_assert_eq(routes_keeper_fd(&keeper), -1);
}

Test(routes_keeper, the_caller_never_waits_for_routes)
{
	struct reconcile_found found = {0}, again = {0};
	start();
	own_block(3);
	routes_keeper_plan(&keeper);
	routes_keeper_run(&keeper, true, &found);
	cr_assert(found.pending && in_kernel() == 0);
	cr_assert_geq(poll_until_finished(), PEERS / GATEWAY_ROUTES_AT_ONCE, "some in each turn");
	cr_assert_eq(in_kernel(), PEERS + 1);
	routes_keeper_run(&keeper, true, &again);
	cr_assert(!again.pending && again.missing == PEERS + 1 && again.left == 0);
	found = run_keeper(false);
	cr_assert(found.wanted == PEERS + 1 && found.missing == 0);
	run("ip route delete 172.16.8.7/32");
	found = run_keeper(false);
	cr_assert_eq(found.missing, 1);
	cr_assert_str_eq(found.first, "route 172.16.8.7/32");
	cr_assert_eq(in_kernel(), PEERS, "comparing changes nothing");
	found = run_keeper(true);
	cr_assert(found.missing == 1 && in_kernel() == PEERS + 1);
}

/* What was found is of before: a result is only given to a call for what is wanted now. */
Test(routes_keeper, a_change_meanwhile_has_a_job_of_its_own)
{
	struct reconcile_found found = {0};
	start();
	own_block(2);
	routes_keeper_plan(&keeper);
	routes_keeper_run(&keeper, true, &found);
	own_block(3);
	routes_keeper_plan(&keeper);
	(void)poll_until_finished();
	found = (struct reconcile_found){0};
	routes_keeper_run(&keeper, true, &found);
	cr_assert(found.pending, "not the result of the first one");
	(void)poll_until_finished();
	found = (struct reconcile_found){0};
	routes_keeper_run(&keeper, true, &found);
	cr_assert_not(found.pending);
	cr_assert_eq(in_kernel(), PEERS + 1);
	run("test -z \"$(ip route show 172.16.4.0/24)\" && test -n \"$(ip route show 172.16.8.0/32)\"");
}

/* The next part of a job, once the thread has read. */
static void poll_once(void)
{
	struct pollfd polled = {.fd = routes_keeper_fd(&keeper), .events = POLLIN};
	rcu_offline();
	cr_assert_eq(poll(&polled, 1, 60000), 1);
	rcu_online();
	routes_keeper_poll(&keeper);
}

static void change_blocks(unsigned block)
{
	struct reconcile_found found = {0};
	own_block(block);
	routes_keeper_plan(&keeper);
	routes_keeper_run(&keeper, true, &found);
	cr_assert(found.pending);
}

/* Routes of a block that was lost do not stay until all of another one's have come; but each second job is a whole one.
 */
Test(routes_keeper, a_change_cuts_a_job_short_but_not_the_next_one)
{
	start();
	change_blocks(3);
	poll_once();
	cr_assert_eq(in_kernel(), GATEWAY_ROUTES_AT_ONCE);
	change_blocks(2);
	cr_assert_eq(poll_until_finished(), 1);
	cr_assert_eq(in_kernel(), GATEWAY_ROUTES_AT_ONCE);
	change_blocks(2);
	poll_once(); /* those of block 3 go */
	cr_assert_eq(in_kernel(), 0);
	change_blocks(3);
	cr_assert_geq(poll_until_finished(), PEERS / GATEWAY_ROUTES_AT_ONCE);
	cr_assert_eq(in_kernel(), PEERS + 1);
	change_blocks(3);
	(void)poll_until_finished();
	run("test -z \"$(ip route show 172.16.4.0/32)\" && test -n \"$(ip route show 172.16.8.0/32)\"");
}

Test(routes_keeper, what_the_kernel_refuses_is_left)
{
	start();
	own_block(3);
	routes_keeper_plan(&keeper);
	run("ip link set link0 down");
	struct reconcile_found found = run_keeper(true);
	cr_assert_eq(found.left, PEERS + 1);
	cr_assert_not_null(strstr(found.error.text, "add route "), "%s", found.error.text);
	run("ip link set link0 up");
	found = run_keeper(true);
	cr_assert(found.left == 0 && in_kernel() == PEERS + 1);
}

Test(routes_keeper, addresses_between_gateways_are_not_announced)
{
	struct ip_address listen[2];
	struct reconcile_found found = {0};
	cr_assert(ip_address_parse("203.0.113.1", &listen[0]) && ip_address_parse("10.9.0.1", &listen[1]));
	shared = (struct config_addresses){.items = listen, .count = 2};
	routes.inside = &listen[1];
	routes.inside_count = 1;
	own_block(4);
	cr_assert_eq(gateway_routes_plan(&routes, &registry), 0);
	routes_keeper_run(&keeper, true, &found);
	cr_assert_eq(in_kernel(), 2, "the block and the shared address");
	run("test -n \"$(ip route show 203.0.113.1 proto 85)\" && test -z \"$(ip route show 10.9.0.1 proto 85)\"");
}

Test(routes_keeper, ends_in_the_middle_of_a_job)
{
	struct reconcile_found found = {0};
	start();
	own_block(3);
	routes_keeper_plan(&keeper);
	routes_keeper_run(&keeper, true, &found);
	struct pollfd polled = {.fd = routes_keeper_fd(&keeper), .events = POLLIN};
	cr_assert_eq(poll(&polled, 1, 60000), 1);
	routes_keeper_poll(&keeper); /* the first part */
}
