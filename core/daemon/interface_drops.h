// SPDX-License-Identifier: Apache-2.0
/* What the kernel dropped at the TUN's interface. No thread of the data path sees these packets: the queue that the
 * kernel fills was full before they could be read, or the network stack refused them after they were written. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "perf/export/status.h"
#include "tun/netlink_state.h"

/* A counter of the kernel's, from the first look at it on. When it goes back, because the interface was made anew, it
 * counts from 0 again: the sum never falls. */
struct followed_counter {
	bool seen;
	uint64_t last, sum;
};

void followed_counter_look(struct followed_counter *counter, uint64_t now);

struct interface_drops {
	pthread_mutex_t mutex; /* the socket and the counters are the control thread's and the metrics thread's */
	struct netlink *netlink;
	unsigned ifindex;
	struct followed_counter tx, rx;
};

/* What was dropped before does not count. Start-up: the metrics thread may use a socket, but not open one. */
int interface_drops_open(struct interface_drops *drops, unsigned ifindex, struct error *error);
void interface_drops_close(struct interface_drops *drops);

/* Asks the kernel. While it does not answer, the figures are those of the last answer; unknown before the first one.
 * Any thread. */
struct status_interface_drops interface_drops_read(struct interface_drops *drops);
