// SPDX-License-Identifier: Apache-2.0
/* Path validation at the gateway: a session's new endpoint is pinged, gets at most SESSION_PATH_FACTOR times what came
 * from there until its pong, and is left after SESSION_PATH_NS without one (core/protocol/PROTOCOL.md, Endpoint; the
 * rules are those of RFC 9000, 8 and 9). A WireGuard client cannot answer pings: its endpoints are taken as they come.
 * The state is in the session; the worker's thread. */
#pragma once

#include "workers/worker.h"

/* A new session: draws the key of its nonces. */
void gateway_path_init(struct session *session);

/* A handshake was confirmed by `bytes` that came from here. A client that confirms from the source of its HELLO has
 * proven that it receives what is sent there. */
void gateway_path_confirmed(struct worker *worker, struct session *session, const struct endpoint *from,
			    uint32_t bytes);

/* The client moved, or an attacker replays its packets from elsewhere: the answer to a ping decides. */
void gateway_path_moved(struct worker *worker, struct session *session, const struct endpoint *from, uint32_t bytes);

/* A pong came. */
void gateway_path_pong(struct worker *worker, struct session *session, uint64_t nonce, const struct endpoint *from);

/* Pings again, or returns to the proven endpoint when the time is over. */
void gateway_path_tick(struct worker *worker, struct session *session);

/* Back to the endpoint that was proven last, if the one now is not. */
void gateway_path_go_back(struct session *session);
