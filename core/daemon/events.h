// SPDX-License-Identifier: Apache-2.0
/* Logs the events that the threads raise about sessions (workers/event.h): one line of key=value pairs each,
 *
 *   event=connect session=0a1b2c3d peer=KEY endpoint=192.0.2.2:5000 addresses=10.8.0.2,fd00:8::2 suite=AES-256-GCM
 * mtu=1420 event=disconnect session=0a1b2c3d peer=KEY endpoint=192.0.2.2:5000 reason="going away" duration=12.345
 * rx_packets=… event=roam session=0a1b2c3d peer=KEY endpoint=192.0.2.3:5000 previous=192.0.2.2:5000 event=refused
 * peer=KEY endpoint=192.0.2.9:5000 reason=unknown_peer event=suppressed kind=refused count=1000
 *
 * and where standard error is systemd's journal, as fields too: SHARDTUN_EVENT, SHARDTUN_SESSION, …. Control thread
 * only. */
#pragma once

#include "core/base/error.h"
#include "core/daemon/reconcile.h"
#include "workers/event.h"

struct events {
	struct event_queue queue;
	bool hide_addresses;		       /* of clients */
	uint64_t suppressed[EVENT_KIND_COUNT]; /* as last logged */
	uint64_t next_suppressed;	       /* when to log it next, monotonic ns */
};

enum { EVENT_LINE_MAX = 768 };

/* From here on events have fields where standard error is the journal. Before the log has its thread. */
void events_use_journal(void);

/* Before any thread that raises events exists; its sources get `queue`. */
int events_open(struct events *events, bool hide_addresses, struct error *error);

/* Logs what came so far; when the queue's waker is readable, and at the end. */
void events_write(struct events *events);

/* Logs how many of each kind were left out since the last time, every ten seconds at most, or at once. `sums` are those
 * of all threads. */
void events_write_suppressed(struct events *events, const uint64_t sums[EVENT_KIND_COUNT], uint64_t now, bool at_once);

/* The threads ended. */
void events_close(struct events *events);

/* The line of one event. */
const char *events_format(const struct event *event, bool hide_addresses, char line[EVENT_LINE_MAX]);

/* What was put back of what this end set up on the machine, or is found not to be in force:
 *
 *   event=restored what=route count=2 first="route 10.77.0.0/24"
 *   event=not_in_force what=nftables first=… reason=… retry=8
 *   event=in_force what=nftables
 */
void events_tell_kept(const struct reconcile_news *news);
const char *events_format_kept(const struct reconcile_news *news, char line[EVENT_LINE_MAX]);
