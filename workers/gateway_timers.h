// SPDX-License-Identifier: Apache-2.0
/* When something is due at a session of the gateway's. The worker, or the thread that owns what is the worker's. */
#pragma once

#include "workers/worker.h"

/* When a client that was silent has to be taken as gone, monotonic ns. */
uint64_t gateway_silence_due(const struct worker *worker, const struct session *session);

/* When a WireGuard peer gets its next KEEPALIVE, monotonic ns; UINT64_MAX: it gets none. */
uint64_t gateway_keepalive_due(const struct session *session);

/* When the session has to be looked at next, monotonic ns. */
uint64_t gateway_next_look(const struct worker *worker, const struct session *session);
