// SPDX-License-Identifier: Apache-2.0
/* Which of the kernel's notices wake a client: the socket filter by messages made by hand, and by a real kernel. */
#include <criterion/criterion.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdalign.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "tun/netlink.h"
#include "tun/netlink_watch.h"

enum { OURS = 51820 };

static struct error error;

struct route {
	uint16_t type;
	const char *network;
	uint32_t table;
	uint8_t protocol;
	bool passes;
};

static struct ip_address address(const char *text)
{
	struct ip_address parsed = {0};
	cr_assert(text == NULL || ip_address_parse(text, &parsed), "%s", text);
	return parsed;
}

static void send_route(int fd, const struct route *route)
{
	alignas(struct nlmsghdr) char buffer[256] = {0};
	struct ip_prefix network;
	cr_assert(ip_prefix_parse(route->network, &network), "%s", route->network);
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = route->type;
	struct rtmsg *body = mnl_nlmsg_put_extra_header(message, sizeof *body);
	body->rtm_family = network.address.family == 4 ? AF_INET : AF_INET6;
	body->rtm_dst_len = network.length;
	body->rtm_table = (uint8_t)(route->table < 256 ? route->table : RT_TABLE_COMPAT);
	body->rtm_protocol = route->protocol;
	mnl_attr_put_u32(message, RTA_TABLE, route->table);
	if (network.length != 0)
		mnl_attr_put(message, RTA_DST, network.address.family == 4 ? 4 : 16, network.address.bytes);
	cr_assert_eq(send(fd, buffer, message->nlmsg_len, 0), message->nlmsg_len);
}

static void expect(const char *endpoint, uint32_t table, const struct route *routes, size_t count)
{
	const struct netlink_interest interest = {.ifindex = 7, .table = table, .endpoint = address(endpoint)};
	int ends[2];
	char buffer[256];
	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), 0);
	cr_assert_eq(netlink_watch_aim(ends[1], &interest, &error), 0, "%s", error.text);
	for (size_t i = 0; i < count; i++) {
		send_route(ends[0], &routes[i]);
		bool passed = recv(ends[1], buffer, sizeof buffer, MSG_DONTWAIT) > 0;
		cr_expect_eq(passed, routes[i].passes, "case %zu: %s, table %u, protocol %u", i, routes[i].network,
			     routes[i].table, routes[i].protocol);
	}
	close(ends[0]);
	close(ends[1]);
}

Test(netlink_watch, routes_that_matter_with_an_endpoint_of_ipv4)
{
	static const struct route routes[] = {
		{RTM_NEWROUTE, "9.9.9.0/24", RT_TABLE_MAIN, RTPROT_BGP, false},
		{RTM_DELROUTE, "9.9.9.0/24", RT_TABLE_MAIN, RTPROT_BGP, false},
		{RTM_DELROUTE, "9.9.9.0/24", OURS, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "9.9.9.0/24", OURS + 1, RTPROT_STATIC, false},
		{RTM_DELROUTE, "9.9.9.0/24", RT_TABLE_MAIN, NETLINK_PROTOCOL, true},
		{RTM_NEWROUTE, "10.1.0.0/24", RT_TABLE_MAIN, RTPROT_KERNEL, true},
		{RTM_NEWROUTE, "fd01::/64", RT_TABLE_MAIN, RTPROT_RA, true},
		{RTM_NEWROUTE, "10.1.0.1/32", RT_TABLE_LOCAL, RTPROT_KERNEL, false},
		{RTM_DELROUTE, "0.0.0.0/0", RT_TABLE_MAIN, RTPROT_DHCP, true},
		{RTM_DELROUTE, "0.0.0.0/0", 77, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "::/0", RT_TABLE_MAIN, RTPROT_STATIC, false},
		{RTM_NEWROUTE, "192.0.2.77/32", RT_TABLE_MAIN, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "192.0.2.76/32", RT_TABLE_MAIN, RTPROT_STATIC, false},
		{RTM_NEWROUTE, "192.0.2.76/31", RT_TABLE_MAIN, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "192.0.2.0/24", 77, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "192.0.3.0/24", 77, RTPROT_STATIC, false},
		{RTM_NEWROUTE, "128.0.0.0/1", RT_TABLE_MAIN, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "0.0.0.0/1", RT_TABLE_MAIN, RTPROT_STATIC, false},
		{RTM_NEWLINK, "9.9.9.0/24", RT_TABLE_MAIN, RTPROT_BGP, true},
		{RTM_NEWRULE, "9.9.9.0/24", RT_TABLE_MAIN, RTPROT_BGP, true},
	};
	expect("192.0.2.77", OURS, routes, ARRAY_SIZE(routes));
}

Test(netlink_watch, routes_that_matter_with_an_endpoint_of_ipv6)
{
	static const struct route routes[] = {
		{RTM_NEWROUTE, "2001:db8:1:2:3:4:5:6/128", RT_TABLE_MAIN, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "2001:db8:1:2:3:4:5:7/128", RT_TABLE_MAIN, RTPROT_STATIC, false},
		{RTM_NEWROUTE, "2001:db8:1:2:3:4:5:4/126", RT_TABLE_MAIN, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "2001:db8:1:2:3:4::/96", RT_TABLE_MAIN, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "2001:db8:1:2:3:5::/96", RT_TABLE_MAIN, RTPROT_STATIC, false},
		{RTM_NEWROUTE, "2001:db8:1:2:8000::/65", RT_TABLE_MAIN, RTPROT_STATIC, false},
		{RTM_NEWROUTE, "2001:db8:1:2::/65", RT_TABLE_MAIN, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "2001:db8:1:2::/64", RT_TABLE_MAIN, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "2001:db8:1:3::/64", RT_TABLE_MAIN, RTPROT_STATIC, false},
		{RTM_NEWROUTE, "2001:db8:1:3::/63", RT_TABLE_MAIN, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "2001:db8:1::/33", RT_TABLE_MAIN, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "2001:db8::/32", RT_TABLE_MAIN, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "2001:db9::/32", RT_TABLE_MAIN, RTPROT_STATIC, false},
		{RTM_NEWROUTE, "2000::/3", RT_TABLE_MAIN, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "::/0", RT_TABLE_MAIN, RTPROT_STATIC, true},
		{RTM_NEWROUTE, "0.0.0.0/0", RT_TABLE_MAIN, RTPROT_STATIC, false},
	};
	expect("2001:db8:1:2:3:4:5:6", OURS, routes, ARRAY_SIZE(routes));
}

/* The gateway has neither a table nor an endpoint. */
Test(netlink_watch, routes_that_matter_without_table_and_endpoint)
{
	static const struct route routes[] = {
		{RTM_NEWROUTE, "9.9.9.0/24", RT_TABLE_MAIN, RTPROT_BGP, false},
		{RTM_DELROUTE, "0.0.0.0/0", RT_TABLE_MAIN, RTPROT_DHCP, false},
		{RTM_DELROUTE, "9.9.9.0/24", RT_TABLE_MAIN, NETLINK_PROTOCOL, true},
		{RTM_NEWROUTE, "fd01::/64", RT_TABLE_MAIN, RTPROT_KERNEL, true},
		{RTM_NEWADDR, "9.9.9.0/24", RT_TABLE_MAIN, RTPROT_BGP, true},
	};
	expect(NULL, 0, routes, ARRAY_SIZE(routes));
}

/* Lengths that are none, and fixed parts that are cut short. */
Test(netlink_watch, messages_that_are_no_messages_are_passed_over)
{
	static const struct {
		uint32_t length;
		uint16_t type;
		size_t sent;
	} messages[] = {
		{0xc0000000, RTM_NEWLINK, 64}, {0xffffffff, RTM_NEWROUTE, 64}, {15, RTM_NEWADDR, 64},
		{0, RTM_NEWRULE, 64},	       {16, RTM_NEWLINK, 16},	       {20, RTM_NEWADDR, 20},
		{24, RTM_DELROUTE, 24},	       {27, RTM_NEWRULE, 27},	       {64, RTM_NEWLINK, 16},
	};
	const struct netlink_interest interest = {.ifindex = 7, .table = OURS};
	int pair[2];
	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
		alignas(struct nlmsghdr) char buffer[64] = {0};
		struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
		message->nlmsg_len = messages[i].length;
		message->nlmsg_type = messages[i].type;
		cr_assert_eq(send(pair[0], buffer, messages[i].sent, 0), (ssize_t)messages[i].sent);
		cr_expect_eq(netlink_watch_read(pair[1], &interest), 0, "%zu", i);
	}
	close(pair[0]);
	close(pair[1]);
}

/* --- of a kernel -------------------------------------------------------------------------------------------------- */

static int watch = -1;
static struct netlink_interest interest;

static void run(const char *command)
{
	cr_assert_eq(system(command), 0, "%s", command);
}

static void setup(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		cr_skip_test("a network namespace of our own needs CAP_SYS_ADMIN");
	/* Whatever the kernel does later by itself would be taken for what a test did: IPv6's checks of addresses,
	 * carriers. */
	run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
	run("ip link set lo up && ip link add tun9 type veth peer name tun8 && ip link set tun8 up && ip link set tun9 "
	    "up");
	run("ip link add link0 type veth peer name link1 && ip link set link1 up && ip link set link0 up && ip address "
	    "add 192.0.2.2/24 dev link0");
	run("for link in tun8 tun9 link0 link1; do until ip -o link show dev $link | grep -q 'state UP'; do sleep "
	    "0.02; "
	    "done; done");
	interest = (struct netlink_interest){if_nametoindex("tun9"), OURS, address("198.51.100.1")};
	watch = netlink_watch_open(&interest, &error);
	cr_assert_geq(watch, 0, "%s", error.text);
}

static void teardown(void)
{
	close(watch);
}

TestSuite(netlink_watch_kernel, .init = setup, .fini = teardown);

/* What the kernel reported when this was done. */
static unsigned told(const char *command)
{
	struct pollfd polled = {.fd = watch, .events = POLLIN};
	run(command);
	return poll(&polled, 1, 50) > 0 ? netlink_watch_read(watch, &interest) : 0;
}

Test(netlink_watch_kernel, own_things)
{
	cr_expect_eq(told("ip address add 10.8.0.2/32 dev tun9"), NETLINK_CHANGED_OWN);
	cr_expect_eq(told("ip route add default dev tun9 table 51820"), NETLINK_CHANGED_OWN);
	cr_expect_eq(told("ip route flush table 51820"), NETLINK_CHANGED_OWN);
	cr_expect_eq(told("ip link set tun9 mtu 1400") & ~(unsigned)NETLINK_CHANGED_PATH, NETLINK_CHANGED_OWN);
	cr_expect(told("ip rule add not fwmark 7 lookup 51820 priority 100") & NETLINK_CHANGED_OWN);
	cr_expect(told("ip rule delete priority 100") & NETLINK_CHANGED_OWN);
	cr_expect(told("ip link set tun9 down") & NETLINK_CHANGED_OWN);
	cr_expect(told("ip link set tun9 name renamed0") & NETLINK_CHANGED_OWN);
}

Test(netlink_watch_kernel, others_things)
{
	cr_expect(told("ip address add 172.16.0.1/24 dev link0") & NETLINK_CHANGED_ATTACHED);
	cr_expect(told("ip route add default via 192.0.2.1") & NETLINK_CHANGED_PATH);
	cr_expect(told("ip route add 198.51.100.0/24 via 192.0.2.1") & NETLINK_CHANGED_PATH);
	cr_expect(told("ip link set link0 down") & NETLINK_CHANGED_ATTACHED);
	cr_expect_eq(told("ip link set link0 up && ip route add 9.9.9.0/24 via 192.0.2.1") & NETLINK_CHANGED_OWN, 0);
}

Test(netlink_watch_kernel, a_flapping_table_wakes_nobody)
{
	cr_expect_eq(
		told("for i in $(seq 1000); do echo route add 9.$((i / 250)).$((i % 250)).0/24 via 192.0.2.1; done | "
		     "ip -batch -"),
		0);
	cr_expect_eq(told("ip route flush 9.0.0.0/8"), 0);
}
