// SPDX-License-Identifier: Apache-2.0
/* What the process costs: memory, CPU time, descriptors, and the allocator's own figures. */
#pragma once

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/heap.h"

/* Opened at start, while /proc can still be opened; read by one thread. */
struct process_probe {
	int statm;	   /* -1: there is none */
	DIR *descriptors;  /* NULL: there is none */
	double start_time; /* seconds since 1970; 0: unknown */
};

struct process_figures {
	double start_time; /* seconds since 1970; 0: unknown */
	double cpu_seconds;
	uint64_t resident, virtual; /* bytes; 0: unknown */
	uint64_t open_fds, max_fds; /* 0: unknown */
	bool has_heap;
	struct heap_figures heap;
};

/* Never fails: what cannot be opened is unknown. */
void process_probe_open(struct process_probe *probe);
void process_probe_close(struct process_probe *probe);

void process_probe_read(struct process_probe *probe, struct process_figures *figures);
