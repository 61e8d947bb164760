// SPDX-License-Identifier: Apache-2.0
/* The thread that resolves the names which WireGuard peers have as Endpoint, one after the other: neither the control
 * loop nor the data path waits for a name server. It parses packets of unknown origin, in libc: so it has no
 * capability, and a filter of its own (SECCOMP_RESOLVER). All functions: control thread. */
#pragma once

#include "core/host/seccomp_filter.h"
#include "core/sessions/registry.h"

struct names;

struct names_answer {
	struct registry_name name;
	struct in6_addr address; /* v4-mapped if it is IPv4 */
	const char *failure;	 /* constant text; NULL: there is an address */
};

/* The filter is NULL where there are none. NULL with `error` set. */
struct names *names_new(const struct seccomp_filter *filter, struct error *error);

/* Does not wait for a look-up under way, which may take long: its memory is left to the process's end. NULL is allowed.
 */
void names_free(struct names *names);

/* Whether another name may be asked for. */
bool names_idle(const struct names *names);

/* Asks for one; the thread is idle. False: no memory. */
bool names_ask(struct names *names, const struct registry_name *name);

/* The answer, now the caller's to free, or NULL: there is none yet. */
struct names_answer *names_take(struct names *names);
