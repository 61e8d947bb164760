// SPDX-License-Identifier: Apache-2.0
/* With Forward = yes: detects whether another program's firewall drops what the gateway forwards, and which one. The
 * machine's rulesets give a suspicion before the first packet (forward_judge.h), counters in the gateway's own table a
 * certainty (forward_evidence.h). No accept rule of ours can override such a drop, so it is logged in one line with the
 * commands that help, and shown in status and metrics. Control thread; what other threads read has a mutex. */
#pragma once

#include <pthread.h>
#include <stdio.h>

#include "config/config.h"
#include "core/gateway/forward_evidence.h"
#include "core/gateway/forward_judge.h"
#include "perf/export/status.h"
#include "tun/nftables.h"

enum { FORWARD_WAYS = 2 /* from clients, and the answers */, FORWARD_FAMILIES = 2 };

struct gateway_forward_path {
	struct forward_evidence evidence;
	struct forward_suspect suspect; /* the chain that drops it, as the rules are */
	bool suspected;
	bool blocked; /* as last logged */
};

struct gateway_forward {
	const struct gateway_config *config;
	struct nftables *nftables;
	const char *table; /* ours */
	unsigned ifindex;
	json_t *answers; /* of a look that is not complete, by command; NULL: there is none */
	bool waits;	 /* for the next answer */
	bool judges;	 /* this look has the machine's rules, too */
	bool unjudged;	 /* they have changed since: for the next look */
	struct gateway_forward_path paths[FORWARD_WAYS][FORWARD_FAMILIES];
	pthread_mutex_t mutex;
	struct status_forward shown;
};

/* All borrowed. A forward that is all zero watches nothing. */
void gateway_forward_init(struct gateway_forward *forward, const struct gateway_config *config,
			  struct nftables *nftables, const char *table, unsigned ifindex);

/* The commands that make the counters, for the table's other ones (tun/nftables.h). */
void gateway_forward_write(FILE *out, const char *table, unsigned ifindex);

/* Frees what is left of a look. Also of one that is all zero. */
void gateway_forward_deinit(struct gateway_forward *forward);

/* Reads the counters, and the machine's rules if they `changed`; logs what is new. Every few seconds; takes
 * some milliseconds. With nftables_do_not_wait() it may take several calls, which go on where the last one had to stop.
 */
void gateway_forward_look(struct gateway_forward *forward, bool changed);

/* Any thread. */
void gateway_forward_show(struct gateway_forward *forward, struct status_forward *shown);

/* An answer came that was not waited for: goes on with a look that is not complete. */
void gateway_forward_answered(struct gateway_forward *forward);
