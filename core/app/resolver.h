// SPDX-License-Identifier: Apache-2.0
/* Name resolution off the control thread: getaddrinfo(3) can block for a long time, and the program must answer and end
 * meanwhile. */
#pragma once

#include <netinet/in.h>
#include <stdint.h>

#include "core/base/error.h"

struct resolver;

enum { RESOLVER_ADDRESSES_MAX = 8 };

struct resolver_result {
	struct sockaddr_in6 addresses[RESOLVER_ADDRESSES_MAX]; /* in the order to try; IPv4 is v4-mapped */
	size_t count;					       /* 0: `failure` says why */
	char failure[128];
};

/* Prepares resolving `host` (a name or a numeric address) and `port` (host order). NULL with `error` set. */
struct resolver *resolver_new(const char *host, uint16_t port, struct error *error);

/* Does not wait for a resolution under way: its thread ends by itself. NULL is allowed. */
void resolver_free(struct resolver *resolver);

/* Starts resolving unless that is under way. 0, or a negative errno: no thread could be made, and nothing will come. */
int resolver_start(struct resolver *resolver);

/* Readable when a result waits. */
int resolver_fd(const struct resolver *resolver);

/* The newest result; the caller frees it with free(3). NULL: there is none, or memory was short. */
struct resolver_result *resolver_take(struct resolver *resolver);
