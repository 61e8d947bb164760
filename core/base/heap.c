// SPDX-License-Identifier: Apache-2.0
#include "core/base/heap.h"

#include <stddef.h>

/* jemalloc's, in the programs that link it. */
extern int mallctl(const char *name, void *old, size_t *old_length, void *new, size_t new_length) __attribute__((weak));

void heap_give_back(void)
{
	/* 4096: MALLCTL_ARENAS_ALL */
	if (mallctl != NULL)
		(void)mallctl("arena.4096.decay", NULL, NULL, NULL, 0);
}
