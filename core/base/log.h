// SPDX-License-Identifier: Apache-2.0
/* The logger: one line per event on standard error, "<level> message", with the syslog prefix "<N>" when standard error
 * goes to the journal (JOURNAL_STREAM is set), and in syslog as well for a process that nobody sees. The project's only
 * global mutable state. Never called per packet, and never for what an unauthenticated sender can cause but through the
 * rates of workers/event.h. */
#pragma once

#include <stdbool.h>

#include "core/base/bytes.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Sets the highest level that is printed (default: info). Any thread. */
void log_set_level(enum log_level level);

/* Whether lines of this level are printed. Any thread. */
bool log_is_on(enum log_level level);

/* From now on each line goes to syslog(3) too, as `program`, which lives on. Before other threads exist. */
void log_to_syslog(const char *program);

/* Parses "error", "warning", "info" or "debug"; false when it is none of them. */
bool log_level_parse(const char *text, enum log_level *level);

/* Formats and writes one line with a single write(2), so that lines of several threads never mix; what is not printable
 * in it is escaped (core/base/printable.h), so that it is one line whatever a text holds. Any thread. */
void log_write(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

#define log_error(...)	 log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
