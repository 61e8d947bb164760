// SPDX-License-Identifier: Apache-2.0
/* Which system calls a thread may still use once it runs: a list of what is allowed, by libseccomp.
 *
 * SECCOMP_DATA is for the threads that read what the network sends, and liburcu's: they move bytes between descriptors
 * that are open already, and can open, connect, execute or make nothing. SECCOMP_METRICS takes connections besides, and
 * reads files. SECCOMP_LOG speaks to the journal and to syslog, which it connects to again when they were restarted.
 * SECCOMP_CONTROL has what a reload, the control socket and the end need. All threads share their memory, so a list is
 * a fence around the whole program more than between its threads.
 *
 * Memory that is executable is refused in all of them. What a later libc may try first on a newer kernel (a call with a
 * number above those of Linux 6.1) fails with ENOSYS, as it would there. Any other call is told in one line, with its
 * number and the thread. Then a thread of the first two kinds ends the program by SIGSYS: our own code has not brought
 * it there, and whoever has is not to try again. The other kinds do not hear the network, but their libraries change
 * under them: there the call fails with ENOSYS, for a gateway is not to fall over an update of libnftables. */
#pragma once

#include "core/base/error.h"

enum seccomp_kind { SECCOMP_DATA, SECCOMP_METRICS, SECCOMP_LOG, SECCOMP_CONTROL };
enum { SECCOMP_KINDS = 4 };

/* What the sanitizers do at the end is more than these lists allow. */
#ifdef SHARDTUN_SANITIZED
enum { SECCOMP_AVAILABLE = 0 };
#else
enum { SECCOMP_AVAILABLE = 1 };
#endif

struct seccomp_filter;

/* Makes a list ready to be loaded, and installs the handler of SIGSYS. NULL: `error`. Main thread. */
struct seccomp_filter *seccomp_filter_new(enum seccomp_kind kind, struct error *error);

/* Takes NULL; threads that loaded it keep it. */
void seccomp_filter_free(struct seccomp_filter *filter);

/* For the calling thread and those that it makes, for ever; sets no-new-privs too. 0 or a negative errno. Not by two
 * threads at once. */
int seccomp_filter_load(const struct seccomp_filter *filter);
