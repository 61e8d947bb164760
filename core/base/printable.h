// SPDX-License-Identifier: Apache-2.0
/* Texts for terminals and logs. What comes from a file, the network or another process may hold bytes that control a
 * terminal (ESC and the C1 controls begin commands, a line feed begins another line of a log) or that make a text
 * look like another one (controls of direction and of no width, Unicode TR 36). Each such byte, and each that is no
 * UTF-8, is written as \xNN. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Writes `text` to `out`, terminated and cut to whole characters where `size` is short, with what is not printable
 * escaped. Returns the length. `out` is not `text`. Any thread; async-signal-safe. */
size_t printable_copy(char *out, size_t size, const char *text);

/* Whether printable_copy() would change nothing. */
bool printable_is(const char *text);
