// SPDX-License-Identifier: Apache-2.0
/* A configuration file as a stream of section headers and settings, each with its line. */
#pragma once

#include "core/base/error.h"

/* Both return 0, or a negative errno with the whole message in their caller's error, which ends the reading. */
struct reader_handlers {
	/* Before anything else: the file's permissions, as chmod(1) has them. May be NULL. */
	void (*opened)(void *user, unsigned mode);
	int (*section)(void *user, const char *name, unsigned line);
	/* `key` is not empty, `value` may be; no comments, no surrounding white space. Valid during the call. */
	int (*setting)(void *user, const char *key, const char *value, unsigned line);
};

/* Replaces what could be a key by "(hidden)"; for texts of which nobody knows what they are. */
char *reader_hide_keys(char *text);

/* Reads the file at `path`. The format: "[Section]", "Key = value", comments from '#' or ';' at a line's start or after
 * white space; lines of any indentation; LF or CRLF; a UTF-8 byte order mark is skipped. What does not look like that
 * is -EINVAL with "path:line: text: what is wrong; what is right". A value may be a secret: no copy of the text stays
 * in memory, and what could be a key is not quoted. */
int reader_run(const char *path, const struct reader_handlers *handlers, void *user, struct error *error);
