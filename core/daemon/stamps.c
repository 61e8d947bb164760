// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/stamps.h"

#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/base/clock.h"

static void set_all(struct stamps *stamps, bool on)
{
	for (size_t i = 0; i < stamps->count; i++)
		(void)udp_stamp(stamps->sockets[i], on);
}

/* 0 stops it. */
static void set_timer(const struct stamps *stamps, long ms)
{
	const struct itimerspec once = {.it_value = {.tv_nsec = ms * (long)NS_PER_MS}};
	(void)timerfd_settime(stamps->timer_fd, 0, &once, NULL);
}

int stamps_open(struct stamps *stamps, struct udp_socket **sockets, size_t count, struct error *error)
{
	*stamps = (struct stamps){.sockets = sockets,
				  .count = count,
				  .timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
	return stamps->timer_fd >= 0 ? 0 : error_set(error, -errno, "stamps: timerfd: %s", strerror(errno));
}

void stamps_close(struct stamps *stamps)
{
	close(stamps->timer_fd);
}

void stamps_want(struct stamps *stamps, bool wanted)
{
	stamps->wanted = wanted;
	set_timer(stamps, 0);
	set_all(stamps, false);
}

void stamps_second(struct stamps *stamps)
{
	if (!stamps->wanted)
		return;
	set_all(stamps, true);
	set_timer(stamps, STAMPS_MS);
}

void stamps_end(struct stamps *stamps)
{
	uint64_t count;
	if (read(stamps->timer_fd, &count, sizeof count) == sizeof count)
		set_all(stamps, false);
}
