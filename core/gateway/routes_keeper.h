// SPDX-License-Identifier: Apache-2.0
/* Keeps the gateway's routes (core/gateway/routes.h) without holding the control thread, which has blocks' deadlines to
 * put off: a thread of its own goes through the peers and the kernel's table, which takes long where there are very
 * many, and the control thread then changes what differs, some in each turn of its loop.
 *
 *   control thread                          thread "routes"
 *   routes_keeper_run: pending  --------->  gateway_routes_plan, gateway_routes_compare
 *   fd readable: gateway_routes_restore <-
 *     ... again and again, unless what is wanted changes meanwhile
 *   finished(); routes_keeper_run: what was found
 *
 * Without that thread, as in a gateway that is in no cluster, all is done at once. Control thread. */
#pragma once

#include "core/gateway/reloader.h"
#include "core/gateway/routes.h"

struct routes_keeper {
	struct gateway_routes *routes; /* the caller's; the thread's while `busy` */
	struct registry *registry;
	void (*finished)(void *context); /* routes_keeper_run() is to be called again */
	void *context;
	struct netlink *reader;	 /* the thread's socket */
	struct reloader *thread; /* NULL: there is none */
	uint64_t wanted;	 /* how often what is wanted changed */
	/* The job: written while it is not `busy`, but for `difference`. */
	bool busy, plans, restores;
	uint64_t version; /* of `wanted` */
	uint64_t planned; /* the last one that the routes were planned for */
	bool done;	  /* its result was not fetched yet */
	bool cut;	  /* the last one was ended before all was changed, since what is wanted had changed */
	int result;	  /* of planning */
	struct gateway_routes_difference difference;
};

/* Nothing is started yet. All that is given is borrowed until routes_keeper_end(). */
void routes_keeper_init(struct routes_keeper *keeper, struct gateway_routes *routes, struct registry *registry);

/* Starts the thread, with this filter of system calls unless it is NULL; `finished` follows each of its jobs. 0, or a
 * negative errno with `error` set. */
int routes_keeper_start(struct routes_keeper *keeper, const struct seccomp_filter *filter,
			void (*finished)(void *context), void *context, struct error *error);

/* Ends the thread, which may take as long as a job. From then on all is done at once. */
void routes_keeper_end(struct routes_keeper *keeper);

/* What is wanted has changed: they are planned anew with the next job. With the thread only. */
void routes_keeper_plan(struct routes_keeper *keeper);

/* A reconcile_fn, with a struct routes_keeper. */
void routes_keeper_run(void *context, bool restore, struct reconcile_found *found);

/* Readable when routes_keeper_poll() is due; -1: never. */
int routes_keeper_fd(const struct routes_keeper *keeper);
void routes_keeper_poll(struct routes_keeper *keeper);
