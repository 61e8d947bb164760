// SPDX-License-Identifier: Apache-2.0
/* Reads what handover_export() wrote in another process, and makes registry and sessions of it. In two steps: reading
 * changes nothing of the gateway's and may fail; taking over cannot fail. The control thread, while the threads of the
 * data path are parked; online under RCU. */
#pragma once

#include "core/handover/memory.h"
#include "core/sessions/registry.h"
#include "crypto/cookie.h"
#include "perf/record/stats.h"
#include "workers/limits.h"

struct handover_adopted {
	struct session *session;
	struct limits_ready ready;
};

/* What was read. */
struct handover_import {
	const struct handover_memory *memory;
	struct handover_adopted *sessions; /* of peers that this process has; heap */
	size_t count;
	uint64_t frozen; /* since when the data path stands still, monotonic ns */
	size_t dropped;	 /* sessions of peers that it has not, or has with another address or protocol */
};

struct handover_target {
	struct registry *registry;	  /* with its peers, and no session yet */
	const struct aead_engine *engine; /* as the workers' are */
	struct cookie_jar *jar;
	struct stats *totals; /* of counters from before: zeroed */
	uint64_t now;	      /* monotonic ns */
};

/* Checks all of the memory, and makes the sessions of it. 0; -EPROTONOSUPPORT: of another version; -EBADMSG: damaged,
 * or not what may be; -ENOTUNIQ: the two processes differ in what has to be the same; -ENOTSUP: there are keys for a
 * suite that this machine does not offer; -ENOMEM. With `error` set, and nothing left but the memory, which is the
 * caller's. */
int handover_read(struct handover_import *import, const struct handover_memory *memory,
		  const struct handover_target *target, struct error *error);

/* Frees what was read and not taken over. */
void handover_discard(struct handover_import *import);

/* Registry, cookie secret and totals become what was read; its sessions are then in `import->sessions`, for
 * their workers (gateway_role_adopt()), and the caller frees the array. The memory may be wiped. Quotas without memory
 * start at 0. */
void handover_take_over(struct handover_import *import, const struct handover_target *target);
