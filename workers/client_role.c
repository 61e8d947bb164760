// SPDX-License-Identifier: Apache-2.0
#include "workers/client_role.h"

#include <sodium.h>
#include <stdlib.h>

#include "core/base/hot.h"

enum { REKEY_LEAST_S = 10, REKEY_MOST_S = 86400 }; /* whatever the gateway wishes */
#define RESET_FIRST_NS	(10 * NS_PER_S)		   /* between handshakes that a RESET asked for; doubling */
#define ACK_INTERVAL_NS (250 * NS_PER_MS)
#define ACK_GIVE_UP_NS	(5 * NS_PER_S)
#define ACK_DOUBTFUL_NS (3 * NS_PER_S / 2) /* the gateway may have taken a later HELLO, whose WELCOME was lost */
#define BYE_SOON_NS	(600 * NS_PER_MS)  /* another gateway has the client's block by then, mostly */
#define BYE_LATER_NS	(16 * NS_PER_S)
#define REFUSED_NS	(16 * NS_PER_S) /* until a gateway is asked again whose offer cannot be taken */
#define SIGN_FIRST_NS	(2 * NS_PER_S)	/* doubling */
enum { SIGNS = 2 };			/* before the gateway's own KEEPALIVE at 10 s */

static struct client_role *client(struct worker *worker)
{
	return worker->role_state;
}

int client_role_init(struct client_role *role)
{
	role->snapshots.fd = role->targets.fd = -1;
	role->bye_reason = -1;
	if (mailbox_init(&role->snapshots) != 0 || mailbox_init(&role->targets) != 0) {
		int result = -errno;
		client_role_deinit(role);
		return result;
	}
	return 0;
}

void client_role_deinit(struct client_role *role)
{
	free(mailbox_deinit(&role->snapshots));
	free(mailbox_deinit(&role->targets));
	sodium_memzero(&role->hellos, sizeof role->hellos);
}

static void publish(struct client_role *role, enum client_state state)
{
	struct client_snapshot *snapshot = malloc(sizeof *snapshot);
	role->state = state;
	if (snapshot == NULL)
		return; /* the next change publishes it */
	*snapshot = (struct client_snapshot){.state = state,
					     .bye_reason = role->bye_reason,
					     .forgotten = role->forgotten,
					     .hellos = role->hellos.rounds,
					     .welcomed = role->welcomed,
					     .lease = role->lease,
					     .refusal = role->refusal,
					     .gateway = client_hellos_current(&role->hellos)->gateway.remote};
	free(mailbox_post(&role->snapshots, snapshot));
}

/* --- WELCOME ------------------------------------------------------------------------------------------------------ */

/* The suite must be one that was offered, and the addresses within AllowedIPs. Else an existing session goes on, and
 * the handshake is tried again after REFUSED_NS: the gateway's configuration may be corrected. */
static bool acceptable(struct worker *worker, const struct client_address *from, struct wire_welcome *welcome)
{
	struct client_role *role = client(worker);
	const struct client_offer_limits limits = {role->allowed, &from->gateway.remote, from->mtu};
	if (memchr(role->suites, welcome->suite, sizeof role->suites) == NULL)
		return false;
	if (client_offer_check(welcome, &limits, &role->refusal))
		return true;
	client_hellos_start(&role->hellos, worker->now + client_jitter(REFUSED_NS, 25));
	publish(role, role->state);
	return false;
}

static struct session *session_for(struct worker *worker, const struct wire_welcome *welcome)
{
	struct client_role *role = client(worker);
	struct session *session = role->session;
	if (session != NULL && session->id == welcome->session_id)
		return session;
	session = session_new(welcome->session_id, worker->now);
	if (session == NULL)
		return NULL;
	if (role->session != NULL)
		worker_end_session(worker, role->session);
	role->session = session;
	role->reset_wait = RESET_FIRST_NS;
	worker_add_session(worker, session);
	stats_add(&worker->loop.stats, sessions_started, 1);
	return session;
}

static void send_ack(struct worker *worker)
{
	struct client_role *role = client(worker);
	(void)worker_send_control(worker, role->session, WIRE_CLIENT_ACK, NULL, 0);
	role->ack_due = worker->now + ACK_INTERVAL_NS;
}

static bool take_welcome(struct worker *worker, struct client_address *from, const struct wire_welcome *welcome,
			 const struct noise_keys *secrets)
{
	struct client_role *role = client(worker);
	struct transport_key *key = transport_key_new(worker->aead, welcome->suite, welcome->epoch, secrets,
						      TRANSPORT_CLIENT, worker->now);
	struct session *session = key != NULL ? session_for(worker, welcome) : NULL;
	if (session == NULL) {
		transport_key_free(key);
		return false;
	}
	key->peer_capabilities = welcome->capabilities;
	worker_wake_next(worker, session, key);
	session_set_next(session, key, worker->now);
	sparse_sessions_mark(worker->sparse, session->id, (key->peer_capabilities & WIRE_MARKS_SPARSE) != 0);
	if (session_promote(session))
		stats_add(&worker->loop.stats, rekeys, 1);
	session_set_active(session);
	session->endpoint = from->gateway;
	session->mtu = welcome->mtu < from->mtu ? welcome->mtu : from->mtu;
	session->inner4 = welcome->address4;
	session->inner6 = welcome->address6;
	session->keepalive = role->persistent_keepalive != 0 ? role->persistent_keepalive : welcome->keepalive;
	session->received = worker->now;
	session->awaiting_reply_since = 0;

	role->lease = *welcome;
	role->welcomed = worker->now;
	client_hellos_accept(&role->hellos, from);
	role->bye_reason = -1;
	uint64_t seconds = (uint64_t)welcome->rekey_interval + welcome->back_off;
	uint64_t interval = (seconds < REKEY_LEAST_S  ? REKEY_LEAST_S
			     : seconds < REKEY_MOST_S ? seconds
						      : REKEY_MOST_S) *
			    NS_PER_S;
	role->rekey_interval = client_jitter(interval - interval / 10, 11); /* less up to 20 % */
	role->ack_end = worker->now + (client_hellos_pending(&role->hellos) ? ACK_DOUBTFUL_NS : ACK_GIVE_UP_NS);
	publish(role, CLIENT_CONFIRM);
	send_ack(worker);
	return true;
}

/* A hint, no more: keys and session stay until a WELCOME was accepted. */
static enum drop_reason client_reset(struct worker *worker, const struct datagram *datagram)
{
	struct client_role *role = client(worker);
	if (role->session == NULL || !wire_reset_matches(datagram->data, role->session->id, role->lease.reset_token))
		return DROP_UNEXPECTED;
	if (worker->now < role->reset_due)
		return DROP_NONE;
	role->reset_due = worker->now + role->reset_wait;
	role->reset_wait *= 2;
	client_hellos_forget_cookies(&role->hellos);
	if (role->hellos.handshaking)
		role->hellos.due = worker->now; /* it is back: no need to wait out the interval */
	else
		client_hellos_start(&role->hellos, worker->now);
	worker->next_tick = worker->now;
	role->forgotten = true;
	publish(role, CLIENT_RECONNECT);
	return DROP_NONE;
}

static enum drop_reason client_cookie(struct worker *worker, const struct datagram *datagram)
{
	struct client_role *role = client(worker);
	return client_hellos_cookie(worker, &role->hellos, role->remote, datagram);
}

static enum drop_reason client_welcome(struct worker *worker, const struct datagram *datagram)
{
	struct client_role *role = client(worker);
	struct client_address *from = client_hellos_answered(&role->hellos, datagram->data);
	if (from == NULL)
		return DROP_UNEXPECTED;

	struct wire_welcome welcome;
	struct noise_keys secrets;
	struct handshake_initiator initiator = from->initiator; /* reading spends it: a refused WELCOME must not */
	bool opened = handshake_read_welcome(&initiator, role->remote, datagram->data, datagram->length, &welcome,
					     &secrets);
	sodium_memzero(&initiator, sizeof initiator);
	if (!opened)
		return DROP_HANDSHAKE_FORGED;
	bool taken = acceptable(worker, from, &welcome) && take_welcome(worker, from, &welcome, &secrets);
	sodium_memzero(&secrets, sizeof secrets);
	return taken ? DROP_NONE : DROP_PAYLOAD;
}

static enum drop_reason client_handshake(struct worker *worker, const struct datagram *datagram)
{
	static enum drop_reason (*const messages[WIRE_TYPES])(struct worker * worker,
							      const struct datagram *datagram) = {
		[WIRE_WELCOME] = client_welcome, [WIRE_COOKIE] = client_cookie, [WIRE_RESET] = client_reset};
	unsigned type = wire_type(datagram->data);
	enum drop_reason reason = messages[type] != NULL ? messages[type](worker, datagram) : DROP_TYPE;
	if (reason == DROP_NONE)
		wire_count_received(&worker->loop.stats, type);
	return reason;
}

/* --- data path ---------------------------------------------------------------------------------------------------- */

HOT static uint32_t client_route(struct worker *worker, const struct inner *inner)
{
	(void)inner; /* the kernel's routes decided that it belongs here */
	const struct session *session = client(worker)->session;
	return session != NULL ? session->id : 0;
}

HOT static enum drop_reason client_admit(struct worker *worker, const struct session *session,
					 const struct inner *inner)
{
	struct ip_address source, destination;
	inner_source(inner, &source);
	if (!ip_set_contains(client(worker)->allowed, &source))
		return DROP_INNER_SOURCE;
	inner_destination(inner, &destination);
	const struct ip_prefix *own = inner->version == 4 ? &session->inner4 : &session->inner6;
	if (ip_address_equal(&destination, &own->address))
		return DROP_NONE;
	return ip_set_contains(client(worker)->networks, &destination) ? DROP_NONE : DROP_INNER_DESTINATION;
}

static enum drop_reason client_unknown_session(struct worker *worker, uint32_t session_id, const struct endpoint *from)
{
	(void)worker, (void)session_id, (void)from; /* a client sends no RESET */
	return DROP_SESSION;
}

HOT static void client_moved(struct worker *worker, struct session *session, const struct endpoint *from,
			     uint32_t bytes)
{
	(void)worker, (void)session, (void)from, (void)bytes; /* where the gateway is, is configured */
}

static void client_confirmed(struct worker *worker, struct session *session, const struct transport_key *key,
			     const struct endpoint *from, uint32_t bytes)
{
	struct client_role *role = client(worker);
	(void)from, (void)bytes; /* where the gateway is, is configured */
	if (session != role->session || key != session->current)
		return;
	client_hellos_forget(&role->hellos);
	publish(role, CLIENT_UP);
	role->forgotten = false; /* after the snapshot of this state, which still shows it */
}

/* A ping: the gateway validates the client's source address. The pong repeats its nonce. */
static void client_keepalive(struct worker *worker, struct session *session, const uint8_t *payload, uint32_t length,
			     const struct endpoint *from)
{
	struct wire_probe ping;
	uint8_t pong[WIRE_PROBE_SIZE];
	(void)from;
	if (!wire_probe_read(&ping, payload, length) || ping.kind != WIRE_PING)
		return;
	wire_probe_write(pong, WIRE_PONG, ping.nonce);
	(void)worker_send_control(worker, session, WIRE_KEEPALIVE, pong, sizeof pong);
}

static void client_bye(struct worker *worker, struct session *session, const uint8_t *payload, uint32_t length,
		       const struct endpoint *from)
{
	struct client_role *role = client(worker);
	(void)length, (void)from;
	if (session != role->session)
		return; /* it was replaced in this very batch */

	unsigned reason = wire_bye_reason(payload);
	role->bye_reason = (int)reason;
	role->session = NULL;
	stats_add(&worker->loop.stats, sessions_ended, 1);
	worker_end_session(worker, session);
	/* A gateway that restarts is back soon; one that refused the client is not tried again at once. */
	bool soon = reason == WIRE_BYE_RESTARTING || reason == WIRE_BYE_TIMED_OUT;
	client_hellos_start(&role->hellos, worker->now + client_jitter(soon ? BYE_SOON_NS : BYE_LATER_NS, 25));
	publish(role, CLIENT_HANDSHAKE);
}

/* --- timers ------------------------------------------------------------------------------------------------------- */

/* Any packet from the new address makes the gateway follow; a handshake also agrees on the MTU of the new path. */
static void expedite_handshake(struct worker *worker, enum path_event event)
{
	struct client_role *role = client(worker);
	if (event == PATH_UNCHANGED)
		return;
	if (role->session != NULL)
		(void)worker_send_control(worker, role->session, WIRE_KEEPALIVE, NULL, 0);
	if (role->hellos.handshaking)
		client_hellos_expedite(&role->hellos, worker->now);
	else if (event == CLIENT_AWAKE && role->session != NULL)
		client_hellos_start(&role->hellos, worker->now);
}

static void take_target(struct worker *worker)
{
	struct client_role *role = client(worker);
	struct client_target *target = mailbox_take(&role->targets);
	if (target == NULL)
		return;
	bool changed = client_hellos_aim(&role->hellos, target->candidates, target->count);
	if (role->session != NULL)
		role->session->endpoint = client_hellos_current(&role->hellos)->gateway;
	/* The MTU of the path is agreed on by a handshake. */
	enum path_event event = changed && target->event == CLIENT_ROAMED ? CLIENT_AWAKE : target->event;
	free(target);
	expedite_handshake(worker, event);
}

static bool session_silent(const struct worker *worker, const struct session *session)
{
	return session->awaiting_reply_since != 0 && worker->now - session->awaiting_reply_since >= SESSION_SILENCE_NS;
}

/* Behind a NAT that lost its mapping the gateway reaches the client again once the client sends. A TCP receiver sends
 * nothing while nothing arrives: so a KEEPALIVE follows when its last DATA got no answer. */
static bool owes_sign(struct client_role *role, const struct session *session, uint64_t quiet)
{
	if (role->silence != session->awaiting_reply_since) {
		role->silence = session->awaiting_reply_since;
		role->signs = 0;
	}
	if (session->awaiting_reply_since == 0 || role->signs >= SIGNS || quiet < SIGN_FIRST_NS << role->signs)
		return false;
	role->signs++;
	return true;
}

static void tick_session(struct worker *worker, struct session *session)
{
	struct client_role *role = client(worker);
	session_expire_keys(session, worker->now);
	if (role->state == CLIENT_CONFIRM && worker->now >= role->ack_due) {
		if (worker->now < role->ack_end) {
			send_ack(worker);
		} else {
			publish(role, CLIENT_RECONNECT);
			client_hellos_start(&role->hellos, worker->now);
		}
	}
	uint64_t quiet = worker->now - session->sent;
	bool replies = session->keepalive_owed_since != 0 &&
		       worker->now - session->keepalive_owed_since >= SESSION_KEEPALIVE_NS;
	if (replies || owes_sign(role, session, quiet) ||
	    (session->keepalive != 0 && quiet >= session->keepalive * NS_PER_S))
		(void)worker_send_control(worker, session, WIRE_KEEPALIVE, NULL, 0);
}

/* The last session is named also after it ended: of several gateways, its ID says which one has our address. While the
 * session works, one late answer must not start handshakes with the other addresses. */
static void tick_hellos(struct worker *worker)
{
	struct client_role *role = client(worker);
	const struct client_hello_wish wish = {.identity = role->identity,
					       .remote = role->remote,
					       .suites = role->suites,
					       .session_id = role->session != NULL ? role->session->id
										   : role->lease.session_id,
					       .lease = &role->lease,
					       .all = role->session == NULL || role->state == CLIENT_RECONNECT};
	if (client_hellos_tick(worker, &role->hellos, &wish) && role->hellos.rounds > 1)
		publish(role, role->state); /* so that the number of tries is seen */
	/* Clients that wait for a gateway notice a tick. */
	if (role->hellos.handshaking && role->hellos.due < worker->next_tick)
		worker->next_tick = role->hellos.due;
}

static void client_tick(struct worker *worker)
{
	struct client_role *role = client(worker);
	take_target(worker);
	struct session *session = role->session;
	if (session != NULL)
		tick_session(worker, session);

	bool lost = session != NULL && (session->current == NULL || session_silent(worker, session));
	if (lost && role->state != CLIENT_RECONNECT) {
		publish(role, CLIENT_RECONNECT);
		if (role->hellos.handshaking)
			client_hellos_expedite(&role->hellos, worker->now); /* all addresses now */
	}
	if (role->hellos.count == 0)
		return;
	if (!role->hellos.handshaking &&
	    (session == NULL || lost || session_wants_rekey(session, role->rekey_interval, worker->now))) {
		client_hellos_start(&role->hellos, worker->now);
		if (session == NULL)
			publish(role, CLIENT_HANDSHAKE);
	}
	tick_hellos(worker);
}

/* No other thread has a pointer to it. */
static void client_retire(struct worker *worker, struct session *session)
{
	(void)worker;
	session_free(session);
}

static bool client_stop(struct worker *worker)
{
	struct session *session = client(worker)->session;
	uint8_t reason = WIRE_BYE_LEAVING;
	if (session == NULL)
		return false;
	(void)worker_send_control(worker, session, WIRE_BYE, &reason, sizeof reason);
	client(worker)->session = NULL;
	worker_end_session(worker, session);
	return true;
}

const struct worker_role client_worker_role = {
	.side = WIRE_SIDE_CLIENT,
	.handshake = client_handshake,
	.route = client_route,
	.admit = client_admit,
	.confirmed = client_confirmed,
	.control = {[WIRE_KEEPALIVE] = client_keepalive, [WIRE_BYE] = client_bye},
	.moved = client_moved,
	.unknown_session = client_unknown_session,
	.tick = client_tick,
	.keeps_time = true,
	.retire = client_retire,
	.stop = client_stop,
};
