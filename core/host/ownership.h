// SPDX-License-Identifier: Apache-2.0
/* Whether a path and all directories on it belong to root or to the user of the process: only then can no other user
 * control what a privileged process reads or writes there. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "core/base/error.h"

/* Root, or the user of the process. */
bool ownership_trusted(uid_t uid);

/* The file or directory at `path`, and each directory and symbolic link on the way to it, belongs to a trusted user,
 * and no other user may write to it; a directory on the way may be sticky instead, as /tmp is, where other users
 * cannot replace entries. -EPERM with the reason and the remedy; -ENOENT and the like when it cannot be examined. */
int ownership_check(const char *path, struct error *error);
