// SPDX-License-Identifier: Apache-2.0
/* Lists of routes and how they differ, without a kernel; and what is read back from one. Each test runs in a process
 * and, where it needs one, a network namespace of its own. */
#include <criterion/criterion.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "tun/netlink_state.h"

enum { TABLE = 51820, TUNNEL = 7, ETHERNET = 2 };

static struct error error;

static struct ip_prefix prefix(const char *text)
{
	struct ip_prefix parsed;
	cr_assert(ip_prefix_parse(text, &parsed), "%s", text);
	return parsed;
}

static void append(struct netlink_routes *routes, const char *network, unsigned ifindex)
{
	const struct ip_prefix parsed = prefix(network);
	cr_assert_eq(netlink_routes_append(routes, &parsed, ifindex), 0);
}

/* As text, "network>interface" each, in the order of the list. */
static const char *text_of(const struct netlink_routes *routes)
{
	static char text[512];
	char *at = text;
	text[0] = '\0';
	for (size_t i = 0; i < routes->count; i++) {
		char network[IP_TEXT_MAX];
		at += sprintf(at, "%s%s>%d", i == 0 ? "" : " ", ip_prefix_format(&routes->items[i].network, network),
			      (int)routes->items[i].ifindex);
	}
	return text;
}

Test(netlink_routes, the_first_to_a_network_counts_besides_one_that_refuses)
{
	struct netlink_routes routes = {0};
	append(&routes, "10.0.0.0/8", TUNNEL);
	append(&routes, "::/0", NETLINK_UNREACHABLE);
	append(&routes, "10.0.0.0/8", NETLINK_UNREACHABLE);
	append(&routes, "10.0.0.0/8", NETLINK_THROW);
	append(&routes, "10.0.0.7/8", NETLINK_UNREACHABLE);
	append(&routes, "10.0.0.0/16", ETHERNET);
	append(&routes, "0.0.0.0/0", TUNNEL);
	netlink_routes_settle(&routes);
	cr_expect_str_eq(text_of(&routes), "0.0.0.0/0>7 10.0.0.0/8>7 10.0.0.0/8>-1 10.0.0.0/16>2 ::/0>-1");
	netlink_routes_free(&routes);
	netlink_routes_settle(&routes);
	cr_expect_eq(routes.count, 0);
}

Test(netlink_routes, what_is_missing_and_what_is_too_much)
{
	static const struct {
		const char *const wanted[4], *const have[4];
		const char *missing, *extra;
	} cases[] = {
		{{NULL}, {NULL}, "", ""},
		{{"10.0.0.0/8", "::/0"}, {"::/0", "10.0.0.0/8"}, "", ""},
		{{"10.0.0.0/8", "::/0"}, {NULL}, "10.0.0.0/8>7 ::/0>7", ""},
		{{NULL}, {"10.0.0.0/8", "::/0"}, "", "10.0.0.0/8>7 ::/0>7"},
		{{"10.0.0.0/8", "10.0.0.0/9", "::/0"},
		 {"10.0.0.0/7", "10.0.0.0/9"},
		 "10.0.0.0/8>7 ::/0>7",
		 "10.0.0.0/7>7"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct netlink_routes wanted = {0}, have = {0}, missing = {0}, extra = {0};
		for (size_t k = 0; k < 4 && cases[i].wanted[k] != NULL; k++)
			append(&wanted, cases[i].wanted[k], TUNNEL);
		for (size_t k = 0; k < 4 && cases[i].have[k] != NULL; k++)
			append(&have, cases[i].have[k], TUNNEL);
		netlink_routes_sort(&wanted);
		netlink_routes_sort(&have);
		cr_assert_eq(netlink_routes_compare(&wanted, &have, &missing, &extra), 0);
		cr_expect_str_eq(text_of(&missing), cases[i].missing, "case %zu", i);
		cr_expect_str_eq(text_of(&extra), cases[i].extra, "case %zu", i);
		netlink_routes_free(&wanted);
		netlink_routes_free(&have);
		netlink_routes_free(&missing);
		netlink_routes_free(&extra);
	}
}

Test(netlink_routes, one_that_leads_elsewhere_is_missing_and_too_much)
{
	struct netlink_routes wanted = {0}, have = {0}, missing = {0}, extra = {0};
	append(&wanted, "10.0.0.0/8", TUNNEL);
	append(&have, "10.0.0.0/8", ETHERNET);
	cr_assert_eq(netlink_routes_compare(&wanted, &have, &missing, &extra), 0);
	cr_expect_eq(missing.items[0].ifindex, TUNNEL);
	cr_expect_eq(extra.items[0].ifindex, ETHERNET);
	netlink_routes_free(&wanted);
	netlink_routes_free(&have);
	netlink_routes_free(&missing);
	netlink_routes_free(&extra);
}

/* --- of a kernel -------------------------------------------------------------------------------------------------- */

static struct netlink *netlink;
static unsigned link0;

static void run(const char *command)
{
	cr_assert_eq(system(command), 0, "%s", command);
}

static void setup(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		cr_skip_test("a network namespace of our own needs CAP_SYS_ADMIN");
	run("ip link set lo up && ip link add link0 type veth peer name peer0 && ip link set peer0 addrgenmode none && "
	    "ip link set peer0 up");
	run("ip link set link0 addrgenmode none && ip link set link0 up");
	link0 = if_nametoindex("link0");
	netlink = netlink_open(&error);
	cr_assert_not_null(netlink, "%s", error.text);
}

static void teardown(void)
{
	netlink_close(netlink);
}

TestSuite(netlink_state, .init = setup, .fini = teardown);

#define assert_ok(call) cr_assert_eq(call, 0, "%s", error.text)

Test(netlink_state, the_link_by_its_new_name)
{
	struct netlink_link link;
	assert_ok(netlink_link_read(netlink, link0, &link, &error));
	cr_expect_str_eq(link.name, "link0");
	cr_expect(link.up);
	run("ip link set link0 down && ip link set link0 name renamed0 mtu 1300");
	assert_ok(netlink_link_read(netlink, link0, &link, &error));
	cr_expect_str_eq(link.name, "renamed0");
	cr_expect_eq(link.mtu, 1300);
	cr_expect_not(link.up);
	run("ip link delete renamed0");
	cr_expect_eq(netlink_link_read(netlink, link0, &link, &error), -ENODEV);
}

Test(netlink_state, addresses)
{
	static const char *const texts[] = {"10.8.0.2/32", "fd00:8::2/128"};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct ip_prefix own = prefix(texts[i]), wider = own;
		wider.length--;
		cr_expect_not(netlink_address_exists(netlink, link0, &own));
		assert_ok(netlink_address_add(netlink, link0, &own, &error));
		cr_expect(netlink_address_exists(netlink, link0, &own));
		cr_expect_not(netlink_address_exists(netlink, link0, &wider));
		cr_expect_not(netlink_address_exists(netlink, 1, &own), "on another link");
	}
}

static void in_a_table(uint8_t family, const char *all, const char *some, const char *others)
{
	const struct ip_prefix everything = prefix(all), network = prefix(some);
	struct netlink_routes wanted = {0}, have = {0}, missing = {0}, extra = {0};
	assert_ok(netlink_routes_read(netlink, family, TABLE, &have, &error));
	cr_assert_eq(have.count, 0, "no table yet");
	append(&wanted, all, link0);
	append(&wanted, all, NETLINK_UNREACHABLE);
	append(&wanted, some, NETLINK_THROW);
	netlink_routes_settle(&wanted);
	for (size_t i = wanted.count; i-- > 0;)
		assert_ok(netlink_route_add(netlink, wanted.items[i].ifindex, &wanted.items[i].network, TABLE, &error));
	run(others);
	assert_ok(netlink_routes_read(netlink, family, TABLE, &have, &error));
	assert_ok(netlink_routes_compare(&wanted, &have, &missing, &extra));
	cr_expect_eq(missing.count + extra.count, 0, "missing %zu, extra %zu", missing.count, extra.count);

	/* A link that goes down takes its routes along, and one that hangs on none stays. */
	run("ip link set link0 down");
	netlink_routes_free(&have);
	assert_ok(netlink_routes_read(netlink, family, TABLE, &have, &error));
	assert_ok(netlink_routes_compare(&wanted, &have, &missing, &extra));
	cr_expect_eq(missing.count, 1);
	cr_expect_eq(missing.items[0].ifindex, link0);
	cr_expect_eq(extra.count, 0);
	run("ip link set link0 up");

	/* What refuses goes alone, and not in the place of what leads on. */
	assert_ok(netlink_route_add(netlink, link0, &everything, TABLE, &error));
	assert_ok(netlink_route_delete(netlink, NETLINK_UNREACHABLE, &everything, TABLE, &error));
	assert_ok(netlink_route_delete(netlink, NETLINK_THROW, &network, TABLE, &error));
	netlink_routes_free(&have);
	assert_ok(netlink_routes_read(netlink, family, TABLE, &have, &error));
	cr_expect_eq(have.count, 1);
	cr_expect_eq(have.items[0].ifindex, link0);

	assert_ok(netlink_table_flush(netlink, family, TABLE, &error));
	netlink_routes_free(&have);
	assert_ok(netlink_routes_read(netlink, family, TABLE, &have, &error));
	cr_expect_eq(have.count, 0);
	netlink_routes_free(&wanted);
	netlink_routes_free(&missing);
}

Test(netlink_state, routes_of_ipv4)
{
	in_a_table(4, "0.0.0.0/0", "10.7.0.0/24",
		   "ip address add 192.0.2.1/24 dev link0 && ip route add 10.1.0.0/16 via 192.0.2.2 table 51820 && "
		   "ip route add 10.2.0.0/16 dev link0 && ip route add 10.3.0.0/16 dev link0 table 51821");
}

Test(netlink_state, routes_of_ipv6)
{
	in_a_table(6, "::/0", "fd07::/64",
		   "ip route add fd01::/64 dev link0 table 51820 && ip route add fd02::/64 dev link0 && "
		   "ip route add fd03::/64 dev link0 table 51821");
}

/* More than go in one call; some fail, and the others do not. */
Test(netlink_state, many_routes_change_at_once)
{
	enum { MANY = 300 };
	struct netlink_routes wanted = {0}, have = {0}, missing = {0}, extra = {0};
	char text[IP_TEXT_MAX];
	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(text, sizeof text, i % 2 == 0 ? "10.%u.%u.0/24" : "fd0%u:%x::/64", i >> 8, i & 0xff);
		append(&wanted, text, link0);
	}
	error.text[0] = '\0';
	cr_assert_eq(netlink_routes_change(netlink, true, wanted.items, MANY, TABLE, &error), 0, "%s", error.text);
	cr_assert_eq(netlink_routes_change(netlink, true, wanted.items, MANY, TABLE, &error), 0, "once more");
	netlink_routes_sort(&wanted);
	assert_ok(netlink_routes_read(netlink, 4, TABLE, &have, &error));
	assert_ok(netlink_routes_read(netlink, 6, TABLE, &have, &error));
	netlink_routes_sort(&have);
	assert_ok(netlink_routes_compare(&wanted, &have, &missing, &extra));
	cr_expect_eq(missing.count + extra.count, 0, "missing %zu, extra %zu", missing.count, extra.count);
	wanted.items[7].ifindex = wanted.items[200].ifindex = 7777;
	cr_expect_eq(netlink_routes_change(netlink, true, wanted.items, MANY, TABLE, &error), 2);
	cr_expect_not_null(strstr(error.text, "add route 10.0.14.0/24 to #7777: "), "%s", error.text);
	wanted.items[7].ifindex = wanted.items[200].ifindex = link0;
	cr_expect_eq(netlink_routes_change(netlink, false, wanted.items, MANY, TABLE, &error), 0, "%s", error.text);
	cr_expect_eq(netlink_routes_change(netlink, false, wanted.items, MANY, TABLE, &error), 0, "there are none");
	netlink_routes_free(&have);
	assert_ok(netlink_routes_read(netlink, 4, TABLE, &have, &error));
	assert_ok(netlink_routes_read(netlink, 6, TABLE, &have, &error));
	cr_expect_eq(have.count, 0);
	netlink_routes_free(&wanted);
}

/* Others' routes too, with a gateway and without, more than are deleted at a time. */
Test(netlink_state, a_table_is_emptied)
{
	struct netlink_routes have = {0};
	const struct ip_prefix everything = prefix("0.0.0.0/0");
	assert_ok(netlink_route_add(netlink, link0, &everything, TABLE, &error));
	run("ip address add 192.0.2.1/24 dev link0 && for i in $(seq 200); do "
	    "echo route add 10.1.$i.0/24 via 192.0.2.2 table 51820 metric $i; done | ip -batch -");
	assert_ok(netlink_table_flush(netlink, 4, TABLE, &error));
	run("test -z \"$(ip route show table 51820)\"");
	assert_ok(netlink_routes_read(netlink, 4, TABLE, &have, &error));
	cr_expect_eq(have.count, 0);
}

Test(netlink_state, attached_networks_without_a_limit)
{
	struct netlink_attached_list list = {0};
	run("for i in $(seq 100); do echo address add 10.$i.0.1/24 dev link0; done | ip -batch -");
	run("ip route add 10.200.0.0/24 dev link0 && ip route add 10.201.0.0/24 dev link0 proto ra");
	assert_ok(netlink_attached_read(netlink, 4, &list, &error));
	cr_expect_eq(list.count, 100, "%zu", list.count);
	netlink_attached_free(&list);
	run("ip address add fd01::1/64 dev link0 nodad && ip -6 route add fd02::/64 dev link0 proto ra");
	assert_ok(netlink_attached_read(netlink, 6, &list, &error));
	cr_expect_eq(list.count, 2);
	netlink_attached_free(&list);
}
