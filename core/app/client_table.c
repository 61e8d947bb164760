// SPDX-License-Identifier: Apache-2.0
#include "core/app/client_table.h"

#include "config/config.h"

static const uint8_t families[] = {4, 6};

static struct netlink_rule rule_at(const struct client_table *table, uint8_t family, uint32_t priority,
				   uint32_t suppress)
{
	return (struct netlink_rule){.family = family,
				     .invert = true,
				     .priority = priority,
				     .table = table->number,
				     .mark = CLIENT_MARK,
				     .mask = CLIENT_MASK,
				     .suppress = suppress};
}

size_t client_table_rules(const struct client_table *table, uint8_t family, bool carried,
			  struct netlink_rule rules[CLIENT_RULES_MAX])
{
	size_t count = 0;
	if (table->number == 0)
		return 0;
	if (table->rank != 0 && carried)
		rules[count++] = rule_at(table, family, CLIENT_TABLE_FIRST - table->rank, CLIENT_SUPPRESSED);
	rules[count++] = rule_at(table, family, CLIENT_TABLE_FIRST + table->rank, NETLINK_SUPPRESS_NONE);
	return count;
}

/* --- choosing ----------------------------------------------------------------------------------------------------- */

static bool rank_is_free(const struct netlink_rules *rules, unsigned rank)
{
	for (size_t i = 0; i < rules->count; i++) {
		uint32_t priority = rules->items[i].priority;
		if (priority == CLIENT_TABLE_FIRST - rank || priority == CLIENT_TABLE_FIRST + rank)
			return false;
	}
	return true;
}

/* The rule that names a table, or NULL. */
static const struct netlink_rule *rule_for(const struct netlink_rules *rules, uint32_t table)
{
	for (size_t i = 0; i < rules->count; i++) {
		if (rules->items[i].table == table)
			return &rules->items[i];
	}
	return NULL;
}

static bool has_routes(struct netlink *netlink, uint32_t table)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		if (netlink_table_is_used(netlink, families[i], table))
			return true;
	}
	return false;
}

static int check_wanted(const struct netlink_rules *rules, struct netlink *netlink, uint32_t wanted,
			struct error *error)
{
	const struct netlink_rule *rule = rule_for(rules, wanted);
	if (rule != NULL)
		return error_set(
			error, -EADDRINUSE,
			"RouteTable = %u: %s looks it up already (priority %u in 'ip -%u rule'); write auto, or a "
			"number that nothing uses",
			wanted,
			rule->mark == CLIENT_MARK && rule->mask == CLIENT_MASK ? "another client" : "a policy rule",
			rule->priority, rule->family);
	if (has_routes(netlink, wanted))
		return error_set(
			error, -EADDRINUSE,
			"RouteTable = %u: it has routes already ('ip route show table %u'); write auto, or a number "
			"that nothing uses",
			wanted, wanted);
	return 0;
}

static int choose(struct client_table *table, const struct netlink_rules *rules, struct netlink *netlink,
		  uint32_t wanted, struct error *error)
{
	bool automatic = wanted == CONFIG_TABLE_AUTO;
	int result = automatic ? 0 : check_wanted(rules, netlink, wanted, error);
	for (unsigned rank = 0; rank < CLIENT_RANKS && result == 0; rank++) {
		uint32_t number = automatic ? CLIENT_TABLE_FIRST + rank : wanted;
		if (!rank_is_free(rules, rank) ||
		    (automatic && (rule_for(rules, number) != NULL || has_routes(netlink, number))))
			continue;
		*table = (struct client_table){.number = number, .rank = rank};
		return 0;
	}
	return result != 0 ? result
			   : error_set(error, -EADDRINUSE,
				       "RouteTable: no policy rule of a priority around %d is free; take down clients "
				       "that are not needed",
				       CLIENT_TABLE_FIRST);
}

int client_table_choose(struct client_table *table, struct netlink *netlink, uint32_t wanted, struct error *error)
{
	struct netlink_rules rules = {0};
	int result = 0;
	*table = (struct client_table){0};
	for (size_t i = 0; i < ARRAY_SIZE(families) && result == 0; i++)
		result = netlink_rules_read(netlink, families[i], &rules, error);
	if (result == 0 && wanted != 0)
		result = choose(table, &rules, netlink, wanted, error);
	netlink_rules_free(&rules);
	return result;
}

/* --- rules -------------------------------------------------------------------------------------------------------- */

static bool no_family(int result)
{
	return result == -EAFNOSUPPORT || result == -EOPNOTSUPP;
}

int client_table_claim(const struct client_table *table, struct netlink *netlink, struct error *error)
{
	struct netlink_rule rules[CLIENT_RULES_MAX];
	if (client_table_rules(table, 4, false, rules) == 0)
		return 0;
	int result = netlink_rule_add(netlink, &rules[0], error);
	return no_family(result) ? 0 : result;
}
