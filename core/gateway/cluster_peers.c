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
#include "core/base/printable.h"
#include "core/cluster/sealed_psk.h"
#include "core/gateway/quota.h"

enum { PEERS_BETWEEN_QUIET = 1024, LINE_LEAST = 100 /* bytes of a peer, about: its key has 44 */ };

/* How far the changes are carried out: items of the lists of a difference. */
struct progress {
	bool begun;
	size_t removed, ended, narrowed, replaced, added, altered, renamed, limited, moved;
};

struct cluster_peers {
	struct gateway_running *running;
	char *path;
	int code; /* of reading: 0, or a negative errno that `error` explains */
	struct error error;
	struct registry wanted; /* the peers of puts */
	bool has_wanted, snapshot;
	bool no_quotas; /* usage cannot be kept, as this says: peers with a quota are refused */
	struct error quota_error;
	uint8_t (*deleted)[KEY_SIZE]; /* of a file that is no snapshot */
	size_t deleted_count;
	json_t *refused; /* the first of them */
	size_t refused_count;
	size_t lines;
	struct gateway_peers_difference difference;
	struct progress progress;
	size_t changed;
	bool networks; /* of a peer that came, went or changed */
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

static int parse_put(const struct cluster_peers *reading, const json_t *object, struct line_peer *line,
		     struct error *error)
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
	if (result == 0 && line->peer.limits.quota != 0 && reading->no_quotas)
		return error_set(error, -EIO, "%s", reading->quota_error.text);
	return result;
}

/* The last line about a key counts. */
static int put(struct cluster_peers *reading, const json_t *object, const uint8_t key[KEY_SIZE], struct error *error)
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
static int delete (struct cluster_peers *reading, const uint8_t key[KEY_SIZE], struct error *error)
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

static int take(struct cluster_peers *reading, const json_t *object, struct error *error)
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

static void refuse(struct cluster_peers *reading, const json_t *object, const struct error *error)
{
	const char *key = json_string_value(json_object_get(object, "key"));
	uint8_t bytes[KEY_SIZE];
	char who[KEY_TEXT_SIZE], text[sizeof who + 2 + sizeof error->text], shown[2 * sizeof text];
	reading->refused_count++;
	if (json_array_size(reading->refused) >= CLUSTER_PEERS_REFUSED)
		return;
	if (key != NULL && key_parse(key, bytes))
		(void)snprintf(who, sizeof who, "%s", key);
	else
		(void)snprintf(who, sizeof who, "line %zu", reading->lines);
	(void)snprintf(text, sizeof text, "%s: %s", who, error->text);
	/* It may quote what is no UTF-8, or was cut within a character, which JSON would not take. */
	(void)printable_copy(shown, sizeof shown, text);
	json_array_append_new(reading->refused, json_string(shown));
}

static void take_line(struct cluster_peers *reading, const char *text, size_t length)
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

static FILE *open_file(const char *path, size_t *size, struct error *error)
{
	struct stat status = {0};
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
	*size = (size_t)status.st_size;
	FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (fd >= 0 && file == NULL)
		close(fd);
	return file;
}

static int read_lines(struct cluster_peers *reading, FILE *file, const char *path, struct error *error)
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

static int compare_keys(const void *a, const void *b)
{
	return memcmp(a, b, KEY_SIZE);
}

/* Of a file that is no snapshot: those that it deletes, and that are there, each once. */
static int find_deleted(struct cluster_peers *reading, struct error *error)
{
	struct gateway_peer_list *removed = &reading->difference.removed;
	removed->items = calloc(reading->deleted_count, sizeof *removed->items);
	if (removed->items == NULL)
		return error_set(error, -ENOMEM, "out of memory");
	qsort(reading->deleted, reading->deleted_count, KEY_SIZE, compare_keys);
	for (size_t i = 0; i < reading->deleted_count; i++) {
		if (i > 0 && memcmp(reading->deleted[i - 1], reading->deleted[i], KEY_SIZE) == 0)
			continue;
		struct peer *peer = peers_find(&reading->running->registry->peers, reading->deleted[i]);
		if (peer != NULL && peers_find(&reading->wanted.peers, reading->deleted[i]) == NULL)
			removed->items[removed->count++] = peer;
	}
	return 0;
}

static int compare(struct cluster_peers *reading, struct error *error)
{
	struct registry *registry = reading->running->registry;
	if (reading->snapshot)
		return gateway_peers_compare(registry, &reading->wanted, &reading->difference, error);
	int result = gateway_peers_compare_named(registry, &reading->wanted, &reading->difference, error);
	return result == 0 && reading->deleted_count != 0 ? find_deleted(reading, error) : result;
}

static int read_all(struct cluster_peers *reading, struct error *error)
{
	const struct gateway_running *running = reading->running;
	const struct config_prefixes *addresses = &running->config->addresses;
	size_t size;
	FILE *file = open_file(reading->path, &size, error);
	if (file == NULL)
		return -EINVAL;
	struct registry_params made = {.addresses = addresses->items,
				       .address_count = addresses->count,
				       .max_sessions = 1,
				       .workers = 1,
				       .expected_peers = size / LINE_LEAST,
				       .fence = running->registry->fence};
	int result = registry_init(&reading->wanted, &made, error);
	reading->has_wanted = result == 0;
	if (result == 0)
		result = read_lines(reading, file, reading->path, error);
	(void)fclose(file);
	return result == 0 ? compare(reading, error) : result;
}

void cluster_peers_read(struct cluster_peers *peers)
{
	peers->code = read_all(peers, &peers->error);
}

/* --- carrying it out ---------------------------------------------------------------------------------------------- */

/* The next items of a list, as many as there is room for. */
static struct gateway_peer_list next_items(const struct gateway_peer_list *list, size_t *done, size_t *room)
{
	size_t left = list->count - *done;
	struct gateway_peer_list items = {.items = list->items != NULL ? list->items + *done : NULL,
					  .count = left < *room ? left : *room};
	*done += items.count;
	*room -= items.count;
	return items;
}

/* In the order of gateway_peers_follow(), in which all is taken away before anything is given, since one peer may get
 * the address or a network of another: so those that change go twice. False: this was the last one. */
static bool next_slice(struct cluster_peers *peers, struct gateway_peers_difference *slice)
{
	const struct gateway_peers_difference *all = &peers->difference;
	struct progress *progress = &peers->progress;
	size_t room = CLUSTER_PEERS_SLICE;
	*slice = (struct gateway_peers_difference){
		.removed = next_items(&all->removed, &progress->removed, &room),
		.ended = next_items(&all->changed, &progress->ended, &room),
		.narrowed = next_items(&all->altered, &progress->narrowed, &room),
	};
	slice->added = next_items(&all->changed, &progress->replaced, &room);
	if (slice->added.count != 0)
		return true;
	slice->added = next_items(&all->added, &progress->added, &room);
	slice->altered = next_items(&all->altered, &progress->altered, &room);
	slice->renamed = next_items(&all->renamed, &progress->renamed, &room);
	slice->limited = next_items(&all->limited, &progress->limited, &room);
	slice->moved = next_items(&all->moved, &progress->moved, &room);
	return room == 0;
}

/* Whether one of them has networks, as it is or as it is to be. */
static bool have_networks(const struct registry *registry, const struct gateway_peer_list *list)
{
	bool have = false;
	for (size_t i = 0; list->items != NULL && i < list->count && !have; i++) {
		const struct peer *peer = peers_find(&registry->peers, list->items[i]->public_key);
		have = peer_has_networks(list->items[i]) || (peer != NULL && peer_has_networks(peer));
	}
	return have;
}

static bool slice_has_networks(const struct registry *registry, const struct gateway_peers_difference *slice)
{
	return have_networks(registry, &slice->removed) || have_networks(registry, &slice->ended) ||
	       have_networks(registry, &slice->narrowed) || have_networks(registry, &slice->added);
}

bool cluster_peers_change_networks(const struct cluster_peers *peers)
{
	return peers->networks;
}

static int begin(struct cluster_peers *peers, struct error *error)
{
	if (peers->code != 0) {
		*error = peers->error;
		return peers->code;
	}
	peers->progress.begun = true;
	return 0;
}

static json_t *describe(struct cluster_peers *peers)
{
	const struct registry *registry = peers->running->registry;
	json_t *refused = peers->refused;
	peers->refused = NULL;
	return json_pack("{s:I, s:I, s:I, s:o}", "peers", (json_int_t)peers_count(&registry->peers), "changed",
			 (json_int_t)peers->changed, "refused_count", (json_int_t)peers->refused_count, "refused",
			 refused);
}

bool cluster_peers_apply(struct cluster_peers *peers, json_t **answer, struct error *error)
{
	struct gateway_peers_difference slice;
	struct gateway_peers_change change;
	*answer = NULL;
	if (!peers->progress.begun && begin(peers, error) != 0)
		return true;
	bool more = next_slice(peers, &slice);
	peers->networks = peers->networks || slice_has_networks(peers->running->registry, &slice);
	if (gateway_peers_follow(peers->running->registry, &peers->wanted, &slice, &peers->running->ender, &change,
				 error) != 0)
		return true;
	peers->changed += change.added + change.removed + change.changed + slice.renamed.count + slice.limited.count;
	if (more)
		return false;
	*answer = describe(peers);
	if (*answer == NULL)
		error_set(error, -ENOMEM, "out of memory");
	return true;
}

struct cluster_peers *cluster_peers_new(struct gateway_running *running, const char *path, struct error *error)
{
	struct cluster_peers *peers = calloc(1, sizeof *peers);
	if (peers != NULL) {
		peers->running = running;
		/* Here, as only the control thread may open its file; one peer with a quota must not hold up the
		 * others. */
		peers->no_quotas = running->quota != NULL && quota_ready(running->quota, &peers->quota_error) != 0;
		peers->path = strdup(path);
		peers->refused = json_array();
	}
	if (peers == NULL || peers->path == NULL || peers->refused == NULL) {
		cluster_peers_free(peers);
		error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	return peers;
}

void cluster_peers_free(struct cluster_peers *peers)
{
	if (peers == NULL)
		return;
	gateway_peers_difference_free(&peers->difference);
	if (peers->has_wanted)
		registry_deinit(&peers->wanted);
	json_decref(peers->refused);
	free(peers->deleted);
	free(peers->path);
	free(peers);
}
