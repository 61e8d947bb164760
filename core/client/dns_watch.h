// SPDX-License-Identifier: Apache-2.0
/* Watches /etc/resolv.conf by inotify: the file, its name, the target of the link, and the target of the link that ours
 * replaced. inotify does not report a mount over the file: the reconciler's slow round finds that. Control thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/error.h"

enum { DNS_WATCH_TARGETS = 2 };

struct dns_watch {
	int fd;				      /* readable when something changed */
	char targets[DNS_WATCH_TARGETS][256]; /* file names of the links' targets */
};

/* 0, or a negative errno with `error` set; then fd is -1. */
int dns_watch_open(struct dns_watch *watch, struct error *error);
void dns_watch_close(struct dns_watch *watch);

/* Watches the targets that the links have now. */
void dns_watch_arm(struct dns_watch *watch);

/* Reads all events. Returns whether one is about these files. */
bool dns_watch_read(struct dns_watch *watch);
