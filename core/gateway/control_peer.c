// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/control_peer.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/value.h"
#include "core/base/log.h"
#include "core/cluster/sealed_psk.h"
#include "core/control/words.h"
#include "core/daemon/daemon.h"
#include "core/gateway/network.h"
#include "core/gateway/quota.h"
#include "core/gateway/reloader.h"

static const struct gateway_running *running_of(const struct daemon *daemon)
{
	return daemon->params.context;
}

static const struct gateway_config *newest_config(const struct gateway_running *running)
{
	return running->reread != NULL ? running->reread : running->config;
}

/* --- peer --------------------------------------------------------------------------------------------------------- */

static int compare_prefixes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_prefix));
}

/* Networks with commas between them, in the form and order that the configuration has them in. */
static int parse_networks(const struct gateway_config *config, char *text, struct config_prefixes *networks,
			  struct error *error)
{
	static const struct value_context context = {.high = UINT32_MAX};
	for (char *item; (item = strsep(&text, ",")) != NULL;) {
		int result = value_prefixes.parse(networks, item, &context, error);
		if (result != 0)
			return error_prefix(error, result, "--allowed-ips %.64s: ", item);
		struct ip_prefix *network = &networks->items[networks->count - 1];
		*network = ip_prefix_network(network);
		for (size_t i = 0; i < config->addresses.count; i++) {
			if (ip_prefix_overlaps(network, &config->addresses.items[i]))
				return error_set(error, -EINVAL, "--allowed-ips %.64s: overlaps the pool", item);
		}
	}
	qsort(networks->items, networks->count, sizeof *networks->items, compare_prefixes);
	return 0;
}

static int read_psk(const char *text, const char *path, uint8_t key[KEY_SIZE], struct error *error)
{
	memset(key, 0, KEY_SIZE);
	if (text != NULL && path != NULL)
		return error_set(error, -EINVAL, "--psk and --psk-file: there is one pre-shared key; give one of them");
	if (text != NULL)
		return key_parse(text, key)
			       ? 0
			       : error_set(error, -EINVAL, "--psk: no key, which is 44 characters of base64");
	if (path == NULL)
		return 0;
	if (path[0] != '/')
		return error_set(error, -EINVAL, "--psk-file %s: the daemon reads it: give the absolute path", path);
	return key_read_file(path, key, error);
}

struct new_peer {
	uint8_t public_key[KEY_SIZE], preshared_key[KEY_SIZE];
	char *name;
	struct ip_address address;
	struct config_prefixes networks;
	struct config_limits limits;
	enum config_protocol protocol;
};

static int parse_name(const char *text, char **name, struct error *error)
{
	static const struct value_context context = {.high = CONFIG_NAME_SIZE - 1};
	int result = text != NULL ? value_name.parse(name, text, &context, error) : 0;
	return result == 0 ? 0 : error_prefix(error, result, "--name %.64s: ", text);
}

/* As in a file: the option's own parser, limits and messages. */
static int parse_limit(const char *option, const struct value_type *type, const struct value_context *context,
		       const char *text, void *value, struct error *error)
{
	int result = text != NULL ? type->parse(value, text, context, error) : 0;
	return result == 0 ? 0 : error_prefix(error, result, "%s %.64s: ", option, text);
}

struct limit_words {
	const char *up, *down, *burst, *quota, *quota_rate; /* NULL: not given */
};

static int parse_limits(const struct limit_words *words, struct config_limits *limits, struct error *error)
{
	static const struct value_context rate = {.low = CONFIG_RATE_LOW, .high = CONFIG_RATE_HIGH},
					  size = {.low = CONFIG_BURST_LOW, .high = CONFIG_BURST_HIGH},
					  quota = {.low = CONFIG_QUOTA_LOW, .high = CONFIG_QUOTA_HIGH};
	int result = parse_limit("--rate-up", &value_rate, &rate, words->up, &limits->up, error);
	if (result == 0)
		result = parse_limit("--rate-down", &value_rate, &rate, words->down, &limits->down, error);
	if (result == 0)
		result = parse_limit("--burst", &value_size_or_auto, &size, words->burst, &limits->burst, error);
	if (result == 0)
		result = parse_limit("--quota", &value_quota, &quota, words->quota, &limits->quota, error);
	if (result == 0)
		result = parse_limit("--quota-rate", &value_rate, &rate, words->quota_rate, &limits->quota_rate, error);
	return result;
}

static int parse_protocol(const struct gateway_running *running, const char *text, enum config_protocol *protocol,
			  struct error *error)
{
	static const struct value_context context = {0};
	int result = text != NULL ? value_protocol.parse(protocol, text, &context, error) : 0;
	if (result != 0)
		return error_prefix(error, result, "--protocol %.64s: ", text);
	if (*protocol == CONFIG_PROTOCOL_WIREGUARD && running->wireguard_keys == NULL)
		return error_set(error, -ENOTSUP,
				 "the gateway does not serve WireGuard; give it WireGuard = yes, and start it again");
	return 0;
}

static int parse_peer(const struct gateway_running *running, char *const *words, size_t count, struct new_peer *peer,
		      struct error *error)
{
	const char *psk = NULL, *psk_file = NULL, *name = NULL, *address = NULL, *networks = NULL, *protocol = NULL;
	struct limit_words limits = {0};
	const struct word_option options[] = {{"--psk", &psk},
					      {"--psk-file", &psk_file},
					      {"--name", &name},
					      {"--address", &address},
					      {"--allowed-ips", &networks},
					      {"--protocol", &protocol},
					      {"--rate-up", &limits.up},
					      {"--rate-down", &limits.down},
					      {"--burst", &limits.burst},
					      {"--quota", &limits.quota},
					      {"--quota-rate", &limits.quota_rate}};
	int result = words_key(words[0], peer->public_key, error);
	if (result == 0)
		result = words_options(words + 1, count - 1, options, ARRAY_SIZE(options), error);
	if (result == 0)
		result = parse_name(name, &peer->name, error);
	if (result == 0)
		result = words_address(address, &peer->address, error);
	if (result == 0)
		result = parse_limits(&limits, &peer->limits, error);
	if (result == 0)
		result = parse_protocol(running, protocol, &peer->protocol, error);
	if (result == 0 && networks != NULL) {
		char *copy = strdup(networks);
		result = copy != NULL ? parse_networks(running->config, copy, &peer->networks, error)
				      : error_set(error, -ENOMEM, "out of memory");
		free(copy);
	}
	return result == 0 ? read_psk(psk, psk_file, peer->preshared_key, error) : result;
}

static int add_peer(const struct gateway_running *running, char *const *words, size_t count, struct error *error)
{
	const struct gateway_config *config = newest_config(running);
	struct new_peer new = {0};
	int result = parse_peer(running, words, count, &new, error);
	if (result == 0) {
		struct registry_peer peer = {.public_key = new.public_key,
					     .preshared_key = new.preshared_key,
					     .name = new.name,
					     .address = new.address,
					     .networks = new.networks.items,
					     .network_count = new.networks.count,
					     .limits = gateway_peer_limits(&new.limits, &config->limits),
					     .protocol = gateway_peer_protocol(new.protocol)};
		if (peer.limits.quota != 0 && running->quota != NULL)
			result = quota_ready(running->quota, error);
		if (result == 0)
			result = gateway_peers_add(running->registry, &peer, &running->ender, error);
	}
	sodium_memzero(new.preshared_key, sizeof new.preshared_key);
	value_prefixes.free(&new.networks);
	value_name.free(&new.name);
	return result;
}

static int delete_peer(const struct gateway_running *running, char *const *words, size_t count, struct error *error)
{
	uint8_t public_key[KEY_SIZE];
	size_t ended = 0;
	if (count > 1)
		return error_set(error, -EINVAL, "%.64s: unexpected here", words[1]);
	int result = words_key(words[0], public_key, error);
	if (result == 0 &&
	    !gateway_peers_remove(running->registry, public_key, WIRE_BYE_REMOVED, &running->ender, &ended))
		result = error_set(error, -ENOENT, "%s: there is no such peer", words[0]);
	return result;
}

static json_t *addresses_of(const struct registry *registry, const struct peer *peer)
{
	struct ip_prefix address4, address6;
	char text[IP_TEXT_MAX];
	json_t *addresses = json_array();
	pool_addresses(&registry->pool, peer->fixed_index, &address4, &address6);
	if (address4.address.family != 0)
		json_array_append_new(addresses, json_string(ip_address_format(&address4.address, text)));
	if (address6.address.family != 0 && !registry->no_ipv6)
		json_array_append_new(addresses, json_string(ip_address_format(&address6.address, text)));
	return addresses;
}

/* Those that a WireGuard peer has before it connects, for its file; NULL for another peer. */
static json_t *held_addresses(const struct registry *registry, const char *key)
{
	uint8_t public_key[KEY_SIZE];
	const struct peer *peer = key_parse(key, public_key) ? peers_find(&registry->peers, public_key) : NULL;
	return peer != NULL && peer_protocol(peer) == PEER_WIREGUARD ? addresses_of(registry, peer) : NULL;
}

json_t *gateway_control_peer(void *context, char *const *words, size_t count, struct error *error)
{
	const struct gateway_running *running = running_of(context);
	bool add = count >= 2 && strcmp(words[0], "add") == 0;
	if (!add && !(count >= 2 && strcmp(words[0], "del") == 0)) {
		error_set(error, -EINVAL, "peer wants add or del, and the peer's public key");
		return NULL;
	}
	if (running->cluster != NULL) {
		error_set(error, -ENOTSUP,
			  "this gateway is in a cluster, whose peers are in etcd: shardtunctl peer %s hands it to the "
			  "agent",
			  words[0]);
		return NULL;
	}
	if (reloader_busy(running->reloader)) {
		error_set(error, -EBUSY, "the configuration is being read again; ask once more in a moment");
		return NULL;
	}
	int result = add ? add_peer(running, words + 1, count - 1, error)
			 : delete_peer(running, words + 1, count - 1, error);
	if (result != 0)
		return NULL;
	if (running->network != NULL)
		gateway_network_follow(running->network, running->registry);
	const char *did = add ? "added" : "deleted";
	log_info("control: peer %s %s, until the configuration is read again", words[1], did);
	json_t *addresses = add ? held_addresses(running->registry, words[1]) : NULL;
	return words_no_memory_unless(json_pack("{s:s, s:o*}", did, words[1], "addresses", addresses), error);
}

/* --- peers of a cluster ------------------------------------------------------------------------------------------- */

static bool is_zero(const uint8_t key[KEY_SIZE])
{
	return sodium_is_zero(key, KEY_SIZE) == 1;
}

json_t *gateway_describe_pool(const struct pool *pool)
{
	uint32_t never[POOL_NEVER_GIVEN];
	json_t *reserved = json_array();
	pool_never_given(pool, never);
	for (size_t i = 0; i < POOL_NEVER_GIVEN; i++) {
		if (never[i] < pool->size)
			json_array_append_new(reserved, json_integer(never[i]));
	}
	return json_pack("{s:I, s:o}", "size", (json_int_t)pool->size, "reserved", reserved);
}

static json_t *describe_check(const struct gateway_running *running, const struct new_peer *new, struct error *error)
{
	const struct pool *pool = &running->registry->pool;
	char sealed[SEALED_PSK_TEXT_SIZE];
	uint32_t index = 0;
	if (new->address.family != 0 && !pool_index(pool, &new->address, &index)) {
		error_set(error, -EINVAL, "--address: none that the pool can give out");
		return NULL;
	}
	bool has_psk = !is_zero(new->preshared_key);
	if (has_psk)
		sealed_psk_write(running->identity->keys.private_key, new->public_key, new->preshared_key, sealed);
	return words_no_memory_unless(json_pack("{s:s*, s:o*, s:o}", "psk", has_psk ? sealed : NULL, "index",
						new->address.family != 0 ? json_integer(index) : NULL, "pool",
						gateway_describe_pool(pool)),
				      error);
}

/* A gateway that is alone has no use for these. */
static bool in_cluster(const struct gateway_running *running, size_t count, size_t least, const char *usage,
		       struct error *error)
{
	if (running->cluster == NULL)
		error_set(error, -ENOTSUP, "this gateway is in no cluster");
	else if (count < least)
		error_set(error, -EINVAL, "%s", usage);
	return running->cluster != NULL && count >= least;
}

json_t *gateway_control_cluster_check(void *context, char *const *words, size_t count, struct error *error)
{
	const struct gateway_running *running = running_of(context);
	struct new_peer new = {0};
	json_t *answer = NULL;
	if (!in_cluster(running, count, 1, "cluster-check wants a public key and the options of peer add", error))
		return NULL;
	if (parse_peer(running, words, count, &new, error) == 0)
		answer = describe_check(running, &new, error);
	sodium_memzero(new.preshared_key, sizeof new.preshared_key);
	value_prefixes.free(&new.networks);
	value_name.free(&new.name);
	return answer;
}

json_t *gateway_control_cluster_addresses(void *context, char *const *words, size_t count, struct error *error)
{
	const struct gateway_running *running = running_of(context);
	uint8_t key[KEY_SIZE];
	if (!in_cluster(running, count, 1, "cluster-addresses wants a public key", error) ||
	    words_key(words[0], key, error) != 0)
		return NULL;
	const struct peer *peer = peers_find(&running->registry->peers, key);
	if (peer == NULL || peer->fixed_index == POOL_NONE) {
		error_set(error, -ENOENT, "%s: there is no such peer here", words[0]);
		return NULL;
	}
	return words_no_memory_unless(json_pack("{s:o}", "addresses", addresses_of(running->registry, peer)), error);
}

/* --- quota -------------------------------------------------------------------------------------------------------- */

struct named {
	const char *name;
	size_t count;
	uint8_t public_key[KEY_SIZE]; /* of the last one */
};

static void compare_name(struct peer *peer, void *context)
{
	struct named *named = context;
	const char *name = peer_name(peer);
	if (name == NULL || strcmp(name, named->name) != 0)
		return;
	memcpy(named->public_key, peer->public_key, KEY_SIZE);
	named->count++;
}

/* By key, or by a name that one peer alone has. */
static int find_peer(struct registry *registry, const char *text, uint8_t public_key[KEY_SIZE], struct error *error)
{
	if (key_parse(text, public_key))
		return 0;
	struct named named = {.name = text};
	peers_for_each(&registry->peers, compare_name, &named);
	if (named.count == 0)
		return error_set(error, -ENOENT, "%.64s: neither the key nor the name of a peer", text);
	if (named.count > 1)
		return error_set(error, -EINVAL, "%.64s: %zu peers have this name; give the key", text, named.count);
	memcpy(public_key, named.public_key, KEY_SIZE);
	return 0;
}

json_t *gateway_control_quota(void *context, char *const *words, size_t count, struct error *error)
{
	const struct gateway_running *running = running_of(context);
	uint8_t public_key[KEY_SIZE];
	char key[KEY_TEXT_SIZE];
	if (count != 2 || strcmp(words[0], "reset") != 0) {
		error_set(error, -EINVAL, "quota wants reset, and a peer's name or public key");
		return NULL;
	}
	if (running->quota == NULL) {
		error_set(error, -ENOTSUP, "no quotas are kept");
		return NULL;
	}
	if (find_peer(running->registry, words[1], public_key, error) != 0)
		return NULL;
	if (quota_reset(running->quota, public_key, error) != 0) {
		(void)error_prefix(error, -ENOENT, "%.64s: ", words[1]);
		return NULL;
	}
	key_format(public_key, key);
	log_info("control: quota of peer %s reset", key);
	return words_no_memory_unless(json_pack("{s:s}", "reset", key), error);
}

/* --- identity ----------------------------------------------------------------------------------------------------- */

static json_t *networks_of(const struct config_prefixes *addresses)
{
	char text[IP_TEXT_MAX];
	json_t *networks = json_array();
	for (size_t i = 0; i < addresses->count; i++) {
		struct ip_prefix network = ip_prefix_network(&addresses->items[i]);
		json_array_append_new(networks, json_string(ip_prefix_format(&network, text)));
	}
	return networks;
}

static json_t *endpoint_of(const struct config_endpoint *endpoint)
{
	if (endpoint->port == 0)
		return json_null();
	bool brackets = strchr(endpoint->host, ':') != NULL;
	return json_sprintf("%s%s%s:%u", brackets ? "[" : "", endpoint->host, brackets ? "]" : "", endpoint->port);
}

/* Absolute: the program that asks has another working directory. */
static json_t *directory_of(const char *path)
{
	char *absolute = path != NULL ? realpath(path, NULL) : NULL;
	json_t *text = absolute != NULL ? json_string(absolute) : json_null();
	free(absolute);
	return text;
}

json_t *gateway_control_identity(void *context, char *const *words, size_t count, struct error *error)
{
	const struct gateway_running *running = running_of(context);
	const struct gateway_config *config = newest_config(running);
	char key[KEY_TEXT_SIZE], wireguard_key[KEY_TEXT_SIZE];
	const char *wireguard = NULL;
	if (count != 0) {
		error_set(error, -EINVAL, "%.64s: unexpected here", words[0]);
		return NULL;
	}
	key_format(running->identity->keys.public_key, key);
	if (running->wireguard_keys != NULL) {
		key_format(running->wireguard_keys->public_key, wireguard_key);
		wireguard = wireguard_key;
	}
	return words_no_memory_unless(
		json_pack("{s:s, s:s?, s:i, s:o, s:o, s:o, s:s?}", "public_key", key, "wireguard_public_key", wireguard,
			  "port", (int)running->config->listen_port, "endpoint", endpoint_of(&config->public_endpoint),
			  "networks", networks_of(&running->config->addresses), "peers_directory",
			  directory_of(config->peers_directory), "cluster_node", running->config->cluster_node),
		error);
}
