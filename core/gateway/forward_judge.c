// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/forward_judge.h"

#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "core/base/error.h"

enum {
	DEPTH_MAX = 16,	    /* of jumps: the kernel allows no more */
	RULES_MAX = 100000, /* looked at for one packet */
};

enum verdict { NEXT, ACCEPT, DROP, RETURN };

struct walk {
	const json_t *chains; /* name of a chain with that of its table -> expressions of its rules */
	const struct forward_flow *flow;
	const char *family, *table;
	unsigned rules; /* looked at */
};

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text != NULL ? text : "";
}

/* --- one value against what a rule has ---------------------------------------------------------------------------- */

/* What a rule looks at, as far as the packet is known. */
struct value {
	enum { UNKNOWN, ANY_OTHER, TEXT, NETWORK } kind; /* ANY_OTHER: none that a rule would name */
	const char *text;
	struct ip_prefix network; /* the packet's address lies there */
};

/* "eth*" is all that begin so. */
static bool same_text(const char *text, const char *pattern)
{
	size_t length = strlen(pattern);
	if (length > 0 && pattern[length - 1] == '*')
		return strncmp(text, pattern, length - 1) == 0;
	return strcmp(text, pattern) == 0;
}

static bool in_network(const struct ip_prefix *network, const char *text, int length)
{
	struct ip_prefix there;
	if (!ip_prefix_parse(text, &there))
		return false;
	if (length >= 0)
		there.length = (uint8_t)length;
	return ip_prefix_overlaps(network, &there);
}

static bool in_range(const struct ip_prefix *network, const json_t *range)
{
	struct ip_address low, high;
	return ip_address_parse(json_string_value(json_array_get(range, 0)) ?: "", &low) &&
	       ip_address_parse(json_string_value(json_array_get(range, 1)) ?: "", &high) &&
	       low.family == network->address.family && high.family == network->address.family &&
	       memcmp(network->address.bytes, high.bytes, sizeof high.bytes) <= 0 &&
	       memcmp(network->address.bytes, low.bytes, sizeof low.bytes) >= 0;
}

/* Whether the value is among those: one, a list, a set, a prefix or a range. */
static bool among(const struct value *value, const json_t *right)
{
	const json_t *list = json_is_array(right) ? right : json_object_get(right, "set");
	const json_t *prefix = json_object_get(right, "prefix"), *range = json_object_get(right, "range");
	const json_t *element = json_object_get(right, "elem"), *one;
	size_t i;
	json_array_foreach (list, i, one) {
		if (among(value, one))
			return true;
	}
	if (element != NULL)
		return among(value, json_object_get(element, "val"));
	if (value->kind == TEXT)
		return json_is_string(right) && same_text(value->text, json_string_value(right));
	if (value->kind != NETWORK)
		return false;
	if (prefix != NULL)
		return in_network(&value->network, text_of(prefix, "addr"),
				  (int)json_integer_value(json_object_get(prefix, "len")));
	if (range != NULL)
		return in_range(&value->network, range);
	return json_is_string(right) && in_network(&value->network, json_string_value(right), -1);
}

/* --- the packet --------------------------------------------------------------------------------------------------- */

static struct value text_value(const char *text)
{
	return text != NULL ? (struct value){.kind = TEXT, .text = text} : (struct value){.kind = ANY_OTHER};
}

static struct value meta_value(const struct forward_flow *flow, const char *key)
{
	bool ipv4 = flow->pool.address.family == 4;
	if (strcmp(key, "iifname") == 0 || strcmp(key, "iif") == 0)
		return text_value(flow->in);
	if (strcmp(key, "oifname") == 0 || strcmp(key, "oif") == 0)
		return text_value(flow->out);
	if (strcmp(key, "nfproto") == 0)
		return text_value(ipv4 ? "ipv4" : "ipv6");
	if (strcmp(key, "protocol") == 0)
		return text_value(ipv4 ? "ip" : "ip6");
	if (strcmp(key, "l4proto") == 0)
		return text_value("tcp");
	return (struct value){.kind = UNKNOWN};
}

static struct value ct_value(const struct forward_flow *flow, const char *key)
{
	if (strcmp(key, "state") == 0)
		return text_value(flow->reply ? "established" : "new");
	if (strcmp(key, "direction") == 0)
		return text_value(flow->reply ? "reply" : "original");
	return (struct value){.kind = UNKNOWN};
}

static struct value payload_value(const struct forward_flow *flow, const json_t *payload)
{
	const char *protocol = text_of(payload, "protocol"), *field = text_of(payload, "field");
	bool ip = strcmp(protocol, flow->pool.address.family == 4 ? "ip" : "ip6") == 0;
	if (!ip && (strcmp(protocol, "ip") == 0 || strcmp(protocol, "ip6") == 0))
		return (struct value){.kind = UNKNOWN}; /* of the other family: the rule is not for it */
	if (ip && (strcmp(field, "protocol") == 0 || strcmp(field, "nexthdr") == 0))
		return text_value("tcp");
	if (ip && strcmp(field, flow->reply ? "daddr" : "saddr") == 0)
		return (struct value){.kind = NETWORK, .network = ip_prefix_network(&flow->pool)};
	return (struct value){.kind = ANY_OTHER};
}

static struct value value_of(const struct forward_flow *flow, const json_t *expression)
{
	const json_t *meta = json_object_get(expression, "meta"), *ct = json_object_get(expression, "ct"),
		     *payload = json_object_get(expression, "payload");
	if (meta != NULL)
		return meta_value(flow, text_of(meta, "key"));
	if (ct != NULL)
		return ct_value(flow, text_of(ct, "key"));
	if (payload != NULL)
		return payload_value(flow, payload);
	return (struct value){.kind = UNKNOWN};
}

static bool matches(const struct forward_flow *flow, const json_t *match)
{
	struct value value = value_of(flow, json_object_get(match, "left"));
	const char *operator= text_of(match, "op");
	bool found = among(&value, json_object_get(match, "right"));
	if (value.kind == UNKNOWN)
		return false;
	return strcmp(operator, "!=") == 0 ? !found : found;
}

/* Matches of xtables are listed by name alone. What a rule with "conntrack" lets pass is nearly always what is
 * established. */
static bool xt_matches(const struct forward_flow *flow, const json_t *xt)
{
	const char *name = text_of(xt, "name");
	return strcmp(name, "comment") == 0 || (strcmp(name, "conntrack") == 0 && flow->reply);
}

/* --- rules -------------------------------------------------------------------------------------------------------- */

static enum verdict walk_chain(struct walk *walk, const char *chain, unsigned depth);

/* `statement` holds a verdict, or none: NEXT. */
static enum verdict take(struct walk *walk, const json_t *statement, unsigned depth)
{
	const json_t *jump = json_object_get(statement, "jump"), *go = json_object_get(statement, "goto"),
		     *xt = json_object_get(statement, "xt");
	if (json_object_get(statement, "accept") != NULL || json_object_get(statement, "queue") != NULL)
		return ACCEPT;
	if (json_object_get(statement, "drop") != NULL || json_object_get(statement, "reject") != NULL ||
	    (strcmp(text_of(xt, "type"), "target") == 0 && strcmp(text_of(xt, "name"), "REJECT") == 0))
		return DROP;
	if (json_object_get(statement, "return") != NULL)
		return RETURN;
	if (jump == NULL && go == NULL)
		return NEXT;
	enum verdict verdict = walk_chain(walk, text_of(jump != NULL ? jump : go, "target"), depth + 1);
	if (verdict == ACCEPT || verdict == DROP)
		return verdict;
	return go != NULL ? RETURN : NEXT; /* a chain that one went to returns to the one before */
}

static enum verdict take_mapped(struct walk *walk, const json_t *vmap, unsigned depth)
{
	struct value value = value_of(walk->flow, json_object_get(vmap, "key"));
	const json_t *pair;
	size_t i;
	json_array_foreach (json_object_get(json_object_get(vmap, "data"), "set"), i, pair) {
		if (among(&value, json_array_get(pair, 0)))
			return take(walk, json_array_get(pair, 1), depth);
	}
	return NEXT;
}

static enum verdict walk_rule(struct walk *walk, const json_t *expressions, unsigned depth)
{
	const json_t *statement;
	size_t i;
	json_array_foreach (expressions, i, statement) {
		const json_t *match = json_object_get(statement, "match"), *xt = json_object_get(statement, "xt"),
			     *limit = json_object_get(statement, "limit"), *vmap = json_object_get(statement, "vmap");
		if ((match != NULL && !matches(walk->flow, match)) ||
		    (strcmp(text_of(xt, "type"), "match") == 0 && !xt_matches(walk->flow, xt)) ||
		    json_is_true(json_object_get(limit, "inv")))
			return NEXT;
		enum verdict verdict = vmap != NULL ? take_mapped(walk, vmap, depth) : take(walk, statement, depth);
		if (verdict != NEXT)
			return verdict;
	}
	return NEXT;
}

enum { CHAIN_NAME_MAX = 256 };

static const char *full_name(char name[CHAIN_NAME_MAX], const char *family, const char *table, const char *chain)
{
	(void)snprintf(name, CHAIN_NAME_MAX, "%s %s %s", family, table, chain);
	return name;
}

static enum verdict walk_chain(struct walk *walk, const char *chain, unsigned depth)
{
	char name[CHAIN_NAME_MAX];
	const json_t *rule;
	size_t i;
	if (depth > DEPTH_MAX)
		return NEXT;
	json_array_foreach (json_object_get(walk->chains, full_name(name, walk->family, walk->table, chain)), i, rule) {
		if (walk->rules++ >= RULES_MAX)
			return ACCEPT; /* too many to judge */
		enum verdict verdict = walk_rule(walk, rule, depth);
		if (verdict != NEXT)
			return verdict;
	}
	return NEXT;
}

/* NULL: no memory. */
static json_t *collect_rules(const json_t *listing)
{
	char name[CHAIN_NAME_MAX];
	const json_t *item;
	size_t i;
	json_t *chains = json_object();
	json_array_foreach (listing, i, item) {
		const json_t *rule = json_object_get(item, "rule");
		if (rule == NULL)
			continue;
		full_name(name, text_of(rule, "family"), text_of(rule, "table"), text_of(rule, "chain"));
		json_t *rules = json_object_get(chains, name);
		if (rules == NULL && json_object_set_new(chains, name, rules = json_array()) != 0)
			break;
		json_array_append(rules, json_object_get(rule, "expr"));
	}
	return chains;
}

/* --- base chains -------------------------------------------------------------------------------------------------- */

static bool concerns(const json_t *chain, const char *own, uint8_t family)
{
	const char *word = text_of(chain, "family");
	bool inet = strcmp(word, "inet") == 0;
	if (inet && strcmp(text_of(chain, "table"), own) == 0)
		return false;
	return (inet || strcmp(word, family == 4 ? "ip" : "ip6") == 0) &&
	       strcmp(text_of(chain, "hook"), "forward") == 0;
}

/* Docker documents the chain for the rules of others, which it leaves alone. */
static enum forward_keeper find_keeper(const json_t *listing, const char *family, const char *table)
{
	const json_t *item;
	size_t i;
	if (strcmp(table, "firewalld") == 0)
		return FORWARD_KEEPER_FIREWALLD;
	enum forward_keeper keeper = FORWARD_KEEPER_NONE;
	json_array_foreach (listing, i, item) {
		const json_t *chain = json_object_get(item, "chain");
		if (strcmp(text_of(chain, "family"), family) != 0 || strcmp(text_of(chain, "table"), table) != 0)
			continue;
		if (strncmp(text_of(chain, "name"), "ufw", 3) == 0)
			return FORWARD_KEEPER_UFW;
		if (strcmp(text_of(chain, "name"), "DOCKER-USER") == 0)
			keeper = FORWARD_KEEPER_DOCKER;
	}
	return keeper;
}

static enum verdict judge_chain(const json_t *chains, const json_t *chain, const struct forward_flow *flow,
				struct forward_suspect *suspect)
{
	struct walk walk = {
		.chains = chains, .flow = flow, .family = text_of(chain, "family"), .table = text_of(chain, "table")};
	enum verdict verdict = walk_chain(&walk, text_of(chain, "name"), 0);
	bool policy = verdict == NEXT || verdict == RETURN;
	if (policy)
		verdict = strcmp(text_of(chain, "policy"), "drop") == 0 ? DROP : ACCEPT;
	*suspect = (struct forward_suspect){.by_policy = policy};
	(void)snprintf(suspect->family, sizeof suspect->family, "%s", walk.family);
	(void)snprintf(suspect->table, sizeof suspect->table, "%s", walk.table);
	(void)snprintf(suspect->chain, sizeof suspect->chain, "%s", text_of(chain, "name"));
	return verdict;
}

bool forward_judge(const json_t *listing, const char *own, const struct forward_flow *flow,
		   struct forward_suspect *suspect)
{
	const json_t *item;
	size_t i;
	bool drops = false;
	json_t *chains = collect_rules(listing);
	json_array_foreach (listing, i, item) {
		const json_t *chain = json_object_get(item, "chain");
		drops = chain != NULL && concerns(chain, own, flow->pool.address.family) &&
			judge_chain(chains, chain, flow, suspect) == DROP;
		if (drops)
			break;
	}
	if (drops)
		suspect->keeper = find_keeper(listing, suspect->family, suspect->table);
	json_decref(chains);
	return drops;
}
