// SPDX-License-Identifier: Apache-2.0
/* With Forward = yes: whether somebody else's firewall drops what the gateway forwards, and whose. The rulesets of the
 * machine tell before there is a packet (forward_judge.h), and counters in the gateway's own table tell for certain
 * (forward_evidence.h). What an accept of ours cannot mend is said in one line with what to do, in status and in
 * metrics. Control thread; what others read has a mutex. */
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
	struct forward_suspect suspect; /* in whose chain it ends, as the rules are */
	bool suspected;
	bool blocked; /* as last said */
};

struct gateway_forward {
	const struct gateway_config *config;
	struct nftables *nftables;
	const char *table; /* ours */
	unsigned ifindex;
	struct gateway_forward_path paths[FORWARD_WAYS][FORWARD_FAMILIES];
	pthread_mutex_t mutex;
	struct report_forward shown;
};

/* All borrowed. A forward that is all zero watches nothing. */
void gateway_forward_init(struct gateway_forward *forward, const struct gateway_config *config,
			  struct nftables *nftables, const char *table, unsigned ifindex);

/* The commands that make the counters, for the table's other ones (tun/nftables.h). */
void gateway_forward_write(FILE *out, const char *table, unsigned ifindex);

/* Reads the counters, and the machine's rules if they `changed`; says what is new. Now and then; takes some
 * milliseconds. */
void gateway_forward_look(struct gateway_forward *forward, bool changed);

/* Any thread. */
void gateway_forward_show(struct gateway_forward *forward, struct report_forward *shown);
