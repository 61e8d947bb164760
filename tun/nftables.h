// SPDX-License-Identifier: Apache-2.0
/* Firewall rules in nftables tables that are ours alone, by libnftables in a process of its own.
 *
 * A process, because libnftables calls exit() when it is short of something; and one that lives as long as we do,
 * because the kernel (5.12) binds a table with the flag "owner" to the netlink socket that made it: nobody else can
 * change or delete it, "nft flush ruleset" leaves it, and it goes with the socket. A table that has to outlive us gets
 * the flag "persist" too (6.9): it then stays, without protection, until a later run takes it over. Older kernels
 * get tables without an owner, which anybody may flush: nftables_check() tells.
 *
 * All tables are of family inet. Needs CAP_NET_ADMIN. Control thread, or a program's only one. */
#pragma once

#include <stdbool.h>

#include "core/base/error.h"

struct nftables;

enum { NFTABLES_NAME_MAX = 64 };

/* What the process does first, to give up rights that it does not need: 0, or a negative errno, and it ends. */
struct nftables_confine {
	int (*run)(void *context);
	void *context;
};

/* Starts the process. NULL with `error` set: out of memory or processes. `confine` may be NULL; it is kept, because a
 * process that died is started again by the next call.
 *
 * When we are killed the process ends by itself, but a moment later: until then its tables are nobody else's, and what
 * it was asked last is still done. `held` is a descriptor that it keeps open until its end (-1: none), which stays the
 * caller's and outlives `nftables`: flock(2) on it tells who comes after us that the process is gone. */
struct nftables *nftables_open(const struct nftables_confine *confine, int held, struct error *error);

/* Ends it, and with it go the tables that do not outlive it, where the kernel has owners: else remove them before. */
void nftables_close(struct nftables *nftables);

struct nftables_table {
	const char *subject; /* for errors: "KillSwitch" */
	const char *name;    /* shorter than NFTABLES_NAME_MAX */
	bool outlives;	     /* stays when the process ends */
	/* Rules in nft's language (nft(8)), as single commands: "add chain inet NAME ...", "add rule inet NAME ...",
	 * and no "table" block or command. They make the table what it should be whatever they find in it: begin with
	 * its chains, then "flush table inet NAME", then the rules. */
	const char *commands;
};

/* Makes the table, or takes over one that is there, and runs the commands as one transaction: until then the former
 * rules of a table that was taken over are in force. 0, or a negative errno with `error` "SUBJECT: why": a table that
 * was not there before is not there then. */
int nftables_lay(struct nftables *nftables, const struct nftables_table *table, struct error *error);

/* Whether the table is as nftables_lay() left it: 1 yes, 0 no or gone, or a negative errno. */
int nftables_check(struct nftables *nftables, const char *name, struct error *error);

/* Removes the table, whoever made it; that there is none is no error, nor is a kernel without nftables. */
int nftables_remove(struct nftables *nftables, const char *subject, const char *name, struct error *error);

/* What nft prints in JSON for `commands` ("list chains"), for the caller to free. NULL with errno and `error` set. */
char *nftables_query(struct nftables *nftables, const char *subject, const char *commands, struct error *error);

/* Whether `code` says that this kernel has no nftables. */
bool nftables_is_absent(int code);
