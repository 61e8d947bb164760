// SPDX-License-Identifier: Apache-2.0
/* One name asked of given name servers past the tunnel (c-ares): libc asks the servers of /etc/resolv.conf, which are
 * the VPN's while it is connected, and by ways that lead into the tunnel.
 *
 * Marking a socket takes CAP_NET_ADMIN, which a thread that parses untrusted answers should not have. So the control
 * thread opens and marks the sockets, and the look-up's thread uses them. */
#pragma once

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/ip.h"

enum { OUTSIDE_SERVERS_MAX = 4 };

struct outside_servers {
	struct ip_address list[OUTSIDE_SERVERS_MAX];
	size_t count;  /* 0: none are known */
	uint32_t mark; /* of packets that go past the tunnel; 0: none */
};

struct outside;

/* For one outside_ask(). NULL with `error` set. Control thread. */
struct outside *outside_open(const struct outside_servers *servers, struct error *error);

/* NULL is allowed. */
void outside_close(struct outside *outside);

/* Asks for addresses of that family (AF_INET, AF_INET6), in /etc/hosts first; `add` gets each. Blocks for seconds at
 * most. 0, or a negative errno with `error` set. Any thread. */
int outside_ask(struct outside *outside, const char *host, int family,
		void (*add)(void *context, const struct sockaddr *address), void *context, struct error *error);
