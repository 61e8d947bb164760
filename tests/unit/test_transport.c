// SPDX-License-Identifier: Apache-2.0
/* Keys that fall asleep and wake, on each back end and suite. */
#include "core/protocol/transport.h"

#include <criterion/criterion.h>
#include <malloc.h>
#include <sodium.h>
#include <stdlib.h>

#include "tests/harness/checked_aead.h"
#include "tests/unit/aead_subjects.h"

TestSuite(transport, .init = subjects_set_up, .fini = subjects_tear_down);

#define EACH_SUBJECT(s) for (struct subject * (s) = subjects; (s) < subjects + subject_count; (s)++)

/* --- memory, watched ---------------------------------------------------------------------------------------------- */

static unsigned allocations;
static bool no_memory;

void *aligned_alloc(size_t alignment, size_t size)
{
	void *memory = NULL;
	allocations++;
	return !no_memory && posix_memalign(&memory, alignment, size) == 0 ? memory : NULL;
}

static struct wiped {
	const void *memory;
	size_t size;
} wiped[64];
static unsigned wipes;

void sodium_memzero(void *const pnt, const size_t len)
{
	explicit_bzero(pnt, len);
	wiped[wipes++ % ARRAY_SIZE(wiped)] = (struct wiped){pnt, len};
}

/* Whether so many bytes were wiped at once since wipes was 0; there, unless NULL. */
static bool was_wiped(const void *memory, size_t size)
{
	for (unsigned i = 0; i < wipes && i < ARRAY_SIZE(wiped); i++) {
		if (wiped[i].size == size && (memory == NULL || wiped[i].memory == memory))
			return true;
	}
	return false;
}

/* --- two sides ---------------------------------------------------------------------------------------------------- */

enum { SESSION_ID = 0x01020304, EPOCH = 3, DATA_LENGTH = 48, FORGED = REPLAY_REJECT + 1 };

struct message {
	uint8_t bytes[WIRE_OVERHEAD + DATA_LENGTH];
	uint32_t length;
};

struct pair {
	const struct subject *subject;
	struct transport_key *client, *gateway;
};

static const uint8_t plaintext[DATA_LENGTH + AEAD_INPUT_SLACK] = "an inner packet";

static struct transport_key *new_key(const struct aead_engine *engine, unsigned suite, enum transport_side side)
{
	struct noise_keys secrets = {{1, 2, 3}, {4, 5, 6}};
	return transport_key_new(engine, suite, EPOCH, &secrets, side, 1);
}

static struct pair pair_new(const struct subject *s)
{
	return (struct pair){s, new_key(s->engine, s->aead->suite, TRANSPORT_CLIENT),
			     new_key(s->engine, s->aead->suite, TRANSPORT_GATEWAY)};
}

static void pair_free(struct pair *pair)
{
	transport_key_free(pair->client);
	transport_key_free(pair->gateway);
}

/* By the client, with its next counter. */
static struct message seal(struct pair *pair, enum wire_type type)
{
	uint32_t length = wire_is_data(type) ? DATA_LENGTH : type == WIRE_BYE ? 1 : 0;
	struct message message = {.length = WIRE_OVERHEAD + length};
	transport_seal(pair->subject->engine, pair->client, SESSION_ID, type, plaintext, length, message.bytes);
	return message;
}

/* By the gateway, of a copy: a replay_verdict or FORGED. */
static int deliver(struct pair *pair, const struct message *message)
{
	struct message copy = *message;
	struct message_head head;
	struct aead_op op;
	wire_head_read(&head, copy.bytes);
	transport_open_op(&op, &head, copy.bytes, copy.length);
	transport_open(pair->subject->engine, pair->gateway, &op, 1);
	if (!op.authentic) {
		cr_assert(sodium_is_zero(op.output, op.length), "plaintext of a forgery");
		return FORGED;
	}
	cr_assert_arr_eq(op.output, plaintext, op.length, "%s", pair->subject->label);
	return (int)transport_accept(pair->subject->engine, pair->gateway, &op);
}

static int seal_and_deliver(struct pair *pair, enum wire_type type)
{
	struct message message = seal(pair, type);
	return deliver(pair, &message);
}

static bool asleep(const struct transport_key *key)
{
	return !transport_key_is_live(key) && key->live == NULL;
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

Test(transport, a_new_key_is_asleep_and_small)
{
	EACH_SUBJECT(s)
	{
		struct pair pair = pair_new(s);
		cr_assert(asleep(pair.client) && asleep(pair.gateway), "%s", s->label);
		cr_assert_leq(malloc_usable_size(pair.client) + sizeof(size_t), 256, "with the allocator's overhead");
		cr_assert_eq((uintptr_t)pair.client % CACHE_LINE, 0);
		cr_assert_eq(pair.client->epoch, EPOCH);
		cr_assert_eq(pair.client->born, 1);
		pair_free(&pair);
	}
}

Test(transport, what_is_not_data_takes_no_memory_on_either_side)
{
	static const enum wire_type types[] = {WIRE_CLIENT_ACK, WIRE_KEEPALIVE, WIRE_BYE, WIRE_KEEPALIVE};
	EACH_SUBJECT(s)
	{
		struct pair pair = pair_new(s);
		allocations = 0;
		for (size_t i = 0; i < ARRAY_SIZE(types); i++)
			cr_assert_eq(seal_and_deliver(&pair, types[i]), REPLAY_FRESH, "%s: %zu", s->label, i);
		cr_assert(asleep(pair.client) && asleep(pair.gateway), "%s", s->label);
		cr_assert_eq(allocations, 0);
		pair_free(&pair);
	}
}

Test(transport, data_wakes_each_side_once)
{
	EACH_SUBJECT(s)
	{
		struct pair pair = pair_new(s);
		allocations = 0;
		struct message message = seal(&pair, WIRE_DATA);
		cr_assert(transport_key_is_live(pair.client), "%s", s->label);
		cr_assert(asleep(pair.gateway), "%s", s->label);
		cr_assert_eq(deliver(&pair, &message), REPLAY_FRESH, "%s", s->label);
		cr_assert(transport_key_is_live(pair.gateway), "%s", s->label);
		cr_assert_eq((uintptr_t)pair.gateway->live % CACHE_LINE, 0, "the schedules want it");

		const struct transport_state *live = pair.gateway->live;
		for (unsigned i = 0; i < 5; i++)
			cr_assert_eq(seal_and_deliver(&pair, WIRE_DATA), REPLAY_FRESH, "%s", s->label);
		cr_assert(transport_key_wake(s->engine, pair.gateway));
		cr_assert_eq(pair.gateway->live, live);
		cr_assert_eq(allocations, 2);
		pair_free(&pair);
	}
}

Test(transport, a_forgery_changes_nothing_and_takes_no_memory)
{
	EACH_SUBJECT(s)
	{
		struct pair pair = pair_new(s);
		cr_assert_eq(seal_and_deliver(&pair, WIRE_KEEPALIVE), REPLAY_FRESH);
		struct message data = seal(&pair, WIRE_DATA), keepalive = seal(&pair, WIRE_KEEPALIVE);
		const struct transport_key before = *pair.gateway;
		allocations = 0;
		for (uint32_t at = 0; at < data.length; at++) {
			struct message forged = data;
			forged.bytes[at] ^= 0x10;
			cr_assert_eq(deliver(&pair, &forged), FORGED, "%s: byte %u", s->label, at);
		}
		for (uint32_t at = 0; at < keepalive.length; at++) {
			struct message forged = keepalive;
			forged.bytes[at] ^= 0x01;
			cr_assert_eq(deliver(&pair, &forged), FORGED, "%s: byte %u", s->label, at);
		}
		cr_assert_eq(allocations, 0, "%s", s->label);
		cr_assert_arr_eq(pair.gateway, &before, sizeof before);
		cr_assert_eq(deliver(&pair, &data), REPLAY_FRESH, "what was forged may still come");
		pair_free(&pair);
	}
}

Test(transport, without_memory_everything_works_asleep)
{
	EACH_SUBJECT(s)
	{
		struct pair pair = pair_new(s);
		no_memory = true;
		cr_assert_null(new_key(s->engine, s->aead->suite, TRANSPORT_CLIENT));
		cr_assert_not(transport_key_wake(s->engine, pair.client));
		struct message first = seal(&pair, WIRE_DATA), second = seal(&pair, WIRE_DATA);
		cr_assert_eq(deliver(&pair, &second), REPLAY_FRESH, "%s", s->label);
		cr_assert_eq(deliver(&pair, &second), REPLAY_REJECT, "%s", s->label);
		cr_assert_eq(deliver(&pair, &first), REPLAY_REJECT, "%s: no window to say that it is new", s->label);
		cr_assert_eq(seal_and_deliver(&pair, WIRE_DATA), REPLAY_FRESH, "%s", s->label);
		cr_assert(asleep(pair.client) && asleep(pair.gateway));

		no_memory = false;
		cr_assert_eq(seal_and_deliver(&pair, WIRE_DATA), REPLAY_FRESH, "%s", s->label);
		cr_assert(transport_key_is_live(pair.client) && transport_key_is_live(pair.gateway));
		cr_assert_eq(deliver(&pair, &first), REPLAY_REJECT, "%s", s->label);
		cr_assert_eq(deliver(&pair, &second), REPLAY_REJECT, "%s", s->label);
		pair_free(&pair);
	}
}

Test(transport, expanded_keys_are_wiped_wherever_they_were)
{
	EACH_SUBJECT(s)
	{
		struct pair pair = pair_new(s);
		wipes = 0;
		struct message message = seal(&pair, WIRE_KEEPALIVE);
		cr_assert(was_wiped(NULL, sizeof(struct aead_key)), "%s: sealed asleep", s->label);
		wipes = 0;
		deliver(&pair, &message);
		cr_assert(was_wiped(NULL, sizeof(struct aead_key)), "%s: opened asleep", s->label);

		cr_assert(transport_key_wake(s->engine, pair.gateway));
		const struct transport_state *live = pair.gateway->live;
		wipes = 0;
		transport_key_hibernate(pair.gateway);
		cr_assert(was_wiped(live, sizeof *live), "%s: hibernated", s->label);

		cr_assert(transport_key_wake(s->engine, pair.gateway));
		live = pair.gateway->live;
		wipes = 0;
		const struct transport_key *was = pair.gateway;
		transport_key_free(pair.gateway);
		cr_assert(was_wiped(live, sizeof *live), "%s: freed awake", s->label);
		cr_assert(was_wiped(was, sizeof *was), "%s: freed", s->label);
		transport_key_free(pair.client);
		transport_key_free(NULL);
	}
}

/* --- sparse flows ------------------------------------------------------------------------------------------------- */

/* It comes first, by however much. */
Test(transport, data_sparse_overtakes_without_making_others_old)
{
	EACH_SUBJECT(s)
	{
		struct pair pair = pair_new(s);
		struct message first = seal(&pair, WIRE_DATA), second = seal(&pair, WIRE_DATA);
		pair.client->send_counter += 3 * REPLAY_WINDOW;
		struct message ahead = seal(&pair, WIRE_DATA_SPARSE);
		cr_assert_eq(deliver(&pair, &first), REPLAY_FRESH, "%s", s->label);
		cr_assert_eq(deliver(&pair, &ahead), REPLAY_FRESH, "%s", s->label);
		cr_assert_eq(deliver(&pair, &second), REPLAY_LATE, "%s: an older one moves no endpoint", s->label);
		cr_assert_eq(deliver(&pair, &first), REPLAY_REJECT, "%s", s->label);
		cr_assert_eq(deliver(&pair, &second), REPLAY_REJECT, "%s", s->label);
		cr_assert_eq(deliver(&pair, &ahead), REPLAY_REJECT, "%s", s->label);
		cr_assert_eq(seal_and_deliver(&pair, WIRE_KEEPALIVE), REPLAY_FRESH, "%s", s->label);
		cr_assert_eq(seal_and_deliver(&pair, WIRE_DATA_SPARSE), REPLAY_FRESH, "%s", s->label);
		pair_free(&pair);
	}
}

Test(transport, a_changed_type_is_a_forgery)
{
	EACH_SUBJECT(s)
	{
		struct pair pair = pair_new(s);
		struct message message = seal(&pair, WIRE_DATA);
		message.bytes[0] ^= WIRE_DATA ^ WIRE_DATA_SPARSE;
		cr_assert_eq(deliver(&pair, &message), FORGED, "%s", s->label);
		message.bytes[0] ^= WIRE_DATA ^ WIRE_DATA_SPARSE;
		cr_assert_eq(deliver(&pair, &message), REPLAY_FRESH, "%s", s->label);
		pair_free(&pair);
	}
}

Test(transport, all_types_count_as_seen_after_a_sleep)
{
	EACH_SUBJECT(s)
	{
		for (unsigned last = 0; last < 2; last++) {
			struct pair pair = pair_new(s);
			struct message data = seal(&pair, WIRE_DATA), sparse = seal(&pair, WIRE_DATA_SPARSE);
			struct message *late = last ? &data : &sparse;
			cr_assert_neq(deliver(&pair, last ? &sparse : &data), REPLAY_REJECT, "%s", s->label);
			(void)deliver(&pair, late);
			transport_key_hibernate(pair.gateway);
			cr_assert_eq(pair.gateway->seen, 2, "%s", s->label);
			cr_assert_eq(deliver(&pair, &data), REPLAY_REJECT, "%s", s->label);
			cr_assert_eq(deliver(&pair, &sparse), REPLAY_REJECT, "%s", s->label);
			cr_assert_eq(seal_and_deliver(&pair, WIRE_DATA_SPARSE), REPLAY_FRESH, "%s", s->label);
			cr_assert_eq(deliver(&pair, &data), REPLAY_REJECT, "%s", s->label);
			pair_free(&pair);
		}
	}
}

/* --- nonces ------------------------------------------------------------------------------------------------------- */

Test(transport, a_message_is_the_same_sealed_asleep_and_awake)
{
	EACH_SUBJECT(s)
	{
		struct pair pair = pair_new(s);
		pair.client->send_counter = 0x01020304;
		struct message slept = seal(&pair, WIRE_KEEPALIVE);
		cr_assert(transport_key_wake(s->engine, pair.client));
		pair.client->send_counter = 0x01020304;
		struct message awake = seal(&pair, WIRE_KEEPALIVE);
		cr_assert_arr_eq(slept.bytes, awake.bytes, slept.length, "%s", s->label);
		cr_assert_eq(pair.client->send_counter, 0x01020305);
		pair_free(&pair);
	}
}

Test(transport, no_nonce_is_used_twice_over_hibernation)
{
	EACH_SUBJECT(s)
	{
		struct checked_aead checked;
		checked_aead_init(&checked, s->backend);
		struct transport_key *key = new_key(&checked.base, s->aead->suite, TRANSPORT_CLIENT);
		uint8_t message[WIRE_OVERHEAD + DATA_LENGTH];
		size_t sealed = 0;
		for (unsigned round = 0; round < 20; round++) {
			for (unsigned i = 0; i < 10; i++, sealed++)
				transport_seal(&checked.base, key, SESSION_ID,
					       i < round % 10 ? WIRE_KEEPALIVE : WIRE_DATA, plaintext, DATA_LENGTH,
					       message);
			cr_assert(transport_key_is_live(key));
			transport_key_hibernate(key);
			cr_assert(asleep(key));
			transport_key_hibernate(key);
		}
		cr_assert_eq(key->send_counter, sealed);
		cr_assert_eq(checked.count, sealed);
		cr_assert_eq(checked.reused, 0, "%s", s->label);
		transport_key_free(key);
		checked_aead_deinit(&checked);
	}
}

/* --- replays ------------------------------------------------------------------------------------------------------ */

enum { BEFORE = 300 /* messages before the key goes to sleep: some words of the bitmap */ };

/* Every other one arrives, the last one too; then the gateway's key goes to sleep. */
static void some_arrive_then_sleep(struct pair *pair, struct message before[BEFORE])
{
	for (size_t i = 0; i < BEFORE; i++) {
		before[i] = seal(pair, i % 3 == 0 ? WIRE_KEEPALIVE : WIRE_DATA);
		if (i % 2 == 1)
			cr_assert_eq(deliver(pair, &before[i]), REPLAY_FRESH, "%s: %zu", pair->subject->label, i);
	}
	cr_assert(transport_key_is_live(pair->gateway));
	transport_key_hibernate(pair->gateway);
	cr_assert(asleep(pair->gateway));
}

static void all_are_rejected(struct pair *pair, const struct message *messages, size_t count)
{
	for (size_t i = 0; i < count; i++)
		cr_assert_eq(deliver(pair, &messages[i]), REPLAY_REJECT, "%s: %zu", pair->subject->label, i);
}

Test(transport, all_before_hibernation_is_rejected_then_new_or_not)
{
	struct message before[BEFORE];
	EACH_SUBJECT(s)
	{
		struct pair pair = pair_new(s);
		some_arrive_then_sleep(&pair, before);
		allocations = 0;
		all_are_rejected(&pair, before, BEFORE);
		cr_assert(asleep(pair.gateway), "%s", s->label);
		cr_assert_eq(allocations, 0, "a replay does not wake");

		cr_assert_eq(seal_and_deliver(&pair, WIRE_DATA), REPLAY_FRESH, "%s", s->label);
		cr_assert(transport_key_is_live(pair.gateway));
		all_are_rejected(&pair, before, BEFORE);
		pair_free(&pair);
	}
}

Test(transport, what_the_waking_message_overtook_is_late)
{
	struct message before[BEFORE], after[100];
	EACH_SUBJECT(s)
	{
		struct pair pair = pair_new(s);
		some_arrive_then_sleep(&pair, before);
		for (size_t i = 0; i < ARRAY_SIZE(after); i++)
			after[i] = seal(&pair, WIRE_DATA);
		cr_assert_eq(deliver(&pair, &after[99]), REPLAY_FRESH);
		for (size_t i = 0; i < 99; i++)
			cr_assert_eq(deliver(&pair, &after[i]), REPLAY_LATE, "%s: %zu", s->label, i);
		all_are_rejected(&pair, after, ARRAY_SIZE(after));
		all_are_rejected(&pair, before, BEFORE);
		pair_free(&pair);
	}
}

Test(transport, a_keepalive_asleep_moves_the_mark)
{
	EACH_SUBJECT(s)
	{
		struct pair pair = pair_new(s);
		struct message first = seal(&pair, WIRE_KEEPALIVE), second = seal(&pair, WIRE_KEEPALIVE);
		struct message overtaken = seal(&pair, WIRE_DATA), third = seal(&pair, WIRE_KEEPALIVE);
		cr_assert_eq(deliver(&pair, &second), REPLAY_FRESH, "%s", s->label);
		cr_assert_eq(deliver(&pair, &second), REPLAY_REJECT, "%s", s->label);
		cr_assert_eq(deliver(&pair, &first), REPLAY_REJECT, "%s: below", s->label);
		cr_assert_eq(deliver(&pair, &third), REPLAY_FRESH, "%s", s->label);
		cr_assert_eq(deliver(&pair, &overtaken), REPLAY_REJECT, "%s: DATA as well", s->label);
		cr_assert(asleep(pair.gateway), "%s", s->label);

		cr_assert_eq(seal_and_deliver(&pair, WIRE_DATA), REPLAY_FRESH, "%s", s->label);
		const struct message *all[] = {&first, &second, &overtaken, &third};
		for (size_t i = 0; i < ARRAY_SIZE(all); i++)
			cr_assert_eq(deliver(&pair, all[i]), REPLAY_REJECT, "%s: %zu, awake", s->label, i);
		pair_free(&pair);
	}
}

Test(transport, a_batch_is_opened_before_memory_is_taken)
{
	static const int expected[] = {FORGED,	      REPLAY_FRESH, REPLAY_FRESH, REPLAY_REJECT,
				       REPLAY_REJECT, REPLAY_FRESH, REPLAY_LATE};
	enum { BATCH = ARRAY_SIZE(expected) };
	EACH_SUBJECT(s)
	{
		struct pair pair = pair_new(s);
		struct message keepalive = seal(&pair, WIRE_KEEPALIVE), data = seal(&pair, WIRE_DATA);
		struct message late = seal(&pair, WIRE_DATA), last = seal(&pair, WIRE_DATA), forged = last;
		forged.bytes[forged.length - 1] ^= 1;
		struct message batch[BATCH] = {forged, keepalive, data, keepalive, data, last, late};
		struct aead_op ops[BATCH];
		for (size_t i = 0; i < BATCH; i++) {
			struct message_head head;
			wire_head_read(&head, batch[i].bytes);
			transport_open_op(&ops[i], &head, batch[i].bytes, batch[i].length);
		}
		allocations = 0;
		transport_open(s->engine, pair.gateway, ops, BATCH);
		cr_assert_eq(allocations, 0);
		cr_assert(asleep(pair.gateway));
		for (size_t i = 0; i < BATCH; i++) {
			int verdict = ops[i].authentic ? (int)transport_accept(s->engine, pair.gateway, &ops[i])
						       : FORGED;
			cr_assert_eq(verdict, expected[i], "%s: %zu", s->label, i);
		}
		cr_assert_eq(allocations, 1);
		pair_free(&pair);
	}
}

Test(transport, the_last_counter_stays_seen)
{
	EACH_SUBJECT(s)
	{
		struct pair pair = pair_new(s);
		struct message first = seal(&pair, WIRE_DATA);
		pair.client->send_counter = UINT32_MAX;
		struct message last = seal(&pair, WIRE_KEEPALIVE);
		cr_assert_eq(deliver(&pair, &last), REPLAY_FRESH, "%s", s->label);
		for (unsigned round = 0; round < 2; round++) {
			cr_assert_eq(deliver(&pair, &last), REPLAY_REJECT, "%s", s->label);
			cr_assert_eq(deliver(&pair, &first), REPLAY_REJECT, "%s", s->label);
			cr_assert(transport_key_wake(s->engine, pair.gateway));
			cr_assert_eq(deliver(&pair, &last), REPLAY_REJECT, "%s: awake", s->label);
			transport_key_hibernate(pair.gateway);
		}
		pair_free(&pair);
	}
}

Test(transport, counters_from_the_limit_on_are_rejected_asleep_and_awake)
{
	EACH_SUBJECT(s)
	{
		struct pair pair = pair_new(s);
		struct message data = seal(&pair, WIRE_DATA), keepalive = seal(&pair, WIRE_KEEPALIVE);
		struct aead_op op = {.header = keepalive.bytes, .counter = REPLAY_COUNTER_LIMIT};
		cr_assert_eq(transport_accept(s->engine, pair.gateway, &op), REPLAY_REJECT);
		op.counter = UINT64_MAX;
		cr_assert_eq(transport_accept(s->engine, pair.gateway, &op), REPLAY_REJECT);
		cr_assert_eq(pair.gateway->seen, 0);
		op.header = data.bytes;
		cr_assert_eq(transport_accept(s->engine, pair.gateway, &op), REPLAY_REJECT);
		cr_assert(asleep(pair.gateway), "%s: it wakes nothing", s->label);
		op.counter = REPLAY_COUNTER_LIMIT - 1;
		cr_assert_eq(transport_accept(s->engine, pair.gateway, &op), REPLAY_FRESH);
		cr_assert_eq(transport_accept(s->engine, pair.gateway, &op), REPLAY_REJECT);
		op.counter++;
		cr_assert_eq(transport_accept(s->engine, pair.gateway, &op), REPLAY_REJECT);
		pair_free(&pair);
	}
}

/* --- against a naive model ---------------------------------------------------------------------------------------- */

enum { STREAM = 4000 /* below the window, whose edge is another test's */, OPERATIONS = 20000 };

struct model {
	bool seen[STREAM];
	uint32_t next, floor; /* highest accepted + 1; asleep only what is above, after it only what was above */
	bool live;
};

static int model_accept(struct model *model, uint32_t counter, bool data)
{
	if (counter < model->floor || model->seen[counter])
		return REPLAY_REJECT;
	model->seen[counter] = true;
	if (data)
		model->live = true;
	else if (!model->live)
		model->floor = counter + 1;
	if (counter < model->next)
		return REPLAY_LATE;
	model->next = counter + 1;
	return REPLAY_FRESH;
}

static uint32_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t)(*state >> 16);
}

static void compare_with_model(const struct subject *s, struct message stream[STREAM])
{
	struct model model = {0};
	struct pair pair = pair_new(s);
	uint64_t random = 0x9e3779b97f4a7c15;
	uint32_t sealed = 0;
	unsigned verdicts[FORGED + 1] = {0};
	for (int i = 0; i < OPERATIONS; i++) {
		if (random_next(&random) % 50 == 0)
			transport_key_hibernate(pair.client);
		if (random_next(&random) % 50 == 0) {
			transport_key_hibernate(pair.gateway);
			model.floor = model.next;
			model.live = false;
		}
		if (sealed == 0 || (sealed < STREAM && random_next(&random) % 4 == 0)) {
			stream[sealed] = seal(&pair, random_next(&random) % 3 == 0 ? WIRE_KEEPALIVE : WIRE_DATA);
			sealed++;
		}
		uint32_t back = random_next(&random) % (random_next(&random) % 4 == 0 ? STREAM : 20);
		uint32_t counter = back < sealed ? sealed - 1 - back : 0;
		struct message message = stream[counter];
		bool forge = random_next(&random) % 10 == 0;
		if (forge)
			message.bytes[random_next(&random) % message.length] ^= 0x80;
		int expected = forge ? (int)FORGED
				     : model_accept(&model, counter, wire_type(message.bytes) == WIRE_DATA);
		cr_assert_eq(deliver(&pair, &message), expected, "%s: operation %d, %u", s->label, i, counter);
		cr_assert_eq(transport_key_is_live(pair.gateway), model.live, "%s: operation %d", s->label, i);
		verdicts[expected]++;
	}
	cr_assert_eq(pair.client->send_counter, sealed);
	for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++)
		cr_assert_gt(verdicts[i], 500, "verdict %zu was hardly tried: %u", i, verdicts[i]);
	pair_free(&pair);
}

Test(transport, random_traffic_and_sleep_agree_with_a_naive_model)
{
	static struct message stream[STREAM];
	EACH_SUBJECT(s)
	compare_with_model(s, stream);
}
