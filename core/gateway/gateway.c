// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/gateway.h"

#include <sys/resource.h>

#include "core/base/heap.h"
#include "core/base/log.h"
#include "core/base/rcu.h"
#include "core/daemon/daemon.h"
#include "core/daemon/events.h"
#include "core/daemon/identity.h"
#include "core/daemon/rights.h"
#include "core/gateway/collector.h"
#include "core/gateway/control.h"
#include "core/gateway/keep.h"
#include "core/gateway/placement.h"
#include "core/gateway/quota.h"
#include "core/gateway/reloader.h"
#include "core/gateway/threads.h"
#include "core/gateway/top.h"

/* In locked memory: it holds keys. */
struct gateway {
	struct gateway_config *config;
	struct handshake_identity *identity;
	struct cookie_jar jar;
	struct reset_secret reset_secret;
	struct privileges_user user; /* the account that it changes to */
	struct cpu_list cpus;
	bool realtime; /* threads run under a real-time policy */
	struct registry registry;
	struct collector collector;
	struct daemon daemon;
	struct gateway_network network;
	struct events events;
	struct quota quota;
	struct gateway_threads threads;
	struct placement placement;
	struct gateway_running running; /* for the control commands */
	struct steps parts, steps;	/* of gateway_new(), of gateway_run() */
};

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
	reset_secret_init(&gateway->reset_secret, gateway->identity->keys.private_key);
	cookie_jar_init(&gateway->jar);
	return 0;
}

static void free_keys(void *context)
{
	struct gateway *gateway = context;
	secret_free(gateway->identity);
}

static int make_registry(void *context, struct error *error)
{
	struct gateway *gateway = context;
	const struct gateway_config *config = gateway->config;
	struct registry_params params = {.addresses = config->addresses.items,
					 .address_count = config->addresses.count,
					 .max_sessions = config->max_sessions,
					 .workers = gateway->threads.plan.workers,
					 .expected_peers = config->peer_count};
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
	if (result == 0)
		config_forget_keys(gateway->config);
	return result;
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

static struct gateway *gateway_of(const struct daemon *daemon)
{
	return caa_container_of(daemon->params.context, struct gateway, running);
}

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

static void refresh(const struct daemon *daemon, struct daemon_figures *figures)
{
	struct gateway *gateway = gateway_of(daemon);
	const struct pool *pool = &gateway->registry.pool;
	*figures = (struct daemon_figures){
		.sessions_active = gateway_threads_active(&gateway->threads),
		.sessions_max = gateway->registry.max_sessions,
		.pool_used = atomic_load_explicit(&pool->used, memory_order_relaxed),
		.pool_size = pool->usable,
		.quotas = atomic_load_explicit(&gateway->registry.quotas, memory_order_relaxed),
		.quotas_over = atomic_load_explicit(&gateway->quota.over, memory_order_relaxed),
	};
	gateway_forward_show(&gateway->network.forward, &figures->forward);
}

static void tell_suppressed(struct gateway *gateway, bool at_once)
{
	uint64_t sums[EVENT_KIND_COUNT];
	for (size_t kind = 0; kind < EVENT_KIND_COUNT; kind++)
		sums[kind] = gateway_threads_suppressed(&gateway->threads, (enum event_kind)kind) +
			     atomic_load_explicit(&gateway->quota.events.suppressed[kind], memory_order_relaxed);
	events_write_suppressed(&gateway->events, sums, clock_monotonic(gateway->daemon.clock), at_once);
}

static void events_came(void *context)
{
	struct gateway *gateway = context;
	events_write(&gateway->events);
}

static void every_second(struct daemon *daemon)
{
	struct gateway *gateway = gateway_of(daemon);
	collector_step(&gateway->collector);
	heap_give_back();
	gateway_network_every_second(&gateway->network);
	placement_check(&gateway->placement, &gateway->threads, &gateway->daemon.threads);
	quota_step(&gateway->quota);
	tell_suppressed(gateway, false);
	struct daemon_figures now;
	refresh(daemon, &now);
	notify_status(&daemon->notify, "%u clients connected; %u of %u addresses in use", now.sessions_active,
		      now.pool_used, now.pool_size);
}

static void collector_is_due(void *context)
{
	struct gateway *gateway = context;
	collector_step(&gateway->collector);
}

static void top_is_due(void *context)
{
	struct gateway *gateway = context;
	gateway_top_step(gateway->running.top, clock_monotonic(gateway->daemon.clock));
}

/* What a WELCOME has besides addresses: name servers and routes; the configuration has no more than fits. */
static void offer(const struct gateway_config *config, struct handshaker_common *common)
{
	_Static_assert((int)CONFIG_DNS_SERVERS == (int)WIRE_DNS_MAX && (int)CONFIG_ROUTES == (int)WIRE_ROUTES_MAX,
		       "as many as a WELCOME takes");
	for (size_t i = 0; i < config->dns.count; i++)
		common->dns[common->dns_count++] = config->dns.items[i];
	for (size_t i = 0; i < config->routes.count; i++)
		common->routes[common->route_count++] = config->routes.items[i];
}

static int open_threads(void *context, struct error *error)
{
	struct gateway *gateway = context;
	const struct gateway_config *config = gateway->config;
	uint32_t suites = suite_mask(config, gateway->daemon.aead);
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
		.daemon = &gateway->daemon,
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
	gateway_control_reloaded(&gateway->daemon);
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

/* --- the steps ---------------------------------------------------------------------------------------------------- */

static int open_daemon(void *context, struct error *error)
{
	struct gateway *gateway = context;
	const struct gateway_config *config = gateway->config;
	const struct cpu_plan *plan = &gateway->threads.plan;
	struct daemon_params params = {
		.role_name = "gateway",
		.common = &config->common,
		.mtu = config->mtu,
		.addresses = config->addresses.items,
		.address_count = config->addresses.count,
		.listen_addresses = config->listen_addresses.items,
		.listen_address_count = config->listen_addresses.count,
		.listen_port = config->listen_port,
		.sockets = plan->workers + plan->handshakers,
		.worker_sockets = plan->workers,
		.commands = gateway_commands,
		.command_count = gateway_command_count,
		.context = &gateway->running,
		.refresh = refresh,
		.every_second = every_second,
		.reload = gateway_control_reload,
	};
	gateway_threads_want_queues(&gateway->threads, &gateway->registry.pool, &params);
	int result = daemon_open(&gateway->daemon, &params, error);
	if (result != 0)
		return result;
	gateway->registry.no_ipv6 = gateway->daemon.descriptors.device.no_ipv6;
	gateway_threads_take_queues(&gateway->threads, &gateway->daemon.descriptors.device);
	return 0;
}

static void close_daemon(void *context)
{
	struct gateway *gateway = context;
	daemon_close(&gateway->daemon);
}

static int open_collector(void *context, struct error *error)
{
	struct gateway *gateway = context;
	return collector_open(&gateway->collector, &gateway->registry, error);
}

static void close_collector(void *context)
{
	struct gateway *gateway = context;
	collector_close(&gateway->collector);
}

static int open_top(void *context, struct error *error)
{
	struct gateway *gateway = context;
	gateway->running.top = gateway_top_new(&gateway->registry.table, error);
	return gateway->running.top != NULL ? 0 : -ENOMEM;
}

static void close_top(void *context)
{
	struct gateway *gateway = context;
	gateway_top_free(gateway->running.top);
}

static int open_network(void *context, struct error *error)
{
	struct gateway *gateway = context;
	const struct gateway_network_params network = {
		.config = gateway->config, .daemon = &gateway->daemon, .user = &gateway->user};
	return gateway_network_open(&gateway->network, &network, error);
}

static void close_network(void *context)
{
	struct gateway *gateway = context;
	gateway_network_close(&gateway->network);
}

static int open_keep(void *context, struct error *error)
{
	struct gateway *gateway = context;
	int result = gateway_keep_open(&gateway->network, error);
	if (result != 0)
		return result;
	gateway->running.network = &gateway->network;
	gateway_network_follow(&gateway->network, &gateway->registry);
	return 0;
}

static void close_keep(void *context)
{
	struct gateway *gateway = context;
	gateway_keep_close(&gateway->network);
}

static int open_events(void *context, struct error *error)
{
	struct gateway *gateway = context;
	return events_open(&gateway->events, gateway->config->hide_addresses, error);
}

static void close_events(void *context)
{
	struct gateway *gateway = context;
	events_close(&gateway->events);
}

static int open_quota(void *context, struct error *error)
{
	struct gateway *gateway = context;
	const struct privileges_user *user = &gateway->user;
	const struct quota_params params = {
		.registry = &gateway->registry,
		.clock = gateway->daemon.clock,
		.ender = &gateway->running.ender,
		.path = gateway->config->quota_file,
		.owner = {.change = privileges_become(user), .user = user->uid, .group = user->gid},
		.events = &gateway->events.queue};
	return quota_open(&gateway->quota, &params, error);
}

static void close_quota(void *context)
{
	struct gateway *gateway = context;
	quota_close(&gateway->quota);
}

static void close_threads(void *context)
{
	struct gateway *gateway = context;
	events_write(&gateway->events);
	tell_suppressed(gateway, true);
	gateway_threads_close(&gateway->threads);
}

static int give_up_rights(void *context, struct error *error)
{
	struct gateway *gateway = context;
	int result = daemon_prepare_filters(&gateway->daemon, error);
	return result == 0 ? daemon_drop_privileges(&gateway->daemon, &gateway->user, error) : result;
}

static int start_log(void *context, struct error *error)
{
	struct gateway *gateway = context;
	return daemon_start_log(&gateway->daemon, error);
}

static int start_reloader(void *context, struct error *error)
{
	struct gateway *gateway = context;
	const struct seccomp_filter *filter = gateway->daemon.filters[SECCOMP_CONTROL];
	gateway->running.reloader = reloader_new(&gateway->running, filter, error);
	return gateway->running.reloader != NULL ? 0 : -EAGAIN;
}

static void end_reloader(void *context)
{
	struct gateway *gateway = context;
	reloader_free(gateway->running.reloader);
}

static void stop_threads(void *context)
{
	struct gateway *gateway = context;
	daemon_stop(&gateway->daemon);
}

static int start_threads(void *context, struct error *error)
{
	struct gateway *gateway = context;
	int control_cpu = gateway->threads.plan.control_cpu;
	int result = gateway_threads_start(&gateway->threads, &gateway->daemon, error);
	if (result != 0) {
		stop_threads(gateway);
		return result;
	}
	if (control_cpu != CPU_FLOATS)
		(void)cpu_pin(control_cpu);
	placement_begin(&gateway->placement, &gateway->cpus, gateway->realtime);
	return 0;
}

static int settle_priority(void *context, struct error *error)
{
	struct gateway *gateway = context;
	return daemon_settle_priority(&gateway->daemon, error);
}

static int start_metrics(void *context, struct error *error)
{
	struct gateway *gateway = context;
	return daemon_start_metrics(&gateway->daemon, error);
}

static int filter_calls(void *context, struct error *error)
{
	struct gateway *gateway = context;
	return daemon_filter_calls(&gateway->daemon, error);
}

/* Privileges go when all is open, and before the first thread: it would inherit them. */
static const struct step steps[] = {
	{"daemon", open_daemon, close_daemon},
	{"collector", open_collector, close_collector},
	{"top", open_top, close_top},
	{"network", open_network, close_network},
	{"watches", open_keep, close_keep},
	{"events", open_events, close_events},
	{"quotas", open_quota, close_quota},
	{"threads", open_threads, close_threads},
	{"rights", give_up_rights, NULL},
	{"log", start_log, NULL},
	{"reload thread", start_reloader, end_reloader},
	{"data path", start_threads, stop_threads},
	{"CPU priority", settle_priority, NULL},
	{"metrics", start_metrics, NULL}, /* ended by daemon_stop() */
	{"system call filters", filter_calls, NULL},
};

/* --- life --------------------------------------------------------------------------------------------------------- */

static void log_start(struct gateway *gateway)
{
	const struct cpu_plan *plan = &gateway->threads.plan;
	char bound[DAEMON_BOUND_TEXT];
	log_info("gateway on UDP %s, interface %s, %zu peers, %u addresses to give out; workers %u, TUN readers "
		 "%u, handshake threads %u on %zu CPUs",
		 daemon_bound(&gateway->daemon, bound), gateway->daemon.descriptors.device.name,
		 peers_count(&gateway->registry.peers), gateway->registry.pool.usable, plan->workers, plan->readers,
		 plan->handshakers, gateway->cpus.share);
}

_Static_assert((int)CONFIG_LISTEN_ADDRESSES <= (int)UDP_ADDRESSES_MAX, "sockets take what may be configured");

int gateway_run(struct gateway *gateway, struct error *error)
{
	raise_descriptor_limit();
	gateway->running = (struct gateway_running){
		.config = gateway->config,
		.identity = gateway->identity,
		.registry = &gateway->registry,
		.quota = &gateway->quota,
		.ender = {.end = end_session, .limit = limit_session, .context = gateway}};
	gateway->steps = STEPS(steps, gateway);
	int result = steps_open(&gateway->steps, error);
	if (result == 0) {
		log_start(gateway);
		const struct daemon_watch watches[] = {{gateway->events.queue.waker.fd, events_came},
						       {reloader_fd(gateway->running.reloader), reloaded},
						       {gateway->collector.timer_fd, collector_is_due},
						       {gateway_top_fd(gateway->running.top), top_is_due},
						       {gateway->network.watch_fd, network_changed},
						       {gateway->network.rules_fd, rules_changed}};
		result = daemon_loop(&gateway->daemon, watches, ARRAY_SIZE(watches), gateway, error);
		steps_close(&gateway->steps);
	}
	config_free_gateway(gateway->running.reread);
	return result;
}
