// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/gateway.h"

#include <sys/resource.h>

#include "core/daemon/events.h"
#include "core/gateway/control.h"
#include "core/gateway/keep.h"
#include "core/gateway/threads.h"
#include "core/gateway/top.h"
#include "core/daemon/identity.h"
#include "core/gateway/reloader.h"
#include "core/daemon/daemon.h"
#include "core/base/heap.h"
#include "core/base/log.h"
#include "core/base/rcu.h"

/* In locked memory: it holds keys. */
struct gateway {
	struct gateway_config *config;
	struct handshake_identity *identity;
	struct cookie_jar jar;
	struct reset_secret reset_secret;
	struct privileges_user user; /* whom it becomes */
	struct cpu_list cpus;
	struct registry registry;
	struct tunnel tunnel;
	struct gateway_network network;
	struct events events;
	struct gateway_threads threads;
	struct gateway_running running; /* for the control commands */
};

/* --- configuration ---------------------------------------------------------------------------------------------------
 */

static void unload(struct gateway *gateway)
{
	registry_deinit(&gateway->registry);
	secret_free(gateway->identity);
}

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
	struct cpu_wanted wanted = {
		.workers = config->workers, .readers = config->tun_readers, .handshakers = config->handshakers};
	cpu_plan_make(&gateway->threads.plan, &gateway->cpus, &wanted);
}

static int load(struct gateway *gateway, struct error *error)
{
	struct gateway_config *config = gateway->config;
	int result = cpu_available(&gateway->cpus);
	if (result != 0)
		return error_set(error, result, "CPUs: %s", strerror(-result));
	plan_threads(gateway);
	result = privileges_find_user(config->user, &gateway->user, error);
	if (result != 0)
		return error_prefix(error, result, "%s: ", config->file);
	gateway->identity = identity_load(&config->common, error);
	if (gateway->identity == NULL)
		return -EINVAL;
	reset_secret_init(&gateway->reset_secret, gateway->identity->keys.private_key);
	cookie_jar_init(&gateway->jar);
	struct registry_params params = {.addresses = config->addresses.items,
					 .address_count = config->addresses.count,
					 .max_sessions = config->max_sessions,
					 .workers = gateway->threads.plan.workers,
					 .expected_peers = config->peer_count};
	result = registry_init(&gateway->registry, &params, error);
	if (result != 0) {
		secret_free(gateway->identity);
		return result;
	}
	result = gateway_peers_load(&gateway->registry, config, error);
	if (result != 0)
		unload(gateway);
	else
		config_forget_keys(config);
	return result;
}

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
	if (load(gateway, error) == 0)
		return gateway;
	rcu_leave();
	secret_free(gateway);
	return NULL;
}

void gateway_free(struct gateway *gateway)
{
	unload(gateway);
	rcu_leave();
	secret_free(gateway);
}

/* --- running ---------------------------------------------------------------------------------------------------------
 */

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

static struct gateway *gateway_of(const struct tunnel *tunnel)
{
	return caa_container_of(tunnel->params.context, struct gateway, running);
}

static void end_session(void *context, uint32_t session_id, enum wire_bye_reason reason)
{
	struct gateway *gateway = context;
	if (gateway_threads_end_session(&gateway->threads, &gateway->registry, session_id, reason) != 0)
		log_error("session %08x: out of memory: it is not ended", session_id);
}

static void refresh(const struct tunnel *tunnel, struct tunnel_figures *figures)
{
	struct gateway *gateway = gateway_of(tunnel);
	const struct pool *pool = &gateway->registry.pool;
	*figures = (struct tunnel_figures){
		.sessions_active = gateway_threads_active(&gateway->threads),
		.sessions_max = gateway->registry.max_sessions,
		.pool_used = atomic_load_explicit(&pool->used, memory_order_relaxed),
		.pool_size = pool->usable,
	};
	gateway_forward_show(&gateway->network.forward, &figures->forward);
}

static void tell_suppressed(struct gateway *gateway, bool at_once)
{
	uint64_t sums[EVENT_KIND_COUNT];
	for (size_t kind = 0; kind < EVENT_KIND_COUNT; kind++)
		sums[kind] = gateway_threads_suppressed(&gateway->threads, (enum event_kind)kind);
	events_write_suppressed(&gateway->events, sums, clock_monotonic(gateway->tunnel.clock), at_once);
}

static void events_came(void *context)
{
	struct gateway *gateway = context;
	events_write(&gateway->events);
}

static void every_second(struct tunnel *tunnel)
{
	struct gateway *gateway = gateway_of(tunnel);
	(void)registry_collect(&gateway->registry);
	heap_give_back();
	gateway_network_every_second(&gateway->network);
	tell_suppressed(gateway, false);
	struct tunnel_figures now;
	refresh(tunnel, &now);
	notify_status(&tunnel->notify, "%u clients connected; %u of %u addresses in use", now.sessions_active,
		      now.pool_used, now.pool_size);
}

static void top_is_due(void *context)
{
	struct gateway *gateway = context;
	gateway_top_step(gateway->running.top, clock_monotonic(gateway->tunnel.clock));
}

/* What clients are told besides their addresses; the configuration has no more than fits. */
static void offer(const struct gateway_config *config, struct handshaker_common *common)
{
	_Static_assert((int)CONFIG_DNS_SERVERS == (int)WIRE_DNS_MAX && (int)CONFIG_ROUTES == (int)WIRE_ROUTES_MAX,
		       "as many as a WELCOME takes");
	for (size_t i = 0; i < config->dns.count; i++)
		common->dns[common->dns_count++] = config->dns.items[i];
	for (size_t i = 0; i < config->routes.count; i++)
		common->routes[common->route_count++] = config->routes.items[i];
}

static int open_threads(struct gateway *gateway, struct error *error)
{
	const struct gateway_config *config = gateway->config;
	uint32_t suites = suite_mask(config, gateway->tunnel.aead);
	if (suites == 0)
		return error_set(error, -ENOTSUP, "%s: Cipher: this machine cannot run it; leave it at auto",
				 config->file);
	struct gateway_role role = {
		.registry = &gateway->registry,
		.reset_secret = config->reset ? &gateway->reset_secret : NULL,
		.session_timeout = config->session_timeout,
		.client_to_client = config->client_to_client,
	};
	struct handshaker_common common = {
		.registry = &gateway->registry,
		.identity = gateway->identity,
		.jar = &gateway->jar,
		.reset_secret = &gateway->reset_secret,
		.mtu = (uint16_t)config->mtu,
		.rekey_interval = config->rekey_interval,
		.session_timeout = config->session_timeout,
		.suites = suites,
		.events = &gateway->events.queue,
	};
	offer(config, &common);
	uint32_t longest = config->mtu + WIRE_OVERHEAD;
	struct gateway_threads_params params = {
		.tunnel = &gateway->tunnel,
		.registry = &gateway->registry,
		.cpus = &gateway->cpus,
		.role = &role,
		.common = &common,
		.datagram_max = longest > WIRE_HELLO_SIZE ? longest : WIRE_HELLO_SIZE,
	};
	return gateway_threads_open(&gateway->threads, &params, error);
}

static void reloaded(void *context)
{
	struct gateway *gateway = context;
	gateway_control_reloaded(&gateway->tunnel);
}

static void network_changed(void *context)
{
	struct gateway *gateway = context;
	gateway_keep_changed(&gateway->network);
}

static void rules_changed(void *context)
{
	struct gateway *gateway = context;
	gateway_keep_rules_changed(&gateway->network);
}

/* Everything is open. Threads start when their maker has no rights left that they would inherit. */
static int start_threads(struct gateway *gateway, struct error *error)
{
	struct tunnel *tunnel = &gateway->tunnel;
	int control_cpu = gateway->threads.plan.control_cpu;
	int result = tunnel_prepare_filters(tunnel, error);
	if (result == 0)
		result = tunnel_drop_privileges(tunnel, &gateway->user, error);
	if (result == 0)
		result = tunnel_start_log(tunnel, error);
	if (result != 0)
		return result;
	gateway->running.reloader = reloader_new(&gateway->running, tunnel->filters[SECCOMP_CONTROL], error);
	if (gateway->running.reloader == NULL)
		return -EAGAIN;
	result = gateway_threads_start(&gateway->threads, tunnel, error);
	if (result == 0 && control_cpu != CPU_FLOATS)
		(void)cpu_pin(control_cpu);
	if (result == 0)
		result = metrics_start(tunnel->metrics, error);
	return result == 0 ? tunnel_filter_calls(tunnel, error) : result;
}

static int serve(struct gateway *gateway, struct error *error)
{
	struct tunnel *tunnel = &gateway->tunnel;
	const struct cpu_plan *plan = &gateway->threads.plan;
	int result = start_threads(gateway, error);
	if (result == 0) {
		char bound[TUNNEL_BOUND_TEXT];
		log_info(
			"gateway on UDP %s, interface %s, %zu peers, %u addresses to give out; workers %u, TUN readers "
			"%u, handshake threads %u on %zu CPUs",
			tunnel_bound(tunnel, bound), tunnel->device.name, peers_count(&gateway->registry.peers),
			gateway->registry.pool.usable, plan->workers, plan->readers, plan->handshakers,
			gateway->cpus.count);
		const struct tunnel_watch watches[] = {{gateway->events.queue.waker.fd, events_came},
						       {reloader_fd(gateway->running.reloader), reloaded},
						       {gateway_top_fd(gateway->running.top), top_is_due},
						       {gateway->network.watch_fd, network_changed},
						       {gateway->network.rules_fd, rules_changed}};
		result = tunnel_loop(tunnel, watches, ARRAY_SIZE(watches), gateway, error);
	}
	tunnel_stop(tunnel);
	reloader_free(gateway->running.reloader);
	events_write(&gateway->events);
	tell_suppressed(gateway, true);
	return result;
}

static int open_threads_and_serve(struct gateway *gateway, struct error *error)
{
	int result = events_open(&gateway->events, gateway->config->hide_addresses, error);
	if (result != 0)
		return result;
	result = open_threads(gateway, error);
	if (result == 0) {
		result = serve(gateway, error);
		gateway_threads_close(&gateway->threads);
	}
	events_close(&gateway->events);
	return result;
}

_Static_assert((int)CONFIG_LISTEN_ADDRESSES <= (int)UDP_ADDRESSES_MAX, "sockets take what may be configured");

int gateway_run(struct gateway *gateway, struct error *error)
{
	raise_descriptor_limit();
	const struct gateway_config *config = gateway->config;
	const struct cpu_plan *plan = &gateway->threads.plan;
	struct tunnel_params params = {
		.role_name = "gateway",
		.common = &config->common,
		.mtu = config->mtu,
		.addresses = config->addresses.items,
		.address_count = config->addresses.count,
		.listen_addresses = config->listen_addresses.items,
		.listen_address_count = config->listen_addresses.count,
		.listen_port = config->listen_port,
		.sockets = plan->workers + plan->handshakers,
		.tun_readers = plan->readers != 0 ? plan->readers : 1,
		.tun_writers = plan->readers != 0 ? plan->workers : 0,
		.commands = gateway_commands,
		.command_count = ARRAY_SIZE(gateway_commands),
		.context = &gateway->running,
		.refresh = refresh,
		.every_second = every_second,
		.reload = gateway_control_reload,
	};
	gateway->running = (struct gateway_running){.config = config,
						    .identity = gateway->identity,
						    .registry = &gateway->registry,
						    .ender = {.end = end_session, .context = gateway}};
	int result = tunnel_open(&gateway->tunnel, &params, error);
	if (result != 0)
		return result;
	gateway->registry.no_ipv6 = gateway->tunnel.device.no_ipv6;
	gateway->running.top = gateway_top_new(&gateway->registry.table, error);
	const struct gateway_network_params network = {
		.config = config, .tunnel = &gateway->tunnel, .user = &gateway->user};
	result = gateway->running.top != NULL ? gateway_network_open(&gateway->network, &network, error) : -ENOMEM;
	if (result == 0) {
		gateway->running.network = &gateway->network;
		gateway_network_follow(&gateway->network, &gateway->registry);
		result = open_threads_and_serve(gateway, error);
		gateway_network_close(&gateway->network);
	}
	gateway_top_free(gateway->running.top);
	tunnel_close(&gateway->tunnel);
	config_free_gateway(gateway->running.reread);
	return result;
}
