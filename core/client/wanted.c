// SPDX-License-Identifier: Apache-2.0
#include "core/client/wanted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/host/sysctl.h"
#include "tun/netlink_state.h"

static const uint8_t families[] = {4, 6};

static bool no_family(int result)
{
	return result == -EAFNOSUPPORT || result == -EOPNOTSUPP;
}

/* --- the link ----------------------------------------------------------------------------------------------------- */

/* A link that is gone is not created again: the worker sees its TUN queue fail, and the client ends. */
static void keep_link(void *context, bool restore, struct reconcile_found *found)
{
	struct client_network *network = context;
	struct netlink_link *link = &network->link;
	struct error error = {0};
	if (netlink_link_read(network->netlink, network->ifindex, link, &error) != 0)
		return;
	found->wanted = 2;
	if (!link->up) {
		reconcile_missing(found, "%s up", link->name);
		if (restore)
			reconcile_left(found, netlink_link_set_up(network->netlink, network->ifindex, &error), &error);
	}
	if (link->group != CLIENT_LINK_GROUP) {
		reconcile_missing(found, "%s in group %d", link->name, CLIENT_LINK_GROUP);
		if (restore)
			reconcile_left(
				found,
				netlink_link_set_group(network->netlink, network->ifindex, CLIENT_LINK_GROUP, &error),
				&error);
	}
}

static void keep_mtu(void *context, bool restore, struct reconcile_found *found)
{
	struct client_network *network = context;
	struct netlink_link *link = &network->link;
	struct error error = {0};
	if (!network->leased || netlink_link_read(network->netlink, network->ifindex, link, &error) != 0)
		return;
	found->wanted = 1;
	if (link->mtu == network->wanted.mtu)
		return;
	reconcile_missing(found, "%u on %s", network->wanted.mtu, link->name);
	if (restore)
		reconcile_left(found,
			       netlink_link_set_mtu(network->netlink, network->ifindex, network->wanted.mtu, &error),
			       &error);
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

/* IPv6 may be off for new links, or was switched off since. */
static int add_address(struct client_network *network, const struct ip_prefix *own, struct error *error)
{
	if (own->address.family == 6) {
		int result = sysctl_enable_ipv6(network->ifindex);
		if (result != 0)
			return error_set(error, result, "IPv6 is switched off on %s (%s)", network->link.name,
					 strerror(-result));
	}
	return netlink_address_add(network->netlink, network->ifindex, own, error);
}

/* Returns whether the interface has the address now. */
static bool keep_address(struct client_network *network, const struct ip_prefix *leased, bool restore,
			 struct reconcile_found *found)
{
	char text[IP_TEXT_MAX];
	struct error error = {0};
	struct ip_prefix own = client_network_host(leased);
	if (leased->address.family == 0)
		return false;
	found->wanted++;
	if (netlink_address_exists(network->netlink, network->ifindex, &own))
		return true;
	reconcile_missing(found, "%s on %s", ip_address_format(&own.address, text), network->link.name);
	if (!restore)
		return false;
	int result = add_address(network, &own, &error);
	reconcile_left(found, result, &error);
	return result == 0;
}

static void keep_addresses(void *context, bool restore, struct reconcile_found *found)
{
	struct client_network *network = context;
	if (!network->leased)
		return;
	network->carried[0] = keep_address(network, &network->wanted.address4, restore, found);
	network->carried[1] = keep_address(network, &network->wanted.address6, restore, found);
}

/* --- families ----------------------------------------------------------------------------------------------------- */

static bool has_family(const struct client_config *config, uint8_t family)
{
	for (size_t i = 0; i < config->gateway.allowed_ips.count; i++) {
		if (config->gateway.allowed_ips.items[i].address.family == family)
			return true;
	}
	return false;
}

static void add_found(struct reconcile_found *sum, const struct reconcile_found *part)
{
	if (sum->missing == 0)
		memcpy(sum->first, part->first, sizeof sum->first);
	if (sum->left == 0)
		sum->error = part->error;
	sum->wanted += part->wanted;
	sum->missing += part->missing;
	sum->left += part->left;
}

/* Compares, and with `restore` puts back, the routes or the rules of one family: `family` is an index of `families`. */
typedef int keep_family_fn(struct client_network *network, size_t family, bool restore, struct reconcile_found *found,
			   struct error *error);

/* For the families of AllowedIPs. One that the kernel turns out not to have counts as not wanted. */
static void keep_families(struct client_network *network, keep_family_fn *keep, bool restore,
			  struct reconcile_found *found)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		struct error error = {0};
		struct reconcile_found family = {0};
		if (network->absent[i] || !has_family(network->config, families[i]))
			continue;
		int result = keep(network, i, restore, &family, &error);
		reconcile_left(&family, result, &error);
		if (!network->absent[i])
			add_found(found, &family);
	}
}

/* --- routes ------------------------------------------------------------------------------------------------------- */

/* By metric: of two links to one network the kernel prefers the lower one. */
static int compare_attached(const void *a, const void *b)
{
	uint32_t one = ((const struct netlink_attached *)a)->metric,
		 other = ((const struct netlink_attached *)b)->metric;
	return (one > other) - (one < other);
}

static void read_attached(struct client_network *network)
{
	struct netlink_attached_list list = {0};
	struct error error = {0};
	int result = 0;
	for (size_t i = 0; i < ARRAY_SIZE(families) && result == 0; i++)
		result = netlink_attached_read(network->netlink, families[i], &list, &error);
	if (result != 0) {
		log_warning("%s", error.text);
		netlink_attached_free(&list);
		return;
	}
	if (list.count != 0)
		qsort(list.items, list.count, sizeof *list.items, compare_attached);
	netlink_attached_free(&network->attached);
	network->attached = list;
}

static int plan_routes(const struct client_network *network, size_t family, struct netlink_routes *wanted)
{
	const struct client_routes_wish wish = {.config = network->config,
						.allowed = network->allowed,
						.lease = &network->wanted,
						.ifindex = network->ifindex,
						.carried = network->carried[family],
						.attached = network->attached.items,
						.attached_count = network->attached.count};
	int result = client_routes_plan(wanted, families[family], &wish);
	netlink_routes_settle(wanted);
	return result;
}

static const char *route_text(const struct client_network *network, const struct netlink_route *route, char text[96])
{
	char prefix[IP_TEXT_MAX];
	const char *to = route->ifindex == network->ifindex	 ? " into the tunnel"
			 : route->ifindex == NETLINK_THROW	 ? " beside the tunnel"
			 : route->ifindex == NETLINK_UNREACHABLE ? " refused while the tunnel is down"
								 : "";
	(void)snprintf(text, 96, "%s%s", ip_prefix_format(&route->network, prefix), to);
	return text;
}

/* Adds before it deletes, so that at no moment a packet finds fewer routes than before and after. Adds backwards: lists
 * are sorted, a prefix before those that it contains, and the more specific route must be there first. */
static void put_routes(struct client_network *network, size_t family, const struct netlink_routes *missing,
		       const struct netlink_routes *extra, struct reconcile_found *found)
{
	struct error error = {0};
	for (size_t i = missing->count; i-- > 0;) {
		const struct netlink_route *route = &missing->items[i];
		int result = netlink_route_add(network->netlink, route->ifindex, &route->network, network->table.number,
					       &error);
		network->absent[family] |= no_family(result);
		reconcile_left(found, result, &error);
	}
	for (size_t i = 0; i < extra->count; i++) {
		const struct netlink_route *route = &extra->items[i];
		if (netlink_route_delete(network->netlink, route->ifindex, &route->network, network->table.number,
					 &error) != 0)
			log_warning("%s", error.text);
	}
}

static int keep_routes_of(struct client_network *network, size_t family, bool restore, struct reconcile_found *found,
			  struct error *error)
{
	char text[96];
	struct netlink_routes wanted = {0}, have = {0}, missing = {0}, extra = {0};
	int result = plan_routes(network, family, &wanted);
	if (result == 0)
		result = netlink_routes_read(network->netlink, families[family], network->table.number, &have, error);
	if (result == 0)
		result = netlink_routes_compare(&wanted, &have, &missing, &extra);
	if (result == -ENOMEM)
		(void)error_set(error, result, "out of memory");
	if (result == 0) {
		found->wanted += (unsigned)wanted.count;
		if (missing.count != 0) {
			reconcile_missing(found, "%s", route_text(network, &missing.items[0], text));
			found->missing += (unsigned)missing.count - 1;
		}
		if (restore)
			put_routes(network, family, &missing, &extra, found);
	} else {
		reconcile_missing(found, "IPv%u", families[family]);
	}
	struct netlink_routes *const lists[] = {&wanted, &have, &missing, &extra};
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		netlink_routes_free(lists[i]);
	return result;
}

/* Following the machine's networks does not count as restoring: that is done before the comparison. */
static void keep_routes(void *context, bool restore, struct reconcile_found *found)
{
	struct client_network *network = context;
	if (!network->leased || network->table.number == 0)
		return;
	if (network->attached_stale) {
		struct reconcile_found before = {0};
		network->attached_stale = false;
		read_attached(network);
		keep_families(network, keep_routes_of, true, &before);
	}
	keep_families(network, keep_routes_of, restore, found);
}

/* --- policy rules ------------------------------------------------------------------------------------------------- */

static bool has_rule(const struct netlink_rules *rules, const struct netlink_rule *wanted)
{
	for (size_t i = 0; i < rules->count; i++) {
		if (netlink_rule_equal(&rules->items[i], wanted))
			return true;
	}
	return false;
}

static int keep_rules_of(struct client_network *network, size_t family, bool restore, struct reconcile_found *found,
			 struct error *error)
{
	struct netlink_rule wanted[CLIENT_RULES_MAX];
	struct netlink_rules have = {0};
	uint8_t version = families[family];
	size_t count = client_table_rules(&network->table, version, network->carried[family], wanted);
	int result = 0;
	/* Also because the kernel compares rules without their "not", and would refuse ours as a copy of a left one. */
	if (restore)
		result = client_table_prune(&network->table, network->netlink, version, wanted, count, error);
	if (result == 0)
		result = netlink_rules_read(network->netlink, version, &have, error);
	for (size_t i = 0; i < count && result == 0; i++) {
		found->wanted++;
		if (has_rule(&have, &wanted[i]))
			continue;
		reconcile_missing(found, "IPv%u rule %u for table %u", version, wanted[i].priority, wanted[i].table);
		if (restore)
			result = netlink_rule_add(network->netlink, &wanted[i], error);
	}
	netlink_rules_free(&have);
	network->absent[family] |= no_family(result);
	return result;
}

static void keep_rules(void *context, bool restore, struct reconcile_found *found)
{
	struct client_network *network = context;
	if (network->leased && network->table.number != 0)
		keep_families(network, keep_rules_of, restore, found);
}

void client_wanted_put_rules(struct client_network *network)
{
	struct reconcile_found found = {0};
	keep_rules(network, true, &found);
	if (found.left != 0)
		log_warning("%s", found.error.text);
}

int client_wanted_add(struct client_network *network, struct reconciler *reconciler)
{
	const struct reconcile_part parts[] = {
		{.kind = RECONCILE_link, .run = keep_link, .context = network},
		{.kind = RECONCILE_mtu, .run = keep_mtu, .context = network},
		{.kind = RECONCILE_address, .run = keep_addresses, .context = network},
		{.kind = RECONCILE_route, .run = keep_routes, .context = network},
		{.kind = RECONCILE_rule, .run = keep_rules, .context = network},
	};
	int result = 0;
	for (size_t i = 0; i < ARRAY_SIZE(parts) && result == 0; i++)
		result = reconciler_add(reconciler, &parts[i]);
	return result;
}
