// SPDX-License-Identifier: Apache-2.0
/* The logger: one line per event on standard error, "<level> message", with the syslog prefix "<N>" when standard error
 * goes to the journal (JOURNAL_STREAM is set), and in syslog as well for a client in the background. The project's only
 * global mutable state. Never called per packet, and never for what an unauthenticated sender can cause but through the
 * rates of workers/event.h.
 *
 * A tool writes its lines itself. A daemon calls log_begin(): from then on logging never blocks on the reader of the
 * log: a terminal, a pipe, the journal or syslog. Lines go through a queue without locks to one thread, log_run(),
 * which alone may block. When the queue is full a line is dropped and counted, and the next line that fits is preceded
 * by one that says how many are missing. Until the thread runs a line is written at once if that cannot block. The
 * thread is not registered with RCU: only log_end() waits for it, for a bounded time. */
#pragma once

#include <stdbool.h>

#include "core/base/bytes.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

enum {
	LOG_QUEUE_LINES = 2048, /* a burst of events while another thread has the CPU */
	LOG_END_MS = 200, /* the longest wait for the queue's end at exit: bounds a shutdown with a stuck reader; and */
	LOG_END_WAITS = 50, /* so many times that, while the reader takes lines but the thread gets no CPU */
};

/* Sets the highest level that is printed (default: info). Any thread. */
void log_set_level(enum log_level level);

/* Whether lines of this level are printed. Any thread. */
bool log_is_on(enum log_level level);

/* From now on each line goes to syslog(3) too, as `program`, which stays allocated. Before other threads exist. */
void log_to_syslog(const char *program);

/* From now on `send` gets the lines of log_event() and returns whether it sent them; other lines are written as
 * usual. Before log_run(); `send` may block. */
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

/* "program: text", an error without a level before it: for the error that ends a program, printed after all its log
 * lines. */
void log_last_words(const char *program, const char *text);

/* Lines dropped since the start. Any thread. */
uint64_t log_dropped(void);

/* --- the thread --------------------------------------------------------------------------------------------------- */

/* From here on no line blocks. Before other threads exist; a child that forks from here on writes its lines itself. */
void log_begin(void);

/* Before the thread is made: lines are queued for it from here on. */
void log_queue_all(void);

/* Writes what is queued until log_end(). On a thread of its own, whose signals are blocked. */
void log_run(void);

/* Waits until all that was logged so far is written, or so long. For a thread that is about to end the process. Any
 * thread. */
bool log_flush(unsigned ms);

/* Lets log_run() return and waits for that, at most LOG_END_MS if the reader is stuck. True: lines are written directly
 * again. False: the thread is blocked in a write. If there is no thread yet but lines are queued, this starts one.
 * After all other threads. */
bool log_end(bool has_thread);
