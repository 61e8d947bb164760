// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/cluster_peers.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/value.h"
#include "core/cluster/sealed_psk.h"
#include "core/gateway/quota.h"

enum { PEERS_BETWEEN_QUIET = 1024 };

/* One reading. */
struct reading {
	struct gateway_running *running;
	struct registry wanted; /* the peers of puts */
	bool snapshot;
	uint8_t (*deleted)[KEY_SIZE]; /* of a file that is no snapshot */
	size_t deleted_count;
	json_t *refused;
	size_t lines;
};

/* A peer as a line has it; what it points to is the line's, or its own. */
struct line_peer {
	uint8_t public_key[KEY_SIZE], preshared_key[KEY_SIZE];
	struct config_prefixes networks;
	struct config_limits limits;
	struct registry_peer peer;
};

/* --- a line ------------------------------------------------------------------------------------------------------- */

/* NULL: it is not there. False: it is no text. */
static bool text_member(const json_t *object, const char *name, const char **text, struct error *error)
{
	const json_t *member = json_object_get(object, name);
	*text = json_string_value(member);
	if (member == NULL || json_is_null(member) || *text != NULL)
		return true;
	error_set(error, -EINVAL, "%s: no text", name);
	return false;
}

static int parse_member(const json_t *object, const char *name, const struct value_type *type, uint64_t low,
			uint64_t high, void *value, struct error *error)
{
	const char *text;
	const struct value_context context = {.low = low, .high = high};
	if (!text_member(object, name, &text, error))
		return -EINVAL;
	int result = text != NULL ? type->parse(value, text, &context, error) : 0;
	return result == 0 ? 0 : error_prefix(error, result, "%s: ", name);
}

static int parse_limits(const json_t *object, struct config_limits *limits, struct error *error)
{
	int result = parse_member(object, "rate_up", &value_rate, CONFIG_RATE_LOW, CONFIG_RATE_HIGH, &limits->up,
				  error);
	if (result == 0)
		result = parse_member(object, "rate_down", &value_rate, CONFIG_RATE_LOW, CONFIG_RATE_HIGH,
				      &limits->down, error);
	if (result == 0)
		result = parse_member(object, "burst", &value_size_or_auto, CONFIG_BURST_LOW, CONFIG_BURST_HIGH,
				      &limits->burst, error);
	if (result == 0)
		result = parse_member(object, "quota", &value_quota, CONFIG_QUOTA_LOW, CONFIG_QUOTA_HIGH,
				      &limits->quota, error);
	if (result == 0)
		result = parse_member(object, "quota_rate", &value_rate, CONFIG_RATE_LOW, CONFIG_RATE_HIGH,
				      &limits->quota_rate, error);
	return result;
}

/* In the form without host bits, and none of the pool's addresses is among them. */
static int settle_network(const struct gateway_config *config, struct ip_prefix *network, struct error *error)
{
	char text[IP_TEXT_MAX];
	*network = ip_prefix_network(network);
	for (size_t own = 0; own < config->addresses.count; own++) {
		if (ip_prefix_overlaps(network, &config->addresses.items[own]))
			return error_set(error, -EINVAL, "%s overlaps the pool", ip_prefix_format(network, text));
	}
	return 0;
}

static int parse_networks(const struct gateway_config *config, const json_t *object, struct config_prefixes *networks,
			  struct error *error)
{
	static const struct value_context context = {.high = UINT32_MAX};
	const json_t *list = json_object_get(object, "networks"), *item;
	size_t i;
	if (list != NULL && !json_is_array(list))
		return error_set(error, -EINVAL, "networks: no list");
	json_array_foreach (list, i, item) {
		const char *text = json_string_value(item);
		size_t first = networks->count;
		int result = text != NULL ? value_prefixes.parse(networks, text, &context, error)
					  : error_set(error, -EINVAL, "no text");
		for (size_t n = first; result == 0 && n < networks->count; n++)
			result = settle_network(config, &networks->items[n], error);
		if (result != 0)
			return error_prefix(error, result, "networks: ");
	}
	return 0;
}

static int parse_protocol(const struct gateway_running *running, const json_t *object, enum peer_protocol *protocol,
			  struct error *error)
{
	enum config_protocol own = CONFIG_PROTOCOL_SHARDTUN;
	int result = parse_member(object, "protocol", &value_protocol, 0, 0, &own, error);
	if (result == 0 && own == CONFIG_PROTOCOL_WIREGUARD && running->wireguard_keys == NULL)
		return error_set(error, -ENOTSUP, "protocol: this gateway does not serve WireGuard");
	*protocol = gateway_peer_protocol(own);
	return result;
}

/* By its index, of which both addresses follow. */
static int parse_index(const struct pool *pool, const json_t *object, struct ip_address *address, struct error *error)
{
	const json_t *member = json_object_get(object, "index");
	json_int_t number = json_integer_value(member);
	struct ip_prefix address4, address6;
	uint32_t index;
	if (!json_is_integer(member) || number < 1 || number >= pool->size)
		return error_set(error, -EINVAL, "index: none of the pool");
	pool_addresses(pool, (uint32_t)number, &address4, &address6);
	*address = address4.address.family != 0 ? address4.address : address6.address;
	return pool_index(pool, address, &index)
		       ? 0
		       : error_set(error, -EINVAL, "index: %lld has no address that can be given out",
				   (long long)number);
}

static int parse_psk(const struct gateway_running *running, const json_t *object, struct line_peer *line,
		     struct error *error)
{
	const char *text;
	if (!text_member(object, "psk", &text, error))
		return -EINVAL;
	if (text == NULL ||
	    sealed_psk_read(running->identity->keys.private_key, line->public_key, text, line->preshared_key))
		return 0;
	return error_set(error, -EINVAL, "psk: not sealed for this peer under this gateway's key");
}

static int parse_name(const json_t *object, const char **name, struct error *error)
{
	char *copy = NULL; /* the option's own check, the line's own text */
	int result = parse_member(object, "name", &value_name, 1, CONFIG_NAME_SIZE - 1, &copy, error);
	value_name.free(&copy);
	*name = json_string_value(json_object_get(object, "name"));
	return result;
}

static int parse_put(const struct reading *reading, const json_t *object, struct line_peer *line, struct error *error)
{
	const struct gateway_running *running = reading->running;
	const struct gateway_config *config = running->reread != NULL ? running->reread : running->config;
	int result = parse_index(&reading->wanted.pool, object, &line->peer.address, error);
	if (result == 0)
		result = parse_name(object, &line->peer.name, error);
	if (result == 0)
		result = parse_protocol(running, object, &line->peer.protocol, error);
	if (result == 0)
		result = parse_networks(running->config, object, &line->networks, error);
	if (result == 0)
		result = parse_limits(object, &line->limits, error);
	if (result == 0)
		result = parse_psk(running, object, line, error);
	line->peer.public_key = line->public_key;
	line->peer.preshared_key = line->preshared_key;
	line->peer.networks = line->networks.items;
	line->peer.network_count = line->networks.count;
	line->peer.limits = gateway_peer_limits(&line->limits, &config->limits);
	if (result == 0 && line->peer.limits.quota != 0 && running->quota != NULL)
		result = quota_ready(running->quota, error);
	return result;
}

/* The last line about a key counts. */
static int put(struct reading *reading, const json_t *object, const uint8_t key[KEY_SIZE], struct error *error)
{
	struct line_peer line = {0};
	uint32_t ids[2];
	memcpy(line.public_key, key, KEY_SIZE);
	int result = parse_put(reading, object, &line, error);
	if (result == 0) {
		(void)registry_remove_peer(&reading->wanted, key, ids);
		result = registry_add_peer(&reading->wanted, &line.peer, error);
	}
	sodium_memzero(line.preshared_key, sizeof line.preshared_key);
	value_prefixes.free(&line.networks);
	return result;
}

/* What a later line puts is there again. */
static int delete (struct reading *reading, const uint8_t key[KEY_SIZE], struct error *error)
{
	uint32_t ids[2];
	(void)registry_remove_peer(&reading->wanted, key, ids);
	if (reading->snapshot)
		return 0;
	void *more = reallocarray(reading->deleted, reading->deleted_count + 1, KEY_SIZE);
	if (more == NULL)
		return error_set(error, -ENOMEM, "out of memory");
	reading->deleted = more;
	memcpy(reading->deleted[reading->deleted_count++], key, KEY_SIZE);
	return 0;
}

static int take(struct reading *reading, const json_t *object, struct error *error)
{
	const char *op, *key_text;
	uint8_t key[KEY_SIZE];
	if (!text_member(object, "op", &op, error) || !text_member(object, "key", &key_text, error))
		return -EINVAL;
	if (op != NULL && strcmp(op, "snapshot") == 0 && reading->lines == 1) {
		reading->snapshot = true;
		return 0;
	}
	if (key_text == NULL || !key_parse(key_text, key))
		return error_set(error, -EINVAL, "key: no public key");
	if (op != NULL && strcmp(op, "put") == 0)
		return put(reading, object, key, error);
	if (op != NULL && strcmp(op, "delete") == 0)
		return delete (reading, key, error);
	return error_set(error, -EINVAL, "op: neither put nor delete");
}

static void refuse(struct reading *reading, const json_t *object, const struct error *error)
{
	const char *key = json_string_value(json_object_get(object, "key"));
	if (json_array_size(reading->refused) >= CLUSTER_PEERS_REFUSED)
		return;
	if (key != NULL)
		json_array_append_new(reading->refused, json_sprintf("%.44s: %s", key, error->text));
	else
		json_array_append_new(reading->refused, json_sprintf("line %zu: %s", reading->lines, error->text));
}

static void take_line(struct reading *reading, const char *text, size_t length)
{
	struct error error = {0};
	json_t *object = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	int result = json_is_object(object) ? take(reading, object, &error)
					    : error_set(&error, -EINVAL, "no JSON object");
	if (result != 0)
		refuse(reading, object, &error);
	json_decref(object);
}

/* --- a file ------------------------------------------------------------------------------------------------------- */

static FILE *open_file(const char *path, struct error *error)
{
	struct stat status;
	int fd = path[0] == '/' ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
	if (path[0] != '/')
		error_set(error, -EINVAL, "%.200s: the daemon reads it: give the absolute path", path);
	else if (fd < 0)
		(void)error_open(error, path, "peers");
	if (fd >= 0 && (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))) {
		error_set(error, -EINVAL, "%.200s: no regular file", path);
		close(fd);
		fd = -1;
	}
	FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (fd >= 0 && file == NULL)
		close(fd);
	return file;
}

static int read_lines(struct reading *reading, FILE *file, const char *path, struct error *error)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t length;
	while ((length = getline(&line, &room, file)) > 0) {
		reading->lines++;
		take_line(reading, line, (size_t)length);
		if (reading->lines % PEERS_BETWEEN_QUIET == 0)
			rcu_quiescent();
	}
	bool failed = ferror(file) != 0;
	if (line != NULL)
		sodium_memzero(line, room);
	free(line);
	return failed ? error_set(error, -EIO, "%.200s: cannot be read", path) : 0;
}

static int follow(struct reading *reading, struct gateway_peers_change *change, struct error *error)
{
	struct registry *registry = reading->running->registry;
	const struct session_ender *ender = &reading->running->ender;
	struct gateway_peers_difference difference;
	int result = reading->snapshot ? gateway_peers_compare(registry, &reading->wanted, &difference, error)
				       : gateway_peers_compare_named(registry, &reading->wanted, &difference, error);
	if (result != 0)
		return result;
	size_t removed = 0, ended = 0;
	for (size_t i = 0; i < reading->deleted_count; i++) {
		if (peers_find(&reading->wanted.peers, reading->deleted[i]) == NULL)
			removed += gateway_peers_remove(registry, reading->deleted[i], WIRE_BYE_REMOVED, ender, &ended);
	}
	result = gateway_peers_follow(registry, &reading->wanted, &difference, ender, change, error);
	change->removed += removed;
	change->changed += difference.renamed.count + difference.limited.count;
	gateway_peers_difference_free(&difference);
	return result;
}

static int apply(struct reading *reading, const char *path, struct gateway_peers_change *change, struct error *error)
{
	FILE *file = open_file(path, error);
	if (file == NULL)
		return -EINVAL;
	int result = read_lines(reading, file, path, error);
	(void)fclose(file);
	return result == 0 ? follow(reading, change, error) : result;
}

json_t *cluster_peers_apply(struct gateway_running *running, const char *path, struct error *error)
{
	const struct config_prefixes *addresses = &running->config->addresses;
	struct reading reading = {.running = running, .refused = json_array()};
	struct gateway_peers_change change = {0};
	struct registry_params made = {.addresses = addresses->items,
				       .address_count = addresses->count,
				       .max_sessions = 1,
				       .workers = 1,
				       .expected_peers = peers_count(&running->registry->peers),
				       .fence = running->registry->fence};
	int result = registry_init(&reading.wanted, &made, error);
	if (result != 0) {
		json_decref(reading.refused);
		return NULL;
	}
	result = apply(&reading, path, &change, error);
	registry_deinit(&reading.wanted);
	free(reading.deleted);
	if (result != 0) {
		json_decref(reading.refused);
		return NULL;
	}
	json_int_t changed = (json_int_t)change.added + (json_int_t)change.removed + (json_int_t)change.changed;
	return json_pack("{s:I, s:I, s:o}", "peers", (json_int_t)peers_count(&running->registry->peers), "changed",
			 changed, "refused", reading.refused);
}
