// SPDX-License-Identifier: Apache-2.0
#include "core/cli/agent_import.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/calendar.h"
#include "core/cluster/sealed_psk.h"
#include "core/daemon/identity.h"
#include "core/sessions/pool.h"

enum { LIMIT_TEXT = 40 };

/* The texts that a peer's registration points to. */
struct texts {
	char rate_up[LIMIT_TEXT], rate_down[LIMIT_TEXT], burst[LIMIT_TEXT], quota[LIMIT_TEXT], quota_rate[LIMIT_TEXT];
	char psk[SEALED_PSK_TEXT_SIZE];
	char (*networks)[IP_TEXT_MAX]; /* NULL: none */
};

/* One file. */
struct import {
	const struct cli_program *program;
	struct gateway_config *config;
	struct handshake_identity *identity;
	struct pool pool;
	bool has_pool;
	struct registration *peers;
	struct texts *texts;
	const struct config_peer **from; /* where each peer stands */
	size_t count;
	size_t added, present, refused;
};

/* --- from a configuration ----------------------------------------------------------------------------------------- */

static const char *rate_text(uint32_t rate, char text[LIMIT_TEXT])
{
	if (rate == CONFIG_RATE_OFF)
		return "off";
	(void)snprintf(text, LIMIT_TEXT, "%" PRIu32 "K", rate);
	return rate != 0 ? text : NULL;
}

static const char *quota_text(const struct config_quota *quota, char text[LIMIT_TEXT])
{
	if (quota->bytes == CONFIG_QUOTA_OFF)
		return "off";
	static const char *const units[] = {"", "K", "M", "G", "T"};
	uint64_t number = quota->bytes;
	size_t unit = 0;
	while (number != 0 && number % 1024 == 0 && unit + 1 < ARRAY_SIZE(units)) {
		number /= 1024;
		unit++;
	}
	(void)snprintf(text, LIMIT_TEXT, "%" PRIu64 "%s/%s", number, units[unit], calendar_name(quota->period));
	return quota->bytes != 0 ? text : NULL;
}

static struct registration_limits limits_of(const struct config_limits *limits, struct texts *texts)
{
	(void)snprintf(texts->burst, sizeof texts->burst, "%" PRIu32, limits->burst);
	return (struct registration_limits){.rate_up = rate_text(limits->up, texts->rate_up),
					    .rate_down = rate_text(limits->down, texts->rate_down),
					    .burst = limits->burst != 0 ? texts->burst : NULL,
					    .quota = quota_text(&limits->quota, texts->quota),
					    .quota_rate = rate_text(limits->quota_rate, texts->quota_rate)};
}

static int seal(const struct import *import, const struct config_peer *from, struct texts *texts, const char **psk,
		struct error *error)
{
	uint8_t public_key[KEY_SIZE], preshared_key[KEY_SIZE];
	const struct identity_remote remote = {.public_key = from->public_key,
					       .preshared_key = from->preshared_key,
					       .preshared_key_file = from->preshared_key_file};
	int result = identity_load_remote(&remote, public_key, preshared_key, error);
	bool has = result == 0 && sodium_is_zero(preshared_key, KEY_SIZE) == 0;
	if (has)
		sealed_psk_write(import->identity->keys.private_key, public_key, preshared_key, texts->psk);
	*psk = has ? texts->psk : NULL;
	sodium_memzero(preshared_key, sizeof preshared_key);
	return result;
}

/* One index stands for an address of each family. */
static int find_index(const struct import *import, const struct config_peer *from, uint32_t *index, struct error *error)
{
	*index = 0;
	for (size_t i = 0; i < from->addresses.count; i++) {
		char text[IP_TEXT_MAX];
		uint32_t other;
		const struct ip_address *address = &from->addresses.items[i];
		if (!pool_index(&import->pool, address, &other))
			return error_set(error, -EINVAL, "%s cannot be given to a client",
					 ip_address_format(address, text));
		if (*index != 0 && other != *index)
			return error_set(error, -EINVAL,
					 "its addresses have different host numbers; in a cluster both have the same");
		*index = other;
	}
	return 0;
}

static int take_networks(const struct config_peer *from, struct registration *peer, struct texts *texts,
			 struct error *error)
{
	size_t count = from->allowed_ips.count;
	if (count > REGISTRATION_NETWORKS_MAX)
		return error_set(error, -EINVAL, "%zu networks behind it; in a cluster %d at most", count,
				 REGISTRATION_NETWORKS_MAX);
	texts->networks = count != 0 ? calloc(count, sizeof *texts->networks) : NULL;
	if (count != 0 && texts->networks == NULL)
		return error_set(error, -ENOMEM, "no memory");
	for (size_t i = 0; i < count; i++)
		peer->networks[i] = ip_prefix_format(&from->allowed_ips.items[i], texts->networks[i]);
	peer->network_count = count;
	return 0;
}

static int take_peer(const struct import *import, const struct config_peer *from, struct registration *peer,
		     struct texts *texts, struct error *error)
{
	*peer = (struct registration){.key = from->public_key,
				      .name = from->name,
				      .protocol = from->protocol == CONFIG_PROTOCOL_WIREGUARD ? "wireguard"
											      : "shardtun",
				      .limits = limits_of(&from->limits, texts)};
	int result = find_index(import, from, &peer->index, error);
	if (result == 0)
		result = take_networks(from, peer, texts, error);
	if (result == 0)
		result = seal(import, from, texts, &peer->psk, error);
	return result == 0 ? registration_check(peer, error) : result;
}

static void tell(const struct import *import, const struct config_peer *from, const char *what, const char *why)
{
	fprintf(stderr, "%s: %s:%u: %s%s%s: %s%s\n", import->program->name, from->file, from->line, from->public_key,
		from->name != NULL ? " " : "", from->name != NULL ? from->name : "", what, why);
}

static void take_peers(struct import *import)
{
	for (size_t i = 0; i < import->config->peer_count; i++) {
		const struct config_peer *from = &import->config->peers[i];
		struct error error = {0};
		if (take_peer(import, from, &import->peers[import->count], &import->texts[import->count], &error) !=
		    0) {
			tell(import, from, "skipped: ", error.text);
			import->refused++;
			continue;
		}
		if (from->endpoint != NULL)
			tell(import, from, "its Endpoint is left out: ", "gateways of a cluster do not call peers");
		import->from[import->count++] = from;
	}
}

static int read_file(struct import *import, const char *path, struct error *error)
{
	int result = config_load_gateway(path, &import->config, error);
	if (result != 0)
		return result;
	import->identity = identity_load(&import->config->common, error);
	if (import->identity == NULL)
		return -EINVAL;
	const struct config_prefixes *addresses = &import->config->addresses;
	result = pool_init(&import->pool, addresses->items, addresses->count, error);
	import->has_pool = result == 0;
	if (result != 0)
		return result;
	size_t count = import->config->peer_count + 1;
	import->peers = calloc(count, sizeof *import->peers);
	import->texts = calloc(count, sizeof *import->texts);
	import->from = calloc(count, sizeof *import->from);
	if (import->peers == NULL || import->texts == NULL || import->from == NULL)
		return error_set(error, -ENOMEM, "no memory");
	take_peers(import);
	return 0;
}

static void free_file(struct import *import)
{
	for (size_t i = 0; import->texts != NULL && i <= import->count; i++)
		free(import->texts[i].networks);
	free(import->peers);
	free(import->texts);
	free(import->from);
	if (import->has_pool)
		pool_deinit(&import->pool);
	if (import->identity != NULL)
		secret_free(import->identity);
	config_free_gateway(import->config);
}

/* --- into etcd ---------------------------------------------------------------------------------------------------- */

static void report(struct import *import, const struct registration_result *results, size_t done)
{
	for (size_t i = 0; i < done; i++) {
		const struct registration_result *result = &results[i];
		import->added += result->fate == REGISTRATION_ADDED;
		import->present += result->fate == REGISTRATION_PRESENT;
		import->refused += result->fate == REGISTRATION_REFUSED;
		if (result->fate == REGISTRATION_REFUSED)
			tell(import, import->from[i], "skipped: ", result->why);
		else if (result->fate == REGISTRATION_PRESENT && result->why[0] != '\0')
			tell(import, import->from[i],
			     "it is there already, and stays as it is; different: ", result->why);
	}
}

static int import_file(struct import *import, const struct registration_call *call, bool write, struct error *error)
{
	struct registration_call own = *call;
	uint32_t never[POOL_NEVER_GIVEN];
	struct registration_result *results = calloc(import->count + 1, sizeof *results);
	size_t done = 0;
	if (results == NULL)
		return error_set(error, -ENOMEM, "no memory");
	pool_never_given(&import->pool, never);
	own.pool.size = import->pool.size;
	for (size_t i = 0; i < POOL_NEVER_GIVEN; i++)
		own.pool.reserved[own.pool.reserved_count++] = never[i];
	int result = registration_import(&own, import->peers, results, import->count, write, &done, error);
	report(import, results, done);
	free(results);
	return result;
}

enum cli_status agent_import(const struct cli_program *program, const struct registration_call *call,
			     char *const *files, int count, bool write)
{
	size_t refused = 0;
	for (int i = 0; i < count; i++) {
		struct error error = {0};
		struct import import = {.program = program};
		int result = read_file(&import, files[i], &error);
		bool right = result == 0;
		if (result == 0)
			result = import_file(&import, call, write, &error);
		if (right)
			printf(write ? "%s: %zu peers are added, %zu were there, %zu are skipped\n"
				     : "%s: %zu peers would be added, %zu are there, %zu would be skipped\n",
			       files[i], import.added, import.present, import.refused);
		refused += import.refused;
		free_file(&import);
		if (result != 0)
			return cli_fail(program, right ? CLI_FAILED : CLI_CONFIG, &error);
	}
	return refused == 0 ? CLI_OK : CLI_FAILED;
}
