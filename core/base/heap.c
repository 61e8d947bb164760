// SPDX-License-Identifier: Apache-2.0
#include "core/base/heap.h"

#include <stddef.h>

extern int mallctl(const char *name, void *old, size_t *old_length, void *new, size_t new_length) __attribute__((weak));

void heap_give_back(void)
{
	/* 4096: MALLCTL_ARENAS_ALL */
	if (mallctl != NULL)
		(void)mallctl("arena.4096.decay", NULL, NULL, NULL, 0);
}

const uint64_t *heap_thread_counter(void)
{
	uint64_t *counter = NULL;
	size_t length = sizeof counter;
	bool found = mallctl != NULL && mallctl("thread.allocatedp", &counter, &length, NULL, 0) == 0;
	return found ? counter : NULL;
}

static uint64_t figure(const char *name)
{
	size_t value = 0, length = sizeof value;
	return mallctl(name, &value, &length, NULL, 0) == 0 ? value : 0;
}

bool heap_read(struct heap_figures *figures)
{
	uint64_t epoch = 1;
	size_t length = sizeof epoch;
	/* jemalloc updates its figures only when the epoch is advanced. */
	if (mallctl == NULL || mallctl("epoch", &epoch, &length, &epoch, sizeof epoch) != 0)
		return false;
	*figures = (struct heap_figures){
		.allocated = figure("stats.allocated"),
		.active = figure("stats.active"),
		.resident = figure("stats.resident"),
		.mapped = figure("stats.mapped"),
		.retained = figure("stats.retained"),
	};
	return true;
}
