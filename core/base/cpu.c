// SPDX-License-Identifier: Apache-2.0
#include "core/base/cpu.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	FEW_CPUS = 4,		/* with at most so many CPUs, none is reserved for other threads than workers */
	MASK_CPUS_MAX = 1 << 20 /* largest mask that is tried */
};

/* Our own cgroup in a hierarchy, as /proc/self/cgroup has it: a path from the root of that hierarchy, "" for none. */
struct cgroup_paths {
	char v1[PATH_MAX];
	char v2[PATH_MAX];
};

/* Where a cgroup file system is mounted. All point into a line of mountinfo. */
struct cgroup_mount {
	const char *subtree; /* the part of the hierarchy that is mounted there */
	const char *point;
	bool v2;
};

static unsigned smaller(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Whether a list "cpu,cpuacct" has the item. */
static bool list_has(const char *list, const char *item)
{
	size_t length = strlen(item);
	for (const char *at = list; at != NULL; at = strchr(at, ',')) {
		at += *at == ',';
		if (strncmp(at, item, length) == 0 && (at[length] == ',' || at[length] == '\0'))
			return true;
	}
	return false;
}

static FILE *open_under(const char *root, const char *path)
{
	char whole[PATH_MAX];
	int length = snprintf(whole, sizeof whole, "%s%s", root, path);
	return length >= 0 && (size_t)length < sizeof whole ? fopen(whole, "re") : NULL;
}

/* Lines "4:cpu,cpuacct:/path" of version 1, one "0::/path" of version 2. */
static bool read_own_cgroups(const char *root, struct cgroup_paths *paths)
{
	FILE *file = open_under(root, "/proc/self/cgroup");
	if (file == NULL)
		return false;
	*paths = (struct cgroup_paths){0};
	char *line = NULL;
	size_t size = 0;
	while (getline(&line, &size, file) > 0) {
		line[strcspn(line, "\n")] = '\0';
		char *rest = line;
		const char *number = strsep(&rest, ":"), *controllers = strsep(&rest, ":");
		if (rest == NULL || strlen(rest) >= PATH_MAX)
			continue;
		if (strcmp(number, "0") == 0 && controllers[0] == '\0')
			strcpy(paths->v2, rest);
		else if (list_has(controllers, "cpu"))
			strcpy(paths->v1, rest);
	}
	free(line);
	fclose(file);
	return true;
}

/* "36 35 98:0 SUBTREE POINT options [optional fields] - TYPE source OPTIONS". False when it is no file system with
 * quotas of CPUs. */
static bool parse_mount(char *line, struct cgroup_mount *mount)
{
	enum { SUBTREE = 3, POINT = 4, TYPE = 1, OPTIONS = 3 };
	char *save, *field = strtok_r(line, " \n", &save);
	*mount = (struct cgroup_mount){0};
	for (unsigned i = 0; field != NULL && strcmp(field, "-") != 0; i++) {
		if (i == SUBTREE)
			mount->subtree = field;
		if (i == POINT)
			mount->point = field;
		field = strtok_r(NULL, " \n", &save);
	}
	const char *type = NULL, *options = NULL;
	for (unsigned i = 0; field != NULL; i++) {
		if (i == TYPE)
			type = field;
		if (i == OPTIONS)
			options = field;
		field = strtok_r(NULL, " \n", &save);
	}
	if (mount->point == NULL || options == NULL)
		return false;
	mount->v2 = strcmp(type, "cgroup2") == 0;
	return mount->v2 || (strcmp(type, "cgroup") == 0 && list_has(options, "cpu"));
}

/* `count` numbers from the start of a file; false when there are others, or "max". */
static bool read_numbers(const char *directory, const char *name, long long *numbers, size_t count)
{
	char text[64];
	FILE *file = open_under(directory, name);
	if (file == NULL)
		return false;
	bool read = fgets(text, sizeof text, file) != NULL;
	fclose(file);
	const char *at = text;
	for (size_t i = 0; i < count && read; i++) {
		char *end;
		numbers[i] = strtoll(at, &end, 10);
		read = end != at;
		at = end;
	}
	return read;
}

static unsigned quota_of_directory(const char *directory, bool v2)
{
	long long numbers[2]; /* CPU time and length of a period, both in microseconds */
	bool limited = v2 ? read_numbers(directory, "/cpu.max", numbers, 2)
			  : read_numbers(directory, "/cpu.cfs_quota_us", &numbers[0], 1) &&
				       read_numbers(directory, "/cpu.cfs_period_us", &numbers[1], 1);
	if (!limited || numbers[0] <= 0 || numbers[1] <= 0)
		return CPU_NO_QUOTA;
	long long cpus = (numbers[0] - 1) / numbers[1] + 1;
	return cpus < CPU_LIST_MAX ? (unsigned)cpus : CPU_NO_QUOTA;
}

/* The path of our cgroup below the mount point; "" when only the mounted part is visible, as in a container that has
 * a namespace for cgroups. */
static const char *path_in_mount(const char *path, const char *subtree)
{
	size_t length = strcmp(subtree, "/") == 0 ? 0 : strlen(subtree);
	bool inside = strncmp(path, subtree, length) == 0 && (path[length] == '/' || path[length] == '\0');
	if (!inside || strstr(path, "/..") != NULL || strcmp(path + length, "/") == 0)
		return "";
	return path + length;
}

/* From our own cgroup up to the mount point: each one limits what is below it. */
static unsigned quota_of_mount(const char *root, const struct cgroup_mount *mount, const char *path)
{
	char directory[PATH_MAX];
	int base = snprintf(directory, sizeof directory, "%s%s", root, mount->point);
	int length = snprintf(directory, sizeof directory, "%s%s%s", root, mount->point,
			      path_in_mount(path, mount->subtree));
	if (length < 0 || (size_t)length >= sizeof directory)
		return CPU_NO_QUOTA;
	unsigned quota = quota_of_directory(directory, mount->v2);
	for (int at = length - 1; at >= base; at--) {
		if (directory[at] == '/') {
			directory[at] = '\0';
			quota = smaller(quota, quota_of_directory(directory, mount->v2));
		}
	}
	return quota;
}

/* Calls for each mounted hierarchy that has our cgroup, at `path` in it. */
static void each_mount(const char *root,
		       void (*visit)(const char *root, const struct cgroup_mount *mount, const char *path,
				     void *result),
		       void *result)
{
	struct cgroup_paths paths;
	FILE *mounts = open_under(root, "/proc/self/mountinfo");
	char *line = NULL;
	size_t size = 0;
	if (mounts == NULL)
		return;
	if (read_own_cgroups(root, &paths)) {
		while (getline(&line, &size, mounts) > 0) {
			struct cgroup_mount mount;
			if (!parse_mount(line, &mount))
				continue;
			const char *path = mount.v2 ? paths.v2 : paths.v1;
			if (path[0] != '\0')
				visit(root, &mount, path, result);
		}
	}
	free(line);
	fclose(mounts);
}

static void visit_quota(const char *root, const struct cgroup_mount *mount, const char *path, void *result)
{
	unsigned *quota = result;
	*quota = smaller(*quota, quota_of_mount(root, mount, path));
}

unsigned cpu_quota(const char *root)
{
	unsigned quota = CPU_NO_QUOTA;
	each_mount(root, visit_quota, &quota);
	return quota;
}

/* The root of version 2 has no such file; in a namespace for cgroups, what looks like the root may be none. Lower ones
 * have it only if the first one below the root has. */
static bool v2_weighs(const char *root, const char *point, const char *path)
{
	const int lengths[] = {0, path[0] == '/' ? 1 + (int)strcspn(path + 1, "/") : 0};
	char file[PATH_MAX];
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		int length = snprintf(file, sizeof file, "%s%s%.*s/cpu.weight", root, point, lengths[i], path);
		if (length > 0 && (size_t)length < sizeof file && access(file, F_OK) == 0)
			return true;
	}
	return false;
}

static void visit_weight(const char *root, const struct cgroup_mount *mount, const char *path, void *result)
{
	bool *weighs = result;
	*weighs |= mount->v2 ? v2_weighs(root, mount->point, path_in_mount(path, mount->subtree))
			     : strcmp(path, "/") != 0;
}

bool cpu_cgroup_weighs(const char *root)
{
	bool weighs = false;
	each_mount(root, visit_weight, &weighs);
	return weighs;
}

static void list_from_mask(struct cpu_list *list, const cpu_set_t *mask, size_t size)
{
	list->count = 0;
	for (size_t cpu = 0; cpu < 8 * size && cpu <= UINT16_MAX && list->count < CPU_LIST_MAX; cpu++) {
		if (CPU_ISSET_S(cpu, size, mask))
			list->cpus[list->count++] = (uint16_t)cpu;
	}
}

/* The kernel refuses a mask that is smaller than its own, the size of which is not known. */
static int read_mask(pid_t thread, struct cpu_list *list)
{
	for (size_t cpus = CPU_LIST_MAX; cpus <= MASK_CPUS_MAX; cpus *= 2) {
		size_t size = CPU_ALLOC_SIZE(cpus);
		cpu_set_t *mask = CPU_ALLOC(cpus);
		if (mask == NULL)
			return -ENOMEM;
		CPU_ZERO_S(size, mask);
		int result = sched_getaffinity(thread, size, mask) == 0 ? 0 : -errno;
		if (result == 0)
			list_from_mask(list, mask, size);
		CPU_FREE(mask);
		if (result != -EINVAL)
			return result != 0 || list->count > 0 ? result : -ENOENT;
	}
	return -EINVAL;
}

int cpu_available_at(const char *root, struct cpu_list *list)
{
	int result = read_mask(0, list);
	if (result == 0)
		list->share = smaller((unsigned)list->count, cpu_quota(root));
	return result;
}

int cpu_available(struct cpu_list *list)
{
	return cpu_available_at("", list);
}

int cpu_allowed(pid_t thread, struct cpu_list *list)
{
	int result = read_mask(thread, list);
	if (result == 0)
		list->share = list->count;
	return result;
}

bool cpu_list_equal(const struct cpu_list *a, const struct cpu_list *b)
{
	return a->count == b->count && memcmp(a->cpus, b->cpus, a->count * sizeof a->cpus[0]) == 0;
}

const char *cpu_list_format(const struct cpu_list *list, char text[CPU_LIST_TEXT])
{
	enum { ITEM_MAX = sizeof ",65535-65535" };
	size_t used = 0;
	text[0] = '\0';
	for (size_t i = 0, last; i < list->count; i = last + 1) {
		char item[2 * ITEM_MAX];
		for (last = i; last + 1 < list->count && list->cpus[last + 1] == list->cpus[last] + 1;)
			last++;
		int length = snprintf(item, sizeof item, last == i ? "%s%d" : "%s%d-%d", i == 0 ? "" : ",",
				      list->cpus[i], list->cpus[last]);
		if (used + (size_t)length + sizeof ",..." > CPU_LIST_TEXT) {
			strcpy(text + used, ",...");
			break;
		}
		strcpy(text + used, item);
		used += (size_t)length;
	}
	return text;
}

int cpu_list_alone(const struct cpu_list *masks, size_t count, bool *alone)
{
	memset(alone, 0, count * sizeof *alone);
	unsigned *users = calloc(UINT16_MAX + 1, sizeof *users);
	if (users == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		for (size_t c = 0; c < masks[i].count; c++)
			users[masks[i].cpus[c]]++;
	}
	for (size_t i = 0; i < count; i++)
		alone[i] = masks[i].count == 1 && users[masks[i].cpus[0]] == 1;
	free(users);
	return 0;
}

/* Threads on some CPUs of the list, in turn. */
static void deal(int *cpus, unsigned threads, const struct cpu_list *list, unsigned first, unsigned count)
{
	bool pinned = count > 0 && list->share == list->count;
	for (unsigned i = 0; i < threads; i++)
		cpus[i] = pinned ? list->cpus[first + i % count] : CPU_FLOATS;
}

static unsigned plan_readers(const struct cpu_wanted *wanted, unsigned workers, bool few)
{
	if (wanted->readers < 0)
		return workers == 1 || few ? 0 : 1;
	return smaller((unsigned)wanted->readers, CPU_READERS_MAX);
}

void cpu_plan_make(struct cpu_plan *plan, const struct cpu_list *available, const struct cpu_wanted *wanted)
{
	unsigned n = (unsigned)available->share;
	bool few = n <= FEW_CPUS;
	unsigned control = few ? 0 : 1;
	unsigned workers = smaller(wanted->workers, CPU_WORKERS_MAX);
	unsigned readers = plan_readers(wanted, workers, few);
	if (workers > 0)
		readers = smaller(readers, CPU_TUN_QUEUES_MAX - workers);
	unsigned handshakers = wanted->handshakers == 0 ? 1 : smaller(wanted->handshakers, CPU_HANDSHAKERS_MAX);

	/* One CPU stays for workers, however many readers and handshake threads there are. */
	unsigned reader_cpus = few ? 0 : smaller(readers, n - control - 1);
	unsigned handshaker_cpus = few ? 0 : smaller(handshakers - 1, n - control - reader_cpus - 1);
	unsigned worker_cpus = n - control - reader_cpus - handshaker_cpus;
	if (workers == 0)
		workers = smaller(worker_cpus, smaller(CPU_WORKERS_MAX, CPU_TUN_QUEUES_MAX - readers));

	*plan = (struct cpu_plan){
		.workers = workers,
		.readers = readers,
		.handshakers = handshakers,
		.spin = !few && workers <= worker_cpus && available->share == available->count && !wanted->realtime,
	};
	deal(&plan->control_cpu, 1, available, 0, control);
	unsigned first = control + handshaker_cpus;
	deal(plan->handshaker_cpus, handshakers, available, 0, first);
	deal(plan->reader_cpus, readers, available, first, reader_cpus);
	deal(plan->worker_cpus, workers, available, first + reader_cpus, worker_cpus);
}

void cpu_plan_add_reader(struct cpu_plan *plan)
{
	plan->readers = 1;
	plan->reader_cpus[0] = CPU_FLOATS;
}

static void float_all(int *cpus, unsigned threads)
{
	for (unsigned i = 0; i < threads; i++)
		cpus[i] = CPU_FLOATS;
}

void cpu_plan_move(struct cpu_plan *plan, const struct cpu_list *available, bool realtime)
{
	const struct cpu_wanted same = {.workers = plan->workers,
					.readers = (int)plan->readers,
					.handshakers = plan->handshakers,
					.realtime = realtime};
	cpu_plan_make(plan, available, &same);
	if (available->count >= plan->workers)
		return;
	float_all(plan->worker_cpus, plan->workers);
	float_all(plan->reader_cpus, plan->readers);
	float_all(plan->handshaker_cpus, plan->handshakers);
	float_all(&plan->control_cpu, 1);
}

static int set_mask(pid_t thread, const struct cpu_list *list)
{
	size_t highest = 0;
	for (size_t i = 0; i < list->count; i++)
		highest = list->cpus[i] > highest ? list->cpus[i] : highest;
	size_t size = CPU_ALLOC_SIZE(highest + 1);
	cpu_set_t *mask = CPU_ALLOC(highest + 1);
	if (mask == NULL)
		return -ENOMEM;
	CPU_ZERO_S(size, mask);
	for (size_t i = 0; i < list->count; i++)
		CPU_SET_S(list->cpus[i], size, mask);
	int result = sched_setaffinity(thread, size, mask) == 0 ? 0 : -errno;
	CPU_FREE(mask);
	return result;
}

int cpu_place(pid_t thread, int cpu, const struct cpu_list *list)
{
	if (cpu == CPU_FLOATS)
		return set_mask(thread, list);
	if (cpu < 0 || cpu > UINT16_MAX)
		return -EINVAL;
	struct cpu_list one = {.cpus = {(uint16_t)cpu}, .count = 1};
	return set_mask(thread, &one);
}

int cpu_pin(int cpu)
{
	return cpu != CPU_FLOATS ? cpu_place(0, cpu, NULL) : -EINVAL;
}

int cpu_float(const struct cpu_list *list)
{
	return set_mask(0, list);
}

void thread_set_name(const char *name)
{
	(void)prctl(PR_SET_NAME, name);
}

int thread_set_nice(int nice)
{
	return setpriority(PRIO_PROCESS, (id_t)gettid(), nice) == 0 ? 0 : -errno;
}
