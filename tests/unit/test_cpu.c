// SPDX-License-Identifier: Apache-2.0
/* CPUs: quotas of cgroups, the plan of threads, and where threads really are. */
#include <criterion/criterion.h>
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "core/base/cpu.h"

/* Quotas: each test makes a root directory with its own /proc and /sys. */

#define V2 "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1 "35 24 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
#define NOISE                                                                         \
	"22 28 0:21 / /proc rw,nosuid shared:13 - proc proc rw\n"                     \
	"36 24 0:32 / /sys/fs/cgroup/cpuset rw shared:10 - cgroup cgroup rw,cpuset\n" \
	"28 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"

static char root[32];

static void root_new(void)
{
	strcpy(root, "/tmp/test_cpu.XXXXXX");
	cr_assert_not_null(mkdtemp(root));
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *at)
{
	(void)status, (void)type, (void)at;
	return remove(path);
}

static void root_free(void)
{
	nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(cpu_quota, .init = root_new, .fini = root_free);

static void write_file(const char *path, const char *text)
{
	char whole[512];
	snprintf(whole, sizeof whole, "%s%s", root, path);
	for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(whole, 0755);
		*slash = '/';
	}
	FILE *file = fopen(whole, "w");
	cr_assert_not_null(file);
	fputs(text, file);
	fclose(file);
}

static void own_cgroup(const char *cgroup, const char *mountinfo)
{
	write_file("/proc/self/cgroup", cgroup);
	write_file("/proc/self/mountinfo", mountinfo);
}

Test(cpu_quota, version_2_is_rounded_up)
{
	static const struct {
		const char *text;
		unsigned cpus;
	} quotas[] = {
		{"50000 100000\n", 1},
		{"100000 100000\n", 1},
		{"100001 100000\n", 2},
		{"150000 100000\n", 2},
		{"200000 100000\n", 2},
		{"1000 1000\n", 1},
		{"1 1000000\n", 1},
		{"6400000 100000\n", 64},
		{"max 100000\n", CPU_NO_QUOTA},
		{"\n", CPU_NO_QUOTA},
		{"100000\n", CPU_NO_QUOTA},
		{"100000 0\n", CPU_NO_QUOTA},
		{"-1 100000\n", CPU_NO_QUOTA},
		{"9223372036854775807 2\n", CPU_NO_QUOTA},
	};
	own_cgroup("0::/gw\n", NOISE V2);
	for (size_t i = 0; i < ARRAY_SIZE(quotas); i++) {
		write_file("/sys/fs/cgroup/gw/cpu.max", quotas[i].text);
		cr_expect_eq(cpu_quota(root), quotas[i].cpus, "%s", quotas[i].text);
	}
}

Test(cpu_quota, the_smallest_of_nested_ones_counts)
{
	own_cgroup("0::/system.slice/vpn.slice/gw.service\n", NOISE V2);
	write_file("/sys/fs/cgroup/system.slice/vpn.slice/gw.service/cpu.max", "max 100000\n");
	cr_expect_eq(cpu_quota(root), CPU_NO_QUOTA);
	write_file("/sys/fs/cgroup/system.slice/cpu.max", "500000 100000\n");
	cr_expect_eq(cpu_quota(root), 5, "two levels up, with a level between that has no file");
	write_file("/sys/fs/cgroup/system.slice/vpn.slice/cpu.max", "700000 100000\n");
	cr_expect_eq(cpu_quota(root), 5);
	write_file("/sys/fs/cgroup/system.slice/vpn.slice/gw.service/cpu.max", "250000 100000\n");
	cr_expect_eq(cpu_quota(root), 3);
	write_file("/sys/fs/cgroup/cpu.max", "200000 100000\n");
	cr_expect_eq(cpu_quota(root), 2, "what is mounted at the top, as in a container");
	write_file("/sys/fs/cpu.max", "100000 100000\n");
	write_file("/sys/fs/cgroup/system.slice/other/cpu.max", "100000 100000\n");
	cr_expect_eq(cpu_quota(root), 2, "above the mount point, and beside our own: not ours");
}

Test(cpu_quota, version_1)
{
	own_cgroup("4:cpu,cpuacct:/docker/gw\n5:cpuset:/elsewhere\n1:name=systemd:/x\n", NOISE V1);
	cr_expect_eq(cpu_quota(root), CPU_NO_QUOTA);
	write_file("/sys/fs/cgroup/cpu,cpuacct/docker/gw/cpu.cfs_quota_us", "150000\n");
	cr_expect_eq(cpu_quota(root), CPU_NO_QUOTA, "no period");
	write_file("/sys/fs/cgroup/cpu,cpuacct/docker/gw/cpu.cfs_period_us", "100000\n");
	cr_expect_eq(cpu_quota(root), 2);
	write_file("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "50000\n");
	write_file("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n");
	cr_expect_eq(cpu_quota(root), 1);
	write_file("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "-1\n");
	cr_expect_eq(cpu_quota(root), 2, "-1 is no limit");
	write_file("/sys/fs/cgroup/cpuset/docker/gw/cpu.cfs_quota_us", "1000\n");
	write_file("/sys/fs/cgroup/cpuset/docker/gw/cpu.cfs_period_us", "1000\n");
	cr_expect_eq(cpu_quota(root), 2, "not the hierarchy of CPU time");
}

Test(cpu_quota, both_versions_at_once)
{
	own_cgroup("4:cpu,cpuacct:/a\n0::/b\n", NOISE V1 V2);
	write_file("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "400000\n");
	write_file("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
	cr_expect_eq(cpu_quota(root), 4);
	write_file("/sys/fs/cgroup/b/cpu.max", "300000 100000\n");
	cr_expect_eq(cpu_quota(root), 3);
	write_file("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "200000\n");
	cr_expect_eq(cpu_quota(root), 2);
}

Test(cpu_quota, containers)
{
	/* A part of the hierarchy is mounted, and our path starts above it. */
	own_cgroup("0::/docker/0123/gw\n", "30 23 0:26 /docker/0123 /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
	write_file("/sys/fs/cgroup/cpu.max", "400000 100000\n");
	cr_expect_eq(cpu_quota(root), 4);
	write_file("/sys/fs/cgroup/gw/cpu.max", "300000 100000\n");
	cr_expect_eq(cpu_quota(root), 3);
	/* A path that only starts with the same letters, and one outside of our namespace: only the top is to be seen.
	 */
	own_cgroup("0::/docker/01234/gw\n", "30 23 0:26 /docker/0123 /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
	cr_expect_eq(cpu_quota(root), 4);
	own_cgroup("0::/../gw\n", NOISE V2);
	write_file("/sys/fs/gw/cpu.max", "100000 100000\n");
	cr_expect_eq(cpu_quota(root), 4);
	own_cgroup("0::/\n", NOISE V2);
	cr_expect_eq(cpu_quota(root), 4);
}

Test(cpu_quota, a_weight_of_any_cgroup_decides)
{
	own_cgroup("0::/system.slice/gw.service\n", V2);
	cr_expect_not(cpu_cgroup_weighs(root), "no controller of CPU time");
	write_file("/sys/fs/cgroup/user.slice/cpu.weight", "100\n");
	cr_expect_not(cpu_cgroup_weighs(root), "another's");
	write_file("/sys/fs/cgroup/system.slice/cpu.weight", "100\n");
	cr_expect(cpu_cgroup_weighs(root));
	own_cgroup("0::/\n", V2);
	cr_expect_not(cpu_cgroup_weighs(root), "the root has none");
	write_file("/sys/fs/cgroup/cpu.weight", "100\n");
	cr_expect(cpu_cgroup_weighs(root), "what looks like the root in a container");
	own_cgroup("4:cpu,cpuacct:/\n", V1);
	cr_expect_not(cpu_cgroup_weighs(root), "version 1: at its root");
	own_cgroup("4:cpu,cpuacct:/docker/gw\n", V1);
	cr_expect(cpu_cgroup_weighs(root));
	own_cgroup("4:cpuset:/docker/gw\n", NOISE V1);
	cr_expect_not(cpu_cgroup_weighs(root), "not the hierarchy of CPU time");
}

Test(cpu_quota, without_cgroups)
{
	cr_expect_eq(cpu_quota(root), CPU_NO_QUOTA, "no /proc");
	own_cgroup("0::/gw\n", NOISE);
	cr_expect_eq(cpu_quota(root), CPU_NO_QUOTA, "not mounted");
	own_cgroup("", NOISE V1 V2);
	write_file("/sys/fs/cgroup/cpu.max", "100000 100000\n");
	cr_expect_eq(cpu_quota(root), CPU_NO_QUOTA, "in none");
	own_cgroup("nonsense\n0\n0:\n", "nonsense\n\n30 23 0:26 / /sys/fs/cgroup rw - cgroup2\n - - - -\n");
	cr_expect_eq(cpu_quota(root), CPU_NO_QUOTA);
}

static void expect_mask(const struct cpu_list *list)
{
	cpu_set_t mask;
	cr_assert_eq(sched_getaffinity(0, sizeof mask, &mask), 0);
	cr_expect_eq((size_t)CPU_COUNT(&mask), list->count);
	for (size_t i = 0; i < list->count; i++)
		cr_expect(CPU_ISSET(list->cpus[i], &mask));
}

Test(cpu_quota, is_a_share_of_the_list)
{
	struct cpu_list all, list;
	cr_assert_eq(cpu_available_at(root, &all), 0);
	expect_mask(&all);
	cr_expect_eq(all.share, all.count, "no quota");
	own_cgroup("0::/\n", V2);
	write_file("/sys/fs/cgroup/cpu.max", "50000 100000\n");
	cr_assert_eq(cpu_available_at(root, &list), 0);
	cr_expect_eq(list.share, 1);
	expect_mask(&list);
	write_file("/sys/fs/cgroup/cpu.max", "100000000 100000\n");
	cr_assert_eq(cpu_available_at(root, &list), 0);
	cr_expect_eq(list.share, all.count, "a quota adds nothing");
}

/* The plan */

/* n CPUs: 10, 12, 14, ... so that numbers and indices differ. */
static struct cpu_list cpus(size_t n)
{
	struct cpu_list list = {.count = n, .share = n};
	for (size_t i = 0; i < n; i++)
		list.cpus[i] = (uint16_t)(10 + 2 * i);
	return list;
}

static struct cpu_plan plan_for(size_t n, unsigned workers, int readers, unsigned handshakers)
{
	struct cpu_plan plan;
	struct cpu_list list = cpus(n);
	struct cpu_wanted wanted = {.workers = workers, .readers = readers, .handshakers = handshakers};
	cpu_plan_make(&plan, &list, &wanted);
	return plan;
}

/* Threads are on the CPUs with these indices in the list, in turn; none: they float. */
static void expect_cpus(const char *who, size_t n, const int *threads, size_t count, size_t first, size_t some)
{
	for (size_t i = 0; i < count; i++) {
		int expected = some > 0 ? (int)(10 + 2 * (first + i % some)) : CPU_FLOATS;
		cr_expect_eq(threads[i], expected, "n = %zu: %s %zu is on %d, not %d", n, who, i, threads[i], expected);
	}
}

struct expected {
	size_t n;
	unsigned workers_wanted;
	int readers_wanted;
	unsigned workers, readers;
	size_t reader_cpus, worker_cpus;
	bool spin;
};

static void expect_plans(const struct expected *table, size_t count)
{
	for (const struct expected *row = table; row < table + count; row++) {
		struct cpu_plan plan = plan_for(row->n, row->workers_wanted, row->readers_wanted, 0);
		size_t control = row->n > 4 ? 1 : 0;
		cr_expect_eq(plan.workers, row->workers, "row %td: %u workers", row - table, plan.workers);
		cr_expect_eq(plan.readers, row->readers, "row %td: %u readers", row - table, plan.readers);
		cr_expect_eq(plan.handshakers, 1, "row %td", row - table);
		cr_expect_eq(plan.spin, row->spin, "row %td", row - table);
		expect_cpus("control", row->n, &plan.control_cpu, 1, 0, control);
		expect_cpus("handshaker", row->n, plan.handshaker_cpus, 1, 0, control);
		expect_cpus("reader", row->n, plan.reader_cpus, plan.readers, control, row->reader_cpus);
		expect_cpus("worker", row->n, plan.worker_cpus, plan.workers, control + row->reader_cpus,
			    row->worker_cpus);
	}
}

Test(cpu_plan, auto_counts)
{
	static const struct expected table[] = {
		/* n, wanted, are, CPUs of readers and workers, spin */
		{1, 0, -1, 1, 0, 0, 1, false},	    {2, 0, -1, 2, 0, 0, 2, false},
		{3, 0, -1, 3, 0, 0, 3, false},	    {4, 0, -1, 4, 0, 0, 4, false},
		{5, 0, -1, 3, 1, 1, 3, true},	    {6, 0, -1, 4, 1, 1, 4, true},
		{8, 0, -1, 6, 1, 1, 6, true},	    {64, 0, -1, 62, 1, 1, 62, true},
		{128, 0, -1, 126, 1, 1, 126, true}, {252, 0, -1, 250, 1, 1, 250, true},
		{256, 0, -1, 250, 1, 1, 254, true}, {1024, 0, -1, 250, 1, 1, 1022, true},
	};
	expect_plans(table, ARRAY_SIZE(table));
}

Test(cpu_plan, a_realtime_thread_never_spins)
{
	struct cpu_plan plan;
	struct cpu_list list = cpus(8);
	struct cpu_wanted wanted = {.readers = -1};
	cpu_plan_make(&plan, &list, &wanted);
	cr_assert(plan.spin);
	wanted.realtime = true;
	cpu_plan_make(&plan, &list, &wanted);
	cr_assert_not(plan.spin);
	cr_assert_eq(plan.workers, 6, "nothing else changes");
}

Test(cpu_plan, explicit_counts)
{
	static const struct expected table[] = {
		/* Few CPUs */
		{1, 1, -1, 1, 0, 0, 1, false},
		{1, 2, -1, 2, 0, 0, 1, false},
		{2, 1, -1, 1, 0, 0, 2, false},
		{2, 1, 2, 1, 2, 0, 2, false},
		{2, 2, 1, 2, 1, 0, 2, false},
		{2, 3, -1, 3, 0, 0, 2, false},
		{4, 2, -1, 2, 0, 0, 4, false},
		{4, 5, 3, 5, 3, 0, 4, false},
		/* The workers read */
		{1, 0, 0, 1, 0, 0, 1, false},
		{4, 0, 0, 4, 0, 0, 4, false},
		{8, 0, 0, 7, 0, 0, 7, true},
		{8, 1, -1, 1, 0, 0, 7, true},
		{8, 3, 0, 3, 0, 0, 7, true},
		{8, 9, 0, 9, 0, 0, 7, false},
		{1024, 0, 0, 250, 0, 0, 1023, true},
		/* Many CPUs */
		{8, 2, -1, 2, 1, 1, 6, true},
		{8, 6, -1, 6, 1, 1, 6, true},
		{8, 7, -1, 7, 1, 1, 6, false},
		{8, 20, -1, 20, 1, 1, 6, false},
		{8, 1, 2, 1, 2, 2, 5, true},
		{64, 0, 4, 59, 4, 4, 59, true},
		{64, 60, 4, 60, 4, 4, 59, false},
		/* So many readers that they share CPUs */
		{5, 0, 3, 1, 3, 3, 1, true},
		{5, 0, 4, 1, 4, 3, 1, true},
		{5, 0, 16, 1, 16, 3, 1, true},
		{5, 2, 16, 2, 16, 3, 1, false},
		/* Bounds */
		{1024, 1000, -1, 250, 1, 1, 1022, true},
		{1024, 250, 16, 250, 6, 6, 1017, true},
		{1024, 0, 16, 240, 16, 16, 1007, true},
		{1024, 4, 17, 4, 16, 16, 1007, true},
	};
	expect_plans(table, ARRAY_SIZE(table));
}

/* As many threads as for a machine with so few CPUs, and none is tied to one of them. */
Test(cpu_plan, under_a_quota_threads_float)
{
	struct cpu_list list = cpus(64);
	for (size_t share = 1; share < 64; share++) {
		struct cpu_plan plan, whole = plan_for(share, 0, -1, 0);
		list.share = share;
		cpu_plan_make(&plan, &list, &(struct cpu_wanted){.readers = -1});
		cr_assert_eq(plan.workers, whole.workers);
		cr_assert_eq(plan.readers, whole.readers);
		cr_assert_not(plan.spin, "its CPU is not its own");
		expect_cpus("control", share, &plan.control_cpu, 1, 0, 0);
		expect_cpus("handshaker", share, plan.handshaker_cpus, plan.handshakers, 0, 0);
		expect_cpus("reader", share, plan.reader_cpus, plan.readers, 0, 0);
		expect_cpus("worker", share, plan.worker_cpus, plan.workers, 0, 0);
	}
}

Test(cpu_plan, a_reader_takes_over)
{
	struct cpu_plan plan = plan_for(4, 0, -1, 0), before = plan;
	cpu_plan_add_reader(&plan);
	cr_expect_eq(plan.workers, before.workers);
	cr_expect_eq(plan.readers, 1);
	cr_expect_eq(plan.reader_cpus[0], CPU_FLOATS);
}

Test(cpu_plan, handshakers)
{
	struct cpu_plan plan = plan_for(4, 0, -1, 3);
	cr_expect_eq(plan.handshakers, 3);
	expect_cpus("handshaker", 4, plan.handshaker_cpus, 3, 0, 0);
	plan = plan_for(16, 0, -1, 3);
	cr_expect_eq(plan.handshakers, 3);
	cr_expect_eq(plan.workers, 12, "each that was asked for has a CPU, the first shares control's");
	expect_cpus("handshaker", 16, plan.handshaker_cpus, 3, 0, 3);
	expect_cpus("reader", 16, plan.reader_cpus, 1, 3, 1);
	expect_cpus("worker", 16, plan.worker_cpus, 12, 4, 12);
	plan = plan_for(8, 0, 4, 16);
	cr_expect_eq(plan.workers, 1, "readers come first, and a worker has one");
	expect_cpus("handshaker", 8, plan.handshaker_cpus, 16, 0, 3);
	expect_cpus("reader", 8, plan.reader_cpus, 4, 3, 4);
	expect_cpus("worker", 8, plan.worker_cpus, 1, 7, 1);
	cr_expect_eq(plan_for(16, 0, -1, 17).handshakers, CPU_HANDSHAKERS_MAX);
}

/* What must hold whatever is asked for. */
Test(cpu_plan, promises)
{
	for (size_t n = 1; n <= 300; n++) {
		for (unsigned workers = 0; workers <= 260; workers += workers < 10 ? 1 : 50) {
			for (int readers = -1; readers <= 17; readers++) {
				unsigned handshakers = (unsigned)(n + workers) % 18;
				struct cpu_plan plan = plan_for(n, workers, readers, handshakers);
				bool own[2048] = {false}, each_its_own = true;
				cr_assert(plan.workers >= 1 && plan.workers <= CPU_WORKERS_MAX);
				cr_assert(plan.workers + plan.readers <= CPU_TUN_QUEUES_MAX);
				for (size_t i = 0; i < plan.workers; i++) {
					int cpu = plan.worker_cpus[i];
					cr_assert(cpu >= 10 && cpu <= (int)(8 + 2 * n), "pinned, to one of the list");
					each_its_own = each_its_own && !own[cpu];
					own[cpu] = true;
				}
				cr_assert_eq(plan.spin, each_its_own && n > 4);
				for (size_t i = 0; i < plan.readers; i++)
					cr_assert(plan.reader_cpus[i] < 0 || !own[plan.reader_cpus[i]]);
				cr_assert(plan.control_cpu < 0 || !own[plan.control_cpu]);
				cr_assert_eq(plan.handshaker_cpus[0], plan.control_cpu);
				for (size_t i = 1; i < plan.handshakers; i++)
					cr_assert(plan.handshaker_cpus[i] < 0 || !own[plan.handshaker_cpus[i]]);
			}
		}
	}
}

/* Threads */

Test(cpu_thread, is_pinned_and_floats)
{
	struct cpu_list list;
	cr_assert_eq(cpu_available(&list), 0);
	cr_assert(list.count >= 1);
	for (size_t i = 0; i < list.count; i++) {
		struct cpu_list one = {.cpus = {list.cpus[i]}, .count = 1}, inherited;
		cr_assert_eq(cpu_pin(list.cpus[i]), 0);
		cr_expect_eq(sched_getcpu(), list.cpus[i]);
		expect_mask(&one);
		cr_assert_eq(cpu_available(&inherited), 0);
		cr_expect_eq(inherited.count, 1);
		cr_expect_eq(inherited.cpus[0], list.cpus[i]);
	}
	cr_assert_eq(cpu_float(&list), 0);
	expect_mask(&list);
	cr_expect_eq(cpu_pin(CPU_FLOATS), -EINVAL);
	cr_expect_eq(cpu_pin(60000), -EINVAL, "no machine has it");
	cr_expect_eq(cpu_float(&(struct cpu_list){.count = 0}), -EINVAL);
	expect_mask(&list);
}

static void *be_modest(void *unused)
{
	char name[16];
	thread_set_name("worker 3");
	cr_assert_eq(prctl(PR_GET_NAME, name), 0);
	cr_expect_str_eq(name, "worker 3");
	thread_set_name("handshaker of a long name");
	cr_assert_eq(prctl(PR_GET_NAME, name), 0);
	cr_expect_str_eq(name, "handshaker of a");
	cr_expect_eq(thread_set_nice(7), 0);
	cr_expect_eq(getpriority(PRIO_PROCESS, (id_t)gettid()), 7);
	return unused;
}

Test(cpu_thread, name_and_nice_are_its_own)
{
	char before[16], after[16];
	pthread_t thread;
	int nice = getpriority(PRIO_PROCESS, (id_t)gettid());
	cr_assert_eq(prctl(PR_GET_NAME, before), 0);
	cr_assert_eq(pthread_create(&thread, NULL, be_modest, NULL), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_expect_eq(getpriority(PRIO_PROCESS, (id_t)gettid()), nice);
	cr_assert_eq(prctl(PR_GET_NAME, after), 0);
	cr_expect_str_eq(after, before);
}
