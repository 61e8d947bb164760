// SPDX-License-Identifier: Apache-2.0
/* The file that keeps what peers have used of their quotas over restarts: a header and lines of equal width, so that
 * one is written in its place.
 *
 *   PUBLIC-KEY-IN-BASE64-44-CHARACTERS= month 00000682 00000682 00000000000104857600
 *
 * is the key, the kind of period, the number of the period that the bytes belong to, the number that the clock said
 * last (core/sessions/usage.h), and the bytes. A line that begins with # is free. The file is opened before rights are
 * dropped, belongs to the user that the gateway changes to, and is locked: no second gateway writes to it.
 *
 * Control thread. Functions return 0 or a negative errno, with `error` where they take one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/error.h"
#include "core/sessions/usage.h"

enum { QUOTA_LINE = 90 /* bytes, with the new-line */ };

/* Writes a line, without terminator; NULL: a free one. */
void quota_line_format(const struct usage_line *line, char text[QUOTA_LINE]);

/* From `length` bytes, with the new-line. False: it is none. */
bool quota_line_parse(const char *text, size_t length, struct usage_line *line);

/* The user that the gateway changes to, if it changes. */
struct quota_file_owner {
	bool change;
	uid_t user;
	gid_t group;
};

struct quota_file {
	const char *path; /* borrowed */
	struct quota_file_owner owner;
	int fd;	      /* -1: not open */
	dev_t device; /* of the file at `path`, to find that it was removed or replaced */
	ino_t inode;
	uint64_t size; /* of what was written, to find that it was truncated */
};

/* Opens or makes the file (0600), and with `make_directory` its directory (0700), for that owner. `error` says what to
 * do. */
int quota_file_open(struct quota_file *file, const char *path, bool make_directory,
		    const struct quota_file_owner *owner, struct error *error);

/* The same by the descriptor of another process that has the file open and locked, and writes to it until it ends: the
 * lock is shared. -ESTALE: it is not the file at that path. `fd` stays the caller's on failure. */
int quota_file_adopt(struct quota_file *file, const char *path, int fd, const struct quota_file_owner *owner,
		     struct error *error);
void quota_file_close(struct quota_file *file);

struct quota_file_read {
	size_t records;
	size_t malformed, first_malformed; /* how many lines, and the number of the first of them */
	bool rewrite;			   /* lines are not where their records have to be */
};

/* Reads the file into the table: record by record, in the order of the lines. */
int quota_file_load(struct quota_file *file, struct usages *usages, struct quota_file_read *read, struct error *error);

/* Writes `count` lines in place of those from record `index` on. */
int quota_file_write(struct quota_file *file, uint32_t index, const char *lines, size_t count);

/* Writes the header, and cuts what is behind so many records. */
int quota_file_begin(struct quota_file *file);
int quota_file_cut(struct quota_file *file, uint32_t records);

enum quota_file_state {
	QUOTA_FILE_GOOD,
	QUOTA_FILE_SHORT, /* another program truncated it: all lines are to be written again */
	QUOTA_FILE_GONE,  /* it removed or replaced it: quota_file_replace() */
};
enum quota_file_state quota_file_look(const struct quota_file *file);

/* Starts a new, empty file beside the path. All lines are written to it, then it gets the name, in one step, in
 * quota_file_rename(); a crash in between leaves what was there. */
int quota_file_replace(struct quota_file *file);
int quota_file_rename(struct quota_file *file);
