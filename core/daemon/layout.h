// SPDX-License-Identifier: Apache-2.0
/* What a daemon's descriptors are for, as text: lines of "name value". Two daemons with the same text can exchange
 * their descriptors, one with another text opens its own. It is kept in a memfd beside the descriptors
 * (core/daemon/descriptors.h). The first line is the version of the whole arrangement. Control thread. */
#pragma once

#include "core/base/error.h"

struct daemon_params;

enum { LAYOUT_MOST = 65536 /* bytes */ };

/* From the configuration, and from the files of the sockets that are at their paths now. For the caller to free; NULL:
 * out of memory. */
char *layout_text(const struct daemon_params *params);

/* The same, and what a process that serves still does not stand the change of: MTU and offloads of the interface. */
char *layout_running_text(const struct daemon_params *params);

/* Writes it into memory that cannot be changed any more. A descriptor, or a negative errno with `error`. */
int layout_write(const char *text, struct error *error);

/* Whether such a descriptor has this text. -EPROTO with `error` saying the first line that differs, or that it is no
 * such memory. */
int layout_check(int fd, const char *text, struct error *error);
