// SPDX-License-Identifier: Apache-2.0
/* The machine's name servers while the client is connected, by whoever manages them here: systemd-resolved
 * (resolvectl), resolvconf, or, when there is neither, /etc/resolv.conf itself. Blocks while tools run, each for
 * bounded time. Control thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"
#include "core/base/ip.h"

/* Its value is kept in the state file; RESOLVED first: it forgets with the interface. */
enum client_dns_way {
	CLIENT_DNS_NONE,
	CLIENT_DNS_RESOLVED,
	CLIENT_DNS_RESOLVCONF,
	CLIENT_DNS_FILE,
};

/* "resolvectl", "resolvconf", "/etc/resolv.conf"; NULL for NONE. */
const char *client_dns_way_text(enum client_dns_way way);

struct client_dns_wish {
	const char *interface;
	const struct ip_address *servers;
	size_t count;
	bool everything; /* they are asked for all names; else besides the ones there are */
};

/* The way that is tried first here: what has to be written down before client_dns_set(). */
enum client_dns_way client_dns_choose(void);

/* Sets the servers by `way`, in the place of what was set before by it. On failure nothing is changed. */
int client_dns_set(enum client_dns_way way, const struct client_dns_wish *wish, struct error *error);

/* Undoes it; no error when there is nothing to undo. */
int client_dns_restore(enum client_dns_way way, const char *interface, struct error *error);
