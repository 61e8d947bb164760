// SPDX-License-Identifier: Apache-2.0
/* Which thread writes to which cache line. The library is compiled with -fsanitize=thread, and this stands in for the
 * runtime of ThreadSanitizer: each write, atomic or not, is noted with the thread that made it. What the ciphers and
 * the kernel write is not seen; they get buffers of the thread that calls them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { LINES_THREADS = 31 };

/* The calling thread's writes are noted from here, as those of this number, 0…LINES_THREADS-1; -1: not any more. */
void lines_watch(int thread);

/* Whether writes are noted at all. */
void lines_measure(bool on);

/* Memory that changes hands as a whole: what is written there is not noted. One piece. */
void lines_leave_out(const void *memory, size_t size);

/* Lines that any, and that at least two of the threads whose bits are set, wrote to. Says on standard output which
 * those were, and where from. */
struct lines_found {
	size_t written, shared;
};
struct lines_found lines_find(unsigned threads);

/* Forgets all. */
void lines_reset(void);
