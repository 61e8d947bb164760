// SPDX-License-Identifier: Apache-2.0
/* Datagrams between agents: of strangers, and what another agent with the cluster's secret may have written. */
#include "core/agent/promise_exchange.h"
#include "crypto/keys.h"
#include "tests/fuzz/input.h"

/* Any bytes as they come; then as the message of another taker, sealed with the right key, to an agent that owns
 * nothing and has asked for nothing: it must change no deadline. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t secret[OWNERSHIP_SECRET] = {7};
	static struct ownership rule;
	struct promise_exchange exchange;
	struct promise_key key;
	struct promise_message message = {0}, out;
	uint8_t datagram[PROMISE_SIZE], answer[PROMISE_SIZE];
	insist(keys_init(NULL) == 0, "keys");
	promise_key_init(&key, secret);
	insist(promise_read(&key, data, size, &out) != PROMISE_READ, "a stranger's datagram is not taken");
	ownership_init(&rule, "a", "u", "m", 4, 0, NS_PER_S);
	rule.takers = (struct ownership_takers){.count = 2, .names = {"a", "b"}, .machines = {"m", "m"}};
	rule.takers_revision = 1;
	rule.fresh = true;
	promise_exchange_init(&exchange, "a");
	promise_exchange_set_secret(&exchange, secret);
	promise_exchange_set_takers(&exchange, &rule);
	insist(!promise_exchange_receive(&exchange, &rule, data, size, NS_PER_S, answer), "nor answered");
	if (size < sizeof message)
		return 0;
	memcpy(&message, data, sizeof message);
	message.kind = (enum promise_kind)(PROMISE_QUESTION + data[0] % 2);
	message.verdict = message.kind == PROMISE_QUESTION ? 0 : data[1];
	memcpy(message.sender, "b", 2);
	memcpy(message.receiver, "a", 2);
	promise_write(&key, &message, datagram);
	enum promise_reading reading = promise_read(&key, datagram, sizeof datagram, &out);
	insist(reading != PROMISE_FORGED, "the right key opens it");
	if (reading == PROMISE_READ)
		insist(out.takers_revision == message.takers_revision &&
			       memcmp(&out.blocks, &message.blocks, sizeof out.blocks) == 0,
		       "it is what was written");
	bool answered = promise_exchange_receive(&exchange, &rule, datagram, sizeof datagram, NS_PER_S, answer);
	insist(answered == (message.kind == PROMISE_QUESTION), "a question is answered, an answer is not");
	for (unsigned block = 0; block < OWNERSHIP_BLOCKS; block++)
		insist(rule.blocks[block].until == 0 && rule.blocks[block].promised_until == 0,
		       "without a ticket, or a question, nothing changes");
	return 0;
}
