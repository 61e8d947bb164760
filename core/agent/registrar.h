// SPDX-License-Identifier: Apache-2.0
/* The thread that adds and deletes peers in etcd for requests of the agent's control socket, one after the other: each
 * takes several requests to etcd, for which the agent's own thread cannot wait. All functions but those marked: the
 * agent's thread. */
#pragma once

#include "core/agent/registration.h"
#include "core/control/control.h"

/* A request, and what became of it. */
struct registrar_job {
	struct registrar_job *next;
	struct control_ticket ticket;
	char **words; /* copies, in front of a NULL; what `peer` points to */
	char *networks;
	bool add;
	struct registration peer; /* of a deletion the key alone */
	struct registration_pool pool;
	/* set by the thread */
	int code;
	struct error error;
	uint32_t index;
};

struct registrar;

/* The settings are borrowed. NULL with `error`. */
struct registrar *registrar_new(const struct agent_settings *settings, struct error *error);

/* Gives up what is under way, which ends within about 0.1 s. NULL is allowed. */
void registrar_free(struct registrar *registrar);

/* The job of a request: add KEY ..., or del KEY. NULL with `error`: the words are wrong, or no memory. */
struct registrar_job *registrar_job_new(char *const *words, size_t count, struct error *error);
void registrar_job_free(struct registrar_job *job);

/* Whether another one may wait: a client that went away leaves its job. */
bool registrar_has_room(struct registrar *registrar);

/* Takes the job over. */
void registrar_begin(struct registrar *registrar, struct registrar_job *job);

/* Readable when a job is done, which is the caller's then. */
int registrar_fd(const struct registrar *registrar);
struct registrar_job *registrar_take(struct registrar *registrar);
