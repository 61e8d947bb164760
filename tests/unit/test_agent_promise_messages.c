// SPDX-License-Identifier: Apache-2.0
/* Datagrams between agents: what is written is read, what is hostile has no effect, and two agents come to an
 * agreement by them. */
#include "core/agent/promise_exchange.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>

#include "crypto/keys.h"

#define S NS_PER_S

static const uint8_t secret[OWNERSHIP_SECRET] = {7, 1}, other_secret[OWNERSHIP_SECRET] = {7, 2};
static struct promise_key key;

static void begin(void)
{
	cr_assert_eq(keys_init(NULL), 0);
	promise_key_init(&key, secret);
}

TestSuite(agent_promise_messages, .init = begin, .timeout = 60);

static struct promise_message question(void)
{
	struct promise_message message = {.kind = PROMISE_QUESTION,
					  .sender = "gw1",
					  .receiver = "a-name-of-32-characters-as-it-is",
					  .challenge = {1, [15] = 2},
					  .ticket = {3, [15] = 4},
					  .takers_revision = 0x0102030405060708};
	ownership_set_add(&message.blocks, 1);
	ownership_set_add(&message.blocks, 64);
	ownership_set_add(&message.blocks, 255);
	return message;
}

/* --- the datagram ------------------------------------------------------------------------------------------------- */

Test(agent_promise_messages, what_is_written_is_read)
{
	struct promise_message in = question(), out;
	uint8_t datagram[PROMISE_SIZE];
	promise_write(&key, &in, datagram);
	cr_assert_eq(promise_read(&key, datagram, sizeof datagram, &out), PROMISE_READ);
	cr_assert_eq(out.kind, PROMISE_QUESTION);
	cr_assert_str_eq(out.sender, in.sender);
	cr_assert_str_eq(out.receiver, in.receiver);
	cr_assert_arr_eq(out.challenge, in.challenge, sizeof in.challenge);
	cr_assert_arr_eq(out.ticket, in.ticket, sizeof in.ticket);
	cr_assert_eq(out.takers_revision, in.takers_revision);
	cr_assert_arr_eq(&out.blocks, &in.blocks, sizeof in.blocks);
	in.kind = PROMISE_ANSWER;
	in.verdict = PROMISE_ASK_AGAIN;
	promise_write(&key, &in, datagram);
	cr_assert_eq(promise_read(&key, datagram, sizeof datagram, &out), PROMISE_READ);
	cr_assert_eq(out.kind, PROMISE_ANSWER);
	cr_assert_eq(out.verdict, PROMISE_ASK_AGAIN);
}

Test(agent_promise_messages, each_changed_byte_and_each_length_is_refused)
{
	struct promise_message in = question(), out = {.sender = "as before"};
	uint8_t datagram[PROMISE_SIZE + 1] = {0};
	promise_write(&key, &in, datagram);
	for (size_t length = 0; length <= PROMISE_SIZE + 1; length++) {
		uint8_t *exact = malloc(length + 1); /* nothing behind it may be looked at */
		memcpy(exact + 1, datagram, length);
		if (length != PROMISE_SIZE)
			cr_assert_eq(promise_read(&key, exact + 1, length, &out), PROMISE_MALFORMED);
		free(exact);
	}
	for (size_t at = 0; at < PROMISE_SIZE; at++) {
		datagram[at] ^= 0x10;
		cr_assert_eq(promise_read(&key, datagram, PROMISE_SIZE, &out),
			     at < 4 ? PROMISE_MALFORMED : PROMISE_FORGED);
		datagram[at] ^= 0x10;
	}
	struct promise_key wrong;
	promise_key_init(&wrong, other_secret);
	cr_assert_eq(promise_read(&wrong, datagram, PROMISE_SIZE, &out), PROMISE_FORGED);
	cr_assert_str_eq(out.sender, "as before");
}

/* With the right key, but not by our program. */
static enum promise_reading read_sealed(const uint8_t plain[PROMISE_PLAIN])
{
	static const uint8_t start[4] = {PROMISE_VERSION};
	uint8_t datagram[PROMISE_SIZE] = {PROMISE_VERSION};
	struct promise_message out;
	(void)crypto_aead_xchacha20poly1305_ietf_encrypt(datagram + PROMISE_HEADER, NULL, plain, PROMISE_PLAIN, start,
							 sizeof start, NULL, datagram + 4, key.bytes);
	return promise_read(&key, datagram, sizeof datagram, &out);
}

Test(agent_promise_messages, what_is_sealed_and_makes_no_sense_is_refused)
{
	uint8_t right[PROMISE_PLAIN] = {[0] = PROMISE_QUESTION, [8] = 'a', [40] = 'b'}, plain[PROMISE_PLAIN];
	static const struct {
		size_t at;
		uint8_t value;
	} wrong[] = {{0, 0}, {0, 3},	{0, 255},  {1, 1},  {2, 1},    {7, 1},
		     {8, 0}, {10, 'x'}, {39, 'x'}, {40, 0}, {42, 'x'}, {71, 'x'}};
	cr_assert_eq(read_sealed(right), PROMISE_READ);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		memcpy(plain, right, sizeof plain);
		plain[wrong[i].at] = wrong[i].value;
		cr_assert_eq(read_sealed(plain), PROMISE_MALFORMED, "byte %zu", wrong[i].at);
	}
	memcpy(plain, right, sizeof plain);
	plain[0] = PROMISE_ANSWER;
	plain[1] = OWNERSHIP_VERDICTS;
	cr_assert_eq(read_sealed(plain), PROMISE_MALFORMED);
	plain[1] = OWNERSHIP_VERDICTS - 1;
	cr_assert_eq(read_sealed(plain), PROMISE_READ);
}

/* --- two agents --------------------------------------------------------------------------------------------------- */

struct node {
	struct ownership rule;
	struct promise_exchange exchange;
};

static struct node a, b;
static uint64_t now;

static void start(struct node *node, const char *name, bool owns)
{
	struct ownership_view *view = calloc(1, sizeof *view);
	ownership_init(&node->rule, name, name, "m", 4, 0, now);
	view->sent = now;
	view->revision = 10;
	view->members_readable = view->takers_readable = true;
	view->takers_revision = 4;
	view->takers = (struct ownership_takers){.count = 2, .names = {"a", "b"}, .machines = {"m", "m"}};
	view->member_count = 2;
	memcpy(view->members, view->takers.names, sizeof view->members);
	ownership_read(&node->rule, view, now);
	view->revision = 20;
	view->node_count = 1;
	view->nodes[0] = (struct ownership_node_key){.create_revision = 12, .mod_revision = 12};
	memcpy(view->nodes[0].name, node->rule.node, OWNERSHIP_NAME);
	memcpy(view->nodes[0].uuid, node->rule.uuid, OWNERSHIP_UUID);
	for (unsigned block = 1; block <= 4; block++)
		view->blocks[block] = (struct ownership_block_key){
			.kind = OWNERSHIP_OWNED, .node = "a", .uuid = "a", .mod_revision = 13, .taken_revision = 13};
	ownership_read(&node->rule, view, now);
	cr_assert_eq(ownership_serves(&node->rule, 1, now), owns);
	promise_exchange_init(&node->exchange, name);
	promise_exchange_set_secret(&node->exchange, secret);
	promise_exchange_set_takers(&node->exchange, &node->rule);
	free(view);
}

/* Agent a owns all blocks, and has no answer of etcd's; it begins a question. */
static void ask(void)
{
	struct ownership_action action;
	bool asked = false;
	while (ownership_next(&a.rule, now, &action)) {
		if (action.kind == OWNERSHIP_DO_ASK) {
			promise_exchange_begin(&a.exchange, &action, now);
			asked = true;
		}
	}
	cr_assert(asked);
}

static void start_both(void)
{
	now = 1000 * S;
	start(&a, "a", true);
	start(&b, "b", false);
	now += OWNERSHIP_SILENT;
	ask();
}

static uint64_t until(void)
{
	return a.rule.blocks[1].until;
}

Test(agent_promise_messages, a_ticket_then_a_promise)
{
	uint8_t first[PROMISE_SIZE], ticket[PROMISE_SIZE], second[PROMISE_SIZE], promise[PROMISE_SIZE],
		none[PROMISE_SIZE];
	start_both();
	uint64_t asked = now;
	cr_assert_str_eq(promise_exchange_next(&a.exchange, now, first), "b");
	cr_assert_null(promise_exchange_next(&a.exchange, now, first));
	cr_assert_eq(promise_exchange_deadline(&a.exchange, now), now + PROMISE_REPEAT);
	now += NS_PER_MS;
	cr_assert(promise_exchange_receive(&b.exchange, &b.rule, first, PROMISE_SIZE, now, ticket));
	cr_assert_eq(b.rule.blocks[1].promised_until, 0, "a question without a ticket has no effect");
	cr_assert_eq(b.exchange.drops[PROMISE_DROP_WITHOUT_TICKET], 1);
	cr_assert(promise_exchange_receive(&a.exchange, &a.rule, ticket, PROMISE_SIZE, now, second));
	cr_assert(promise_exchange_receive(&b.exchange, &b.rule, second, PROMISE_SIZE, now, promise));
	cr_assert_eq(b.rule.blocks[1].promised_until, now + OWNERSHIP_WAIT);
	cr_assert_not(promise_exchange_receive(&a.exchange, &a.rule, promise, PROMISE_SIZE, now, none));
	cr_assert_eq(until(), asked + OWNERSHIP_FENCE);
	cr_assert_eq(promise_exchange_deadline(&a.exchange, now), 0);
	/* The next question has a ticket. */
	now = asked + OWNERSHIP_READ;
	asked = now;
	ask();
	cr_assert_not_null(promise_exchange_next(&a.exchange, now, first));
	cr_assert(promise_exchange_receive(&b.exchange, &b.rule, first, PROMISE_SIZE, now, promise));
	cr_assert_not(promise_exchange_receive(&a.exchange, &a.rule, promise, PROMISE_SIZE, now, none));
	cr_assert_eq(until(), asked + OWNERSHIP_FENCE);
	for (size_t i = 0; i < PROMISE_DROP_COUNT; i++)
		cr_assert_eq(a.exchange.drops[i], 0);
}

Test(agent_promise_messages, a_question_without_an_answer_is_repeated_as_long_as_one_may_extend)
{
	uint8_t out[PROMISE_SIZE];
	start_both();
	uint64_t asked = now;
	unsigned sent = 0;
	for (; now < asked + 2 * OWNERSHIP_FENCE; now += PROMISE_REPEAT)
		sent += promise_exchange_next(&a.exchange, now, out) != NULL;
	cr_assert_eq(sent, OWNERSHIP_FENCE / PROMISE_REPEAT);
	cr_assert_eq(promise_exchange_deadline(&a.exchange, now), 0);
}

/* Else the agent's loop would not sleep any more. */
Test(agent_promise_messages, a_repetition_that_comes_too_late_is_not_waited_for)
{
	uint8_t out[PROMISE_SIZE];
	start_both();
	uint64_t ends = now + OWNERSHIP_FENCE;
	cr_assert_not_null(promise_exchange_next(&a.exchange, now, out));
	now = ends - 1;
	cr_assert_neq(promise_exchange_deadline(&a.exchange, now), 0);
	now = ends;
	cr_assert_null(promise_exchange_next(&a.exchange, now, out));
	cr_assert_eq(promise_exchange_deadline(&a.exchange, now), 0);
}

Test(agent_promise_messages, recordings_have_no_effect)
{
	uint8_t first[PROMISE_SIZE], ticket[PROMISE_SIZE], second[PROMISE_SIZE], promise[PROMISE_SIZE],
		out[PROMISE_SIZE];
	start_both();
	cr_assert_not_null(promise_exchange_next(&a.exchange, now, first));
	cr_assert(promise_exchange_receive(&b.exchange, &b.rule, first, PROMISE_SIZE, now, ticket));
	cr_assert(promise_exchange_receive(&a.exchange, &a.rule, ticket, PROMISE_SIZE, now, second));
	cr_assert(promise_exchange_receive(&b.exchange, &b.rule, second, PROMISE_SIZE, now, promise));
	uint64_t promised = b.rule.blocks[1].promised_until;
	now += 100 * NS_PER_MS;
	/* A question again: no second promise. */
	cr_assert(promise_exchange_receive(&b.exchange, &b.rule, second, PROMISE_SIZE, now, out));
	cr_assert_eq(b.rule.blocks[1].promised_until, promised);
	cr_assert_not(promise_exchange_receive(&a.exchange, &a.rule, promise, PROMISE_SIZE, now, out));
	uint64_t extended = until();
	/* The answer to an earlier question. */
	now += OWNERSHIP_READ;
	ask();
	cr_assert_not(promise_exchange_receive(&a.exchange, &a.rule, promise, PROMISE_SIZE, now, out));
	cr_assert_not(promise_exchange_receive(&a.exchange, &a.rule, ticket, PROMISE_SIZE, now, out));
	cr_assert_eq(until(), extended);
	cr_assert_eq(a.exchange.drops[PROMISE_DROP_LATE], 2);
	/* Back to where they came from. */
	cr_assert_not(promise_exchange_receive(&a.exchange, &a.rule, second, PROMISE_SIZE, now, out));
	cr_assert_not(promise_exchange_receive(&b.exchange, &b.rule, promise, PROMISE_SIZE, now, out));
	cr_assert_eq(a.exchange.drops[PROMISE_DROP_MISDIRECTED], 1);
	cr_assert_eq(b.exchange.drops[PROMISE_DROP_MISDIRECTED], 1);
}

Test(agent_promise_messages, tickets_again_and_again_are_not_followed_for_ever)
{
	uint8_t sent[PROMISE_SIZE], ticket[PROMISE_SIZE], out[PROMISE_SIZE];
	unsigned followed = 0;
	start_both();
	cr_assert_not_null(promise_exchange_next(&a.exchange, now, sent));
	cr_assert(promise_exchange_receive(&b.exchange, &b.rule, sent, PROMISE_SIZE, now, ticket));
	for (unsigned i = 0; i < 100; i++)
		followed += promise_exchange_receive(&a.exchange, &a.rule, ticket, PROMISE_SIZE, now, out);
	cr_assert_eq(followed, PROMISE_AGAIN_MAX);
}

Test(agent_promise_messages, strangers_and_those_without_the_secret_are_dropped)
{
	uint8_t sent[PROMISE_SIZE + 1] = {0}, out[PROMISE_SIZE];
	struct promise_message message = question();
	start_both();
	memcpy(message.receiver, "b", 2);
	promise_write(&key, &message, sent);
	cr_assert_not(promise_exchange_receive(&b.exchange, &b.rule, sent, PROMISE_SIZE, now, out));
	cr_assert_eq(b.exchange.drops[PROMISE_DROP_MISDIRECTED], 1);
	cr_assert_not_null(promise_exchange_next(&a.exchange, now, sent));
	cr_assert_not(promise_exchange_receive(&b.exchange, &b.rule, sent, PROMISE_SIZE + 1, now, out));
	cr_assert_not(promise_exchange_receive(&b.exchange, &b.rule, sent, 0, now, out));
	cr_assert_eq(b.exchange.drops[PROMISE_DROP_MALFORMED], 2);
	promise_exchange_set_secret(&b.exchange, other_secret);
	cr_assert_not(promise_exchange_receive(&b.exchange, &b.rule, sent, PROMISE_SIZE, now, out));
	promise_exchange_set_secret(&b.exchange, NULL);
	cr_assert_not(promise_exchange_receive(&b.exchange, &b.rule, sent, PROMISE_SIZE, now, out));
	cr_assert_eq(b.exchange.drops[PROMISE_DROP_FORGED], 2);
	now += S;
	cr_assert_null(promise_exchange_next(&b.exchange, now, out), "without a secret nothing is sent");
	promise_exchange_set_secret(&a.exchange, NULL);
	cr_assert_null(promise_exchange_next(&a.exchange, now, out));
	cr_assert_eq(b.rule.blocks[1].promised_until, 0);
}

Test(agent_promise_messages, a_refusal_is_an_answer)
{
	uint8_t first[PROMISE_SIZE], ticket[PROMISE_SIZE], second[PROMISE_SIZE], refusal[PROMISE_SIZE],
		out[PROMISE_SIZE];
	start_both();
	b.rule.takers_revision++;
	uint64_t before = until();
	cr_assert_not_null(promise_exchange_next(&a.exchange, now, first));
	cr_assert(promise_exchange_receive(&b.exchange, &b.rule, first, PROMISE_SIZE, now, ticket));
	cr_assert(promise_exchange_receive(&a.exchange, &a.rule, ticket, PROMISE_SIZE, now, second));
	cr_assert(promise_exchange_receive(&b.exchange, &b.rule, second, PROMISE_SIZE, now, refusal));
	cr_assert_not(promise_exchange_receive(&a.exchange, &a.rule, refusal, PROMISE_SIZE, now, out));
	cr_assert_eq(a.exchange.peers[0].verdict, OWNERSHIP_OTHER_TAKERS);
	cr_assert_eq(a.rule.question.refusals, 1);
	cr_assert_eq(until(), before);
	cr_assert_eq(promise_exchange_deadline(&a.exchange, now), 0, "it is not repeated");
}
