// SPDX-License-Identifier: Apache-2.0
/* Name resolution outside the control thread, which must stay responsive: getaddrinfo(3) can block for a long time.
 *
 * IPv4 and IPv6 are looked up side by side, each by a thread: a name server that does not answer for one of them does
 * not hold up the other (RFC 8305, 3). */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/host/resolver_outside.h"

struct resolver;

enum { RESOLVER_ADDRESSES_MAX = 8 };

struct resolver_result {
	struct sockaddr_in6 addresses[RESOLVER_ADDRESSES_MAX]; /* in the order to try, families in turn; IPv4 is
								   v4-mapped */
	size_t count;					       /* 0: `failure` says why */
	char failure[128];
};

/* Prepares resolving `host` (a name or a numeric address) and `port` (host order). NULL with `error` set. */
struct resolver *resolver_new(const char *host, uint16_t port, struct error *error);

/* Does not wait for a resolution under way: its threads end by themselves. NULL is allowed. */
void resolver_free(struct resolver *resolver);

/* Starts resolving unless a resolution is under way: by getaddrinfo(), or, if `outside` is not NULL, first by those
 * servers past the tunnel. One result is posted, and perhaps a second one with the addresses that the first one
 * lacked. 0, or a negative errno: no result will be posted. */
int resolver_start(struct resolver *resolver, const struct outside_servers *outside);

/* Readable when a result is available. */
int resolver_fd(const struct resolver *resolver);

/* The newest result; the caller frees it with free(3). NULL: there is none, or memory was short. */
struct resolver_result *resolver_take(struct resolver *resolver);
