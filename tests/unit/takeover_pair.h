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
static const struct takeover_party party = {.layout = layout, .device = 1, .inode = 2};
#define WATCHDOG (30 * NS_PER_S)

static inline void sockets(int pair[2])
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static inline void pause_ms(unsigned ms)
{
	const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
	nanosleep(&time, NULL);
}

/* The old one, with these descriptors to give. */
static inline int answer_and_give(int fd, const struct takeover_party *self, const struct descriptor_list *list,
				  struct error *error)
{
	int result = takeover_answer(fd, self, error);
	return result == 0 ? takeover_give(fd, list, WATCHDOG, error) : result;
}

/* A list of so many, all the same descriptor. */
static inline void list_alike(struct descriptor_list *list, size_t count, const char *name, int fd)
{
	*list = (struct descriptor_list){0};
	for (size_t i = 0; i < count; i++)
		cr_assert_eq(descriptor_list_add(list, name, fd), 0);
}
