// SPDX-License-Identifier: Apache-2.0
#include "core/app/gateway_control.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/value.h"
#include "core/app/gateway_sessions.h"
#include "core/base/log.h"

static const struct gateway_running *running_of(const struct tunnel *tunnel)
{
	return tunnel->params.context;
}

static json_t *no_memory_unless(json_t *result, struct error *error)
{
	if (result == NULL)
		error_set(error, -ENOMEM, "out of memory");
	return result;
}

/* --- words of a request ---------------------------------------------------------------------------------------------
 */

/* An option that a command knows, and where its value goes. */
struct word_option {
	const char *name;
	const char **value;
};

static const char **option_value(const struct word_option *options, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(options[i].name, name) == 0)
			return options[i].value;
	}
	return NULL;
}

/* Options with their values, in any order and each once. */
static int parse_options(char *const *words, size_t count, const struct word_option *options, size_t option_count,
			 struct error *error)
{
	for (size_t i = 0; i < count; i += 2) {
		const char **value = option_value(options, option_count, words[i]);
		if (value == NULL)
			return error_set(error, -EINVAL, "%.64s: unexpected here", words[i]);
		if (i + 1 == count)
			return error_set(error, -EINVAL, "%s: a value is missing", words[i]);
		if (*value != NULL)
			return error_set(error, -EINVAL, "%s: given twice", words[i]);
		*value = words[i + 1];
	}
	return 0;
}

/* NULL leaves the value as it is. */
static int parse_number(const char *option, const char *text, uint32_t *value, struct error *error)
{
	if (text == NULL)
		return 0;
	char *end;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || number > UINT32_MAX)
		return error_set(error, -EINVAL, "%s %.32s: not a number from 0 to 4294967295", option, text);
	*value = (uint32_t)number;
	return 0;
}

static int parse_address(const char *text, struct ip_address *address, struct error *error)
{
	if (text != NULL && !ip_address_parse(text, address))
		return error_set(error, -EINVAL, "--address %.64s: no IP address", text);
	return 0;
}

static int parse_key(const char *text, uint8_t key[KEY_SIZE], struct error *error)
{
	if (!key_parse(text, key))
		return error_set(error, -EINVAL, "%.64s: no public key, which is 44 characters of base64", text);
	return 0;
}

/* --- sessions -------------------------------------------------------------------------------------------------------
 */

static int parse_state(const char *text, struct gateway_sessions_query *query, struct error *error)
{
	query->active = text == NULL || strcmp(text, "active") == 0;
	query->pending = text == NULL || strcmp(text, "pending") == 0;
	if (!query->active && !query->pending)
		return error_set(error, -EINVAL, "--state %.32s: neither active nor pending", text);
	return 0;
}

static json_t *handle_sessions(void *context, char *const *words, size_t count, struct error *error)
{
	const struct tunnel *tunnel = context;
	const char *from = NULL, *most = NULL, *peer = NULL, *address = NULL, *state = NULL;
	const struct word_option options[] = {
		{"--from", &from}, {"--count", &most}, {"--peer", &peer}, {"--address", &address}, {"--state", &state}};
	struct gateway_sessions_query query = {.count = GATEWAY_SESSIONS_PAGE};
	uint8_t public_key[KEY_SIZE];
	if (parse_options(words, count, options, ARRAY_SIZE(options), error) != 0 ||
	    parse_number("--from", from, &query.from, error) != 0 ||
	    parse_number("--count", most, &query.count, error) != 0 ||
	    parse_address(address, &query.address, error) != 0 || parse_state(state, &query, error) != 0)
		return NULL;
	if (peer != NULL) {
		if (parse_key(peer, public_key, error) != 0)
			return NULL;
		query.public_key = public_key;
	}
	uint64_t now = clock_monotonic(tunnel->clock);
	return no_memory_unless(gateway_sessions_page(&running_of(tunnel)->registry->table, &query, now), error);
}

/* --- kick -----------------------------------------------------------------------------------------------------------
 */

static bool parse_id(const char *text, uint32_t *id)
{
	if (strlen(text) != 8 || strspn(text, "0123456789abcdefABCDEF") != 8)
		return false;
	*id = (uint32_t)strtoul(text, NULL, 16);
	return true;
}

/* Whom an ID or a key means; at least one of `ids` is not 0. */
static int find_sessions(struct registry *registry, const char *text, uint32_t ids[2], struct error *error)
{
	uint8_t public_key[KEY_SIZE];
	ids[1] = 0;
	if (parse_id(text, &ids[0]))
		return session_table_find(&registry->table, ids[0]) != NULL
			       ? 0
			       : error_set(error, -ENOENT, "%s: there is no such session", text);
	if (!key_parse(text, public_key))
		return error_set(error, -EINVAL, "%.64s: neither a session's ID nor a peer's public key", text);
	if (!registry_peer_sessions(registry, public_key, ids))
		return error_set(error, -ENOENT, "%s: there is no such peer", text);
	if (ids[0] == 0 && ids[1] == 0)
		return error_set(error, -ENOENT, "%s: this peer is not connected", text);
	return 0;
}

/* The reason tells a client to stay away for a while (core/PROTOCOL.md, section 4); one that is at fault may not be
 * back in a second. */
static json_t *handle_kick(void *context, char *const *words, size_t count, struct error *error)
{
	const struct gateway_running *running = running_of(context);
	uint32_t ids[2] = {0};
	if (count != 1) {
		error_set(error, -EINVAL, "kick wants the ID of a session or the key of a peer");
		return NULL;
	}
	if (find_sessions(running->registry, words[0], ids, error) != 0)
		return NULL;
	json_t *kicked = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		char text[9];
		if (ids[i] == 0)
			continue;
		(void)snprintf(text, sizeof text, "%08x", ids[i]);
		log_info("control: kick session %s", text);
		running->ender.end(running->ender.context, ids[i], WIRE_BYE_REMOVED);
		json_array_append_new(kicked, json_string(text));
	}
	return no_memory_unless(json_pack("{s:o}", "kicked", kicked), error);
}

/* --- peer -----------------------------------------------------------------------------------------------------------
 */

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

static int read_psk(const char *path, uint8_t key[KEY_SIZE], struct error *error)
{
	memset(key, 0, KEY_SIZE);
	if (path == NULL)
		return 0;
	if (path[0] != '/')
		return error_set(error, -EINVAL, "--psk-file %s: the daemon reads it: give the absolute path", path);
	return key_read_file(path, key, error);
}

struct new_peer {
	uint8_t public_key[KEY_SIZE], preshared_key[KEY_SIZE];
	struct ip_address address;
	struct config_prefixes networks;
};

static int parse_peer(const struct gateway_running *running, char *const *words, size_t count, struct new_peer *peer,
		      struct error *error)
{
	const char *psk = NULL, *address = NULL, *networks = NULL;
	const struct word_option options[] = {
		{"--psk-file", &psk}, {"--address", &address}, {"--allowed-ips", &networks}};
	int result = parse_key(words[0], peer->public_key, error);
	if (result == 0)
		result = parse_options(words + 1, count - 1, options, ARRAY_SIZE(options), error);
	if (result == 0)
		result = parse_address(address, &peer->address, error);
	if (result == 0 && networks != NULL) {
		char *copy = strdup(networks);
		result = copy != NULL ? parse_networks(running->config, copy, &peer->networks, error)
				      : error_set(error, -ENOMEM, "out of memory");
		free(copy);
	}
	return result == 0 ? read_psk(psk, peer->preshared_key, error) : result;
}

static int add_peer(const struct gateway_running *running, char *const *words, size_t count, struct error *error)
{
	struct new_peer new = {0};
	int result = parse_peer(running, words, count, &new, error);
	if (result == 0) {
		struct registry_peer peer = {.public_key = new.public_key,
					     .preshared_key = new.preshared_key,
					     .address = new.address,
					     .networks = new.networks.items,
					     .network_count = new.networks.count};
		result = gateway_peers_add(running->registry, &peer, &running->ender, error);
	}
	sodium_memzero(new.preshared_key, sizeof new.preshared_key);
	value_prefixes.free(&new.networks);
	return result;
}

static int delete_peer(const struct gateway_running *running, char *const *words, size_t count, struct error *error)
{
	uint8_t public_key[KEY_SIZE];
	size_t ended = 0;
	if (count > 1)
		return error_set(error, -EINVAL, "%.64s: unexpected here", words[1]);
	int result = parse_key(words[0], public_key, error);
	if (result == 0 &&
	    !gateway_peers_remove(running->registry, public_key, WIRE_BYE_REMOVED, &running->ender, &ended))
		result = error_set(error, -ENOENT, "%s: there is no such peer", words[0]);
	return result;
}

static json_t *handle_peer(void *context, char *const *words, size_t count, struct error *error)
{
	const struct gateway_running *running = running_of(context);
	bool add = count >= 2 && strcmp(words[0], "add") == 0;
	if (!add && !(count >= 2 && strcmp(words[0], "del") == 0)) {
		error_set(error, -EINVAL, "peer wants add or del, and the peer's public key");
		return NULL;
	}
	int result = add ? add_peer(running, words + 1, count - 1, error)
			 : delete_peer(running, words + 1, count - 1, error);
	if (result != 0)
		return NULL;
	const char *did = add ? "added" : "deleted";
	log_info("control: peer %s %s, until the configuration is read again", words[1], did);
	return no_memory_unless(json_pack("{s:s}", did, words[1]), error);
}

/* --- reload ---------------------------------------------------------------------------------------------------------
 */

static void log_reload(const struct gateway_running *running, const struct gateway_reload_result *result)
{
	const struct gateway_peers_change *peers = &result->peers;
	char list[512] = "";
	log_info("%s read again: peers: %zu added, %zu removed, %zu changed, %zu as before; %zu sessions ended",
		 running->config->file, peers->added, peers->removed, peers->changed, peers->unchanged, peers->ended);
	for (size_t i = 0, used = 0; i < result->restart_count && used < sizeof list; i++)
		used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i != 0 ? ", " : "",
					 result->restart[i]);
	if (result->restart_count != 0)
		log_warning("%s needs a restart: %s", running->config->file, list);
}

static int reload(const struct gateway_running *running, struct gateway_reload_result *result, struct error *error)
{
	int code = gateway_reload(running, result, error);
	if (code == 0)
		log_reload(running, result);
	else
		log_error("not read again: %s", error->text);
	return code;
}

void gateway_control_reload(struct tunnel *tunnel)
{
	struct gateway_reload_result result;
	struct error error;
	(void)reload(running_of(tunnel), &result, &error);
}

static json_t *handle_reload(void *context, char *const *words, size_t count, struct error *error)
{
	struct gateway_reload_result result;
	if (count != 0) {
		error_set(error, -EINVAL, "%.64s: unexpected here", words[0]);
		return NULL;
	}
	if (reload(running_of(context), &result, error) != 0)
		return NULL;
	const struct gateway_peers_change *peers = &result.peers;
	json_t *restart = json_array();
	for (size_t i = 0; i < result.restart_count; i++)
		json_array_append_new(restart, json_string(result.restart[i]));
	return no_memory_unless(json_pack("{s:I, s:I, s:I, s:I, s:I, s:o}", "added", (json_int_t)peers->added,
					  "removed", (json_int_t)peers->removed, "changed", (json_int_t)peers->changed,
					  "unchanged", (json_int_t)peers->unchanged, "sessions_ended",
					  (json_int_t)peers->ended, "needs_restart", restart),
				error);
}

const struct control_command gateway_commands[GATEWAY_COMMANDS] = {
	{"sessions", "who is connected: [--from SLOT] [--count N] [--peer KEY] [--address IP] [--state active|pending]",
	 handle_sessions},
	{"kick", "end a session: ID|KEY", handle_kick},
	{"peer",
	 "until the next reload: add KEY [--psk-file PATH] [--address IP] [--allowed-ips NETWORK,...], or del KEY",
	 handle_peer},
	{"reload", "read the configuration again", handle_reload},
};
