// SPDX-License-Identifier: Apache-2.0
/* The two ends of a take-over. */
#pragma once

#include <criterion/criterion.h>
#include <sys/socket.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/handover/takeover.h"

enum {
	LATE_MS = 200,
	PATIENCE_MS = 60000,
};

static const char layout[] = "workers 4\nport 5555\n";
static const struct takeover_party party = {.layout = layout, .device = 1, .inode = 2, .watchdog = 30 * NS_PER_S};

static inline void sockets(int pair[2])
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static inline void pause_ms(unsigned ms)
{
	const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
	nanosleep(&time, NULL);
}
