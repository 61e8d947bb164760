// SPDX-License-Identifier: Apache-2.0
/* What comes back over a control socket. The daemon has less rights than who asks it, and may be in an intruder's hand:
 * an answer is bounded in size, in nesting and in the number of its values, and each text in it is escaped for
 * terminals (core/base/printable.h) before anybody sees it. Nothing in it is ever a path or a key that the asker goes
 * by. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "core/base/error.h"

enum {
	CTL_ANSWER_MAX = 16 << 20,   /* bytes; a page of a thousand sessions has half a MB */
	CTL_ANSWER_VALUES = 1 << 18, /* about 200 bytes of memory each, at most */
	CTL_ANSWER_DEPTH = 16,
};

/* Takes the answer's text apart. 0: *result is the caller's. -EREMOTEIO: the daemon said no, in its own words; -EPROTO:
 * no answer of a daemon of ours. `path` is for the messages. Any thread. */
int ctl_answer_parse(const char *text, size_t length, const char *path, json_t **result, struct error *error);
