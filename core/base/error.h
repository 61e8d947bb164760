// SPDX-License-Identifier: Apache-2.0
/* Errors of everything that is not the data path: a negative errno and one line of text.
 *
 * A function that can fail at start-up, reload or on the control socket takes a `struct error *`, fills it once with
 * "subject: what failed (why); what to do" and returns the negative errno. The caller that ends the chain prints the
 * text; nobody in between logs. The data path does not use this: it returns a drop reason (perf/record/stats.h). */
#pragma once

#include <errno.h>

#include "core/base/bytes.h"

struct error {
	char text[512]; /* empty until set, always terminated */
};

/* Formats the text, cutting it if too long. Returns `code`, a negative errno, so that callers can `return
 * error_set(..)`. `error` may be NULL when the caller does not care. Any thread; the object belongs to the caller. */
int error_set(struct error *error, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Puts "prefix" in front of the text that is there, as a caller that knows the subject does. Returns `code`. */
int error_prefix(struct error *error, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/* "path: what (why)" about a file that could not be opened for reading, from errno, which is still that of the failure.
 * Started as root the gateway reads its files again as somebody else, so a lack of rights says who that is. Returns
 * -errno. */
int error_open(struct error *error, const char *path, const char *what);
