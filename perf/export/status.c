// SPDX-License-Identifier: Apache-2.0
#include "perf/export/status.h"

#include <math.h>

#include "perf/export/json.h"
#include "perf/export/stages.h"

static json_t *known_number(int64_t value)
{
	return value >= 0 ? json_integer(value) : json_null();
}

static json_t *text_list(const char *const *texts, size_t count)
{
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++)
		append(&list, json_string(texts[i]));
	return list;
}

static const char *direction_name(enum drop_direction direction)
{
	return direction == UPLINK ? "uplink" : "downlink";
}

static json_t *counters_object(const struct stats_snapshot *snapshot)
{
	json_t *object = json_object();
	for (size_t i = 0; i < STATS_COUNTER_COUNT; i++)
		put(&object, counter_infos[i].name, number(snapshot->counters[i]));
	return object;
}

static json_t *drops_list(const struct stats_snapshot *snapshot)
{
	json_t *list = json_array();
	for (size_t i = 0; i < DROP_COUNT; i++) {
		json_t *drop = json_object();
		put(&drop, "reason", json_string(drop_infos[i].label));
		put(&drop, "direction", json_string(direction_name(drop_infos[i].direction)));
		put(&drop, "count", number(snapshot->drops[i]));
		put(&drop, "text", json_string(drop_infos[i].text));
		append(&list, drop);
	}
	return list;
}

/* The queues of a thread: what waits, what waited for how long, and what was dropped for that. */
static void put_queues(json_t **object, const struct status_source *source, const struct status_thread *thread,
		       const struct stats_snapshot *own)
{
	static const enum stage waits[] = {STAGE_SOCKET_WAIT, STAGE_RING_WAIT};
	for (size_t i = 0; i < ARRAY_SIZE(waits); i++)
		put(object, stage_infos[waits[i]].label,
		    thread->stages != NULL ? stages_wait(thread->stages, waits[i], &source->tsc) : json_null());
	for (size_t i = 0; i < STATS_GAUGE_COUNT; i++)
		put(object, gauge_infos[i].name, number(own->gauges[i]));
	put(object, "drops_queueing", number(stats_drop_queueing(own)));
}

static json_t *threads_list(const struct status_source *source, struct stats_snapshot *sum)
{
	json_t *list = json_array();
	for (size_t i = 0; i < source->thread_count; i++) {
		const struct status_thread *thread = &source->threads[i];
		if (thread->stats == NULL)
			continue;
		/* One read serves both, so that the sums are those of the threads to the packet. */
		struct stats_snapshot own = {0};
		stats_read(thread->stats, &own);
		for (size_t j = 0; j < STATS_COUNTER_COUNT; j++)
			sum->counters[j] += own.counters[j];
		for (size_t j = 0; j < DROP_COUNT; j++)
			sum->drops[j] += own.drops[j];

		json_t *object = json_object();
		put(&object, "name", json_string(thread->name));
		put(&object, "cpu", thread->cpu >= 0 ? json_integer(thread->cpu) : json_null());
		put(&object, "cpus", thread->cpus != NULL ? json_string(thread->cpus) : json_null());
		put(&object, "policy", thread->policy != NULL ? json_string(thread->policy) : json_null());
		put(&object, "nice", thread->policy != NULL ? json_integer(thread->nice) : json_null());
		put(&object, "slice_us", thread->slice != 0 ? number(thread->slice / NS_PER_US) : json_null());
		put(&object, "load", json_real(round(thread->load * 1000) / 1000));
		put(&object, "cpu_seconds", json_real((double)thread->cpu_time / NS_PER_S));
		put(&object, "allocated_bytes", known_number(thread->allocated));
		put(&object, "system_calls", number(stats_calls(&own)));
		put(&object, "drops_uplink", number(stats_drop_sum(&own, UPLINK)));
		put(&object, "drops_downlink", number(stats_drop_sum(&own, DOWNLINK)));
		put_queues(&object, source, thread, &own);
		put(&object, "counters", counters_object(&own));
		append(&list, object);
	}
	return list;
}

static json_t *interface_object(const struct status_source *source)
{
	json_t *object = json_object();
	put(&object, "name", json_string(source->interface));
	put(&object, "mtu", number(source->mtu));
	put(&object, "addresses", text_list(source->addresses, source->address_count));
	put(&object, "tx_dropped", known_number(source->interface_drops.tx));
	put(&object, "rx_dropped", known_number(source->interface_drops.rx));
	return object;
}

static json_t *udp_object(const struct status_source *source)
{
	json_t *object = json_object();
	put(&object, "receive_buffer", number(source->udp.receive_buffer));
	put(&object, "send_buffer", number(source->udp.send_buffer));
	put(&object, "wanted_buffer", number(source->udp.wanted_buffer));
	put(&object, "queue_overflows", known_number(source->udp.queue_overflows));
	return object;
}

static json_t *pair_object(const char *first, uint64_t first_value, const char *second, uint64_t second_value)
{
	json_t *object = json_object();
	put(&object, first, number(first_value));
	if (second_value != 0)
		put(&object, second, number(second_value));
	return object;
}

static json_t *peers_object(const struct status_source *source)
{
	json_t *object = json_object();
	put(&object, "shardtun", number(source->peers.shardtun));
	put(&object, "wireguard", number(source->peers.wireguard));
	return object;
}

static json_t *quotas_object(const struct status_source *source)
{
	json_t *object = json_object();
	put(&object, "peers", number(source->quotas.peers));
	put(&object, "over", number(source->quotas.over));
	return object;
}

static json_t *takeover_object(const struct status_source *source)
{
	json_t *object = json_object();
	put(&object, "wait_seconds", json_real(round((double)source->takeover.wait / NS_PER_US) / 1e6));
	put(&object, "sessions", number(source->takeover.sessions));
	return object;
}

/* By kind: what is not wanted is left out, unless something of it was put back before. */
static json_t *kept_object(const struct status_source *source)
{
	json_t *object = json_object();
	for (size_t i = 0; i < source->kept_count; i++) {
		const struct status_kept *kept = &source->kept[i];
		json_t *one = json_object();
		put(&one, "in_force", kept->wanted ? json_boolean(kept->in_force) : json_null());
		put(&one, "restored", number(kept->restored));
		if (kept->trouble[0] != '\0')
			put(&one, "trouble", json_string(kept->trouble));
		put(&object, kept->label, one);
	}
	return object;
}

static json_t *forward_object(const struct status_forward *forward)
{
	json_t *object = json_object();
	put(&object, "blocked_by", forward->blocked ? json_string(forward->blocked_by) : json_null());
	put(&object, "offered_packets", number(forward->offered));
	put(&object, "dropped_packets", number(forward->dropped));
	return object;
}

static json_t *cluster_object(const struct status_cluster *cluster)
{
	json_t *object = json_object(), *refused = json_object();
	put(&refused, "malformed", number(cluster->malformed));
	put(&refused, "forged", number(cluster->forged));
	put(&refused, "late", number(cluster->late));
	put(&refused, "repeated", number(cluster->repeated));
	put(&object, "node", json_string(cluster->node));
	put(&object, "blocks", number(cluster->blocks));
	put(&object, "map_ipv4", number(cluster->map_ipv4));
	put(&object, "map_ipv6", number(cluster->map_ipv6));
	put(&object, "map_left_out", number(cluster->map_left_out));
	put(&object, "fences", number(cluster->fences));
	put(&object, "forwards_refused", refused);
	return object;
}

static json_t *sessions_object(const struct status_source *source)
{
	json_t *object = pair_object("active", source->sessions.active, "max", source->sessions.max);
	if (source->sessions.wireguard != 0)
		put(&object, "wireguard", number(source->sessions.wireguard));
	return object;
}

json_t *status_json(const struct status_source *source)
{
	json_t *offloads = json_object();
	for (size_t i = 0; i < source->offload_count; i++)
		put(&offloads, source->offloads[i].name, json_boolean(source->offloads[i].on));
	json_t *suites = json_object();
	for (size_t i = 0; i < source->suite_count; i++)
		put(&suites, source->suites[i].name, json_string(source->suites[i].backend));
	struct stats_snapshot sum = {0};
	json_t *threads = threads_list(source, &sum);

	json_t *status = json_object();
	put(&status, "version", json_string(SHARDTUN_VERSION));
	put(&status, "role", json_string(source->role));
	put(&status, "uptime_seconds", number(source->uptime / NS_PER_S));
	put(&status, "interface", interface_object(source));
	put(&status, "listen", text_list(source->listen, source->listen_count));
	put(&status, "sessions", sessions_object(source));
	if (source->pool.size != 0)
		put(&status, "pool", pair_object("used", source->pool.used, "size", source->pool.size));
	if (source->peers.shardtun + source->peers.wireguard != 0)
		put(&status, "peers", peers_object(source));
	if (source->quotas.peers != 0)
		put(&status, "quotas", quotas_object(source));
	if (source->takeover.wait != 0)
		put(&status, "takeover", takeover_object(source));
	put(&status, "kept", kept_object(source));
	if (source->forward.watched)
		put(&status, "forward", forward_object(&source->forward));
	if (source->cluster.node != NULL)
		put(&status, "cluster", cluster_object(&source->cluster));
	put(&status, "suites", suites);
	put(&status, "offloads", offloads);
	put(&status, "udp", udp_object(source));
	put(&status, "log", pair_object("lines_dropped", source->log_dropped, "", 0));
	put(&status, "packets_carried", number(stats_carried(&sum)));
	put(&status, "system_calls", number(stats_calls(&sum)));
	put(&status, "counters", counters_object(&sum));
	put(&status, "drops", drops_list(&sum));
	put(&status, "threads", threads);
	return status;
}
