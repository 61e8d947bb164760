// SPDX-License-Identifier: Apache-2.0
#include "perf/export/process.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

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

void process_probe_read(struct process_probe *probe, struct process_figures *figures)
{
	*figures = (struct process_figures){.start_time = probe->start_time,
					    .cpu_seconds = seconds(CLOCK_PROCESS_CPUTIME_ID)};
	read_memory(probe, figures);
	read_descriptors(probe, figures);
	figures->has_heap = heap_read(&figures->heap);
}
