// SPDX-License-Identifier: Apache-2.0
/* A program that goes on in the background: in a process that is no child of the one that was started, while that one
 * waits until all is well, and ends. It is not its service manager's, for that takes no process of its own as a unit's
 * main one as long as it waits for it. */
#pragma once

#include "core/base/error.h"

struct background {
	int fd; /* -1: there is no process that waits */
};

/* Goes on in the background, in a session of its own. The calling process does not return: it ends with the status that
 * background_tell() says, or 1 if that is never called. 0, or a negative errno with `error` set, in the calling
 * process. Before there are threads. */
int background_begin(struct background *background, struct error *error);

/* Has the process that waits end with this status. Again, and without one, nothing happens. */
void background_tell(struct background *background, int status);
