// SPDX-License-Identifier: Apache-2.0
#include "perf/export/process.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* jemalloc's, in the programs that link it. */
extern int mallctl(const char *name, void *old, size_t *old_length, void *new, size_t new_length) __attribute__((weak));

enum { STARTTIME_FIELD = 22 /* of /proc/self/stat, in clock ticks after boot; proc(5) */ };

static double seconds(clockid_t clock)
{
	struct timespec now = {0};
	(void)clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double read_start_time(void)
{
	char text[1024];
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
	if (fd >= 0)
		close(fd);
	if (length <= 0)
		return 0;
	text[length] = '\0';
	/* The second field is the name in parentheses, which may hold anything, spaces and parentheses too. */
	const char *field = strrchr(text, ')');
	for (unsigned i = 2; field != NULL && i < STARTTIME_FIELD; i++)
		field = strchr(field + 1, ' ');
	if (field == NULL)
		return 0;
	unsigned long long ticks = strtoull(field, NULL, 10);
	double age = seconds(CLOCK_BOOTTIME) - (double)ticks / (double)sysconf(_SC_CLK_TCK);
	return seconds(CLOCK_REALTIME) - age;
}

void process_probe_open(struct process_probe *probe)
{
	*probe = (struct process_probe){.statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC),
					.descriptors = opendir("/proc/self/fd"),
					.start_time = read_start_time()};
}

void process_probe_close(struct process_probe *probe)
{
	if (probe->statm >= 0)
		close(probe->statm);
	if (probe->descriptors != NULL)
		(void)closedir(probe->descriptors);
	*probe = (struct process_probe){.statm = -1};
}

static void read_memory(const struct process_probe *probe, struct process_figures *figures)
{
	char text[128];
	ssize_t length = probe->statm >= 0 ? pread(probe->statm, text, sizeof text - 1, 0) : -1;
	if (length <= 0)
		return;
	text[length] = '\0';
	char *rest;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	figures->virtual = strtoull(text, &rest, 10) * page;
	figures->resident = strtoull(rest, NULL, 10) * page;
}

static void read_descriptors(struct process_probe *probe, struct process_figures *figures)
{
	struct rlimit limit;
	if (probe->descriptors == NULL)
		return;
	rewinddir(probe->descriptors);
	for (const struct dirent *entry; (entry = readdir(probe->descriptors)) != NULL;)
		figures->open_fds += entry->d_name[0] != '.';
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		figures->max_fds = limit.rlim_cur;
}

static uint64_t heap(const char *name)
{
	size_t value = 0, length = sizeof value;
	return mallctl(name, &value, &length, NULL, 0) == 0 ? value : 0;
}

static void read_heap(struct process_figures *figures)
{
	if (mallctl == NULL)
		return;
	uint64_t epoch = 1;
	size_t length = sizeof epoch;
	/* The figures stand still until the epoch moves on. */
	if (mallctl("epoch", &epoch, &length, &epoch, sizeof epoch) != 0)
		return;
	figures->heap_allocated = heap("stats.allocated");
	figures->heap_active = heap("stats.active");
	figures->heap_resident = heap("stats.resident");
	figures->heap_mapped = heap("stats.mapped");
	figures->heap_retained = heap("stats.retained");
	figures->has_heap = true;
}

void process_probe_read(struct process_probe *probe, struct process_figures *figures)
{
	*figures = (struct process_figures){.start_time = probe->start_time,
					    .cpu_seconds = seconds(CLOCK_PROCESS_CPUTIME_ID)};
	read_memory(probe, figures);
	read_descriptors(probe, figures);
	read_heap(figures);
}
