// SPDX-License-Identifier: Apache-2.0
#include "core/app/gateway.h"

#include "core/app/identity.h"
#include "core/app/tunnel.h"
#include "core/base/log.h"
#include "workers/gateway_role.h"

/* In locked memory: it holds keys. */
struct gateway {
	struct handshake_identity *identity;
	struct pool pool;
	struct peers peers;
	struct gateway_role role;
	struct tunnel tunnel;
};

static int load_peer(struct gateway *gateway, const struct gateway_config *config, size_t i, struct error *error)
{
	const struct config_peer *from = &config->peers[i];
	struct peer *peer = &gateway->peers.list[i];
	int result = identity_load_remote(from->public_key, from->preshared_key_file, peer->public_key,
					  peer->preshared_key, error);
	if (result != 0)
		return error_prefix(error, result, "%s:%u: ", config->file, from->line);

	for (size_t a = 0; a < from->addresses.count; a++) {
		char text[IP_TEXT_MAX];
		uint32_t index;
		const struct ip_address *address = &from->addresses.items[a];
		ip_address_format(address, text);
		if (!pool_index(&gateway->pool, address, &index))
			return error_set(error, -EINVAL, "%s:%u: Address = %s: not one that the gateway can give out",
					 config->file, from->addresses.lines[a], text);
		if (peer->fixed_index != POOL_NONE && peer->fixed_index != index)
			return error_set(error, -EINVAL,
					 "%s:%u: Address = %s: IPv4 and IPv6 address must have the same host number; "
					 "give one of "
					 "them, the other follows",
					 config->file, from->addresses.lines[a], text);
		if (peer->fixed_index == POOL_NONE && gateway->pool.held[index])
			return error_set(error, -EINVAL, "%s:%u: Address = %s: another peer has the same host number",
					 config->file, from->addresses.lines[a], text);
		peer->fixed_index = index;
		pool_hold(&gateway->pool, index);
	}
	return 0;
}

static void unload(struct gateway *gateway)
{
	peers_deinit(&gateway->peers);
	pool_deinit(&gateway->pool);
	secret_free(gateway->identity);
}

static int load(struct gateway *gateway, const struct gateway_config *config, struct error *error)
{
	gateway->identity = identity_load(config->common.private_key_file, error);
	if (gateway->identity == NULL)
		return -EINVAL;
	int result = pool_init(&gateway->pool, config->addresses.items, config->addresses.count, error);
	if (result == 0)
		result = peers_init(&gateway->peers, config->peer_count, error);
	for (size_t i = 0; result == 0 && i < config->peer_count; i++)
		result = load_peer(gateway, config, i, error);
	if (result != 0) {
		unload(gateway);
		return result;
	}
	peers_sort(&gateway->peers);
	gateway->role = (struct gateway_role){
		.identity = gateway->identity,
		.peers = &gateway->peers,
		.pool = &gateway->pool,
		.mtu = (uint16_t)config->mtu,
		.rekey_interval = config->rekey_interval,
		.session_timeout = config->session_timeout,
		.client_to_client = config->client_to_client,
		.reset = config->reset,
	};
	gateway_role_init(&gateway->role);
	return 0;
}

int gateway_check(const struct gateway_config *config, struct error *error)
{
	struct gateway *gateway = secret_new(sizeof *gateway);
	if (gateway == NULL)
		return error_set(error, -ENOMEM, "gateway: out of memory");
	memset(gateway, 0, sizeof *gateway);
	int result = load(gateway, config, error);
	if (result == 0)
		unload(gateway);
	secret_free(gateway);
	return result;
}

/* A bit for each suite that the Cipher option leaves and this machine runs. */
static uint32_t suite_mask(const struct gateway_config *config, const struct aead_engine *engine)
{
	uint8_t suites[WIRE_SUITES_MAX];
	uint32_t mask = 0;
	identity_suites(config->common.cipher, engine, suites);
	for (size_t i = 0; i < WIRE_SUITES_MAX && suites[i] != 0; i++)
		mask |= 1u << suites[i];
	return mask;
}

static void refresh(struct tunnel *tunnel)
{
	const struct gateway_role *role = tunnel->params.role_state;
	tunnel->sessions_active = atomic_load_explicit(&role->active, memory_order_relaxed);
	tunnel->sessions_max = tunnel->worker->table.mask + 1;
	tunnel->pool_used = atomic_load_explicit(&role->pool->used, memory_order_relaxed);
	tunnel->pool_size = role->pool->usable;
}

static int serve(struct gateway *gateway, const struct gateway_config *config, struct error *error)
{
	struct tunnel *tunnel = &gateway->tunnel;
	gateway->role.suites = suite_mask(config, tunnel->aead);
	if (gateway->role.suites == 0)
		return error_set(error, -ENOTSUP, "%s: Cipher: this machine cannot run it; leave it at auto",
				 config->file);
	tunnel->refresh = refresh;
	int result = tunnel_start(tunnel, error);
	if (result != 0)
		return result;
	char bound[ENDPOINT_TEXT_MAX];
	log_info("gateway on UDP %s, interface %s, %zu peers, %u addresses to give out", tunnel_bound(tunnel, bound),
		 tunnel->device.name, gateway->peers.count, gateway->pool.usable);
	return tunnel_loop(tunnel, NULL, 0, NULL, error);
}

int gateway_run(const struct gateway_config *config, struct error *error)
{
	struct gateway *gateway = secret_new(sizeof *gateway);
	if (gateway == NULL)
		return error_set(error, -ENOMEM, "gateway: out of memory");
	memset(gateway, 0, sizeof *gateway);
	int result = load(gateway, config, error);
	if (result == 0) {
		struct tunnel_params params = {
			.role_name = "gateway",
			.common = &config->common,
			.role = &gateway_worker_role,
			.role_state = &gateway->role,
			.mtu = config->mtu,
			.addresses = config->addresses.items,
			.address_count = config->addresses.count,
			.listen_port = config->listen_port,
			.max_sessions = config->max_sessions,
		};
		if (config->listen_addresses.count != 0)
			params.listen_address = config->listen_addresses.items[0];
		result = tunnel_open(&gateway->tunnel, &params, error);
		if (result == 0) {
			result = serve(gateway, config, error);
			tunnel_close(&gateway->tunnel);
		}
		unload(gateway);
	}
	secret_free(gateway);
	return result;
}
