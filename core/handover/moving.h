// SPDX-License-Identifier: Apache-2.0
/* What of a session and its keys changes while the process that has it serves: in the record of the session, and again
 * for each session that moved since then. */
#pragma once

#include "core/handover/writer.h"
#include "core/sessions/session.h"
#include "workers/limits.h"

enum { HANDOVER_KEYS = 3 /* of a session: current, previous, next */ };

/* The old process's: a session as it was in its record. */
struct handover_trace {
	const struct session *session;
	uint32_t id, keys; /* keys: how many it had */
	struct handover_moving moving;
	struct handover_traced_key {
		const struct transport_key *key; /* NULL: it had none */
		const struct transport_state *live;
		struct handover_counters counters;
		uint64_t next[HANDOVER_WINDOWS];
	} key[HANDOVER_KEYS];
};

/* --- writing: no thread changes the session ----------------------------------------------------------------------- */

void handover_write_endpoint(struct handover_endpoint *to, const struct endpoint *from);
void handover_write_moving(struct handover_moving *to, const struct session *session);
void handover_write_counters(struct handover_counters *to, const struct transport_key *key);

/* As the session is now. */
void handover_trace(struct handover_trace *trace, const struct session *session);

/* Bytes that the record of one that moved may take. */
size_t handover_moved_most(const struct handover_trace *trace);

/* Puts the record of a session that is in the table still, the `index`th one, if anything of it moved. A failure is the
 * writer's: -EBUSY when it has a key that it did not have. */
void handover_put_moved(struct handover_writer *writer, const struct handover_trace *trace, uint32_t index);

/* --- checking and reading ----------------------------------------------------------------------------------------- */

bool handover_endpoint_valid(const struct handover_endpoint *endpoint);

/* Whether every field is within its bounds. `now`: monotonic ns, when it was written. */
bool handover_moving_valid(const struct handover_moving *moving, uint64_t now);
bool handover_counters_valid(const struct handover_counters *counters, uint64_t now);
bool handover_moved_valid(const struct handover_moved *record, uint64_t now);

void handover_read_endpoint(struct endpoint *to, const struct handover_endpoint *from);

/* Without keys and limits. */
void handover_read_moving(struct session *session, const struct handover_moving *from);

/* The counter to seal with first is HANDOVER_GAP ahead. */
void handover_read_counters(struct transport_key *key, const struct handover_counters *from);

/* A session that was made of its record becomes as it is now; keys that it has no more are wiped. Its owner. */
void handover_read_moved(struct session *session, const struct handover_moved *record,
			 const struct aead_engine *engine);
