// SPDX-License-Identifier: Apache-2.0
#include "core/host/seccomp_filter.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "core/base/log.h"

enum {
	/* Numbers are the same everywhere from Linux 5.1 on. */
	NEWEST_CALL = 450, /* set_mempolicy_home_node: Linux 5.17, and the newest in 6.1 */
	LAST_CALL = 511,   /* more than there will be for some years */
};

/* In no list and never used: the handler makes this call to end the process. */
#define FORBIDDEN_CALL SYS_ptrace

struct seccomp_filter {
	scmp_filter_ctx context;
	enum seccomp_kind kind;
};

/* Of this thread: a call that is not allowed fails instead of ending the process. */
static _Thread_local bool tolerant;

/* A call that is allowed while (argument & mask) == value. */
struct condition {
	const char *call;
	unsigned argument;
	uint64_t mask, value;
};

/* --- every thread ------------------------------------------------------------------------------------------------- */

static const char *const data_calls[] = {
	/* packets, wake-ups */
	"read", "readv", "write", "writev", "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg", "sendmmsg",
	"epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll",
	/* time, locks, RCU */
	"clock_gettime", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "futex", "membarrier", "sched_yield",
	"getcpu", "sched_getaffinity", "restart_syscall",
	/* memory: libc, jemalloc, libsodium */
	"brk", "munmap", "mremap", "madvise", "mlock", "mlock2", "munlock", "getrandom",
	/* the thread, its signals and its end */
	"close", "getpid", "gettid", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "set_robust_list", "rseq", "exit",
	"exit_group"};

static const struct condition data_conditions[] = {
	{"mmap", 2, PROT_EXEC, 0},
	{"mprotect", 2, PROT_EXEC, 0},
	{"prctl", 0, UINT32_MAX, PR_GET_NAME},
	{"tgkill", 2, UINT32_MAX, SIGABRT}, /* abort() */
};

/* --- metrics ------------------------------------------------------------------------------------------------------ */

static const char *const metrics_calls[] = {
	/* libmicrohttpd */
	"accept", "accept4", "shutdown", "getsockname", "getpeername", "getsockopt", "setsockopt",
	/* the process's own figures */
	"fstat", "newfstatat", "pread64", "lseek", "getdents64", "getrusage", "getrlimit", "sysinfo"};

/* The flags of open(2) for reading only: with no other flag, no file is created, truncated or appended to. O_RDONLY
 * is 0, and the kernel empties a file for O_RDONLY | O_TRUNC as well. */
#define READING_FLAGS (O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_DIRECTORY | O_LARGEFILE | KERNEL_LARGEFILE)
enum { KERNEL_LARGEFILE = 0100000 }; /* what libc adds on 64 bits, where its O_LARGEFILE is 0 */

static const struct condition metrics_conditions[] = {
	{"openat", 2, (uint32_t)~READING_FLAGS, 0}, /* the time zone, for libc */
	{"prlimit64", 2, UINT64_MAX, 0},	    /* reads the limit, does not set it */
	{"fcntl", 1, UINT32_MAX, F_GETFD},
	{"fcntl", 1, UINT32_MAX, F_SETFD},
	{"fcntl", 1, UINT32_MAX, F_GETFL},
	{"fcntl", 1, UINT32_MAX, F_SETFL},
};

/* --- the log ------------------------------------------------------------------------------------------------------ */

static const char *const log_calls[] = {"connect", "memfd_create", "fstat", "newfstatat", "lseek"};

static const struct condition log_conditions[] = {
	{"socket", 0, UINT32_MAX, AF_UNIX},
	{"getsockopt", 1, UINT32_MAX, SOL_SOCKET}, /* sd_journal_sendv() makes room for a large entry, */
	{"setsockopt", 1, UINT32_MAX, SOL_SOCKET},
	{"fcntl", 1, UINT32_MAX, F_ADD_SEALS},	    /* or sends it as a file */
	{"openat", 2, (uint32_t)~READING_FLAGS, 0}, /* the time zone, for syslog(3) */
};

/* --- the control thread ------------------------------------------------------------------------------------------- */

/* Besides those of metrics. */
static const char *const control_calls[] = {
	/* the files of a reload, sockets' files at the end */
	"open", "openat", "fcntl", "prlimit64", "stat", "lstat", "statx", "statfs", "fstatfs", "access", "faccessat",
	"faccessat2", "readlink", "readlinkat", "getcwd", "unlink", "unlinkat", "dup", "dup2", "dup3", "pipe2",
	/* the file of quotas */
	"pwrite64", "ftruncate", "fdatasync", "rename", "renameat", "renameat2", "flock",
	/* the memory of a hand-over, besides */
	"fallocate",
	/* netlink, libnftables in a process of its own */
	"bind", "connect", "memfd_create", "select", "pselect6", "wait4", "socketpair", "close_range",
	/* threads, when the machine's CPUs change */
	"sched_setaffinity",
	/* the loop */
	"eventfd2", "timerfd_create", "timerfd_settime", "timerfd_gettime", "signalfd4", "epoll_create1",
	/* queries about the process and the machine */
	"getuid", "geteuid", "getgid", "getegid", "getppid", "uname", "clock_getres", "getpriority"};

#define NAMESPACES                                                                                              \
	((unsigned)CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | \
	 CLONE_NEWNET)

static const struct condition control_conditions[] = {
	{"socket", 0, UINT32_MAX, AF_UNIX},    {"socket", 0, UINT32_MAX, AF_NETLINK}, {"clone", 0, NAMESPACES, 0},
	{"ioctl", 1, UINT32_MAX, TCGETS},					 /* stdio checks for a terminal */
	{"ioctl", 1, UINT32_MAX, FIONREAD},    {"kill", 1, UINT32_MAX, SIGKILL}, /* libnftables' process, when it hangs
										  */
	{"ioctl", 1, UINT32_MAX, SIOCGIFNAME}, /* if_indextoname(): an interface may be renamed */
	{"prctl", 0, UINT32_MAX, PR_SET_NAME}, /* of that process, when it is started again */
};

/* --- the resolver ------------------------------------------------------------------------------------------------- */

/* getaddrinfo(3), with libc's own modules: others would be loaded, which takes memory that is executable. */
static const char *const resolver_calls[] = {
	"connect", "bind",	 "getsockname", "getpeername", "getsockopt", "setsockopt", "shutdown",
	"fstat",   "newfstatat", "stat",	"lstat",       "statx",	     "lseek",	   "pread64",
	"access",  "faccessat",	 "faccessat2",	"readlink",    "readlinkat", "getcwd",	   "uname",
	"getuid",  "geteuid",	 "getgid",	"getegid",     "select",     "pselect6"};

static const struct condition resolver_conditions[] = {
	{"socket", 0, UINT32_MAX, AF_UNIX},	  {"socket", 0, UINT32_MAX, AF_NETLINK},
	{"socket", 0, UINT32_MAX, AF_INET},	  {"socket", 0, UINT32_MAX, AF_INET6},
	{"ioctl", 1, UINT32_MAX, FIONREAD},	  {"openat", 2, (uint32_t)~READING_FLAGS, 0},
	{"open", 1, (uint32_t)~READING_FLAGS, 0}, {"fcntl", 1, UINT32_MAX, F_GETFD},
	{"fcntl", 1, UINT32_MAX, F_SETFD},	  {"fcntl", 1, UINT32_MAX, F_GETFL},
	{"fcntl", 1, UINT32_MAX, F_SETFL},
};

/* --- the filter --------------------------------------------------------------------------------------------------- */

static int add_calls(scmp_filter_ctx context, const char *const *names, size_t count)
{
	int result = 0;
	for (size_t i = 0; i < count && result == 0; i++) {
		int number = seccomp_syscall_resolve_name(names[i]);
		result = number != __NR_SCMP_ERROR ? seccomp_rule_add(context, SCMP_ACT_ALLOW, number, 0) : -ENOSYS;
	}
	return result;
}

static int add_conditions(scmp_filter_ctx context, const struct condition *conditions, size_t count)
{
	int result = 0;
	for (size_t i = 0; i < count && result == 0; i++) {
		const struct condition *only = &conditions[i];
		int number = seccomp_syscall_resolve_name(only->call);
		struct scmp_arg_cmp holds = {only->argument, SCMP_CMP_MASKED_EQ, only->mask, only->value};
		result = seccomp_rule_add_array(context, SCMP_ACT_ALLOW, number, 1, &holds);
	}
	return result;
}

static int add_newer_calls(scmp_filter_ctx context)
{
	int result = 0;
	for (int number = NEWEST_CALL + 1; number <= LAST_CALL && result == 0; number++)
		result = seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOSYS), number, 0);
	return result;
}

/* No untrusted code runs in these threads, so they do not need the mitigation (SSB) that kernels before 5.16 put on
 * every filtered thread; kernels before 4.17 do not have it. OPTIMIZE 2 makes a tree of the rules. */
static int set_attributes(scmp_filter_ctx context)
{
	int result = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (result == 0)
		result = seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (result == 0)
		result = seccomp_attr_set(context, SCMP_FLTATR_API_SYSRAWRC, 1);
	(void)seccomp_attr_set(context, SCMP_FLTATR_CTL_SSB, 1);
	return result;
}

static int fill(scmp_filter_ctx context, enum seccomp_kind kind)
{
	int result = set_attributes(context);
	if (result == 0)
		result = add_newer_calls(context);
	if (result == 0)
		result = add_calls(context, data_calls, ARRAY_SIZE(data_calls));
	if (result == 0)
		result = add_conditions(context, data_conditions, ARRAY_SIZE(data_conditions));
	if (result == 0 && kind == SECCOMP_LOG)
		result = add_calls(context, log_calls, ARRAY_SIZE(log_calls));
	if (result == 0 && kind == SECCOMP_LOG)
		result = add_conditions(context, log_conditions, ARRAY_SIZE(log_conditions));
	if (result == 0 && (kind == SECCOMP_METRICS || kind == SECCOMP_CONTROL))
		result = add_calls(context, metrics_calls, ARRAY_SIZE(metrics_calls));
	if (result == 0 && kind == SECCOMP_METRICS)
		result = add_conditions(context, metrics_conditions, ARRAY_SIZE(metrics_conditions));
	if (result == 0 && kind == SECCOMP_CONTROL)
		result = add_calls(context, control_calls, ARRAY_SIZE(control_calls));
	if (result == 0 && kind == SECCOMP_CONTROL)
		result = add_conditions(context, control_conditions, ARRAY_SIZE(control_conditions));
	if (result == 0 && kind == SECCOMP_RESOLVER)
		result = add_calls(context, resolver_calls, ARRAY_SIZE(resolver_calls));
	if (result == 0 && kind == SECCOMP_RESOLVER)
		result = add_conditions(context, resolver_conditions, ARRAY_SIZE(resolver_conditions));
	return result;
}

/* --- a call that is not allowed ----------------------------------------------------------------------------------- */

/* Makes the call return -ENOSYS. False on a machine where that is not implemented. */
static bool refuse(ucontext_t *context)
{
#if defined(__x86_64__)
	context->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
	return true;
#elif defined(__aarch64__)
	context->uc_mcontext.regs[0] = (unsigned long long)-ENOSYS;
	return true;
#else
	(void)context;
	return false;
#endif
}

/* The kernel sends the signal in place of the call, so this runs where the call would have, and may do what code
 * there may, unlike a handler that comes at any time. SIGSYS is blocked in here: a second one ends the process. */
static void tell(int signal_number, siginfo_t *info, void *context)
{
	(void)signal_number;
	bool refused = tolerant && refuse(context);
	char name[16] = "";
	(void)prctl(PR_GET_NAME, name);
	log_error("thread '%s' used system call %d, which it never needs: %s by seccomp; unless this is an "
		  "attack, set Seccomp = no and report this line",
		  name, info->si_syscall, refused ? "refused" : "ended");
	if (refused)
		return;
	(void)log_flush(LOG_END_MS);
	(void)syscall(FORBIDDEN_CALL);
	_exit(EXIT_FAILURE);
}

static int install_handler(void)
{
	struct sigaction action = {.sa_sigaction = tell, .sa_flags = SA_SIGINFO};
	sigemptyset(&action.sa_mask);
	return sigaction(SIGSYS, &action, NULL) == 0 ? 0 : -errno;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

struct seccomp_filter *seccomp_filter_new(enum seccomp_kind kind, struct error *error)
{
	struct seccomp_filter *filter = calloc(1, sizeof *filter);
	if (filter != NULL)
		filter->context = seccomp_init(SCMP_ACT_TRAP);
	int result = filter != NULL && filter->context != NULL ? fill(filter->context, kind) : -ENOMEM;
	if (filter != NULL)
		filter->kind = kind;
	if (result == 0)
		result = install_handler();
	if (result == 0)
		return filter;
	error_set(error, result, "seccomp: %s; Seccomp = no starts without", strerror(-result));
	seccomp_filter_free(filter);
	return NULL;
}

void seccomp_filter_free(struct seccomp_filter *filter)
{
	if (filter == NULL)
		return;
	seccomp_release(filter->context);
	free(filter);
}

int seccomp_filter_load(const struct seccomp_filter *filter)
{
	int result = seccomp_load(filter->context);
	tolerant = result == 0 && filter->kind != SECCOMP_DATA && filter->kind != SECCOMP_METRICS;
	return result;
}
