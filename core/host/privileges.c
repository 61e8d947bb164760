// SPDX-License-Identifier: Apache-2.0
#include "core/host/privileges.h"

#include <cap-ng.h>
#include <grp.h>
#include <linux/securebits.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/rcu.h"

#define USER_AUTO "shardtun" /* the user that the package creates */

int privileges_find_user(const char *option, struct privileges_user *user, struct error *error)
{
	*user = (struct privileges_user){0};
	bool automatic = strcmp(option, "auto") == 0;
	const char *name = automatic ? USER_AUTO : option;
	errno = 0;
	const struct passwd *entry = getpwnam(name);
	if (entry == NULL && automatic)
		return 0;
	if (entry == NULL)
		return error_set(error, errno != 0 ? -errno : -ENOENT,
				 "User = %s: %s; write auto, or make it: useradd --system %s", name,
				 errno != 0 ? strerror(errno) : "there is no such user", name);
	user->change = true;
	user->uid = entry->pw_uid;
	user->gid = entry->pw_gid;
	(void)snprintf(user->name, sizeof user->name, "%s", name);
	return 0;
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

/* LeakSanitizer attaches to the process by ptrace, which a process that is not dumpable refuses. */
#ifdef SHARDTUN_SANITIZED
enum { DUMPABLE = 1 };
#else
enum { DUMPABLE = 0 };
#endif

void privileges_keep_memory(void)
{
	static const struct rlimit none = {0, 0};
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, DUMPABLE);
}

/* --- capabilities ------------------------------------------------------------------------------------------------- */

static int failed(const char *what, int code, struct error *error)
{
	return code == 0 ? 0 : error_set(error, code, "privileges: %s: %s", what, strerror(-code));
}

/* The calling thread's bounding set, which limits what programs it executes can get. Clearing it takes CAP_SETPCAP;
 * a process that starts without it, from a unit, has a small set already. */
static int empty_bounding_set(void)
{
	if (capng_get_caps_process() != 0)
		return -errno;
	if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
		return 0;
	capng_clear(CAPNG_SELECT_BOUNDS);
	return capng_apply(CAPNG_SELECT_BOUNDS) == 0 ? 0 : -errno;
}

static const capng_type_t usable = CAPNG_EFFECTIVE | CAPNG_PERMITTED;

/* The calling thread's sets; clearing the inheritable set clears the ambient one. */
static int keep_net_admin(bool and_nice)
{
	if (capng_get_caps_process() != 0)
		return -errno;
	bool net_admin = capng_have_capability(CAPNG_PERMITTED, CAP_NET_ADMIN);
	bool nice = and_nice && capng_have_capability(CAPNG_PERMITTED, CAP_SYS_NICE);
	capng_clear(CAPNG_SELECT_CAPS);
	if (net_admin)
		(void)capng_update(CAPNG_ADD, usable, CAP_NET_ADMIN);
	if (nice)
		(void)capng_update(CAPNG_ADD, usable, CAP_SYS_NICE);
	return capng_apply(CAPNG_SELECT_CAPS) == 0 ? 0 : -errno;
}

int privileges_drop_thread(void)
{
	capng_clear(CAPNG_SELECT_CAPS);
	return capng_apply(CAPNG_SELECT_CAPS) == 0 ? 0 : -errno;
}

static int no_new_privileges(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : -errno;
}

/* --- liburcu's thread --------------------------------------------------------------------------------------------- */

static void empty_rcu_bounding_set(void *result)
{
	*(int *)result = empty_bounding_set();
}

static void drop_rcu_thread(void *result)
{
	int code = privileges_drop_thread();
	*(int *)result = code == 0 ? no_new_privileges() : code;
}

static int on_rcu_thread(void (*run)(void *result), const char *what, struct error *error)
{
	int result = 0;
	rcu_run_on_thread(run, &result);
	return failed(what, result, error);
}

/* --- the control thread ------------------------------------------------------------------------------------------- */

/* Changing the user ID from root clears the capabilities unless they are kept. They are kept where that is allowed,
 * since undoing a failed start needs them. */
static int keep_capabilities(void)
{
	return prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) == 0 || prctl(PR_SET_KEEPCAPS, 1) == 0 ? 0 : -errno;
}

/* glibc does it on all threads. */
static int become(const struct privileges_user *user, struct error *error)
{
	if (setgroups(0, NULL) != 0)
		return failed("setgroups", -errno, error);
	if (setresgid(user->gid, user->gid, user->gid) != 0)
		return failed("setresgid", -errno, error);
	int kept = keep_capabilities();
	if (kept != 0)
		return failed("keep capabilities", kept, error);
	if (setresuid(user->uid, user->uid, user->uid) != 0)
		return failed("setresuid", -errno, error);
	/* A change of user resets the dumpable attribute to fs.suid_dumpable. */
	(void)prctl(PR_SET_DUMPABLE, DUMPABLE);
	return 0;
}

static void report(const struct privileges_user *user, bool becomes)
{
	if (becomes)
		log_info("running as user %s", user->name);
	else if (geteuid() == 0 && !user->change)
		log_info("User = auto: there is no user '%s': running as root, but without root's rights", USER_AUTO);
	else if (user->change && user->uid != geteuid())
		log_info("User = %s: only root can change the user; running as user ID %u", user->name,
			 (unsigned)geteuid());
}

bool privileges_become(const struct privileges_user *user)
{
	return user->change && user->uid != 0 && geteuid() == 0;
}

int privileges_drop(const struct privileges_user *user, bool nice, struct error *error)
{
	bool becomes = privileges_become(user);
	int result = on_rcu_thread(empty_rcu_bounding_set, "bounding set", error);
	if (result == 0)
		result = failed("bounding set", empty_bounding_set(), error);
	if (result == 0 && becomes)
		result = become(user, error);
	if (result == 0)
		result = failed("capset", keep_net_admin(nice), error);
	if (result == 0)
		result = failed("no new privileges", no_new_privileges(), error);
	if (result == 0)
		result = on_rcu_thread(drop_rcu_thread, "capabilities", error);
	if (result == 0)
		report(user, becomes);
	return result;
}

int privileges_drop_nice(struct error *error)
{
	return failed("capset", keep_net_admin(false), error);
}

int privileges_confine(const struct privileges_user *user)
{
	int result = empty_bounding_set();
	if (result == 0 && privileges_become(user))
		result = become(user, NULL);
	if (result == 0)
		result = keep_net_admin(false);
	return result == 0 ? no_new_privileges() : result;
}
