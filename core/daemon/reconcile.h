// SPDX-License-Identifier: Apache-2.0
/* Keeps what this program set up on the machine as it should be, while other programs change the machine.
 *
 * What is wanted is divided into parts (the policy rules, the routes of a table, the interface's addresses, ...). Each
 * has one function that compares what is with what is wanted and puts back what is missing. The reconciler decides when
 * it runs: soon after a notice of the kernel's, at once when what is wanted changed, and on a slow round, for what
 * there are no notices of. It counts what had to be put back, logs a line, and shows of each kind whether it is
 * in force, which only a comparison decides.
 *
 * A part that is changed again and again, more often than once a second, is put back at longer and longer intervals, up
 * to a minute, and is not in force meanwhile. Otherwise two programs would undo each other's work at full speed.
 *
 * Control thread; reconciler_state() any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/base/error.h"

/* The label in metrics and status, and what it is called in a line of the log. */
#define RECONCILE_KINDS(X)            \
	X(link, "interface")          \
	X(mtu, "MTU")                 \
	X(address, "address")         \
	X(route, "route")             \
	X(rule, "policy rule")        \
	X(nftables, "firewall table") \
	X(sysctl, "kernel setting")   \
	X(dns, "name servers")

enum reconcile_kind {
#define RECONCILE_ENUM(name, text) RECONCILE_##name,
	RECONCILE_KINDS(RECONCILE_ENUM)
#undef RECONCILE_ENUM
		RECONCILE_KIND_COUNT
};

#define RECONCILE_BIT(kind) (1u << (kind))
#define RECONCILE_ALL	    (RECONCILE_BIT(RECONCILE_KIND_COUNT) - 1)

const char *reconcile_label(enum reconcile_kind kind); /* "rule" */
const char *reconcile_text(enum reconcile_kind kind);  /* "policy rule" */

/* What a part's function found. Everything is 0 and "" when it is called. */
struct reconcile_found {
	unsigned wanted;    /* how many things there should be; 0: the part has nothing to keep */
	unsigned missing;   /* how many of these were not there, or were different */
	unsigned left;	    /* how many of the missing could not be put back */
	bool fresh;	    /* what is missing was not in force before: no other program removed it */
	bool pending;	    /* under way elsewhere; `error` and what is missing are shown if it stays so for long */
	char first[96];	    /* the first that was missing: "IPv4 rule 21845 for table 21845" */
	struct error error; /* why the first of those left could not be put back */
};

/* For a part's function: counts a missing thing, and keeps the text of the first. */
void reconcile_missing(struct reconcile_found *found, const char *format, ...) PRINTF_LIKE(2, 3);

/* For a part's function, after an attempt to put something back: counts a failure, and keeps the reason of the first.
 * `result` 0: it succeeded. */
void reconcile_left(struct reconcile_found *found, int result, const struct error *error);

/* Compares; with `restore` puts back what is missing. The kernel's acknowledgement is enough to not count one as left.
 * What takes longer than the control thread can wait for is `pending`: the function is called again in the same way,
 * after reconciler_notice() or a moment later, until it is done. */
typedef void reconcile_fn(void *context, bool restore, struct reconcile_found *found);

struct reconcile_part {
	enum reconcile_kind kind;
	reconcile_fn *run;
	void *context;
	uint64_t round; /* ns between comparisons without a notice; 0: RECONCILE_ROUND */
};

#define RECONCILE_ROUND (10 * NS_PER_S)

/* Told each time something was put back, was found changed while it is left alone, or came in force again. */
struct reconcile_news {
	enum reconcile_kind kind;
	unsigned restored; /* put back just now */
	bool in_force;
	unsigned times;	   /* in a row */
	uint64_t next_try; /* ns from now; 0: none is needed */
	const char *first; /* of reconcile_found */
	const char *why;   /* not in force: the error, or "" when it is only left alone for a while */
};

typedef void reconcile_tell_fn(void *context, const struct reconcile_news *news);

struct reconciler;

/* `tell` may be NULL. NULL with `error` set when there is no timer or memory. */
struct reconciler *reconciler_new(const struct clock *clock, reconcile_tell_fn *tell, void *context,
				  struct error *error);
void reconciler_free(struct reconciler *reconciler);

/* Adds a part. Nothing runs yet. 0 or -ENOSPC. */
int reconciler_add(struct reconciler *reconciler, const struct reconcile_part *part);

/* What is wanted of the parts of these kinds changed: makes it so now, whatever happened before. That is setting up,
 * not restoring: it is not counted, and what cannot be is the caller's to log. Returns 0, or -EIO with the first
 * reason. A part that is pending is not in force until reconciler_run() has carried it out; that logs what cannot be.
 */
int reconciler_apply(struct reconciler *reconciler, unsigned kinds, struct error *error);

/* The machine changed in a way that may concern parts of these kinds: they are compared a few milliseconds later. */
void reconciler_notice(struct reconciler *reconciler, unsigned kinds);

/* As a notice of everything, and what is left alone for a while is put back too: at a reload. */
void reconciler_hurry(struct reconciler *reconciler);

/* Readable when reconciler_run() is due. */
int reconciler_fd(const struct reconciler *reconciler);
void reconciler_run(struct reconciler *reconciler);

struct reconcile_state {
	bool wanted;	   /* else there is nothing to keep, and in_force means nothing */
	bool in_force;	   /* as the last comparison saw it */
	uint64_t restored; /* things put back so far */
};

/* Of all parts of a kind together. */
struct reconcile_state reconciler_state(const struct reconciler *reconciler, enum reconcile_kind kind);

/* Why a kind is not in force, and what happens next, for people; "" when it is. Control thread. */
const char *reconciler_trouble(const struct reconciler *reconciler, enum reconcile_kind kind, char text[256]);
