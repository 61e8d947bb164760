// SPDX-License-Identifier: Apache-2.0
#include "workers/gateway_path.h"

#include <sodium.h>

#include "crypto/keys.h"

void gateway_path_init(struct session *session)
{
	randombytes_buf(session->path_key, sizeof session->path_key);
}

/* One nonce for each endpoint, so that a pong is valid also when the client moved away and back meanwhile, and only for
 * that endpoint. The key changes with each endpoint that was proven or refused. */
static uint64_t path_nonce(const struct session *session, const struct endpoint *to)
{
	uint8_t hash[MAC_SIZE];
	mac_compute(hash, session->path_key, to, sizeof *to);
	return load_be64(hash);
}

static void settle(struct session *session)
{
	session->path_deadline = 0;
	gateway_path_init(session);
}

void gateway_path_go_back(struct session *session)
{
	if (session->path_deadline == 0)
		return;
	session->endpoint = session->proven;
	settle(session);
}

static void ping(struct worker *worker, struct session *session)
{
	uint8_t payload[WIRE_PROBE_SIZE];
	wire_probe_write(payload, WIRE_PING, session->path_nonce);
	(void)worker_send_control(worker, session, WIRE_KEEPALIVE, payload, sizeof payload);
}

/* Whether its protocol leaves an endpoint unproven: the newest authentic packet decides. */
static bool roams_freely(const struct session *session)
{
	return session->current != NULL && session->current->dialect->roams_freely;
}

void gateway_path_moved(struct worker *worker, struct session *session, const struct endpoint *from, uint32_t bytes)
{
	if (roams_freely(session)) {
		session->endpoint = *from;
		stats_add(&worker->loop.stats, roams, 1);
		return;
	}
	if (session->path_deadline == 0)
		session->proven = session->endpoint;
	session->endpoint = *from;
	stats_add(&worker->loop.stats, roams, 1);
	if (endpoint_equal(from, &session->proven)) {
		session->path_deadline = 0;
		return;
	}
	/* A client that moves again before it answered gets no more time. */
	if (session->path_deadline == 0)
		session->path_deadline = worker->now + SESSION_PATH_NS;
	session->path_credit = SESSION_PATH_FACTOR * bytes;
	session->path_nonce = path_nonce(session, from);
	ping(worker, session);
}

void gateway_path_pong(struct worker *worker, struct session *session, uint64_t nonce, const struct endpoint *from)
{
	if (session->path_deadline == 0 || nonce != session->path_nonce || !endpoint_equal(from, &session->endpoint))
		return;
	settle(session);
	stats_add(&worker->loop.stats, paths_proven, 1);
}

void gateway_path_tick(struct worker *worker, struct session *session)
{
	if (session->path_deadline == 0)
		return;
	if (worker->now < session->path_deadline) {
		ping(worker, session);
		return;
	}
	gateway_path_go_back(session);
	stats_add(&worker->loop.stats, paths_refused, 1);
}

void gateway_path_confirmed(struct worker *worker, struct session *session, const struct endpoint *from, uint32_t bytes)
{
	bool known = endpoint_equal(&session->endpoint, from);
	if (endpoint_equal(&session->next_from, from) || roams_freely(session)) {
		session->endpoint = *from;
		session->path_deadline = 0;
	} else if (!known) {
		session->endpoint = session->next_from;
		session->path_deadline = 0;
		gateway_path_moved(worker, session, from, bytes);
	}
}
