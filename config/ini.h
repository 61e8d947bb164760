// SPDX-License-Identifier: Apache-2.0
/* A configuration file as a stream of section headers and settings, each with its line. */
#pragma once

#include <stdbool.h>

#include "core/base/error.h"

/* All return 0, or a negative errno with the whole message in their caller's error, which ends the reading. */
struct reader_handlers {
	/* Before anything else: the file's type and permissions, as stat(2) has them. May be NULL. */
	int (*opened)(void *user, unsigned mode);
	int (*section)(void *user, const char *name, unsigned line);
	/* `key` is not empty, `value` may be; neither has surrounding white space. What follows a '#' is still in the
	 * value: reader_cut_comment(). Valid during the call. */
	int (*setting)(void *user, const char *key, char *value, unsigned line);
};

/* Replaces what could be a key by "(hidden)"; for texts of unknown content. */
char *reader_hide_keys(char *text);

/* Ends the text where a '#' stands at its start or after white space. */
void reader_cut_comment(char *text);

/* "a directory", "a pipe", "a socket" or "a device", of a mode that is no regular file's. */
const char *reader_kind(unsigned mode);

/* Reads the file at `path`, once and from front to back. The format: "[Section]" and "Key = value"; a line that begins
 * with '#' or ';' is a comment; lines of any indentation and, up to 16 MB, of any length; LF or CRLF; a UTF-8 byte
 * order mark is skipped. What does not look like that is -EINVAL with "path:line: text: what is wrong; what is right".
 * A value may be a secret: no copy of the text stays in memory, and what could be a key is not quoted.
 *
 * With `streams` a pipe, a FIFO or a device will do, and is waited for until it ends; SIGINT, SIGTERM and SIGQUIT have
 * their default action meanwhile. Without, only a regular file will, and nothing is waited for. */
int reader_run(const char *path, bool streams, const struct reader_handlers *handlers, void *user, struct error *error);
