// SPDX-License-Identifier: Apache-2.0
/* A busy tunnel: a gateway and its clients on threads of their own, and threads that put packets into every TUN, small
 * ones and super-packets, TCP and UDP, and take out what comes. */
#pragma once

#include "tests/harness/harness.h"

struct feed;

struct feed_options {
	unsigned workers; /* of the gateway, and as many clients; at most FEED_CLIENTS */
	bool reader;	  /* the gateway has a TUN reader */
	/* Called by each thread of gateway and clients before it runs, with the number of the worker among all workers
	 * or -1 for a TUN reader; and after it ended. */
	void (*begins)(int worker);
	void (*ended)(void);
	void (*made)(struct tun_reader *reader); /* before any thread runs; NULL: nothing to do */
};

enum { FEED_CLIENTS = 2 };

/* Connects the clients and starts everything. NULL: they did not come up. */
struct feed *feed_start(const struct feed_options *options);

/* Waits until each worker delivered so many packets more; false after 60 s. */
bool feed_wait(struct feed *feed, uint64_t packets);

/* What the one that delivered least has delivered. */
uint64_t feed_moved(struct feed *feed);

/* Stops everything and frees it. */
void feed_stop(struct feed *feed);
