// SPDX-License-Identifier: Apache-2.0
#include "config/check_cluster.h"

#include <string.h>

bool check_cluster_node(const char *node)
{
	return node[0] != '\0' && node[strspn(node, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

static int check_node(const struct gateway_config *config, unsigned line, struct error *error)
{
	const char *node = config->cluster_node;
	if (check_cluster_node(node))
		return 0;
	return error_set(error, -EINVAL, "%s:%u: ClusterNode = %s: no name of a node; 1 to %d of a-z, 0-9 and '-'",
			 config->file, line, node, CONFIG_NODE_SIZE - 1);
}

/* A name would have to be resolved before there is a network. */
static int check_link(const struct gateway_config *config, unsigned line, struct error *error)
{
	const struct config_endpoint *link = &config->cluster_link;
	struct ip_address address;
	if (link->port == 0)
		return 0;
	if (config->cluster_node == NULL)
		return error_set(error, -EINVAL, "%s:%u: ClusterLink = %s: without ClusterNode; write that as well",
				 config->file, line, link->host);
	if (!ip_address_parse(link->host, &address) || ip_address_unfit(&address) != NULL)
		return error_set(error, -EINVAL,
				 "%s:%u: ClusterLink = %s: no address of a host; write our own on the link between the "
				 "gateways",
				 config->file, line, link->host);
	return 0;
}

/* With one link for both, datagrams could go round between gateways. */
static int check_interfaces(const struct gateway_config *config, const struct config_lines *lines, struct error *error)
{
	const char *outside = config->cluster_outside, *inside = config->cluster_interface;
	if (outside == NULL && inside == NULL)
		return 0;
	if (config->cluster_node == NULL)
		return error_set(error, -EINVAL, "%s:%u: %s = %s: without ClusterNode; write that as well",
				 config->file, outside != NULL ? lines->cluster_outside : lines->cluster_interface,
				 outside != NULL ? "ClusterOutside" : "ClusterInterface",
				 outside != NULL ? outside : inside);
	if (outside == NULL || inside == NULL)
		return error_set(error, -EINVAL, "%s:%u: %s: without %s; write that as well", config->file,
				 outside != NULL ? lines->cluster_outside : lines->cluster_interface,
				 outside != NULL ? "ClusterOutside" : "ClusterInterface",
				 outside != NULL ? "ClusterInterface" : "ClusterOutside");
	if (strcmp(outside, inside) == 0)
		return error_set(error, -EINVAL,
				 "%s:%u: ClusterInterface = %s: ClusterOutside is the same; datagrams could go round",
				 config->file, lines->cluster_interface, inside);
	return 0;
}

/* An address that follows from the order of connecting, or of the file, would be another one at each gateway. */
static int check_addresses(const struct gateway_config *config, struct error *error)
{
	for (size_t i = 0; i < config->peer_count; i++) {
		const struct config_peer *peer = &config->peers[i];
		if (peer->addresses.count == 0)
			return error_set(error, -EINVAL,
					 "%s:%u: PublicKey = %s: without Address; with ClusterNode each client needs "
					 "one, the same at all gateways",
					 peer->file, peer->line, peer->public_key);
	}
	return 0;
}

int check_cluster(const struct gateway_config *config, const struct config_lines *lines, struct error *error)
{
	uint32_t size = config->cluster_block_size;
	if ((size & (size - 1)) != 0)
		return error_set(error, -EINVAL, "%s:%u: ClusterBlockSize = %u: not a power of two from %d to %d",
				 config->file, lines->cluster_block_size, size, CONFIG_BLOCK_LOW, CONFIG_BLOCK_HIGH);
	int result = check_link(config, lines->cluster_link, error);
	if (result == 0)
		result = check_interfaces(config, lines, error);
	if (result != 0 || config->cluster_node == NULL)
		return result;
	result = check_node(config, lines->cluster_node, error);
	if (result != 0)
		return result;
	if (config->max_sessions > CONFIG_CLUSTER_SESSIONS)
		return error_set(error, -EINVAL, "%s:%u: MaxSessions = %u: with ClusterNode at most %d", config->file,
				 lines->max_sessions, config->max_sessions, CONFIG_CLUSTER_SESSIONS);
	if (config->masquerade.count != 0)
		return error_set(error, -EINVAL,
				 "%s:%u: Masquerade = %s: with ClusterNode connections would break when a client moves "
				 "to another gateway; translate addresses upstream of all gateways",
				 config->file, config->masquerade.lines[0], config->masquerade.items[0]);
	return check_addresses(config, error);
}
