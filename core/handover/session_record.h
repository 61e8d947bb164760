// SPDX-License-Identifier: Apache-2.0
/* A session with its keys, as a record and back. */
#pragma once

#include "core/handover/writer.h"
#include "workers/limits.h"

/* Counters that are left out when a key goes to another process: so many messages the old one may still have sealed, or
 * count as sealed, without any trace. Fewer than the replay window has, or late packets were lost to it. */
enum { HANDOVER_GAP = 1024 };

/* Writes a session of a gateway; no thread changes it. A failure is the writer's. */
void handover_put_session(struct handover_writer *writer, const struct session *session);

/* Whether a record of its size is a session that may be: every field within its bounds. The record lies in
 * memory of at least that size, aligned to 8 bytes. `now`: monotonic ns, when it was written. */
bool handover_session_valid(const struct handover_session *record, uint64_t now);

/* The dialect that all its keys have; 0: it has no keys. Of a valid one. */
enum handover_dialect handover_session_dialect(const struct handover_session *record);

/* Makes the session of a valid record for this peer, its counters HANDOVER_GAP ahead; it belongs to no worker yet.
 * NULL: *result is -ENOMEM, or -ENOTSUP: the engine has not the suite of one of its keys. */
struct session *handover_session_make(const struct handover_session *record, const struct aead_engine *engine,
				      struct peer *peer, int *result);
