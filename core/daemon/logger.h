// SPDX-License-Identifier: Apache-2.0
/* The thread of a daemon that writes its log (core/base/log.h). */
#pragma once

#include "core/host/seccomp_filter.h"
#include "core/base/error.h"

/* After log_begin(), before all other threads but liburcu's, by who has no rights left that the thread would inherit.
 * `filter` may be NULL. */
int logger_start(const struct seccomp_filter *filter, struct error *error);

/* The last thing that a daemon does, whether the thread was started or not; returns soon even if nobody reads the log.
 */
void logger_end(void);
