// SPDX-License-Identifier: Apache-2.0
/* Policy rules: which packets the kernel looks up in which routing table, and in which order. */
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>

#include "tun/netlink.h"
#include "tun/netlink_request.h"

static bool no_family(int rc)
{
	return rc == -EAFNOSUPPORT || rc == -EOPNOTSUPP;
}

static int rules_dump(struct netlink *netlink, uint8_t family, netlink_answer_fn *answer, void *data,
		      struct error *error)
{
	struct nlmsghdr *request = netlink_start(netlink, RTM_GETRULE, NLM_F_DUMP);
	struct fib_rule_hdr *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
	body->family = (uint8_t)netlink_family(family);
	int rc = netlink_transact(netlink, request, answer, data, error);
	return rc < 0 && !no_family(rc) ? error_prefix(error, rc, "list IPv%u rules: ", family) : rc;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

struct rule_reading {
	struct netlink_rules *rules;
	bool failed; /* out of memory */
};

static bool has_more(const struct fib_rule_hdr *rule, const struct netlink_attributes *attributes)
{
	static const uint16_t selectors[] = {FRA_IIFNAME, FRA_OIFNAME,	   FRA_UID_RANGE,   FRA_L3MDEV, FRA_IP_PROTO,
					     FRA_FLOW,	  FRA_SPORT_RANGE, FRA_DPORT_RANGE, FRA_TUN_ID};
	for (size_t i = 0; i < ARRAY_SIZE(selectors); i++) {
		if (attributes->by_type[selectors[i]] != NULL)
			return true;
	}
	return rule->action != FR_ACT_TO_TBL || rule->src_len != 0 || rule->dst_len != 0 || rule->tos != 0 ||
	       netlink_attribute_u32(attributes, FRA_SUPPRESS_IFGROUP, UINT32_MAX) != UINT32_MAX;
}

static struct netlink_rule rule_parse(const struct nlmsghdr *message)
{
	const struct fib_rule_hdr *rule = mnl_nlmsg_get_payload(message);
	struct netlink_attributes attributes = netlink_attributes(message, sizeof *rule);
	return (struct netlink_rule){
		.family = rule->family == AF_INET ? 4 : 6,
		.invert = (rule->flags & FIB_RULE_INVERT) != 0,
		.more = has_more(rule, &attributes),
		.priority = netlink_attribute_u32(&attributes, FRA_PRIORITY, 0),
		.table = netlink_attribute_u32(&attributes, FRA_TABLE, rule->table),
		.mark = netlink_attribute_u32(&attributes, FRA_FWMARK, 0),
		.mask = netlink_attribute_u32(&attributes, FRA_FWMASK, 0),
		.suppress = netlink_attribute_u32(&attributes, FRA_SUPPRESS_PREFIXLEN, NETLINK_SUPPRESS_NONE),
	};
}

static void rule_read(const struct nlmsghdr *message, void *data)
{
	struct rule_reading *reading = data;
	struct netlink_rules *rules = reading->rules;
	if (message->nlmsg_type != RTM_NEWRULE)
		return;
	if (rules->count == rules->room) {
		size_t room = rules->room != 0 ? 2 * rules->room : 16;
		struct netlink_rule *items = reallocarray(rules->items, room, sizeof *items);
		if (items == NULL) {
			reading->failed = true;
			return;
		}
		rules->items = items;
		rules->room = room;
	}
	rules->items[rules->count++] = rule_parse(message);
}

int netlink_rules_read(struct netlink *netlink, uint8_t family, struct netlink_rules *rules, struct error *error)
{
	struct rule_reading reading = {.rules = rules};
	int rc = rules_dump(netlink, family, rule_read, &reading, error);
	if (reading.failed)
		return error_set(error, -ENOMEM, "list IPv%u rules: out of memory", family);
	return no_family(rc) ? 0 : rc;
}

void netlink_rules_free(struct netlink_rules *rules)
{
	free(rules->items);
	*rules = (struct netlink_rules){0};
}

bool netlink_rule_equal(const struct netlink_rule *a, const struct netlink_rule *b)
{
	return a->family == b->family && a->invert == b->invert && !a->more && !b->more && a->priority == b->priority &&
	       a->table == b->table && a->mark == b->mark && a->mask == b->mask && a->suppress == b->suppress;
}

/* --- adding and removing ------------------------------------------------------------------------------------------ */

int netlink_rule_add(struct netlink *netlink, const struct netlink_rule *rule, struct error *error)
{
	struct nlmsghdr *request = netlink_start(netlink, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
	struct fib_rule_hdr *body = mnl_nlmsg_put_extra_header(request, sizeof *body);
	body->family = (uint8_t)netlink_family(rule->family);
	body->action = FR_ACT_TO_TBL;
	body->flags = rule->invert ? FIB_RULE_INVERT : 0;
	mnl_attr_put_u32(request, FRA_TABLE, rule->table);
	mnl_attr_put_u32(request, FRA_PRIORITY, rule->priority);
	if (rule->mask != 0) {
		mnl_attr_put_u32(request, FRA_FWMARK, rule->mark);
		mnl_attr_put_u32(request, FRA_FWMASK, rule->mask);
	}
	if (rule->suppress != NETLINK_SUPPRESS_NONE)
		mnl_attr_put_u32(request, FRA_SUPPRESS_PREFIXLEN, rule->suppress);
	int rc = netlink_transact(netlink, request, NULL, NULL, error);
	return rc < 0 ? error_prefix(error, rc, "add IPv%u rule %u for table %u: ", rule->family, rule->priority,
				     rule->table)
		      : 0;
}

struct rule_search {
	uint32_t table;			   /* 0: any, at the priority */
	uint32_t priority;		   /* with table 0 */
	const struct netlink_rule *wanted; /* rules to keep; NULL: none */
	size_t count;
	bool found;
	/* The rule as it was dumped, to be sent back for deletion. */
	alignas(struct nlmsghdr) char rule[NETLINK_REQUEST_MAX];
};

static bool stays(const struct rule_search *search, const struct netlink_rule *rule)
{
	for (size_t i = 0; i < search->count; i++) {
		if (netlink_rule_equal(rule, &search->wanted[i]))
			return true;
	}
	return search->wanted != NULL && rule->more;
}

static void rule_match(const struct nlmsghdr *message, void *data)
{
	struct rule_search *search = data;
	const struct fib_rule_hdr *body = mnl_nlmsg_get_payload(message);

	if (search->found || message->nlmsg_type != RTM_NEWRULE || message->nlmsg_len > sizeof search->rule)
		return;
	struct netlink_rule rule = rule_parse(message);
	bool meant = search->table != 0 ? body->action == FR_ACT_TO_TBL && rule.table == search->table
					: rule.priority == search->priority;
	if (meant && !stays(search, &rule)) {
		memcpy(search->rule, message, message->nlmsg_len);
		search->found = true;
	}
}

/* One at a time, then a new dump: the kernel skips rules when others are deleted during a dump. */
static int delete_found(struct netlink *netlink, uint8_t family, struct rule_search *search, struct error *error)
{
	for (;;) {
		search->found = false;
		int rc = rules_dump(netlink, family, rule_match, search, error);
		if (no_family(rc))
			return 0;
		if (rc < 0)
			return rc;
		if (!search->found)
			return 0;

		struct nlmsghdr *found = (struct nlmsghdr *)search->rule;
		found->nlmsg_type = RTM_DELRULE;
		found->nlmsg_flags = NLM_F_REQUEST;
		rc = netlink_transact(netlink, found, NULL, NULL, error);
		if (rc < 0)
			return search->table != 0
				       ? error_prefix(error, rc, "delete IPv%u rule for table %u: ", family,
						      search->table)
				       : error_prefix(error, rc, "delete IPv%u rule %u: ", family, search->priority);
	}
}

int netlink_rules_delete(struct netlink *netlink, uint8_t family, uint32_t table, struct error *error)
{
	struct rule_search search = {.table = table};
	return delete_found(netlink, family, &search, error);
}

int netlink_rules_prune_at(struct netlink *netlink, uint8_t family, uint32_t priority,
			   const struct netlink_rule *wanted, size_t count, struct error *error)
{
	struct rule_search search = {.priority = priority, .wanted = wanted, .count = count};
	return delete_found(netlink, family, &search, error);
}

int netlink_rules_prune(struct netlink *netlink, uint8_t family, uint32_t table, const struct netlink_rule *wanted,
			size_t count, struct error *error)
{
	struct rule_search search = {.table = table, .wanted = wanted, .count = count};
	return delete_found(netlink, family, &search, error);
}
