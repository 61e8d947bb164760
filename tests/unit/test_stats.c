// SPDX-License-Identifier: Apache-2.0
#include "perf/record/stats.h"

#include <criterion/criterion.h>
#include <ctype.h>

#include "perf/record/stage.h"

static bool is_label(const char *text)
{
	bool good = text != NULL && islower((unsigned char)text[0]);
	for (; good && *text != '\0'; text++)
		good = islower((unsigned char)*text) || isdigit((unsigned char)*text) || *text == '_';
	return good;
}

Test(stats, every_table_entry_has_a_unique_label_and_a_text)
{
	for (size_t i = 0; i < DROP_COUNT; i++) {
		cr_assert(is_label(drop_infos[i].label), "drop %zu", i);
		cr_assert_str_neq(drop_infos[i].text, "");
		for (size_t j = 0; j < i; j++)
			cr_assert_str_neq(drop_infos[i].label, drop_infos[j].label);
	}
	for (size_t i = 0; i < STATS_COUNTER_COUNT; i++) {
		cr_assert(is_label(counter_infos[i].name), "counter %zu", i);
		cr_assert_str_neq(counter_infos[i].text, "");
		for (size_t j = 0; j < i; j++)
			cr_assert_str_neq(counter_infos[i].name, counter_infos[j].name);
	}
	for (size_t i = 0; i < STATS_GAUGE_COUNT; i++) {
		cr_assert(is_label(gauge_infos[i].name), "gauge %zu", i);
		cr_assert_str_neq(gauge_infos[i].text, "");
	}
	for (size_t i = 0; i < STAGE_COUNT; i++) {
		cr_assert(is_label(stage_infos[i].label), "stage %zu", i);
		cr_assert_str_neq(stage_infos[i].unit, "");
		cr_assert_str_neq(stage_infos[i].text, "");
	}
}

Test(stats, tables_stand_in_the_order_of_their_enums)
{
	cr_assert_str_eq(drop_infos[DROP_RUNT].label, "runt");
	cr_assert_eq(drop_infos[DROP_RUNT].direction, UPLINK);
	cr_assert_str_eq(drop_infos[DROP_OUT_SEND].label, "out_send");
	cr_assert_eq(drop_infos[DROP_OUT_SEND].direction, DOWNLINK);
	cr_assert_str_eq(counter_infos[STATS_udp_rx_packets].name, "udp_rx_packets");
	cr_assert_str_eq(counter_infos[STATS_sleeps].name, "sleeps");
	cr_assert_str_eq(stage_infos[STAGE_RESIDENCE_DOWN].label, "residence_down");
}

Test(stats, reading_sums_over_threads)
{
	struct stats a = {0}, b = {0};
	stats_add(&a, udp_rx_packets, 10);
	stats_add(&b, udp_rx_packets, 5);
	stats_add(&b, sleeps, 1);
	stats_drop(&a, DROP_REPLAY, 3);
	stats_drop(&b, DROP_REPLAY, 4);
	stats_set(&a, waiting_bytes, 100);
	stats_set(&a, waiting_bytes, 70);
	stats_set(&b, waiting_bytes, 5);

	struct stats_snapshot sum = {0};
	stats_read(&a, &sum);
	stats_read(&b, &sum);
	cr_assert_eq(sum.counters[STATS_udp_rx_packets], 15);
	cr_assert_eq(sum.counters[STATS_sleeps], 1);
	cr_assert_eq(sum.drops[DROP_REPLAY], 7);
	cr_assert_eq(sum.drops[DROP_RUNT], 0);
	cr_assert_eq(sum.gauges[STATS_waiting_bytes], 75, "what is set replaces what was");
	cr_assert_eq(sum.gauges[STATS_waiting_sessions], 0);
}

Test(stats, drops_from_queues)
{
	struct stats_snapshot snapshot = {0};
	for (unsigned i = 0; i < DROP_COUNT; i++)
		snapshot.drops[i] = 1000;
	snapshot.drops[DROP_OUT_RING] = 1;
	snapshot.drops[DROP_OUT_QUEUE] = 2;
	snapshot.drops[DROP_LIMIT_UP] = 4;
	snapshot.drops[DROP_LIMIT_DOWN] = 8;
	snapshot.drops[DROP_HANDOFF] = 16;
	snapshot.drops[DROP_HELLO_LATE] = 32;
	cr_assert_eq(stats_drop_queueing(&snapshot), 63);
}

Test(stats, calls_and_carried_packets)
{
	struct stats_snapshot snapshot = {0};
	static const enum stats_counter calls[] = {
		STATS_udp_rx_calls, STATS_udp_tx_calls, STATS_tun_rx_frames, STATS_tun_tx_frames,
		STATS_tun_tx_icmp,  STATS_empty_calls,	STATS_sleeps,
	};
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		snapshot.counters[calls[i]] = 1;
	cr_assert_eq(stats_calls(&snapshot), ARRAY_SIZE(calls));
	snapshot.counters[STATS_wakes] = 3;
	cr_assert_eq(stats_calls(&snapshot), ARRAY_SIZE(calls) + 6, "one writes, the other reads");
	snapshot.counters[STATS_tun_tx_packets] = 5;
	snapshot.counters[STATS_udp_tx_data] = 7;
	snapshot.counters[STATS_udp_tx_control] = snapshot.counters[STATS_udp_rx_packets] = 100;
	cr_assert_eq(stats_carried(&snapshot), 12, "each packet once");
}

Test(stats, drop_sums_keep_the_directions_apart)
{
	struct stats stats = {0};
	uint64_t expected[2] = {0};
	for (unsigned i = 0; i < DROP_COUNT; i++) {
		stats_drop(&stats, (enum drop_reason)i, 1ull << i);
		expected[drop_infos[i].direction] += 1ull << i;
	}
	struct stats_snapshot snapshot = {0};
	stats_read(&stats, &snapshot);
	cr_assert_eq(stats_drop_sum(&snapshot, UPLINK), expected[UPLINK]);
	cr_assert_eq(stats_drop_sum(&snapshot, DOWNLINK), expected[DOWNLINK]);
	cr_assert_neq(expected[UPLINK], 0);
	cr_assert_neq(expected[DOWNLINK], 0);
}

static uint64_t stage_count(const struct stage_recorder *recorder, enum stage stage)
{
	struct histogram_sum sum = {0};
	histogram_merge(&sum, &recorder->histograms[stage]);
	return sum.count;
}

static void run_batches(struct stage_recorder *recorder, int batches)
{
	for (int i = 0; i < batches; i++) {
		stage_begin(recorder);
		stage_lap(recorder, STAGE_UDP_RECV);
		stage_skip(recorder);
		stage_lap(recorder, STAGE_OPEN);
		stage_end(recorder, STAGE_RESIDENCE_UP, 1);
	}
}

Test(stage, samples_the_first_batch_and_then_one_in_interval)
{
	static const struct {
		uint32_t interval;
		int batches;
		uint64_t sampled;
	} cases[] = {{0, 100, 0}, {1, 100, 100}, {2, 5, 3}, {64, 1, 1}, {64, 64, 1}, {64, 65, 2}, {64, 640, 10}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		static struct stage_recorder recorder;
		stage_recorder_init(&recorder, cases[i].interval, NS_PER_S);
		run_batches(&recorder, cases[i].batches);
		uint64_t expected = SHARDTUN_PROFILE ? cases[i].sampled : 0;
		cr_assert_eq(stage_count(&recorder, STAGE_UDP_RECV), expected, "case %zu", i);
		cr_assert_eq(stage_count(&recorder, STAGE_OPEN), expected, "case %zu", i);
		cr_assert_eq(stage_count(&recorder, STAGE_RESIDENCE_UP), expected, "case %zu", i);
		cr_assert_eq(stage_count(&recorder, STAGE_SEAL), 0, "case %zu", i);
	}
}

Test(stage, laps_add_up_to_at_most_the_residence)
{
	static struct stage_recorder recorder;
	stage_recorder_init(&recorder, 1, NS_PER_S);
	run_batches(&recorder, 1000);
	struct histogram_sum laps = {0}, whole = {0};
	histogram_merge(&laps, &recorder.histograms[STAGE_UDP_RECV]);
	histogram_merge(&laps, &recorder.histograms[STAGE_OPEN]);
	histogram_merge(&whole, &recorder.histograms[STAGE_RESIDENCE_UP]);
	cr_assert_leq(laps.sum, whole.sum);
	cr_assert(SHARDTUN_PROFILE == 0 || laps.sum > 0);
}

Test(stage, items_handled_at_once_count_one_by_one)
{
	static struct stage_recorder recorder;
	stage_recorder_init(&recorder, 1, NS_PER_S);
	stage_begin(&recorder);
	stage_lap_many(&recorder, STAGE_OPEN, 30);
	stage_end(&recorder, STAGE_RESIDENCE_UP, 30);
	struct histogram_sum each = {0}, whole = {0};
	histogram_merge(&each, &recorder.histograms[STAGE_OPEN]);
	histogram_merge(&whole, &recorder.histograms[STAGE_RESIDENCE_UP]);
	cr_assert_eq(each.count, SHARDTUN_PROFILE ? 30 : 0);
	cr_assert_leq(each.sum, whole.sum);
	cr_assert_leq(each.max * each.count, each.sum, "even shares");
}

Test(stage, what_came_before_the_batch_is_in_residence_since_then_and_what_leaves_it_is_not)
{
	static struct stage_recorder recorder;
	stage_recorder_init(&recorder, 1, NS_PER_S);
	recorder.invariant = false; /* so that ticks are ns */
	uint64_t before = stage_now(&recorder);
	stage_begin(&recorder);
	stage_leave(&recorder, STAGE_RESIDENCE_UP, 0);
	stage_leave(&recorder, STAGE_RESIDENCE_UP, 2);
	stage_began_before(&recorder, before - NS_PER_S);
	stage_end(&recorder, STAGE_RESIDENCE_UP, 3);
	struct histogram_sum residence = {0};
	histogram_merge(&residence, &recorder.histograms[STAGE_RESIDENCE_UP]);
	cr_assert_eq(residence.count, SHARDTUN_PROFILE ? 5 : 0);
	cr_assert(SHARDTUN_PROFILE == 0 || (residence.sum >= 3 * NS_PER_S && residence.sum < 5 * NS_PER_S));
}

Test(stage, cancelled_batch_is_sampled_again)
{
	static struct stage_recorder recorder;
	stage_recorder_init(&recorder, 64, NS_PER_S);
	stage_begin(&recorder);
	stage_cancel(&recorder);
	stage_lap(&recorder, STAGE_OPEN);
	cr_assert_eq(stage_count(&recorder, STAGE_OPEN), 0);
	run_batches(&recorder, 64);
	cr_assert_eq(stage_count(&recorder, STAGE_OPEN), SHARDTUN_PROFILE ? 1 : 0, "only the next one");
}

Test(stage, sampling_changes_while_batches_go_on)
{
	static struct stage_recorder recorder;
	stage_recorder_init(&recorder, 0, NS_PER_S);
	run_batches(&recorder, 10);
	cr_assert_eq(stage_count(&recorder, STAGE_OPEN), 0);
	stage_recorder_sample(&recorder, 1);
	run_batches(&recorder, 10);
	cr_assert_eq(stage_count(&recorder, STAGE_OPEN), SHARDTUN_PROFILE ? 10 : 0, "at once");
	stage_recorder_sample(&recorder, 4);
	run_batches(&recorder, 8);
	cr_assert_eq(stage_count(&recorder, STAGE_OPEN), SHARDTUN_PROFILE ? 12 : 0);
	stage_recorder_sample(&recorder, 0);
	run_batches(&recorder, 10);
	cr_assert_eq(stage_count(&recorder, STAGE_OPEN), SHARDTUN_PROFILE ? 12 : 0);
}

Test(stage, nothing_is_recorded_between_two_batches)
{
	static struct stage_recorder recorder;
	stage_recorder_init(&recorder, 1, NS_PER_S);
	stage_begin(&recorder);
	stage_end(&recorder, STAGE_RESIDENCE_UP, 1);
	stage_lap(&recorder, STAGE_LOOKUP);
	stage_end(&recorder, STAGE_RESIDENCE_UP, 1);
	cr_assert_eq(stage_count(&recorder, STAGE_LOOKUP), 0);
	cr_assert_eq(stage_count(&recorder, STAGE_RESIDENCE_UP), SHARDTUN_PROFILE ? 1 : 0);
}

static uint64_t faked_ns(const struct clock *clock)
{
	(void)clock;
	return 500 * NS_PER_S;
}

/* Two of three frames go on to the end; another thread read them 7 and 3 ms before the batch began, the clock of which
 * is the one that their stamps are of. */
Test(stage, residence_goes_back_to_the_stamp_of_another_thread)
{
	static struct stage_recorder recorder;
	static const struct clock clock = {.monotonic = faked_ns};
	uint64_t now = faked_ns(&clock);
	stage_recorder_init(&recorder, 1, NS_PER_S);
	recorder.invariant = false; /* so that ticks are ns */
	stage_begin(&recorder);
	stage_tie(&recorder, &clock);
	stage_arrived_at(&recorder, STAGE_RING_WAIT, now - 7 * NS_PER_MS);
	stage_keep(&recorder);
	stage_arrived_at(&recorder, STAGE_RING_WAIT, now - 5 * NS_PER_MS);
	stage_arrived_at(&recorder, STAGE_RING_WAIT, now - 3 * NS_PER_MS);
	stage_keep(&recorder);
	stage_lap(&recorder, STAGE_UDP_SEND);
	stage_end_kept(&recorder, STAGE_RESIDENCE_DOWN);

	struct histogram_sum wait = {0}, send = {0}, residence = {0};
	histogram_merge(&wait, &recorder.histograms[STAGE_RING_WAIT]);
	histogram_merge(&send, &recorder.histograms[STAGE_UDP_SEND]);
	histogram_merge(&residence, &recorder.histograms[STAGE_RESIDENCE_DOWN]);
	if (SHARDTUN_PROFILE == 0)
		return;
	cr_assert_eq(wait.count, 3);
	cr_assert_eq(wait.sum, 15 * NS_PER_MS);
	cr_assert_eq(wait.max, 7 * NS_PER_MS);
	cr_assert_eq(residence.count, 2);
	cr_assert_eq(residence.sum, 10 * NS_PER_MS + 2 * send.sum);
}

Test(stage, a_wait_of_another_clock_is_none_of_the_batch)
{
	static struct stage_recorder recorder;
	stage_recorder_init(&recorder, 1, 3 * NS_PER_S); /* three ticks a ns */
	stage_begin(&recorder);
	uint64_t last = recorder.last;
	stage_waited(&recorder, STAGE_SOCKET_WAIT, 10 * NS_PER_S);
	cr_expect_eq(recorder.last, last);
	struct histogram_sum wait = {0};
	histogram_merge(&wait, &recorder.histograms[STAGE_SOCKET_WAIT]);
	cr_expect_eq(wait.count, SHARDTUN_PROFILE ? 1 : 0);
	cr_expect_eq(wait.sum, SHARDTUN_PROFILE ? 30 * NS_PER_S : 0);
}

/* The reader's clock was read a little later than ours. */
Test(stage, stamp_of_the_future_waited_no_time)
{
	static struct stage_recorder recorder;
	static const struct clock clock = {.monotonic = faked_ns};
	stage_recorder_init(&recorder, 1, NS_PER_S);
	stage_begin(&recorder);
	stage_tie(&recorder, &clock);
	stage_arrived_at(&recorder, STAGE_RING_WAIT, faked_ns(&clock) + NS_PER_MS);
	stage_keep(&recorder);
	stage_end_kept(&recorder, STAGE_RESIDENCE_DOWN);
	struct histogram_sum wait = {0}, residence = {0};
	histogram_merge(&wait, &recorder.histograms[STAGE_RING_WAIT]);
	histogram_merge(&residence, &recorder.histograms[STAGE_RESIDENCE_DOWN]);
	cr_assert_eq(wait.count, SHARDTUN_PROFILE ? 1 : 0);
	cr_assert_eq(wait.sum + residence.sum, 0);
}

/* Also where the counter is good: a CPU without must not be needed to see the fall-back work. */
Test(stage, the_clock_stands_in_for_a_counter_that_is_not_invariant)
{
	static struct stage_recorder recorder;
	stage_recorder_init(&recorder, 1, NS_PER_S);
	cr_assert_eq(recorder.invariant, tsc_is_invariant());
	recorder.invariant = false;
	uint64_t before = clock_monotonic(&clock_system);
	stage_begin(&recorder);
	uint64_t after = clock_monotonic(&clock_system);
	cr_assert(SHARDTUN_PROFILE == 0 || (recorder.first >= before && recorder.first <= after));
}

Test(stage, initialising_again_forgets_everything)
{
	static struct stage_recorder recorder;
	stage_recorder_init(&recorder, 1, NS_PER_S);
	run_batches(&recorder, 10);
	stage_recorder_init(&recorder, 64, NS_PER_S);
	cr_assert_eq(stage_count(&recorder, STAGE_UDP_RECV), 0);
	cr_assert_eq(recorder.interval, 64);
}
