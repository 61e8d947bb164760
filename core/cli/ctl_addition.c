// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_addition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/value.h"

#define EVERYTHING "0.0.0.0/0,::/0"
enum {
	ENDPOINT_SIZE = CONFIG_HOST_SIZE + 64,
	NETWORKS_SIZE = (CONFIG_ROUTES + 2) * IP_TEXT_MAX,
	DNS_SIZE = CONFIG_DNS_SERVERS * IP_TEXT_MAX,
};

/* Completes HOST, HOST:PORT, or an IPv6 address with or without brackets to HOST:PORT, by the gateway's own port. */
static int complete_endpoint(const char *given, uint64_t port, char text[ENDPOINT_SIZE], struct error *error)
{
	static const struct value_context context = {0};
	struct config_endpoint endpoint;
	struct ip_address address;
	size_t size = ENDPOINT_SIZE, length = strlen(given);
	bool bare = ip_address_parse(given, &address) && address.family == 6;
	bool has_port = !bare && strchr(given, ':') != NULL && (length == 0 || given[length - 1] != ']');
	if (has_port)
		(void)snprintf(text, size, "%s", given);
	else
		(void)snprintf(text, size, bare ? "[%s]:%u" : "%s:%u", given, (unsigned)port);
	int result = value_endpoint.parse(&endpoint, text, &context, error);
	return result == 0 ? 0 : error_prefix(error, result, "--endpoint %s: ", given);
}

static int check_routes(const char *routes, struct error *error)
{
	char *copy = strdup(routes), *rest = copy;
	int result = copy != NULL ? 0 : error_set(error, -ENOMEM, "out of memory");
	for (char *item; result == 0 && (item = strsep(&rest, ",")) != NULL;) {
		struct ip_prefix prefix;
		if (!ip_prefix_parse(item, &prefix))
			result = error_set(
				error, -EINVAL,
				"--routes %.64s: no IP network; for example 10.8.0.0/16,192.168.7.0/24 or all", item);
	}
	free(copy);
	return result;
}

/* The gateway's own networks, separated by commas, behind those that are there. */
static void add_networks(const struct config_prefixes *addresses, char *text, size_t size)
{
	char one[IP_TEXT_MAX];
	for (size_t i = 0, used = strlen(text); i < addresses->count && used < size; i++) {
		struct ip_prefix network = ip_prefix_network(&addresses->items[i]);
		used += (size_t)snprintf(text + used, size - used, "%s%s", used != 0 ? "," : "",
					 ip_prefix_format(&network, one));
	}
}

/* Addresses, separated by commas; those of hosts have prefix lengths. */
static void join(const struct ip_address *addresses, size_t count, bool lengths, char *text, size_t size)
{
	char one[IP_TEXT_MAX];
	text[0] = '\0';
	for (size_t i = 0, used = 0; i < count && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%s%s", i != 0 ? "," : "",
					 ip_address_format(&addresses[i], one),
					 !lengths		    ? ""
					 : addresses[i].family == 4 ? "/32"
								    : "/128");
}

void addition_join_addresses(const struct addition *addition, bool lengths, char text[ADDITION_ADDRESSES_SIZE])
{
	join(addition->addresses, addition->address_count, lengths, text, ADDITION_ADDRESSES_SIZE);
}

/* The gateway's endpoint for clients, as HOST:PORT. */
static int find_endpoint(const struct addition *addition, char text[ENDPOINT_SIZE], struct error *error)
{
	const char *given = ctl_value(addition->options, CTL_ENDPOINT);
	const struct config_endpoint *public = &addition->config->public_endpoint;
	if (given != NULL)
		return complete_endpoint(given, addition->config->listen_port, text, error);
	if (public->port == 0)
		return error_set(error, -EINVAL,
				 "where do clients find this gateway? give --endpoint HOST, or PublicEndpoint in its "
				 "configuration");
	bool brackets = strchr(public->host, ':') != NULL;
	(void)snprintf(text, ENDPOINT_SIZE, brackets ? "[%s]:%u" : "%s:%u", public->host, public->port);
	return 0;
}

/* What the gateway tells its other clients when they connect. */
static int make_wireguard_file(struct addition *addition, const struct client_file *client, struct error *error)
{
	const struct gateway_config *config = addition->config;
	char addresses[ADDITION_ADDRESSES_SIZE], dns[DNS_SIZE];
	addition_join_addresses(addition, true, addresses);
	join(config->dns.items, config->dns.count, false, dns, sizeof dns);
	struct wireguard_file file = {.client = *client,
				      .addresses = addresses,
				      .dns = dns,
				      .mtu = config->mtu,
				      .keepalive = ctl_value(addition->options, CTL_ALLOWED_IPS) != NULL};
	return wireguard_file_format(&file, addition->client_file, error);
}

int addition_make_file(struct addition *addition, struct error *error)
{
	const char *routes = ctl_value(addition->options, CTL_ROUTES);
	char endpoint[ENDPOINT_SIZE], networks[NETWORKS_SIZE] = "";
	int result = find_endpoint(addition, endpoint, error);
	if (result != 0)
		return result;
	add_networks(&addition->config->addresses, networks, sizeof networks);
	if (addition->wireguard)
		add_networks(&addition->config->routes, networks, sizeof networks);
	if (routes != NULL && strcmp(routes, "all") == 0)
		routes = EVERYTHING;
	result = routes != NULL ? check_routes(routes, error) : 0;
	if (result != 0)
		return result;
	struct client_file file = {.name = addition->name,
				   .private_key = addition->private_key,
				   .preshared_key = addition->preshared_key,
				   .gateway_public_key = addition->gateway_key,
				   .endpoint = endpoint,
				   .allowed_ips = routes != NULL ? routes : networks};
	return addition->wireguard ? make_wireguard_file(addition, &file, error)
				   : client_file_format(&file, addition->client_file, error);
}
