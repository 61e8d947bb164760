// SPDX-License-Identifier: Apache-2.0
/* The list of sessions as JSON, in pages: a walk over the slots of the session table that takes no lock, however many
 * sessions there are. */
#pragma once

#include <jansson.h>

#include "core/sessions/registry.h"

enum {
	GATEWAY_SESSIONS_PAGE = 1000,	/* most sessions in one answer */
	GATEWAY_SESSIONS_SLOTS = 65536, /* most slots looked at for one */
};

struct gateway_sessions_query {
	uint32_t from;		   /* the first slot */
	uint32_t count;		   /* sessions wanted; more than a page is a page */
	const uint8_t *public_key; /* of this peer only; NULL: of all */
	struct ip_address address; /* with this inner address only; family 0: with any */
	bool active, pending;	   /* in which states */
};

/* {"sessions": [...], "next": the slot to go on from, or null when all were seen}. A session that is there from the
 * first page to the last is on exactly one. `now` is monotonic ns. NULL: no memory. Any thread that is online under
 * RCU. */
json_t *gateway_sessions_page(const struct session_table *table, const struct gateway_sessions_query *query,
			      uint64_t now);

/* One of them, as it stands in a page. The same. */
json_t *gateway_session_describe(const struct session_table *table, const struct session *session, uint64_t now);
