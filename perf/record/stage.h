// SPDX-License-Identifier: Apache-2.0
/* Per-stage cycle histograms of one data-path thread, fed by chained time stamps on sampled batches.
 *
 *   stage_begin(recorder);                       once per batch: decides whether this one is sampled
 *   ... receive ...   stage_lap(recorder, STAGE_UDP_RECV);     everything since the last stamp
 *   ... look up ...   stage_lap(recorder, STAGE_LOOKUP);
 *   stage_end(recorder, STAGE_RESIDENCE_UP, packets);          up to the last stamp
 *
 * Between stage_end() and the next stage_begin() nothing is recorded.
 *
 * Only the owning thread writes (relaxed atomics); any thread merges on demand. With PROFILE=0 both are empty: no time
 * stamp counter is read on the data path. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/bytes.h"
#include "core/base/owner.h"
#include "perf/record/histogram.h"
#include "perf/record/tsc.h"

#ifndef SHARDTUN_PROFILE
#define SHARDTUN_PROFILE 1
#endif

/* X(name, label, unit, text): what one recorded value stands for. */
#define STAGES(X)                                                                                                   \
	X(STAGE_SOCKET_WAIT, "socket_wait", "batch",                                                                \
	  "from the kernel's receipt of its oldest datagram to the receive call")                                   \
	X(STAGE_UDP_RECV, "udp_recv", "batch", "one receive system call")                                           \
	X(STAGE_LOOKUP, "lookup", "packet", "header checks, session and key")                                       \
	X(STAGE_OPEN, "open", "packet", "authenticate and decrypt")                                                 \
	X(STAGE_REPLAY, "replay", "packet", "replay window, endpoint, last-seen, inner checks")                     \
	X(STAGE_COALESCE, "coalesce", "packet", "verify checksum and merge")                                        \
	X(STAGE_TUN_WRITE, "tun_write", "super-packet", "one write system call")                                    \
	X(STAGE_TUN_READ, "tun_read", "super-packet", "one read system call")                                       \
	X(STAGE_DISPATCH, "dispatch", "super-packet", "TUN reader: destination to worker, into its ring")           \
	X(STAGE_RING_WAIT, "ring_wait", "super-packet", "from the TUN reader's read to the worker that takes it")   \
	X(STAGE_ROUTE, "route", "super-packet", "parse, destination to session, key")                               \
	X(STAGE_SEGMENT, "segment", "packet", "header and checksum of one segment")                                 \
	X(STAGE_SEAL, "seal", "packet", "encrypt into the send buffer")                                             \
	X(STAGE_UDP_SEND, "udp_send", "batch", "one send system call")                                              \
	X(STAGE_HANDSHAKE, "handshake", "packet", "one HELLO answered")                                             \
	X(STAGE_RESIDENCE_UP, "residence_up", "packet", "from the receive call to the last TUN write of its batch") \
	X(STAGE_RESIDENCE_DOWN, "residence_down", "super-packet",                                                   \
	  "from the TUN read, ring included, to the send of its batch")

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

/* False: a span that overlaps the work of other stages, or a wait. */
static inline bool stage_is_work(enum stage stage)
{
	return stage != STAGE_SOCKET_WAIT && stage != STAGE_RING_WAIT && stage != STAGE_RESIDENCE_UP &&
	       stage != STAGE_RESIDENCE_DOWN;
}

enum { STAGE_KEPT_MAX = 64 /* of a batch, whose residence is measured: as many as a downlink batch takes */ };

enum { STAGE_SAMPLING_MAX = 1000000 };

struct stage_recorder {
	/* owner only */
	uint64_t last;	    /* stamp before */
	uint64_t first;	    /* stamp at stage_begin */
	uint64_t first_ns;  /* the monotonic clock then: stage_tie */
	uint64_t arrived;   /* stamp: when the packets in work came in */
	uint32_t countdown; /* batches until the next sampled one */
	bool sampled;	    /* this batch is */
	bool invariant;	    /* stamps are of the time stamp counter */
	uint64_t ticks_per_ms;
	uint32_t kept;
	uint64_t arrivals[STAGE_KEPT_MAX]; /* of those kept */
	/* written by the control thread */
	_Atomic uint32_t interval; /* one batch in this many is sampled; 0: none */
	/* written by the owner, read by any thread */
	struct histogram histograms[STAGE_COUNT] CACHE_ALIGNED;
	struct owner owner;
};

/* `interval`: 1 samples every batch, 64 is the default elsewhere, 0 none. `ticks_per_second`: as calibrated. Before the
 * owner starts. */
void stage_recorder_init(struct stage_recorder *recorder, uint32_t interval, uint64_t ticks_per_second);

/* Samples one batch in `interval` from the next sampled batch on; 0: none. Any thread, while the owner runs. */
void stage_recorder_sample(struct stage_recorder *recorder, uint32_t interval);

#if SHARDTUN_PROFILE

/* Ticks: of the counter, or ns of the clock that stands in for one that does not run at one rate. */
static inline uint64_t stage_now(const struct stage_recorder *recorder)
{
	return likely(recorder->invariant) ? tsc_now() : clock_monotonic(&clock_system);
}

/* Begins a batch, and decides whether it is sampled. */
static inline void stage_begin(struct stage_recorder *recorder)
{
	owner_check(&recorder->owner, "stage histograms");
	recorder->sampled = false;
	if (recorder->countdown > 1) {
		recorder->countdown--;
		return;
	}
	uint32_t interval = atomic_load_explicit(&recorder->interval, memory_order_relaxed);
	if (interval != 0) {
		recorder->countdown = interval;
		recorder->sampled = true;
		recorder->kept = 0;
		recorder->first = recorder->last = stage_now(recorder);
	}
}

/* Ties the batch to a clock, so that stamps of another thread can be compared with its own. Right after stage_begin().
 */
static inline void stage_tie(struct stage_recorder *recorder, const struct clock *clock)
{
	owner_check(&recorder->owner, "stage histograms");
	if (unlikely(recorder->sampled))
		recorder->first_ns = clock_monotonic(clock);
}

/* Ends a stage that handled `count` items at once: each is recorded with an equal share of the time. */
static inline void stage_lap_many(struct stage_recorder *recorder, enum stage stage, uint32_t count)
{
	owner_check(&recorder->owner, "stage histograms");
	if (unlikely(recorder->sampled)) {
		uint64_t now = stage_now(recorder);
		histogram_record_many(&recorder->histograms[stage], (now - recorder->last) / count, count);
		recorder->last = now;
	}
}

static inline void stage_lap(struct stage_recorder *recorder, enum stage stage)
{
	stage_lap_many(recorder, stage, 1);
}

/* Discards the time since the last stamp: work that belongs to no stage. */
static inline void stage_skip(struct stage_recorder *recorder)
{
	owner_check(&recorder->owner, "stage histograms");
	if (unlikely(recorder->sampled))
		recorder->last = stage_now(recorder);
}

/* Ends a batch that turned out to be empty: the next one is sampled in its place. */
static inline void stage_cancel(struct stage_recorder *recorder)
{
	owner_check(&recorder->owner, "stage histograms");
	if (unlikely(recorder->sampled)) {
		recorder->sampled = false;
		recorder->countdown = 1;
	}
}

/* The packets of the batch came in at `stamp` (stage_now()), before it began. */
static inline void stage_began_before(struct stage_recorder *recorder, uint64_t stamp)
{
	owner_check(&recorder->owner, "stage histograms");
	if (unlikely(recorder->sampled))
		recorder->first = stamp;
}

/* The packets handled from here on came in with the current stage. */
static inline void stage_arrived(struct stage_recorder *recorder)
{
	owner_check(&recorder->owner, "stage histograms");
	if (unlikely(recorder->sampled))
		recorder->arrived = recorder->last;
}

/* The packets handled from here on came in when the batch began. */
static inline void stage_arrived_first(struct stage_recorder *recorder)
{
	owner_check(&recorder->owner, "stage histograms");
	if (unlikely(recorder->sampled))
		recorder->arrived = recorder->first;
}

/* The same for packets that another thread stamped at `ns` and handed over; the time since then is recorded as stage
 * `wait`. The batch is tied to the clock of that stamp. */
static inline void stage_arrived_at(struct stage_recorder *recorder, enum stage wait, uint64_t ns)
{
	owner_check(&recorder->owner, "stage histograms");
	if (unlikely(recorder->sampled)) {
		int64_t before = (int64_t)(recorder->first_ns - ns);
		recorder->arrived = recorder->first - (uint64_t)(before * (int64_t)recorder->ticks_per_ms / 1000000);
		if ((int64_t)(recorder->last - recorder->arrived) < 0)
			recorder->arrived = recorder->last; /* the clocks' rounding */
		histogram_record(&recorder->histograms[wait], recorder->last - recorder->arrived);
	}
}

/* Records a wait of `ns`, seconds at most, that another clock measured. It has a sampling of its own, and is no time of
 * the batch. */
static inline void stage_waited(struct stage_recorder *recorder, enum stage wait, uint64_t ns)
{
	owner_check(&recorder->owner, "stage histograms");
	histogram_record(&recorder->histograms[wait], ns * recorder->ticks_per_ms / NS_PER_MS);
}

/* The packet stays in the batch to its end: its residence is recorded. */
static inline void stage_keep(struct stage_recorder *recorder)
{
	owner_check(&recorder->owner, "stage histograms");
	if (unlikely(recorder->sampled) && recorder->kept < STAGE_KEPT_MAX)
		recorder->arrivals[recorder->kept++] = recorder->arrived;
}

/* Ends the batch; the packets kept for it left with it. */
static inline void stage_end_kept(struct stage_recorder *recorder, enum stage residence)
{
	owner_check(&recorder->owner, "stage histograms");
	if (unlikely(recorder->sampled)) {
		for (uint32_t i = 0; i < recorder->kept; i++)
			histogram_record(&recorder->histograms[residence], recorder->last - recorder->arrivals[i]);
		recorder->sampled = false;
	}
}

/* `count` items of the batch left it; they were in it from its beginning. */
static inline void stage_leave(struct stage_recorder *recorder, enum stage residence, uint32_t count)
{
	owner_check(&recorder->owner, "stage histograms");
	if (unlikely(recorder->sampled) && count != 0)
		histogram_record_many(&recorder->histograms[residence], recorder->last - recorder->first, count);
}

/* Ends the batch; `count` items were in it from beginning to end. */
static inline void stage_end(struct stage_recorder *recorder, enum stage residence, uint32_t count)
{
	stage_leave(recorder, residence, count);
	recorder->sampled = false;
}

#else

#define STAGE_NOTHING(name, ...)                                         \
	static inline void name(struct stage_recorder *r, ##__VA_ARGS__) \
	{                                                                \
		(void)r;                                                 \
	}
STAGE_NOTHING(stage_begin)
STAGE_NOTHING(stage_tie, const struct clock *clock __attribute__((unused)))
STAGE_NOTHING(stage_lap_many, enum stage stage __attribute__((unused)), uint32_t count __attribute__((unused)))
STAGE_NOTHING(stage_lap, enum stage stage __attribute__((unused)))
STAGE_NOTHING(stage_skip)
STAGE_NOTHING(stage_cancel)
STAGE_NOTHING(stage_began_before, uint64_t stamp __attribute__((unused)))
STAGE_NOTHING(stage_arrived)
STAGE_NOTHING(stage_arrived_first)
STAGE_NOTHING(stage_arrived_at, enum stage wait __attribute__((unused)), uint64_t ns __attribute__((unused)))
STAGE_NOTHING(stage_waited, enum stage wait __attribute__((unused)), uint64_t ns __attribute__((unused)))
STAGE_NOTHING(stage_keep)
STAGE_NOTHING(stage_end_kept, enum stage residence __attribute__((unused)))
STAGE_NOTHING(stage_leave, enum stage residence __attribute__((unused)), uint32_t count __attribute__((unused)))
STAGE_NOTHING(stage_end, enum stage residence __attribute__((unused)), uint32_t count __attribute__((unused)))
#undef STAGE_NOTHING
static inline uint64_t stage_now(const struct stage_recorder *r)
{
	(void)r;
	return 0;
}

#endif
