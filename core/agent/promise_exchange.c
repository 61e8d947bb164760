// SPDX-License-Identifier: Apache-2.0
#include "core/agent/promise_exchange.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

void promise_exchange_init(struct promise_exchange *exchange, const char *node)
{
	*exchange = (struct promise_exchange){0};
	(void)snprintf(exchange->node, sizeof exchange->node, "%s", node);
}

void promise_exchange_set_secret(struct promise_exchange *exchange, const uint8_t *secret)
{
	exchange->has_key = secret != NULL;
	if (exchange->has_key)
		promise_key_init(&exchange->key, secret);
	else
		explicit_bzero(&exchange->key, sizeof exchange->key);
}

static struct promise_peer *find_peer(struct promise_exchange *exchange, const char *name)
{
	for (size_t i = 0; i < exchange->count; i++) {
		if (strcmp(exchange->peers[i].name, name) == 0)
			return &exchange->peers[i];
	}
	return NULL;
}

void promise_exchange_set_takers(struct promise_exchange *exchange, const struct ownership *rule)
{
	struct promise_exchange before = *exchange;
	exchange->count = 0;
	for (size_t i = 0; i < rule->takers.count; i++) {
		const char *name = rule->takers.names[i];
		if (strcmp(name, exchange->node) == 0)
			continue;
		const struct promise_peer *known = find_peer(&before, name);
		struct promise_peer *peer = &exchange->peers[exchange->count++];
		*peer = known != NULL ? *known : (struct promise_peer){0};
		memcpy(peer->name, name, sizeof peer->name);
	}
	explicit_bzero(&before, sizeof before);
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

void promise_exchange_begin(struct promise_exchange *exchange, const struct ownership_action *action, uint64_t now)
{
	exchange->question = action->question;
	exchange->ends = now + OWNERSHIP_FENCE;
	exchange->takers_revision = action->takers_revision;
	exchange->asked = action->asked;
	randombytes_buf(exchange->challenge, sizeof exchange->challenge);
	for (size_t i = 0; i < exchange->count; i++) {
		struct promise_peer *peer = &exchange->peers[i];
		peer->asked = true;
		peer->answered = false;
		peer->again = 0;
		peer->sent = 0;
	}
}

static void write_question(struct promise_exchange *exchange, struct promise_peer *peer, uint64_t now,
			   uint8_t datagram[PROMISE_SIZE])
{
	struct promise_message message = {
		.kind = PROMISE_QUESTION, .takers_revision = exchange->takers_revision, .blocks = exchange->asked};
	memcpy(message.sender, exchange->node, sizeof message.sender);
	memcpy(message.receiver, peer->name, sizeof message.receiver);
	memcpy(message.challenge, exchange->challenge, sizeof message.challenge);
	if (peer->has_ticket)
		memcpy(message.ticket, peer->ticket, sizeof message.ticket);
	promise_write(&exchange->key, &message, datagram);
	peer->sent = now;
}

const char *promise_exchange_next(struct promise_exchange *exchange, uint64_t now, uint8_t datagram[PROMISE_SIZE])
{
	for (size_t i = 0; i < exchange->count && exchange->has_key && now < exchange->ends; i++) {
		struct promise_peer *peer = &exchange->peers[i];
		if (!peer->asked || peer->answered || (peer->sent != 0 && now < peer->sent + PROMISE_REPEAT))
			continue;
		write_question(exchange, peer, now, datagram);
		return peer->name;
	}
	return NULL;
}

uint64_t promise_exchange_deadline(const struct promise_exchange *exchange, uint64_t now)
{
	uint64_t deadline = 0;
	for (size_t i = 0; i < exchange->count && exchange->has_key && now < exchange->ends; i++) {
		const struct promise_peer *peer = &exchange->peers[i];
		uint64_t repeated = peer->sent + PROMISE_REPEAT;
		if (peer->asked && !peer->answered && repeated < exchange->ends &&
		    (deadline == 0 || repeated < deadline))
			deadline = repeated;
	}
	return deadline;
}

/* --- receiving ---------------------------------------------------------------------------------------------------- */

static bool drop(struct promise_exchange *exchange, enum promise_drop reason)
{
	exchange->drops[reason]++;
	return false;
}

/* A ticket is good for one question. A question without one changes nothing here, but that there is one. */
static bool use_ticket(struct promise_peer *peer, const uint8_t ticket[PROMISE_CHALLENGE])
{
	bool right = peer->has_given && sodium_memcmp(peer->given, ticket, PROMISE_CHALLENGE) == 0;
	if (right || !peer->has_given)
		randombytes_buf(peer->given, sizeof peer->given);
	peer->has_given = true;
	return right;
}

static void answer_question(struct promise_exchange *exchange, struct ownership *rule, struct promise_peer *peer,
			    const struct promise_message *question, uint64_t now, uint8_t answer[PROMISE_SIZE])
{
	struct promise_message message = {
		.kind = PROMISE_ANSWER, .verdict = PROMISE_ASK_AGAIN, .takers_revision = question->takers_revision};
	if (use_ticket(peer, question->ticket))
		message.verdict = (uint8_t)ownership_asked(rule, peer->name, question->takers_revision,
							   &question->blocks, now);
	else
		(void)drop(exchange, PROMISE_DROP_WITHOUT_TICKET);
	if (message.verdict == OWNERSHIP_PROMISED)
		message.blocks = question->blocks;
	memcpy(message.sender, exchange->node, sizeof message.sender);
	memcpy(message.receiver, peer->name, sizeof message.receiver);
	memcpy(message.challenge, question->challenge, sizeof message.challenge);
	memcpy(message.ticket, peer->given, sizeof message.ticket);
	promise_write(&exchange->key, &message, answer);
}

static bool take_answer(struct promise_exchange *exchange, struct ownership *rule, struct promise_peer *peer,
			const struct promise_message *message, uint64_t now, uint8_t again[PROMISE_SIZE])
{
	if (!peer->asked || peer->answered || message->takers_revision != exchange->takers_revision ||
	    sodium_memcmp(message->challenge, exchange->challenge, PROMISE_CHALLENGE) != 0)
		return drop(exchange, PROMISE_DROP_LATE);
	memcpy(peer->ticket, message->ticket, sizeof peer->ticket);
	peer->has_ticket = true;
	if (message->verdict == PROMISE_ASK_AGAIN) {
		if (peer->again++ >= PROMISE_AGAIN_MAX)
			return drop(exchange, PROMISE_DROP_LATE);
		write_question(exchange, peer, now, again);
		return true;
	}
	peer->answered = true;
	peer->verdict = message->verdict;
	ownership_promised(rule, exchange->question, peer->name,
			   message->verdict == OWNERSHIP_PROMISED ? &message->blocks : NULL, now);
	return false;
}

bool promise_exchange_receive(struct promise_exchange *exchange, struct ownership *rule, const uint8_t *datagram,
			      size_t length, uint64_t now, uint8_t answer[PROMISE_SIZE])
{
	struct promise_message message;
	enum promise_reading reading = PROMISE_FORGED;
	if (exchange->has_key || length != PROMISE_SIZE)
		reading = promise_read(&exchange->key, datagram, length, &message);
	if (reading != PROMISE_READ)
		return drop(exchange, reading == PROMISE_MALFORMED ? PROMISE_DROP_MALFORMED : PROMISE_DROP_FORGED);
	struct promise_peer *peer = find_peer(exchange, message.sender);
	if (peer == NULL || strcmp(message.receiver, exchange->node) != 0)
		return drop(exchange, PROMISE_DROP_MISDIRECTED);
	if (message.kind == PROMISE_ANSWER)
		return take_answer(exchange, rule, peer, &message, now, answer);
	answer_question(exchange, rule, peer, &message, now, answer);
	return true;
}
