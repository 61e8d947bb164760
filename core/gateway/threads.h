// SPDX-License-Identifier: Apache-2.0
/* The gateway's threads and what they share: workers, TUN readers, handshake threads, the rings and inboxes between
 * them (workers/THREADS.md). Made, started and freed by the control thread. */
#pragma once

#include "core/base/cpu.h"
#include "core/daemon/daemon.h"
#include "core/sessions/registry.h"
#include "workers/gateway_role.h"
#include "workers/handshaker.h"
#include "workers/session_shares.h"
#include "workers/tun_reader.h"
#include "workers/worker.h"

enum { GATEWAY_THREADS_KINDS = 3 }; /* handshake threads, readers, workers */

struct gateway_threads {
	struct cpu_plan plan;
	unsigned first_queue; /* of the workers' queues of the TUN; those before it are the readers' */
	struct handoff handoff;
	struct sparse_sessions sparse; /* of the workers' second sockets */
	int sparse_result;	       /* 0, or the negative errno by which the kernel refused them */
	struct session_shares shares;  /* of their first ones */
	struct copy_ring **copies;     /* of workers, then handshake threads */
	struct aead_engine **engines;  /* the same */
	struct gateway_role *roles;    /* of the workers */
	struct worker **workers;
	struct inbox **inboxes;
	struct waker **wakers;
	struct tun_reader **readers;
	struct handshaker_common common;
	struct handshaker **handshakers;
	struct inbox **initiators; /* of the handshake threads; NULL once they are freed */
};

struct gateway_threads_params {
	struct daemon *daemon; /* open; has sockets and queues as they were wanted */
	struct registry *registry;
	const struct cpu_list *cpus;
	const struct gateway_role *role;	/* a pattern: each worker gets a copy */
	const struct handshaker_common *common; /* a pattern: `inboxes` is filled in */
	uint32_t datagram_max;			/* bytes of the longest message that a session may bring */
	bool attach_later; /* programs are loaded, and attached by gateway_threads_attach(): another process still has
			      the sockets */
};

/* Sockets and queues of the TUN that the plan needs. */
void gateway_threads_want_sockets(struct gateway_threads *threads, const struct registry *registry,
				  struct daemon_params *params);
void gateway_threads_want_none(struct gateway_threads *threads); /* unless they were opened; again is allowed */
void gateway_threads_want_queues(struct gateway_threads *threads, const struct pool *pool,
				 struct daemon_params *params);

/* What the device has become: where the kernel cannot steer packets to the workers' own queues, the plan gets a TUN
 * reader instead, and the log says so. */
void gateway_threads_take_queues(struct gateway_threads *threads, const struct tun_device *device);

/* Makes everything and attaches the programs; `plan` is filled already. On failure nothing is left. */
int gateway_threads_open(struct gateway_threads *threads, const struct gateway_threads_params *params,
			 struct error *error);

/* How workers and handshake threads wait from now on, while these `cpus` are theirs: worker i spins if it has one for
 * itself (alone[i]). */
void gateway_threads_share(struct gateway_threads *threads, const struct cpu_list *cpus, const bool *alone);

/* Starts all of them: workers, readers, handshake threads. daemon_stop() ends them, also some of them. */
int gateway_threads_start(struct gateway_threads *threads, struct daemon *daemon, struct error *error);

/* --- take-over --- */

/* Before gateway_threads_start(): the threads stand still from their start on. */
void gateway_threads_park(struct gateway_threads *threads);

/* They were parked and started: waits until what they own is the calling thread's, which is online under RCU. False:
 * not within `limit` ns, and none of them goes on: another process has the sockets. */
bool gateway_threads_wait_parked(const struct daemon *daemon, uint64_t limit);

/* All of them stand still, and what they own is the calling thread's, which is online under RCU; false: not within
 * `limit` ns, and they go on. */
bool gateway_threads_freeze(const struct gateway_threads *threads, const struct daemon *daemon, uint64_t limit);

/* The same of the handshake threads alone; or of one worker, which has then done what others had given it. */
bool gateway_threads_freeze_handshakes(const struct daemon *daemon, uint64_t limit);
bool gateway_threads_freeze_worker(struct worker *worker, const struct clock *clock, uint64_t limit);

/* All of them go on. */
void gateway_threads_thaw(const struct daemon *daemon);

/* From now on sockets and interface are this process's: attaches what gateway_threads_open() loaded. On failure, which
 * only a lack of memory explains, they are of no use to either process. Needs no rights. */
int gateway_threads_attach(struct gateway_threads *threads, struct daemon *daemon, struct error *error);

/* --- end --- */

/* Before daemon_stop(): workers end their sessions without BYE, for the next process serves the same clients. */
void gateway_threads_leave(struct gateway_threads *threads);

/* Frees everything; the threads ended. */
void gateway_threads_close(struct gateway_threads *threads);

/* Has a session's worker send BYE and end the session. 0 or -ENOMEM. */
int gateway_threads_end_session(struct gateway_threads *threads, const struct registry *registry, uint32_t session_id,
				enum wire_bye_reason reason);

/* Has it take over the limits of the session's peer, and how that is reached. 0 or -ENOMEM. */
int gateway_threads_limit_session(struct gateway_threads *threads, const struct registry *registry,
				  uint32_t session_id);

/* Hands a session that registry_stand() made to its worker. 0 or -ENOMEM: it stays the caller's. */
int gateway_threads_stand(struct gateway_threads *threads, const struct registry *registry,
			  const struct registry_grant *grant);

/* In a cluster: has all workers look at the fence now; and whether nothing more leaves of what was taken away up to
 * this version of it, for which they have to be woken twice. */
void gateway_threads_wake(struct gateway_threads *threads);
bool gateway_threads_fenced(const struct gateway_threads *threads, uint64_t version);

/* Hands what another gateway forwarded to a handshake thread. 0 or -ENOMEM. */
int gateway_threads_forwarded(struct gateway_threads *threads, const struct forwarded *forwarded);

/* Sums over the workers: confirmed sessions, and those of them that speak WireGuard. */
uint32_t gateway_threads_active(const struct gateway_threads *threads);
uint32_t gateway_threads_wireguard(const struct gateway_threads *threads);

/* Events of a kind that were not logged so far, for there were too many. */
uint64_t gateway_threads_suppressed(const struct gateway_threads *threads, enum event_kind kind);
