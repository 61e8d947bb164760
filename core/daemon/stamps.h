// SPDX-License-Identifier: Apache-2.0
/* When the kernel stamps what the sockets receive, from which the stage socket_wait comes.
 *
 * While any socket of the machine has stamps, the kernel reads the clock for each packet that arrives there, for any
 * program, and that costs some of the throughput: 3 to 6 % of the CPU time of TCP through a tunnel. So there are stamps
 * for a small part of each second only. Control thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "workers/udp.h"

enum { STAMPS_MS = 25 /* of each second */ };

struct stamps {
	struct udp_socket **sockets; /* the caller's */
	size_t count;
	int timer_fd; /* readable when the time of this second is over: stamps_end() */
	bool wanted;
};

/* 0 or a negative errno with `error`. */
int stamps_open(struct stamps *stamps, struct udp_socket **sockets, size_t count, struct error *error);
void stamps_close(struct stamps *stamps);

/* From now on there are stamps at times, or never. A socket whose kernel refuses them has none. */
void stamps_want(struct stamps *stamps, bool wanted);

/* Once a second. */
void stamps_second(struct stamps *stamps);

void stamps_end(struct stamps *stamps);
