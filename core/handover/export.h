// SPDX-License-Identifier: Apache-2.0
/* Writes the sessions of a gateway, and what belongs to them, for another process: core/handover/format.h. The first
 * part while it serves, in portions; the second when its data path stands still. The control thread, online under RCU.
 *
 *   handover_export_begin      from here on no handshake makes a session, or gives one new keys
 *   handover_export_sessions   of each worker in turn, while it stands still for a moment
 *   handover_export_finish     the registry holds still from here on: what has ended keeps its ID and its address
 *   handover_export_moved      the data path stands still
 *   handover_export_end
 *
 * What is written is found again by its place, without a lookup, and what did not move since is not written twice. */
#pragma once

#include "core/handover/memory.h"
#include "core/handover/moving.h"
#include "core/handover/writer.h"
#include "core/sessions/registry.h"
#include "crypto/cookie.h"
#include "perf/record/stats.h"

/* Of a portion, for which a worker stands still. */
enum {
	HANDOVER_PORTION = 64,		   /* sessions */
	HANDOVER_PORTION_SLOTS = 16 << 10, /* of the table, most of them free */
};

#define HANDOVER_NO_SLOT UINT32_MAX

struct handover_usage_trace;

struct handover_export {
	struct registry *registry;
	const struct cookie_jar *jar;
	struct handover_memory memory;
	struct handover_writer writer;
	struct handover_trace *traces; /* of each session, in the order of their records; heap */
	size_t count, room;
	struct handover_usage_trace *usages; /* by their numbers; heap */
	uint32_t usage_count;
	uint8_t *written; /* a bit for each slot of the table whose session has a record; heap */
	uint32_t taken;	  /* slots, by all workers: no session came */
	bool held;	  /* the registry */
	struct error error;
};

/* 0 or a negative errno with `export->error` set; handover_export_end() is due in both cases, as for the others. */
int handover_export_begin(struct handover_export *export, struct registry *registry, const struct cookie_jar *jar);

/* Has memory for the next portion, so that the worker stands still for less time. As above. */
int handover_export_prepare(struct handover_export *export);

/* Writes a portion of a worker's sessions, from this slot of the table on: at first the worker's number. No thread
 * changes its sessions meanwhile; what others had given it is done. Returns the slot to go on with; HANDOVER_NO_SLOT:
 * it has no other, or `writer.result` is not 0: -EAGAIN, a session was replaced between two portions, and the export
 * has to begin anew. */
uint32_t handover_export_sessions(struct handover_export *export, uint32_t slot);

/* Writes the rest of the first part and seals the memory, whose word is HANDOVER_OLD. `now`: monotonic ns. As above. */
int handover_export_finish(struct handover_export *export, uint64_t now);

struct handover_now {
	const struct stats_snapshot *totals;
	uint64_t now, frozen; /* monotonic ns: now, and since when the data path stands still */
};

/* Writes the second part. No other thread changes sessions, registry or usage. What waits in queues is not written. As
 * above; -EBUSY: there is a session or a key that there was not. */
int handover_export_moved(struct handover_export *export, const struct handover_now *now);

/* Frees what there is; the registry goes on. `wiped`: what was written is overwritten, since no
 * other process has it. */
void handover_export_end(struct handover_export *export, bool wiped);
