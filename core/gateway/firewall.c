// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/firewall.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "core/gateway/forward.h"
#include "core/host/sysctl.h"

enum { PORT_LAST = 65535, LOOPBACK = 1 /* its index, in every network namespace */ };

/* nft takes any quoted name without these characters; '*' would match every name with that prefix. */
static int check_names(const struct gateway_config *config, struct error *error)
{
	for (size_t i = 0; i < config->masquerade.count; i++) {
		if (strpbrk(config->masquerade.items[i], "\"\\*") != NULL)
			return error_set(
				error, -EINVAL,
				"Masquerade = %s: nftables cannot take a name with '\"', '\\' or '*'; give the "
				"interface another one",
				config->masquerade.items[i]);
	}
	return 0;
}

/* A rule is one command: "add rule inet TABLE CHAIN ...". */
struct script {
	FILE *out;
	const char *table, *chain;
};

static void begin_chain(struct script *script, const char *chain, const char *hook)
{
	script->chain = chain;
	fprintf(script->out, "add chain inet %s %s { type %s; policy accept; }\n", script->table, chain, hook);
	/* The chain may exist, from an earlier run or another configuration. */
	fprintf(script->out, "flush chain inet %s %s\n", script->table, chain);
}

static FILE *begin_rule(struct script *script)
{
	fprintf(script->out, "add rule inet %s %s ", script->table, script->chain);
	return script->out;
}

static const char *family_word(const struct ip_address *address)
{
	return address->family == 4 ? "ip" : "ip6";
}

/* Drops packets from other interfaces that are sent to our inner address, or from an address of the pool: with these a
 * neighbour on the outer link could find out about the connections inside the tunnel and inject packets into them
 * (CVE-2019-14899). Packets of hosts behind us for clients are routed as before. A network behind a peer that the
 * machine reaches by a better route is not the peer's alone, so there the route to the source decides. */
static void write_inner_addresses(struct script *script, const struct gateway_firewall *firewall)
{
	const struct gateway_config *config = firewall->config;
	begin_chain(script, "inner", "filter hook prerouting priority raw");
	fprintf(begin_rule(script), "iif { %d, %u } accept\n", LOOPBACK, firewall->ifindex);
	for (size_t i = 0; i < config->addresses.count; i++) {
		const struct ip_prefix *own = &config->addresses.items[i];
		struct ip_prefix pool = ip_prefix_network(own);
		const char *family = family_word(&own->address);
		char address[IP_TEXT_MAX], anycast[IP_TEXT_MAX], network[IP_TEXT_MAX];
		/* A router answers to a network's first IPv6 address, too (RFC 4291, section 2.6.1). */
		fprintf(begin_rule(script), "%s daddr { %s, %s } drop\n", family,
			ip_address_format(&own->address, address), ip_address_format(&pool.address, anycast));
		fprintf(begin_rule(script), "%s saddr %s drop\n", family, ip_prefix_format(&pool, network));
	}
	if (firewall->networks)
		fprintf(begin_rule(script), "fib saddr oif %u drop\n", firewall->ifindex);
}

static void write_names(FILE *out, const struct config_interfaces *list)
{
	fprintf(out, "{ ");
	for (size_t i = 0; i < list->count; i++)
		fprintf(out, "%s\"%s\"", i == 0 ? "" : ", ", list->items[i]);
	fprintf(out, " }");
}

static struct ip_address address_of(const struct sockaddr *from)
{
	struct ip_address address = {0};
	if (from != NULL && from->sa_family == AF_INET) {
		address.family = 4;
		memcpy(address.bytes, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
	} else if (from != NULL && from->sa_family == AF_INET6) {
		address.family = 6;
		memcpy(address.bytes, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
	}
	return address;
}

static uint8_t mask_length(const struct ip_address *mask)
{
	unsigned bits = 0;
	for (size_t i = 0; i < sizeof mask->bytes; i++)
		bits += (unsigned)__builtin_popcount(mask->bytes[i]);
	return (uint8_t)bits;
}

/* Hosts of the networks attached to that interface may open connections to clients, as behind any router. */
static void write_neighbours(struct script *script, const struct ifaddrs *list, const char *interface, unsigned tun)
{
	for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next) {
		struct ip_prefix network = {.address = address_of(i->ifa_addr)};
		struct ip_address mask = address_of(i->ifa_netmask);
		if (strcmp(i->ifa_name, interface) != 0 || network.address.family == 0 || mask.family == 0)
			continue;
		if (network.address.family == 6 && network.address.bytes[0] == 0xfe)
			continue; /* link-local: never forwarded */
		network.length = mask_length(&mask);
		network = ip_prefix_network(&network);
		char text[IP_TEXT_MAX];
		fprintf(begin_rule(script), "iifname \"%s\" oif %u %s saddr %s accept\n", interface, tun,
			family_word(&network.address), ip_prefix_format(&network, text));
	}
}

/* The clients' addresses are not visible beyond a masqueraded interface, so a packet from there to one of them that
 * belongs to no connection is forged: the client would take it for the answer to a masqueraded connection. */
static int write_forward(struct script *script, const struct gateway_firewall *firewall, struct error *error)
{
	const struct config_interfaces *masquerade = &firewall->config->masquerade;
	struct ifaddrs *list;
	if (getifaddrs(&list) != 0)
		return error_set(error, -errno, "Masquerade: list the machine's addresses: %s", strerror(errno));
	begin_chain(script, "forward", "filter hook forward priority filter");
	fprintf(begin_rule(script), "oif != %u accept\n", firewall->ifindex);
	fprintf(begin_rule(script), "ct state established,related accept\n");
	for (size_t i = 0; i < masquerade->count; i++) {
		write_neighbours(script, list, masquerade->items[i], firewall->ifindex);
		fprintf(begin_rule(script), "iifname \"%s\" drop\n", masquerade->items[i]);
	}
	freeifaddrs(list);
	return 0;
}

/* The range that the machine's own connections start from, in which no service listens; cut so that our own port is
 * outside. */
static void choose_ports(uint16_t listen_port, unsigned *low, unsigned *high)
{
	*low = 32768, *high = 60999;
	char range[SYSCTL_TEXT], *rest;
	unsigned long first = strtoul(sysctl_read("net/ipv4/ip_local_port_range", range), &rest, 10);
	unsigned long last = strtoul(rest, NULL, 10);
	if (first > 0 && first < last && last <= PORT_LAST)
		*low = (unsigned)first, *high = (unsigned)last;
	if (listen_port < *low || listen_port > *high)
		return;
	if (listen_port - *low > *high - listen_port)
		*high = listen_port - 1u;
	else
		*low = listen_port + 1u;
}

/* A client that sends from our own port, or from one where something of this machine listens, to another client's outer
 * address would get that one's packets for us: the connection tracking takes them for answers (CVE-2021-3773, "port
 * shadow"). So nothing leaves from such a port, whichever program's rule masquerades. */
static void write_masquerade(struct script *script, const struct gateway_firewall *firewall)
{
	const struct gateway_config *config = firewall->config;
	unsigned low, high;
	choose_ports(config->listen_port, &low, &high);
	begin_chain(script, "shadow", "filter hook postrouting priority srcnat + 10");
	fprintf(begin_rule(script), "iif %u udp sport %u fib saddr type local drop\n", firewall->ifindex,
		config->listen_port);
	if (config->masquerade.count == 0)
		return;
	begin_chain(script, "outgoing", "nat hook postrouting priority srcnat");
	fprintf(begin_rule(script), "iif != %u accept\n", firewall->ifindex);
	fprintf(begin_rule(script), "oifname != ");
	write_names(script->out, &config->masquerade);
	fprintf(script->out, " accept\n");
	for (size_t i = 0; i < config->addresses.count; i++) {
		const char *family = config->addresses.items[i].address.family == 4 ? "ipv4" : "ipv6";
		fprintf(begin_rule(script), "meta nfproto %s meta l4proto { tcp, udp } masquerade to :%u-%u\n", family,
			low, high);
		fprintf(begin_rule(script), "meta nfproto %s masquerade\n", family);
	}
}

char *gateway_firewall_commands(const struct gateway_firewall *firewall, struct error *error)
{
	const struct gateway_config *config = firewall->config;
	bool routes = config->forward || config->masquerade.count != 0;
	struct script script = {.table = firewall->table};
	char *text = NULL;
	size_t size;
	if (check_names(config, error) != 0)
		return NULL;
	script.out = open_memstream(&text, &size);
	if (script.out == NULL) {
		error_set(error, -ENOMEM, "rules: out of memory");
		return NULL;
	}
	write_inner_addresses(&script, firewall);
	int result = config->masquerade.count != 0 ? write_forward(&script, firewall, error) : 0;
	if (routes)
		write_masquerade(&script, firewall);
	if (config->forward)
		gateway_forward_write(script.out, script.table, firewall->ifindex);
	if (fclose(script.out) != 0)
		result = error_set(error, -ENOMEM, "rules: out of memory");
	if (result != 0) {
		free(text);
		return NULL;
	}
	return text;
}
