// SPDX-License-Identifier: Apache-2.0
/* What the client's table has besides AllowedIPs, without a kernel. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/client/routes.h"
#include "tests/unit/config_files.h"

enum { TUNNEL = 7, ETHERNET = 2, WIFI = 3 };

static struct ip_prefix prefix(const char *text)
{
	struct ip_prefix result;
	cr_assert(ip_prefix_parse(text, &result), "%s", text);
	return result;
}

static struct ip_address address(const char *text)
{
	return prefix(text).address;
}

struct plan {
	struct client_config *config;
	struct wire_welcome lease;
	struct netlink_attached attached[8];
	size_t attached_count;
	bool not_carried;
	struct netlink_routes wanted;
};

static void plan_deinit(struct plan *plan)
{
	netlink_routes_free(&plan->wanted);
}

#define PLAN __attribute__((cleanup(plan_deinit))) struct plan

static void attach(struct plan *plan, const char *network, unsigned ifindex, uint32_t metric)
{
	plan->attached[plan->attached_count++] = (struct netlink_attached){prefix(network), ifindex, metric};
}

static void make(struct plan *plan)
{
	struct ip_set allowed;
	const struct config_prefixes *prefixes = &plan->config->gateway.allowed_ips;
	cr_assert_eq(ip_set_init(&allowed, prefixes->items, prefixes->count), 0);
	const struct client_routes_wish wish = {.config = plan->config,
						.allowed = &allowed,
						.lease = &plan->lease,
						.ifindex = TUNNEL,
						.carried = !plan->not_carried,
						.attached = plan->attached,
						.attached_count = plan->attached_count};
	netlink_routes_free(&plan->wanted);
	cr_assert_eq(client_routes_plan(&plan->wanted, 4, &wish), 0);
	cr_assert_eq(client_routes_plan(&plan->wanted, 6, &wish), 0);
	netlink_routes_settle(&plan->wanted);
	ip_set_deinit(&allowed);
	config_free_client(plan->config);
}

/* Where the table sends the network while the link is up: -1 when it says nothing of it. */
static int leads(const struct plan *plan, const char *network)
{
	struct ip_prefix wanted = prefix(network);
	for (size_t i = 0; i < plan->wanted.count; i++) {
		const struct netlink_route *route = &plan->wanted.items[i];
		if (route->ifindex != NETLINK_UNREACHABLE && route->network.length == wanted.length &&
		    ip_address_equal(&route->network.address, &wanted.address))
			return (int)route->ifindex;
	}
	return -1;
}

/* Whether it is refused when the link is not up. */
static bool is_refused(const struct plan *plan, const char *network)
{
	struct ip_prefix wanted = prefix(network);
	for (size_t i = 0; i < plan->wanted.count; i++) {
		const struct netlink_route *route = &plan->wanted.items[i];
		if (route->ifindex == NETLINK_UNREACHABLE && route->network.length == wanted.length &&
		    ip_address_equal(&route->network.address, &wanted.address))
			return true;
	}
	return false;
}

#define ALLOWED(networks) "[Gateway]\nPublicKey = " KEY_A "\nEndpoint = h:1\nAllowedIPs = " networks "\n"

Test(client_routes, attached_networks_are_nearer_than_everything)
{
	PLAN plan = {.config = load_client(CLIENT ALLOWED("0.0.0.0/0, ::/0, 10.8.0.0/16, 192.168.5.0/24"))};
	attach(&plan, "192.168.1.0/24", ETHERNET, 100);
	attach(&plan, "192.168.1.0/24", WIFI, 600);
	attach(&plan, "fd00:1::/64", WIFI, 600);
	attach(&plan, "10.8.7.0/24", WIFI, 600);
	attach(&plan, "192.168.5.0/24", WIFI, 600);
	attach(&plan, "10.0.0.0/8", WIFI, 600);
	attach(&plan, "128.0.0.0/1", WIFI, 600);
	attach(&plan, "10.8.0.2/32", TUNNEL, 0);
	make(&plan);
	cr_expect_eq(leads(&plan, "192.168.1.0/24"), ETHERNET, "the link that the kernel prefers");
	cr_expect_eq(leads(&plan, "fd00:1::/64"), WIFI);
	cr_expect_eq(leads(&plan, "10.0.0.0/8"), WIFI, "wider than what is said to be behind the gateway");
	cr_expect_eq(leads(&plan, "10.8.7.0/24"), -1, "inside it");
	cr_expect_eq(leads(&plan, "192.168.5.0/24"), TUNNEL, "the same");
	cr_expect_eq(leads(&plan, "128.0.0.0/1"), -1, "no link is that wide");
	cr_expect_eq(plan.wanted.count, 3 + 4, "besides AllowedIPs");
}

Test(client_routes, only_everything_gives_way)
{
	PLAN plan = {.config = load_client(CLIENT ALLOWED("0.0.0.0/1, 128.0.0.0/2, fd00::/8"))};
	attach(&plan, "192.168.1.0/24", ETHERNET, 0);
	attach(&plan, "fd00:1::/64", ETHERNET, 0);
	attach(&plan, "2001:db8::/64", ETHERNET, 0);
	make(&plan);
	cr_expect_eq(plan.wanted.count, 3);

	PLAN other = {.config = load_client(CLIENT "LocalNetworks = no\n" ALLOWED("0.0.0.0/0"))};
	attach(&other, "192.168.1.0/24", ETHERNET, 0);
	make(&other);
	cr_expect_eq(other.wanted.count, 1);
}

Test(client_routes, everything_in_parts)
{
	PLAN plan = {
		.config = load_client(CLIENT ALLOWED("0.0.0.0/1, 128.0.0.0/1, 10.8.0.0/16, 2000::/3, fd00:8::/64"))};
	attach(&plan, "192.168.1.0/24", ETHERNET, 0);
	attach(&plan, "10.8.7.0/24", ETHERNET, 0);
	attach(&plan, "2001:db8::/64", ETHERNET, 0);
	attach(&plan, "fd00:8:0:0:8000::/65", ETHERNET, 0);
	make(&plan);
	cr_expect_eq(leads(&plan, "192.168.1.0/24"), ETHERNET);
	cr_expect_eq(leads(&plan, "10.8.7.0/24"), -1, "in one that was meant");
	cr_expect_eq(leads(&plan, "2001:db8::/64"), ETHERNET);
	cr_expect_eq(leads(&plan, "fd00:8:0:0:8000::/65"), -1, "in one that was meant");
}

/* 192.0.0.0/2 but 192.168.1.1, the gateway: as calculators print it. */
#define BUT_ONE                                                                                                 \
	"192.0.0.0/9, 192.128.0.0/11, 192.160.0.0/13, 192.168.0.0/24, 192.168.1.0/32, 192.168.1.2/31, "         \
	"192.168.1.4/30, 192.168.1.8/29, 192.168.1.16/28, 192.168.1.32/27, 192.168.1.64/26, 192.168.1.128/25, " \
	"192.168.2.0/23, 192.168.4.0/22, 192.168.8.0/21, 192.168.16.0/20, 192.168.32.0/19, 192.168.64.0/18, "   \
	"192.168.128.0/17, 192.169.0.0/16, 192.170.0.0/15, 192.172.0.0/14, 192.176.0.0/12, 192.192.0.0/10, "    \
	"193.0.0.0/8, 194.0.0.0/7, 196.0.0.0/6, 200.0.0.0/5, 208.0.0.0/4, 224.0.0.0/3"

Test(client_routes, everything_with_a_hole_in_an_attached_network)
{
	PLAN plan = {.config = load_client(CLIENT ALLOWED("0.0.0.0/1, 128.0.0.0/2, " BUT_ONE))};
	attach(&plan, "192.168.1.0/24", ETHERNET, 0);
	attach(&plan, "192.168.2.0/23", WIFI, 0);
	make(&plan);
	cr_expect_eq(leads(&plan, "192.168.1.0/24"), ETHERNET);
	cr_expect_eq(leads(&plan, "192.168.1.128/25"), ETHERNET, "a part of everything gives way to it");
	cr_expect_eq(leads(&plan, "192.168.1.2/31"), ETHERNET);
	cr_expect_eq(leads(&plan, "192.168.2.0/23"), WIFI, "also the one that is just as wide");
	cr_expect_eq(leads(&plan, "192.168.4.0/22"), TUNNEL);
}

Test(client_routes, what_the_gateway_gives_is_behind_it)
{
	PLAN plan = {.config = load_client(CLIENT ALLOWED("0.0.0.0/0, fd00:8::/64"))};
	plan.lease = (struct wire_welcome){
		.gateway4 = address("10.8.0.1"),
		.gateway6 = address("fd00:8::1"),
		.dns_count = 3,
		.dns = {address("10.8.0.53"), address("fd00:8::53"), address("fd00:9::53")},
		.route_count = 4,
		.routes = {prefix("192.168.1.7/24"), prefix("172.16.0.0/12"), prefix("fd00::/8"), prefix("0.0.0.0/0")}};
	attach(&plan, "192.168.1.0/24", ETHERNET, 0);
	attach(&plan, "172.16.5.0/24", ETHERNET, 0);
	attach(&plan, "10.8.0.0/24", ETHERNET, 0);
	make(&plan);
	cr_expect_eq(leads(&plan, "10.8.0.1/32"), TUNNEL);
	cr_expect_eq(leads(&plan, "fd00:8::1/128"), TUNNEL);
	cr_expect_eq(leads(&plan, "10.8.0.53/32"), TUNNEL);
	cr_expect_eq(leads(&plan, "fd00:8::53/128"), TUNNEL);
	cr_expect_eq(leads(&plan, "fd00:9::53/128"), -1, "not in AllowedIPs");
	cr_expect_eq(leads(&plan, "192.168.1.0/24"), TUNNEL, "the attached one gives way");
	cr_expect_eq(leads(&plan, "172.16.0.0/12"), TUNNEL);
	cr_expect_eq(leads(&plan, "172.16.5.0/24"), -1, "one inside it too");
	cr_expect_eq(leads(&plan, "fd00::/8"), -1, "wider than AllowedIPs");
	cr_expect_eq(leads(&plan, "0.0.0.0/0"), TUNNEL, "AllowedIPs' own");
	cr_expect_eq(leads(&plan, "10.8.0.0/24"), ETHERNET, "but not the name server in it");
}

Test(client_routes, own_networks_are_for_table_main)
{
	PLAN plan = {
		.config = load_client(CLIENT "LocalNetworks = no\nNetworks = 192.168.7.0/24\n" ALLOWED("0.0.0.0/0"))};
	attach(&plan, "192.168.7.0/24", ETHERNET, 0);
	make(&plan);
	cr_expect_eq(leads(&plan, "192.168.7.0/24"), NETLINK_THROW);
	cr_expect_eq(plan.wanted.count, 2);
}

Test(client_routes, ten_thousand_attached_networks)
{
	enum { MANY = 10000 };
	PLAN plan = {.config = load_client(CLIENT ALLOWED("0.0.0.0/0"))};
	struct netlink_attached *many = calloc(MANY, sizeof *many);
	cr_assert_not_null(many);
	for (size_t i = 0; i < MANY; i++) {
		many[i] = (struct netlink_attached){prefix("10.0.0.0/24"), ETHERNET, 0};
		many[i].network.address.bytes[1] = (uint8_t)(i >> 8);
		many[i].network.address.bytes[2] = (uint8_t)i;
	}
	const struct ip_prefix everything = prefix("0.0.0.0/0");
	struct ip_set allowed;
	cr_assert_eq(ip_set_init(&allowed, &everything, 1), 0);
	const struct client_routes_wish wish = {.config = plan.config,
						.allowed = &allowed,
						.lease = &plan.lease,
						.ifindex = TUNNEL,
						.carried = true,
						.attached = many,
						.attached_count = MANY};
	cr_assert_eq(client_routes_plan(&plan.wanted, 4, &wish), 0);
	ip_set_deinit(&allowed);
	netlink_routes_settle(&plan.wanted);
	cr_expect_eq(plan.wanted.count, MANY + 1);
	free(many);
	config_free_client(plan.config);
}

Test(client_routes, what_the_tunnel_does_not_carry_is_refused)
{
	PLAN plan = {.config = load_client(CLIENT "Networks = 10.7.0.0/24\n" ALLOWED("0.0.0.0/0, 10.8.0.0/16")),
		     .lease = {.gateway4 = address("10.8.0.1")},
		     .not_carried = true};
	make(&plan);
	cr_expect_eq(leads(&plan, "0.0.0.0/0"), -1);
	cr_expect_eq(leads(&plan, "10.8.0.1/32"), -1);
	cr_expect_eq(leads(&plan, "10.7.0.0/24"), NETLINK_THROW);
	cr_expect(is_refused(&plan, "0.0.0.0/0") && is_refused(&plan, "10.8.0.0/16"));
}

Test(client_routes, with_a_kill_switch_what_leads_into_the_tunnel_is_refused_without_its_link)
{
	PLAN plan = {.config = load_client(CLIENT
					   "KillSwitch = yes\nNetworks = 10.8.0.0/16\n" ALLOWED("::/0, 10.8.0.0/16"))};
	make(&plan);
	cr_expect_eq(leads(&plan, "::/0"), TUNNEL);
	cr_expect(is_refused(&plan, "::/0"));
	cr_expect_eq(leads(&plan, "10.8.0.0/16"), NETLINK_THROW, "what is behind us has priority");
}

Test(client_routes, without_one_a_killed_client_leaves_no_route_that_refuses)
{
	PLAN plan = {.config = load_client(CLIENT ALLOWED("0.0.0.0/0, ::/0"))};
	make(&plan);
	cr_expect_eq(leads(&plan, "::/0"), TUNNEL);
	cr_expect_not(is_refused(&plan, "0.0.0.0/0") || is_refused(&plan, "::/0"));
}
