// SPDX-License-Identifier: Apache-2.0
/* The listening socket of the control socket (core/control/control.h), or of another one like it, and its file. Control
 * thread. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

#include "core/base/error.h"

/* Where sockets are unless the configuration has them elsewhere. */
#define CONTROL_DIRECTORY "/run/shardtun"

/* What a listening socket is for: its file's mode, and words of messages. */
struct control_socket_kind {
	const char *name;      /* as messages begin */
	const char *elsewhere; /* how to have it in another place */
	const char *left;      /* what to do when it cannot be removed */
	mode_t mode;
	int type; /* of the socket; 0: SOCK_STREAM */
};

/* That of core/control/control.h. */
extern const struct control_socket_kind control_socket_kind;

struct control_listener {
	int fd; /* -1: closed */
	const struct control_socket_kind *kind;
	struct sockaddr_un address;
	dev_t device; /* of the socket file, to know it again */
	ino_t inode;  /* 0: there is none yet */
	bool made_directory;
};

/* Listens at the path; its directory is made (0755) when missing. The socket of a daemon that ended is replaced; one
 * that still answers is -EADDRINUSE, anything that is no socket -EEXIST. A negative errno with `error` set, and nothing
 * left behind, on failure. Start-up only. */
int control_listener_open_as(struct control_listener *listener, const struct control_socket_kind *kind,
			     const char *path, struct error *error);

/* The same with a socket that listens at the path already, and whose file is there. The descriptor is the listener's;
 * on failure it is closed, and the file stays: -EPROTO, it is another one. Start-up. */
int control_listener_adopt(struct control_listener *listener, const struct control_socket_kind *kind, const char *path,
			   int fd, struct error *error);

/* Whether `fd` is a stream socket that listens at the path. -EPROTO with `error` saying what is wrong. */
int control_listener_check(int fd, const char *path, struct error *error);

/* The same for the control socket. */
int control_listener_open(struct control_listener *listener, const char *path, struct error *error);

/* Gives the socket to the user that the daemon changes to, so that it can be removed at the end: its group may write to
 * the directory, if that is CONTROL_DIRECTORY or was made here. While still root. 0, or a negative errno with `error`.
 */
int control_listener_give(const struct control_listener *listener, uid_t user, gid_t group, struct error *error);

/* After the change of user: warns when the socket cannot be removed at the end all the same, because its directory
 * belongs to another user. */
void control_listener_check_removable(const struct control_listener *listener);

/* From now on closing leaves the file: another process goes on listening. */
void control_listener_leave(struct control_listener *listener);

/* Removes the file, if it is still ours. Again is allowed. */
void control_listener_close(struct control_listener *listener);

/* Removes the socket that a daemon left at `path` when it was killed. Errors as of control_listener_open(); that there
 * is none is no error. */
int control_remove_stale(const char *path, struct error *error);

/* Makes the directory of the socket at `path` (0755) when it is missing. */
int control_make_directory(const char *path, struct error *error);
