// SPDX-License-Identifier: Apache-2.0
/* WireGuard handshakes that the gateway initiates: the part of the session's worker, which says when. The rules are
 * those of Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel", 6; core/protocol/WIREGUARD.md, 5 says where
 * we differ.
 *
 *   worker                                      handshake thread that the session's ID names
 *   initiator_begin: epoch   -- INBOX_INITIATE ->  handshaker_initiate: X25519, sends the initiation
 *   frames wait (staging.h)                        its answers are steered there (steering.h)
 *   initiator_install        <- INBOX_INITIATED -  response: X25519, keys
 *   the keys are current at once; what waited is sent, or a keepalive
 *
 * An attempt is one initiation after the other until keys are there, by whichever handshake, or WG_REKEY_ATTEMPT_S have
 * passed. A session may begin by it: a peer with an Endpoint has one from the start (registry_stand()), pending, but
 * with its addresses and networks leading to it, so that packets find a worker. All is the worker's thread. */
#pragma once

#include "workers/worker.h"

/* What the timers need of each session that initiated, or may begin to. Heap; the session's. */
struct initiator {
	struct session *session;
	uint64_t began;			/* when the attempt under way began, monotonic ns; 0: there is none */
	uint64_t demanded;		/* when the last initiation was demanded; 0: none was */
	uint64_t retry;			/* when the next one is due, if an attempt is under way */
	uint64_t gave_up;		/* when the last attempt ended in vain; 0: none did since the last keys */
	struct sockaddr_in6 configured; /* the Endpoint that was applied last */
	struct staging staged;
};

/* Whether the session may initiate by itself, as its peer has an Endpoint: it does not end for having no keys. */
bool initiator_stands(const struct session *session);

/* A session was added, or the configuration of how its peer is reached has changed: an Endpoint that is new is the
 * session's endpoint from now on. */
void initiator_follow(struct worker *worker, struct session *session);

/* Begins an attempt, unless one is under way. False: the gateway, or this peer's session, cannot initiate. */
bool initiator_begin(struct worker *worker, struct session *session);

/* A packet for a session without key begins an attempt, and waits for its end. False: it cannot, and the packet is the
 * caller's still. */
bool initiator_keyless(struct worker *worker, struct session *session, const struct inner *packet);

/* The session has new keys, by any handshake: no attempt is under way any more, and what waits may leave. */
void initiator_settle(struct worker *worker, struct session *session);

/* What is due by the timers: begins, repeats, gives up. */
void initiator_tick(struct worker *worker, struct session *session);

/* When initiator_tick() is due next, monotonic ns; UINT64_MAX: not before something happens. */
uint64_t initiator_due(const struct worker *worker, const struct session *session);

/* Whether an attempt is under way. */
static inline bool initiator_is_trying(const struct session *session)
{
	return session->initiator != NULL && session->initiator->began != 0;
}

/* Sends what waited for keys that are there. Returns how many frames. Each turn; costs one test when there are none. */
size_t initiator_send_staged(struct worker *worker);
static inline size_t initiator_run(struct worker *worker)
{
	return unlikely(staging_ready(&worker->staging)) ? initiator_send_staged(worker) : 0;
}

/* The session ends: what waits is dropped. */
void initiator_end(struct worker *worker, struct session *session);
