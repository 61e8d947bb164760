// SPDX-License-Identifier: Apache-2.0
/* Messages to the service manager: sd_notify(3), the protocol of Type=notify and WatchdogSec=. Without one
 * (NOTIFY_SOCKET is not set) these functions do nothing.
 *
 * The protocol is a datagram of a few words and documented as stable, so it is implemented here: the socket is opened
 * once, before the system call filter, and child processes do not inherit its name; sd_notify(3) would need the name
 * for every message. Control thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/bytes.h"

enum { NOTIFY_STATUS_MAX = 160 };

struct notify {
	int fd;		   /* -1: no service manager */
	uint64_t watchdog; /* the watchdog's interval, ns; 0: off */
	uint64_t alive;	   /* monotonic ns, of the last watchdog message */
	char status[NOTIFY_STATUS_MAX];
};

/* Removes the manager's variables from the environment, so that child processes do not send messages in this
 * process's name. Never fails: a socket that does not work is logged, and the program runs all the same. */
void notify_open(struct notify *notify);
void notify_close(struct notify *notify);

void notify_ready(struct notify *notify);
void notify_reloading(struct notify *notify); /* until notify_ready() */
void notify_stopping(struct notify *notify);

/* The status line of systemctl; not sent again when unchanged. */
void notify_status(struct notify *notify, const char *format, ...) PRINTF_LIKE(2, 3);

/* Whether the next watchdog message is due; the second function sends it. The manager kills a process that does not
 * send one in time. */
bool notify_watchdog_due(const struct notify *notify, uint64_t now);
void notify_watchdog(struct notify *notify, uint64_t now);
