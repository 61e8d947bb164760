// SPDX-License-Identifier: Apache-2.0
#include "core/client/firewall.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/client/table.h"
#include "core/host/sysctl.h"
#include "tun/nftables.h"

#define SRC_VALID_MARK "net/ipv4/conf/all/src_valid_mark"

static const char subject[] = "firewall";

/* Marks neither forwarded datagrams, which are not for our socket, nor those that come out of the tunnel. */
static void write_marks(FILE *out, const char *table, const struct client_firewall *firewall)
{
	fprintf(out,
		"add rule inet %s marks iif != %u udp dport %u fib daddr type local meta mark set meta mark & %#x "
		"| %#x\n",
		table, firewall->ifindex, firewall->port, ~CLIENT_MASK, CLIENT_MARK);
}

/* Accepted from any source address: the tunnel's own packets, which "marks" has marked, DHCP and neighbour discovery.
 */
static void write_exceptions(FILE *out, const char *table, const struct client_firewall *firewall)
{
	fprintf(out,
		"add rule inet %1$s guard iif %2$u accept\n"
		"add rule inet %1$s guard iif lo accept\n"
		"add rule inet %1$s guard meta mark & %3$#x == %4$#x udp dport %5$u fib daddr type local accept\n"
		"add rule inet %1$s guard udp sport 67 udp dport 68 accept\n"
		"add rule inet %1$s guard udp sport 547 udp dport 546 accept\n"
		"add rule inet %1$s guard ip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-router-advert, "
		"nd-neighbor-solicit, nd-neighbor-advert } accept\n",
		table, firewall->ifindex, CLIENT_MASK, CLIENT_MARK, firewall->port);
}

/* A route of another program may lead the tunnel's own packets into the tunnel, where they would loop at full speed. */
static void write_loop(FILE *out, const char *table, const struct client_firewall *firewall)
{
	fprintf(out, "add rule inet %s loop oif %u udp sport %u meta mark & %#x == %#x drop\n", table,
		firewall->ifindex, firewall->port, CLIENT_MASK, CLIENT_MARK);
}

/* A neighbour solicitation for an inner address is still answered: only packets to the address are dropped. */
static void write_guard(FILE *out, const char *table, const struct client_firewall *firewall)
{
	static const char *const protocols[] = {"ip", "ip6"};
	static const char *const families[] = {"ipv4", "ipv6"};
	char text[IP_TEXT_MAX];
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		const struct ip_prefix *inner = &firewall->inner[i].address;
		if (inner->address.family == 0)
			continue;
		fprintf(out, "add rule inet %s guard %s daddr %s drop\n", table, protocols[i],
			ip_address_format(&inner->address, text));
		struct ip_prefix network = ip_prefix_network(inner);
		if (firewall->inner[i].everything)
			fprintf(out, "add rule inet %s guard %s saddr %s fib saddr oif %u drop\n", table, protocols[i],
				ip_prefix_format(&network, text), firewall->ifindex);
		else
			fprintf(out, "add rule inet %s guard meta nfproto %s fib saddr oif %u drop\n", table,
				families[i], firewall->ifindex);
	}
}

char *client_firewall_commands(const struct client_firewall *firewall)
{
	char table[NFTABLES_NAME_MAX], *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	if (out == NULL)
		return NULL;
	nftables_table_name(firewall->interface, table);
	fprintf(out,
		"add chain inet %1$s marks { type filter hook prerouting priority raw - 10; policy accept; }\n"
		"add chain inet %1$s guard { type filter hook prerouting priority raw; policy accept; }\n"
		"add chain inet %1$s loop { type filter hook output priority raw; policy accept; }\n"
		"flush table inet %1$s\n",
		table);
	write_marks(out, table, firewall);
	write_exceptions(out, table, firewall);
	write_guard(out, table, firewall);
	write_loop(out, table, firewall);
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
	nftables_table_name(firewall->interface, name);
	const struct nftables_table table = {.subject = subject, .name = name, .commands = commands};
	int result = nftables_lay(nftables, &table, error);
	free(commands);
	return result;
}

bool client_firewall_is_set(struct nftables *nftables, const char *interface)
{
	char table[NFTABLES_NAME_MAX];
	nftables_table_name(interface, table);
	return nftables_check(nftables, table, NULL) == 1;
}

int client_firewall_clear(struct nftables *nftables, const char *interface, struct error *error)
{
	char table[NFTABLES_NAME_MAX];
	nftables_table_name(interface, table);
	return nftables_remove(nftables, subject, table, error);
}

/* --- the kernel's own filter -------------------------------------------------------------------------------------- */

static long reverse_path_filter(const char *interface)
{
	char name[64];
	(void)snprintf(name, sizeof name, "net/ipv4/conf/%s/rp_filter", interface);
	return sysctl_number(name);
}

/* The kernel uses the larger number of a link's setting and that of "all"; 1 is strict, 2 is loose. Writes the name of
 * a link that filters strictly. */
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
	if (list != NULL)
		if_freenameindex(list); /* takes no NULL */
	return found;
}

bool client_firewall_sees_marks(void)
{
	char link[IF_NAMESIZE];
	return sysctl_number(SRC_VALID_MARK) == 1 || !is_strict(link);
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
