// SPDX-License-Identifier: Apache-2.0
/* shardtunctl sessions: the gateway's list of sessions, page by page. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/error.h"
#include "core/cli/ctl_target.h"

struct ctl_sessions {
	const char *filters; /* as the request has them (" --state active"), or "" */
	uint32_t from;	     /* first slot */
	uint64_t count;	     /* at most so many */
};

/* Requests one page of sessions after the other and prints each at once: as a table, or as one JSON object
 * {"sessions": [...], "next": slot to continue from, or null}. Errors as of ctl_request(); pages may have been printed
 * before. */
int ctl_sessions_print(FILE *out, struct ctl_target *target, const struct ctl_sessions *wanted, bool json,
		       struct error *error);
