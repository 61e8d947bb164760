// SPDX-License-Identifier: Apache-2.0
#include "perf/export/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

const double metrics_bounds[METRICS_BUCKETS] = {2e-8, 5e-8, 1e-7, 2e-7, 5e-7, 1e-6, 2e-6, 5e-6, 1e-5, 2e-5,
						5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 1e-1, 1};

/* How the HELLOs of a gateway ended; on a client, those of which it was the receiver's answer. */
static const struct {
	const char *outcome;
	enum drop_reason reason;
} refusals[] = {
	{"mac1", DROP_MAC1},	    {"forged", DROP_HANDSHAKE_FORGED}, {"unknown_peer", DROP_UNKNOWN_PEER},
	{"stale", DROP_STALE},	    {"no_suite", DROP_NO_SUITE},       {"no_address", DROP_NO_ADDRESS},
	{"no_cookie", DROP_COOKIE}, {"rate", DROP_HELLO_RATE},
};

static void describe(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s.\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value in quotes: an interface's name may hold nearly anything. */
static void quote(FILE *out, const char *value)
{
	fputc('"', out);
	for (const char *c = value; *c != '\0'; c++) {
		if (*c == '"' || *c == '\\')
			fputc('\\', out);
		if (*c == '\n')
			fputs("\\n", out);
		else
			fputc(*c, out);
	}
	fputc('"', out);
}

static void single(FILE *out, const char *name, const char *type, const char *help, double value)
{
	describe(out, name, type, help);
	fprintf(out, "%s %.17g\n", name, value);
}

static void gauge(FILE *out, const char *name, const char *help, uint64_t value)
{
	describe(out, name, "gauge", help);
	fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void labelled(FILE *out, const char *name, const char *label, const char *value, uint64_t number)
{
	fprintf(out, "%s{%s=", name, label);
	quote(out, value);
	fprintf(out, "} %" PRIu64 "\n", number);
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

static void write_counters(FILE *out, const struct status_source *source, const struct stats_snapshot *threads)
{
	for (size_t i = 0; i < STATS_COUNTER_COUNT; i++) {
		char name[64];
		(void)snprintf(name, sizeof name, "shardtun_%s_total", counter_infos[i].name);
		describe(out, name, "counter", counter_infos[i].text);
		for (size_t t = 0; t < source->thread_count; t++) {
			if (source->threads[t].stats != NULL)
				labelled(out, name, "thread", source->threads[t].name, threads[t].counters[i]);
		}
	}
}

static void write_gauges(FILE *out, const struct status_source *source, const struct stats_snapshot *threads)
{
	for (size_t i = 0; i < STATS_GAUGE_COUNT; i++) {
		char name[64];
		(void)snprintf(name, sizeof name, "shardtun_%s", gauge_infos[i].name);
		describe(out, name, "gauge", gauge_infos[i].text);
		for (size_t t = 0; t < source->thread_count; t++) {
			if (source->threads[t].stats != NULL)
				labelled(out, name, "thread", source->threads[t].name, threads[t].gauges[i]);
		}
	}
}

static const char *direction_name(enum drop_direction direction)
{
	return direction == UPLINK ? "uplink" : "downlink";
}

static void write_drops(FILE *out, const struct status_source *source, const struct stats_snapshot *threads,
			const struct stats_snapshot *sum)
{
	static const char by_reason[] = "shardtun_dropped_packets_total",
			  by_thread[] = "shardtun_thread_dropped_packets_total";
	describe(out, by_reason, "counter", "Packets dropped, by the one reason that each has");
	for (size_t i = 0; i < DROP_COUNT; i++)
		fprintf(out, "%s{direction=\"%s\",reason=\"%s\"} %" PRIu64 "\n", by_reason,
			direction_name(drop_infos[i].direction), drop_infos[i].label, sum->drops[i]);
	describe(out, by_thread, "counter", "Packets dropped, by the thread that dropped them");
	for (size_t t = 0; t < source->thread_count; t++) {
		for (enum drop_direction way = UPLINK; source->threads[t].stats != NULL && way <= DOWNLINK; way++) {
			fprintf(out, "%s{thread=", by_thread);
			quote(out, source->threads[t].name);
			fprintf(out, ",direction=\"%s\"} %" PRIu64 "\n", direction_name(way),
				stats_drop_sum(&threads[t], way));
		}
	}
}

static void write_handshakes(FILE *out, const struct stats_snapshot *sum)
{
	static const char name[] = "shardtun_handshakes_total";
	describe(out, name, "counter", "Handshake messages by outcome: accepted, or why not");
	labelled(out, name, "outcome", "accepted",
		 sum->counters[STATS_rx_hello] + sum->counters[STATS_rx_welcome] +
			 sum->counters[STATS_rx_wg_initiation]);
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++)
		labelled(out, name, "outcome", refusals[i].outcome, sum->drops[refusals[i].reason]);
}

static void write_threads(FILE *out, const struct status_source *source)
{
	static const char cpu[] = "shardtun_thread_cpu_seconds_total", load[] = "shardtun_thread_load_ratio",
			  info[] = "shardtun_thread_info";
	describe(out, cpu, "counter", "CPU time of a thread, measured every second");
	for (size_t t = 0; t < source->thread_count; t++) {
		fprintf(out, "%s{thread=", cpu);
		quote(out, source->threads[t].name);
		fprintf(out, "} %.9f\n", (double)source->threads[t].cpu_time / NS_PER_S);
	}
	describe(out, load, "gauge", "Part of a CPU that a thread used in the last second");
	for (size_t t = 0; t < source->thread_count; t++) {
		fprintf(out, "%s{thread=", load);
		quote(out, source->threads[t].name);
		fprintf(out, "} %.3f\n", source->threads[t].load);
	}
	describe(out, info, "gauge", "Always 1; the CPU that a thread is on, if it may not be on any other");
	for (size_t t = 0; t < source->thread_count; t++) {
		fprintf(out, "%s{thread=", info);
		quote(out, source->threads[t].name);
		if (source->threads[t].cpu >= 0)
			fprintf(out, ",cpu=\"%d\"", source->threads[t].cpu);
		fputs("} 1\n", out);
	}
}

/* --- stages ------------------------------------------------------------------------------------------------------- */

void metrics_buckets(const struct histogram_sum *sum, const struct tsc_calibration *tsc,
		     uint64_t below[METRICS_BUCKETS])
{
	uint64_t seen = 0;
	unsigned bucket = 0;
	for (unsigned i = 0; i < METRICS_BUCKETS; i++) {
		double bound = metrics_bounds[i] * tsc->hz;
		/* The last bucket has no middle. */
		for (; bucket < HISTOGRAM_BUCKETS - 1; bucket++) {
			double low = (double)histogram_bucket_low(bucket), high = (double)histogram_bucket_high(bucket);
			if ((low + high) / 2 > bound)
				break;
			seen += sum->buckets[bucket];
		}
		below[i] = seen;
	}
}

static void write_stages(FILE *out, const struct status_source *source)
{
	static const char name[] = "shardtun_stage_duration_seconds";
	describe(out, name, "histogram",
		 "Time of one batch, packet or super-packet in a stage, of sampled batches; bounds are met to 2 %");
	for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
		struct histogram_sum sum;
		uint64_t below[METRICS_BUCKETS];
		status_merge_stage(source, (enum stage)stage, &sum);
		metrics_buckets(&sum, &source->tsc, below);
		const char *label = stage_infos[stage].label;
		for (unsigned i = 0; i < METRICS_BUCKETS; i++)
			fprintf(out, "%s_bucket{stage=\"%s\",le=\"%g\"} %" PRIu64 "\n", name, label, metrics_bounds[i],
				below[i]);
		fprintf(out, "%s_bucket{stage=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name, label, sum.count);
		fprintf(out, "%s_sum{stage=\"%s\"} %.9f\n", name, label, (double)sum.sum / source->tsc.hz);
		fprintf(out, "%s_count{stage=\"%s\"} %" PRIu64 "\n", name, label, sum.count);
	}
	gauge(out, "shardtun_stage_sampling_batches", "One batch in so many is timed; 0: none",
	      SHARDTUN_PROFILE ? source->stage_sampling : 0);
	single(out, "shardtun_tsc_frequency_hertz", "gauge", "Ticks per second of the clock that times stages",
	       source->tsc.hz);
}

/* --- the rest ----------------------------------------------------------------------------------------------------- */

static void write_build(FILE *out, const struct status_source *source)
{
	static const char build[] = "shardtun_build_info", interface[] = "shardtun_interface_info";
	describe(out, build, "gauge", "Always 1; what runs here");
	fprintf(out, "%s{version=\"%s\",role=\"%s\",compiler=", build, SHARDTUN_VERSION, source->role);
	quote(out, __VERSION__);
	fprintf(out, ",profile=\"%d\"} 1\n", SHARDTUN_PROFILE);
	describe(out, interface, "gauge", "Always 1; the interface and where we listen");
	fprintf(out, "%s{interface=", interface);
	quote(out, source->interface);
	fputs(",listen=", out);
	quote(out, source->listen_count != 0 ? source->listen[0] : "");
	fputs("} 1\n", out);
	gauge(out, "shardtun_interface_mtu_bytes", "Largest inner packet", source->mtu);
	gauge(out, "shardtun_uptime_seconds", "Time since the start", source->uptime / NS_PER_S);
}

static void write_interface_drops(FILE *out, const struct status_interface_drops *drops)
{
	if (drops->tx >= 0)
		single(out, "shardtun_interface_tx_dropped_packets_total", "counter",
		       "Packets, super-packets once, that the kernel dropped before they were read from the TUN",
		       (double)drops->tx);
	if (drops->rx >= 0)
		single(out, "shardtun_interface_rx_dropped_packets_total", "counter",
		       "Packets, super-packets once, that the kernel dropped when or after they were written to the "
		       "TUN",
		       (double)drops->rx);
}

static void write_sessions(FILE *out, const struct status_source *source)
{
	static const char name[] = "shardtun_sessions";
	uint64_t active = source->sessions.active, wireguard = source->sessions.wireguard;
	describe(out, name, "gauge", "Confirmed sessions, by the protocol that they speak");
	labelled(out, name, "protocol", "shardtun", active > wireguard ? active - wireguard : 0);
	labelled(out, name, "protocol", "wireguard", wireguard);
}

static void write_capacity(FILE *out, const struct status_source *source)
{
	gauge(out, "shardtun_sessions_active", "Confirmed sessions", source->sessions.active);
	if (source->sessions.max != 0)
		write_sessions(out, source);
	if (source->sessions.max != 0)
		gauge(out, "shardtun_sessions_limit", "Most sessions at once", source->sessions.max);
	if (source->pool.size != 0) {
		gauge(out, "shardtun_pool_addresses_used",
		      "Addresses of the pool that clients hold or may come back to", source->pool.used);
		gauge(out, "shardtun_pool_addresses_limit", "Addresses of the pool", source->pool.size);
	}
	if (source->peers.shardtun + source->peers.wireguard != 0) {
		static const char peers[] = "shardtun_peers";
		describe(out, peers, "gauge", "Peers, by the protocol that they speak");
		labelled(out, peers, "protocol", "shardtun", source->peers.shardtun);
		labelled(out, peers, "protocol", "wireguard", source->peers.wireguard);
	}
	if (source->sessions.max != 0) {
		gauge(out, "shardtun_quota_peers", "Peers that have a quota", source->quotas.peers);
		gauge(out, "shardtun_quota_peers_over", "Peers that have used up their quota", source->quotas.over);
		single(out, "shardtun_takeover_wait_seconds", "gauge",
		       "For how long packets waited when this process took the sessions over from another one; 0: it "
		       "did not",
		       (double)source->takeover.wait / NS_PER_S);
	}
}

static void write_kept(FILE *out, const struct status_source *source)
{
	static const char restored[] = "shardtun_restored_total", in_force[] = "shardtun_in_force";
	if (source->kept_count == 0)
		return;
	describe(out, restored, "counter",
		 "Things set up on this machine that another program changed or removed, and that were put back");
	for (size_t i = 0; i < source->kept_count; i++)
		labelled(out, restored, "what", source->kept[i].label, source->kept[i].restored);
	describe(out, in_force, "gauge", "Whether all of what is set up on this machine was there at the last look");
	for (size_t i = 0; i < source->kept_count; i++) {
		if (source->kept[i].wanted)
			labelled(out, in_force, "what", source->kept[i].label, source->kept[i].in_force);
	}
}

static void write_forward(FILE *out, const struct status_forward *forward)
{
	if (!forward->watched)
		return;
	gauge(out, "shardtun_forward_blocked", "Whether a firewall of others drops what is forwarded for clients",
	      forward->blocked);
	single(out, "shardtun_forward_packets_total", "counter",
	       "Packets from clients, and answers to them, that this machine was to forward", (double)forward->offered);
	single(out, "shardtun_forward_dropped_packets_total", "counter",
	       "Of those, the ones that firewalls of others dropped", (double)forward->dropped);
}

static void write_cluster(FILE *out, const struct status_cluster *cluster)
{
	static const char map[] = "shardtun_cluster_map_entries", refused[] = "shardtun_cluster_forwards_refused_total";
	if (cluster->node == NULL)
		return;
	gauge(out, "shardtun_cluster_blocks", "Blocks of clients that this gateway of the cluster serves",
	      cluster->blocks);
	describe(out, map, "gauge", "Blocks that another gateway owns, by the family of its address");
	labelled(out, map, "family", "ipv4", cluster->map_ipv4);
	labelled(out, map, "family", "ipv6", cluster->map_ipv6);
	gauge(out, "shardtun_cluster_map_left_out",
	      "Addresses of other gateways in the agent's map that are this machine's own, or none",
	      cluster->map_left_out);
	single(out, "shardtun_cluster_fences_total", "counter",
	       "How often blocks were given up because the agent did not extend them in time", (double)cluster->fences);
	describe(out, refused, "counter", "HELLOs from other gateways that were not taken");
	labelled(out, refused, "reason", "malformed", cluster->malformed);
	labelled(out, refused, "reason", "forged", cluster->forged);
	labelled(out, refused, "reason", "late", cluster->late);
	labelled(out, refused, "reason", "repeated", cluster->repeated);
}

static void write_machine(FILE *out, const struct status_source *source)
{
	static const char offload[] = "shardtun_offload_enabled", suite[] = "shardtun_suite_info";
	describe(out, offload, "gauge", "Whether an offload is in force");
	for (size_t i = 0; i < source->offload_count; i++)
		labelled(out, offload, "offload", source->offloads[i].name, source->offloads[i].on);
	describe(out, suite, "gauge", "Always 1; a cipher suite and the code that runs it");
	for (size_t i = 0; i < source->suite_count; i++)
		fprintf(out, "%s{suite=\"%s\",backend=\"%s\"} 1\n", suite, source->suites[i].name,
			source->suites[i].backend);
	gauge(out, "shardtun_udp_receive_buffer_bytes", "What each UDP socket may queue, as the kernel granted it",
	      source->udp.receive_buffer);
	gauge(out, "shardtun_udp_send_buffer_bytes",
	      "What each UDP socket may have under way, as the kernel granted it", source->udp.send_buffer);
	if (source->udp.queue_overflows >= 0)
		single(out, "shardtun_udp_queue_overflows_total", "counter",
		       "Datagrams lost because a socket's receive queue, or a session's share of it, was full",
		       (double)source->udp.queue_overflows);
	single(out, "shardtun_log_lines_dropped_total", "counter", "Lines lost because the log was not read in time",
	       (double)source->log_dropped);
}

static void write_process(FILE *out, const struct process_figures *process)
{
	single(out, "process_cpu_seconds_total", "counter", "CPU time of the process", process->cpu_seconds);
	if (process->start_time != 0)
		single(out, "process_start_time_seconds", "gauge", "Start of the process, after 1970",
		       process->start_time);
	if (process->resident != 0) {
		gauge(out, "process_resident_memory_bytes", "Memory of the process that is in RAM", process->resident);
		gauge(out, "process_virtual_memory_bytes", "Address space of the process", process->virtual);
	}
	if (process->open_fds != 0)
		gauge(out, "process_open_fds", "Open descriptors", process->open_fds);
	if (process->max_fds != 0)
		gauge(out, "process_max_fds", "Most descriptors that may be open", process->max_fds);
	if (!process->has_heap)
		return;
	gauge(out, "shardtun_heap_allocated_bytes", "Memory that the program asked for", process->heap.allocated);
	gauge(out, "shardtun_heap_active_bytes", "Memory in pages that jemalloc uses for it", process->heap.active);
	gauge(out, "shardtun_heap_resident_bytes", "Memory that jemalloc keeps in RAM", process->heap.resident);
	gauge(out, "shardtun_heap_mapped_bytes", "Address space that jemalloc uses", process->heap.mapped);
	gauge(out, "shardtun_heap_retained_bytes", "Address space that jemalloc keeps for later",
	      process->heap.retained);
}

char *metrics_text(const struct status_source *source, const struct process_figures *process, size_t *length)
{
	char *text = NULL;
	struct stats_snapshot sum = {0};
	struct stats_snapshot *threads = calloc(source->thread_count + 1, sizeof *threads);
	FILE *out = threads != NULL ? open_memstream(&text, length) : NULL;
	if (out == NULL) {
		free(threads);
		return NULL;
	}
	/* One read serves both, so that the sums are those of the threads to the packet. */
	for (size_t t = 0; t < source->thread_count; t++) {
		if (source->threads[t].stats != NULL)
			stats_read(source->threads[t].stats, &threads[t]);
		for (size_t i = 0; i < STATS_COUNTER_COUNT; i++)
			sum.counters[i] += threads[t].counters[i];
		for (size_t i = 0; i < DROP_COUNT; i++)
			sum.drops[i] += threads[t].drops[i];
	}
	write_build(out, source);
	write_interface_drops(out, &source->interface_drops);
	write_capacity(out, source);
	write_handshakes(out, &sum);
	write_counters(out, source, threads);
	write_gauges(out, source, threads);
	write_drops(out, source, threads, &sum);
	write_threads(out, source);
	write_kept(out, source);
	write_forward(out, &source->forward);
	write_cluster(out, &source->cluster);
	write_machine(out, source);
	write_stages(out, source);
	write_process(out, process);
	free(threads);
	bool failed = ferror(out) != 0;
	if (fclose(out) == 0 && !failed)
		return text;
	free(text);
	return NULL;
}
