// SPDX-License-Identifier: Apache-2.0
/* The gateway's threads and what they share: workers, TUN readers, handshake threads, the rings and inboxes between
 * them (workers/THREADS.md). Made, started and freed by the control thread. */
#pragma once

#include "core/daemon/daemon.h"
#include "core/base/cpu.h"
#include "core/sessions/registry.h"
#include "workers/gateway_role.h"
#include "workers/handshaker.h"
#include "workers/tun_reader.h"
#include "workers/worker.h"

struct gateway_threads {
	struct cpu_plan plan;
	struct handover handover;
	struct copy_ring **copies;    /* of workers, then handshake threads */
	struct aead_engine **engines; /* the same */
	struct gateway_role *roles;   /* of the workers */
	struct worker **workers;
	struct inbox **inboxes;
	struct waker **wakers;
	struct tun_reader **readers;
	struct handshaker_common common;
	struct handshaker **handshakers;
};

struct gateway_threads_params {
	struct tunnel *tunnel; /* open; has sockets for workers and handshake threads, queues for readers and workers */
	struct registry *registry;
	const struct cpu_list *cpus;
	const struct gateway_role *role;	/* a pattern: each worker gets a copy */
	const struct handshaker_common *common; /* a pattern: `inboxes` is filled in */
	uint32_t datagram_max;			/* bytes of the longest message that a session may bring */
};

/* Makes everything and attaches the steering program; `plan` is filled already. On failure nothing is left. */
int gateway_threads_open(struct gateway_threads *threads, const struct gateway_threads_params *params,
			 struct error *error);

/* Starts all of them: workers, readers, handshake threads. tunnel_stop() ends them, also some of them. */
int gateway_threads_start(struct gateway_threads *threads, struct tunnel *tunnel, struct error *error);

/* Frees everything; the threads ended. */
void gateway_threads_close(struct gateway_threads *threads);

/* Asks the owner of a session to say BYE to it and end it. 0 or -ENOMEM. */
int gateway_threads_end_session(struct gateway_threads *threads, const struct registry *registry, uint32_t session_id,
				enum wire_bye_reason reason);

/* Sums over the workers. */
uint32_t gateway_threads_active(const struct gateway_threads *threads);

/* Events of a kind that were left out so far. */
uint64_t gateway_threads_suppressed(const struct gateway_threads *threads, enum event_kind kind);
