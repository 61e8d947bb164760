// SPDX-License-Identifier: Apache-2.0
#include <sodium.h>
#include <stdlib.h>

#include "perf/stgun/stgun.h"

#define HELLO_FIRST_NS	NS_PER_S
#define HELLO_MOST_NS	(16 * NS_PER_S)
#define ACK_INTERVAL_NS (250 * NS_PER_MS)
#define ACK_GIVE_UP_NS	(5 * NS_PER_S)
#define RETRY_NS	(10 * NS_PER_MS) /* the socket was full */

enum {
	DIAL_TURN = 16, /* handshakes in a turn: each costs four scalar multiplications */
	REPEATS = 2,	/* as a client does (core/protocol/PROTOCOL.md, COOKIE) */
	INDEX_BITS = 20,
};
_Static_assert(STGUN_SESSIONS_MAX == 1 << INDEX_BITS, "client_magic holds a session's index");

/* What WELCOME is told apart by, and for WireGuard our index, which is not 0: the session's index in the low bits,
 * which spread over a gateway's handshake threads, and randomness above. */
static uint32_t magic_of(uint32_t index)
{
	return (1 + randombytes_uniform((1u << (32 - INDEX_BITS)) - 1)) << INDEX_BITS | index;
}

static uint64_t hello_wait(const struct stgun_options *options, uint32_t tries)
{
	if (options->wireguard)
		return WG_REKEY_TIMEOUT_S * NS_PER_S + randombytes_uniform(WG_REKEY_JITTER_MS + 1) * NS_PER_MS;
	uint64_t wait = HELLO_FIRST_NS << (tries < 5 ? tries : 5);
	wait = wait < HELLO_MOST_NS ? wait : HELLO_MOST_NS;
	return wait - wait / 4 + wait / 2 / 1024 * randombytes_uniform(1024); /* ±25 % */
}

/* The client's keys, and what they share with the gateway's. */
static bool derive(struct stgun_thread *thread, struct handshake_identity *own, uint32_t index)
{
	const struct stgun_options *options = thread->stgun->options;
	seed_private_key(&options->seed, options->first + thread->first + index, own->keys.private_key);
	noise_public_key(own->keys.private_key, own->keys.public_key);
	return noise_dh(own->keys.private_key, thread->remote.public_key, thread->remote.static_static);
}

/* They stand in a handshake that is not spent. */
static void recall(struct stgun_thread *thread, struct handshake_identity *own, const struct stgun_attempt *attempt)
{
	own->keys = attempt->initiator.noise.own;
	memcpy(thread->remote.static_static, attempt->initiator.noise.static_static, NOISE_KEY_SIZE);
}

/* The address that it had, as a client does. */
static void wish_address(const struct stgun_session *session, struct wire_hello *hello)
{
	static const uint8_t none[16];
	if (memcmp(session->address, none, sizeof none) == 0)
		return;
	struct ip_address *wish = session->version == 4 ? &hello->wish4 : &hello->wish6;
	wish->family = session->version;
	memcpy(wish->bytes, session->address, sizeof session->address);
}

static void write_initiation(struct stgun_thread *thread, struct stgun_attempt *attempt,
			     const struct handshake_identity *own)
{
	uint8_t timestamp[WG_TIMESTAMP_SIZE], ephemeral[KEY_SIZE];
	wire_timestamp(timestamp, clock_wall(&clock_system));
	randombytes_buf(ephemeral, sizeof ephemeral);
	(void)wg_write_initiation(&attempt->wireguard, own, &thread->remote, magic_of(attempt->index), timestamp,
				  ephemeral, attempt->hello);
	if (attempt->has_cookie)
		wg_add_mac2(attempt->cookie, attempt->hello, WG_INITIATION_SIZE);
	sodium_memzero(ephemeral, sizeof ephemeral);
}

static void write_hello(struct stgun_thread *thread, struct stgun_attempt *attempt,
			const struct handshake_identity *own)
{
	const struct stgun_options *options = thread->stgun->options;
	if (options->wireguard) {
		write_initiation(thread, attempt, own);
		return;
	}
	struct wire_hello hello = {.mtu = options->mtu};
	wish_address(&thread->sessions[attempt->index], &hello);
	wire_timestamp(hello.timestamp, clock_wall(&clock_system));
	if (attempt->has_cookie)
		memcpy(hello.challenge, attempt->cookie, sizeof hello.challenge);
	size_t offered = 0;
	for (unsigned suite = AEAD_SUITE_FIRST; suite <= AEAD_SUITE_LAST; suite++) {
		bool wanted = options->suite == 0 || options->suite == suite;
		if (wanted && aead_engine_suite(thread->aead, suite) != NULL)
			hello.suites[offered++] = (uint8_t)suite;
	}
	uint8_t random[HANDSHAKE_HELLO_RANDOM];
	randombytes_buf(random, KEY_SIZE);
	store_be32(random + KEY_SIZE, magic_of(attempt->index));
	/* Fails for a point of low order, which the gateway's key was checked not to be. */
	(void)handshake_write_hello(&attempt->initiator, own, &thread->remote, 0, &hello, random, attempt->hello);
	if (attempt->has_cookie)
		handshake_add_mac2(attempt->cookie, attempt->hello);
	sodium_memzero(random, sizeof random);
}

static struct stgun_attempt *make_attempt(struct stgun_thread *thread, uint32_t index)
{
	struct stgun_attempt *attempt = calloc(1, sizeof *attempt);
	struct handshake_identity own = {0};
	if (attempt == NULL)
		return NULL;
	attempt->index = index;
	if (!derive(thread, &own, index)) {
		free(attempt);
		return NULL;
	}
	write_hello(thread, attempt, &own);
	sodium_memzero(&own, sizeof own);
	thread->sessions[index].attempt = attempt;
	return attempt;
}

static void free_attempt(struct stgun_thread *thread, struct stgun_session *session)
{
	timer_clear(&thread->wheel, &session->attempt->timer);
	sodium_memzero(session->attempt, sizeof *session->attempt);
	free(session->attempt);
	session->attempt = NULL;
}

void stgun_abandon(struct stgun_thread *thread, struct stgun_session *session)
{
	if (session->attempt != NULL)
		free_attempt(thread, session);
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

/* False: no room. */
static bool queue_hello(struct stgun_thread *thread, const struct stgun_attempt *attempt)
{
	uint32_t size = thread->stgun->options->wireguard ? WG_INITIATION_SIZE : WIRE_HELLO_SIZE;
	uint8_t *room = stgun_reserve(thread, &thread->sessions[attempt->index], 0, size);
	if (room == NULL)
		return false;
	memcpy(room, attempt->hello, size);
	if (!attempt->renews)
		stgun_count(thread, hellos, 1);
	return true;
}

static void send_hello(struct stgun_thread *thread, struct stgun_attempt *attempt)
{
	if (!queue_hello(thread, attempt)) {
		timer_set(&thread->wheel, &attempt->timer, thread->now + RETRY_NS);
		return;
	}
	timer_set(&thread->wheel, &attempt->timer, thread->now + hello_wait(thread->stgun->options, attempt->tries));
	attempt->tries++;
	attempt->repeats = 0;
}

static void send_ack(struct stgun_thread *thread, struct stgun_session *session)
{
	(void)stgun_send_control(thread, session, WIRE_CLIENT_ACK, NULL, 0);
	timer_set(&thread->wheel, &session->attempt->timer, thread->now + ACK_INTERVAL_NS);
}

void stgun_attempt_due(struct timer *timer, void *context)
{
	struct stgun_thread *thread = context;
	struct stgun_attempt *attempt = (struct stgun_attempt *)((char *)timer - offsetof(struct stgun_attempt, timer));
	struct stgun_session *session = &thread->sessions[attempt->index];
	struct handshake_identity own = {0};
	if (attempt->ack_end != 0 && thread->now < attempt->ack_end && session->key != NULL) {
		send_ack(thread, session);
		return;
	}
	if (attempt->ack_end != 0) { /* never confirmed: its handshake is spent */
		attempt->ack_end = 0;
		if (!derive(thread, &own, attempt->index))
			return;
		write_hello(thread, attempt, &own);
	} else if (attempt->tries != 0) {
		recall(thread, &own, attempt);
		write_hello(thread, attempt, &own);
	}
	sodium_memzero(&own, sizeof own);
	send_hello(thread, attempt);
}

bool stgun_prepare(struct stgun_thread *thread)
{
	for (uint32_t i = 0; i < DIAL_TURN && thread->next < thread->count; i++) {
		/* Without memory it is made when it is sent. */
		if (thread->sessions[thread->next].attempt == NULL)
			(void)make_attempt(thread, thread->next);
		thread->next++;
	}
	return thread->next < thread->count;
}

bool stgun_dial(struct stgun_thread *thread)
{
	bool paced = thread->pacer.interval != 0;
	uint32_t begun = 0;
	for (; begun < DIAL_TURN && thread->next < thread->count; begun++) {
		if (!paced && thread->under_way >= thread->stgun->options->parallel)
			break;
		if (pacer_due(&thread->pacer, thread->now, 1) == 0)
			break;
		struct stgun_attempt *attempt = thread->sessions[thread->next].attempt;
		if (attempt == NULL)
			attempt = make_attempt(thread, thread->next);
		if (attempt == NULL)
			break; /* no memory: some others will be through soon */
		attempt->intended = pacer_time(&thread->pacer, thread->pacer.issued, thread->now);
		send_hello(thread, attempt);
		thread->pacer.issued++;
		thread->under_way++;
		thread->next++;
	}
	return begun != 0;
}

static void begin_again(struct stgun_thread *thread, struct stgun_session *session, bool renews)
{
	if (session->attempt != NULL)
		return;
	struct stgun_attempt *attempt = make_attempt(thread, (uint32_t)(session - thread->sessions));
	if (attempt == NULL)
		return; /* no memory: in its next turn */
	attempt->intended = thread->now;
	attempt->renews = renews;
	send_hello(thread, attempt);
	thread->under_way++;
}

void stgun_redial(struct stgun_thread *thread, struct stgun_session *session)
{
	begin_again(thread, session, false);
}

void stgun_renew(struct stgun_thread *thread, struct stgun_session *session)
{
	begin_again(thread, session, true);
}

/* --- receiving ---------------------------------------------------------------------------------------------------- */

/* Once, by whichever thread is first. */
static void note_gateway(struct stgun *stgun, const struct wire_welcome *welcome)
{
	uint32_t none = 0;
	if (!atomic_compare_exchange_strong(&stgun->mtu, &none, welcome->mtu))
		return;
	stgun->gateway4 = welcome->gateway4;
	stgun->gateway6 = welcome->gateway6;
	atomic_store_explicit(&stgun->suite, welcome->suite, memory_order_relaxed);
	atomic_store_explicit(&stgun->told_gateway, true, memory_order_release);
}

static void take_welcome(struct stgun_thread *thread, struct stgun_session *session, const uint8_t *message,
			 uint32_t length)
{
	struct wire_welcome welcome;
	struct noise_keys secrets;
	struct stgun_attempt *attempt = session->attempt;
	if (!handshake_read_welcome(&attempt->initiator, &thread->remote, message, length, &welcome, &secrets)) {
		stgun_count(thread, unexpected, 1);
		return;
	}
	struct transport_key *key = transport_key_new(thread->aead, welcome.suite, welcome.epoch, &secrets,
						      TRANSPORT_CLIENT, thread->now);
	sodium_memzero(&secrets, sizeof secrets);
	attempt->ack_end = thread->now + ACK_GIVE_UP_NS;
	if (key == NULL) { /* no memory, or a suite that we did not offer: once more, later */
		stgun_count(thread, unexpected, 1);
		return;
	}
	stgun_forget(session);
	session->key = key;
	const struct ip_address *to = &thread->stgun->options->to;
	bool v6 = to->family == 6 || (to->family == 0 && welcome.gateway4.family == 0);
	session->version = v6 ? 6 : 4;
	memcpy(session->address, v6 ? welcome.address6.address.bytes : welcome.address4.address.bytes, v6 ? 16 : 4);
	stgun_index(thread, session, welcome.session_id);
	note_gateway(thread->stgun, &welcome);
	stgun_count(thread, welcomes, 1);
	send_ack(thread, session);
}

static bool read_cookie(struct stgun_thread *thread, struct stgun_attempt *attempt, const uint8_t *message,
			uint32_t length)
{
	if (thread->stgun->options->wireguard)
		return wg_read_cookie_reply(thread->remote.cookie_key, attempt->wireguard.index,
					    attempt->wireguard.mac1, message, attempt->cookie);
	return handshake_read_cookie(&attempt->initiator, &thread->remote, message, length, attempt->cookie);
}

static void take_cookie(struct stgun_thread *thread, struct stgun_attempt *attempt, const uint8_t *message,
			uint32_t length)
{
	if (!read_cookie(thread, attempt, message, length)) {
		stgun_count(thread, unexpected, 1);
		return;
	}
	stgun_count(thread, cookies, 1);
	bool first = !attempt->has_cookie;
	if (!first && (thread->stgun->options->wireguard || attempt->repeats == REPEATS))
		return; /* the last ones were no good either: at its time */
	attempt->has_cookie = true;
	struct handshake_identity own = {0};
	recall(thread, &own, attempt);
	write_hello(thread, attempt, &own);
	sodium_memzero(&own, sizeof own);
	if (first) {
		attempt->tries = 0;
		send_hello(thread, attempt);
	} else {
		attempt->repeats++;
		(void)queue_hello(thread, attempt);
	}
}

void stgun_take_handshake(struct stgun_thread *thread, const uint8_t *message, uint32_t length)
{
	if (wire_type(message) == WIRE_RESET) {
		struct stgun_session *session = stgun_find(thread, wire_session_id(message));
		if (session == NULL || session->attempt != NULL) {
			stgun_count(thread, unexpected, 1);
			return;
		}
		stgun_count(thread, ended, 1);
		stgun_count(thread, resets, 1);
		stgun_forget(session);
		stgun_lost(thread, session);
		return;
	}
	uint32_t index = wire_magic(message) & (STGUN_SESSIONS_MAX - 1);
	struct stgun_session *session = index < thread->count ? &thread->sessions[index] : NULL;
	if (session == NULL || session->attempt == NULL || session->attempt->ack_end != 0 ||
	    session->attempt->initiator.magic != wire_magic(message))
		stgun_count(thread, unexpected, 1);
	else if (wire_type(message) == WIRE_COOKIE)
		take_cookie(thread, session->attempt, message, length);
	else
		take_welcome(thread, session, message, length);
}

void stgun_confirmed(struct stgun_thread *thread, struct stgun_session *session)
{
	uint64_t intended = session->attempt->intended;
	bool renews = session->attempt->renews;
	free_attempt(thread, session);
	thread->under_way--;
	if (renews)
		return;
	histogram_record(&thread->latency, thread->now > intended ? thread->now - intended : 0);
	stgun_count(thread, up, 1);
}

/* --- WireGuard ---------------------------------------------------------------------------------------------------- */

/* Which WELCOME says otherwise. */
static void settle_wireguard(struct stgun_thread *thread, struct stgun_session *session)
{
	const struct stgun_options *options = thread->stgun->options;
	uint32_t number = options->first + thread->first + (uint32_t)(session - thread->sessions);
	struct ip_address address = seed_address(&options->address, number);
	session->version = address.family;
	memcpy(session->address, address.bytes, sizeof session->address);
	note_gateway(thread->stgun, &(struct wire_welcome){.mtu = options->mtu, .suite = AEAD_WIREGUARD});
}

/* The session is up with it: nothing of the gateway's confirms the packet that confirms it. */
static void take_response(struct stgun_thread *thread, struct stgun_session *session, const uint8_t *message)
{
	struct noise_keys secrets;
	struct stgun_attempt *attempt = session->attempt;
	uint32_t index = attempt->wireguard.index, peer_index;
	if (!wg_read_response(&attempt->wireguard, &thread->remote, message, &peer_index, &secrets)) {
		stgun_count(thread, unexpected, 1);
		return;
	}
	struct transport_key *key = transport_key_new_wireguard(thread->aead, 0, &secrets, TRANSPORT_CLIENT, peer_index,
								thread->now);
	sodium_memzero(&secrets, sizeof secrets);
	if (key == NULL) {
		attempt->ack_end = thread->now; /* no memory: once more, later */
		return;
	}
	stgun_forget(session);
	session->key = key;
	settle_wireguard(thread, session);
	stgun_index(thread, session, index);
	if (!attempt->renews)
		stgun_count(thread, welcomes, 1);
	(void)stgun_send_control(thread, session, WIRE_KEEPALIVE, NULL, 0);
	stgun_confirmed(thread, session);
}

void stgun_take_wireguard(struct stgun_thread *thread, const uint8_t *message, uint32_t length)
{
	enum wg_type type = (enum wg_type)load_le32(message);
	uint32_t receiver = wg_receiver(message, type), index = receiver & (STGUN_SESSIONS_MAX - 1);
	struct stgun_session *session = index < thread->count ? &thread->sessions[index] : NULL;
	if (session == NULL || session->attempt == NULL || session->attempt->ack_end != 0 ||
	    session->attempt->wireguard.index != receiver)
		stgun_count(thread, unexpected, 1);
	else if (type == WG_COOKIE_REPLY)
		take_cookie(thread, session->attempt, message, length);
	else
		take_response(thread, session, message);
}
