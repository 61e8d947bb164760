// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/cluster_network.h"

#include <net/if.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/log.h"
#include "core/gateway/cluster_links.h"
#include "core/gateway/settings.h"

static const char subject[] = "cluster";

static int lay(struct cluster_network *network, struct error *error)
{
	char *commands = cluster_rules_commands(&network->rules, error);
	if (commands == NULL)
		return -EINVAL;
	const struct nftables_table table = {
		.subject = subject, .family = NFTABLES_NETDEV, .name = network->table, .commands = commands};
	int result = nftables_lay(network->nftables, &table, error);
	free(commands);
	return result;
}

int cluster_network_open(struct cluster_network *network, const struct cluster_network_params *params,
			 struct error *error)
{
	*network = (struct cluster_network){
		.nftables = params->nftables,
		.rules = {.outside = params->outside,
			  .inside = params->inside,
			  .listen = params->listen,
			  .listen_count = params->listen_count,
			  .port = params->port,
			  .wireguard = params->wireguard},
	};
	nftables_table_name(params->interface, network->table);
	network->rules.table = network->table;
	network->rules.map = &network->next;
	if (params->outside == NULL)
		return 0;
	if (strcmp(params->outside, params->inside) == 0)
		return error_set(error, -EINVAL,
				 "%s: %s is the link outside and inside: datagrams could go round between gateways",
				 subject, params->outside);
	const char *const links[] = {params->outside, params->inside};
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		if (if_nametoindex(links[i]) == 0)
			return error_set(error, -ENODEV, "%s: there is no interface %s; 'ip link' lists them", subject,
					 links[i]);
	}
	if (cluster_links_overlap(params->inside, params->outside))
		return error_set(error, -EINVAL,
				 "%s: %s lies on %s: what other gateways hand on would be handed on again; use a link "
				 "of its own, or a VXLAN device",
				 subject, params->inside, params->outside);
	if (gateway_settings_strict(params->inside))
		log_warning("%s: the rp_filter of %s is strict, so what other gateways hand on is dropped; "
			    "sysctl -w net.ipv4.conf.%s.rp_filter=2 (and .all) lets it in",
			    subject, params->inside, params->inside);
	/* The process that holds a killed run's rules may need a moment to end: then the reconciler sees to them. */
	network->laid = network->unsure = nftables_remove_netdev(network->nftables, subject, network->table, error) !=
					  0;
	if (network->laid)
		log_warning("%s; it is tried again", error->text);
	return 0;
}

/* --- the map ------------------------------------------------------------------------------------------------------ */

/* The agent's map without what is served here. */
static void make_next(struct cluster_network *network)
{
	struct cluster_map *map = &network->next;
	*map = network->told;
	for (unsigned block = 1; block < BLOCK_COUNT; block++) {
		if (block_set_has(&network->served, block))
			map->ipv4[block] = map->ipv6[block] = (struct cluster_owner){0};
	}
}

static bool is_empty(const struct cluster_map *map)
{
	return cluster_map_count(map, 4) + cluster_map_count(map, 6) == 0;
}

/* Makes the rules those of `next`. Without success it is not known which ones are in force. */
static int put_in_force(struct cluster_network *network, struct error *error)
{
	bool empty = is_empty(&network->next);
	int result = empty ? nftables_remove_netdev(network->nftables, subject, network->table, error)
			   : lay(network, error);
	network->unsure = result != 0;
	network->laid = !empty || (network->laid && result != 0);
	network->laid_by = nftables_starts(network->nftables);
	if (result == 0)
		network->map = network->next;
	return result;
}

/* Said when it is another one than before. */
static void note_left_out(struct cluster_network *network, const struct cluster_map_left_out *left_out)
{
	if (left_out->count != 0 && strcmp(left_out->first, network->left_out_first) != 0)
		log_warning("map: %u entries are left out: %s; see Inside of that node's agent", left_out->count,
			    left_out->first);
	memcpy(network->left_out_first, left_out->first, sizeof left_out->first);
	atomic_store_explicit(&network->left_out, left_out->count, memory_order_relaxed);
}

int cluster_network_map(struct cluster_network *network, const char *text, struct error *error)
{
	struct ip_address *own;
	struct cluster_map_left_out left_out;
	size_t count;
	if (cluster_links_addresses(NULL, &own, &count) != 0)
		return error_set(error, -errno, "%s: list the machine's addresses: %s", subject, strerror(errno));
	int result = cluster_map_parse(&network->told, text, own, count, &left_out, error);
	free(own);
	if (result != 0)
		return result;
	note_left_out(network, &left_out);
	for (unsigned i = 0; i < ARRAY_SIZE(network->entries); i++)
		atomic_store_explicit(&network->entries[i], (unsigned)cluster_map_count(&network->told, i == 0 ? 4 : 6),
				      memory_order_relaxed);
	return 0;
}

static void drop_parts(struct cluster_network *network)
{
	free(network->parts.text);
	network->parts.text = NULL;
}

static int begin_parts(struct cluster_network *network, unsigned serial, unsigned count, struct error *error)
{
	drop_parts(network);
	network->parts.text = malloc(CLUSTER_MAP_TEXT_MAX);
	network->parts.serial = serial;
	network->parts.count = count;
	network->parts.next = 1;
	network->parts.used = 0;
	return network->parts.text != NULL ? 0 : error_set(error, -ENOMEM, "map: out of memory");
}

int cluster_network_part(struct cluster_network *network, unsigned serial, unsigned number, unsigned count,
			 const char *text, struct error *error)
{
	int result = number == 1 ? begin_parts(network, serial, count, error) : 0;
	if (result != 0)
		return result;
	bool follows = network->parts.text != NULL && network->parts.serial == serial &&
		       network->parts.count == count && network->parts.next == number && number <= count;
	if (!follows || network->parts.used + strlen(text) + 2 > CLUSTER_MAP_TEXT_MAX) {
		drop_parts(network);
		return error_set(error, -EINVAL, "map: part %u of %u %s; begin with part 1", number, count,
				 follows ? "is too much" : "does not follow the one before");
	}
	char *at = network->parts.text + network->parts.used;
	network->parts.used += (size_t)sprintf(at, "%s%s", number == 1 ? "" : ",", text);
	network->parts.next++;
	if (number < count)
		return 1;
	result = cluster_network_map(network, network->parts.text, error);
	drop_parts(network);
	return result;
}

void cluster_network_serve(struct cluster_network *network, const struct block_set *served)
{
	network->served = *served;
}

void cluster_network_owners(const struct cluster_network *network, uint8_t family, uint16_t port,
			    struct sockaddr_in6 of[BLOCK_COUNT])
{
	memset(of, 0, BLOCK_COUNT * sizeof *of);
	for (unsigned block = 1; block < BLOCK_COUNT; block++) {
		const struct cluster_owner *owner = cluster_map_owner(&network->told, block, family);
		if (owner == NULL)
			continue;
		of[block].sin6_family = AF_INET6;
		of[block].sin6_port = htons(owner->port != 0 ? owner->port : port);
		uint8_t *bytes = of[block].sin6_addr.s6_addr;
		if (family == 6) {
			memcpy(bytes, owner->address.bytes, 16);
			continue;
		}
		bytes[10] = bytes[11] = 0xff;
		memcpy(bytes + 12, owner->address.bytes, 4);
	}
}

/* The list's entry of this owner, made if there is none; owners are few. */
static json_t *entry_of(json_t *list, const struct cluster_owner *owner)
{
	char text[IP_TEXT_MAX];
	size_t i;
	json_t *entry;
	(void)ip_address_format(&owner->address, text);
	json_array_foreach (list, i, entry) {
		if (strcmp(json_string_value(json_object_get(entry, "address")), text) == 0 &&
		    json_integer_value(json_object_get(entry, "port")) == owner->port)
			return entry;
	}
	entry = json_pack("{s:s, s:[]}", "address", text, "blocks");
	if (owner->port != 0)
		(void)json_object_set_new(entry, "port", json_integer(owner->port));
	return json_array_append_new(list, entry) == 0 ? entry : NULL;
}

json_t *cluster_network_describe(const struct cluster_network *network)
{
	json_t *list = json_array();
	for (uint8_t family = 4; family <= 6; family += 2) {
		for (unsigned block = 1; block < BLOCK_COUNT; block++) {
			const struct cluster_owner *owner = cluster_map_owner(&network->told, block, family);
			json_t *entry = owner != NULL ? entry_of(list, owner) : NULL;
			if (entry != NULL)
				(void)json_array_append_new(json_object_get(entry, "blocks"),
							    json_integer((json_int_t)block));
		}
	}
	return list;
}

void cluster_network_run(void *context, bool restore, struct reconcile_found *found)
{
	struct cluster_network *network = context;
	struct error error = {0};
	make_next(network);
	bool follows = network->rules.outside == NULL ||
		       (!network->unsure && cluster_map_equal(&network->map, &network->next));
	if (!network->laid && follows)
		return;
	found->wanted = 1;
	int result = follows ? nftables_check_netdev(network->nftables, network->table, &error) : 0;
	if (result == 1)
		return;
	reconcile_missing(found, "table netdev %s", network->table);
	/* A process of ours that had to be ended took its tables along. */
	found->fresh = !follows || network->laid_by != nftables_starts(network->nftables);
	if (restore && result != -EINPROGRESS)
		result = put_in_force(network, &error);
	found->pending = result == -EINPROGRESS;
	reconcile_left(found, result < 0 ? result : 0, &error);
}

void cluster_network_close(struct cluster_network *network)
{
	struct error error;
	drop_parts(network);
	if (network->laid && nftables_remove_netdev(network->nftables, subject, network->table, &error) != 0)
		log_warning("%s; 'nft delete table netdev %s' removes what is left", error.text, network->table);
	network->laid = false;
}
