// SPDX-License-Identifier: Apache-2.0
/* The allocator: jemalloc, in the programs that link it. With another one nothing is known and nothing is done. It may
 * take the allocator's locks: not for the data path. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Gives pages back to the kernel that have been free for some seconds. jemalloc looks for them only while its threads
 * allocate and free, which those of the data path do not: what a crowd needed, and gave back when it fell asleep, would
 * stay until the next one. Any thread. */
void heap_give_back(void);

/* Where the bytes are counted that the calling thread ever allocated; a word that it goes on writing, until it ends.
 * NULL: unknown. */
const uint64_t *heap_thread_counter(void);

struct heap_figures {
	uint64_t allocated, active, resident, mapped, retained; /* bytes */
};

/* False: unknown. Any thread. */
bool heap_read(struct heap_figures *figures);
