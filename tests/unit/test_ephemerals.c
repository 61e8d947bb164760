// SPDX-License-Identifier: Apache-2.0
/* Key pairs made ahead: each is good, is used once, and leaves nothing behind. */
#include <sodium.h>
#include <time.h>

#include "crypto/ephemerals.h"
#include "tests/unit/hello_by_hand.h"

TestSuite(ephemerals, .timeout = 60);

enum { SIZE = 4 };

static void assert_pair(const struct noise_keypair *pair)
{
	uint8_t public_key[NOISE_KEY_SIZE];
	noise_public_key(pair->private_key, public_key);
	cr_assert_arr_eq(pair->public_key, public_key, sizeof public_key);
}

Test(ephemerals, are_as_many_as_there_is_room_for)
{
	struct ephemerals store;
	cr_assert_geq(sodium_init(), 0);
	cr_assert_eq(ephemerals_init(&store, SIZE), 0);
	for (size_t i = 0; i < SIZE; i++)
		cr_assert(ephemerals_prepare(&store));
	cr_assert_not(ephemerals_prepare(&store));
	cr_assert_eq(store.count, SIZE);
	ephemerals_deinit(&store);
	ephemerals_deinit(&store);
}

Test(ephemerals, are_good_and_never_the_same)
{
	struct ephemerals store;
	struct noise_keypair taken[3 * SIZE];
	cr_assert_geq(sodium_init(), 0);
	cr_assert_eq(ephemerals_init(&store, SIZE), 0);
	for (size_t i = 0; i < 3 * SIZE; i++) {
		/* from an empty store, from one with some, until it is empty again */
		for (size_t k = 0; k < SIZE && i == SIZE; k++)
			cr_assert(ephemerals_prepare(&store));
		ephemerals_take(&store, &taken[i]);
		assert_pair(&taken[i]);
		for (size_t k = 0; k < i; k++)
			cr_assert_neq(memcmp(&taken[k], &taken[i], sizeof taken[k]), 0, "%zu and %zu", k, i);
	}
	cr_assert_eq(store.count, 0);
	ephemerals_deinit(&store);
}

Test(ephemerals, leave_nothing_behind)
{
	struct ephemerals store;
	struct noise_keypair pair;
	cr_assert_geq(sodium_init(), 0);
	cr_assert_eq(ephemerals_init(&store, SIZE), 0);
	while (ephemerals_prepare(&store))
		;
	for (size_t i = 0; i < SIZE; i++)
		ephemerals_take(&store, &pair);
	cr_assert(sodium_is_zero((const uint8_t *)store.pairs, SIZE * sizeof *store.pairs));
	ephemerals_deinit(&store);
}

static uint32_t prepared(const struct harness *h)
{
	return __atomic_load_n(&h->gateway.handshakes[0].handshaker->ephemerals.count, __ATOMIC_RELAXED);
}

static bool wait_prepared(const struct harness *h, uint32_t count)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	for (unsigned ms = 0; ms < 240000 && prepared(h) != count; ms++)
		(void)nanosleep(&pause, NULL);
	return prepared(h) == count;
}

Test(ephemerals, are_made_while_a_handshake_thread_has_nothing_else_to_do)
{
	struct harness *h = START(.clock = &clock_system);
	cr_assert_eq(prepared(h), 0);
	harness_spawn_gateway(h);
	bool full = wait_prepared(h, HANDSHAKER_EPHEMERALS);
	harness_join_gateway(h);
	cr_assert(full);
	finish(h);
}

Test(ephemerals, are_what_welcome_is_made_with)
{
	struct harness *h = START(0);
	struct ephemerals *store = &h->gateway.handshakes[0].handshaker->ephemerals;
	cr_assert(ephemerals_prepare(store));
	struct noise_keypair pair = store->pairs[0];
	struct by_hand by;
	h->gateway.held = 1; /* the worker: what it would have got is ours */
	send_hello(h, &by, 0, 0);
	harness_pump(h);
	h->gateway.held = 0;
	cr_assert_eq(store->count, 0);
	struct inbox_message *message = inbox_take(h->gateway.inboxes[0]);
	cr_assert_not_null(message);
	cr_assert_arr_eq(message->install.answer + WIRE_WELCOME_NOISE, pair.public_key, KEY_SIZE);
	inbox_post(h->gateway.inboxes[0], message);
	harness_pump(h);
	cr_assert(harness_up(h), "and one who finds none left");
	cr_assert(pings(h));
	finish(h);
}
