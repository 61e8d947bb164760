// SPDX-License-Identifier: Apache-2.0
/* The quotas of a gateway's peers: periods by the wall clock, the file that keeps usage over restarts, the event when a
 * quota is used up. Workers count and enforce (workers/limits.h) and know no periods; a second after the clock says
 * so, or at an order of the control socket, records start at 0 here.
 *
 * A clock that is put forward begins a new period. One that is set back begins none: what was used is kept, also when
 * it comes back to where it was. Control thread, online under RCU. */
#pragma once

#include <stdatomic.h>

#include "core/base/clock.h"
#include "core/gateway/peers.h"
#include "core/gateway/quota_file.h"
#include "workers/event.h"

struct quota_slice;

struct quota {
	struct registry *registry;
	const struct clock *clock;
	const struct session_ender *ender; /* NULL: there are no workers */
	const char *path;
	struct quota_file file;
	struct event_source events;
	struct quota_slice *slice; /* scratch */
	bool rewrite;		   /* not all lines of the file are as they have to be */
	bool failed;		   /* it cannot be written, and that was logged */
	bool held;		   /* another process writes it still */
	uint64_t wall, monotonic;  /* of the last step, ns; 0: there was none */
	_Atomic uint32_t over;	   /* peers whose quota is used up; any thread may read */
};

struct quota_params {
	struct registry *registry;
	const struct clock *clock;
	const struct session_ender *ender;
	const char *path;	       /* of the file; borrowed */
	struct quota_file_owner owner; /* of the file */
	struct event_queue *events;    /* NULL: none are raised */
	int *given;		       /* the file, of another process that runs; what was taken is -1. NULL: none */
};

/* With a peer that has a quota, opens and reads the file, which is made if missing, and gives peers their usage. Before
 * rights are dropped and threads run. On failure nothing is left behind. */
int quota_open(struct quota *quota, const struct quota_params *params, struct error *error);

/* With `given`, the file is only read until this call: the other process writes to it no more, and what it counted is
 * in the registry. Writes all of it. */
void quota_take_over(struct quota *quota);

/* Writes what is left to write. After the workers ended. */
void quota_close(struct quota *quota);

/* Before the first peer gets a quota at run time: that the file can be used, which is opened unless it is open. 0, or a
 * negative errno with `error` saying what to do. */
int quota_ready(struct quota *quota, struct error *error);

/* Once a second. */
void quota_step(struct quota *quota);

/* The peer with this key starts at 0. 0, or -ENOENT: it has no quota. */
int quota_reset(struct quota *quota, const uint8_t public_key[KEY_SIZE], struct error *error);
