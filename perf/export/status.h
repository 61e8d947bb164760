// SPDX-License-Identifier: Apache-2.0
/* The report about a running daemon, as JSON (jansson): the results of the control socket's "status" and
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
struct status_thread {
	const char *name;   /* "worker 0" */
	int cpu;	    /* the only one that it may run on now; -1: it may run on several */
	const char *cpus;   /* those that it may run on now, "0-3,8"; NULL: unknown */
	const char *policy; /* of the scheduler, "other"; with the next two as it started; NULL: unknown */
	int nice;
	uint64_t slice;			     /* ns; 0: the kernel has none for single threads */
	double load;			     /* part of a CPU that it used in the last second */
	uint64_t cpu_time;		     /* ns */
	int64_t allocated;		     /* bytes that it ever asked the allocator for; -1: unknown */
	const struct stats *stats;	     /* NULL: it has none */
	const struct stage_recorder *stages; /* NULL: it has none */
};

struct status_offload {
	const char *name; /* as in the configuration: "tun_tso" */
	bool on;	  /* in force, not only wished */
};

struct status_suite {
	const char *name;    /* "AES-256-GCM" */
	const char *backend; /* "ipsec-mb/avx512" */
};

/* A kind of what this end set up on the machine, and keeps as it should be. */
struct status_kept {
	const char *label; /* "route" */
	bool wanted;	   /* else there is nothing of it to keep now */
	bool in_force;	   /* as the last comparison saw it */
	uint64_t restored; /* things put back so far */
	char trouble[128]; /* why it is not in force; "" */
};

/* What becomes of packets that the machine forwards for clients. */
struct status_forward {
	bool watched;	      /* else nothing is known */
	bool blocked;	      /* others drop (nearly) all of one kind of them */
	char blocked_by[160]; /* "ip filter FORWARD"; "unknown"; "" */
	uint64_t offered;     /* packets, so far */
	uint64_t dropped;     /* of those, by firewalls of others */
};

/* The gateway's part of a cluster. */
struct status_cluster {
	const char *node;	     /* its name; NULL: it is alone */
	uint64_t blocks;	     /* that it serves now */
	uint64_t map_ipv4, map_ipv6; /* blocks whose owner, another gateway, is known by an address of the family */
	uint64_t map_left_out;	     /* entries of the agent's map that are no other gateway's */
	uint64_t fences;	     /* how often blocks were lost because their deadline was past */
	uint64_t malformed, forged, late, repeated; /* FORWARDs that were not taken, so far */
};

/* Packets and super-packets that the kernel dropped at the interface; -1: unknown. A super-packet counts once. */
struct status_interface_drops {
	int64_t tx; /* were to be read from it: mostly its queue was full */
	int64_t rx; /* were written to it; what the write itself reported is among the drops as "tun_write" too */
};

/* Everything is borrowed for the time of the call. Texts are UTF-8 and never NULL, `tsc` is calibrated; an array may be
 * NULL when its count is 0. */
struct status_source {
	const char *role; /* "gateway" or "client" */
	uint64_t uptime;  /* ns */

	const char *interface;
	unsigned mtu; /* of the interface */
	struct status_interface_drops interface_drops;
	const char *const *addresses; /* its addresses with prefix length */
	size_t address_count;

	const char *const *listen; /* "[::]:5555" */
	size_t listen_count;

	const struct status_thread *threads;
	size_t thread_count;

	const struct status_offload *offloads;
	size_t offload_count;
	const struct status_suite *suites;
	size_t suite_count;

	const struct status_kept *kept;
	size_t kept_count;
	struct status_forward forward;
	struct status_cluster cluster;

	struct {
		uint64_t active;
		uint64_t wireguard; /* of the active ones, those that speak WireGuard */
		uint64_t max;	    /* 0: no limit of its own (the client) */
	} sessions;
	struct {
		uint64_t used;
		uint64_t size; /* 0: there is no pool (the client) */
	} pool;
	struct {
		uint64_t peers; /* that have a quota; 0: there is none (the client) */
		uint64_t over;	/* that have used it up */
	} quotas;
	struct {
		uint64_t shardtun, wireguard; /* configured, by the protocol that they speak; both 0: the client */
	} peers;
	struct {
		uint64_t receive_buffer; /* bytes, each socket, as the kernel granted them */
		uint64_t send_buffer;
		uint64_t wanted_buffer; /* bytes, as configured */
		/* datagrams lost to full receive queues or shares of them, all sockets (SO_MEMINFO); -1 unknown */
		int64_t queue_overflows;
	} udp;

	/* How this process came to its sessions; 0: not by a take-over from another one. */
	struct {
		uint64_t wait; /* for how long packets waited then, ns */
		uint64_t sessions;
	} takeover;

	uint64_t log_dropped; /* lines lost because the log was not read in time */

	struct tsc_calibration tsc;
	uint32_t stage_sampling; /* one batch in so many is timed; 0 none */
};

/* What is done with a description: the source is alive during the call only. */
typedef void status_use_fn(void *context, const struct status_source *source);

/* Version, role, uptime, interface, sockets, sums of the counters, drops by reason, and the same per thread. The caller
 * owns the object; NULL: no memory. Any one thread. */
json_t *status_json(const struct status_source *source);

/* Per stage the quantiles over all threads in ns and ticks, and its share of the time that the sampled batches spent
 * working (waiting and whole residences have none: null); `raw`: the buckets as well, from which perf/export/stages.h
 * makes the difference of two reports. The caller owns the object; NULL: no memory. Any one thread. */
json_t *status_stages(const struct status_source *source);
json_t *status_stages_raw(const struct status_source *source);

/* One stage over all threads. Any one thread. */
void status_merge_stage(const struct status_source *source, enum stage stage, struct histogram_sum *sum);
