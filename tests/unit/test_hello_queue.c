// SPDX-License-Identifier: Apache-2.0
/* HELLOs that wait for a handshake thread. */
#include <criterion/criterion.h>

#include "core/base/clock.h"
#include "workers/hello_queue.h"

TestSuite(hello_queue, .timeout = 60);

enum { SIZE = 8 };

static struct hello_queue queue;

static void open_queue(void)
{
	cr_assert_eq(hello_queue_init(&queue, SIZE), 0);
}

static void close_queue(void)
{
	hello_queue_deinit(&queue);
}

static bool put(unsigned number, uint64_t now)
{
	uint8_t message[WIRE_HELLO_SIZE];
	struct endpoint from = {.remote.sin6_port = (uint16_t)number};
	memset(message, (int)number, sizeof message);
	return hello_queue_put(&queue, &from, message, sizeof message, now);
}

static void assert_hello(const struct waiting_hello *hello, unsigned number)
{
	cr_assert_not_null(hello);
	cr_assert_eq(hello->message[0], number);
	cr_assert_eq(hello->message[WIRE_HELLO_SIZE - 1], number);
	cr_assert_eq(hello->from.remote.sin6_port, number);
}

Test(hello_queue, gives_from_both_ends, .init = open_queue, .fini = close_queue)
{
	for (unsigned round = 0; round < 3 * SIZE; round++) {
		cr_assert_null(hello_queue_take_oldest(&queue));
		cr_assert_null(hello_queue_take_newest(&queue));
		for (unsigned i = 1; i <= 5; i++)
			cr_assert(put(i, 1));
		assert_hello(hello_queue_take_oldest(&queue), 1);
		assert_hello(hello_queue_take_newest(&queue), 5);
		cr_assert(put(6, 1));
		assert_hello(hello_queue_take_newest(&queue), 6);
		assert_hello(hello_queue_take_oldest(&queue), 2);
		assert_hello(hello_queue_take_newest(&queue), 4);
		assert_hello(hello_queue_take_oldest(&queue), 3);
	}
}

Test(hello_queue, makes_room_by_the_oldest, .init = open_queue, .fini = close_queue)
{
	for (unsigned i = 0; i < 3 * SIZE; i++)
		cr_assert_eq(put(i, 1), i < SIZE, "%u", i);
	cr_assert_eq(queue.count, SIZE);
	for (unsigned i = 0; i < SIZE / 2; i++) {
		assert_hello(hello_queue_take_newest(&queue), 3 * SIZE - 1 - i);
		assert_hello(hello_queue_take_oldest(&queue), 2 * SIZE + i);
	}
	cr_assert_eq(queue.count, 0);
}

Test(hello_queue, forgets_what_waited_for_too_long, .init = open_queue, .fini = close_queue)
{
	for (unsigned i = 1; i <= 4; i++)
		put(i, i);
	cr_assert_eq(hello_queue_expire(&queue, 1 + HELLO_QUEUE_LIFE_NS), 0);
	cr_assert_eq(hello_queue_expire(&queue, 3 + HELLO_QUEUE_LIFE_NS), 2);
	assert_hello(hello_queue_take_oldest(&queue), 3);
	cr_assert_eq(hello_queue_expire(&queue, 5 + HELLO_QUEUE_LIFE_NS), 1);
	cr_assert_eq(hello_queue_expire(&queue, 5 + HELLO_QUEUE_LIFE_NS), 0);
	put(1, 1);
	put(2, 1);
	cr_assert_eq(hello_queue_clear(&queue), 2);
	cr_assert_null(hello_queue_take_newest(&queue));
}

Test(hello_queue, that_is_never_full_stays_in_its_first_place, .init = open_queue, .fini = close_queue)
{
	const struct waiting_hello *first = NULL;
	for (unsigned i = 0; i < 3 * SIZE; i++) {
		put(i, 1);
		const struct waiting_hello *hello = i % 2 == 0 ? hello_queue_take_oldest(&queue)
							       : hello_queue_take_newest(&queue);
		assert_hello(hello, i);
		first = first != NULL ? first : hello;
		cr_assert_eq(hello, first);
	}
}
