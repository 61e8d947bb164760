// SPDX-License-Identifier: Apache-2.0
#include "core/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>
#include <unistd.h>

#include "core/base/printable.h"

static _Atomic enum log_level highest = LOG_LEVEL_INFO;
static atomic_bool in_syslog;

static const struct {
	const char *name;
	int syslog_priority; /* as in <syslog.h> */
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", 3},
	[LOG_LEVEL_WARNING] = {"warning", 4},
	[LOG_LEVEL_INFO] = {"info", 6},
	[LOG_LEVEL_DEBUG] = {"debug", 7},
};

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&highest, level, memory_order_relaxed);
}

bool log_is_on(enum log_level level)
{
	return level <= atomic_load_explicit(&highest, memory_order_relaxed);
}

void log_to_syslog(const char *program)
{
	openlog(program, LOG_PID, LOG_DAEMON);
	atomic_store_explicit(&in_syslog, true, memory_order_relaxed);
}

bool log_level_parse(const char *text, enum log_level *level)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (strcmp(text, levels[i].name) == 0) {
			*level = (enum log_level)i;
			return true;
		}
	}
	return false;
}

void log_write(enum log_level level, const char *format, ...)
{
	if (!log_is_on(level))
		return;

	char text[1024], line[1024];
	va_list args;
	va_start(args, format);
	int formatted = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (formatted < 0)
		return;
	int used = getenv("JOURNAL_STREAM") != NULL ? snprintf(line, sizeof line, "<%d>", levels[level].syslog_priority)
						    : snprintf(line, sizeof line, "%s: ", levels[level].name);
	size_t length = (size_t)used + printable_copy(line + used, sizeof line - (size_t)used - 1, text);
	if (atomic_load_explicit(&in_syslog, memory_order_relaxed))
		syslog(levels[level].syslog_priority, "%.*s", (int)(length - (size_t)used), line + used);
	line[length++] = '\n';
	ssize_t written = write(STDERR_FILENO, line, length);
	(void)written; /* nobody to tell */
}
