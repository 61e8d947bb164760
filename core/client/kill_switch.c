// SPDX-License-Identifier: Apache-2.0
#include "core/client/kill_switch.h"

#include <stdio.h>

#include "core/client/table.h"

enum { RULES_MAX = 2048, TABLE_NAME_SIZE = 48 };

static const char *table_name(const char *interface, char name[TABLE_NAME_SIZE])
{
	(void)snprintf(name, TABLE_NAME_SIZE, "shardtun-%s-kill-switch", interface);
	return name;
}

int kill_switch_set(struct nftables *nftables, const char *interface, struct error *error)
{
	static const char format[] =
		"add chain inet %1$s output { type filter hook output priority 0; policy drop; }\n"
		"add chain inet %1$s forward { type filter hook forward priority 0; policy drop; }\n"
		"flush table inet %1$s\n"
		"add rule inet %1$s output oifname \"lo\" accept\n"
		"add rule inet %1$s output oifgroup %2$u accept\n"
		"add rule inet %1$s output meta mark & %3$#x == %4$#x accept\n"
		"add rule inet %1$s output udp sport 68 udp dport 67 accept\n"
		"add rule inet %1$s output udp sport 546 udp dport 547 accept\n"
		"add rule inet %1$s output ip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-neighbor-solicit, "
		"nd-neighbor-advert } accept\n"
		/* MLD reports, of which a snooping switch needs those for neighbour discovery; they stay on the link */
		"add rule inet %1$s output ip6 hoplimit 1 icmpv6 type { mld-listener-report, mld2-listener-report } "
		"accept\n"
		"add rule inet %1$s forward oifgroup %2$u accept\n"
		"add rule inet %1$s forward iifgroup %2$u accept\n";
	char rules[RULES_MAX], name[TABLE_NAME_SIZE];
	(void)snprintf(rules, sizeof rules, format, table_name(interface, name), (unsigned)CLIENT_LINK_GROUP,
		       CLIENT_MASK, CLIENT_MARK);
	const struct nftables_table table = {
		.subject = "KillSwitch", .name = name, .outlives = true, .commands = rules};
	return nftables_lay(nftables, &table, error);
}

bool kill_switch_is_set(struct nftables *nftables, const char *interface)
{
	char name[TABLE_NAME_SIZE];
	return nftables_check(nftables, table_name(interface, name), NULL) == 1;
}

int kill_switch_clear(struct nftables *nftables, const char *interface, struct error *error)
{
	char name[TABLE_NAME_SIZE];
	return nftables_remove(nftables, "KillSwitch", table_name(interface, name), error);
}
