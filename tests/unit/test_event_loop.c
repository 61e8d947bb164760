// SPDX-License-Identifier: Apache-2.0
/* What ends a wait of an event loop, and what ends the loop. */
#include "workers/event_loop.h"

#include <criterion/criterion.h>
#include <sys/resource.h>

#include "core/base/clock.h"
#include "core/base/rcu.h"

#define LONG_NS	 (600 * NS_PER_S) /* longer than the test may take */
#define SHORT_NS (2 * NS_PER_MS)

static struct event_loop loop;
static int pipe_ends[2];

static void open_loop(void)
{
	rcu_join();
	cr_assert_eq(event_loop_init(&loop, 0, NS_PER_S), 0);
	cr_assert_eq(pipe(pipe_ends), 0);
}

static void close_loop(void)
{
	event_loop_deinit(&loop);
	close(pipe_ends[0]);
	close(pipe_ends[1]);
	rcu_leave();
}

static uint64_t waited(uint64_t timeout)
{
	uint64_t before = clock_monotonic(&clock_system);
	event_loop_prepare_wait(&loop);
	cr_assert(event_loop_asleep(&loop));
	event_loop_wait(&loop, timeout);
	cr_assert_not(event_loop_asleep(&loop));
	return clock_monotonic(&clock_system) - before;
}

TestSuite(event_loop, .init = open_loop, .fini = close_loop);

Test(event_loop, a_wait_ends_when_its_time_is_up)
{
	cr_assert_geq(waited(SHORT_NS), SHORT_NS);
	cr_assert(event_loop_running(&loop));
}

Test(event_loop, a_wake_between_prepare_and_wait_is_not_lost)
{
	event_loop_prepare_wait(&loop);
	cr_assert(waker_wake(&loop.waker));
	cr_assert_not(waker_wake(&loop.waker), "one for each sleep");
	event_loop_wait(&loop, EVENT_LOOP_FOREVER);
	cr_assert_geq(waited(SHORT_NS), SHORT_NS, "and it ends only one wait");
}

Test(event_loop, a_cancelled_wait_is_not_woken)
{
	event_loop_prepare_wait(&loop);
	event_loop_cancel_wait(&loop);
	cr_assert_not(event_loop_asleep(&loop));
	cr_assert_not(waker_wake(&loop.waker));
}

Test(event_loop, a_watched_descriptor_ends_a_wait_until_it_is_changed_or_taken_out)
{
	cr_assert_eq(event_loop_watch(&loop, pipe_ends[0], EVENT_LOOP_TUN, EPOLLIN), 0);
	cr_assert_eq(event_loop_watch(&loop, pipe_ends[0], EVENT_LOOP_TUN, EPOLLIN), -EEXIST);
	cr_assert_eq(write(pipe_ends[1], "", 1), 1);
	cr_assert_lt(waited(LONG_NS), LONG_NS);
	event_loop_change(&loop, pipe_ends[0], EVENT_LOOP_TUN, 0);
	cr_assert_geq(waited(SHORT_NS), SHORT_NS);
	event_loop_change(&loop, pipe_ends[0], EVENT_LOOP_TUN, EPOLLIN);
	cr_assert_lt(waited(LONG_NS), LONG_NS);
	event_loop_unwatch(&loop, pipe_ends[0]);
	cr_assert_geq(waited(SHORT_NS), SHORT_NS);
}

Test(event_loop, after_a_wait_there_is_only_what_it_found)
{
	cr_assert_eq(event_loop_watch(&loop, pipe_ends[0], EVENT_LOOP_TUN, EPOLLIN), 0);
	cr_expect(event_loop_may_read(&loop, EVENT_LOOP_UDP), "no wait has said anything yet");
	cr_assert_eq(write(pipe_ends[1], "", 1), 1);
	(void)waited(LONG_NS);
	cr_expect(event_loop_found(&loop, EVENT_LOOP_TUN));
	cr_expect(event_loop_may_read(&loop, EVENT_LOOP_TUN | EVENT_LOOP_UDP));
	cr_expect_not(event_loop_may_read(&loop, EVENT_LOOP_UDP));
	event_loop_end_turn(&loop);
	cr_expect(event_loop_may_read(&loop, EVENT_LOOP_UDP), "in the next turn something may be there");
}

Test(event_loop, a_wait_that_found_nothing_says_nothing)
{
	(void)waited(SHORT_NS);
	cr_expect(event_loop_may_read(&loop, EVENT_LOOP_UDP));
	event_loop_prepare_wait(&loop);
	event_loop_cancel_wait(&loop);
	cr_expect(event_loop_may_read(&loop, EVENT_LOOP_UDP));
}

Test(event_loop, a_wait_that_may_have_left_some_says_nothing)
{
	int ends[EVENT_LOOP_EVENTS][2];
	for (size_t i = 0; i < EVENT_LOOP_EVENTS; i++) {
		cr_assert_eq(pipe(ends[i]), 0);
		cr_assert_eq(event_loop_watch(&loop, ends[i][0], EVENT_LOOP_TUN, EPOLLIN), 0);
		cr_assert_eq(write(ends[i][1], "", 1), 1);
	}
	(void)waited(LONG_NS);
	cr_expect(event_loop_may_read(&loop, EVENT_LOOP_UDP));
	for (size_t i = 0; i < EVENT_LOOP_EVENTS; i++) {
		close(ends[i][0]);
		close(ends[i][1]);
	}
}

Test(event_loop, stop_ends_it_asleep_or_not)
{
	event_loop_prepare_wait(&loop);
	event_loop_stop(&loop);
	event_loop_wait(&loop, EVENT_LOOP_FOREVER);
	cr_assert(event_loop_stopped(&loop));
	cr_assert_not(event_loop_running(&loop));
	cr_assert_eq(event_loop_failure(&loop), 0);
}

Test(event_loop, failure_ends_it_and_is_kept)
{
	event_loop_fail(&loop, -EBADFD);
	cr_assert_not(event_loop_running(&loop));
	cr_assert_not(event_loop_stopped(&loop));
	cr_assert_eq(event_loop_failure(&loop), -EBADFD);
}

Test(event_loop, without_descriptors_left_it_cannot_be_made)
{
	struct rlimit limit, none;
	struct event_loop other = {.epoll_fd = -1};
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 0;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	int result = event_loop_init(&other, 0, NS_PER_S);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(result, -EMFILE);
	event_loop_deinit(&other);
}
