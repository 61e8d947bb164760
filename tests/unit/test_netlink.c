// SPDX-License-Identifier: Apache-2.0
/* Each test runs in a process and a network namespace of its own; what came of a request is asked of `ip`. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <jansson.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tun/netlink.h"
#include "tun/tun.h"

enum { TABLE = 51820, MARK = 0x5354, PRIORITY = 1000 };

static struct netlink *netlink;
static struct error error;
static unsigned link0;

PRINTF_LIKE(1, 2) static void run(const char *format, ...)
{
	char command[512];
	va_list args;
	va_start(args, format);
	vsnprintf(command, sizeof command, format, args);
	va_end(args);
	cr_assert_eq(system(command), 0, "%s", command);
}

/* The output of an `ip -j` command; the caller lets go of it. */
static json_t *ip_json(const char *arguments)
{
	char command[256];
	snprintf(command, sizeof command, "ip -j %s 2>/dev/null", arguments);
	FILE *pipe = popen(command, "r");
	cr_assert_not_null(pipe);
	json_error_t why;
	json_t *array = json_loadf(pipe, 0, &why);
	pclose(pipe);
	/* ip prints nothing at all when a list is empty. */
	return array != NULL ? array : json_array();
}

static const char *string_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text != NULL ? text : "";
}

static json_int_t number_of(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	/* `ip rule` prints numbers as text. */
	return json_is_string(value) ? strtoll(json_string_value(value), NULL, 0) : json_integer_value(value);
}

static size_t count_of(const char *arguments)
{
	json_t *array = ip_json(arguments);
	size_t count = json_array_size(array);
	json_decref(array);
	return count;
}

static struct ip_prefix prefix(const char *text)
{
	struct ip_prefix parsed;
	cr_assert(ip_prefix_parse(text, &parsed), "%s", text);
	return parsed;
}

static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}, {0}};
	cr_assert_eq(syscall(SYS_capset, &header, none), 0);
}

static void link_add(const char *name)
{
	run("ip link add %s type veth peer name %s-peer && ip link set %s-peer up", name, name, name);
}

static void setup(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		cr_skip_test("a network namespace of our own needs CAP_SYS_ADMIN");
	run("ip link set lo up");
	link_add("link0");
	link0 = if_nametoindex("link0");
	netlink = netlink_open(&error);
	cr_assert_not_null(netlink, "%s", error.text);
}

static void teardown(void)
{
	netlink_close(netlink);
}

TestSuite(netlink, .init = setup, .fini = teardown);

#define assert_ok(call) cr_assert_eq(call, 0, "%s", error.text)

Test(netlink, mtu_and_up)
{
	assert_ok(netlink_link_set_mtu(netlink, link0, 1400, &error));
	json_t *links = ip_json("link show dev link0");
	cr_assert_eq(number_of(json_array_get(links, 0), "mtu"), 1400);
	cr_assert_str_eq(string_of(json_array_get(links, 0), "operstate"), "DOWN");
	json_decref(links);

	assert_ok(netlink_link_set_up(netlink, link0, &error));
	cr_assert_eq(count_of("link show dev link0 up"), 1);
}

Test(netlink, link_local_comes_by_default_and_not_when_turned_off)
{
	link_add("other0");
	run("ip link set other0 up");
	cr_assert_eq(count_of("-6 addr show dev other0 scope link"), 1, "the kernel's default is to make one");

	assert_ok(netlink_link_no_link_local(netlink, link0, &error));
	assert_ok(netlink_link_set_up(netlink, link0, &error));
	cr_assert_eq(count_of("-6 addr show dev link0 scope link"), 0);
}

Test(netlink, one_address_goes_and_the_other_stays)
{
	const struct ip_prefix v4 = prefix("10.8.0.1/32"), v6 = prefix("fd00:8::1/128");
	assert_ok(netlink_link_no_link_local(netlink, link0, &error));
	assert_ok(netlink_link_set_up(netlink, link0, &error));
	assert_ok(netlink_address_add(netlink, link0, &v4, &error));
	assert_ok(netlink_address_add(netlink, link0, &v6, &error));
	assert_ok(netlink_address_delete(netlink, link0, &v4, &error));
	cr_assert_eq(count_of("-4 addr show dev link0"), 0);
	cr_assert_eq(count_of("-6 addr show dev link0"), 1);
	/* Again is no error. */
	assert_ok(netlink_address_delete(netlink, link0, &v4, &error));
	assert_ok(netlink_address_delete(netlink, link0, &v6, &error));
	cr_assert_eq(count_of("-6 addr show dev link0"), 0);
	cr_assert_eq(netlink_address_delete(netlink, 4711, &v6, &error), -ENODEV);
}

Test(netlink, addresses_keep_host_bits_and_are_ready_at_once)
{
	const struct ip_prefix v4 = prefix("10.8.0.1/16"), v6 = prefix("fd00:8::1/64");
	assert_ok(netlink_link_no_link_local(netlink, link0, &error));
	assert_ok(netlink_link_set_up(netlink, link0, &error));
	assert_ok(netlink_address_add(netlink, link0, &v4, &error));
	assert_ok(netlink_address_add(netlink, link0, &v6, &error));
	/* Again is no error and adds nothing. */
	assert_ok(netlink_address_add(netlink, link0, &v4, &error));
	assert_ok(netlink_address_add(netlink, link0, &v6, &error));

	json_t *links = ip_json("addr show dev link0");
	json_t *addresses = json_object_get(json_array_get(links, 0), "addr_info");
	cr_assert_eq(json_array_size(addresses), 2);
	cr_assert_str_eq(string_of(json_array_get(addresses, 0), "local"), "10.8.0.1");
	cr_assert_eq(number_of(json_array_get(addresses, 0), "prefixlen"), 16);
	cr_assert_str_eq(string_of(json_array_get(addresses, 1), "local"), "fd00:8::1");
	cr_assert_eq(number_of(json_array_get(addresses, 1), "prefixlen"), 64);
	cr_assert(json_is_true(json_object_get(json_array_get(addresses, 1), "nodad")));
	cr_assert_null(json_object_get(json_array_get(addresses, 1), "tentative"));
	json_decref(links);
}

Test(netlink, routes_in_a_large_table)
{
	const struct ip_prefix v4 = prefix("10.9.1.2/16"), v6 = prefix("fd00:9::5/64"), all4 = prefix("0.0.0.0/0"),
			       all6 = prefix("::/0");
	assert_ok(netlink_link_set_up(netlink, link0, &error));
	for (int round = 0; round < 2; round++) {
		assert_ok(netlink_route_add(netlink, link0, &v4, TABLE, &error));
		assert_ok(netlink_route_add(netlink, link0, &v6, TABLE, &error));
		assert_ok(netlink_route_add(netlink, link0, &all4, TABLE, &error));
		assert_ok(netlink_route_add(netlink, link0, &all6, TABLE, &error));
	}

	json_t *routes = ip_json("-4 route show table 51820");
	cr_assert_eq(json_array_size(routes), 2, "an equal one is replaced");
	cr_assert_str_eq(string_of(json_array_get(routes, 0), "dst"), "default");
	cr_assert_str_eq(string_of(json_array_get(routes, 1), "dst"), "10.9.0.0/16", "host bits are cleared");
	cr_assert_str_eq(string_of(json_array_get(routes, 1), "dev"), "link0");
	json_decref(routes);
	routes = ip_json("-6 route show table 51820");
	cr_assert_eq(json_array_size(routes), 2);
	cr_assert_str_eq(string_of(json_array_get(routes, 0), "dst"), "fd00:9::/64");
	cr_assert_str_eq(string_of(json_array_get(routes, 1), "dst"), "default");
	json_decref(routes);
	cr_assert_eq(count_of("-4 route show table main"), 0, "nothing leaks into main");
}

/* Rules of the test's own, that is without local, main and default ("restore" below copies them too). */
static json_t *rules(int family)
{
	char arguments[64];
	snprintf(arguments, sizeof arguments, "-%d -N rule show", family);
	json_t *all = ip_json(arguments), *ours = json_array(), *rule;
	size_t i;
	json_array_foreach (all, i, rule) {
		json_int_t priority = number_of(rule, "priority");
		if (number_of(rule, "table") != 255 && priority < 32766)
			json_array_append(ours, rule);
	}
	json_decref(all);
	return ours;
}

static size_t rules_count(int family)
{
	json_t *array = rules(family);
	size_t count = json_array_size(array);
	json_decref(array);
	return count;
}

static struct netlink_rule all_but_the_mark(uint8_t family)
{
	return (struct netlink_rule){.family = family,
				     .invert = true,
				     .priority = PRIORITY,
				     .table = TABLE,
				     .mark = MARK,
				     .mask = 0xffff,
				     .suppress = NETLINK_SUPPRESS_NONE};
}

static int add_rule(uint8_t family)
{
	const struct netlink_rule rule = all_but_the_mark(family);
	return netlink_rule_add(netlink, &rule, &error);
}

static void one_rule(uint8_t family)
{
	assert_ok(add_rule(family));
	cr_assert_eq(add_rule(family), -EEXIST, "the kernel takes no second one");
	json_t *array = rules(family);
	cr_assert_eq(json_array_size(array), 1);
	const json_t *tunnel = json_array_get(array, 0);
	cr_assert_eq(number_of(tunnel, "priority"), PRIORITY);
	cr_assert_eq(number_of(tunnel, "table"), TABLE);
	cr_assert_str_eq(string_of(tunnel, "fwmark"), "0x5354");
	cr_assert_str_eq(string_of(tunnel, "fwmask"), "0xffff");
	cr_assert_not_null(json_object_get(tunnel, "not"));
	json_decref(array);

	const struct netlink_rule wanted = all_but_the_mark(family);
	struct netlink_rules found = {0};
	assert_ok(netlink_rules_read(netlink, family, &found, &error));
	size_t equal = 0;
	for (size_t i = 0; i < found.count; i++)
		equal += netlink_rule_equal(&found.items[i], &wanted);
	netlink_rules_free(&found);
	cr_assert_eq(equal, 1, "what is read is what was added");

	assert_ok(netlink_rules_delete(netlink, family, TABLE, &error));
	cr_assert_eq(rules_count(family), 0);
}

Test(netlink, rules_are_read_with_what_they_do)
{
	struct netlink_rule suppressing = all_but_the_mark(4);
	suppressing.suppress = 7;
	assert_ok(netlink_rule_add(netlink, &suppressing, &error));
	run("ip rule add priority 77 fwmark 3 to 10.0.0.0/8 table 9");
	run("ip rule add priority 78 iif lo table 9");
	run("ip rule add priority 79 unreachable");
	struct netlink_rules found = {0};
	assert_ok(netlink_rules_read(netlink, 4, &found, &error));
	for (size_t i = 0; i < found.count; i++) {
		const struct netlink_rule *rule = &found.items[i];
		if (rule->priority >= 77 && rule->priority <= 79)
			cr_expect(rule->more, "priority %u", rule->priority);
		else
			cr_expect(!rule->more, "priority %u", rule->priority);
		if (rule->priority == PRIORITY)
			cr_expect(netlink_rule_equal(rule, &suppressing));
	}
	cr_expect_eq(found.count, 3 + 4, "with the kernel's own");
	netlink_rules_free(&found);
}

Test(netlink, a_table_is_used_or_not)
{
	cr_expect(!netlink_table_is_used(netlink, 4, TABLE));
	run("ip route add 10.7.0.0/24 dev lo table 51820 && ip -6 route add fd00:7::/64 dev lo table 51821");
	cr_expect(netlink_table_is_used(netlink, 4, TABLE));
	cr_expect(!netlink_table_is_used(netlink, 6, TABLE));
	cr_expect(netlink_table_is_used(netlink, 6, TABLE + 1));
	cr_expect(!netlink_table_is_used(netlink, 4, TABLE + 1));
}

Test(netlink, rule_ipv4)
{
	one_rule(4);
}

Test(netlink, rule_ipv6)
{
	one_rule(6);
}

Test(netlink, rule_steers_all_but_the_mark)
{
	const struct ip_prefix all = prefix("0.0.0.0/0");
	link_add("lan0");
	run("ip link set lan0 up && ip route add default dev lan0");
	assert_ok(netlink_link_set_up(netlink, link0, &error));
	assert_ok(netlink_route_add(netlink, link0, &all, TABLE, &error));
	assert_ok(add_rule(4));
	static const struct {
		const char *get, *dev;
	} cases[] = {
		{"route get 203.0.113.9", "link0"},
		{"route get 203.0.113.9 mark 0x5354", "lan0"},
		{"route get 203.0.113.9 mark 0x775354", "lan0"},
		{"route get 203.0.113.9 mark 0x5355", "link0"},
	};
	run("ip addr add 192.0.2.9/32 dev lan0");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		json_t *routes = ip_json(cases[i].get);
		cr_assert_str_eq(string_of(json_array_get(routes, 0), "dev"), cases[i].dev, "%s", cases[i].get);
		json_decref(routes);
	}
}

Test(netlink, rules_delete_takes_all_that_crashes_left_and_nothing_else)
{
	assert_ok(add_rule(4));
	/* "restore" adds without asking whether an equal one is there: every rule is now there three times. */
	run("d=$(mktemp) && ip rule save >$d && ip rule restore <$d && ip rule restore <$d && rm $d");
	run("ip rule add to 10.0.0.0/8 iif lo priority 77 table 51820");
	run("ip rule add uidrange 5-9 priority 78 table 51820");
	run("ip rule add priority 79 table main suppress_prefixlength 0");
	run("ip rule add priority 1000 fwmark 7 table 100");
	cr_assert_geq(rules_count(4), 3 + 4);

	assert_ok(netlink_rules_delete(netlink, 4, TABLE, &error));
	json_t *left = rules(4);
	cr_assert_eq(json_array_size(left), 2);
	cr_assert_eq(number_of(json_array_get(left, 0), "priority"), 79, "another's rule for table main");
	cr_assert_eq(number_of(json_array_get(left, 1), "table"), 100, "another's rule at the same priority");
	json_decref(left);
	assert_ok(netlink_rules_delete(netlink, 4, TABLE, &error));
}

Test(netlink, rules_without_rights)
{
	drop_capabilities();
	cr_assert_eq(add_rule(4), -EPERM);
	cr_assert_str_eq(error.text, "add IPv4 rule 1000 for table 51820: Operation not permitted");
	assert_ok(netlink_rules_delete(netlink, 4, TABLE, &error));
	cr_assert_eq(rules_count(4), 0);
}

static uint16_t internet_checksum(const uint8_t *data, size_t length)
{
	uint32_t sum = 0;
	for (size_t i = 0; i < length; i += 2)
		sum += load_be16(data + i);
	return (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

static unsigned route_mtu(const char *text, uint32_t mark, int expected)
{
	struct ip_address address;
	struct netlink_path path = {0};
	cr_assert(ip_address_parse(text, &address));
	cr_assert_eq(netlink_path_find(netlink, &address, mark, &path, &error), expected, "%s", error.text);
	return path.mtu;
}

Test(netlink, route_mtu_is_that_of_the_way_out)
{
	run("ip link set link0 mtu 1400 up && ip addr add 10.1.0.1/24 dev link0 && "
	    "ip addr add fd01::1/64 dev link0 nodad");
	link_add("wide0");
	run("ip link set wide0 mtu 9000 up && ip addr add 10.2.0.1/24 dev wide0");
	run("ip route add 10.3.0.0/24 via 10.2.0.2 mtu 1300 && ip route add 10.4.0.0/24 via 10.2.0.2 mtu 9999");
	run("ip rule add fwmark 7 table 9 && ip route add default via 10.2.0.2 table 9");

	cr_assert_eq(route_mtu("10.1.0.2", 0, 0), 1400);
	cr_assert_eq(route_mtu("fd01::2", 0, 0), 1400);
	cr_assert_eq(route_mtu("10.2.0.9", 0, 0), 9000);
	cr_assert_eq(route_mtu("10.1.0.2", 7, 0), 9000, "the mark chooses the route");
	cr_assert_eq(route_mtu("10.3.0.1", 0, 0), 1300, "the route's own");
	cr_assert_eq(route_mtu("10.4.0.1", 0, 0), 9000, "but not above the link's");
}

/* A forged "fragmentation needed" shrinks the kernel's path MTU, but not the one that is reported. */
Test(netlink, route_mtu_does_not_follow_icmp)
{
	enum { IP = 20, ICMP = 8, LEARNED = 1000 };
	const struct ip_prefix address = prefix("10.8.0.1/16");
	const struct tun_params params = {
		.name = "tun9", .mtu = 1420, .addresses = &address, .address_count = 1, .readers = 1};
	struct tun_device device;
	assert_ok(tun_device_open(&device, &params, &error));

	struct sockaddr_in remote = {.sin_family = AF_INET, .sin_port = htons(7777)};
	inet_pton(AF_INET, "10.8.0.2", &remote.sin_addr);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), discover = IP_PMTUDISC_DO;
	cr_assert_eq(setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof discover), 0);
	uint8_t payload[1200] = {0}, sent[2048], icmp[VNET_HEADER_SIZE + IP + ICMP + IP + ICMP] = {0};
	cr_assert_eq(sendto(fd, payload, sizeof payload, 0, (struct sockaddr *)&remote, sizeof remote), 1200);
	struct iovec frame = {sent, sizeof sent};
	cr_assert_eq(device.queues[0].ops->read(&device.queues[0], &frame, 1), 1);

	uint8_t *ip = icmp + VNET_HEADER_SIZE, *message = ip + IP;
	memcpy(ip, sent + VNET_HEADER_SIZE, IP);
	store_be16(ip + 2, IP + ICMP + IP + ICMP);
	ip[9] = IPPROTO_ICMP;
	memcpy(ip + 12, sent + VNET_HEADER_SIZE + 16, 4);
	memcpy(ip + 16, sent + VNET_HEADER_SIZE + 12, 4);
	store_be16(ip + 10, 0);
	store_be16(ip + 10, internet_checksum(ip, IP));
	message[0] = 3;
	message[1] = 4;
	store_be16(message + 6, LEARNED);
	memcpy(message + ICMP, sent + VNET_HEADER_SIZE, IP + ICMP);
	store_be16(message + 2, internet_checksum(message, ICMP + IP + ICMP));
	const struct iovec piece = {icmp, sizeof icmp};
	cr_assert_eq(device.queues[0].ops->write(&device.queues[0], &(struct tun_frame){&piece, 1, 1}), 0);

	json_t *routes = ip_json("route get 10.8.0.2");
	cr_assert_eq(number_of(json_array_get(json_object_get(json_array_get(routes, 0), "metrics"), 0), "mtu"),
		     LEARNED, "the kernel believes it");
	json_decref(routes);
	cr_assert_eq(route_mtu("10.8.0.2", 0, 0), 1420);
	close(fd);
	tun_device_close(&device);
}

Test(netlink, route_mtu_without_a_route)
{
	run("ip link set link0 up && ip -6 route add unreachable fd02::/64");
	route_mtu("203.0.113.1", 0, -ENETUNREACH);
	cr_assert_str_eq(error.text, "route to 203.0.113.1: Network is unreachable");
	route_mtu("2001:db8::1", 0, -ENETUNREACH);
	route_mtu("fd02::1", 0, -EHOSTUNREACH);
	/* The socket is still good. */
	assert_ok(netlink_link_set_mtu(netlink, link0, 1400, &error));
}

Test(netlink, errors_say_what_was_tried_and_the_kernels_reason)
{
	const struct ip_prefix network = prefix("10.0.0.0/8"), address = prefix("10.8.0.1/16");
	cr_assert_eq(netlink_route_add(netlink, link0, &network, 254, &error), -ENETDOWN);
	cr_assert_str_eq(error.text, "add route 10.0.0.0/8 to link0: Network is down: Device for nexthop is not up");
	cr_assert_eq(netlink_address_add(netlink, 4711, &address, &error), -ENODEV);
	cr_assert(strncmp(error.text, "add address 10.8.0.1/16 to #4711: No such device", 48) == 0, "%s", error.text);
	cr_assert_eq(netlink_link_set_mtu(netlink, link0, 1, &error), -EINVAL);
	cr_assert(strncmp(error.text, "set MTU 1 on link0: Invalid argument: mtu less than device minimum", 66) == 0,
		  "%s", error.text);

	drop_capabilities();
	cr_assert_eq(netlink_link_set_mtu(netlink, link0, 1300, &error), -EPERM);
	cr_assert_str_eq(error.text, "set MTU 1300 on link0: Operation not permitted");
	cr_assert_eq(netlink_link_set_up(netlink, link0, &error), -EPERM);
	cr_assert_str_eq(error.text, "set link0 up: Operation not permitted");
}

Test(netlink, detours_of_another_tunnel)
{
	struct netlink_detours detours;
	run("ip tuntap add other0 mode tun && ip link set other0 up && ip route add 10.0.0.0/8 dev other0");
	run("ip link set link0 up && ip addr add 192.0.2.2/24 dev link0");
	run("ip route add 198.51.100.1/32 via 192.0.2.1 && ip route add 198.51.100.0/24 via 192.0.2.1");
	unsigned other = if_nametoindex("other0");
	assert_ok(netlink_detours(netlink, 4, other, &detours, &error));
	cr_expect_not(detours.everything);
	run("ip route add 0.0.0.0/1 dev other0 && ip route add 128.0.0.0/1 dev other0");
	assert_ok(netlink_detours(netlink, 4, other, &detours, &error));
	cr_expect(detours.everything);
	cr_assert_eq(detours.count, 1);
	char text[IP_TEXT_MAX];
	cr_expect_str_eq(ip_address_format(&detours.hosts[0], text), "198.51.100.1");
	run("ip route add default via 192.0.2.1");
	assert_ok(netlink_detours(netlink, 4, link0, &detours, &error));
	cr_expect_not(detours.everything, "a link that is no tunnel");
}
