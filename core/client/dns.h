// SPDX-License-Identifier: Apache-2.0
/* The machine's name servers while the client is connected, by whoever manages them here: systemd-resolved
 * (resolvectl), resolvconf, or /etc/resolv.conf itself.
 *
 * Which of them counts is judged by what programs will really ask: where /etc/resolv.conf leads and what it says, not
 * which manager runs. A way is in force when that file names our servers, or leads to the manager that was told of
 * them; if the first way is not, the next one is taken. Blocks while tools run, each for bounded time. Control thread,
 * offline for RCU. */
#pragma once

#include "core/client/dns_file.h"
#include "core/host/resolver_outside.h"

enum client_dns_way {
	CLIENT_DNS_RESOLVED,
	CLIENT_DNS_RESOLVCONF,
	CLIENT_DNS_FILE,
	CLIENT_DNS_WAYS,
};

#define CLIENT_DNS_BIT(way) (1u << (way))

/* "resolvectl", "resolvconf", "/etc/resolv.conf". */
const char *client_dns_way_text(enum client_dns_way way);

/* What is told by which way; bits. `note` is called before a bit is added, to write it down; when it fails nothing is
 * done. */
struct client_dns {
	unsigned told;
	unsigned failed; /* by which it could not be; said once */
	int (*note)(void *context, unsigned told, struct error *error);
	void *context;
};

/* Sets the servers by the first way that is in force then, and takes back the others. 0, or a negative errno with
 * `error` saying why no way is. */
int client_dns_set(struct client_dns *dns, const struct resolv_conf_wish *wish, struct error *error);

/* Whether programs ask the servers, as far as can be seen; else `error` says whom they ask. `ask`: the manager, too,
 * which runs a program. */
bool client_dns_in_force(unsigned told, const struct resolv_conf_wish *wish, bool ask, struct error *error);

/* Undoes one way; no error when there is nothing to undo. */
int client_dns_restore(enum client_dns_way way, const char *interface, struct error *error);

/* The name servers that this machine had before, or would have now without ours; those first that are not on the
 * machine itself, for what listens there may ask through the tunnel. */
void client_dns_former(unsigned told, const struct resolv_conf_wish *wish, struct outside_servers *servers);
