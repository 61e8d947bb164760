// SPDX-License-Identifier: Apache-2.0
/* What a running program may do, and giving up all that it does not need any more.
 *
 * Capabilities and no-new-privs belong to a thread and are inherited by the threads that it makes; the user is changed
 * for all threads of the process at once. So the control thread goes first, before it starts others:
 *
 *   privileges_drop()          control: own user, then CAP_NET_ADMIN alone; liburcu's thread: nothing
 *   privileges_drop_thread()   every other thread, by itself, before it runs
 *   seccomp_filter_load()      each of them after that (core/host/seccomp_filter.h)
 *
 * Which capabilities were there at the start does not matter: root's, a unit's ambient ones, those of the file. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "config/config.h"
#include "core/base/error.h"

/* Whom to become. */
struct privileges_user {
	bool change; /* else stay who we are */
	char name[CONFIG_USER_SIZE];
	uid_t uid;
	gid_t gid;
};

/* Looks the option User up, which reads the system's data bases of users. 0, or a negative errno when there is no such
 * user. Main thread. */
int privileges_find_user(const char *option, struct privileges_user *user, struct error *error);

/* Whether privileges_drop() will make us that user. */
bool privileges_become(const struct privileges_user *user);

/* Keys must not reach a disk: no core dump, and nobody but root looks into our memory. As early as can be; cannot fail
 * in a way that matters. */
void privileges_keep_memory(void);

/* The calling thread, which is the control thread, becomes that user without groups besides its own, keeps
 * CAP_NET_ADMIN if it has it, and can get no other again; liburcu's thread keeps nothing. No other thread exists.
 * 0, or a negative errno with the call that failed in `error`: then it is to end. */
int privileges_drop(const struct privileges_user *user, struct error *error);

/* A process that was forked, and has no other thread, becomes that user and keeps CAP_NET_ADMIN alone, as the control
 * thread will or did. 0 or a negative errno. */
int privileges_confine(const struct privileges_user *user);

/* The calling thread gives up every capability. 0 or a negative errno. */
int privileges_drop_thread(void);
