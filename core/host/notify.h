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
#include <sys/types.h>

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

/* The watchdog's interval, ns, of the main process before, whose place this one takes: the manager tells only a process
 * that it starts as that. */
void notify_adopt_watchdog(struct notify *notify, uint64_t watchdog);

/* From now on another process is the unit's main one. As notify_store(). */
int notify_main_process(const struct notify *notify, pid_t process);

/* The manager's store of descriptors (FileDescriptorStoreMax=): it keeps a copy of `fd` under that name ([a-z0-9.-])
 * when this process ends, and hands it to the next one; or gives up all that it has under that name. FDPOLL=0: it does
 * not drop one that reports an error. Whether it has such a store it does not say. Waits for room in the manager's
 * queue, for NOTIFY_STORE_MS at most. 0, or a negative errno; -ENOTCONN without a manager. */
enum { NOTIFY_STORE_MS = 5000 };
int notify_store(const struct notify *notify, const char *name, int fd);
int notify_unstore(const struct notify *notify, const char *name);

/* Returns when the manager has taken all messages before: 0, or -ETIMEDOUT after NOTIFY_STORE_MS, or another negative
 * errno (systemd 246 is the first that can). */
int notify_barrier(const struct notify *notify);

/* Whether the next watchdog message is due; the second function sends it. The manager kills a process that does not
 * send one in time. */
bool notify_watchdog_due(const struct notify *notify, uint64_t now);
void notify_watchdog(struct notify *notify, uint64_t now);
