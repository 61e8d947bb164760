// SPDX-License-Identifier: Apache-2.0
#include "core/base/heap.h"
#include "core/gateway/keep.h"
#include "core/gateway/reloader.h"
#include "core/gateway/state.h"
#include "core/gateway/top.h"

static struct gateway *gateway_of(const struct daemon *daemon)
{
	return caa_container_of(daemon->params.context, struct gateway, running);
}

static struct status_cluster cluster_figures(const struct gateway *gateway)
{
	const struct cluster_link *link = &gateway->link;
	return (struct status_cluster){
		.node = gateway->config->cluster_node,
		.blocks = cluster_count(&gateway->cluster),
		.map_ipv4 = atomic_load_explicit(&gateway->map.entries[0], memory_order_relaxed),
		.map_ipv6 = atomic_load_explicit(&gateway->map.entries[1], memory_order_relaxed),
		.map_left_out = atomic_load_explicit(&gateway->map.left_out, memory_order_relaxed),
		.fences = atomic_load_explicit(&gateway->cluster.fences, memory_order_relaxed),
		.malformed = cluster_link_count(link, FORWARD_MALFORMED),
		.forged = cluster_link_count(link, FORWARD_FORGED),
		.late = cluster_link_count(link, FORWARD_LATE),
		.repeated = cluster_link_count(link, FORWARD_REPEATED),
	};
}

void gateway_refresh(const struct daemon *daemon, struct daemon_figures *figures)
{
	struct gateway *gateway = gateway_of(daemon);
	const struct pool *pool = &gateway->registry.pool;
	size_t peers = peers_count(&gateway->registry.peers), wireguard = peers_wireguard(&gateway->registry.peers);
	*figures = (struct daemon_figures){
		.sessions_active = gateway_threads_active(&gateway->threads),
		.sessions_wireguard = gateway_threads_wireguard(&gateway->threads),
		.sessions_max = gateway->registry.max_sessions,
		.pool_used = atomic_load_explicit(&pool->used, memory_order_relaxed),
		.pool_size = pool->usable,
		.peers_shardtun = peers > wireguard ? peers - wireguard : 0,
		.peers_wireguard = wireguard,
		.quotas = atomic_load_explicit(&gateway->registry.quotas, memory_order_relaxed),
		.quotas_over = atomic_load_explicit(&gateway->quota.over, memory_order_relaxed),
		.takeover_wait = gateway->takeover.wait,
		.takeover_sessions = gateway->takeover.sessions,
	};
	if (gateway->running.cluster != NULL)
		figures->cluster = cluster_figures(gateway);
	gateway_forward_show(&gateway->network.forward, &figures->forward);
}

void gateway_tell_suppressed(struct gateway *gateway, bool at_once)
{
	uint64_t sums[EVENT_KIND_COUNT];
	for (size_t kind = 0; kind < EVENT_KIND_COUNT; kind++)
		sums[kind] = gateway_threads_suppressed(&gateway->threads, (enum event_kind)kind) +
			     atomic_load_explicit(&gateway->quota.events.suppressed[kind], memory_order_relaxed);
	events_write_suppressed(&gateway->events, sums, clock_monotonic(gateway->daemon.clock), at_once);
}

void gateway_every_second(struct daemon *daemon)
{
	struct gateway *gateway = gateway_of(daemon);
	collector_step(&gateway->collector);
	if (gateway->wireguard_keys != NULL)
		contacts_step(&gateway->contacts);
	heap_give_back();
	gateway_network_every_second(&gateway->network);
	placement_check(&gateway->placement, &gateway->threads, &gateway->daemon.threads);
	quota_step(&gateway->quota);
	gateway_takeover_every_second(gateway);
	gateway_tell_suppressed(gateway, false);
	struct daemon_figures now;
	gateway_refresh(daemon, &now);
	notify_status(&daemon->notify, "%u clients connected; %u of %u addresses in use", now.sessions_active,
		      now.pool_used, now.pool_size);
}

static void events_came(void *context)
{
	struct gateway *gateway = context;
	events_write(&gateway->events);
}

static void reloaded(void *context)
{
	struct gateway *gateway = context;
	struct error error;
	int code;
	if (gateway_control_reloaded(&gateway->daemon, &code, &error))
		gateway_takeover_reloaded(gateway, code == 0 ? NULL : &error);
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

static void wireguard_asked(void *context)
{
	struct gateway *gateway = context;
	wireguard_socket_poll(gateway->wireguard_socket);
}

static void takeover_came(void *context)
{
	gateway_takeover_ready(context);
}

static void cluster_is_due(void *context)
{
	struct gateway *gateway = context;
	cluster_step(&gateway->cluster);
}

static void rules_answered(void *context)
{
	struct gateway *gateway = context;
	gateway_network_rules_answered(&gateway->network);
}

static void routes_read(void *context)
{
	struct gateway *gateway = context;
	routes_keeper_poll(&gateway->network.keeper);
}

static void forwards_came(void *context)
{
	struct gateway *gateway = context;
	cluster_link_poll(&gateway->link);
}

void gateway_watches(const struct gateway *gateway, struct daemon_watch watches[GATEWAY_WATCHES])
{
	const struct daemon_watch all[GATEWAY_WATCHES] = {
		{gateway->events.queue.waker.fd, events_came},
		{reloader_fd(gateway->running.reloader), reloaded},
		{gateway->collector.timer_fd, collector_is_due},
		{gateway_top_fd(gateway->running.top), top_is_due},
		{gateway->network.watch_fd, network_changed},
		{gateway->network.rules_fd, rules_changed},
		{wireguard_socket_fd(gateway->wireguard_socket), wireguard_asked},
		{gateway->takeover.epoll_fd, takeover_came},
		{gateway->running.cluster != NULL ? gateway->cluster.timer_fd : -1, cluster_is_due},
		{gateway->running.cluster != NULL ? gateway->link.forwarder.fd : -1, forwards_came},
		{nftables_fd(gateway->network.nftables), rules_answered},
		{routes_keeper_fd(&gateway->network.keeper), routes_read}};
	memcpy(watches, all, sizeof all);
}
