// SPDX-License-Identifier: Apache-2.0
#include "workers/gateway_timers.h"

#include "workers/gateway_role.h"
#include "workers/initiator.h"

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* A client of ours is told how long it may be silent. One of WireGuard's is not, and sleeps as it likes: its session
 * outlives its keys, until WireGuard would wipe them, and its address stays the peer's. */
uint64_t gateway_silence_due(const struct worker *worker, const struct session *session)
{
	const struct gateway_role *role = worker->role_state;
	uint64_t limit = peer_protocol(session->peer) == PEER_WIREGUARD ? WG_WIPE_AFTER_S : role->session_timeout;
	return session->received + limit * NS_PER_S;
}

/* Our own clients keep the mappings of NATs alive themselves. */
uint64_t gateway_keepalive_due(const struct session *session)
{
	const struct contact *contact = peer_contact(session->peer);
	if (contact == NULL || contact->keepalive == 0 || session->current == NULL)
		return UINT64_MAX;
	uint64_t last = session->sent > session->received ? session->sent : session->received;
	return last + contact->keepalive * NS_PER_S;
}

uint64_t gateway_next_look(const struct worker *worker, const struct session *session)
{
	uint64_t due = earlier(session_keys_due(session), session_hibernation_due(session));
	due = earlier(due, initiator_due(worker, session));
	if (session_is_active(session)) {
		due = earlier(due, earlier(gateway_silence_due(worker, session), gateway_keepalive_due(session)));
		if (session->keepalive_owed_since != 0)
			due = earlier(due, session->keepalive_owed_since + SESSION_KEEPALIVE_NS);
		if (session->path_deadline != 0)
			due = earlier(due, worker->now + SESSION_PATH_PING_NS);
	}
	return due;
}
