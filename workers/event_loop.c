// SPDX-License-Identifier: Apache-2.0
#include "workers/event_loop.h"

#include <poll.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/base/hot.h"
#include "core/base/rcu.h"

int event_loop_init(struct event_loop *loop, uint32_t stage_sampling, uint64_t ticks_per_second)
{
	loop->waker.fd = -1;
	stage_recorder_init(&loop->stages, stage_sampling, ticks_per_second);
	owner_follow(&loop->stats.owner, &loop->owner);
	owner_follow(&loop->stages.owner, &loop->owner);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return -errno;
	int result = waker_init(&loop->waker);
	return result != 0 ? result : event_loop_watch(loop, loop->waker.fd, EVENT_LOOP_WAKER, EPOLLIN);
}

void event_loop_deinit(struct event_loop *loop)
{
	waker_deinit(&loop->waker);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	loop->epoll_fd = -1;
}

static int control(struct event_loop *loop, int operation, int fd, uint32_t source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u32 = source};
	return epoll_ctl(loop->epoll_fd, operation, fd, &event) == 0 ? 0 : -errno;
}

int event_loop_watch(struct event_loop *loop, int fd, enum event_loop_source source, uint32_t events)
{
	return control(loop, EPOLL_CTL_ADD, fd, source, events);
}

int event_loop_watch_socket(struct event_loop *loop, struct udp_socket *socket, enum event_loop_source source)
{
	const struct udp_socket *member;
	int result = 0;
	for (size_t i = 0; result == 0 && (member = udp_member(socket, i)) != NULL; i++)
		result = event_loop_watch(loop, member->fd, source, EPOLLIN);
	return result;
}

void event_loop_change(struct event_loop *loop, int fd, enum event_loop_source source, uint32_t events)
{
	(void)control(loop, EPOLL_CTL_MOD, fd, source, events);
}

void event_loop_unwatch(struct event_loop *loop, int fd)
{
	(void)control(loop, EPOLL_CTL_DEL, fd, 0, 0);
}

static int wait_for_events(const struct event_loop *loop, struct epoll_event *events, int most, uint64_t timeout)
{
	bool forever = timeout == EVENT_LOOP_FOREVER;
	struct timespec limit = {.tv_sec = (time_t)(timeout / NS_PER_S), .tv_nsec = (long)(timeout % NS_PER_S)};
	int ready = epoll_pwait2(loop->epoll_fd, events, most, forever ? NULL : &limit, NULL);
	if (ready < 0 && errno == ENOSYS) /* before Linux 5.11 */
		ready = epoll_wait(loop->epoll_fd, events, most,
				   forever ? -1 : (int)((timeout + NS_PER_MS - 1) / NS_PER_MS));
	return ready;
}

HOT void event_loop_wait(struct event_loop *loop, uint64_t timeout)
{
	struct epoll_event events[EVENT_LOOP_EVENTS];
	rcu_offline();
	int ready = wait_for_events(loop, events, EVENT_LOOP_EVENTS, timeout);
	rcu_online();
	loop->found = 0;
	for (int i = 0; i < ready; i++)
		loop->found |= events[i].data.u32;
	loop->fresh = ready > 0 && ready < EVENT_LOOP_EVENTS;
	waker_done(&loop->waker, event_loop_found(loop, EVENT_LOOP_WAKER));
}

void event_loop_nap(struct event_loop *loop, uint64_t time)
{
	struct timespec left = {.tv_sec = (time_t)(time / NS_PER_S), .tv_nsec = (long)(time % NS_PER_S)};
	rcu_offline();
	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &left, NULL);
	rcu_online();
	event_loop_wait(loop, 0);
}

static uint32_t order_of(const struct event_loop *loop)
{
	return atomic_load_explicit(&loop->order, memory_order_acquire);
}

/* Until there is another order. Not by the epoll set: what arrives meanwhile would end each wait. */
static void stand_still(struct event_loop *loop, uint32_t order)
{
	struct pollfd woken = {.fd = loop->waker.fd, .events = POLLIN};
	owner_clear(&loop->owner);
	rcu_offline();
	atomic_store_explicit(&loop->frozen, order, memory_order_release);
	while (order_of(loop) == order) {
		event_loop_prepare_wait(loop);
		bool same = order_of(loop) == order;
		waker_done(&loop->waker, same && poll(&woken, 1, -1) > 0);
	}
	atomic_store_explicit(&loop->frozen, 0, memory_order_relaxed);
	rcu_online();
	owner_set(&loop->owner);
}

bool event_loop_rest(struct event_loop *loop)
{
	uint32_t order = EVENT_LOOP_STOP;
	while (event_loop_failure(loop) == 0 && (order = order_of(loop)) >= EVENT_LOOP_FREEZE)
		stand_still(loop, order);
	return order == EVENT_LOOP_RUN;
}
