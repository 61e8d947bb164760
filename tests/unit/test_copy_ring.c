// SPDX-License-Identifier: Apache-2.0
#include "workers/copy_ring.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/waker.h"
#include "crypto/aead.h"

enum { ENTRIES = 8, LONGEST = 1536 /* whole cache lines: what is behind belongs to the next one, or is slack */ };

static struct copy_ring *ring;

static void set_up(void)
{
	struct error error = {0};
	ring = copy_ring_new(ENTRIES, LONGEST, &error);
	cr_assert(ring != NULL, "%s", error.text);
}

static void tear_down(void)
{
	copy_ring_free(ring);
}
TestSuite(copy_ring, .init = set_up, .fini = tear_down);

static struct endpoint endpoint(unsigned number)
{
	struct endpoint made = {
		.remote = {.sin6_family = AF_INET6, .sin6_port = (in_port_t)number, .sin6_scope_id = 3}};
	made.remote.sin6_addr.s6_addr[15] = (uint8_t)number;
	made.local.s6_addr[0] = (uint8_t)(number + 1);
	return made;
}

static uint32_t length_of(unsigned number)
{
	return number * 97 % (LONGEST + 1);
}

/* Datagram `number`, which everything in it depends on. */
static bool push(unsigned number)
{
	uint8_t data[LONGEST];
	struct endpoint from = endpoint(number);
	memset(data, (int)number, sizeof data);
	return copy_ring_push(ring, &from, number & 3, data, length_of(number));
}

static void check(const struct udp_message *message, unsigned number)
{
	struct endpoint from = endpoint(number);
	cr_assert(message != NULL, "%u has come", number);
	cr_assert(message->length == length_of(number), "%u: %u bytes", number, message->length);
	cr_assert(message->ecn == (number & 3));
	cr_assert(message->segment_size == 0 && !message->truncated, "a single datagram");
	cr_assert(memcmp(&message->endpoint, &from, sizeof from) == 0);
	for (uint32_t i = 0; i < message->length; i++)
		cr_assert(message->data[i] == (uint8_t)number, "%u: byte %u", number, i);
}

Test(copy_ring, refuses_what_it_cannot_be)
{
	static const struct {
		uint32_t entries, longest;
	} bad[] = {{0, 100}, {1, 100}, {3, 100}, {100, 100}, {8, 0}, {8, UDP_MESSAGE_MAX + 1}};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct error error = {0};
		cr_assert(copy_ring_new(bad[i].entries, bad[i].longest, &error) == NULL, "%zu", i);
		cr_assert(strstr(error.text, "copy ring of") != NULL);
	}
	copy_ring_free(NULL);
}

Test(copy_ring, first_in_first_out)
{
	cr_assert(copy_ring_empty(ring) && copy_ring_peek(ring, 0) == NULL);
	unsigned in = 0, out = 0;
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < 1 + round % ENTRIES && in - out < ENTRIES; i++)
			cr_assert(push(in++));
		cr_assert(!copy_ring_empty(ring));
		for (unsigned i = 0; i < 1 + round * 7 % ENTRIES && out < in; i++) {
			check(copy_ring_peek(ring, 0), out++);
			copy_ring_pop(ring, 1);
		}
		cr_assert(copy_ring_empty(ring) == (out == in));
	}
}

Test(copy_ring, a_batch_is_kept_until_it_is_popped)
{
	for (unsigned round = 0; round < 20; round++) {
		unsigned first = round * 5;
		for (unsigned i = 0; i < 5; i++)
			cr_assert(push(first + i));
		for (unsigned i = 0; i < 5; i++)
			check(copy_ring_peek(ring, i), first + i);
		for (unsigned i = 5; i <= 2 * ENTRIES; i++)
			cr_assert(copy_ring_peek(ring, i) == NULL, "%u ahead", i);
		copy_ring_pop(ring, 2);
		for (unsigned i = 0; i < 3; i++)
			check(copy_ring_peek(ring, i), first + 2 + i);
		copy_ring_pop(ring, 3);
		cr_assert(copy_ring_empty(ring));
	}
}

Test(copy_ring, full_is_refused_and_harms_nothing)
{
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < ENTRIES; i++)
			cr_assert(push(100 + i));
		for (unsigned i = 0; i < 5; i++)
			cr_assert(!push(200 + i), "full");
		check(copy_ring_peek(ring, ENTRIES - 1), 100 + ENTRIES - 1);
		cr_assert(copy_ring_peek(ring, ENTRIES) == NULL);
		copy_ring_pop(ring, 1);
		cr_assert(push(100 + ENTRIES), "room again");
		cr_assert(!push(200), "for one");
		for (unsigned i = 1; i <= ENTRIES; i++) {
			check(copy_ring_peek(ring, 0), 100 + i);
			copy_ring_pop(ring, 1);
		}
	}
}

Test(copy_ring, any_length_up_to_the_longest)
{
	uint8_t data[LONGEST + 1] = {1};
	struct endpoint from = endpoint(1);
	cr_assert(!copy_ring_push(ring, &from, 0, data, LONGEST + 1));
	cr_assert(!copy_ring_push(ring, &from, 0, data, UINT32_MAX));
	cr_assert(copy_ring_empty(ring), "nothing came of them");
	cr_assert(copy_ring_push(ring, &from, 0, data, LONGEST));
	cr_assert(copy_ring_push(ring, &from, 0, data, 0));
	cr_assert(copy_ring_peek(ring, 0)->length == LONGEST && copy_ring_peek(ring, 1)->length == 0);
}

/* The consumer opens in place, and a cipher may read a little past the end. */
Test(copy_ring, datagrams_are_apart)
{
	for (unsigned i = 0; i < ENTRIES; i++)
		cr_assert(push(i));
	const struct udp_message *previous = copy_ring_peek(ring, 0);
	for (unsigned i = 1; i < ENTRIES; i++) {
		const struct udp_message *message = copy_ring_peek(ring, i);
		cr_assert((uintptr_t)message->data % CACHE_LINE == 0);
		cr_assert(message->data >= previous->data + LONGEST + AEAD_INPUT_SLACK);
		cr_assert(((uintptr_t)message - (uintptr_t)previous) % CACHE_LINE == 0, "slots share no cache line");
		previous = message;
	}
	/* The last one's slack belongs to us too: under AddressSanitizer this would end. */
	memset(copy_ring_peek(ring, ENTRIES - 1)->data, 0xee, LONGEST + AEAD_INPUT_SLACK);
	for (unsigned i = 0; i < ENTRIES - 1; i++)
		check(copy_ring_peek(ring, i), i);
}

/* The order of steps that core/base/waker.h asks for; the race itself is in tests/stress/copy_ring.c. */
Test(copy_ring, wakes_its_consumer)
{
	struct waker waker;
	cr_assert(waker_init(&waker) == 0);
	waker_prepare(&waker);
	cr_assert(copy_ring_empty(ring));
	cr_assert(push(1));
	cr_assert(waker_wake(&waker), "it slept");
	cr_assert(push(2));
	cr_assert(!waker_wake(&waker), "paid for already");
	waker_done(&waker, true);
	waker_prepare(&waker);
	cr_assert(!copy_ring_empty(ring), "so it does not sleep");
	waker_done(&waker, false);
	waker_deinit(&waker);
}
