// SPDX-License-Identifier: Apache-2.0
/* What `shardtunctl top` costs the control thread of a gateway with 100,000 and a million sessions that are all busy:
 * the longest step of a pass, all its steps, and an answer of 40 and of 1000 sessions. Medians of 21 passes. */
#include <sodium.h>
#include <stdarg.h>

#include "core/gateway/top.h"
#include "core/sessions/peer.h"
#include "perf/bench/micro/micro.h"

enum { STEPS_MOST = 100, PASSES = 21, MIDDLE = PASSES / 2 };

struct bench {
	struct session_table table;
	struct session *sessions;
	struct gateway_top *top;
	uint64_t now; /* fake */
};

/* In another order than that of their slots, as life has it. */
static void fill(struct bench *bench, uint32_t count)
{
	static struct peer peer;
	bench->sessions = aligned_alloc(CACHE_LINE, count * sizeof *bench->sessions);
	if (bench->sessions == NULL || session_table_init(&bench->table, count, 1) != 0)
		abort();
	memset(bench->sessions, 0, count * sizeof *bench->sessions);
	for (uint32_t i = 0; i < count; i++) {
		struct session *session = &bench->sessions[(uint64_t)i * 7919 % count]; /* prime to both counts */
		session->id = session_table_take(&bench->table, 0);
		session->peer = &peer;
		session_set_active(session);
		session_table_insert(&bench->table, session);
	}
}

static void be_busy(struct bench *bench, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		session_count(&bench->sessions[i].view.rx_bytes, randombytes_uniform(1 << 20));
		session_count(&bench->sessions[i].view.tx_packets, 1000);
	}
}

static uint64_t number_seen(struct bench *bench)
{
	json_t *answer = gateway_top_answer(bench->top, TOP_BITS, 0, bench->now);
	uint64_t seen = (uint64_t)json_integer_value(json_object_get(answer, "seen"));
	json_decref(answer);
	return seen;
}

static PRINTF_LIKE(3, 4) void line(uint64_t ticks, const struct tsc_calibration *tsc, const char *format, ...)
{
	char name[64];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(name, sizeof name, format, arguments);
	va_end(arguments);
	micro_line(name, tsc_to_ns(tsc, (double)ticks), (double)ticks);
}

static void time_passes(struct bench *bench, uint32_t count, const struct tsc_calibration *tsc)
{
	uint64_t longest[PASSES], whole[PASSES];
	for (int pass = 0; pass < PASSES; pass++) {
		be_busy(bench, count);
		bench->now += NS_PER_S;
		(void)number_seen(bench); /* a reader is still asking */
		longest[pass] = whole[pass] = 0;
		for (int step = 0; step < STEPS_MOST; step++) {
			uint64_t start = tsc_now();
			gateway_top_step(bench->top, bench->now);
			uint64_t took = tsc_now() - start;
			whole[pass] += took;
			longest[pass] = took > longest[pass] ? took : longest[pass];
		}
	}
	if (number_seen(bench) != count)
		abort();
	qsort(longest, PASSES, sizeof *longest, micro_compare);
	qsort(whole, PASSES, sizeof *whole, micro_compare);
	line(longest[MIDDLE], tsc, "top, %u sessions, longest step", count);
	line(whole[MIDDLE], tsc, "top, %u sessions, all steps of a pass", count);
}

static void time_answer(struct bench *bench, uint32_t wanted, const struct tsc_calibration *tsc)
{
	uint64_t times[PASSES];
	for (int i = 0; i < PASSES; i++) {
		uint64_t start = tsc_now();
		json_decref(gateway_top_answer(bench->top, TOP_BITS, wanted, bench->now));
		times[i] = tsc_now() - start;
	}
	qsort(times, PASSES, sizeof *times, micro_compare);
	line(times[MIDDLE], tsc, "top, an answer of %u of them", wanted);
}

int main(void)
{
	static const uint32_t counts[] = {100000, 1000000};
	struct tsc_calibration tsc = tsc_calibrate();
	if (sodium_init() < 0)
		abort();
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		struct bench bench = {.now = 100 * NS_PER_S};
		struct error error;
		fill(&bench, counts[i]);
		bench.top = gateway_top_new(&bench.table, &error);
		if (bench.top == NULL)
			abort();
		(void)number_seen(&bench); /* a first request starts it */
		time_passes(&bench, counts[i], &tsc);
		time_answer(&bench, 40, &tsc);
		time_answer(&bench, TOP_SESSIONS, &tsc);
		gateway_top_free(bench.top);
		session_table_deinit(&bench.table);
		free(bench.sessions);
	}
	return 0;
}
