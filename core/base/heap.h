// SPDX-License-Identifier: Apache-2.0
/* The allocator's memory. */
#pragma once

/* Gives pages back to the kernel that have been free for some seconds. jemalloc looks for them only while its threads
 * allocate and free, which those of the data path do not: what a crowd needed, and gave back when it fell asleep, would
 * stay until the next one. Does nothing with another allocator. Takes the allocator's locks: not for the data path. */
void heap_give_back(void);
