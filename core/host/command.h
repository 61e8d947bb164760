// SPDX-License-Identifier: Apache-2.0
/* Other programs, run to their end within bounded time: the resolver's tools and the commands of a configuration. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"

/* Runs argv[0], looked up on PATH, with `input` (NULL: nothing) on its standard input and this process's
 * environment, and waits. 0 when it exits with status 0. Else a negative errno and "argv[0]: the last line that it
 * printed", its exit status, or what else was wrong: -ENOENT when there is no such program, -ETIMEDOUT when it did
 * not end within `seconds`; it is killed then, with its children. Blocks. Any thread with signals blocked; the
 * program starts with no signal blocked. */
int command_run(const char *const argv[], const char *input, unsigned seconds, struct error *error);

/* The same, with its output in `printed`, cut to `size` bytes with a terminator. */
int command_read(const char *const argv[], unsigned seconds, char *output, size_t size, struct error *error);

/* `line` for /bin/sh, with each %i replaced by `interface`. Errors as above, but for the subject, which is `line`. */
int command_run_shell(const char *line, const char *interface, unsigned seconds, struct error *error);

/* Whether PATH has such a program. */
bool command_exists(const char *name);
