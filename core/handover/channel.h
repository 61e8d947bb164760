// SPDX-License-Identifier: Apache-2.0
/* Messages between the two processes of a take-over, with descriptors, over a connected Unix socket of type
 * SOCK_SEQPACKET: a message comes whole or not at all. The control thread of either process. */
#pragma once

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"

enum channel_kind {
	CHANNEL_HELLO = 1,   /* the new one: its versions, and its layout as text */
	CHANNEL_REFUSED,     /* the old one: why, as text; nothing follows */
	CHANNEL_TOLD,	     /* the old one: the service manager has the new process as its main one; nothing follows */
	CHANNEL_DESCRIPTORS, /* the old one: how many there are in all, and some of them with their names */
	CHANNEL_READY,	     /* the new one: it can take the records now */
	CHANNEL_RECORDS,     /* the old one: memory with its sessions */
	CHANNEL_RELOADS,     /* the old one: it has the same program, and reads its configuration again */
	CHANNEL_RELOADED,    /* the old one, then: it has read it; or CHANNEL_REFUSED. Nothing follows */
	CHANNEL_BUILT,	     /* the new one: it has made all of the records */
	CHANNEL_OFFERED,     /* the old one: what moved since is written, and the sessions are offered */
};

enum {
	CHANNEL_DESCRIPTORS_MAX = 253, /* of a message: the kernel's SCM_MAX_FD */
	CHANNEL_BYTES_MAX = 32 << 10,  /* of a message's payload */
};

struct channel_message {
	enum channel_kind kind;
	uint32_t length;
	size_t fd_count;
	int fds[CHANNEL_DESCRIPTORS_MAX]; /* the receiver's, once received */
	alignas(uint64_t) uint8_t payload[CHANNEL_BYTES_MAX + 1];
};

/* Whether the process at the other end may have the sessions: it is root's, or of this process's own user. -EPERM with
 * `error` set, or 0. */
int channel_check_peer(int fd, struct error *error);

/* Sends kind, payload and descriptors, which stay the caller's; never waits: -EAGAIN if there is no room. 0 or a
 * negative errno with `error` set. */
int channel_send(int fd, const struct channel_message *message, struct error *error);

/* Text of CHANNEL_REFUSED, or nothing if it cannot be sent. */
void channel_refuse(int fd, const char *text);

/* The next message, one of this kind, within so many milliseconds; the payload has a 0 behind it. 0; -ETIMEDOUT;
 * -ECONNRESET: the other process is gone; -ECONNREFUSED: it refused, and `error` has its text; -EALREADY:
 * CHANNEL_RELOADS came; -EPROTO: it sent something else. In each of these there are no descriptors. */
int channel_receive(int fd, enum channel_kind kind, struct channel_message *message, int limit_ms, struct error *error);

/* Closes the descriptors of a message. */
void channel_close_descriptors(struct channel_message *message);
