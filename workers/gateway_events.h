// SPDX-License-Identifier: Apache-2.0
/* What a worker reports of its sessions (workers/event.h) as they begin, move and end. Where events are not written, or
 * too many wait, nothing happens. The worker's thread. */
#pragma once

#include "workers/worker.h"

/* The session was confirmed. */
void gateway_tell_connect(struct worker *worker, const struct session *session);

/* It ends. `why`: a constant. */
void gateway_tell_disconnect(struct worker *worker, const struct session *session, const char *why);

/* If it is elsewhere than at `previous`. `why`: a constant; NULL: it moved. */
void gateway_tell_roam(struct worker *worker, const struct session *session, const struct endpoint *previous,
		       const char *why);

/* A handshake that was answered came to nothing: the client has another preshared key, or is not reached. */
void gateway_tell_unconfirmed(struct worker *worker, const struct session *session);
