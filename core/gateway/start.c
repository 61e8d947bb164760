// SPDX-License-Identifier: Apache-2.0
#include "core/base/log.h"
#include "core/base/rcu.h"
#include "core/daemon/keeping.h"
#include "core/daemon/rights.h"
#include "core/gateway/control_cluster.h"
#include "core/gateway/keep.h"
#include "core/gateway/reloader.h"
#include "core/gateway/state.h"
#include "core/gateway/top.h"

/* The kernel would route the whole network to the interface: in a cluster most of it is other gateways'. */
static void choose_addresses(struct gateway *gateway)
{
	const struct gateway_config *config = gateway->config;
	for (size_t i = 0; i < config->addresses.count && i < ARRAY_SIZE(gateway->inner); i++) {
		gateway->inner[i] = config->addresses.items[i];
		if (config->cluster_node != NULL)
			gateway->inner[i].length = gateway->inner[i].address.family == 4 ? 32 : 128;
	}
}

static int open_daemon(void *context, struct error *error)
{
	struct gateway *gateway = context;
	const struct gateway_config *config = gateway->config;
	choose_addresses(gateway);
	struct daemon_params params = {
		.role_name = "gateway",
		.common = &config->common,
		.mtu = config->mtu,
		.addresses = gateway->inner,
		.address_count = config->addresses.count,
		.listen_addresses = config->listen_addresses.items,
		.listen_address_count = config->listen_addresses.count,
		.listen_port = config->listen_port,
		.workers = gateway->threads.plan.workers,
		.handshakers = gateway->threads.plan.handshakers,
		.wireguard = config->wireguard ? &wireguard_socket_kind : NULL,
		.keeps = true,
		.commands = gateway_commands,
		.command_count = gateway_command_count,
		.context = &gateway->running,
		.refresh = gateway_refresh,
		.every_second = gateway_every_second,
		.reload = gateway_control_reload,
	};
	gateway_threads_want_sockets(&gateway->threads, &gateway->registry, &params);
	gateway_threads_want_queues(&gateway->threads, &gateway->registry.pool, &params);
	int result = gateway_takeover_ask(gateway, &params, error);
	if (result == 0)
		result = daemon_open(&gateway->daemon, &params, error);
	if (result != 0) {
		gateway_threads_want_none(&gateway->threads);
		return result;
	}
	gateway->registry.no_ipv6 = gateway->daemon.descriptors.device.no_ipv6;
	gateway_threads_take_queues(&gateway->threads, &gateway->daemon.descriptors.device);
	return 0;
}

static void close_daemon(void *context)
{
	struct gateway *gateway = context;
	daemon_close(&gateway->daemon);
	gateway_threads_want_none(&gateway->threads);
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
	const struct gateway_network_params network = {.beside = gateway_takeover_pending(gateway),
						       .config = gateway->config,
						       .daemon = &gateway->daemon,
						       .registry = &gateway->registry,
						       .user = &gateway->user};
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
		.events = &gateway->events.queue,
		.given = &gateway->takeover.given_quota};
	return quota_open(&gateway->quota, &params, error);
}

static void close_quota(void *context)
{
	struct gateway *gateway = context;
	quota_close(&gateway->quota);
}

static int open_wireguard_socket(void *context, struct error *error)
{
	struct gateway *gateway = context;
	struct daemon *daemon = &gateway->daemon;
	if (!gateway->config->wireguard)
		return 0;
	int result = descriptors_open_wireguard(&daemon->descriptors, &wireguard_socket_kind,
						gateway->config->common.interface, error);
	if (result != 0)
		return result;
	gateway->wireguard_socket = wireguard_socket_new(&gateway->running, &daemon->descriptors.wireguard,
							 daemon->clock, error);
	if (gateway->wireguard_socket != NULL)
		return 0;
	descriptors_close_wireguard(&daemon->descriptors);
	return -EIO;
}

static void close_wireguard_socket(void *context)
{
	struct gateway *gateway = context;
	wireguard_socket_free(gateway->wireguard_socket);
	if (gateway->daemon.leaving)
		control_listener_leave(&gateway->daemon.descriptors.wireguard);
	if (gateway->wireguard_socket != NULL)
		descriptors_close_wireguard(&gateway->daemon.descriptors);
	gateway->wireguard_socket = NULL;
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
	if (gateway->wireguard_keys != NULL && aead_engine_wireguard(gateway->daemon.aead) == NULL)
		return error_set(error, -ENOTSUP,
				 "%s: WireGuard = yes: the AEAD back end has no suite for it; leave "
				 "CryptoBackend at auto",
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
		.wireguard = gateway->wireguard_keys != NULL ? &gateway->wireguard : NULL,
		.jar = &gateway->jar,
		.reset_secret = &gateway->reset_secret,
		.forwarder = config->cluster_node != NULL ? &gateway->link.forwarder : NULL,
		.mtu = (uint16_t)config->mtu,
		.rekey_interval = config->rekey_interval,
		.session_timeout = config->session_timeout,
		.suites = suites,
		.events = &gateway->events.queue,
	};
	offer(config, &common);
	uint32_t longest = config->mtu + DIALECT_OVERHEAD_MAX;
	struct gateway_threads_params params = {
		.daemon = &gateway->daemon,
		.registry = &gateway->registry,
		.cpus = &gateway->cpus,
		.role = &role,
		.common = &common,
		.datagram_max = longest > WIRE_HELLO_SIZE ? longest : WIRE_HELLO_SIZE,
		.attach_later = gateway_takeover_pending(gateway),
	};
	return gateway_threads_open(&gateway->threads, &params, error);
}

static void close_threads(void *context)
{
	struct gateway *gateway = context;
	events_write(&gateway->events);
	gateway_tell_suppressed(gateway, true);
	gateway_threads_close(&gateway->threads);
}

/* --- cluster ------------------------------------------------------------------------------------------------------ */

static void wake_workers(void *context)
{
	struct gateway *gateway = context;
	gateway_threads_wake(&gateway->threads);
}

static bool workers_fenced(void *context, uint64_t version)
{
	const struct gateway *gateway = context;
	return gateway_threads_fenced(&gateway->threads, version);
}

static void follow_blocks(void *context)
{
	struct gateway *gateway = context;
	cluster_network_serve(&gateway->map, &gateway->cluster.served);
	gateway_network_follow(&gateway->network, &gateway->registry);
	gateway_network_hurry(&gateway->network);
}

static void answer_release(void *context, struct control_ticket ticket, unsigned block)
{
	const struct gateway *gateway = context;
	gateway_control_cluster_released(gateway->daemon.control, ticket, block);
}

static void take_forwarded(void *context, const struct forwarded *forwarded)
{
	struct gateway *gateway = context;
	(void)gateway_threads_forwarded(&gateway->threads, forwarded); /* without memory it is lost, as on the way */
}

static int open_link(struct gateway *gateway, struct error *error)
{
	const struct cluster_link_params params = {.address = &gateway->config->cluster_link,
						   .private_key = gateway->identity->keys.private_key,
						   .clock = gateway->daemon.clock,
						   .take = take_forwarded,
						   .context = gateway};
	return cluster_link_open(&gateway->link, &params, error);
}

static int open_map(struct gateway *gateway, struct error *error)
{
	const struct gateway_config *config = gateway->config;
	const struct cluster_network_params params = {.nftables = gateway->network.nftables,
						      .interface = config->common.interface,
						      .outside = config->cluster_outside,
						      .inside = config->cluster_interface,
						      .listen = config->listen_addresses.items,
						      .listen_count = config->listen_addresses.count,
						      .port = config->listen_port,
						      .wireguard = config->wireguard};
	const struct reconcile_part part = {
		.kind = RECONCILE_nftables, .run = cluster_network_run, .context = &gateway->map};
	int result = cluster_network_open(&gateway->map, &params, error);
	if (result == 0 && reconciler_add(gateway->daemon.reconciler, &part) != 0)
		result = error_set(error, -ENOSPC, "reconciler: no room");
	return result;
}

static int open_cluster(void *context, struct error *error)
{
	struct gateway *gateway = context;
	if (gateway->config->cluster_node == NULL)
		return 0;
	const struct cluster_params params = {.node = gateway->config->cluster_node,
					      .fence = &gateway->fence,
					      .registry = &gateway->registry,
					      .clock = gateway->daemon.clock,
					      .effects = {.wake = wake_workers,
							  .fenced = workers_fenced,
							  .changed = follow_blocks,
							  .released = answer_release,
							  .context = gateway}};
	int result = cluster_open(&gateway->cluster, &params, error);
	if (result != 0)
		return result;
	result = open_link(gateway, error);
	if (result == 0 && (result = open_map(gateway, error)) != 0)
		cluster_link_close(&gateway->link);
	if (result != 0) {
		cluster_close(&gateway->cluster);
		return result;
	}
	gateway->running.map = &gateway->map;
	gateway->running.cluster = &gateway->cluster;
	gateway->running.link = &gateway->link;
	return 0;
}

static void close_cluster(void *context)
{
	struct gateway *gateway = context;
	if (gateway->running.cluster == NULL)
		return;
	cluster_network_close(&gateway->map);
	cluster_link_close(&gateway->link);
	cluster_close(&gateway->cluster);
	gateway->running.cluster = NULL;
	gateway->running.link = NULL;
	gateway->running.map = NULL;
}

/* --- rights and threads ------------------------------------------------------------------------------------------- */

static int give_up_rights(void *context, struct error *error)
{
	struct gateway *gateway = context;
	int result = daemon_prepare_filters(&gateway->daemon, error);
	if (result == 0)
		result = gateway_takeover_give(gateway, error);
	if (result == 0)
		result = daemon_drop_privileges(&gateway->daemon, &gateway->user, error);
	if (result == 0)
		gateway_network_dropped(&gateway->network);
	return result;
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
	gateway->running.reloader = reloader_new("reload", &gateway->running, filter, error);
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
	bool pending = gateway_takeover_pending(gateway);
	if (pending || (gateway->daemon.leaving && gateway->config->reset)) /* else clients would notice by silence */
		gateway_threads_leave(&gateway->threads);
	daemon_stop(&gateway->daemon);
}

/* With the threads of the data path, which a block's deadline is for. */
static int start_routes(void *context, struct error *error)
{
	struct gateway *gateway = context;
	if (gateway->config->cluster_node == NULL)
		return 0;
	return gateway_network_do_not_wait(&gateway->network, gateway->daemon.filters[SECCOMP_CONTROL], error);
}

static void end_routes(void *context)
{
	struct gateway *gateway = context;
	gateway_network_wait(&gateway->network);
}

static int start_threads(void *context, struct error *error)
{
	struct gateway *gateway = context;
	int control_cpu = gateway->threads.plan.control_cpu;
	if (gateway_takeover_pending(gateway))
		gateway_threads_park(&gateway->threads);
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

static int start_resolver(void *context, struct error *error)
{
	struct gateway *gateway = context;
	if (gateway->wireguard_keys == NULL)
		return 0;
	gateway->contacts = (struct contacts){.registry = &gateway->registry,
					      .threads = &gateway->threads,
					      .clock = gateway->daemon.clock,
					      .ender = &gateway->running.ender,
					      .names = names_new(gateway->daemon.filters[SECCOMP_RESOLVER], error)};
	return gateway->contacts.names != NULL ? 0 : -EAGAIN;
}

static void end_resolver(void *context)
{
	struct gateway *gateway = context;
	names_free(gateway->contacts.names);
}

static int begin_contacts(void *context, struct error *error)
{
	struct gateway *gateway = context;
	(void)error;
	if (gateway->wireguard_keys != NULL)
		contacts_step(&gateway->contacts);
	return 0;
}

static int settle_priority(void *context, struct error *error)
{
	struct gateway *gateway = context;
	return daemon_settle_priority(&gateway->daemon, error);
}

static int open_takeover(void *context, struct error *error)
{
	return gateway_takeover_open(context, error);
}

static void close_takeover(void *context)
{
	gateway_takeover_close(context);
}

static int claim(void *context, struct error *error)
{
	return gateway_takeover_claim(context, error);
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

static int keep_descriptors(void *context, struct error *error)
{
	struct gateway *gateway = context;
	(void)error;
	daemon_keep(&gateway->daemon);
	return 0;
}

static void end_keeping(void *context)
{
	struct gateway *gateway = context;
	daemon_end_keeping(&gateway->daemon);
}

static int complete(void *context, struct error *error)
{
	(void)error;
	gateway_takeover_complete(context);
	return 0;
}

static const struct step steps[] = {
	{"daemon", open_daemon, close_daemon},
	{"collector", open_collector, close_collector},
	{"top", open_top, close_top},
	{"network", open_network, close_network},
	{"watches", open_keep, close_keep},
	{"events", open_events, close_events},
	{"quotas", open_quota, close_quota},
	{"WireGuard's control socket", open_wireguard_socket, close_wireguard_socket},
	{"threads", open_threads, close_threads},
	{"take-over socket", open_takeover, close_takeover},
	{"cluster", open_cluster, close_cluster},
	{"rights", give_up_rights, NULL},
	{"log", start_log, NULL},
	{"reload thread", start_reloader, end_reloader},
	{"routes thread", start_routes, end_routes},
	{"resolver thread", start_resolver, end_resolver},
	{"data path", start_threads, stop_threads},
	{"CPU priority", settle_priority, NULL},
	{"take-over", claim, NULL},
	{"metrics", start_metrics, NULL}, /* ended by daemon_stop() */
	{"store", keep_descriptors, end_keeping},
	{"system call filters", filter_calls, NULL},
	{"WireGuard peers to reach", begin_contacts, NULL},
	{"take-over's end", complete, NULL},
};

struct steps gateway_steps(struct gateway *gateway)
{
	return STEPS(steps, gateway);
}
