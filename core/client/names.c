// SPDX-License-Identifier: Apache-2.0
#include "core/client/names.h"

#include <stdio.h>

#include "core/base/log.h"
#include "core/base/rcu.h"

#define ASK_NS (60 * NS_PER_S) /* between two queries of systemd-resolved, each of which runs a program */

static size_t wished_servers(const struct client *client, const struct wire_welcome *lease,
			     struct ip_address servers[WIRE_DNS_MAX])
{
	const struct config_dns *dns = &client->config->dns;
	size_t count = 0;
	if (!dns->automatic) {
		memcpy(servers, dns->servers.items, dns->servers.count * sizeof *servers);
		return dns->servers.count;
	}
	for (size_t i = 0; i < lease->dns_count; i++) {
		char text[IP_TEXT_MAX];
		if (ip_set_contains(&client->allowed, &lease->dns[i]))
			servers[count++] = lease->dns[i];
		else
			log_warning("DNS: the gateway's server %s is not in AllowedIPs; going on without it",
				    ip_address_format(&lease->dns[i], text));
	}
	return count;
}

static bool everything_goes_through(const struct client *client)
{
	return ip_set_is_everything(&client->allowed, 4) || ip_set_is_everything(&client->allowed, 6);
}

static int write_ahead(void *context, unsigned ways, struct error *error)
{
	struct client *client = context;
	unsigned before = client->journal.applied.dns;
	client->journal.applied.dns = ways;
	int result = journal_write(&client->journal, error);
	if (result != 0)
		client->journal.applied.dns = before;
	return result;
}

static const char *link_name(const struct client *client)
{
	const char *now = client->network.link.name;
	return now[0] != '\0' ? now : client->config->common.interface;
}

/* --- the reconciler's part ---------------------------------------------------------------------------------------- */

static void keep(struct client *client, bool restore, struct reconcile_found *found)
{
	struct client_names *names = &client->names;
	char text[IP_TEXT_MAX];
	uint64_t now = clock_monotonic(client->daemon.clock);
	bool ask = restore || names->noticed || now - names->asked >= ASK_NS;
	names->noticed = false;
	if (ask)
		names->asked = now;
	found->wanted = 1;
	names->wish.link = link_name(client);
	if (dns_in_force(names->dns.ways, &names->wish, ask, NULL))
		return;
	found->missing = 1;
	(void)snprintf(found->first, sizeof found->first, "server %s%s",
		       ip_address_format(&names->wish.servers[0], text), names->wish.count > 1 ? " and others" : "");
	if (!restore)
		return;
	if (dns_set(&names->dns, &names->wish, &found->error) != 0)
		found->left = 1;
	dns_watch_arm(&names->watch);
}

/* Setting name servers runs programs: leave RCU first, or grace periods stall. */
static void run(void *context, bool restore, struct reconcile_found *found)
{
	struct client *client = context;
	if (client->names.wish.count == 0)
		return;
	rcu_offline();
	keep(client, restore, found);
	rcu_online();
}

/* --- life --------------------------------------------------------------------------------------------------------- */

int client_names_open(struct client *client, struct error *error)
{
	struct client_names *names = &client->names;
	names->wish = (struct resolv_conf_wish){.interface = client->config->common.interface,
						.servers = names->servers};
	names->dns = (struct dns_state){.write_ahead = write_ahead, .context = client};
	int result = dns_watch_open(&names->watch, error);
	if (result != 0)
		return result;
	dns_watch_arm(&names->watch);
	const struct reconcile_part part = {.kind = RECONCILE_dns, .run = run, .context = client};
	result = reconciler_add(client->daemon.reconciler, &part);
	return result == 0 ? 0 : error_set(error, result, "name servers: %s", strerror(-result));
}

static void drop(struct client *client)
{
	struct client_names *names = &client->names;
	for (int way = 0; way < DNS_WAYS; way++) {
		struct error error = {0};
		if ((names->dns.ways & DNS_BIT(way)) != 0 &&
		    dns_restore((enum dns_way)way, way == DNS_RESOLVED ? link_name(client) : names->wish.interface,
				&error) != 0)
			log_warning("DNS: %s", error.text);
	}
	names->dns.ways = 0;
	(void)write_ahead(client, 0, NULL);
}

void client_names_apply(struct client *client, const struct wire_welcome *lease)
{
	struct client_names *names = &client->names;
	struct ip_address servers[WIRE_DNS_MAX] = {0};
	struct error error = {0};
	if (client->config->dns.off)
		return;
	size_t count = wished_servers(client, lease, servers);
	if (count == names->wish.count && memcmp(servers, names->servers, sizeof servers) == 0)
		return;
	memcpy(names->servers, servers, sizeof servers);
	names->wish.count = count;
	names->wish.everything = everything_goes_through(client);
	if (count == 0) {
		rcu_offline();
		drop(client);
		rcu_online();
	}
	if (reconciler_apply(client->daemon.reconciler, RECONCILE_BIT(RECONCILE_dns), &error) != 0)
		log_warning("DNS: not in force, names are resolved as before: %s", error.text);
}

void client_names_on_changed(void *context)
{
	struct client *client = context;
	if (!dns_watch_read(&client->names.watch))
		return;
	client->names.noticed = true;
	dns_watch_arm(&client->names.watch);
	reconciler_notice(client->daemon.reconciler, RECONCILE_BIT(RECONCILE_dns));
}

bool client_names_outside(const struct client *client, struct outside_servers *servers)
{
	/* Without rules of ours the machine's resolver does not use the tunnel. */
	if (!client->network.leased && !client->journal.applied.kill_switch)
		return false;
	dns_former(client->names.dns.ways, &client->names.wish, servers);
	servers->mark = CLIENT_MARK;
	return servers->count != 0;
}
