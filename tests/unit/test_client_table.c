// SPDX-License-Identifier: Apache-2.0
/* Which policy rules a client has, without a kernel. */
#include "core/client/table.h"

#include <criterion/criterion.h>
#include <linux/rtnetlink.h>

static struct netlink_rule rules[CLIENT_RULES_MAX];

static void expect_rule(size_t i, uint32_t priority, uint32_t table, uint32_t suppress)
{
	cr_expect_eq(rules[i].priority, priority);
	cr_expect_eq(rules[i].table, table);
	cr_expect_eq(rules[i].suppress, suppress);
	cr_expect(rules[i].invert && rules[i].mark == CLIENT_MARK && rules[i].mask == CLIENT_MASK);
}

Test(client_table, the_first_has_one_rule)
{
	const struct client_table table = {.number = 21845};
	cr_assert_eq(client_table_rules(&table, 4, true, rules), 1);
	expect_rule(0, 21845, 21845, NETLINK_SUPPRESS_NONE);
	cr_expect_eq(rules[0].family, 4);
	cr_assert_eq(client_table_rules(&table, 6, false, rules), 1);
	expect_rule(0, 21845, 21845, NETLINK_SUPPRESS_NONE);
	cr_expect_eq(rules[0].family, 6);
}

Test(client_table, another_has_its_networks_looked_up_before)
{
	const struct client_table table = {.number = 777, .rank = 2, .front = CLIENT_TABLE_FIRST - 2};
	cr_assert_eq(client_table_rules(&table, 4, true, rules), 2);
	expect_rule(0, 21843, 777, CLIENT_SUPPRESSED);
	expect_rule(1, 21847, 777, NETLINK_SUPPRESS_NONE);
	cr_assert_eq(client_table_rules(&table, 4, false, rules), 1, "what it refuses is not before others");
	expect_rule(0, 21847, 777, NETLINK_SUPPRESS_NONE);
}

Test(client_table, marks_of_others_pass_before_all)
{
	const struct client_table table = {
		.number = 21846, .rank = 1, .front = 1, .passing = {{51820, UINT32_MAX}}, .passing_count = 1};
	cr_assert_eq(client_table_rules(&table, 4, true, rules), 3);
	cr_expect_eq(rules[0].priority, (uint32_t)CLIENT_PASSING_FIRST - 1);
	cr_expect_eq(rules[0].table, RT_TABLE_MAIN);
	cr_expect_not(rules[0].invert);
	cr_expect_eq(rules[0].mark, 51820);
	expect_rule(1, 1, 21846, CLIENT_SUPPRESSED);
}

Test(client_table, off_has_none)
{
	const struct client_table table = {0};
	cr_expect_eq(client_table_rules(&table, 4, true, rules), 0);
}
