// SPDX-License-Identifier: Apache-2.0
/* Parses answers from the control socket. They are not trusted: the daemon has fewer rights than the user of this tool,
 * and may have been taken over. So an answer is bounded in size, in nesting and in the number of its values, and each
 * text in it is escaped for terminals (core/base/printable.h). No path or key in it is ever used, only printed. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "core/base/error.h"

enum {
	CTL_ANSWER_MAX = 16 << 20,   /* bytes; a page of 1000 sessions has half a MB */
	CTL_ANSWER_VALUES = 1 << 18, /* about 200 bytes of memory each, at most */
	CTL_ANSWER_DEPTH = 16,
};

/* 0: the caller owns *result. -EREMOTEIO: the daemon refused, and `error` has its text; -EPROTO: this is no answer of
 * shardtun. `path` is for the error. Any thread. */
int ctl_answer_parse(const char *text, size_t length, const char *path, json_t **result, struct error *error);
