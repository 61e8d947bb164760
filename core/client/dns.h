// SPDX-License-Identifier: Apache-2.0
/* Sets the machine's name servers by one of three ways: systemd-resolved (resolvectl), resolvconf, or /etc/resolv.conf
 * itself.
 *
 * Programs ask the servers that /etc/resolv.conf names, so that file decides, and not which manager runs. A way is in
 * force when the file names our servers, or leads to a manager that has them. If one way is not in force, the next is
 * tried. Blocks while the tools run, each for a bounded time. Control thread, offline for RCU. */
#pragma once

#include "core/client/dns_file.h"
#include "core/host/resolver_outside.h"

enum dns_way {
	DNS_RESOLVED,
	DNS_RESOLVCONF,
	DNS_FILE,
	DNS_WAYS,
};

#define DNS_BIT(way) (1u << (way))

/* "resolvectl", "resolvconf", "/etc/resolv.conf". */
const char *dns_way_text(enum dns_way way);

/* `write_ahead` stores `ways` in the journal before a way is used and after one is undone. When it fails, the way is
 * not used. */
struct dns_state {
	unsigned ways;	 /* by which servers are set; DNS_BIT() */
	unsigned failed; /* ways whose failure was logged */
	int (*write_ahead)(void *context, unsigned ways, struct error *error);
	void *context;
};

/* Sets the servers by the first way that is in force then, and undoes the others. 0, or a negative errno with `error`
 * saying why no way is in force. */
int dns_set(struct dns_state *dns, const struct resolv_conf_wish *wish, struct error *error);

/* Whether programs ask these servers; if not, `error` says which one they ask. `ask`: also query systemd-resolved,
 * which runs a program. */
bool dns_in_force(unsigned ways, const struct resolv_conf_wish *wish, bool ask, struct error *error);

/* Undoes one way. It is no error when there is nothing to undo. */
int dns_restore(enum dns_way way, const char *interface, struct error *error);

/* The name servers that this machine would have without ours. Those on a loopback address come last: what listens there
 * may send its own queries through the tunnel. */
void dns_former(unsigned ways, const struct resolv_conf_wish *wish, struct outside_servers *servers);
