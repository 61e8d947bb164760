// SPDX-License-Identifier: Apache-2.0
/* The map of the blocks' owners, as the agent writes it, and the rules that nft makes of it. What the kernel then
 * does is for tests/netns/cases/cluster_forwarding.sh. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/gateway/cluster_rules.h"

static struct error error;
static struct cluster_map_left_out left_out;

static struct ip_address address(const char *text)
{
	struct ip_address parsed;
	cr_assert(ip_address_parse(text, &parsed), "%s", text);
	return parsed;
}

/* As text again: "BLOCK=ADDRESS:PORT " each, IPv4 first. */
static const char *text_of(const struct cluster_map *map)
{
	static char text[1024];
	size_t used = 0;
	text[0] = '\0';
	for (uint8_t family = 4; family <= 6; family += 2) {
		for (unsigned block = 0; block < CLUSTER_MAP_BLOCKS; block++) {
			const struct cluster_owner *owner = cluster_map_owner(map, block, family);
			char one[IP_TEXT_MAX];
			if (owner != NULL)
				used += (size_t)snprintf(text + used, sizeof text - used, "%u=%s:%u ", block,
							 ip_address_format(&owner->address, one), owner->port);
		}
	}
	return text;
}

Test(cluster_map, what_the_agent_writes)
{
	static const struct {
		const char *text, *map;
	} cases[] = {
		{"-", ""},
		{"1=10.0.0.1", "1=10.0.0.1:0 "},
		{"255=10.0.0.1:5556", "255=10.0.0.1:5556 "},
		{"7=fd00::1", "7=fd00::1:0 "},
		{"7=[fd00::1]", "7=fd00::1:0 "},
		{"7=[fd00::1]:65535", "7=fd00::1:65535 "},
		{"7=[fd00::1]:1,7=10.0.0.1:2,3=10.0.0.1", "3=10.0.0.1:0 7=10.0.0.1:2 7=fd00::1:1 "},
	};
	const struct ip_address own[] = {address("10.0.0.9"), address("fd00::9")};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cluster_map map = {0};
		cr_assert_eq(cluster_map_parse(&map, cases[i].text, own, ARRAY_SIZE(own), &left_out, &error), 0,
			     "%s: %s", cases[i].text, error.text);
		cr_expect_str_eq(text_of(&map), cases[i].map);
	}
}

Test(cluster_map, what_it_may_not_write_changes_nothing)
{
	static const char *const texts[] = {
		"",
		",",
		"1=10.0.0.1,",
		",1=10.0.0.1",
		"1=10.0.0.1,,2=10.0.0.1",
		"1",
		"=10.0.0.1",
		"0=10.0.0.1",
		"256=10.0.0.1",
		"4294967297=10.0.0.1",
		"-1=10.0.0.1",
		"+1=10.0.0.1",
		" 1=10.0.0.1",
	};
	struct cluster_map map = {0};
	cr_assert_eq(cluster_map_parse(&map, "3=10.0.0.1", NULL, 0, &left_out, &error), 0);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		error.text[0] = '\0';
		cr_expect_eq(cluster_map_parse(&map, texts[i], NULL, 0, &left_out, &error), -EINVAL, "%s", texts[i]);
		cr_expect_neq(error.text[0], '\0', "%s", texts[i]);
		cr_expect_str_eq(text_of(&map), "3=10.0.0.1:0 ", "%s", texts[i]);
	}
}

/* What a node says wrongly of itself leaves its own entry out, and no other one. */
Test(cluster_map, an_address_that_is_no_other_gateways_is_left_out)
{
	static const char *const entries[] = {
		"1=",
		"1=10.0.0.1 ",
		"1=10.0.0.1:0",
		"1=10.0.0.1:65536",
		"1=10.0.0.1:",
		"1=10.0.0.1:1x",
		"1=[fd00::1",
		"1=[fd00::1]5",
		"1=[10.0.0.1:5",
		"1=10.0.0",
		"1=0.0.0.0",
		"1=127.0.0.1",
		"1=224.0.0.1",
		"1=::1",
		"1=ff02::1",
		"1=::",
		"1=::ffff:10.0.0.1",
		"1=name",
		"1=10.0.0.1/32",
		"2=10.0.0.3",
		/* this machine's own, however they are written */
		"1=10.0.0.9",
		"1=10.0.0.9:5557",
		"1=[FD00:0::9]:5556",
		"1=fd00::9",
	};
	const struct ip_address own[] = {address("10.0.0.9"), address("fd00::9")};
	struct cluster_map map = {0};
	for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
		char text[128];
		(void)snprintf(text, sizeof text, "2=10.0.0.2,%s,3=10.0.0.1", entries[i]);
		cr_expect_eq(cluster_map_parse(&map, text, own, ARRAY_SIZE(own), &left_out, &error), 0, "%s: %s", text,
			     error.text);
		cr_expect_str_eq(text_of(&map), "2=10.0.0.2:0 3=10.0.0.1:0 ", "%s", text);
		cr_expect_eq(left_out.count, 1, "%s", text);
		cr_expect_eq(strncmp(left_out.first, entries[i], strlen(entries[i])), 0, "%s", left_out.first);
	}
	cr_assert_eq(cluster_map_parse(&map, "1=10.0.0.9,2=fd00::9", own, ARRAY_SIZE(own), &left_out, &error), 0);
	cr_expect_str_eq(left_out.first, "1=10.0.0.9: the address is this machine's own");
	cr_expect_eq(left_out.count, 2);
	cr_assert_eq(cluster_map_parse(&map, "-", own, ARRAY_SIZE(own), &left_out, &error), 0);
	cr_expect_eq(left_out.count, 0);
}

Test(cluster_map, a_whole_cluster)
{
	struct cluster_map map = {0}, other = {0};
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	cr_assert_not_null(out);
	for (unsigned block = 1; block < CLUSTER_MAP_BLOCKS; block++)
		fprintf(out, "%s%u=10.0.0.%u:5556", block == 1 ? "" : ",", block, block);
	fclose(out);
	cr_assert_eq(cluster_map_parse(&map, text, NULL, 0, &left_out, &error), 0, "%s", error.text);
	cr_expect_eq(cluster_map_count(&map, 4), CLUSTER_MAP_BLOCKS - 1);
	cr_expect_eq(cluster_map_count(&map, 6), 0);
	cr_expect_null(cluster_map_owner(&map, 0, 4));
	cr_expect(!cluster_map_equal(&map, &other));
	cr_assert_eq(cluster_map_parse(&other, text, NULL, 0, &left_out, &error), 0);
	cr_expect(cluster_map_equal(&map, &other));
	other.ipv4[CLUSTER_MAP_BLOCKS - 1].port++;
	cr_expect(!cluster_map_equal(&map, &other));
	free(text);
}

static char *rules_for(const char *map_text, const char *listen, bool wireguard)
{
	static struct cluster_map map;
	struct ip_address addresses[1];
	cr_assert_eq(cluster_map_parse(&map, map_text, NULL, 0, &left_out, &error), 0, "%s", error.text);
	if (listen != NULL)
		addresses[0] = address(listen);
	const struct cluster_rules rules = {.table = "T",
					    .outside = "out",
					    .inside = "in",
					    .listen = addresses,
					    .listen_count = listen != NULL,
					    .port = 5555,
					    .wireguard = wireguard,
					    .map = &map};
	return cluster_rules_commands(&rules, &error);
}

#define CHAINS                                                                                                 \
	"add chain netdev T arrivals { type filter hook ingress device \"out\" priority 0; policy accept; }\n" \
	"add chain netdev T ip-owners\nadd chain netdev T ip6-owners\nflush table netdev T\n"

Test(cluster_rules, of_our_own_protocol)
{
	char *text = rules_for("1=10.0.0.1,255=10.0.0.2:5556", "203.0.113.1", false);
	cr_expect_str_eq(
		text, CHAINS
		"add rule netdev T ip-owners @th,64,8 > 0x0f fwd ip to @th,72,16 & 0x0ff0 map { 0x0010 : 10.0.0.1, "
		"0x0ff0 : 10.0.0.2 } device \"in\"\n"
		"add rule netdev T arrivals meta protocol ip ip daddr { 203.0.113.1 } udp dport 5555 goto ip-owners\n");
	free(text);
}

Test(cluster_rules, of_wireguard_in_ipv6_on_all_addresses)
{
	char *text = rules_for("2=fd00::1", NULL, true);
	cr_expect_str_eq(
		text, CHAINS
		"add rule netdev T ip6-owners @th,64,8 > 0x0f fwd ip6 to @th,72,16 & 0x0ff0 map { 0x0020 : fd00::1 } "
		"device \"in\"\n"
		"add rule netdev T ip6-owners @th,64,32 0x04000000 fwd ip6 to @th,96,16 & 0x0ff0 map { 0x0020 : "
		"fd00::1 } "
		"device \"in\"\n"
		"add rule netdev T ip6-owners @th,64,32 0x02000000 fwd ip6 to @th,128,16 & 0x0ff0 map { 0x0020 : "
		"fd00::1 "
		"} device \"in\"\n"
		"add rule netdev T ip6-owners @th,64,32 0x03000000 fwd ip6 to @th,96,16 & 0x0ff0 map { 0x0020 : "
		"fd00::1 } "
		"device \"in\"\n"
		"add rule netdev T arrivals meta protocol ip6 fib daddr type local udp dport 5555 goto ip6-owners\n");
	free(text);
}

/* Nothing of the family arrives, or nothing is known of it. */
Test(cluster_rules, of_the_other_family_only)
{
	char *text = rules_for("2=fd00::1", "203.0.113.1", false);
	cr_expect_null(strstr(text, "arrivals meta"));
	free(text);
	text = rules_for("-", NULL, true);
	cr_expect_str_eq(text, CHAINS);
	free(text);
}

Test(cluster_rules, a_name_that_nft_cannot_take)
{
	static struct cluster_map map;
	const struct cluster_rules rules = {.table = "T", .outside = "a\"b", .inside = "in", .map = &map};
	cr_expect_null(cluster_rules_commands(&rules, &error));
	cr_expect_not_null(strstr(error.text, "cannot take"));
}
