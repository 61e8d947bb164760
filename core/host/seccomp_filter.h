// SPDX-License-Identifier: Apache-2.0
/* Which system calls a thread may still use once it runs: a list of what is allowed, by libseccomp.
 *
 * SECCOMP_DATA is for the threads that read what the network sends, and liburcu's: they move bytes between open
 * descriptors, and cannot open, connect, execute or create anything. SECCOMP_METRICS also accepts connections and reads
 * files. SECCOMP_LOG writes to the journal and syslog, and reconnects when they were restarted. SECCOMP_CONTROL has the
 * calls of a reload, the control socket and shutdown. SECCOMP_RESOLVER looks up names: it opens files for reading, and
 * sockets. All threads share their memory, so the lists protect the system
 * from the process more than the threads from each other.
 *
 * Memory that is executable is refused in all of them. What a later libc may try first on a newer kernel (a call with a
 * number above those of Linux 6.1) fails with ENOSYS, as it would there. Any other call is logged in one line, with its
 * number and the thread. Then a thread of the first two kinds ends the program by SIGSYS: the program itself never
 * makes such a call, so it is taken for an attack. The libraries of the other kinds
 * may be updated, and but for the resolver they do not read from the network: there the call fails with ENOSYS, so that
 * an update of libnftables does not end a gateway. */
#pragma once

#include "core/base/error.h"

enum seccomp_kind { SECCOMP_DATA, SECCOMP_METRICS, SECCOMP_LOG, SECCOMP_CONTROL, SECCOMP_RESOLVER };
enum { SECCOMP_KINDS = 5 };

/* At exit the sanitizers make calls that are not in these lists. */
#ifdef SHARDTUN_SANITIZED
enum { SECCOMP_AVAILABLE = 0 };
#else
enum { SECCOMP_AVAILABLE = 1 };
#endif

struct seccomp_filter;

/* Makes a list ready to be loaded, and installs the handler of SIGSYS. NULL: `error`. Main thread. */
struct seccomp_filter *seccomp_filter_new(enum seccomp_kind kind, struct error *error);

/* NULL is allowed; threads that loaded it keep it. */
void seccomp_filter_free(struct seccomp_filter *filter);

/* For the calling thread and those that it makes, for ever; sets no-new-privs too. 0 or a negative errno. Not by two
 * threads at once. */
int seccomp_filter_load(const struct seccomp_filter *filter);
