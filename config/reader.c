// SPDX-License-Identifier: Apache-2.0
/* libinih splits the lines, but as Debian builds it, it would (1) cut lines at 199 bytes and read the rest as another
 * line, (2) take an indented line for more of the value above, (3) end values only at ';', not at '#', (4) accept
 * "Key: value" and "[Section] rubbish", (5) go on after an error, (6) tell nobody of a section header or of the line
 * number. So the lines it is given come from next_line(), which brings each into the one form that all agree on, and
 * sees headers and numbers as they pass. */
#include "config/reader.h"

#include <ctype.h>
#include <ini.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	BUFFER_SIZE = 65536,
	KEY_LENGTH = 43, /* characters of base64 that 32 bytes have, without the '=' that is the 44th */
};

struct reader {
	FILE *file;
	const char *path;
	unsigned line;
	char *buffer; /* getline's */
	size_t capacity;
	const struct reader_handlers *handlers;
	void *user;
	struct error *error;
	int result;
};

char *reader_hide_keys(char *text)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (char *run = text; *(run += strcspn(run, alphabet)) != '\0';) {
		static const char hidden[] = "(hidden)";
		char *end = run + strspn(run, alphabet);
		char *padding = end + strspn(end, " ");
		if (end - run >= KEY_LENGTH && *padding == '=') {
			memcpy(run, hidden, sizeof hidden - 1);
			memmove(run + sizeof hidden - 1, padding + 1, strlen(padding + 1) + 1);
			end = run + sizeof hidden - 1;
		}
		run = end;
	}
	return text;
}

static int refuse(const struct reader *reader, char *text, const char *why)
{
	return error_set(reader->error, -EINVAL, "%s:%u: %.150s: %s", reader->path, reader->line,
			 reader_hide_keys(text), why);
}

/* Where the text begins in `line`, which loses its comment and the white space on its right. */
static char *strip(char *line)
{
	static const char byte_order_mark[] = "\xEF\xBB\xBF";
	size_t mark = sizeof byte_order_mark - 1;
	char *start = strncmp(line, byte_order_mark, mark) == 0 ? line + mark : line;
	for (char *c = start; *c != '\0'; c++) {
		if ((*c == '#' || *c == ';') && (c == start || isspace((unsigned char)c[-1]))) {
			*c = '\0';
			break;
		}
	}
	while (isspace((unsigned char)*start))
		start++;
	char *end = start + strlen(start);
	while (end > start && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return start;
}

static bool has_control_characters(const char *text)
{
	for (; *text != '\0'; text++) {
		if (iscntrl((unsigned char)*text) && *text != '\t')
			return true;
	}
	return false;
}

/* Passes a header on. inih sees it as well and remembers it for nobody. */
static int section_line(struct reader *reader, char *text)
{
	size_t length = strlen(text);
	if (text[length - 1] != ']' || strchr(text, ']') != text + length - 1)
		return refuse(reader, text, "not a section; write [Name] alone on its line");
	text[length - 1] = '\0';
	int result = reader->handlers->section(reader->user, text + 1, reader->line);
	text[length - 1] = ']';
	return result;
}

static int check_line(struct reader *reader, char *text, size_t size)
{
	size_t length = strlen(text);
	if (length >= size)
		return error_set(
			reader->error, -EINVAL,
			"%s:%u: %.40s...: the line has %zu characters; at most %zu, but keys that take a list may "
			"stand on several lines",
			reader->path, reader->line, reader_hide_keys(text), length, size - 1);
	if (text[0] == '[')
		return section_line(reader, text);
	size_t key = strcspn(text, "=:");
	if (text[key] != '=' || key == 0)
		return refuse(reader, text, "not a setting; write Key = value");
	return 0;
}

/* inih's fgets: the next line that says something, or NULL at the end or after an error. */
static char *next_line(char *line, int size, void *stream)
{
	struct reader *reader = stream;
	while (reader->result == 0) {
		ssize_t length = getline(&reader->buffer, &reader->capacity, reader->file);
		if (length < 0) {
			if (ferror(reader->file))
				reader->result = error_set(reader->error, -errno, "%s: cannot be read (%s)",
							   reader->path, strerror(errno));
			break;
		}
		reader->line++;
		bool zeros = strlen(reader->buffer) != (size_t)length;
		char *text = strip(reader->buffer);
		if (zeros || has_control_characters(text)) {
			char what[] = "control characters";
			reader->result = refuse(reader, what, "not a text file; write plain UTF-8");
		} else if (*text != '\0') {
			reader->result = check_line(reader, text, (size_t)size);
			if (reader->result == 0)
				return memcpy(line, text, strlen(text) + 1);
		}
	}
	explicit_bzero(line, (size_t)size); /* inih's own, which nobody else could */
	return NULL;
}

static int on_setting(void *user, const char *section, const char *key, const char *value)
{
	struct reader *reader = user;
	(void)section;
	reader->result = reader->handlers->setting(reader->user, key, value, reader->line);
	return reader->result == 0;
}

static void wipe_and_free(void *memory, size_t size)
{
	if (memory != NULL)
		explicit_bzero(memory, size);
	free(memory);
}

int reader_run(const char *path, const struct reader_handlers *handlers, void *user, struct error *error)
{
	struct reader reader = {.path = path, .handlers = handlers, .user = user, .error = error};
	reader.file = fopen(path, "re");
	if (reader.file == NULL)
		return error_open(error, path, "cannot be opened");
	struct stat status;
	char *buffer = malloc(BUFFER_SIZE);
	if (buffer != NULL && fstat(fileno(reader.file), &status) == 0) {
		(void)setvbuf(reader.file, buffer, _IOFBF, BUFFER_SIZE); /* ours, to be wiped */
		if (handlers->opened != NULL)
			handlers->opened(user, status.st_mode & 07777);
		/* inih's own verdict is of no use: what it would refuse, next_line() has refused. */
		(void)ini_parse_stream(next_line, &reader, on_setting, &reader);
	} else {
		reader.result = error_set(error, -errno, "%s: cannot be read (%s)", path, strerror(errno));
	}
	fclose(reader.file);
	wipe_and_free(reader.buffer, reader.capacity);
	wipe_and_free(buffer, BUFFER_SIZE);
	return reader.result;
}
