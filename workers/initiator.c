// SPDX-License-Identifier: Apache-2.0
#include "workers/initiator.h"

#include <sodium.h>
#include <stdlib.h>

#include "workers/downlink.h"
#include "workers/endpoint_loop.h"
#include "workers/gateway_role.h"

enum { INITIATOR_BURST = 16 /* sessions whose frames leave in a turn */ };

/* A key that we have to renew is looked at so often in its last minute: only what is sent then renews it. */
#define INITIATOR_LOOK_NS NS_PER_S

/* Long before a key may seal nothing any more. The paper has 2^60; our keys end at 2^32 (core/protocol/transport.h). */
#define INITIATOR_RENEW_MESSAGES (TRANSPORT_COUNTER_LIMIT / 2)

static struct gateway_role *gateway(const struct worker *worker)
{
	return worker->role_state;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static bool can_initiate(const struct worker *worker, const struct session *session)
{
	return gateway(worker)->initiators != NULL && peer_protocol(session->peer) == PEER_WIREGUARD;
}

static struct initiator *get(struct session *session)
{
	struct initiator *initiator = session->initiator;
	if (initiator != NULL)
		return initiator;
	initiator = calloc(1, sizeof *initiator);
	if (initiator == NULL)
		return NULL;
	initiator->session = session;
	staging_init(&initiator->staged);
	session->initiator = initiator;
	return initiator;
}

/* --- where to ----------------------------------------------------------------------------------------------------- */

static bool has_endpoint(const struct session *session)
{
	return session->endpoint.remote.sin6_port != 0;
}

static bool same_address(const struct sockaddr_in6 *a, const struct sockaddr_in6 *b)
{
	return a->sin6_port == b->sin6_port && memcmp(&a->sin6_addr, &b->sin6_addr, sizeof a->sin6_addr) == 0;
}

/* The kernel chooses the local address. */
static void go_to(struct worker *worker, struct session *session, const struct sockaddr_in6 *remote)
{
	const struct endpoint to = {.remote = *remote};
	if (!endpoint_may_move(worker, gateway(worker)->registry, session, &to))
		return;
	session->endpoint = to;
	session->path_deadline = 0;
	session_show_endpoint(session);
}

bool initiator_stands(const struct session *session)
{
	return contact_has_endpoint(peer_contact(session->peer));
}

void initiator_follow(struct worker *worker, struct session *session)
{
	const struct contact *contact = peer_contact(session->peer);
	if (!can_initiate(worker, session))
		return;
	session->look_after = WG_SILENCE_S * NS_PER_S;
	struct initiator *initiator = contact_has_endpoint(contact) ? get(session) : NULL;
	if (initiator == NULL || !contact_has_address(contact) ||
	    same_address(&initiator->configured, &contact->endpoint))
		return;
	initiator->configured = contact->endpoint;
	go_to(worker, session, &contact->endpoint);
	if (initiator->began != 0)
		initiator->retry = worker->now;
}

/* --- an attempt --------------------------------------------------------------------------------------------------- */

/* Of the thread to which the answers are steered. */
static struct inbox *inbox_of(const struct worker *worker, const struct session *session)
{
	const struct gateway_role *role = gateway(worker);
	return role->initiators[session->id % role->initiator_count];
}

static uint64_t jitter(void)
{
	return randombytes_uniform(WG_REKEY_JITTER_MS) * NS_PER_MS;
}

/* Without memory, or while the Endpoint's name is not resolved, the next one may do. */
static void demand(struct worker *worker, struct initiator *initiator)
{
	struct session *session = initiator->session;
	struct inbox *inbox = inbox_of(worker, session);
	initiator->demanded = worker->now;
	initiator->retry = earlier(worker->now + WG_REKEY_TIMEOUT_S * NS_PER_S + jitter(),
				   initiator->began + WG_REKEY_ATTEMPT_S * NS_PER_S);
	struct inbox_message *message = inbox != NULL && has_endpoint(session) ? malloc(sizeof *message) : NULL;
	if (message == NULL)
		return;
	unsigned epoch = atomic_load_explicit(&session->view.epoch, memory_order_relaxed);
	*message = (struct inbox_message){.kind = INBOX_INITIATE, .session_id = session->id};
	memcpy(message->initiate.peer, session->peer->public_key, KEY_SIZE);
	message->initiate.epoch = (uint8_t)wg_next_epoch(epoch, true);
	message->initiate.to = session->endpoint;
	inbox_post(inbox, message);
}

bool initiator_begin(struct worker *worker, struct session *session)
{
	if (initiator_is_trying(session))
		return true;
	if (!can_initiate(worker, session) || (!has_endpoint(session) && !initiator_stands(session)))
		return false;
	struct initiator *initiator = get(session);
	if (initiator == NULL)
		return false;
	/* Also the first one of this attempt comes no sooner after the last one of the attempt before. */
	uint64_t earliest = initiator->demanded != 0 ? initiator->demanded + WG_REKEY_TIMEOUT_S * NS_PER_S : 0;
	initiator->began = worker->now;
	initiator->retry = later(worker->now, earliest);
	if (initiator->retry == worker->now)
		demand(worker, initiator);
	worker_set_timer_before(worker, session, initiator->retry);
	return true;
}

bool initiator_keyless(struct worker *worker, struct session *session, const struct inner *packet)
{
	if (!initiator_begin(worker, session))
		return false;
	staging_put(&worker->staging, &session->initiator->staged, packet, &worker->loop.stats);
	return true;
}

void initiator_settle(struct worker *worker, struct session *session)
{
	struct initiator *initiator = session->initiator;
	if (initiator == NULL)
		return;
	initiator->began = initiator->gave_up = 0;
	staging_release(&worker->staging, &initiator->staged);
}

static void tell_unanswered(struct worker *worker, const struct session *session)
{
	struct event_source *events = &gateway(worker)->events;
	enum event_kind kind = session_is_active(session) ? EVENT_REKEY_FAILED : EVENT_REFUSED;
	struct event *event = event_new_of(events, kind, session, worker->now);
	if (event == NULL)
		return;
	event->reason = has_endpoint(session) ? "unanswered" : "unresolved";
	event_post(events, event);
}

/* The peer may have moved: what comes next goes to where it was configured, unless something came from it. The operator
 * is told once, and not of clients that come and go as they like. */
static void give_up(struct worker *worker, struct initiator *initiator)
{
	struct session *session = initiator->session;
	if (initiator->gave_up == 0 && initiator_stands(session))
		tell_unanswered(worker, session);
	if (session->received < initiator->began && initiator->configured.sin6_port != 0)
		go_to(worker, session, &initiator->configured);
	atomic_store_explicit(&session->peer->wireguard->lost, true, memory_order_relaxed);
	stats_add(&worker->loop.stats, wg_unanswered, 1);
	staging_drop(&worker->staging, &initiator->staged, DROP_OUT_UNANSWERED, &worker->loop.stats);
	initiator->began = 0;
	initiator->gave_up = worker->now;
	session->awaiting_reply_since = 0;
}

/* --- when --------------------------------------------------------------------------------------------------------- */

/* Whether the current key is to be renewed: by its age if we made it, else only before its counter ends. */
static bool wants_renewal(const struct session *session, uint64_t now)
{
	const struct transport_key *key = session->current;
	if (key == NULL)
		return false;
	if (key->send_counter >= INITIATOR_RENEW_MESSAGES)
		return true;
	return key->initiated && now >= key->born + WG_REKEY_AFTER_S * NS_PER_S &&
	       (session->sent >= key->born + WG_REKEY_AFTER_S * NS_PER_S ||
		session->received >= key->born + WG_REKEY_RECEIVING_S * NS_PER_S);
}

static uint64_t renewal_due(const struct session *session, uint64_t now)
{
	const struct transport_key *key = session->current;
	if (key == NULL || !key->initiated)
		return UINT64_MAX;
	return later(key->born + WG_REKEY_AFTER_S * NS_PER_S, now + INITIATOR_LOOK_NS);
}

/* Data was sent, and nothing came. */
static uint64_t silence_due(const struct session *session)
{
	uint64_t since = session->awaiting_reply_since;
	return since != 0 ? since + WG_SILENCE_S * NS_PER_S : UINT64_MAX;
}

/* Without a key a persistent keepalive is an initiation. */
static uint64_t keepalive_due(const struct session *session)
{
	const struct contact *contact = peer_contact(session->peer);
	if (contact == NULL || contact->keepalive == 0 || session->current != NULL)
		return UINT64_MAX;
	const struct initiator *initiator = session->initiator;
	uint64_t last = later(session->sent, session->received);
	if (initiator != NULL)
		last = later(last, later(initiator->demanded, initiator->gave_up));
	return last != 0 ? last + contact->keepalive * NS_PER_S : 0;
}

void initiator_tick(struct worker *worker, struct session *session)
{
	struct initiator *initiator = session->initiator;
	uint64_t now = worker->now;
	if (!can_initiate(worker, session))
		return;
	if (initiator_is_trying(session)) {
		if (now < initiator->retry)
			return;
		if (now - initiator->began >= WG_REKEY_ATTEMPT_S * NS_PER_S)
			give_up(worker, initiator);
		else
			demand(worker, initiator);
		return;
	}
	if (wants_renewal(session, now) || now >= silence_due(session) || now >= keepalive_due(session))
		(void)initiator_begin(worker, session);
}

uint64_t initiator_due(const struct worker *worker, const struct session *session)
{
	if (!can_initiate(worker, session))
		return UINT64_MAX;
	if (initiator_is_trying(session))
		return session->initiator->retry;
	return earlier(renewal_due(session, worker->now), earlier(silence_due(session), keepalive_due(session)));
}

/* --- frames that waited ------------------------------------------------------------------------------------------- */

/* The responder takes our keys for good when the first message under them comes, so there has to be one. */
static void confirm(struct worker *worker, struct session *session)
{
	const struct transport_key *key = session->current;
	if (key != NULL && key->initiated && key->send_counter == 0)
		(void)worker_send_control(worker, session, WIRE_KEEPALIVE, NULL, 0);
}

static size_t send_staged(struct worker *worker, struct initiator *initiator)
{
	struct session *session = initiator->session;
	struct staged_frame *frame;
	size_t count = 0;
	while (!worker->send.blocked && session->current != NULL &&
	       (frame = staging_take(&worker->staging, &initiator->staged)) != NULL) {
		downlink_staged(worker, session, &frame->packet);
		free(frame);
		count++;
	}
	confirm(worker, session);
	return count;
}

size_t initiator_send_staged(struct worker *worker)
{
	size_t count = 0;
	if (worker->send.blocked)
		return 0;
	for (unsigned i = 0; i < INITIATOR_BURST && !worker->send.blocked; i++) {
		struct staging *staging = staging_next_ready(&worker->staging);
		if (staging == NULL)
			break;
		struct initiator *initiator = caa_container_of(staging, struct initiator, staged);
		count += send_staged(worker, initiator);
		if (worker->send.blocked)
			staging_release(&worker->staging, staging);
	}
	return count;
}

void initiator_end(struct worker *worker, struct session *session)
{
	struct initiator *initiator = session->initiator;
	if (initiator == NULL)
		return;
	staging_drop(&worker->staging, &initiator->staged, DROP_OUT_NO_SESSION, &worker->loop.stats);
	session->initiator = NULL;
	free(initiator);
}
