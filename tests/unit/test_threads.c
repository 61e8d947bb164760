// SPDX-License-Identifier: Apache-2.0
/* Whether threads that hang are seen. */
#include "core/daemon/threads.h"

#include <criterion/criterion.h>

Test(threads, they_are_alive_when_each_counted_or_slept)
{
	static struct event_loop loops[2];
	struct thread list[2] = {{.params = {.loop = &loops[0]}, .running = true},
				 {.params = {.loop = &loops[1]}, .running = true}};
	struct threads threads = {.list = list, .count = 2};

	cr_assert_not(threads_alive(&threads), "nobody did anything");
	stats_add(&loops[0].stats, udp_rx_calls, 1);
	cr_assert_not(threads_alive(&threads), "one did");
	stats_drop(&loops[1].stats, DROP_RUNT, 1);
	cr_assert(threads_alive(&threads), "then the other, too");
	cr_assert_not(threads_alive(&threads), "that was then");

	loops[0].waker.asleep = loops[1].waker.asleep = true;
	cr_assert(threads_alive(&threads), "who sleeps is well");
	cr_assert(threads_alive(&threads));
	loops[1].waker.asleep = false;
	cr_assert_not(threads_alive(&threads), "who does not wake up is not");
	list[1].running = false;
	cr_assert(threads_alive(&threads), "who ended is nobody's concern here");
}
