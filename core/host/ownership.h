// SPDX-License-Identifier: Apache-2.0
/* Whether a path is root's (or that of the user who runs us) all the way: what a program with root's rights reads,
 * writes or believes there is then nobody else's choice. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "core/base/error.h"

/* Root, or who runs us. */
bool ownership_trusted(uid_t uid);

/* The file or directory at `path`, and each directory and symbolic link on the way to it, belongs to a trusted user,
 * and nobody else may write to it; a directory on the way may be sticky instead, as /tmp is, where others do not
 * replace what is there. -EPERM with what is wrong and how to mend it; -ENOENT and the like when it cannot be looked
 * at. */
int ownership_check(const char *path, struct error *error);
