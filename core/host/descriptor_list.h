// SPDX-License-Identifier: Apache-2.0
/* Descriptors with names, as they are passed from one process to the next: by way of the service manager's store
 * (core/daemon/store.h), or in messages over a socket (core/handover/takeover.h). Nothing of a list that was received
 * is trusted: names are looked up, and each descriptor is checked before it is used. Control thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"

enum {
	DESCRIPTOR_NAME_MAX = 64,    /* with terminator */
	DESCRIPTOR_LIST_MOST = 4096, /* in a list that was received */
};

struct descriptor_entry {
	char name[DESCRIPTOR_NAME_MAX]; /* [a-z0-9.-]; of a list that was received: anything, cut if too long */
	int fd;				/* -1: it was taken */
};

/* Zero is an empty one. */
struct descriptor_list {
	struct descriptor_entry *entries; /* heap */
	size_t count, room;
};

/* 0 or -ENOMEM: the descriptor is the caller's as before. */
int descriptor_list_add(struct descriptor_list *list, const char *name, int fd);

/* The descriptor of that name, which stays in the list; -1: there is none. */
int descriptor_list_find(const struct descriptor_list *list, const char *name);

/* The same, and it is the caller's from here on. */
int descriptor_list_take(struct descriptor_list *list, const char *name);

/* The same, and the list has no such entry any more; the order of the others stays. */
int descriptor_list_take_out(struct descriptor_list *list, const char *name);

/* Whether each entry is an open file of its own, under a name of its own: no file of the kernel's (open file
 * description) stands there twice. 0, or -EBADF, -EEXIST with `error`. Changes O_APPEND of each and back, which means
 * nothing to sockets and TUN queues. O(n²) in names. */
int descriptor_list_check_distinct(const struct descriptor_list *list, struct error *error);

/* Frees the list alone, or closes what was not taken, too. Again is allowed. */
void descriptor_list_free(struct descriptor_list *list);
void descriptor_list_close(struct descriptor_list *list);
