// SPDX-License-Identifier: Apache-2.0
/* The thread that reads the gateway's configuration again, or a cluster's peers (struct reloader_job), so that the
 * control loop need not wait for a million peers.
 * It sleeps until it is asked to read, hands over what it read, waits until that is applied, and frees it.
 *
 *   control thread                          reloader
 *   reloader_ask ------------------------>  gateway_reload_read
 *   fd readable: reloader_apply  <--------
 *                           ------------->  gateway_reload_free
 *
 * A request that arrives while it reads may be about a newer file: then it reads once more. All functions: control
 * thread. */
#pragma once

#include "core/control/control.h"
#include "core/gateway/reload.h"
#include "core/host/seccomp_filter.h"

struct reloader;

/* Before the caller is pinned: the thread has its CPUs; it has no capabilities, and that filter of system calls unless
 * it is NULL. `name` is the thread's, up to 15 characters. `running` is borrowed; NULL: the thread has jobs only. NULL
 * with `error` set. */
struct reloader *reloader_new(const char *name, struct gateway_running *running, const struct seccomp_filter *filter,
			      struct error *error);

/* Waits for the thread, which may still read for a while. NULL is allowed. Before the registry is taken down. */
void reloader_free(struct reloader *reloader);

/* Requests a reading of the configuration; `ticket` is the control request to be answered, or NULL. */
void reloader_ask(struct reloader *reloader, const struct control_ticket *ticket);

/* Something else than the configuration that changes peers: it is read by the same thread, so that the two exclude each
 * other. All functions get `context`. */
struct reloader_job {
	void (*read)(void *context);  /* the thread, online under RCU */
	bool (*apply)(void *context); /* control thread, when it is read; false: again in the next turn of its loop */
	void (*free)(void *context);  /* the thread; also of a job that was not read or not applied */
	void *context;
};

/* Whether no job waits. NULL is allowed: false. */
bool reloader_takes_job(const struct reloader *reloader);

/* Now, or after what is under way. Only if reloader_takes_job(). */
void reloader_begin(struct reloader *reloader, const struct reloader_job *job);

/* A reading was requested and is not applied yet: peers are not to be added or removed. NULL is allowed, and not busy.
 */
bool reloader_busy(const struct reloader *reloader);

/* Whether the configuration is being read, or is to be applied: it may be the file as it was before. A job is none. */
bool reloader_reads(const struct reloader *reloader);

/* Readable when there is something to apply. */
int reloader_fd(const struct reloader *reloader);

/* Of a thread that has jobs only: applies the next part of one that was read, if there is one. */
void reloader_apply_job(struct reloader *reloader);

/* The control requests to be answered for a reading. */
struct reloader_waiting {
	struct control_ticket tickets[CONTROL_CONNECTIONS_MAX];
	size_t count;
};

/* Applies what was read. False: there is nothing, or it was a job's. Else `*code` is as of gateway_reload_apply(), as
 * are `result` and `error`. */
bool reloader_apply(struct reloader *reloader, int *code, struct gateway_reload_result *result,
		    struct reloader_waiting *waiting, struct error *error);
