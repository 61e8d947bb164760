// SPDX-License-Identifier: Apache-2.0
#include "core/client/table.h"

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "tun/netlink_state.h"

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

static uint32_t passing_priority(unsigned rank)
{
	return CLIENT_PASSING_FIRST - rank;
}

size_t client_table_rules(const struct client_table *table, uint8_t family, bool carried,
			  struct netlink_rule rules[CLIENT_RULES_MAX])
{
	size_t count = 0;
	if (table->number == 0)
		return 0;
	for (size_t i = 0; i < table->passing_count; i++) {
		rules[count++] = (struct netlink_rule){.family = family,
						       .priority = passing_priority(table->rank),
						       .table = RT_TABLE_MAIN,
						       .mark = table->passing[i].mark,
						       .mask = table->passing[i].mask,
						       .suppress = NETLINK_SUPPRESS_NONE};
	}
	if (table->front != 0 && carried)
		rules[count++] = rule_at(table, family, table->front, CLIENT_SUPPRESSED);
	rules[count++] = rule_at(table, family, CLIENT_TABLE_FIRST + table->rank, NETLINK_SUPPRESS_NONE);
	return count;
}

/* --- choosing ----------------------------------------------------------------------------------------------------- */

static bool is_clients(const struct netlink_rule *rule)
{
	return rule->mark == CLIENT_MARK && rule->mask == CLIENT_MASK;
}

static bool rank_is_free(const struct netlink_rules *rules, unsigned rank)
{
	for (size_t i = 0; i < rules->count; i++) {
		uint32_t priority = rules->items[i].priority;
		if (priority == CLIENT_TABLE_FIRST - rank || priority == CLIENT_TABLE_FIRST + rank ||
		    priority == passing_priority(rank))
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
			wanted, is_clients(rule) ? "another client" : "a policy rule", rule->priority, rule->family);
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
		*table = (struct client_table){
			.number = number, .rank = rank, .front = rank != 0 ? CLIENT_TABLE_FIRST - rank : 0};
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

int client_table_claim(const struct client_table *table, struct netlink *netlink, struct error *error)
{
	struct netlink_rule rules[CLIENT_RULES_MAX];
	if (client_table_rules(table, 4, false, rules) == 0)
		return 0;
	int result = netlink_rule_add(netlink, &rules[0], error);
	return result == -EOPNOTSUPP ? error_set(error, result,
						 "RouteTable: this kernel has no policy routing "
						 "(CONFIG_IP_MULTIPLE_TABLES); write off, and set routes by PostUp")
				     : result;
}

int client_table_prune(const struct client_table *table, struct netlink *netlink, uint8_t family,
		       const struct netlink_rule *wanted, size_t count, struct error *error)
{
	int result = netlink_rules_prune(netlink, family, table->number, wanted, count, error);
	uint32_t priority = passing_priority(table->rank);
	return result == 0 ? netlink_rules_prune_at(netlink, family, priority, wanted, count, error) : result;
}

int client_table_clean(uint32_t number, unsigned rank, struct netlink *netlink, struct error *error)
{
	int result = 0;
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		int one = netlink_rules_delete(netlink, families[i], number, error);
		if (one == 0 && rank < CLIENT_RANKS)
			one = netlink_rules_prune_at(netlink, families[i], passing_priority(rank), NULL, 0, error);
		result = one != 0 ? one : result;
	}
	return result;
}

/* --- tunnels of other programs ------------------------------------------------------------------------------------ */

static int compare_marks(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct client_mark));
}

static bool is_known(const struct client_table *table, const struct client_mark *mark)
{
	for (size_t i = 0; i < table->passing_count; i++) {
		if (compare_marks(&table->passing[i], mark) == 0)
			return true;
	}
	return false;
}

/* Whether the rule is "not fwmark MARK", applies to our tunnel's packets, and with its mark the endpoint is reached by
 * another link. */
static bool escapes(struct netlink *netlink, const struct netlink_rule *rule, const struct ip_address *endpoint,
		    unsigned ifindex)
{
	struct netlink_path path;
	struct error error;
	bool alike = rule->invert && !rule->more && rule->mask != 0 && rule->mark != 0;
	return alike && rule->mark != CLIENT_MARK && (CLIENT_MARK & rule->mask) != rule->mark &&
	       netlink_path_find(netlink, endpoint, rule->mark, &path, &error) == 0 && path.ifindex != ifindex;
}

bool client_table_find_passing(struct client_table *table, struct netlink *netlink, const struct ip_address *endpoint,
			       unsigned ifindex)
{
	struct client_table found = *table;
	struct netlink_rules rules = {0};
	struct error error;
	if (table->number == 0 || netlink_rules_read(netlink, endpoint->family, &rules, &error) != 0)
		return false;
	found.passing_count = 0;
	memset(found.passing, 0, sizeof found.passing);
	for (size_t i = 0; i < rules.count && found.passing_count < CLIENT_PASSING_MAX; i++) {
		const struct client_mark mark = {rules.items[i].mark, rules.items[i].mask};
		if (!is_known(&found, &mark) && escapes(netlink, &rules.items[i], endpoint, ifindex))
			found.passing[found.passing_count++] = mark;
	}
	netlink_rules_free(&rules);
	qsort(found.passing, found.passing_count, sizeof *found.passing, compare_marks);
	bool changed = found.passing_count != table->passing_count ||
		       memcmp(found.passing, table->passing, sizeof found.passing) != 0;
	*table = found;
	return changed;
}

bool client_table_raise(struct client_table *table, struct netlink *netlink, const struct ip_address *inner,
			unsigned ifindex)
{
	struct netlink_rules rules = {0};
	struct netlink_path path;
	struct error error;
	if (table->number == 0 || table->raised == CLIENT_RAISES ||
	    netlink_path_find(netlink, inner, 0, &path, &error) != 0 || path.ifindex == ifindex ||
	    netlink_rules_read(netlink, inner->family, &rules, &error) != 0)
		return false;
	uint32_t front = table->front != 0 ? table->front : CLIENT_TABLE_FIRST, lowest = front;
	for (size_t i = 0; i < rules.count; i++) {
		const struct netlink_rule *rule = &rules.items[i];
		if (rule->table != table->number && !is_clients(rule) && rule->priority != 0 && rule->priority < lowest)
			lowest = rule->priority;
	}
	netlink_rules_free(&rules);
	if (lowest == front || lowest == 1)
		return false;
	table->front = lowest - 1;
	table->raised++;
	return true;
}

/* --- other clients ------------------------------------------------------------------------------------------------ */

static int check_table(struct netlink *netlink, uint32_t number, const struct ip_address *address, struct error *error)
{
	struct netlink_routes routes = {0};
	char name[IF_NAMESIZE] = "?", inner[IP_TEXT_MAX], network[IP_TEXT_MAX];
	int result = 0;
	if (netlink_routes_read(netlink, address->family, number, &routes, NULL) != 0)
		return 0;
	for (size_t i = 0; i < routes.count && result == 0; i++) {
		const struct netlink_route *route = &routes.items[i];
		if (route->ifindex == NETLINK_THROW || route->ifindex == NETLINK_UNREACHABLE ||
		    route->network.length <= CLIENT_SUPPRESSED || !ip_prefix_contains(&route->network, address) ||
		    !netlink_link_is_tunnel(netlink, route->ifindex))
			continue;
		result = error_set(error, -EADDRINUSE,
				   "the gateway's inner address %s is in %s, which another client reaches by %s: "
				   "it goes to one of the two; give their gateways different networks",
				   ip_address_format(address, inner), ip_prefix_format(&route->network, network),
				   if_indextoname(route->ifindex, name) != NULL ? name : "?");
	}
	netlink_routes_free(&routes);
	return result;
}

int client_table_check_collision(const struct client_table *table, struct netlink *netlink,
				 const struct ip_address *address, struct error *error)
{
	struct netlink_rules rules = {0};
	int result = 0;
	if (address->family == 0 || netlink_rules_read(netlink, address->family, &rules, NULL) != 0)
		return 0;
	for (size_t i = 0; i < rules.count && result == 0; i++) {
		const struct netlink_rule *rule = &rules.items[i];
		if (is_clients(rule) && rule->table != table->number && rule->suppress == NETLINK_SUPPRESS_NONE)
			result = check_table(netlink, rule->table, address, error);
	}
	netlink_rules_free(&rules);
	return result;
}
