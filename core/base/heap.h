// SPDX-License-Identifier: Apache-2.0
/* The allocator: jemalloc, in the programs that link it. With another allocator nothing is known, and the functions
 * do nothing. It may take the allocator's locks: not for the data path. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Gives pages back to the kernel that have been free for some seconds. jemalloc looks for them only in threads that
 * allocate or free, which data threads do not: memory that many sessions used and freed when they hibernated would
 * stay allocated. Any thread. */
void heap_give_back(void);

/* The counter of bytes that the calling thread has allocated; the thread updates it until it ends. NULL: unknown. */
const uint64_t *heap_thread_counter(void);

struct heap_figures {
	uint64_t allocated, active, resident, mapped, retained; /* bytes */
};

/* False: unknown. Any thread. */
bool heap_read(struct heap_figures *figures);
