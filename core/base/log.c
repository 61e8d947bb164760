// SPDX-License-Identifier: Apache-2.0
#include "core/base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "core/base/printable.h"

enum { LINE_MAX_SIZE = 1024 /* with its newline */, MS_PER_S = 1000, NS_PER_MS_INT = 1000000 };

static _Atomic enum log_level highest = LOG_LEVEL_INFO;
static atomic_bool in_syslog;
static atomic_bool is_sending; /* a thread, to the journal or to syslog */
static bool (*send_event)(enum log_level level, const char *line);

static const struct {
	const char *name;
	int syslog_priority; /* as in <syslog.h> */
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", 3},
	[LOG_LEVEL_WARNING] = {"warning", 4},
	[LOG_LEVEL_INFO] = {"info", 6},
	[LOG_LEVEL_DEBUG] = {"debug", 7},
};

enum line_kind {
	LINE_PLAIN,
	LINE_EVENT,
	LINE_LAST_WORDS, /* with the program's name for a prefix */
};

struct line {
	enum log_level level;
	enum line_kind kind;
	uint32_t message; /* where it begins, behind the prefix */
	uint32_t length;  /* without newline and terminator */
	char text[LINE_MAX_SIZE];
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
	tzset(); /* reads the time zone's file now: later a system call filter may forbid it */
	openlog(program, LOG_PID, LOG_DAEMON);
	atomic_store_explicit(&in_syslog, true, memory_order_relaxed);
}

void log_events_to(bool (*send)(enum log_level level, const char *line))
{
	send_event = send;
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

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* A descriptor shared with other processes may have been made non-blocking by one of them. */
static bool write_all(const char *text, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t written = write(STDERR_FILENO, text + done, length - done);
		if (written >= 0) {
			done += (size_t)written;
		} else if (errno == EAGAIN) {
			struct pollfd polled = {.fd = STDERR_FILENO, .events = POLLOUT};
			(void)poll(&polled, 1, -1);
		} else if (errno != EINTR) {
			return false;
		}
	}
	return true;
}

/* May block. False: the line was written nowhere. A line that syslog took need not reach standard error, whose
 * reader may have closed it after start-up. */
static bool write_line(struct line *line)
{
	if (line->kind == LINE_EVENT && send_event != NULL) {
		atomic_store_explicit(&is_sending, true, memory_order_relaxed);
		bool sent = send_event(line->level, line->text + line->message);
		atomic_store_explicit(&is_sending, false, memory_order_relaxed);
		if (sent)
			return true;
	}
	bool as_well = atomic_load_explicit(&in_syslog, memory_order_relaxed);
	line->text[line->length] = '\n';
	bool written = write_all(line->text, line->length + 1);
	line->text[line->length] = '\0';
	if (as_well) {
		atomic_store_explicit(&is_sending, true, memory_order_relaxed);
		syslog(levels[line->level].syslog_priority, "%s", line->text + line->message);
		atomic_store_explicit(&is_sending, false, memory_order_relaxed);
	}
	return written || as_well;
}

/* Behind the prefix, with room for a newline. */
static void put_message(struct line *line, const char *text)
{
	size_t room = sizeof line->text - line->message - 1;
	line->length = line->message + (uint32_t)printable_copy(line->text + line->message, room, text);
}

static void PRINTF_LIKE(2, 0) format_message(struct line *line, const char *format, va_list args)
{
	char text[LINE_MAX_SIZE] = "";
	(void)vsnprintf(text, sizeof text, format, args);
	put_message(line, text);
}

static void format_prefix(struct line *line)
{
	int length = getenv("JOURNAL_STREAM") != NULL
			     ? snprintf(line->text, sizeof line->text, "<%d>", levels[line->level].syslog_priority)
			     : snprintf(line->text, sizeof line->text, "%s: ", levels[line->level].name);
	line->message = (uint32_t)length;
}

/* --- the queue ---------------------------------------------------------------------------------------------------- */

/* Of many producers and one consumer (D. Vyukov's bounded queue): `turn` says whether a slot is the producers' or
 * the consumer's. In its lap n, from 0, it is 2n while the slot is empty, and 2n + 1 while it has a line. All zero
 * at the start, so that pages are allocated only when they are used. */
struct slot {
	_Atomic uint64_t turn;
	uint64_t lost; /* lines dropped right before this one */
	struct line line;
};

enum log_mode {
	MODE_DIRECT, /* the logging thread writes */
	MODE_EARLY,  /* the logging thread writes if that does not block; there is one thread */
	MODE_QUEUED,
};

static struct {
	_Atomic enum log_mode mode;
	_Atomic uint64_t tail CACHE_ALIGNED; /* lines put so far: the next position */
	_Atomic uint64_t dropped;
	_Atomic uint64_t untold;	     /* dropped, and in no slot's `lost` yet */
	_Atomic uint64_t head CACHE_ALIGNED; /* lines written so far; the consumer's */
	atomic_bool ending;
	sem_t wake;
	sem_t ended;
	struct slot slots[LOG_QUEUE_LINES];
} queue;

/* Of an empty slot at that position. */
static uint64_t empty_turn(uint64_t position)
{
	return 2 * (position / LOG_QUEUE_LINES);
}

static void count_dropped(uint64_t lines)
{
	atomic_fetch_add_explicit(&queue.dropped, lines, memory_order_relaxed);
	atomic_fetch_add_explicit(&queue.untold, lines, memory_order_relaxed);
}

uint64_t log_dropped(void)
{
	return atomic_load_explicit(&queue.dropped, memory_order_relaxed);
}

/* Never blocks. */
static void put(const struct line *line)
{
	uint64_t position = atomic_load_explicit(&queue.tail, memory_order_relaxed);
	struct slot *slot;
	for (;;) {
		slot = &queue.slots[position % LOG_QUEUE_LINES];
		uint64_t turn = atomic_load_explicit(&slot->turn, memory_order_acquire), empty = empty_turn(position);
		if (turn < empty) {
			count_dropped(1);
			return;
		}
		if (turn > empty)
			position = atomic_load_explicit(&queue.tail, memory_order_relaxed);
		else if (atomic_compare_exchange_weak_explicit(&queue.tail, &position, position + 1,
							       memory_order_relaxed, memory_order_relaxed))
			break;
	}
	slot->lost = atomic_load_explicit(&queue.untold, memory_order_relaxed) == 0
			     ? 0
			     : atomic_exchange_explicit(&queue.untold, 0, memory_order_relaxed);
	memcpy(&slot->line, line, offsetof(struct line, text) + line->length + 1);
	atomic_store_explicit(&slot->turn, empty_turn(position) + 1, memory_order_release);
	(void)sem_post(&queue.wake);
}

static bool is_empty(void)
{
	return atomic_load_explicit(&queue.head, memory_order_acquire) ==
	       atomic_load_explicit(&queue.tail, memory_order_relaxed);
}

/* A line is less than a page, which a pipe that polls as writable takes. */
static bool can_write(void)
{
	struct pollfd polled = {.fd = STDERR_FILENO, .events = POLLOUT};
	return !atomic_load_explicit(&in_syslog, memory_order_relaxed) && poll(&polled, 1, 0) == 1;
}

static void log_line(struct line *line)
{
	enum log_mode mode = atomic_load_explicit(&queue.mode, memory_order_acquire);
	if (mode == MODE_DIRECT || (mode == MODE_EARLY && is_empty() && can_write()))
		(void)write_line(line); /* a failure cannot be reported */
	else
		put(line);
}

void log_write(enum log_level level, const char *format, ...)
{
	if (!log_is_on(level))
		return;
	struct line line = {.level = level};
	va_list args;
	format_prefix(&line);
	va_start(args, format);
	format_message(&line, format, args);
	va_end(args);
	log_line(&line);
}

void log_event(enum log_level level, const char *pairs)
{
	if (!log_is_on(level))
		return;
	struct line line = {.level = level, .kind = LINE_EVENT};
	format_prefix(&line);
	put_message(&line, pairs);
	log_line(&line);
}

void log_last_words(const char *program, const char *text)
{
	struct line line = {.level = LOG_LEVEL_ERROR, .kind = LINE_LAST_WORDS};
	line.message = (uint32_t)snprintf(line.text, sizeof line.text, "%.32s: ", program);
	put_message(&line, text);
	log_line(&line);
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

/* True: written, or there are none. */
static bool tell_lost(uint64_t lost)
{
	struct line line = {.level = LOG_LEVEL_WARNING};
	char text[LINE_MAX_SIZE];
	if (lost == 0)
		return true;
	(void)snprintf(text, sizeof text,
		       "%llu lines of this log are missing here: they came faster than they were read",
		       (unsigned long long)lost);
	format_prefix(&line);
	put_message(&line, text);
	return write_line(&line);
}

/* Writes all lines in the queue; returns how many lost lines have not been reported yet. */
static uint64_t drain(uint64_t lost)
{
	for (;;) {
		uint64_t position = atomic_load_explicit(&queue.head, memory_order_relaxed);
		struct slot *slot = &queue.slots[position % LOG_QUEUE_LINES];
		if (atomic_load_explicit(&slot->turn, memory_order_acquire) != empty_turn(position) + 1)
			break;
		lost += slot->lost;
		if (tell_lost(lost))
			lost = 0;
		if (!write_line(&slot->line)) {
			atomic_fetch_add_explicit(&queue.dropped, 1, memory_order_relaxed);
			lost++;
		}
		atomic_store_explicit(&slot->turn, empty_turn(position) + 2, memory_order_release);
		atomic_store_explicit(&queue.head, position + 1, memory_order_release);
	}
	lost += atomic_exchange_explicit(&queue.untold, 0, memory_order_relaxed);
	return tell_lost(lost) ? 0 : lost;
}

void log_run(void)
{
	uint64_t lost = 0;
	do {
		lost = drain(lost);
		while (sem_wait(&queue.wake) != 0)
			; /* EINTR */
	} while (!atomic_load_explicit(&queue.ending, memory_order_acquire));
	(void)drain(lost);
	(void)sem_post(&queue.ended);
}

/* The thread is not in the child. */
static void write_directly(void)
{
	atomic_store_explicit(&queue.mode, MODE_DIRECT, memory_order_relaxed);
}

void log_begin(void)
{
	(void)sem_init(&queue.wake, 0, 0); /* both fail for a bad value only */
	(void)sem_init(&queue.ended, 0, 0);
	(void)pthread_atfork(NULL, NULL, write_directly);
	atomic_store_explicit(&queue.mode, MODE_EARLY, memory_order_release);
}

void log_queue_all(void)
{
	atomic_store_explicit(&queue.mode, MODE_QUEUED, memory_order_release);
}

bool log_flush(unsigned ms)
{
	static const struct timespec pause = {.tv_nsec = NS_PER_MS_INT};
	uint64_t end = atomic_load_explicit(&queue.tail, memory_order_relaxed);
	for (unsigned waited = 0;; waited++) {
		if (atomic_load_explicit(&queue.head, memory_order_acquire) >= end)
			return true;
		if (waited == ms || atomic_load_explicit(&queue.mode, memory_order_relaxed) != MODE_QUEUED)
			return false;
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
}

static void *run_late(void *none)
{
	(void)none;
	log_run();
	return NULL;
}

/* For a start that failed before the thread was made, with lines in the queue. */
static bool start_late(void)
{
	pthread_t thread;
	sigset_t all, before;
	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	bool made = pthread_create(&thread, NULL, run_late, NULL) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (made)
		(void)pthread_detach(thread);
	return made;
}

/* Whether the thread ended within LOG_END_MS. */
static bool ends(void)
{
	struct timespec end;
	int result;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += LOG_END_MS * NS_PER_MS_INT;
	end.tv_sec += end.tv_nsec / (MS_PER_S * NS_PER_MS_INT);
	end.tv_nsec %= MS_PER_S * NS_PER_MS_INT;
	while ((result = sem_clockwait(&queue.ended, CLOCK_MONOTONIC, &end)) != 0 && errno == EINTR)
		;
	return result == 0;
}

/* Whether it is the reader that keeps the thread from ending, and not other programs that have the CPU. */
static bool reader_is_stuck(void)
{
	struct pollfd polled = {.fd = STDERR_FILENO, .events = POLLOUT};
	return atomic_load_explicit(&is_sending, memory_order_relaxed) || poll(&polled, 1, 0) != 1;
}

static bool wait_for_end(void)
{
	atomic_store_explicit(&queue.ending, true, memory_order_release);
	(void)sem_post(&queue.wake);
	bool ended = ends();
	for (unsigned waits = 1; !ended && waits < LOG_END_WAITS && !reader_is_stuck(); waits++)
		ended = ends();
	return ended;
}

bool log_end(bool has_thread)
{
	bool runs = has_thread || (!is_empty() && start_late());
	if (runs && !wait_for_end())
		return false;
	write_directly();
	return true;
}
