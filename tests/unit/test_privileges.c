// SPDX-License-Identifier: Apache-2.0
/* What can be given up without being root, and what happens then. Each test is a process of its own. */
#include "core/host/privileges.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/rcu.h"
#include "core/host/seccomp_filter.h"

TestSuite(privileges, .timeout = 60);
TestSuite(seccomp, .timeout = 60);

/* --- users -------------------------------------------------------------------------------------------------------- */

Test(privileges, a_user_is_looked_up)
{
	struct privileges_user user;
	struct error error = {0};
	cr_assert_eq(privileges_find_user("root", &user, &error), 0, "%s", error.text);
	cr_assert(user.change);
	cr_assert_eq(user.uid, 0);
	cr_assert_str_eq(user.name, "root");
	cr_assert_not(privileges_become(&user), "root is root already");
}

Test(privileges, a_user_that_there_is_not_is_an_error)
{
	struct privileges_user user;
	struct error error = {0};
	cr_assert_eq(privileges_find_user("nobody-at-all", &user, &error), -ENOENT);
	cr_assert_str_eq(error.text, "User = nobody-at-all: there is no such user; write auto, or make it: useradd "
				     "--system nobody-at-all");
	cr_assert_not(user.change);
}

Test(privileges, automatic_is_never_an_error)
{
	struct privileges_user user;
	struct error error = {0};
	cr_assert_eq(privileges_find_user("auto", &user, &error), 0, "%s", error.text);
}

/* --- capabilities ------------------------------------------------------------------------------------------------- */

/* A field of the calling thread's status. */
static unsigned long long field(const char *name, int base)
{
	char line[256];
	unsigned long long value = ~0ull;
	FILE *file = fopen("/proc/thread-self/status", "re");
	cr_assert_not_null(file);
	while (fgets(line, sizeof line, file) != NULL) {
		if (strncmp(line, name, strlen(name)) == 0)
			value = strtoull(line + strlen(name), NULL, base);
	}
	fclose(file);
	return value;
}

Test(privileges, a_thread_gives_up_every_capability)
{
	cr_assert_eq(privileges_drop_thread(), 0);
	static const char *const sets[] = {"CapInh:", "CapPrm:", "CapEff:", "CapAmb:"};
	for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
		cr_assert_eq(field(sets[i], 16), 0, "%s", sets[i]);
}

static void look_at_rcu_thread(void *context)
{
	unsigned long long *seen = context;
	seen[0] = field("Pid:", 10);
	seen[1] = field("CapPrm:", 16);
	seen[2] = field("NoNewPrivs:", 10);
}

Test(privileges, the_control_thread_and_liburcus_have_no_more_than_they_need)
{
	struct privileges_user stay = {0};
	struct error error = {0};
	unsigned long long seen[3];
	rcu_start();
	rcu_join();
	unsigned long long before = field("CapPrm:", 16), net_admin = 1 << 12;
	cr_assert_eq(privileges_drop(&stay, false, &error), 0, "%s", error.text);
	cr_assert_eq(field("CapPrm:", 16), before & net_admin);
	cr_assert_eq(field("CapEff:", 16), before & net_admin);
	cr_assert_eq(field("NoNewPrivs:", 10), 1);
	rcu_run_on_thread(look_at_rcu_thread, seen);
	cr_assert_neq(seen[0], (unsigned long long)gettid(), "it is another thread");
	cr_assert_eq(seen[1], 0);
	cr_assert_eq(seen[2], 1);
	rcu_leave();
}

Test(privileges, the_right_to_set_priorities_goes_when_threads_run)
{
	struct privileges_user stay = {0};
	struct error error = {0};
	unsigned long long net_admin = 1 << 12, nice = 1 << 23;
	rcu_start();
	rcu_join();
	unsigned long long before = field("CapPrm:", 16);
	cr_assert_eq(privileges_drop(&stay, true, &error), 0, "%s", error.text);
	cr_assert_eq(field("CapPrm:", 16), before & (net_admin | nice));
	cr_assert_eq(field("CapEff:", 16), before & (net_admin | nice));
	cr_assert_eq(privileges_drop_nice(&error), 0, "%s", error.text);
	cr_assert_eq(field("CapPrm:", 16), before & net_admin);
	cr_assert_eq(field("CapEff:", 16), before & net_admin);
	rcu_leave();
}

Test(privileges, memory_is_not_dumped)
{
	privileges_keep_memory();
	struct rlimit core;
	cr_assert_eq(getrlimit(RLIMIT_CORE, &core), 0);
	cr_assert(core.rlim_cur == 0 && core.rlim_max == 0);
#ifndef SHARDTUN_SANITIZED
	cr_assert_eq(prctl(PR_GET_DUMPABLE), 0);
#endif
}

/* --- system calls ------------------------------------------------------------------------------------------------- */

#ifndef SHARDTUN_SANITIZED

static struct {
	enum seccomp_kind kind;
	void (*act)(void);
} wanted;

static void *load_and_act(void *unused)
{
	(void)prctl(PR_SET_NAME, "worker 7");
	struct seccomp_filter *filter = seccomp_filter_new(wanted.kind, NULL);
	if (filter == NULL || seccomp_filter_load(filter) != 0)
		_exit(99);
	wanted.act();
	_exit(0);
	return unused;
}

/* What a child came to by `act` on a thread of that kind with its filter; `said` is its standard error. */
static int filtered(enum seccomp_kind kind, void (*act)(void), char said[512])
{
	int pipes[2];
	cr_assert_eq(pipe(pipes), 0);
	wanted.kind = kind;
	wanted.act = act;
	pid_t child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		pthread_t thread;
		(void)dup2(pipes[1], STDERR_FILENO);
		if (kind == SECCOMP_CONTROL)
			(void)load_and_act(NULL);
		else if (pthread_create(&thread, NULL, load_and_act, NULL) == 0)
			(void)pthread_join(thread, NULL);
		_exit(98);
	}
	close(pipes[1]);
	size_t length = 0;
	for (ssize_t got; (got = read(pipes[0], said + length, 511 - length)) > 0;)
		length += (size_t)got;
	said[length] = '\0';
	close(pipes[0]);
	int status;
	cr_assert_eq(waitpid(child, &status, 0), child);
	return status;
}

static bool ended_well(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool ended_by_sigsys(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static void make_socket(void)
{
	(void)socket(AF_UNIX, SOCK_STREAM, 0);
}

static void make_internet_socket(void)
{
	_exit(socket(AF_INET, SOCK_STREAM, 0) == -1 && errno == ENOSYS ? 0 : 1);
}

static void execute(void)
{
	(void)execl("/bin/true", "true", NULL);
}

static void make_memory_executable(void)
{
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	_exit(memory == MAP_FAILED ? 0 : 1);
}

static void make_executable_later(void)
{
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	_exit(memory != MAP_FAILED && mprotect(memory, 4096, PROT_READ | PROT_EXEC) != 0 ? 0 : 1);
}

static void become_root(void)
{
	_exit(syscall(SYS_setresuid, 0, 0, 0) == -1 && errno == ENOSYS ? 0 : 1);
}

static void what_threads_do(void)
{
	char byte = 0;
	int zero = open("/dev/null", O_RDONLY); /* not for data threads */
	void *memory = malloc(1 << 20);
	ssize_t got = read(zero, &byte, 1);
	free(memory);
	_exit(got == 0 ? 0 : 1);
}

/* --- of the metrics thread ---------------------------------------------------------------------------------------- */

static char victim[] = "/tmp/shardtun-seccomp-XXXXXX";
static int flags;

static void open_victim(void)
{
	int fd = openat(AT_FDCWD, victim, flags, 0600);
	_exit(fd >= 0 ? 0 : 1);
}

static void set_a_limit(void)
{
	struct rlimit limit = {64, 64};
	_exit(setrlimit(RLIMIT_NOFILE, &limit) == 0 ? 0 : 1);
}

static void ask_for_a_limit(void)
{
	struct rlimit limit;
	_exit(getrlimit(RLIMIT_NOFILE, &limit) == 0 ? 0 : 1);
}

static void set_a_socket_option(void)
{
	int on = 1;
	(void)setsockopt(STDERR_FILENO, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

static void ask_for_signals(void)
{
	_exit(fcntl(STDERR_FILENO, F_SETOWN, 1) == 0 ? 0 : 1);
}

static void set_blocking(void)
{
	int old = fcntl(STDERR_FILENO, F_GETFL);
	_exit(old >= 0 && fcntl(STDERR_FILENO, F_SETFL, old | O_NONBLOCK) == 0 ? 0 : 1);
}

Test(seccomp, the_metrics_thread_reads_files_and_changes_none)
{
	static const int reading[] = {O_RDONLY, O_RDONLY | O_CLOEXEC, O_RDONLY | O_NONBLOCK | O_NOFOLLOW};
	static const int others[] = {O_WRONLY,
				     O_RDWR,
				     O_RDONLY | O_TRUNC,
				     O_WRONLY | O_TRUNC,
				     O_RDONLY | O_CREAT,
				     O_WRONLY | O_APPEND,
				     O_RDONLY | O_APPEND,
				     O_ACCMODE,
				     O_RDWR | O_TMPFILE,
				     O_RDONLY | O_EXCL,
				     O_RDONLY | O_CREAT | O_EXCL};
	char said[512];
	int fd = mkstemp(victim);
	cr_assert(fd >= 0 && write(fd, "here", 4) == 4);
	for (size_t i = 0; i < ARRAY_SIZE(reading); i++) {
		flags = reading[i];
		int status = filtered(SECCOMP_METRICS, open_victim, said);
		cr_expect(ended_well(status), "%o: %x %s", (unsigned)flags, status, said);
	}
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		flags = others[i];
		int status = filtered(SECCOMP_METRICS, open_victim, said);
		cr_expect(ended_by_sigsys(status), "%o: %x %s", (unsigned)flags, status, said);
		cr_expect_eq(lseek(fd, 0, SEEK_END), 4, "%o", (unsigned)flags);
	}
	close(fd);
	(void)unlink(victim);
}

/* Each call is for the threads of one column; the others are ended by it. */
Test(seccomp, a_thread_has_the_calls_of_its_kind_alone)
{
	static const struct {
		void (*act)(void);
		bool data, metrics;
	} acts[] = {
		{ask_for_a_limit, false, true},	 {set_a_limit, false, false}, {set_a_socket_option, false, true},
		{ask_for_signals, false, false}, {set_blocking, false, true}, {execute, false, false},
		{make_socket, false, false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
		char said[512];
		int status = filtered(SECCOMP_DATA, acts[i].act, said);
		cr_expect(acts[i].data ? ended_well(status) : ended_by_sigsys(status), "data %zu: %x %s", i, status,
			  said);
		status = filtered(SECCOMP_METRICS, acts[i].act, said);
		cr_expect(acts[i].metrics ? ended_well(status) : ended_by_sigsys(status), "metrics %zu: %x %s", i,
			  status, said);
	}
}

static void use_a_call_of_tomorrow(void)
{
	_exit(syscall(500) == -1 && errno == ENOSYS ? 0 : 1);
}

static void abort_it(void)
{
	abort();
}

Test(seccomp, a_forbidden_call_ends_the_program_and_is_told)
{
	char said[512], expected[64];
	int status = filtered(SECCOMP_DATA, make_socket, said);
	cr_assert(ended_by_sigsys(status), "%x", status);
	(void)snprintf(expected, sizeof expected, "error: thread 'worker 7' used system call %d,", (int)SYS_socket);
	cr_assert_not_null(strstr(said, expected), "%s", said);
	cr_assert_eq(strchr(said, '\n'), said + strlen(said) - 1, "one line");
}

/* The control thread goes on; nothing of it was done. */
Test(seccomp, what_an_intruder_would_want_is_on_no_list)
{
	static void (*const acts[])(void) = {make_internet_socket, execute, make_memory_executable,
					     make_executable_later, become_root};
	for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
		char said[512];
		int status = filtered(SECCOMP_DATA, acts[i], said);
		cr_assert(ended_by_sigsys(status), "%zu: %x %s", i, status, said);
		cr_assert_not_null(strstr(said, "which it never needs: ended by seccomp"), "%s", said);
		status = filtered(SECCOMP_CONTROL, acts[i], said);
		cr_assert(ended_well(status), "%zu: %x %s", i, status, said);
		cr_assert_not_null(strstr(said, "which it never needs: refused by seccomp"), "%s", said);
	}
}

Test(seccomp, the_control_thread_opens_files_and_data_threads_do_not)
{
	char said[512];
	int status = filtered(SECCOMP_CONTROL, what_threads_do, said);
	cr_assert(ended_well(status), "%x %s", status, said);
	status = filtered(SECCOMP_CONTROL, make_socket, said);
	cr_assert(ended_well(status), "%x %s", status, said);
	status = filtered(SECCOMP_DATA, what_threads_do, said);
	cr_assert(ended_by_sigsys(status), "%x %s", status, said);
}

Test(seccomp, a_call_newer_than_the_list_is_not_there)
{
	char said[512];
	int status = filtered(SECCOMP_DATA, use_a_call_of_tomorrow, said);
	cr_assert(ended_well(status), "%x %s", status, said);
}

Test(seccomp, an_assertion_that_fails_looks_like_one)
{
	char said[512];
	int status = filtered(SECCOMP_DATA, abort_it, said);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%x %s", status, said);
}

#endif
