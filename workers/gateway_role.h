// SPDX-License-Identifier: Apache-2.0
/* What a worker does as a gateway: takes the keys that the handshake threads made, confirms and ends sessions, routes
 * by inner destination. The state machine is core/protocol/PROTOCOL.md, 4. Everything runs on the worker's thread, and
 * each worker has one of these. */
#pragma once

#include "core/cluster/fence.h"
#include "core/protocol/reset.h"
#include "core/sessions/registry.h"
#include "crypto/rate_limit.h"
#include "workers/event.h"
#include "workers/worker.h"

struct gateway_role {
	struct registry *registry;
	const struct reset_secret *reset_secret; /* NULL: packets of unknown sessions are not answered */
	uint32_t session_timeout;		 /* s */
	bool client_to_client;
	struct shared_limiter resets; /* by source */
	uint32_t reset_last;	      /* session ID of the last one in this tick */
	/* Of the handshake threads, by number: they send initiations. NULL: the gateway has no key for WireGuard, and
	 * initiates nothing. One that is NULL has ended. */
	struct inbox *const *initiators;
	unsigned initiator_count;
	struct event_source events;
	_Atomic uint32_t active;    /* confirmed sessions; any thread may read */
	_Atomic uint32_t pending;   /* answered, not confirmed */
	_Atomic uint32_t wireguard; /* confirmed ones that speak WireGuard */
	struct fence_view view;	    /* of registry->fence, in a cluster: the worker's own */
	_Atomic uint64_t fenced; /* the version of the fence, all that was sent before which is out: gateway_fenced() */
	_Atomic bool leaving;	 /* sessions end without BYE when the worker does; the control thread sets it */
};

enum { GATEWAY_RESET_RATE = 64 /* a second and at once, of each of SHARED_LIMITER_BUCKETS for all workers */ };

/* Limits for the whole gateway are divided among so many workers. Before the worker runs. */
void gateway_role_limits(struct gateway_role *role, unsigned share);

/* Takes over a confirmed or pending session that another process had: into the table, its addresses and networks lead
 * to it. 0, or -ENOMEM: its limits do not hold until its next keys. The worker, or before its thread runs. */
int gateway_role_adopt(struct worker *worker, struct session *session, const struct limits_ready *ready);

/* What moved at the other process since then was set in the session, which may have been confirmed there (the one that
 * it replaces is forgotten), and have another current key. The same. */
void gateway_role_resume(struct worker *worker, struct session *session, bool confirmed, bool rekeyed);

/* It ended there, or stays there: it is taken out and retired, without BYE or event, unless it was already in this
 * turn. The same. */
void gateway_role_forget(struct worker *worker, struct session *session);

extern const struct worker_role gateway_worker_role;
