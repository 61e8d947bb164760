// SPDX-License-Identifier: Apache-2.0
/* What is said of the kernel's drops at the interface when its counters start anywhere, go back, or cannot be read. The
 * kernel's own are in tests/netns/cases/conservation.sh. */
#include <criterion/criterion.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>

#include "core/daemon/interface_drops.h"

Test(interface_drops, a_counter_is_followed_from_the_first_look_and_never_falls)
{
	static const struct {
		uint64_t now, sum;
	} looks[] = {{100, 0}, {100, 0}, {107, 7}, {3, 10},
		     {3, 10},  {0, 10},	 {5, 15},  {UINT32_MAX, UINT32_MAX + 10ull}};
	struct followed_counter counter = {0};
	for (size_t i = 0; i < ARRAY_SIZE(looks); i++) {
		followed_counter_look(&counter, looks[i].now);
		cr_expect_eq(counter.sum, looks[i].sum, "look %zu", i);
	}
}

static void run(const char *command)
{
	cr_assert_eq(system(command), 0, "%s", command);
}

Test(interface_drops, of_a_link_that_is_deleted_and_of_none)
{
	struct interface_drops drops;
	struct error error = {0};
	if (unshare(CLONE_NEWNET) < 0)
		cr_skip_test("a network namespace of our own needs CAP_SYS_ADMIN");
	run("ip link add link0 type veth peer name peer0");
	cr_assert_eq(interface_drops_open(&drops, if_nametoindex("link0"), &error), 0, "%s", error.text);
	struct status_interface_drops figures = interface_drops_read(&drops);
	cr_expect_eq(figures.tx, 0);
	cr_expect_eq(figures.rx, 0);
	run("ip link delete link0");
	figures = interface_drops_read(&drops);
	cr_expect_eq(figures.tx, 0, "the last answer stays");
	interface_drops_close(&drops);

	cr_assert_eq(interface_drops_open(&drops, 4711, &error), 0, "%s", error.text);
	figures = interface_drops_read(&drops);
	cr_expect_eq(figures.tx, -1, "no such link");
	cr_expect_eq(figures.rx, -1, "no such link");
	interface_drops_close(&drops);
}
