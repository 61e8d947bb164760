// SPDX-License-Identifier: Apache-2.0
/* The thread of a daemon that writes its log (core/base/log.h). */
#pragma once

#include "core/base/error.h"
#include "core/host/seccomp_filter.h"

/* After log_begin() and before all other threads but liburcu's. The caller has given up the rights that the thread
 * would inherit. `filter` may be NULL. */
int logger_start(const struct seccomp_filter *filter, struct error *error);

/* The last thing that a daemon does, whether the thread was started or not; returns soon even if the log is not read.
 */
void logger_end(void);
