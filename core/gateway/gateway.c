// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/gateway.h"

#include <sys/resource.h>

#include "core/base/log.h"
#include "core/base/rcu.h"
#include "core/gateway/state.h"
#include "core/protocol/wg_handshake.h"

/* --- configuration ------------------------------------------------------------------------------------------------ */

/* Each thread has a socket, a queue of the TUN, an epoll and a waker: 250 workers need a thousand descriptors. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit); /* what is missing shows when something is opened */
}

static void plan_threads(struct gateway *gateway)
{
	const struct gateway_config *config = gateway->config;
	gateway->realtime = cpu_priority_is_realtime(&cpu_priority_kernel, config->common.cpu_priority);
	struct cpu_wanted wanted = {.workers = config->workers,
				    .readers = config->tun_readers,
				    .handshakers = config->handshakers,
				    .realtime = gateway->realtime};
	cpu_plan_make(&gateway->threads.plan, &gateway->cpus, &wanted);
}

static int find_cpus(void *context, struct error *error)
{
	struct gateway *gateway = context;
	(void)error;
	int result = cpu_available(&gateway->cpus);
	if (result == 0)
		plan_threads(gateway);
	return result;
}

static int find_user(void *context, struct error *error)
{
	struct gateway *gateway = context;
	int result = privileges_find_user(gateway->config->user, &gateway->user, error);
	return result == 0 ? 0 : error_prefix(error, result, "%s: ", gateway->config->file);
}

static int load_keys(void *context, struct error *error)
{
	struct gateway *gateway = context;
	gateway->identity = identity_load(&gateway->config->common, error);
	if (gateway->identity == NULL)
		return -EINVAL;
	int result = identity_load_wireguard(gateway->config, gateway->identity, &gateway->wireguard_keys, error);
	if (result != 0) {
		secret_free(gateway->identity);
		return result;
	}
	if (gateway->wireguard_keys != NULL)
		wg_identity_init(&gateway->wireguard, gateway->wireguard_keys->private_key);
	reset_secret_init(&gateway->reset_secret, gateway->identity->keys.private_key);
	cookie_jar_init(&gateway->jar);
	return 0;
}

static void free_keys(void *context)
{
	struct gateway *gateway = context;
	secret_free(gateway->wireguard_keys);
	secret_free(gateway->identity);
}

enum { PEERS_EXPECTED = 1 << 14, CLUSTER_PEERS_EXPECTED = 1 << 18 };

/* The table of peers does not grow, and most may come later: of a cluster from etcd, of a gateway that is alone with a
 * reload. 16 bytes for each. */
static size_t expected_peers(const struct gateway_config *config)
{
	size_t most = config->cluster_node != NULL ? CLUSTER_PEERS_EXPECTED : PEERS_EXPECTED;
	for (size_t i = 0; i < config->addresses.count; i++) {
		const struct ip_prefix *prefix = &config->addresses.items[i];
		unsigned bits = (prefix->address.family == 4 ? 32u : 128u) - prefix->length;
		if (bits < 32 && most > (size_t)1 << bits)
			most = (size_t)1 << bits;
	}
	return config->peer_count > most ? config->peer_count : most;
}

static int make_registry(void *context, struct error *error)
{
	struct gateway *gateway = context;
	const struct gateway_config *config = gateway->config;
	struct registry_params params = {.addresses = config->addresses.items,
					 .address_count = config->addresses.count,
					 .max_sessions = config->max_sessions,
					 .workers = gateway->threads.plan.workers,
					 .expected_peers = expected_peers(config),
					 .fence = config->cluster_node != NULL ? &gateway->fence : NULL};
	_Static_assert((int)CONFIG_BLOCK_LOW == (int)BLOCK_PEERS_MIN && (int)CONFIG_BLOCK_HIGH == (int)BLOCK_PEERS_MAX,
		       "blocks are as large as may be configured");
	_Static_assert((int)CONFIG_CLUSTER_SESSIONS == (int)BLOCK_SESSIONS_MAX, "as many sessions");
	fence_init(&gateway->fence, config->cluster_block_size);
	return registry_init(&gateway->registry, &params, error);
}

static void free_registry(void *context)
{
	struct gateway *gateway = context;
	registry_deinit(&gateway->registry);
}

static int load_peers(void *context, struct error *error)
{
	struct gateway *gateway = context;
	int result = gateway_peers_load(&gateway->registry, gateway->config, error);
	if (result != 0)
		return result;
	gateway->addressless = gateway_peers_addressless(gateway->config);
	config_forget_keys(gateway->config);
	return 0;
}

/* What the configuration names, without a change to the machine. */
static const struct step parts[] = {
	{"CPUs", find_cpus, NULL},	{"User", find_user, NULL},
	{"keys", load_keys, free_keys}, {"registry", make_registry, free_registry},
	{"peers", load_peers, NULL},
};

/* The thread is registered for RCU from here to gateway_free(). */
struct gateway *gateway_new(struct gateway_config *config, struct error *error)
{
	struct gateway *gateway = secret_new(sizeof *gateway);
	if (gateway == NULL) {
		error_set(error, -ENOMEM, "gateway: out of memory");
		return NULL;
	}
	memset(gateway, 0, sizeof *gateway);
	gateway->config = config;
	rcu_start();
	rcu_join();
	gateway->parts = STEPS(parts, gateway);
	if (steps_open(&gateway->parts, error) == 0)
		return gateway;
	rcu_leave();
	secret_free(gateway);
	return NULL;
}

void gateway_free(struct gateway *gateway)
{
	steps_close(&gateway->parts);
	rcu_leave();
	secret_free(gateway);
}

/* --- running ------------------------------------------------------------------------------------------------------ */

static void end_session(void *context, uint32_t session_id, enum wire_bye_reason reason)
{
	struct gateway *gateway = context;
	if (gateway_threads_end_session(&gateway->threads, &gateway->registry, session_id, reason) != 0)
		log_error("session %08x: out of memory: it is not ended", session_id);
}

static void limit_session(void *context, uint32_t session_id)
{
	struct gateway *gateway = context;
	if (gateway_threads_limit_session(&gateway->threads, &gateway->registry, session_id) != 0)
		log_error("session %08x: out of memory: it keeps the limits that it had", session_id);
}

static void log_start(struct gateway *gateway)
{
	const struct cpu_plan *plan = &gateway->threads.plan;
	char bound[DAEMON_BOUND_TEXT];
	log_info("gateway on UDP %s, interface %s, %zu peers, %u addresses to give out; workers %u, TUN readers "
		 "%u, handshake threads %u on %zu CPUs",
		 daemon_bound(&gateway->daemon, bound), gateway->daemon.descriptors.device.name,
		 peers_count(&gateway->registry.peers), gateway->registry.pool.usable, plan->workers, plan->readers,
		 plan->handshakers, gateway->cpus.share);
	if (gateway->wireguard_keys == NULL)
		return;
	char key[KEY_TEXT_SIZE];
	key_format(gateway->wireguard_keys->public_key, key);
	log_info("WireGuard clients need the public key %s", key);
	if (gateway->addressless != 0)
		log_warning("%zu WireGuard clients have no Address: each has one of the pool, until another client "
			    "claims it; "
			    "add Address to their sections",
			    gateway->addressless);
}

_Static_assert((int)CONFIG_LISTEN_ADDRESSES <= (int)UDP_ADDRESSES_MAX, "sockets take what may be configured");

int gateway_run(struct gateway *gateway, enum gateway_start start, struct background *background, struct error *error)
{
	raise_descriptor_limit();
	gateway_takeover_init(&gateway->takeover, start);
	gateway->running = (struct gateway_running){
		.config = gateway->config,
		.identity = gateway->identity,
		.wireguard_keys = gateway->wireguard_keys,
		.registry = &gateway->registry,
		.quota = &gateway->quota,
		.ender = {.end = end_session, .limit = limit_session, .context = gateway}};
	gateway->steps = gateway_steps(gateway);
	int result = steps_open(&gateway->steps, error);
	if (result == 0) {
		log_start(gateway);
		background_tell(background, 0);
		struct daemon_watch watches[GATEWAY_WATCHES];
		gateway_watches(gateway, watches);
		result = daemon_loop(&gateway->daemon, watches, GATEWAY_WATCHES, gateway, error);
		steps_close(&gateway->steps);
	}
	config_free_gateway(gateway->running.reread);
	return gateway->takeover.reloaded ? 0 : result;
}
