// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/wireguard_set.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "config/value.h"

/* A request of this size takes some MB; more peers come in several. */
enum { CHANGES_MAX = 1 << 16, ALLOWED_MAX = 1 << 18 };

/* --- memory ------------------------------------------------------------------------------------------------------- */

/* Room for one more of `size` bytes. realloc() would leave a copy of keys behind. */
static int grow(void *items_pointer, size_t count, size_t *room, size_t size, size_t most)
{
	void **items = items_pointer;
	if (count == most)
		return -E2BIG;
	if (count < *room)
		return 0;
	size_t wanted = *room != 0 ? 2 * *room : 16;
	void *grown = calloc(wanted, size);
	if (grown == NULL)
		return -ENOMEM;
	if (*items != NULL) {
		memcpy(grown, *items, count * size);
		explicit_bzero(*items, count * size);
	}
	free(*items);
	*items = grown;
	*room = wanted;
	return 0;
}

void wireguard_set_init(struct wireguard_set *set, const struct gateway_running *running)
{
	*set = (struct wireguard_set){.running = running};
}

void wireguard_set_deinit(struct wireguard_set *set)
{
	if (set->changes != NULL)
		explicit_bzero(set->changes, set->room * sizeof *set->changes);
	free(set->changes);
	free(set->allowed);
	*set = (struct wireguard_set){0};
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static int parse_key(const char *value, uint8_t key[KEY_SIZE])
{
	size_t size;
	return strlen(value) == 2 * KEY_SIZE &&
			       sodium_hex2bin(key, KEY_SIZE, value, 2 * KEY_SIZE, NULL, &size, NULL) == 0 &&
			       size == KEY_SIZE
		       ? 0
		       : -EINVAL;
}

static int parse_number(const char *value, uint64_t most, uint64_t *number)
{
	*number = 0;
	for (const char *c = value; *c != '\0'; c++) {
		if (*c < '0' || *c > '9' || (*number = 10 * *number + (uint64_t)(*c - '0')) > most)
			return -EINVAL;
	}
	return value[0] != '\0' ? 0 : -EINVAL;
}

static int parse_true(const char *value, bool *flag)
{
	if (strcmp(value, "true") != 0)
		return -EINVAL;
	*flag = true;
	return 0;
}

/* --- keys of the interface ---------------------------------------------------------------------------------------- */

static int set_private_key(struct wireguard_set *set, const char *value)
{
	const struct noise_keypair *own = set->running->wireguard_keys;
	uint8_t key[KEY_SIZE];
	int result = parse_key(value, key);
	if (result == 0 && (own == NULL || sodium_memcmp(key, own->private_key, KEY_SIZE) != 0))
		result = -EOPNOTSUPP;
	sodium_memzero(key, sizeof key);
	return result;
}

static int set_listen_port(struct wireguard_set *set, const char *value)
{
	uint64_t port;
	int result = parse_number(value, UINT16_MAX, &port);
	return result == 0 && port != set->running->config->listen_port ? -EOPNOTSUPP : result;
}

static int set_fwmark(struct wireguard_set *set, const char *value)
{
	uint64_t mark;
	(void)set;
	int result = parse_number(value, UINT32_MAX, &mark);
	return result == 0 && mark != 0 ? -EOPNOTSUPP : result;
}

static int set_replace_peers(struct wireguard_set *set, const char *value)
{
	return parse_true(value, &set->replace_peers);
}

/* --- keys of a peer ----------------------------------------------------------------------------------------------- */

static struct wireguard_change *this_change(const struct wireguard_set *set)
{
	return &set->changes[set->count - 1];
}

static int set_public_key(struct wireguard_set *set, const char *value)
{
	struct wireguard_change change = {.first = set->allowed_count};
	int result = parse_key(value, change.public_key);
	if (result == 0)
		result = grow(&set->changes, set->count, &set->room, sizeof *set->changes, CHANGES_MAX);
	if (result == 0)
		set->changes[set->count++] = change;
	return result;
}

static int set_remove(struct wireguard_set *set, const char *value)
{
	return parse_true(value, &this_change(set)->remove);
}

static int set_update_only(struct wireguard_set *set, const char *value)
{
	return parse_true(value, &this_change(set)->update_only);
}

static int set_preshared_key(struct wireguard_set *set, const char *value)
{
	struct wireguard_change *change = this_change(set);
	change->has_psk = true;
	return parse_key(value, change->preshared_key);
}

static int set_endpoint(struct wireguard_set *set, const char *value)
{
	static const struct value_context context = {0};
	struct wireguard_change *change = this_change(set);
	struct config_endpoint endpoint;
	if (value_endpoint.parse(&endpoint, value, &context, NULL) != 0)
		return -EINVAL;
	struct contact contact = gateway_peer_contact(&endpoint, 0);
	change->has_endpoint = true;
	change->endpoint = contact.endpoint;
	return contact.host == NULL ? 0 : -EINVAL;
}

static int set_keepalive(struct wireguard_set *set, const char *value)
{
	struct wireguard_change *change = this_change(set);
	uint64_t seconds;
	int result = parse_number(value, UINT16_MAX, &seconds);
	change->has_keepalive = true;
	change->keepalive = (uint16_t)seconds;
	return result;
}

static int set_replace_allowed_ips(struct wireguard_set *set, const char *value)
{
	return parse_true(value, &this_change(set)->replace_allowed);
}

/* A '-' takes it away. */
static int set_allowed_ip(struct wireguard_set *set, const char *value)
{
	struct wireguard_allowed allowed = {.remove = value[0] == '-'};
	if (!ip_prefix_parse(value + allowed.remove, &allowed.network))
		return -EINVAL;
	allowed.network = ip_prefix_network(&allowed.network);
	int result = grow(&set->allowed, set->allowed_count, &set->allowed_room, sizeof *set->allowed, ALLOWED_MAX);
	if (result != 0)
		return result;
	set->allowed[set->allowed_count++] = allowed;
	this_change(set)->count++;
	return 0;
}

static int set_protocol_version(struct wireguard_set *set, const char *value)
{
	(void)set;
	return strcmp(value, "1") == 0 ? 0 : -EINVAL;
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	bool of_peer; /* after a public_key */
	int (*set)(struct wireguard_set *set, const char *value);
} keys[] = {
	{"private_key", false, set_private_key},
	{"listen_port", false, set_listen_port},
	{"fwmark", false, set_fwmark},
	{"replace_peers", false, set_replace_peers},
	{"public_key", true, set_public_key},
	{"remove", true, set_remove},
	{"update_only", true, set_update_only},
	{"preshared_key", true, set_preshared_key},
	{"endpoint", true, set_endpoint},
	{"persistent_keepalive_interval", true, set_keepalive},
	{"replace_allowed_ips", true, set_replace_allowed_ips},
	{"allowed_ip", true, set_allowed_ip},
	{"protocol_version", true, set_protocol_version},
};

static int take(struct wireguard_set *set, const char *key, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strcmp(key, keys[i].name) != 0)
			continue;
		bool begins = keys[i].set == set_public_key;
		return begins || keys[i].of_peer == (set->count != 0) ? keys[i].set(set, value) : -EINVAL;
	}
	return -EINVAL;
}

void wireguard_set_line(struct wireguard_set *set, char *line)
{
	char *value = strchr(line, '=');
	if (set->code != 0)
		return;
	if (value == NULL) {
		set->code = -EINVAL;
		return;
	}
	*value = '\0';
	set->code = take(set, line, value + 1);
}
