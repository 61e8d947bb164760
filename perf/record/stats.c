// SPDX-License-Identifier: Apache-2.0
#include "perf/record/stats.h"

const struct drop_info drop_infos[DROP_COUNT] = {
#define X(reason, way, name, description) [reason] = {.direction = way, .label = name, .text = description},
	STATS_DROPS(X)
#undef X
};

const struct counter_info counter_infos[STATS_COUNTER_COUNT] = {
#define X(counter, description) [STATS_##counter] = {.name = #counter, .text = description},
	STATS_COUNTERS(X)
#undef X
};

const struct counter_info gauge_infos[STATS_GAUGE_COUNT] = {
#define X(gauge, description) [STATS_##gauge] = {.name = #gauge, .text = description},
	STATS_GAUGES(X)
#undef X
};

void stats_read(const struct stats *stats, struct stats_snapshot *sum)
{
	for (size_t i = 0; i < STATS_COUNTER_COUNT; i++)
		sum->counters[i] += atomic_load_explicit(&stats->counters[i], memory_order_relaxed);
	for (size_t i = 0; i < DROP_COUNT; i++)
		sum->drops[i] += atomic_load_explicit(&stats->drops[i], memory_order_relaxed);
	for (size_t i = 0; i < STATS_GAUGE_COUNT; i++)
		sum->gauges[i] += atomic_load_explicit(&stats->gauges[i], memory_order_relaxed);
}

uint64_t stats_drop_sum(const struct stats_snapshot *snapshot, enum drop_direction direction)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < DROP_COUNT; i++) {
		if (drop_infos[i].direction == direction)
			sum += snapshot->drops[i];
	}
	return sum;
}

uint64_t stats_drop_queueing(const struct stats_snapshot *snapshot)
{
	static const enum drop_reason reasons[] = {DROP_LIMIT_UP, DROP_HELLO_LATE, DROP_HANDOFF,
						   DROP_OUT_RING, DROP_OUT_QUEUE,  DROP_LIMIT_DOWN};
	uint64_t sum = 0;
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		sum += snapshot->drops[reasons[i]];
	return sum;
}

uint64_t stats_calls(const struct stats_snapshot *snapshot)
{
	const uint64_t *counters = snapshot->counters;
	return counters[STATS_udp_rx_calls] + counters[STATS_udp_tx_calls] + counters[STATS_tun_rx_frames] +
	       counters[STATS_tun_tx_frames] + counters[STATS_tun_tx_icmp] + counters[STATS_empty_calls] +
	       counters[STATS_sleeps] + counters[STATS_yields] + 2 * counters[STATS_wakes];
}

uint64_t stats_carried(const struct stats_snapshot *snapshot)
{
	return snapshot->counters[STATS_tun_tx_packets] + snapshot->counters[STATS_udp_tx_data];
}

uint64_t stats_total(const struct stats *stats)
{
	uint64_t total = 0;
	for (size_t i = 0; i < STATS_COUNTER_COUNT; i++)
		total += atomic_load_explicit(&stats->counters[i], memory_order_relaxed);
	for (size_t i = 0; i < DROP_COUNT; i++)
		total += atomic_load_explicit(&stats->drops[i], memory_order_relaxed);
	return total;
}
