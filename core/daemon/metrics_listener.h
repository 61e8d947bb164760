// SPDX-License-Identifier: Apache-2.0
/* The listening socket of the metrics server, by TCP or at a path: the option MetricsListen. Control thread. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

#include "config/config.h"
#include "core/base/error.h"

struct metrics_listener {
	int fd;			 /* -1: off, or closed */
	struct sockaddr_un path; /* sun_path[0] is 0: none */
	dev_t device;		 /* of the socket file, to know it again */
	ino_t inode;		 /* 0: there is none */
	bool private;		 /* by TCP, from this machine alone */
};

/* Listens, with whatever privileges that takes; requests wait until the server starts. On failure, with `error` set,
 * nothing is left behind. */
int metrics_listener_open(struct metrics_listener *listener, const struct config_listener *config, struct error *error);

/* The same with a socket that listens already, and its file, if it has one. The descriptor is the listener's; on
 * failure it is closed: -EPROTO, it is another one. */
int metrics_listener_adopt(struct metrics_listener *listener, const struct config_listener *config, int fd,
			   struct error *error);

/* Whether `fd` listens as the option says. -EPROTO with `error` saying what is wrong. */
int metrics_listener_check(const struct config_listener *config, int fd, struct error *error);

/* Gives the socket's file, if there is one, to the user that the daemon changes to, so that it can be removed at the
 * end. While still root. 0, or a negative errno with `error`. */
int metrics_listener_give(const struct metrics_listener *listener, uid_t user, gid_t group, struct error *error);

/* From now on closing leaves the file: another process goes on listening. */
void metrics_listener_leave(struct metrics_listener *listener);

/* Removes the file, if it is still ours. Again is allowed. */
void metrics_listener_close(struct metrics_listener *listener);
