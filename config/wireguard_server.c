// SPDX-License-Identifier: Apache-2.0
#include "config/wireguard_server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/check.h"
#include "config/files.h"
#include "config/parser.h"

static int no_memory(const char *path, struct error *error)
{
	return error_set(error, -ENOMEM, "%s: out of memory", path);
}

/* --- sections ----------------------------------------------------------------------------------------------------- */

/* The gateway's configuration is at the beginning of the file's. */
_Static_assert(offsetof(struct wireguard_server, gateway) == 0, "files_peer_begin() takes one for the other");

static void *interface_begin(struct loader *loader)
{
	return loader->config;
}

static int interface_end(struct loader *loader)
{
	struct config_lines *lines = loader->lines;
	lines->mtu = loader_line(loader, "MTU");
	return 0;
}

static int peer_end(struct loader *loader)
{
	struct config_peer *peer = loader->target;
	peer->line = loader_line(loader, "PublicKey");
	peer->protocol = CONFIG_PROTOCOL_WIREGUARD;
	return 0;
}

/* --- what it means here ------------------------------------------------------------------------------------------- */

/* "/etc/wireguard/wg0.conf" is of the interface wg0. */
static void name_interface(struct gateway_config *config)
{
	static const char ending[] = ".conf";
	static const struct value_context context = {0};
	const char *slash = strrchr(config->file, '/'), *name = slash != NULL ? slash + 1 : config->file;
	size_t length = strlen(name), ending_length = strlen(ending);
	char text[CONFIG_INTERFACE_SIZE] = "";
	if (length <= ending_length || length - ending_length >= sizeof text ||
	    strcmp(name + length - ending_length, ending) != 0)
		return;
	memcpy(text, name, length - ending_length);
	(void)value_interface.parse(config->common.interface, text, &context, NULL);
}

static bool is_host(const struct ip_prefix *prefix)
{
	return prefix->length == (prefix->address.family == 4 ? 32 : 128);
}

static bool is_of_pool(const struct gateway_config *config, const struct ip_address *address)
{
	for (size_t i = 0; i < config->addresses.count; i++) {
		if (ip_prefix_contains(&config->addresses.items[i], address))
			return true;
	}
	return false;
}

/* As if they were written so: each on its line. */
static int add_address(struct config_peer *peer, const struct ip_address *address, unsigned line, struct error *error)
{
	const struct value_context context = {.high = UINT32_MAX, .line = line};
	char text[IP_TEXT_MAX];
	return value_addresses.parse(&peer->addresses, ip_address_format(address, text), &context, error);
}

static int add_network(struct config_peer *peer, const struct ip_address *address, unsigned line, struct error *error)
{
	const struct value_context context = {.high = UINT32_MAX, .line = line};
	char text[IP_TEXT_MAX];
	return value_prefixes.parse(&peer->allowed_ips, ip_address_format(address, text), &context, error);
}

static bool has_address(const struct config_peer *peer, const struct ip_address *address)
{
	for (size_t i = 0; i < peer->addresses.count; i++) {
		if (ip_address_equal(&peer->addresses.items[i], address))
			return true;
	}
	return false;
}

/* Allowed IPs that are hosts of the pool become the peer's addresses; the others stay. */
static int take_addresses(const struct gateway_config *config, struct config_peer *peer, struct error *error)
{
	struct config_prefixes *list = &peer->allowed_ips;
	size_t kept = 0;
	int result = 0;
	for (size_t i = 0; i < list->count && result == 0; i++) {
		const struct ip_prefix *prefix = &list->items[i];
		if (!is_host(prefix) || !is_of_pool(config, &prefix->address)) {
			list->items[kept] = *prefix;
			list->lines[kept++] = list->lines[i];
		} else if (!has_address(peer, &prefix->address)) {
			result = add_address(peer, &prefix->address, list->lines[i], error);
		}
	}
	list->count = kept;
	return result;
}

static int take_all_addresses(struct gateway_config *config, struct error *error)
{
	int result = 0;
	for (size_t i = 0; i < config->peer_count && result == 0; i++)
		result = take_addresses(config, &config->peers[i], error);
	return result;
}

/* --- two families that do not go together ------------------------------------------------------------------------- */

/* Takes the gateway's IPv6 network out. False: it has not both. */
static bool drop_ipv6(struct wireguard_server *file)
{
	struct config_prefixes *list = &file->gateway.addresses;
	if (list->count != 2 || list->items[0].address.family == list->items[1].address.family)
		return false;
	size_t six = list->items[0].address.family == 6 ? 0 : 1;
	file->dropped = list->items[six];
	file->dropped_line = list->lines[six];
	list->items[0] = list->items[1 - six];
	list->lines[0] = list->lines[1 - six];
	list->count = 1;
	return true;
}

static int addresses_to_networks(struct config_peer *peer, struct error *error)
{
	struct config_addresses *list = &peer->addresses;
	size_t kept = 0;
	int result = 0;
	for (size_t i = 0; i < list->count && result == 0; i++) {
		if (list->items[i].family == 6) {
			result = add_network(peer, &list->items[i], list->lines[i], error);
			continue;
		}
		list->items[kept] = list->items[i];
		list->lines[kept++] = list->lines[i];
	}
	list->count = kept;
	return result;
}

/* What no client has, as a network of peers either. */
static bool any_has_the_servers(const struct gateway_config *config, const struct ip_prefix *dropped)
{
	struct ip_prefix network = ip_prefix_network(dropped);
	for (size_t i = 0; i < config->peer_count; i++) {
		if (has_address(&config->peers[i], &dropped->address) ||
		    has_address(&config->peers[i], &network.address))
			return true;
	}
	return false;
}

static int check_without_peers(struct gateway_config *config, const struct config_lines *lines, struct error *error)
{
	size_t count = config->peer_count;
	config->peer_count = 0;
	int result = config_check_gateway(config, lines, error);
	config->peer_count = count;
	return result;
}

/* The pool pairs 10.8.0.10 with fd00:8::a; servers often have fd00:8::10 beside it. Then only IPv4 has a pool, and the
 * IPv6 addresses are networks behind their peers. If that does not help, the first error says what is wrong. */
static int check(struct wireguard_server *file, const struct config_lines *lines, struct error *error)
{
	struct gateway_config *config = &file->gateway;
	struct error second = {0};
	int result = check_without_peers(config, lines, error);
	if (result != 0)
		return result;
	result = config_check_gateway(config, lines, error);
	if (result != -EINVAL || !drop_ipv6(file) || any_has_the_servers(config, &file->dropped))
		return result;
	int again = 0;
	for (size_t i = 0; i < config->peer_count && again == 0; i++)
		again = addresses_to_networks(&config->peers[i], &second);
	if (again == 0)
		again = config_check_gateway(config, lines, &second);
	return again == 0 ? 0 : result;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static int load(struct wireguard_server *file, struct error *error)
{
	static const struct section_rule rules[] = {{CONFIG_SECTION_INTERFACE, false, interface_begin, interface_end},
						    {CONFIG_SECTION_WIREGUARD_PEER, true, files_peer_begin, peer_end}};
	struct config_lines lines = {0};
	struct loader loader = {.path = file->gateway.file,
				.streams = true,
				.of_wireguard = true,
				.config = file,
				.lines = &lines,
				.error = error,
				.rules = rules,
				.rule_count = ARRAY_SIZE(rules)};
	int result = loader_run(&loader);
	if (result != 0)
		return result;
	file->gateway.wireguard = true;
	name_interface(&file->gateway);
	result = take_all_addresses(&file->gateway, error);
	return result == 0 ? check(file, &lines, error) : result;
}

int config_load_wireguard(const char *path, struct wireguard_server **file, struct error *error)
{
	*file = NULL;
	struct wireguard_server *made = calloc(1, sizeof *made);
	if (made == NULL || (made->gateway.file = strdup(path)) == NULL) {
		free(made);
		return no_memory(path, error);
	}
	int result = load(made, error);
	if (result != 0)
		config_free_wireguard(made);
	else
		*file = made;
	return result;
}

void config_free_wireguard(struct wireguard_server *file)
{
	if (file == NULL)
		return;
	config_forget_keys(&file->gateway);
	loader_free(CONFIG_SECTION_INTERFACE, file);
	free(file->gateway.file);
	free(file);
}
