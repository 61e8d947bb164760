// SPDX-License-Identifier: Apache-2.0
/* For how long a thread polls before it sleeps, where it shares its CPU with others.
 *
 * A packet that comes alone is often answered soon, and a CPU that sleeps takes 50 to 100 us to wake in a virtual
 * machine. Polling costs CPU time, so it is bounded in two ways: by a share of the time in all, and by what it brings.
 * It goes on for as long as it may while it finds something, half as long after each time that it found nothing, and
 * in the end not at all for BUSY_POLL_PAUSE_NS. KVM's halt_poll_ns grows and shrinks alike (Linux,
 * virt/kvm/halt-polling).
 *
 * A thread that polls yields between two looks: what it waits for may need the same CPU. Where that has other work,
 * this delays what it is meant to speed up. The kernel gives the CPU back when the other's time slice is over, which it
 * sees at a tick of its clock, up to 4 ms later, while a packet that wakes a sleeping thread with a shorter slice has
 * it run at once. So after a yield that took BUSY_POLL_HELD_UP_NS the thread sleeps without either for a while, which
 * is four times as long when the same happens soon after. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"

#define BUSY_POLL_MOST_NS	(300 * NS_PER_US) /* each time */
#define BUSY_POLL_LEAST_NS	(20 * NS_PER_US)  /* less is not worth it */
#define BUSY_POLL_CREDIT_NS	(2 * NS_PER_MS)	  /* that may be used at once after a pause */
#define BUSY_POLL_PAUSE_NS	NS_PER_S
#define BUSY_POLL_HELD_UP_NS	(300 * NS_PER_US) /* a yield to a thread that hardly needs the CPU takes less */
#define BUSY_POLL_DEFER_NS	(50 * NS_PER_MS)  /* the first time */
#define BUSY_POLL_DEFER_MOST_NS (16 * NS_PER_S)
enum { BUSY_POLL_SHARE = 16 /* one part in so many of the time */ };

/* Zeroed at first. The thread's own. */
struct busy_poll {
	uint64_t length;  /* ns, the next time; 0: it pauses */
	uint64_t resumes; /* when a pause ends, monotonic ns */
	uint64_t credit;  /* ns that may be polled */
	uint64_t counted; /* up to when `credit` is right, monotonic ns */
	uint64_t defer;	  /* ns, for how long it leaves the CPU to others, or did the last time */
	uint64_t until;	  /* when that ends, monotonic ns */
};

/* For how long to poll from `now` on, ns; 0: not at all. */
uint64_t busy_poll_begin(struct busy_poll *poll, uint64_t now);

/* It polled from `began` to `now`, and found something or not. */
void busy_poll_end(struct busy_poll *poll, uint64_t began, uint64_t now, bool found);

/* A yield took BUSY_POLL_HELD_UP_NS or more, and ended `now`: another thread needs the CPU, or in a virtual machine
 * another guest. */
void busy_poll_held_up(struct busy_poll *poll, uint64_t now);

/* Whether the thread should neither yield nor poll before it sleeps, since others need the CPU. */
static inline bool busy_poll_defers(const struct busy_poll *poll, uint64_t now)
{
	return now < poll->until;
}
