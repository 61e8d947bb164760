// SPDX-License-Identifier: Apache-2.0
/* Errors of everything that is not the data path: a negative errno and one line of text.
 *
 * A function that can fail at start-up, reload or on the control socket takes a `struct error *`, fills it once with
 * "subject: what failed (why); what to do" and returns the negative errno. The outermost caller prints the text;
 * functions in between do not log. The data path does not use this: it returns a drop reason (perf/record/stats.h). */
#pragma once

#include <errno.h>

#include "core/base/bytes.h"

struct error {
	char text[512]; /* empty until set, always terminated */
};

/* Formats the text, cutting it if too long. Returns `code`, a negative errno, so that callers can `return
 * error_set(..)`. `error` may be NULL: the text is dropped. Any thread; the object belongs to the caller. */
int error_set(struct error *error, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Puts "prefix" in front of the text that is there, for callers that know the subject. Returns `code`. */
int error_prefix(struct error *error, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/* "path: what (why)" about a file that could not be opened for reading, from errno, which is still that of the
 * failure. A gateway that was started as root reads its files again under another user ID, so for EACCES the text
 * names the user ID. Returns -errno. */
int error_open(struct error *error, const char *path, const char *what);
