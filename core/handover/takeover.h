// SPDX-License-Identifier: Apache-2.0
/* The steps by which a new process takes the sessions of an old one, each with a time limit (tests/model/takeover.pml):
 *
 *   new                                                old
 *   takeover_ask: HELLO         ------------------->   takeover_answer: credentials, versions, layout
 *                               <-------------------     sockets, queues, listeners, in parts
 *   adopts them, makes registry and threads            serves
 *   takeover_receive: READY     ------------------->   takeover_hand_over: freezes, exports, offers
 *                               <-------------------     memory with the records
 *   reads them; handover_claim: OFFERED -> NEW           waits for that; else OFFERED -> OLD, and thaws
 *   serves                                               GIVEN: tells the service manager, and exits
 *
 * Until READY comes, the old one serves as before and does not wait: it calls takeover_hand_over() when the socket is
 * readable. If a step fails, or the other process is gone, the old one closes the socket and serves on; the new one,
 * which does not own anything before the claim, ends. Control thread. */
#pragma once

#include "core/handover/channel.h"
#include "core/handover/memory.h"

enum {
	TAKEOVER_VERSION = 1,	/* of the messages */
	TAKEOVER_NAME_MAX = 64, /* as core/daemon/descriptor_list.h */
	TAKEOVER_DESCRIPTORS_MAX = 4096,
	TAKEOVER_ANSWER_MS = 5000,    /* the longest wait for a message that the other side sends at once */
	TAKEOVER_CLAIM_MS = 500,      /* from the offer on, */
	TAKEOVER_CLAIM_SESSIONS = 20, /* and a millisecond for so many sessions: four times what reading them takes */
};

struct takeover_descriptor {
	char name[TAKEOVER_NAME_MAX]; /* with its terminator */
	int fd;
};

/* What either process is, for the other one. */
struct takeover_party {
	const char *layout;
	uint64_t device, inode; /* of the program's file; an inode of 0: unknown, and another one */
	uint64_t manager;	/* a number of the service manager that supervises it, and of its unit; 0: none */
	bool reload; /* the new one: if both have the same program, the configuration is to be read again, no more */
	const char *refusal; /* the old one: why its sessions are not to be taken; NULL: they may be */
	uint64_t watchdog;   /* the old one: interval of the service manager's, ns; 0: none */
};

/* What the new one gets; the list is from malloc(). */
struct takeover_given {
	struct takeover_descriptor *list;
	size_t count;
	uint64_t watchdog;
};

/* --- the new process ---------------------------------------------------------------------------------------------- */

/* Asks for the descriptors of a process with the same layout, which are the caller's. 0; -ECONNREFUSED: the old process
 * refused, and `error` says why; -EALREADY: as `reload` says; or as channel_receive(). */
int takeover_ask(int fd, const struct takeover_party *self, struct takeover_given *given, struct error *error);

/* After -EALREADY: returns when the old process has read its configuration again. 0; -ECONNREFUSED: it could not, and
 * `error` says why; or as channel_receive(). */
int takeover_await_reload(int fd, int limit_ms, struct error *error);

/* All is made: gets the records, which are offered for the old one's takeover_claim_ms(). The memory is the caller's.
 * 0, or as above. `limit_ms`: how long the old one may take to freeze and to write. */
int takeover_receive(int fd, struct handover_memory *memory, int limit_ms, struct error *error);

/* It has the sessions: waits for takeover_tell(), at most for so long. False: that did not come. */
bool takeover_was_told(int fd, int limit_ms);

/* --- the old process ---------------------------------------------------------------------------------------------- */

/* When a connection is readable for the first time: checks what the new process is, and gives it the descriptors, which
 * stay the caller's too. A process outside of this one's service manager gets nothing: the manager would start the old
 * one again. On failure, with `error` set, the new process was told why, and the caller closes the socket; -EALREADY:
 * it wanted a reload, and was told that the configuration is read again, which the caller does: both have the same
 * program, or the sessions are not to be taken. */
int takeover_answer(int fd, const struct takeover_party *self, const struct takeover_descriptor *list, size_t count,
		    struct error *error);

/* After -EALREADY: the configuration was read, or was not, and `failure` says why. The caller closes the socket. */
void takeover_tell_reloaded(int fd, const struct error *failure);

struct takeover_owner {
	void *context;
	/* The data path stands still: 0. Else it goes on, and `error` says why. */
	int (*freeze)(void *context, struct error *error);
	/* Writes and seals the records. */
	int (*write)(void *context, struct handover_memory *memory, struct error *error);
	/* It goes on. */
	void (*thaw)(void *context);
};

/* How long the new process may take for so many sessions, in milliseconds: at most half of the watchdog's interval (ns;
 * 0: there is none), since the old one's control thread waits for so long. */
int takeover_claim_ms(size_t sessions, uint64_t watchdog);

enum takeover_result {
	TAKEOVER_KEPT,	/* this process serves on: `error` says why */
	TAKEOVER_GIVEN, /* the sessions are the new process's: this one seals nothing any more, and exits */
};

/* When it is readable again. `claim_ms`: how long the new process may take. */
enum takeover_result takeover_hand_over(int fd, const struct takeover_owner *owner, int claim_ms, struct error *error);

/* Last, when the sessions are given: the service manager has accepted the new process as its service's main one. */
void takeover_tell(int fd);
