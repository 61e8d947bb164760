// SPDX-License-Identifier: Apache-2.0
/* Rulesets as "nft --json" lists them, and whether a client's packets get through. */
#include "core/gateway/forward_judge.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* What nft prints, with ' for ". */
#define BASE(family, table, name, policy)                                                                              \
	"{'chain':{'family':'" family "','table':'" table "','name':'" name "','hook':'forward','policy':'" policy "'" \
	"}"                                                                                                            \
	"}"
#define RULE(family, table, chain, expressions) \
	",{'rule':{'family':'" family "','table':'" table "','chain':'" chain "','expr':[" expressions "]}}"
#define IPTABLES(chain, expressions) RULE("ip", "filter", chain, expressions)
#define META(op, key, right)	     "{'match':{'op':'" op "','left':{'meta':{'key':'" key "'}},'right':" right "}}"
#define IP(op, field, right) \
	"{'match':{'op':'" op "','left':{'payload':{'protocol':'ip','field':'" field "'}},'right':" right "}}"
#define STATE(right) "{'match':{'op':'in','left':{'ct':{'key':'state'}},'right':" right "}}"
#define CONNTRACK    "{'xt':{'type':'match','name':'conntrack'}}"
#define JUMP(chain)  "{'counter':{'packets':1,'bytes':2}},{'jump':{'target':'" chain "'}}"
#define ACCEPTED     ",{'counter':{'packets':1,'bytes':2}},{'accept':null}"

static struct forward_suspect suspect;

static bool judge(const char *rules, uint8_t family, bool reply)
{
	struct forward_flow flow = {.in = reply ? "eth1" : "tun9", .out = reply ? "tun9" : "eth1", .reply = reply};
	char *text = NULL;
	cr_assert(ip_prefix_parse(family == 4 ? "10.8.0.1/16" : "fd00:8::1/64", &flow.pool));
	cr_assert_gt(asprintf(&text, "[%s]", rules), 0);
	for (char *c = text; *c != '\0'; c++)
		*c = *c == '\'' ? '"' : *c;
	json_error_t error;
	json_t *listing = json_loads(text, 0, &error);
	cr_assert_not_null(listing, "%s: %s", error.text, text);
	bool drops = forward_judge(listing, "shardtun-tun9", &flow, &suspect);
	json_decref(listing);
	free(text);
	return drops;
}

static void assert_passes(const char *rules)
{
	cr_assert_not(judge(rules, 4, false), "%s: %s %s", rules, suspect.table, suspect.chain);
	cr_assert_not(judge(rules, 4, true), "the answer: %s", rules);
}

static void assert_dropped(const char *rules, const char *chain, bool by_policy)
{
	cr_assert(judge(rules, 4, false), "%s", rules);
	cr_assert_str_eq(suspect.chain, chain);
	cr_assert_eq(suspect.by_policy, by_policy);
}

Test(forward_judge, nothing_there)
{
	assert_passes("");
	assert_passes(BASE("inet", "other", "forward", "accept"));
}

/* As iptables-nft lists it. */
#define DOCKER(user)                                                                                            \
	BASE("ip", "filter", "FORWARD", "drop")                                                                 \
	IPTABLES("FORWARD", JUMP("DOCKER-USER"))                                                                \
	IPTABLES("FORWARD", JUMP("DOCKER-ISOLATION-STAGE-1"))                                                   \
	IPTABLES("FORWARD", META("==", "oifname", "'docker0'") "," CONNTRACK ACCEPTED)                          \
	IPTABLES("FORWARD", META("==", "iifname", "'docker0'") "," META("!=", "oifname", "'docker0'") ACCEPTED) \
	IPTABLES("DOCKER-ISOLATION-STAGE-1", META("==", "iifname", "'docker0'") "," JUMP("NOWHERE"))            \
	IPTABLES("DOCKER-ISOLATION-STAGE-1", "{'return':null}")                                                 \
	user IPTABLES("DOCKER-USER", "{'return':null}")

Test(forward_judge, docker)
{
	assert_dropped(DOCKER(""), "FORWARD", true);
	cr_assert_str_eq(suspect.family, "ip");
	cr_assert_str_eq(suspect.table, "filter");
	cr_assert_not(judge(DOCKER(""), 6, false), "the IPv4 table says nothing of IPv6");
	assert_passes(DOCKER(IPTABLES("DOCKER-USER", META("==", "iifname", "'tun9'") ACCEPTED)
				     IPTABLES("DOCKER-USER", META("==", "oifname", "'tun9'") ACCEPTED)));
	assert_passes(DOCKER(IPTABLES("DOCKER-USER", META("==", "iifname", "'tun*'") ACCEPTED)
				     IPTABLES("DOCKER-USER", CONNTRACK ACCEPTED)));
}

Test(forward_judge, the_answers_alone_are_dropped)
{
	static const char rules[] = DOCKER(IPTABLES("DOCKER-USER", META("==", "iifname", "'tun9'") ACCEPTED));
	cr_assert_not(judge(rules, 4, false));
	cr_assert(judge(rules, 4, true));
	cr_assert_str_eq(suspect.chain, "FORWARD");
}

Test(forward_judge, ufw)
{
#define UFW(user)                                                                                   \
	BASE("ip", "filter", "FORWARD", "drop")                                                     \
	IPTABLES("FORWARD", JUMP("ufw-before-forward"))                                             \
	IPTABLES("FORWARD", JUMP("ufw-reject-forward"))                                             \
	IPTABLES("ufw-before-forward", CONNTRACK ACCEPTED)                                          \
	IPTABLES("ufw-before-forward",                                                              \
		 META("==", "l4proto", "'icmp'") ",{'xt':{'type':'match','name':'icmp'}}" ACCEPTED) \
	IPTABLES("ufw-before-forward", JUMP("ufw-user-forward"))                                    \
	IPTABLES("ufw-reject-forward", "{'xt':{'type':'target','name':'REJECT'}}") user
	assert_dropped(UFW(""), "FORWARD", false);
	assert_passes(UFW(IPTABLES("ufw-user-forward", META("==", "iifname", "'tun9'") ACCEPTED)));
	assert_passes(UFW(
		IPTABLES("ufw-user-forward", IP("==", "saddr", "{'prefix':{'addr':'10.8.0.0','len':16}}") ACCEPTED)));
}

Test(forward_judge, firewalld)
{
#define ZONES(zones)                                                                                                   \
	BASE("inet", "firewalld", "filter_FORWARD", "accept")                                                          \
	RULE("inet", "firewalld", "filter_FORWARD",                                                                    \
	     "{'vmap':{'key':{'ct':{'key':'state'}},'data':{'set':[['established',{'accept':null}],['invalid',{'drop'" \
	     ":null}]]}}}")                                                                                            \
	RULE("inet", "firewalld", "filter_FORWARD", JUMP("ZONES"))                                                     \
	RULE("inet", "firewalld", "filter_FORWARD", "{'reject':{'type':'icmpx','expr':'admin-prohibited'}}")           \
	RULE("inet", "firewalld", "ZONES", zones "{'goto':{'target':'public'}}")
	assert_dropped(ZONES(""), "filter_FORWARD", false);
	cr_assert_str_eq(suspect.family, "inet");
	cr_assert(judge(ZONES(""), 6, false), "it is for both families");
	assert_passes(
		ZONES("{'vmap':{'key':{'meta':{'key':'iifname'}},'data':{'set':[['eth0',{'goto':{'target':'public'}}],"
		      "['tun9',{'accept':null}]]}}},"));
}

Test(forward_judge, conditions)
{
#define ONE(expressions) BASE("inet", "other", "forward", "drop") RULE("inet", "other", "forward", expressions)
	static const char *const passing[] = {
		ONE(STATE("['established','new']") ACCEPTED),
		ONE(META("==", "oifname", "{'set':['eth1','tun9']}") ACCEPTED),
		ONE(META("!=", "iifname", "{'set':['lo','docker0']}") ACCEPTED),
		ONE(META("==", "l4proto", "{'set':['icmp','tcp']}") ACCEPTED),
		ONE(META("==", "nfproto", "'ipv4'") ACCEPTED),
		ONE(IP("!=", "daddr", "'192.0.2.1'") "," IP("!=", "saddr", "'192.0.2.1'") ACCEPTED),
		ONE("{'limit':{'rate':1,'per':'second'}}" ACCEPTED),
	};
	static const char *const dropping[] = {
		ONE(STATE("['established','related']") ACCEPTED),
		ONE(META("==", "iifname", "'@zone'") ACCEPTED),
		ONE(META("==", "iifname", "'tun99'") ACCEPTED),
		ONE(META("==", "mark", "1") ACCEPTED),
		ONE(META("!=", "mark", "0") ACCEPTED),
		ONE(IP("==", "saddr", "'10.9.0.0'") ACCEPTED),
		ONE(IP("==", "saddr", "{'range':['10.9.0.0','10.10.0.0']}") ACCEPTED),
		ONE("{'limit':{'rate':1,'per':'second','inv':true}}" ACCEPTED),
		ONE(""),
	};
	for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++)
		assert_passes(passing[i]);
	for (size_t i = 0; i < sizeof dropping / sizeof dropping[0]; i++)
		assert_dropped(dropping[i], "forward", true);
	assert_passes(ONE(IP("==", "saddr", "{'range':['10.0.0.0','10.10.0.0']}") ACCEPTED)
			      RULE("inet", "other", "forward", STATE("'established'") ACCEPTED));
}

Test(forward_judge, each_table_has_the_last_word)
{
	static const char last[] = "," BASE("ip", "late", "forward", "drop");
	char rules[2000];
	(void)snprintf(rules, sizeof rules, "%s%s", ONE("{'accept':null}"), last);
	assert_dropped(rules, "forward", true);
	cr_assert_str_eq(suspect.table, "late");
}

Test(forward_judge, what_is_not_about_it)
{
	assert_passes(BASE("inet", "shardtun-tun9", "forward", "drop"));
	assert_passes(BASE("bridge", "filter", "FORWARD", "drop"));
	assert_passes("{'chain':{'family':'inet','table':'other','name':'input','hook':'input','policy':'drop'}}");
	assert_passes("'a text',1,null,{'chain':'a text'},{'rule':[]},{'rule':{'expr':'a text'}}");
}

Test(forward_judge, a_circle_ends)
{
	assert_dropped(BASE("ip", "filter", "FORWARD", "drop") IPTABLES("FORWARD", JUMP("A")) IPTABLES("A", JUMP("B"))
			       IPTABLES("B", JUMP("A") "," JUMP("A")),
		       "FORWARD", true);
}
