// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/reload.h"

#include <sodium.h>

#include "config/options.h"
#include "core/base/log.h"
#include "core/daemon/identity.h"
#include "core/gateway/cluster.h"
#include "core/gateway/network.h"
#include "core/gateway/quota.h"

/* --- what differs ------------------------------------------------------------------------------------------------- */

static bool bytes_differ(const void *a, const void *b, size_t size)
{
	return memcmp(a, b, size) != 0;
}

static bool names_differ(const void *a, const void *b, size_t size)
{
	return strncmp(a, b, size) != 0;
}

static bool texts_differ(const void *a, const void *b, size_t size)
{
	const char *one = *(const char *const *)a, *other = *(const char *const *)b;
	(void)size;
	return one == NULL || other == NULL ? one != other : strcmp(one, other) != 0;
}

static bool addresses_differ(const void *a, const void *b, size_t size)
{
	const struct config_addresses *one = a, *other = b;
	(void)size;
	return one->count != other->count ||
	       (one->count != 0 && memcmp(one->items, other->items, one->count * sizeof *one->items) != 0);
}

static bool interfaces_differ(const void *a, const void *b, size_t size)
{
	const struct config_interfaces *one = a, *other = b;
	(void)size;
	if (one->count != other->count)
		return true;
	for (size_t i = 0; i < one->count; i++) {
		if (strcmp(one->items[i], other->items[i]) != 0)
			return true;
	}
	return false;
}

static bool prefixes_differ(const void *a, const void *b, size_t size)
{
	const struct config_prefixes *one = a, *other = b;
	(void)size;
	return one->count != other->count ||
	       (one->count != 0 && memcmp(one->items, other->items, one->count * sizeof *one->items) != 0);
}

static bool listeners_differ(const void *a, const void *b, size_t size)
{
	const struct config_listener *one = a, *other = b;
	return texts_differ(&one->path, &other->path, size) || !ip_address_equal(&one->address, &other->address) ||
	       one->port != other->port;
}

#define DIFFERS(a, b) \
	_Generic((a),                                                   \
		char *const *: texts_differ,                            \
		const char *const *: texts_differ,                      \
		const char (*)[CONFIG_INTERFACE_SIZE]: names_differ,    \
		const struct config_listener *: listeners_differ,       \
		const struct config_addresses *: addresses_differ,      \
		const struct config_interfaces *: interfaces_differ,    \
		const struct config_prefixes *: prefixes_differ,        \
		default: bytes_differ)((a), (b), sizeof *(a))

static void need_restart(struct gateway_reload_result *result, const char *option)
{
	if (result->restart_count < ARRAY_SIZE(result->restart))
		result->restart[result->restart_count++] = option;
}

/* All options of [Gateway] but those that are followed. */
static void compare(const struct gateway_config *running, const struct gateway_reload *reload,
		    struct gateway_reload_result *result)
{
	const struct gateway_config *config = reload->config;
	struct gateway_config other = *config;
	other.common.log_level = running->common.log_level;
	other.peers_file = running->peers_file;
	other.peers_directory = running->peers_directory;
	other.public_endpoint = running->public_endpoint;
	other.limits = running->limits;
	other.common.private_key_file = running->common.private_key_file;
	other.common.private_key = running->common.private_key;
	other.wireguard_key_file = running->wireguard_key_file;
	if (reload->key_changed)
		need_restart(result, config->common.private_key_file != NULL ? "PrivateKeyFile" : "PrivateKey");
	if (reload->wireguard_key_changed)
		need_restart(result, "WireGuardPrivateKeyFile");
	const struct gateway_config *file = &other;
#define COMPARE(name, type, low, high, member, standard, form, help) \
	if (DIFFERS(&running->member, &file->member))                \
		need_restart(result, #name);
	GATEWAY_OPTIONS(COMPARE)
#undef COMPARE
}

static bool keys_differ(const struct noise_keypair *a, const struct noise_keypair *b)
{
	return sodium_memcmp(a->private_key, b->private_key, KEY_SIZE) != 0;
}

/* A WireGuard key that is derived changes with the one that it is derived from, which is told then. */
static int compare_keys(const struct gateway_running *running, struct gateway_reload *reload, struct error *error)
{
	const struct gateway_config *config = reload->config;
	struct handshake_identity *identity = identity_load(&config->common, error);
	struct noise_keypair *wireguard = NULL;
	if (identity == NULL)
		return -EINVAL;
	int result = identity_load_wireguard(config, identity, &wireguard, error);
	reload->key_changed = keys_differ(&identity->keys, &running->identity->keys);
	reload->wireguard_key_changed = wireguard != NULL && running->wireguard_keys != NULL &&
					keys_differ(wireguard, running->wireguard_keys) &&
					!(reload->key_changed && config->wireguard_key_file == NULL);
	secret_free(wireguard);
	secret_free(identity);
	return result;
}

/* --- in two steps ------------------------------------------------------------------------------------------------- */

/* A registry of the file's peers and the running gateway's addresses: what can be built there can be built here. */
static int build_wanted(const struct gateway_running *running, struct gateway_reload *reload, struct error *error)
{
	const struct config_prefixes *addresses = &running->config->addresses;
	struct registry_params made = {.addresses = addresses->items,
				       .address_count = addresses->count,
				       .max_sessions = 1,
				       .workers = 1,
				       .expected_peers = reload->config->peer_count,
				       .fence = running->registry->fence};
	int result = registry_init(&reload->wanted, &made, error);
	if (result != 0)
		return result;
	reload->has_wanted = true;
	result = gateway_peers_load(&reload->wanted, reload->config, error);
	config_forget_keys(reload->config);
	return result == 0 ? gateway_peers_compare(running->registry, &reload->wanted, &reload->difference, error)
			   : result;
}

static int read_all(const struct gateway_running *running, struct gateway_reload *reload, struct error *error)
{
	rcu_offline(); /* reading takes its time */
	int code = config_reload_gateway(running->config->file, &reload->config, error);
	rcu_online();
	if (code != 0)
		return code;
	code = compare_keys(running, reload, error);
	return code == 0 ? build_wanted(running, reload, error) : code;
}

void gateway_reload_read(const struct gateway_running *running, struct gateway_reload *reload)
{
	*reload = (struct gateway_reload){0};
	reload->code = read_all(running, reload, &reload->error);
}

int gateway_reload_apply(struct gateway_running *running, struct gateway_reload *reload,
			 struct gateway_reload_result *result, struct error *error)
{
	*result = (struct gateway_reload_result){0};
	if (reload->code != 0) {
		*error = reload->error;
		return reload->code;
	}
	running->registry->changes++;
	int code = reload->wanted.quotas != 0 && running->quota != NULL ? quota_ready(running->quota, error) : 0;
	if (code != 0)
		return code;
	compare(running->config, reload, result);
	if (running->cluster != NULL && running->cluster->has_peers)
		result->peers.unchanged = peers_count(&running->registry->peers);
	else
		code = gateway_peers_follow(running->registry, &reload->wanted, &reload->difference, &running->ender,
					    &result->peers, error);
	if (running->network != NULL)
		gateway_network_follow(running->network, running->registry);
	if (running->network != NULL)
		gateway_network_hurry(running->network);
	if (code != 0)
		return code;
	log_set_level(reload->config->common.log_level);
	config_free_gateway(running->reread);
	running->reread = reload->config;
	reload->config = NULL;
	return 0;
}

void gateway_reload_free(struct gateway_reload *reload)
{
	gateway_peers_difference_free(&reload->difference);
	if (reload->has_wanted)
		registry_deinit(&reload->wanted);
	config_free_gateway(reload->config);
	*reload = (struct gateway_reload){0};
}
