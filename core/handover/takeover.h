// SPDX-License-Identifier: Apache-2.0
/* The steps by which a new process takes the sessions of an old one, each with a time limit (tests/model/takeover.pml):
 *
 *   new                                                old
 *   takeover_ask: HELLO         ------------------->   takeover_answer: credentials, versions, layout
 *                               <-------------------   takeover_give: sockets, queues, listeners, in parts
 *   adopts them, makes threads, parked                 serves
 *   takeover_receive: READY     ------------------->   takeover_export: handshakes rest, all records are written
 *                               <-------------------     memory with the first part
 *   makes registry and sessions of it                  serves, without handshakes
 *   takeover_await_offer: BUILT ------------------->   takeover_hand_over: freezes, writes the second part, offers
 *                               <-------------------     OFFERED
 *   reads it; handover_claim: OFFERED -> NEW             waits for that; else OFFERED -> OLD, and thaws
 *   serves                                               GIVEN: tells the service manager, and exits
 *
 * Until READY and until BUILT come, the old one serves and does not wait: it goes on when the socket is readable. If a
 * step fails, or the other process is gone, the old one closes the socket and serves on as before; the new one, which
 * does not own anything before the claim, ends. Control thread. */
#pragma once

#include "core/handover/channel.h"
#include "core/handover/memory.h"
#include "core/host/descriptor_list.h"

enum {
	TAKEOVER_VERSION = 2,		/* of the messages */
	TAKEOVER_ANSWER_MS = 5000,	/* the longest wait for a message that the other side sends at once */
	TAKEOVER_CLAIM_MS = 500,	/* from the offer on, */
	TAKEOVER_CLAIM_SESSIONS = 1000, /* and a millisecond for so many sessions: many times what checking takes */
	TAKEOVER_BUILD_MS = 5000,	/* from the records on until the new one has made all of them, */
	TAKEOVER_BUILD_SESSIONS = 20,	/* and a millisecond for so many: four times what that takes */
};

/* What either process is, for the other one. */
struct takeover_party {
	const char *layout;
	uint64_t device, inode; /* of the program's file; an inode of 0: unknown, and another one */
	uint64_t manager;	/* a number of the service manager that supervises it, and of its unit; 0: none */
	bool reload; /* the new one: if both have the same program, the configuration is to be read again, no more */
	const char *refusal; /* the old one: why its sessions are not to be taken; NULL: they may be */
};

/* What the new one gets. */
struct takeover_given {
	struct descriptor_list list;
	uint64_t watchdog;
};

/* --- the new process ---------------------------------------------------------------------------------------------- */

/* Asks for the descriptors of a process with the same layout, which are the caller's. 0; -ECONNREFUSED: the old process
 * refused, and `error` says why; -EALREADY: as `reload` says; or as channel_receive(). */
int takeover_ask(int fd, const struct takeover_party *self, struct takeover_given *given, struct error *error);

/* After -EALREADY: returns when the old process has read its configuration again. 0; -ECONNREFUSED: it could not, and
 * `error` says why; or as channel_receive(). */
int takeover_await_reload(int fd, int limit_ms, struct error *error);

/* Threads are made and parked: gets the records of the first part. The memory is the caller's. 0, or as above.
 * `limit_ms`: how long the old one may take to write them. */
int takeover_receive(int fd, struct handover_memory *memory, int limit_ms, struct error *error);

/* All is made of them: returns when the second part is there, which is offered for the old one's takeover_claim_ms().
 * The same. */
int takeover_await_offer(int fd, int limit_ms, struct error *error);

/* It has the sessions: waits for takeover_tell(), at most for so long. False: that did not come. */
bool takeover_was_told(int fd, int limit_ms);

/* --- the old process ---------------------------------------------------------------------------------------------- */

/* When a connection is readable for the first time: checks what the new process is. A process outside of this one's
 * service manager gets nothing: the manager would start the old one again. On failure, with `error` set, the new
 * process was told why, and the caller closes the socket; -EALREADY: it wanted a reload, and was told that the
 * configuration is read again, which the caller does: both have the same program, or the sessions are not to be taken.
 */
int takeover_answer(int fd, const struct takeover_party *self, struct error *error);

/* Then: gives it the descriptors, which stay the caller's too. 0 or as above. */
int takeover_give(int fd, const struct descriptor_list *list, uint64_t watchdog, struct error *error);

/* After -EALREADY: the configuration was read, or was not, and `failure` says why. The caller closes the socket. */
void takeover_tell_reloaded(int fd, const struct error *failure);

struct takeover_owner {
	void *context;
	/* Handshakes rest, and the records of the first part are written and sealed: 0, and the memory stays the
	 * owner's. Else all is as before, and `error` says why. */
	int (*export)(void *context, const struct handover_memory **memory, struct error *error);
	/* The data path stands still: 0. Else it goes on, and `error` says why. */
	int (*freeze)(void *context, struct error *error);
	/* Writes the second part. */
	int (*follow)(void *context, struct error *error);
	/* The data path goes on. */
	void (*thaw)(void *context);
};

/* How long the new process may take for so many sessions, in milliseconds: at most half of the watchdog's interval (ns;
 * 0: there is none), since the old one's control thread waits for so long. */
int takeover_claim_ms(size_t sessions, uint64_t watchdog);

/* When it is readable again: exports, and gives the memory. 0; or a negative errno with `error`, and the new process
 * was told why: the caller closes the socket. */
int takeover_export(int fd, const struct takeover_owner *owner, struct error *error);

enum takeover_result {
	TAKEOVER_KEPT,	/* this process serves on: `error` says why */
	TAKEOVER_GIVEN, /* the sessions are the new process's: this one seals nothing any more, and exits */
};

/* When it is readable for the third time. `memory`: what was given; `claim_ms`: how long the new process may take. */
enum takeover_result takeover_hand_over(int fd, const struct takeover_owner *owner,
					const struct handover_memory *memory, int claim_ms, struct error *error);

/* Last, when the sessions are given: the service manager has accepted the new process as its service's main one. */
void takeover_tell(int fd);
