// SPDX-License-Identifier: Apache-2.0
/* The workers' second sockets, for datagrams of sessions that send little (core/base/sparse_queue.h): a BPF program in
 * place of that of workers/steering.h, with the same meaning but for them. In the reuseport group they come behind the
 * sockets of the handshake threads, in the order of their workers.
 *
 * A client may mark what belongs to its sparse flows (DATA_SPARSE; core/protocol/PROTOCOL.md, 5). Then that goes to the
 * second socket, within a limit for each session, and nothing else of the session does: so its own bulk traffic does
 * not delay it. Order within a flow holds, since a sender marks no flow that sent much less than SPARSE_HOLD_NS ago,
 * and the program lets nothing overtake what is older than SPARSE_BEHIND_NS. To see how far the thread is behind, it
 * notes when one datagram came, and the thread says when it has handled that.
 *
 * Clients have the same, with one worker and no handshake threads, for what the gateway marks.
 *
 * Nothing is authenticated there. Datagrams that name no session go to the worker's first socket. With the ID of a
 * session, forged datagrams make that session one that sends much, and no other. */
#pragma once

#include <stdbool.h>

#include "core/base/error.h"
#include "core/base/sparse_queue.h"
#include "workers/steering.h"
#include "workers/udp.h"

enum {
	SPARSE_SESSIONS_LEAST = 64, /* sessions of a worker that can be sparse: powers of two */
	SPARSE_SESSIONS_MOST = 65536,
	SPARSE_SESSIONS_MARKED = 64 << 10, /* cost of all sparse flows of a session in a window */
};

/* Where 8 bytes of a datagram begin that no other has: of both protocols session and counter, or a part of them. */
enum { SPARSE_SESSIONS_PROBE = 5 };

struct sparse_session {
	/* the worker's */
	_Atomic uint32_t id;   /* 0: none */
	_Atomic uint32_t most; /* cost of what is sparse in a window; SPARSE_SESSIONS_MARKED: the client marks that */
	/* the program's */
	struct sparse_member member; /* of all, or of what is marked */
	uint64_t last_other;	     /* when a datagram without a mark came from a client that marks ... */
	uint64_t other_since;	     /* ... and the first one after all before were handled */
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
/* Whether the session's client marks what is sparse (DATA_SPARSE): then only that goes to the second socket. */
void sparse_sessions_mark(const struct sparse_sessions *sparse, uint32_t session_id, bool marks);

void sparse_sessions_remove(const struct sparse_sessions *sparse, uint32_t session_id);

/* What a worker has of its pair of sockets. All zero at first. */
struct sparse_reader {
	uint64_t taken;	 /* messages from the second one, as the program counts them */
	uint64_t since;	 /* the program counted no more since then, monotonic ns ... */
	uint64_t seen;	 /* ... than this */
	uint64_t probed; /* when the probe came that is in the batch of the first one; 0: none is */
};

/* Whether the program sent anything to the second socket that was not taken. */
static inline bool sparse_reader_waiting(const struct sparse_reader *reader, const struct sparse_queue *queue)
{
	return atomic_load_explicit(&queue->entered, memory_order_acquire) != reader->taken;
}

/* The second socket was found empty. What the program counted a while ago and is not there was lost behind it, in front
 * of a full socket. */
void sparse_reader_settle(struct sparse_reader *reader, const struct sparse_queue *queue, uint64_t now);

/* A batch was received from the first socket: whether the probe is in it, of which the program noted when it came. */
void sparse_reader_look(struct sparse_reader *reader, const struct sparse_queue *queue,
			const struct udp_message *messages, size_t count);

/* All of that batch is handled: tells the program so. `began`: when it was received, if it left the socket empty; else
 * 0. */
void sparse_reader_handled(struct sparse_reader *reader, struct sparse_queue *queue, uint64_t began);
