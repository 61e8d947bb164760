// SPDX-License-Identifier: Apache-2.0
/* Told by the kernel (inotify) when /etc/resolv.conf changes: the file, its name, what it links to, and what the one
 * before ours links to. A mount over it is not told: that is for the slow round. Control thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/error.h"

enum { CLIENT_DNS_WATCH_TARGETS = 2 };

struct client_dns_watch {
	int fd;					     /* readable when something changed */
	char targets[CLIENT_DNS_WATCH_TARGETS][256]; /* names of the files that links lead to */
};

/* 0, or a negative errno with `error` set; then fd is -1. */
int client_dns_watch_open(struct client_dns_watch *watch, struct error *error);
void client_dns_watch_close(struct client_dns_watch *watch);

/* Follows the links as they lead now. */
void client_dns_watch_arm(struct client_dns_watch *watch);

/* Reads what waits there. Returns whether it is about these files. */
bool client_dns_watch_read(struct client_dns_watch *watch);
