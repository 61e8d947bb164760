// SPDX-License-Identifier: Apache-2.0
/* The workers' second sockets, for datagrams of sessions that send little (core/base/sparse_queue.h): a BPF program in
 * place of that of workers/steering.h, with the same meaning but for them. In the reuseport group they come behind the
 * sockets of the handshake threads, in the order of their workers.
 *
 * Nothing is authenticated there. Datagrams that name no session go to the worker's first socket. With the ID of a
 * session, forged datagrams make that session one that sends much, and no other. */
#pragma once

#include <stdbool.h>

#include "core/base/error.h"
#include "core/base/sparse_queue.h"
#include "workers/steering.h"

enum {
	SPARSE_SESSIONS_LEAST = 64, /* sessions of a worker that can be sparse: powers of two */
	SPARSE_SESSIONS_MOST = 65536,
};

struct sparse_session {
	_Atomic uint32_t id; /* the worker's; 0: none */
	uint32_t unused;
	struct sparse_member member; /* the program's */
};

/* All zero but for `program`: there are no second sockets. */
struct sparse_sessions {
	int program; /* descriptor; -1: none */
	struct steering steering;
	struct sparse_queue *queues;	 /* of each worker */
	struct sparse_session *sessions; /* of worker w: from w * members on */
	uint32_t members;
	size_t queues_mapped, sessions_mapped; /* bytes */
};

/* Loads the program. 0, or a negative errno with nothing left: -EPERM without CAP_BPF, -EINVAL and -ENOSYS where the
 * kernel has no such thing. Start-up. */
int sparse_sessions_load(struct sparse_sessions *sparse, const struct steering *steering);

/* Steers the whole group that the bound socket `fd` is in, as steering_attach(): 0 or a negative errno. Start-up. */
int sparse_sessions_attach(const struct sparse_sessions *sparse, int fd);

/* The program's descriptor alone, once it is attached. */
void sparse_sessions_close_program(struct sparse_sessions *sparse);

/* When no worker runs any more; again is allowed. */
void sparse_sessions_unload(struct sparse_sessions *sparse);

/* --- the worker --------------------------------------------------------------------------------------------------- */

/* The session may be sparse from here on, or no more. Before any of its datagrams can arrive. Of two whose IDs differ
 * by many slots the later one may. `sparse` may be NULL: none. */
void sparse_sessions_add(const struct sparse_sessions *sparse, uint32_t session_id);
void sparse_sessions_remove(const struct sparse_sessions *sparse, uint32_t session_id);
