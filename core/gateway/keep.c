// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/keep.h"

#include <unistd.h>

#include "core/base/log.h"
#include "core/host/sysctl.h"
#include "tun/netlink_watch.h"
#include "tun/nftables_watch.h"

/* The least time between two comparisons of the rules, however often other programs change theirs. */
#define RULES_PAUSE (NS_PER_S / 2)

/* --- the interface ------------------------------------------------------------------------------------------------ */

/* Rules and routes refer to the interface by its index; only status, metrics and log have its name. */
static void follow_name(struct gateway_network *network)
{
	if (strcmp(network->link.name, network->daemon->descriptors.device.name) == 0)
		return;
	log_info("interface %s is called %s now", network->daemon->descriptors.device.name, network->link.name);
	daemon_rename(network->daemon, network->link.name);
	gateway_network_lay_again(network); /* the listing of the rules that is compared has the name */
}

static void run_link(void *context, bool restore, struct reconcile_found *found)
{
	struct gateway_network *network = context;
	struct error error = {0};
	found->wanted = 1;
	int result = netlink_link_read(network->netlink, network->ifindex, &network->link, &error);
	if (result == 0)
		follow_name(network);
	if (result == 0 && network->link.up)
		return;
	reconcile_missing(found, "%s up", network->daemon->descriptors.device.name);
	if (result == 0 && restore)
		result = netlink_link_set_up(network->netlink, network->ifindex, &error);
	reconcile_left(found, result, &error);
}

static void run_mtu(void *context, bool restore, struct reconcile_found *found)
{
	struct gateway_network *network = context;
	struct error error = {0};
	struct netlink_link link = {0};
	found->wanted = 1;
	int result = netlink_link_read(network->netlink, network->ifindex, &link, &error);
	if (result == 0 && link.mtu == network->config->mtu)
		return;
	reconcile_missing(found, "MTU %u of %s", network->config->mtu, network->daemon->descriptors.device.name);
	if (result == 0 && restore)
		result = netlink_link_set_mtu(network->netlink, network->ifindex, network->config->mtu, &error);
	reconcile_left(found, result, &error);
}

static void run_address(struct gateway_network *network, const struct ip_prefix *address, bool restore,
			struct reconcile_found *found)
{
	struct error error;
	char text[IP_TEXT_MAX];
	found->wanted++;
	if (netlink_address_exists(network->netlink, network->ifindex, address))
		return;
	reconcile_missing(found, "%s of %s", ip_prefix_format(address, text), network->daemon->descriptors.device.name);
	if (!restore)
		return;
	/* Switched off for the interface, IPv6 loses its addresses. */
	if (address->address.family == 6)
		(void)sysctl_enable_ipv6(network->ifindex);
	reconcile_left(found, netlink_address_add(network->netlink, network->ifindex, address, &error), &error);
}

static void run_addresses(void *context, bool restore, struct reconcile_found *found)
{
	struct gateway_network *network = context;
	const struct daemon_params *params = &network->daemon->params; /* as they were given to the interface */
	for (size_t i = 0; i < params->address_count; i++) {
		const struct ip_prefix *address = &params->addresses[i];
		if (address->address.family == 4 || !network->no_ipv6)
			run_address(network, address, restore, found);
	}
}

static void run_rules(void *context, bool restore, struct reconcile_found *found)
{
	struct gateway_network *network = context;
	struct error error = {0};
	found->wanted = 1;
	int result = network->stale || network->laying ? 0 : nftables_check(network->nftables, network->table, &error);
	if (result == 1)
		return;
	reconcile_missing(found, "table inet %s", network->table);
	/* A process of ours that had to be ended took its tables along. */
	found->fresh = network->stale || network->laid_by != nftables_starts(network->nftables);
	if (restore && result != -EINPROGRESS)
		result = gateway_network_lay(network, &error);
	found->pending = result == -EINPROGRESS;
	reconcile_left(found, result < 0 ? result : 0, &error);
}

/* --- notices ------------------------------------------------------------------------------------------------------ */

static struct netlink_interest interest(const struct gateway_network *network)
{
	return (struct netlink_interest){.ifindex = network->ifindex};
}

int gateway_keep_open(struct gateway_network *network, struct error *error)
{
	struct netlink_interest what = interest(network);
	/* In this order: a route needs an address, and that the link. */
	const struct reconcile_part parts[] = {
		{.kind = RECONCILE_link, .run = run_link, .context = network},
		{.kind = RECONCILE_mtu, .run = run_mtu, .context = network},
		{.kind = RECONCILE_address, .run = run_addresses, .context = network},
		{.kind = RECONCILE_sysctl, .run = gateway_settings_forward, .context = &network->settings},
		{.kind = RECONCILE_sysctl, .run = gateway_settings_filter, .context = &network->settings},
		{.kind = RECONCILE_route, .run = routes_keeper_run, .context = &network->keeper},
		{.kind = RECONCILE_nftables, .run = run_rules, .context = network},
	};
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		if (reconciler_add(network->daemon->reconciler, &parts[i]) != 0)
			return error_set(error, -ENOSPC, "reconciler: no room");
	}
	network->watch_fd = netlink_watch_open(&what, error);
	if (network->watch_fd < 0)
		return network->watch_fd;
	network->rules_fd = nftables_watch_open(NULL); /* without, there is the slow round */
	/* Address and rules were set up before: the parts learn that, and a failure was logged then. Routes are made by
	 * gateway_network_follow(), which logs what fails; beside another process there are none to make. */
	(void)reconciler_apply(network->daemon->reconciler, RECONCILE_ALL & ~RECONCILE_BIT(RECONCILE_route), NULL);
	return 0;
}

void gateway_keep_close(struct gateway_network *network)
{
	if (network->watch_fd >= 0)
		close(network->watch_fd);
	if (network->rules_fd >= 0)
		close(network->rules_fd);
	network->watch_fd = network->rules_fd = -1;
}

void gateway_keep_changed(struct gateway_network *network)
{
	struct netlink_interest what = interest(network);
	unsigned changed = netlink_watch_read(network->watch_fd, &what);
	if ((changed & NETLINK_CHANGED_OWN) != 0)
		reconciler_notice(network->daemon->reconciler, RECONCILE_ALL & ~RECONCILE_BIT(RECONCILE_nftables));
	else if ((changed & NETLINK_CHANGED_ATTACHED) != 0)
		reconciler_notice(network->daemon->reconciler, RECONCILE_BIT(RECONCILE_route));
}

void gateway_keep_rules_changed(struct gateway_network *network)
{
	uint64_t now = clock_monotonic(network->daemon->clock);
	if (!nftables_watch_read(network->rules_fd))
		return;
	network->rules_changed = true;
	if (now - network->rules_looked < RULES_PAUSE)
		return; /* gateway_network_every_second() catches up */
	network->rules_looked = now;
	reconciler_notice(network->daemon->reconciler, RECONCILE_BIT(RECONCILE_nftables));
}
