// SPDX-License-Identifier: Apache-2.0
#include "core/client/conflicts.h"

#include <net/if.h>

#include "core/base/log.h"
#include "core/client/wanted.h"

/* --- policy rules ------------------------------------------------------------------------------------------------- */

static void check_other_clients(struct client_network *network, size_t family, const struct ip_address *inner)
{
	struct error error = {0};
	if (network->table.number == 0 || ip_address_equal(&network->compared[family], inner))
		return;
	network->compared[family] = *inner;
	if (client_table_check_collision(&network->table, network->netlink, inner, &error) != 0)
		log_warning("%s", error.text);
}

/* A lookup of the gateway's inner address shows which rule packets to the networks behind it meet. */
void client_conflicts_raise_rules(struct client_network *network)
{
	const struct ip_address *inner[] = {&network->wanted.gateway4, &network->wanted.gateway6};
	for (size_t i = 0; i < ARRAY_SIZE(inner) && network->leased; i++) {
		if (!network->carried[i] || !ip_set_contains(network->allowed, inner[i]))
			continue;
		check_other_clients(network, i, inner[i]);
		if (!client_table_raise(&network->table, network->netlink, inner[i], network->ifindex))
			continue;
		log_info("another program's policy rule took what is behind the gateway: ours comes before it now "
			 "(priority %u), and it has what is left",
			 network->table.front);
		client_wanted_put_rules(network);
	}
}

/* --- tunnels on the way to the gateway ---------------------------------------------------------------------------- */

static void pass_tunnels(struct client_network *network, const struct ip_address *endpoint,
			 const struct netlink_path *path)
{
	if (path->ifindex == 0 ||
	    !client_table_find_passing(&network->table, network->netlink, endpoint, path->ifindex))
		return;
	for (size_t i = 0; i < network->table.passing_count; i++)
		log_info("the way to the gateway leads through another tunnel, whose packets carry the mark %#x: "
			 "they pass",
			 network->table.passing[i].mark);
	client_wanted_put_rules(network);
}

/* OpenVPN routes everything into its tunnel by two halves, and its server outside by a host route in table main. Our
 * table is looked up before main: OpenVPN's packets would enter our tunnel, and ours OpenVPN's. */
static int refuse_circle(const struct client_network *network, uint8_t family, const struct netlink_path *path,
			 struct error *error)
{
	struct netlink_detours detours;
	char server[IP_TEXT_MAX], name[IF_NAMESIZE] = "?";
	if (path->ifindex == 0 || network->table.number == 0 || network->table.passing_count != 0 ||
	    netlink_detours(network->netlink, family, path->ifindex, &detours, error) != 0 || !detours.everything)
		return 0;
	for (size_t i = 0; i < detours.count; i++) {
		if (!ip_set_contains(network->allowed, &detours.hosts[i]))
			continue;
		ip_address_format(&detours.hosts[i], server);
		return error_set(
			error, -ELOOP,
			"the way to the gateway leads through %s, another tunnel, and the way of that one to %s "
			"through ours: packets would circle; leave %s out of AllowedIPs, or stop the other one",
			if_indextoname(path->ifindex, name) != NULL ? name : "?", server, server);
	}
	return 0;
}

int client_conflicts_check_path(struct client_network *network, const struct sockaddr_in6 *remote,
				const struct netlink_path *path, struct error *error)
{
	struct ip_address endpoint = client_network_address(remote);
	pass_tunnels(network, &endpoint, path);
	client_conflicts_raise_rules(network);
	return refuse_circle(network, endpoint.family, path, error);
}
