// SPDX-License-Identifier: Apache-2.0
#include "core/app/client_firewall.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/app/client_table.h"
#include "core/app/gateway_firewall.h"
#include "core/base/sysctl.h"

#define SRC_VALID_MARK "net/ipv4/conf/all/src_valid_mark"

static const char subject[] = "firewall";

/* Not what is forwarded, which has no business with our port, nor what comes out of the tunnel. */
static void write_marks(FILE *out, const char *table, const struct client_firewall *firewall)
{
	fprintf(out,
		"add rule inet %s marks iifname != \"%s\" udp dport %u fib daddr type local meta mark set meta mark & "
		"%#x "
		"| %#x\n",
		table, firewall->interface, firewall->port, ~CLIENT_MASK, CLIENT_MARK);
}

char *client_firewall_commands(const struct client_firewall *firewall)
{
	char table[NFTABLES_NAME_MAX], *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	if (out == NULL)
		return NULL;
	gateway_firewall_table(firewall->interface, table);
	fprintf(out,
		"add chain inet %s marks { type filter hook prerouting priority raw - 10; policy accept; }\n"
		"flush table inet %s\n",
		table, table);
	write_marks(out, table, firewall);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

int client_firewall_set(struct nftables *nftables, const struct client_firewall *firewall, struct error *error)
{
	char name[NFTABLES_NAME_MAX];
	char *commands = client_firewall_commands(firewall);
	if (commands == NULL)
		return error_set(error, -ENOMEM, "%s: out of memory", subject);
	gateway_firewall_table(firewall->interface, name);
	const struct nftables_table table = {.subject = subject, .name = name, .commands = commands};
	int result = nftables_lay(nftables, &table, error);
	free(commands);
	return result;
}

int client_firewall_clear(struct nftables *nftables, const char *interface, struct error *error)
{
	char table[NFTABLES_NAME_MAX];
	gateway_firewall_table(interface, table);
	return nftables_remove(nftables, subject, table, error);
}

/* --- the kernel's own filter -------------------------------------------------------------------------------------- */

static long reverse_path_filter(const char *interface)
{
	char name[64];
	(void)snprintf(name, sizeof name, "net/ipv4/conf/%s/rp_filter", interface);
	return sysctl_number(name);
}

/* Of a link and of all together the larger number counts, and 1 is strict, 2 loose. Writes the name of a link that
 * filters strictly. */
static bool is_strict(char link[IF_NAMESIZE])
{
	enum { STRICT = 1 };
	long all = reverse_path_filter("all");
	struct if_nameindex *list = if_nameindex();
	bool found = false;
	for (size_t i = 0; list != NULL && list[i].if_index != 0 && !found; i++) {
		long one = reverse_path_filter(list[i].if_name);
		found = strcmp(list[i].if_name, "lo") != 0 && (one > all ? one : all) == STRICT;
		if (found)
			(void)snprintf(link, IF_NAMESIZE, "%s", list[i].if_name);
	}
	if_freenameindex(list);
	return found;
}

int client_firewall_see_marks(struct error *error)
{
	char link[IF_NAMESIZE];
	if (sysctl_number(SRC_VALID_MARK) == 1)
		return 0;
	int result = sysctl_write(SRC_VALID_MARK, "1");
	if (result == 0)
		return 1;
	if (!is_strict(link))
		return 0;
	return error_set(
		error, result,
		"%s filters reverse paths strictly and will drop what the gateway sends: "
		"net.ipv4.conf.all.src_valid_mark = 1 cannot be set (%s); set it, or net.ipv4.conf.%s.rp_filter = "
		"2",
		link, strerror(-result), link);
}
