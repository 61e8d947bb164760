// SPDX-License-Identifier: Apache-2.0
/* Whether threads that hang are seen. */
#include "core/daemon/threads.h"

#include <criterion/criterion.h>

Test(threads, they_are_alive_when_each_counted_or_slept)
{
	static struct stats stats[2];
	static _Atomic bool asleep[2];
	struct thread list[2] = {{.params = {.stats = &stats[0], .asleep = &asleep[0]}, .running = true},
				 {.params = {.stats = &stats[1], .asleep = &asleep[1]}, .running = true}};
	struct threads threads = {.list = list, .count = 2};

	cr_assert_not(threads_alive(&threads), "nobody did anything");
	stats_add(&stats[0], udp_rx_calls, 1);
	cr_assert_not(threads_alive(&threads), "one did");
	stats_drop(&stats[1], DROP_RUNT, 1);
	cr_assert(threads_alive(&threads), "then the other, too");
	cr_assert_not(threads_alive(&threads), "that was then");

	asleep[0] = asleep[1] = true;
	cr_assert(threads_alive(&threads), "who sleeps is well");
	cr_assert(threads_alive(&threads));
	asleep[1] = false;
	cr_assert_not(threads_alive(&threads), "who does not wake up is not");
	list[1].running = false;
	cr_assert(threads_alive(&threads), "who ended is nobody's concern here");
}
