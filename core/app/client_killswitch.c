// SPDX-License-Identifier: Apache-2.0
#include "core/app/client_killswitch.h"

#include <stdio.h>

#include "core/app/client_table.h"
#include "tun/nftables.h"

enum { RULES_MAX = 2048, TABLE_NAME_SIZE = 48 };

static const char *table_name(const char *interface, char name[TABLE_NAME_SIZE])
{
	(void)snprintf(name, TABLE_NAME_SIZE, "shardtun-%s-kill-switch", interface);
	return name;
}

int client_killswitch_set(const char *interface, struct error *error)
{
	/* "add" before "delete", which wants one to be there. */
	static const char format[] =
		"add table inet %1$s\n"
		"delete table inet %1$s\n"
		"table inet %1$s {\n"
		"	chain output {\n"
		"		type filter hook output priority 0; policy drop;\n"
		"		oifname \"lo\" accept\n"
		"		oifname \"%2$s\" accept\n"
		"		meta mark & %3$#x == %4$#x accept\n"
		"		udp sport 68 udp dport 67 accept\n"
		"		udp sport 546 udp dport 547 accept\n"
		"		ip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-neighbor-solicit, "
		"nd-neighbor-advert } accept\n"
		/* of the groups that neighbours are asked in, for switches that look: they stay on the link */
		"		ip6 hoplimit 1 icmpv6 type { mld-listener-report, mld2-listener-report } accept\n"
		"	}\n"
		"	chain forward {\n"
		"		type filter hook forward priority 0; policy drop;\n"
		"		oifname \"%2$s\" accept\n"
		"		iifname \"%2$s\" accept\n"
		"	}\n"
		"}\n";
	char rules[RULES_MAX], name[TABLE_NAME_SIZE];
	(void)snprintf(rules, sizeof rules, format, table_name(interface, name), interface, CLIENT_MASK, CLIENT_MARK);
	return nftables_run("KillSwitch", rules, error);
}

int client_killswitch_clear(const char *interface, struct error *error)
{
	char name[TABLE_NAME_SIZE];
	return nftables_delete_table("KillSwitch", "inet", table_name(interface, name), error);
}
