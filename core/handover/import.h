// SPDX-License-Identifier: Apache-2.0
/* Reads what a gateway in another process wrote (core/handover/export.h), and makes registry and sessions of it:
 *
 *   handover_read          the first part, while that one serves. Changes nothing, and may fail
 *   handover_take_over     all of it is this gateway's, which stands still
 *   handover_check_moved   the second part; may fail
 *   handover_follow        once the sessions are this one's for good: what moved since. Cannot fail, makes nothing
 *
 * The control thread, while the threads of the data path are parked; online under RCU. */
#pragma once

#include "core/handover/memory.h"
#include "core/sessions/registry.h"
#include "crypto/cookie.h"
#include "perf/record/stats.h"
#include "workers/limits.h"

/* The session of a record. */
struct handover_adopted {
	struct session *session; /* NULL: of a peer that this process has not, or with another address or protocol */
	struct limits_ready ready;
};

struct handover_import {
	const struct handover_memory *memory;
	struct handover_adopted *sessions; /* of each record, in their order; heap */
	size_t count, dropped;		   /* records; and those without a session here */
	bool taken;			   /* over */
	uint64_t frozen;		   /* since when the data path stands still, monotonic ns */
	size_t moved, gone;		   /* sessions, since the first part */
};

struct handover_target {
	struct registry *registry;	  /* with its peers, and no session yet */
	const struct aead_engine *engine; /* as the workers' are */
	struct cookie_jar *jar;
	struct stats *totals; /* of counters from before: zeroed */
	uint64_t now;	      /* monotonic ns */
	/* By number. Each has the sessions of its shard from handover_take_over() on. NULL: there are none, and the
	 * sessions are in the registry alone. */
	struct worker *const *workers;
};

/* Checks all of the first part, and makes the sessions of it. 0; -EPROTONOSUPPORT: of another version; -EBADMSG:
 * damaged, or not what may be; -ENOTUNIQ: the two processes differ in what has to be the same; -ENOTSUP: there are keys
 * for a suite that this machine does not offer; -ENOMEM. With `error` set, and nothing left but the memory, which is
 * the caller's. */
int handover_read(struct handover_import *import, const struct handover_memory *memory,
		  const struct handover_target *target, struct error *error);

/* Frees what was read; sessions that were not taken over, too. */
void handover_discard(struct handover_import *import);

/* Registry, cookie secret and workers have what was read. Quotas without memory start at 0. */
void handover_take_over(struct handover_import *import, const struct handover_target *target);

/* After that, when it cannot have them after all: workers have no session any more, without BYE or
 * event. */
void handover_leave(struct handover_import *import, const struct handover_target *target);

/* Checks all of the second part. `now`: monotonic ns. 0, or -EBADMSG with `error` set. */
int handover_check_moved(struct handover_import *import, uint64_t now, struct error *error);

/* Sessions, quotas and totals become what that says. The memory may be wiped. */
void handover_follow(struct handover_import *import, const struct handover_target *target);
