// SPDX-License-Identifier: Apache-2.0
/* Firewall rules in nftables tables of this program's own, by libnftables in a helper process.
 *
 * A process, because libnftables calls exit() when it runs out of memory or sockets. It lives as long as its caller,
 * because the kernel (5.12) binds a table with the flag "owner" to the netlink socket that made it: no other socket can
 * change or delete the table, "nft flush ruleset" skips it, and it is removed with the socket. A table that has to
 * outlive the process gets the flag "persist" too (6.9): it then stays, unprotected, until a later run takes it over.
 * On older kernels tables have no owner, if they have to stay, and can be flushed by other programs: nftables_check()
 * detects that.
 *
 * A table is of family inet, or netdev: that has hooks of single links, before all others. Needs CAP_NET_ADMIN. Control
 * thread, or a program's only one. */
#pragma once

#include <stdbool.h>

#include "core/base/error.h"
#include "tun/nftables_name.h"

struct nftables;

/* Called first in the process, to drop rights that it does not need. 0, or a negative errno, which ends it. */
struct nftables_confine {
	int (*run)(void *context);
	void *context;
};

/* Starts the process. NULL with `error` set: out of memory or processes. `confine` may be NULL; it is kept, because a
 * process that died is started again by the next call (but see nftables_inherit()).
 *
 * When the caller is killed the process ends by itself, but a moment later: until then it still owns its tables and
 * completes its last request. `held` is a descriptor that the process keeps open until its end (-1: none); it stays the
 * caller's and outlives `nftables`. By flock(2) on it a later run finds out that the process is gone. */
struct nftables *nftables_open(const struct nftables_confine *confine, int held, struct error *error);

/* The caller has given up rights by now, and may be confined to a list of system calls: a process that is started again
 * inherits both, and `confine` is not run any more, whose calls may be refused. */
void nftables_inherit(struct nftables *nftables);

/* Ends the process. Where the kernel has owners, this removes the tables that do not outlive it; elsewhere remove them
 * first. */
void nftables_close(struct nftables *nftables);

/* From now on a call waits for at most so long, in ms (more than 0): if there is no answer by then, it returns
 * -EINPROGRESS, and nothing that is to be given back is lost. nftables_fd() is readable when the answer is there, and
 * the same call, with the same arguments, then returns it; another one meanwhile gets -EINPROGRESS too. So a kernel
 * whose rules another program changes for seconds, or a process that hangs, does not hold the caller; after 30 s the
 * process is killed, with the tables that it owns, and another one is started by a later call. 0, or a negative errno
 * with `error` set. */
int nftables_do_not_wait(struct nftables *nftables, int most_ms, struct error *error);

/* The opposite, as it is at first: calls wait for their answers. Also for one that is under way. */
void nftables_wait(struct nftables *nftables);

/* After nftables_do_not_wait(): constant, readable when nftables_poll() is due. -1: there is none. */
int nftables_fd(const struct nftables *nftables);

/* How often a process was started. A table that an earlier one laid went with it, unless it outlives that. */
unsigned nftables_starts(const struct nftables *nftables);

/* Takes the answer that came, for the call that it is for, or the notice that the process has ended. */
void nftables_poll(struct nftables *nftables);

struct nftables_table {
	const char *subject; /* for errors: "KillSwitch" */
	enum nftables_family family;
	const char *name; /* shorter than NFTABLES_NAME_MAX */
	bool outlives;	  /* stays when the process ends */
	bool may_outlive; /* stays too, and where the kernel has no "persist" it has no owner for that */
	/* Rules in nft's language (nft(8)), as single commands: "add chain inet NAME ...", "add rule inet NAME ...", or
	 * with "netdev",
	 * and no "table" block or command. They must work on an empty and on an existing table: begin with its chains,
	 * then "flush table inet NAME", then the rules. */
	const char *commands;
};

/* Makes the table, or takes over one that is there, and runs the commands as one transaction: until then the former
 * rules of a table that was taken over are in force. 0, or a negative errno with `error` "SUBJECT: why": a table that
 * did not exist before does not exist then. */
int nftables_lay(struct nftables *nftables, const struct nftables_table *table, struct error *error);

/* Whether the table is as nftables_lay() left it: 1 yes, 0 changed or gone, or a negative errno. */
int nftables_check(struct nftables *nftables, const char *name, struct error *error);
int nftables_check_netdev(struct nftables *nftables, const char *name, struct error *error);

/* Removes the table, of an earlier run too. 0 also when it does not exist or the kernel has no nftables. */
int nftables_remove(struct nftables *nftables, const char *subject, const char *name, struct error *error);
int nftables_remove_netdev(struct nftables *nftables, const char *subject, const char *name, struct error *error);

/* The JSON that nft prints for `commands` ("list chains"), to be freed by the caller. NULL with errno and `error` set.
 */
char *nftables_query(struct nftables *nftables, const char *subject, const char *commands, struct error *error);

/* Whether `code` means that this kernel has no nftables. */
bool nftables_is_absent(int code);
