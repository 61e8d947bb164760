// SPDX-License-Identifier: Apache-2.0
/* What a running daemon says about itself, as JSON (jansson): the results of the control socket's "status" and
 * "stages".
 *
 * The caller describes itself by a plain struct; counters and histograms are read where they stand, with relaxed loads,
 * while their owners go on writing. The caller adds what only it knows (a list of sessions, a client's gateway) to the
 * object it gets. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "perf/record/stage.h"
#include "perf/record/stats.h"
#include "perf/record/tsc.h"

/* One data-path thread. */
struct report_thread {
	const char *name;		     /* "worker 0" */
	int cpu;			     /* where it is pinned; -1: it floats */
	double load;			     /* part of a CPU that it used in the last second */
	uint64_t cpu_time;		     /* ns */
	int64_t allocated;		     /* bytes that it ever asked the allocator for; -1: unknown */
	const struct stats *stats;	     /* NULL: it has none */
	const struct stage_recorder *stages; /* NULL: it has none */
};

struct report_offload {
	const char *name; /* as in the configuration: "tun_tso" */
	bool on;	  /* in force, not only wished */
};

struct report_suite {
	const char *name;    /* "AES-256-GCM" */
	const char *backend; /* "ipsec-mb/avx512" */
};

/* A kind of what this end set up on the machine, and keeps as it should be. */
struct report_kept {
	const char *label; /* "route" */
	bool wanted;	   /* else there is nothing of it to keep now */
	bool in_force;	   /* as the last comparison saw it */
	uint64_t restored; /* things put back so far */
	char trouble[128]; /* why it is not in force; "" */
};

/* What becomes of packets that the machine forwards for clients. */
struct report_forward {
	bool watched;	      /* else nothing is known */
	bool blocked;	      /* others drop (nearly) all of one kind of them */
	char blocked_by[160]; /* "ip filter FORWARD"; "unknown"; "" */
	uint64_t offered;     /* packets, so far */
	uint64_t dropped;     /* of those, by firewalls of others */
};

/* Everything is borrowed for the time of the call. Texts are UTF-8 and never NULL, `tsc` is calibrated; an array may be
 * NULL when its count is 0. */
struct report_source {
	const char *role; /* "gateway" or "client" */
	uint64_t uptime;  /* ns */

	const char *interface;
	unsigned mtu;		      /* of the interface */
	const char *const *addresses; /* its addresses with prefix length */
	size_t address_count;

	const char *const *listen; /* "[::]:5555" */
	size_t listen_count;

	const struct report_thread *threads;
	size_t thread_count;

	const struct report_offload *offloads;
	size_t offload_count;
	const struct report_suite *suites;
	size_t suite_count;

	const struct report_kept *kept;
	size_t kept_count;
	struct report_forward forward;

	struct {
		uint64_t active;
		uint64_t max; /* 0: no limit of its own (the client) */
	} sessions;
	struct {
		uint64_t used;
		uint64_t size; /* 0: there is no pool (the client) */
	} pool;
	struct {
		uint64_t receive_buffer; /* bytes, each socket, as the kernel granted them */
		uint64_t send_buffer;
		uint64_t wanted_buffer;	 /* bytes, as configured */
		int64_t queue_overflows; /* datagrams lost to full receive queues, all sockets (SO_MEMINFO); -1 unknown
					  */
	} udp;

	uint64_t log_dropped; /* lines that nobody read in time */

	struct tsc_calibration tsc;
	uint32_t stage_sampling; /* one batch in so many is timed; 0 none */
};

/* Version, role, uptime, interface, sockets, sums of the counters, drops by reason, and the same per thread. The caller
 * owns the object; NULL: no memory. Any one thread. */
json_t *report_status(const struct report_source *source);

/* Per stage the quantiles over all threads in ns and ticks, and its share of the time that the sampled batches spent
 * working (waiting and whole residences have none: null); `raw`: the buckets as well, from which perf/export/stages.h
 * makes the difference of two reports. The caller owns the object; NULL: no memory. Any one thread. */
json_t *report_stages(const struct report_source *source);
json_t *report_stages_raw(const struct report_source *source);

/* One stage over all threads. Any one thread. */
void report_merge_stage(const struct report_source *source, enum stage stage, struct histogram_sum *sum);
