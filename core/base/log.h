// SPDX-License-Identifier: Apache-2.0
/* The logger: one line per event on standard error, "<level> message", with the syslog prefix "<N>" when standard error
 * goes to the journal (JOURNAL_STREAM is set), and in syslog as well for a process that nobody sees. The project's only
 * global mutable state. Never called per packet, and never for what an unauthenticated sender can cause but through the
 * rates of workers/event.h.
 *
 * A tool writes its lines itself. A daemon calls log_begin(): from then on nobody who logs waits for who reads the log,
 * a terminal, a pipe, the journal or syslog. Lines go through a queue without locks to one thread, log_run(), which
 * alone may block. When the queue is full a line is dropped and counted, and when lines flow again one says how many
 * are missing, in the place where they are. Until the thread runs a line is written at once if that cannot block. The
 * thread is no reader of RCU: nobody ever waits for it but log_end(), for a bounded time. */
#pragma once

#include <stdbool.h>

#include "core/base/bytes.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

enum {
	LOG_QUEUE_LINES = 2048, /* a burst of events while another thread has the CPU */
	LOG_END_MS = 200,	/* for what is queued at the end: enough for who reads, and nobody waits for it */
};

/* Sets the highest level that is printed (default: info). Any thread. */
void log_set_level(enum log_level level);

/* Whether lines of this level are printed. Any thread. */
bool log_is_on(enum log_level level);

/* From now on each line goes to syslog(3) too, as `program`, which lives on. Before other threads exist. */
void log_to_syslog(const char *program);

/* From now on `send` gets the lines of log_event(), and says whether it sent them; what it did not is written. Before
 * log_run(); `send` may block. */
void log_events_to(bool (*send)(enum log_level level, const char *line));

/* Parses "error", "warning", "info" or "debug"; false when it is none of them. */
bool log_level_parse(const char *text, enum log_level *level);

/* One line, cut if too long, which never mixes with others; what is not printable in it is escaped
 * (core/base/printable.h), so that it is one line whatever a text holds. Any thread. */
void log_write(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

#define log_error(...)	 log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* The same for a line of key=value pairs, of which log_events_to() may make fields. */
void log_event(enum log_level level, const char *pairs);

/* "program: text", an error without a level before it: what a program fails with, after all that it logged. */
void log_last_words(const char *program, const char *text);

/* Lines dropped since the start. Any thread. */
uint64_t log_dropped(void);

/* --- the thread -----------------------------------------------------------------------------------------------------
 */

/* From here on no line blocks. Before other threads exist; a child that forks from here on writes its lines itself. */
void log_begin(void);

/* Before the thread is made: lines wait for it from here on. */
void log_queue_all(void);

/* Writes what is queued until log_end(). On a thread of its own, whose signals are blocked. */
void log_run(void);

/* Waits until all that was logged so far is written, or so long. For who is about to end the process. Any thread. */
bool log_flush(unsigned ms);

/* Lets log_run() return, and waits for that no longer than LOG_END_MS: true, and lines are written directly again; or
 * false, and the thread is stuck where it writes. If there is no thread yet, but something to write, this makes one.
 * After all other threads. */
bool log_end(bool has_thread);
