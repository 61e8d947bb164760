// SPDX-License-Identifier: Apache-2.0
/* A client of etcd 3.4 over its JSON gateway (libcurl): ranges, transactions, leases and watches, all without blocking,
 * on one thread, in etcd_run().
 *
 * Endpoints take turns: one that refuses, does not answer in time or has no leader is left, and a request that cannot
 * have been carried out, or may be carried out twice, is sent to the next one within its time limit. Ranges are
 * linearizable: an etcd that is cut off from its majority does not answer them.
 *
 * With User the client fetches a token before its first request, and a new one when etcd no longer takes the old one
 * (also where a watch says "permission denied", which is what etcd 3.4 says of an expired token). The JSON gateway does
 * not take the name in a TLS certificate for a user. */
#pragma once

#include <poll.h>

#include "core/agent/etcd_json.h"
#include "core/base/clock.h"

enum {
	ETCD_ENDPOINTS_MAX = 9,
	ETCD_TRY_MS = 600,	     /* of one endpoint, unless a request has another limit */
	ETCD_CONNECT_MS = 400,	     /* of that, TCP and TLS */
	ETCD_ANSWER_MAX = 256 << 20, /* bytes; a page of peers has a few MB */
	ETCD_NOT_FOUND = 5,	     /* gRPC's code of a lease that is gone */
};

/* Borrowed until etcd_free(). */
struct etcd_params {
	const char *endpoints[ETCD_ENDPOINTS_MAX]; /* "https://host:port" */
	size_t endpoint_count;
	const char *ca, *cert, *key; /* paths; NULL: those of the system, none, none */
	const char *user, *password; /* NULL: none */
	const struct clock *clock;
};

/* Why a try failed: the name of its counter. */
#define ETCD_FAILURES_LIST(X)                                           \
	X(ETCD_NO_CONNECTION, "connection") /* none, or it broke */     \
	X(ETCD_LATE, "time")		    /* no answer in time */     \
	X(ETCD_NO_LEADER, "leader")	    /* or no time, says etcd */ \
	X(ETCD_REFUSED, "refused")	    /* by etcd */
enum etcd_failure {
#define ETCD_FAILURE(name, text) name,
	ETCD_FAILURES_LIST(ETCD_FAILURE)
#undef ETCD_FAILURE
		ETCD_FAILURES,
};

/* Counts of answers by their latency: in at most so many ms, and not in one less. The last one: in more than all. */
#define ETCD_LATENCY_MS 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000
enum { ETCD_LATENCIES = 11 };

/* Of all requests since the start. */
struct etcd_counters {
	uint64_t requests; /* tries */
	uint64_t failures[ETCD_FAILURES];
	uint64_t moves;	      /* from one endpoint to the next */
	uint64_t answers;     /* tries that were answered, also by a refusal */
	uint64_t latency_sum; /* ns, of these */
	uint64_t latency_counts[ETCD_LATENCIES];
};

/* Passed to the function of a request, and valid during the call. */
struct etcd_answer {
	int code;	   /* 0; -ETIMEDOUT, -EIO: no answer; -EREMOTEIO: etcd refused; -ECANCELED: etcd_free() */
	bool unknown;	   /* of a failure: the request may have been, or still be, carried out */
	unsigned grpc;	   /* -EREMOTEIO: gRPC's code, e.g. ETCD_NOT_FOUND */
	const char *text;  /* of a failure, one line */
	uint64_t sent;	   /* monotonic ns, before the first byte of the answered try was sent */
	uint64_t revision; /* of the store; 0: unknown */
	json_t *body;
};

/* Called once for each request, from within etcd_run() or etcd_free(). May begin requests. */
typedef void etcd_done_fn(void *context, const struct etcd_answer *answer);

struct etcd;
struct etcd_watch;

/* Whether the files can be opened, and others cannot read the key. 0, or a negative errno with `error`. */
int etcd_check_files(const struct etcd_params *params, struct error *error);

/* NULL with `error`: no memory, or a file cannot be used. Connects to nothing yet. */
struct etcd *etcd_new(const struct etcd_params *params, struct error *error);

/* Ends all requests with -ECANCELED; watches just end. NULL is allowed. */
void etcd_free(struct etcd *etcd);

/* Waits for the requests, for `count` further descriptors and for so long at most, then does what is to be done. 0, or
 * a negative errno. */
int etcd_run(struct etcd *etcd, struct pollfd *polled, unsigned count, int timeout_ms);

const struct etcd_counters *etcd_counters(const struct etcd *etcd);

/* Requests. Each is tried for `limit_ms` in all, at one endpoint for `try_ms` (0: ETCD_TRY_MS). -ENOMEM, or what a
 * transaction's `failed` was: then the function is not called. */
int etcd_range(struct etcd *etcd, const struct etcd_range *range, unsigned try_ms, unsigned limit_ms,
	       etcd_done_fn *done, void *context);

/* Takes the transaction apart, also on failure. One that only reads is sent again where its answer was lost. */
int etcd_txn(struct etcd *etcd, struct etcd_txn *txn, bool reads_only, unsigned limit_ms, etcd_done_fn *done,
	     void *context);

/* The answer has "ID", "TTL" (seconds). */
int etcd_lease_grant(struct etcd *etcd, unsigned ttl, unsigned limit_ms, etcd_done_fn *done, void *context);

/* The answer's "TTL" is in "result", and 0 where there is no such lease (any more). */
int etcd_lease_keepalive(struct etcd *etcd, int64_t lease, unsigned limit_ms, etcd_done_fn *done, void *context);

/* --- watches ------------------------------------------------------------------------------------------------------ */

enum etcd_event_kind {
	ETCD_WATCHING,	/* the watch stands */
	ETCD_PUT,	/* kv: key, value and revisions */
	ETCD_DELETE,	/* kv: the key alone, and mod_revision of its deletion */
	ETCD_SEEN,	/* all changes up to `revision` have been reported */
	ETCD_COMPACTED, /* changes since then are lost up to `revision`: all has to be read again. The watch has ended
			 */
	ETCD_LOST,	/* `text` says why. The watch has ended */
};

struct etcd_event {
	enum etcd_event_kind kind;
	uint64_t revision;
	const struct etcd_kv *kv;
	const char *text;
};

typedef void etcd_event_fn(void *context, const struct etcd_event *event);

/* All changes of keys that begin with `prefix` from that revision on, in order. It does not notice a broken
 * connection: where a write below the prefix is not reported for a while, or it is in doubt, it is to be stopped and
 * begun again. (Of itself etcd 3.4 says every ten minutes that a watch is there.) NULL: no memory. */
struct etcd_watch *etcd_watch_start(struct etcd *etcd, const char *prefix, uint64_t from_revision, etcd_event_fn *event,
				    void *context);

/* Whether a request to its endpoint has failed since anything came of it. Its connection may be dead then: while
 * nothing passes, TCP sends what is unacknowledged ever more seldom, so it rests for as long again when new ones work.
 */
bool etcd_watch_in_doubt(const struct etcd_watch *watch);

/* Needed also for a watch that has ended, and allowed within its function. NULL is allowed. */
void etcd_watch_stop(struct etcd_watch *watch);
