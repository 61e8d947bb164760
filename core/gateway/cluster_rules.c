// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/cluster_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/protocol/wg_wire.h"
#include "core/protocol/wire.h"

/* Offsets in nft's raw expressions count bits from the UDP header on. */
enum { UDP_HEADER = 8, BYTE = 8 };

/* The block as it stands in the upper half of a session ID: below the four bits that are the key epoch of WireGuard's
 * indices, above the 20 of the session. */
enum { BLOCK_SHIFT = 4, BLOCK_MASK = 0xff << BLOCK_SHIFT };

/* A kind of datagrams: which ones, in nft's words, and where its session ID is. */
struct kind {
	const char *match;
	unsigned id; /* offset in the datagram, bytes */
	bool wireguard;
};

/* The first byte of our own messages is 0x10 or more; WireGuard's are four bytes, the last three 0. An initiation has
 * no ID of ours. */
static const struct kind kinds[] = {
	{"@th,64,8 > 0x0f", WIRE_SESSION_ID, false},
	{"@th,64,32 0x04000000", WG_DATA_RECEIVER, true},
	{"@th,64,32 0x02000000", WG_RESPONSE_RECEIVER, true},
	{"@th,64,32 0x03000000", WG_COOKIE_RECEIVER, true},
};
_Static_assert(WG_DATA == 4 && WG_RESPONSE == 2 && WG_COOKIE_REPLY == 3, "the first bytes above");

static void write_map(FILE *out, const struct cluster_map *map, uint8_t family)
{
	const char *before = "";
	for (unsigned block = 0; block < CLUSTER_MAP_BLOCKS; block++) {
		const struct cluster_owner *owner = cluster_map_owner(map, block, family);
		char text[IP_TEXT_MAX];
		if (owner == NULL)
			continue;
		fprintf(out, "%s0x%04x : %s", before, block << BLOCK_SHIFT, ip_address_format(&owner->address, text));
		before = ", ";
	}
}

static void write_owners(FILE *out, const struct cluster_rules *rules, uint8_t family)
{
	const char *ip = family == 4 ? "ip" : "ip6";
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct kind *kind = &kinds[i];
		if (kind->wireguard && !rules->wireguard)
			continue;
		fprintf(out, "add rule netdev %s %s-owners %s fwd %s to @th,%u,16 & 0x%04x map { ", rules->table, ip,
			kind->match, ip, (UDP_HEADER + kind->id) * BYTE, BLOCK_MASK);
		write_map(out, rules->map, family);
		fprintf(out, " } device \"%s\"\n", rules->inside);
	}
}

/* The datagrams that clients send to this gateway, in one family. */
static void write_arrivals(FILE *out, const struct cluster_rules *rules, uint8_t family)
{
	const char *ip = family == 4 ? "ip" : "ip6", *before = "";
	bool any = rules->listen_count == 0;
	for (size_t i = 0; i < rules->listen_count; i++)
		any |= rules->listen[i].family == family;
	if (!any)
		return;
	fprintf(out, "add rule netdev %s arrivals meta protocol %s ", rules->table, ip);
	if (rules->listen_count == 0)
		fprintf(out, "fib daddr type local ");
	else
		fprintf(out, "%s daddr { ", ip);
	for (size_t i = 0; i < rules->listen_count; i++) {
		char text[IP_TEXT_MAX];
		if (rules->listen[i].family != family)
			continue;
		fprintf(out, "%s%s", before, ip_address_format(&rules->listen[i], text));
		before = ", ";
	}
	fprintf(out, "%sudp dport %u goto %s-owners\n", rules->listen_count == 0 ? "" : " } ", rules->port, ip);
}

static bool takes_name(const char *name)
{
	return strpbrk(name, "\"\\*") == NULL;
}

char *cluster_rules_commands(const struct cluster_rules *rules, struct error *error)
{
	static const uint8_t families[] = {4, 6};
	char *text = NULL;
	size_t size;
	if (!takes_name(rules->outside) || !takes_name(rules->inside)) {
		error_set(error, -EINVAL, "nftables cannot take an interface's name with '\"', '\\' or '*'");
		return NULL;
	}
	FILE *out = open_memstream(&text, &size);
	if (out == NULL) {
		error_set(error, -ENOMEM, "rules: out of memory");
		return NULL;
	}
	fprintf(out,
		"add chain netdev %s arrivals { type filter hook ingress device \"%s\" priority 0; policy accept; }\n"
		"add chain netdev %s ip-owners\nadd chain netdev %s ip6-owners\nflush table netdev %s\n",
		rules->table, rules->outside, rules->table, rules->table, rules->table);
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		if (cluster_map_count(rules->map, families[i]) == 0)
			continue;
		write_owners(out, rules, families[i]);
		write_arrivals(out, rules, families[i]);
	}
	if (fclose(out) == 0)
		return text;
	free(text);
	error_set(error, -ENOMEM, "rules: out of memory");
	return NULL;
}
