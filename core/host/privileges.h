// SPDX-License-Identifier: Apache-2.0
/* Dropping privileges: capabilities, user and groups.
 *
 * Capabilities and no-new-privs belong to a thread and are inherited by the threads that it makes; the user is changed
 * for all threads of the process at once. So the control thread goes first, before it starts others:
 *
 *   privileges_drop()          control: own user, then CAP_NET_ADMIN alone; liburcu's thread: nothing
 *   privileges_drop_thread()   every other thread, by itself, before it runs
 *   privileges_drop_nice()     control: what it kept so that they could set their priority
 *   seccomp_filter_load()      each of them after that (core/host/seccomp_filter.h)
 *
 * It does not matter where the capabilities at the start come from: root, a unit's ambient set, or the file. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "core/base/error.h"

enum { PRIVILEGES_NAME_SIZE = 33 }; /* the longest name that useradd(8) takes and the terminator */

/* The user to change to. */
struct privileges_user {
	bool change; /* else keep the current user */
	char name[PRIVILEGES_NAME_SIZE];
	uid_t uid;
	gid_t gid;
};

/* Looks the option User up, which reads the system's data bases of users. 0, or a negative errno when there is no
 * such user. Main thread. */
int privileges_find_user(const char *option, struct privileges_user *user, struct error *error);

/* Whether privileges_drop() will change the user. */
bool privileges_become(const struct privileges_user *user);

/* Keys must not reach a disk: no core dump, and only root may read the process's memory. As early as possible;
 * failures are ignored. */
void privileges_keep_memory(void);

/* The calling thread, which is the control thread, becomes that user without groups besides its own, keeps
 * CAP_NET_ADMIN if it has it, and can get no other again; liburcu's thread keeps nothing. With `nice` it keeps
 * CAP_SYS_NICE, too, until privileges_drop_nice(). No other thread exists. 0, or a negative errno with the call that
 * failed in `error`: then it is to end. */
int privileges_drop(const struct privileges_user *user, bool nice, struct error *error);

/* When all threads are started, which inherit CAP_SYS_NICE for the time in which they set their priority: the control
 * thread gives it up. As privileges_drop(). */
int privileges_drop_nice(struct error *error);

/* A process that was forked, and has no other thread, becomes that user and keeps CAP_NET_ADMIN alone, as the
 * control thread will or did. 0 or a negative errno. */
int privileges_confine(const struct privileges_user *user);

/* The calling thread gives up every capability. 0 or a negative errno. */
int privileges_drop_thread(void);
