// SPDX-License-Identifier: Apache-2.0
/* What the service manager is told: sd_notify(3), the protocol of Type=notify and WatchdogSec=. Without one
 * (NOTIFY_SOCKET is not set) all of this does nothing.
 *
 * The protocol is a datagram with a few words, documented as stable, so it is spoken here: the socket is made once,
 * before the filter of system calls, and nobody whom we start inherits the name of it; sd_notify(3) would
 * need the name for every message. Control thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/bytes.h"

enum { NOTIFY_STATUS_MAX = 160 };

struct notify {
	int fd;		   /* -1: nobody is there to be told */
	uint64_t watchdog; /* ns within which a sign of life is expected; 0: none is */
	uint64_t alive;	   /* monotonic ns, of the last sign of life */
	char status[NOTIFY_STATUS_MAX];
};

/* Takes what the manager set out of the environment, for nobody whom we start is to answer for us. Never an error: a
 * socket that does not work is told in a line, and the program runs all the same. */
void notify_open(struct notify *notify);
void notify_close(struct notify *notify);

void notify_ready(struct notify *notify);
void notify_reloading(struct notify *notify); /* until notify_ready() */
void notify_stopping(struct notify *notify);

/* One line for people; the same again is not sent again. */
void notify_status(struct notify *notify, const char *format, ...) PRINTF_LIKE(2, 3);

/* Whether it is time for a sign of life. Who does not give it is killed a little later. */
bool notify_watchdog_due(const struct notify *notify, uint64_t now);
void notify_watchdog(struct notify *notify, uint64_t now);
