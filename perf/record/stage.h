// SPDX-License-Identifier: Apache-2.0
/* Per-stage cycle histograms of one data-path thread, fed by chained time stamps on sampled batches.
 *
 *   stage_begin(recorder);                       once per batch: decides whether this one is sampled
 *   ... receive ...   stage_lap(recorder, STAGE_UDP_RECV);     everything since the last stamp
 *   ... look up ...   stage_lap(recorder, STAGE_LOOKUP);
 *
 * Only the owning thread writes (relaxed atomics), anybody merges on demand. With PROFILE=0 both are empty: no time
 * stamp counter is read on the data path. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/bytes.h"
#include "perf/record/histogram.h"
#include "perf/record/tsc.h"

#ifndef SHARDTUN_PROFILE
#define SHARDTUN_PROFILE 1
#endif

/* X(name, label, unit, text): what one recorded value stands for. */
#define STAGES(X)                                                                                         \
	X(STAGE_UDP_RECV, "udp_recv", "batch", "one receive system call")                                 \
	X(STAGE_LOOKUP, "lookup", "packet", "header checks, session and key")                             \
	X(STAGE_OPEN, "open", "packet", "authenticate and decrypt")                                       \
	X(STAGE_REPLAY, "replay", "packet", "replay window, endpoint, last-seen, inner checks")           \
	X(STAGE_COALESCE, "coalesce", "packet", "verify checksum and merge")                              \
	X(STAGE_TUN_WRITE, "tun_write", "super-packet", "one write system call")                          \
	X(STAGE_TUN_READ, "tun_read", "super-packet", "one read system call")                             \
	X(STAGE_DISPATCH, "dispatch", "super-packet", "TUN reader: destination to worker, into its ring") \
	X(STAGE_RING_WAIT, "ring_wait", "super-packet", "waiting between TUN reader and worker")          \
	X(STAGE_ROUTE, "route", "super-packet", "parse, destination to session, key")                     \
	X(STAGE_SEGMENT, "segment", "packet", "header and checksum of one segment")                       \
	X(STAGE_SEAL, "seal", "packet", "encrypt into the send buffer")                                   \
	X(STAGE_UDP_SEND, "udp_send", "batch", "one send system call")                                    \
	X(STAGE_HANDSHAKE, "handshake", "packet", "one HELLO answered")                                   \
	X(STAGE_RESIDENCE_UP, "residence_up", "batch", "from receive to the last write of a batch")       \
	X(STAGE_RESIDENCE_DOWN, "residence_down", "batch", "from TUN read to the send of a batch")

enum stage {
#define X(name, label, unit, text) name,
	STAGES(X)
#undef X
		STAGE_COUNT,
};

struct stage_info {
	const char *label;
	const char *unit;
	const char *text;
};
extern const struct stage_info stage_infos[STAGE_COUNT];

struct stage_recorder {
	/* owner only */
	uint64_t last;	    /* stamp before */
	uint64_t first;	    /* stamp at stage_begin */
	uint32_t countdown; /* batches until the next sampled one */
	uint32_t interval;  /* one batch in this many is sampled; 0: none */
	bool sampled;	    /* this batch is */
	uint64_t ticks_per_ms;
	/* written by the owner, read by anybody */
	struct histogram histograms[STAGE_COUNT] CACHE_ALIGNED;
};

/* `interval`: 1 samples every batch, 64 is the default elsewhere, 0 none. `ticks_per_second`: of tsc_now(). Before the
 * owner starts. */
void stage_recorder_init(struct stage_recorder *recorder, uint32_t interval, uint64_t ticks_per_second);

static inline void stage_begin(struct stage_recorder *recorder)
{
#if SHARDTUN_PROFILE
	recorder->sampled = false;
	if (recorder->countdown > 1) {
		recorder->countdown--;
	} else if (recorder->interval != 0) {
		recorder->countdown = recorder->interval;
		recorder->sampled = true;
		recorder->first = recorder->last = tsc_now();
	}
#else
	(void)recorder;
#endif
}

static inline void stage_lap(struct stage_recorder *recorder, enum stage stage)
{
#if SHARDTUN_PROFILE
	if (unlikely(recorder->sampled)) {
		uint64_t now = tsc_now();
		histogram_record(&recorder->histograms[stage], now - recorder->last);
		recorder->last = now;
	}
#else
	(void)recorder, (void)stage;
#endif
}

/* The same for a stage that handled `count` items at once: each counts with its even share. */
static inline void stage_lap_many(struct stage_recorder *recorder, enum stage stage, uint32_t count)
{
#if SHARDTUN_PROFILE
	if (unlikely(recorder->sampled)) {
		uint64_t now = tsc_now();
		histogram_record_many(&recorder->histograms[stage], (now - recorder->last) / count, count);
		recorder->last = now;
	}
#else
	(void)recorder, (void)stage, (void)count;
#endif
}

/* Records a time that was measured otherwise, in ns. */
static inline void stage_note_ns(struct stage_recorder *recorder, enum stage stage, uint64_t ns)
{
#if SHARDTUN_PROFILE
	if (unlikely(recorder->sampled))
		histogram_record(&recorder->histograms[stage], ns * recorder->ticks_per_ms / 1000000);
#else
	(void)recorder, (void)stage, (void)ns;
#endif
}

/* Ends a batch that turned out to be empty: the next one is sampled in its place. */
static inline void stage_cancel(struct stage_recorder *recorder)
{
#if SHARDTUN_PROFILE
	if (unlikely(recorder->sampled)) {
		recorder->sampled = false;
		recorder->countdown = 1;
	}
#else
	(void)recorder;
#endif
}

/* Throws away the time since the last stamp: work that belongs to no stage. */
static inline void stage_skip(struct stage_recorder *recorder)
{
#if SHARDTUN_PROFILE
	if (unlikely(recorder->sampled))
		recorder->last = tsc_now();
#else
	(void)recorder;
#endif
}

/* Records the whole time since stage_begin(); the chain goes on. */
static inline void stage_end(struct stage_recorder *recorder, enum stage residence)
{
#if SHARDTUN_PROFILE
	if (unlikely(recorder->sampled))
		histogram_record(&recorder->histograms[residence], tsc_now() - recorder->first);
#else
	(void)recorder, (void)residence;
#endif
}
