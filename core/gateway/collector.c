// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/collector.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/base/clock.h"

enum { COLLECTOR_PAUSE_NS = NS_PER_MS }; /* between batches: 256,000 sessions a second */

int collector_open(struct collector *collector, struct registry *registry, struct error *error)
{
	*collector = (struct collector){.registry = registry,
					.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
	return collector->timer_fd >= 0 ? 0 : error_set(error, -errno, "timerfd: %s", strerror(errno));
}

void collector_close(struct collector *collector)
{
	close(collector->timer_fd);
}

void collector_step(struct collector *collector)
{
	bool more = registry_collect(collector->registry) == REGISTRY_COLLECT_MAX;
	/* Setting the time also takes back that the descriptor is readable. */
	struct itimerspec next = {.it_value.tv_nsec = more ? COLLECTOR_PAUSE_NS : 0};
	(void)timerfd_settime(collector->timer_fd, 0, &next, NULL);
}
