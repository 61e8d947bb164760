// SPDX-License-Identifier: Apache-2.0
#include "config/ini.h"

#include <ctype.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	CHUNK_SIZE = 65536,
	LINE_FIRST = 1024,    /* bytes that the buffer of a line begins with; it doubles */
	LINE_MOST = 16 << 20, /* a million networks; what is longer is no configuration */
	FILE_MOST = 1 << 30,  /* five million peers; what is longer does not end */
	KEY_LENGTH = 43,      /* characters of base64 that 32 bytes have, without the '=' that is the 44th */
};

/* Not stdio: it keeps copies of what it read, and some of that is secret. */
struct reader {
	int fd;
	const char *path;
	unsigned line;
	size_t total; /* read so far */
	char *chunk;
	size_t at, filled; /* of the chunk */
	char *text;	   /* of this line, terminated */
	size_t length, capacity;
	const struct reader_handlers *handlers;
	void *user;
	struct error *error;
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

/* --- bytes -------------------------------------------------------------------------------------------------------- */

/* Of a pipe, until its writer has written or is gone. Nothing is made yet while a program reads its configuration: a
 * signal that asks for the end ends it here, although a daemon holds it otherwise. */
static void wait_for_writer(int fd)
{
	static const int ending[] = {SIGINT, SIGTERM, SIGQUIT};
	struct pollfd polled = {.fd = fd, .events = POLLIN};
	sigset_t mask;
	(void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
	for (size_t i = 0; i < ARRAY_SIZE(ending); i++)
		sigdelset(&mask, ending[i]);
	(void)ppoll(&polled, 1, NULL, &mask); /* the caller reads again in any case */
}

/* The next chunk. 1, 0 at the end, or a negative errno. */
static int fill(struct reader *reader)
{
	ssize_t got;
	while ((got = read(reader->fd, reader->chunk, CHUNK_SIZE)) < 0 && (errno == EAGAIN || errno == EINTR))
		wait_for_writer(reader->fd);
	if (got < 0)
		return error_set(reader->error, -errno, "%s: cannot be read (%s)", reader->path, strerror(errno));
	reader->at = 0;
	reader->filled = (size_t)got;
	reader->total += (size_t)got;
	if (reader->total > FILE_MOST)
		return error_set(reader->error, -EFBIG, "%s:%u: more than %d MB; no configuration is that long",
				 reader->path, reader->line, FILE_MOST >> 20);
	return got > 0;
}

static void wipe_and_free(void *memory, size_t size)
{
	if (memory != NULL)
		explicit_bzero(memory, size);
	free(memory);
}

/* Room for so many more bytes of the line and its terminator. realloc() would leave a copy behind. */
static int make_room(struct reader *reader, size_t more)
{
	size_t wanted = reader->length + more + 1, capacity = reader->capacity;
	if (wanted > LINE_MOST)
		return error_set(reader->error, -EINVAL,
				 "%s:%u: a line of more than %d MB; keys that take a list may stand on several lines",
				 reader->path, reader->line, LINE_MOST >> 20);
	while (capacity < wanted)
		capacity *= 2;
	if (capacity == reader->capacity)
		return 0;
	char *text = malloc(capacity);
	if (text == NULL)
		return error_set(reader->error, -ENOMEM, "%s: out of memory", reader->path);
	memcpy(text, reader->text, reader->length);
	wipe_and_free(reader->text, reader->capacity);
	reader->text = text;
	reader->capacity = capacity;
	return 0;
}

/* A zero byte ends it at once: a device of zeros has no lines. */
static int append(struct reader *reader, const char *bytes, size_t count)
{
	if (memchr(bytes, '\0', count) != NULL)
		return error_set(reader->error, -EINVAL, "%s:%u: zero bytes: not a text file; write plain UTF-8",
				 reader->path, reader->line);
	int result = make_room(reader, count);
	if (result != 0)
		return result;
	memcpy(reader->text + reader->length, bytes, count);
	reader->length += count;
	reader->text[reader->length] = '\0';
	return 0;
}

/* The next line, without its end, in reader->text. 1, 0 when there is none, or a negative errno. */
static int next_line(struct reader *reader)
{
	bool any = false;
	reader->length = 0;
	reader->line++;
	for (;;) {
		if (reader->at == reader->filled) {
			int more = fill(reader);
			if (more <= 0)
				return more < 0 ? more : any;
		}
		const char *start = reader->chunk + reader->at;
		size_t left = reader->filled - reader->at;
		const char *end = memchr(start, '\n', left);
		size_t count = end != NULL ? (size_t)(end - start) : left;
		int result = append(reader, start, count);
		if (result != 0)
			return result;
		any = true;
		reader->at += count + (end != NULL);
		if (end != NULL)
			return 1;
	}
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

static char *trim(char *text)
{
	while (isspace((unsigned char)*text))
		text++;
	char *end = text + strlen(text);
	while (end > text && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return text;
}

void reader_cut_comment(char *text)
{
	for (char *c = text; (c = strchr(c, '#')) != NULL; c++) {
		if (c != text && !isspace((unsigned char)c[-1]))
			continue;
		while (c > text && isspace((unsigned char)c[-1]))
			c--;
		*c = '\0';
		return;
	}
}

static bool has_control_characters(const char *text)
{
	for (; *text != '\0'; text++) {
		if (iscntrl((unsigned char)*text) && *text != '\t')
			return true;
	}
	return false;
}

static int section_line(struct reader *reader, char *text)
{
	reader_cut_comment(text);
	size_t length = strlen(text);
	if (text[length - 1] != ']' || strchr(text, ']') != text + length - 1)
		return refuse(reader, text, "not a section; write [Name] alone on its line");
	text[length - 1] = '\0';
	return reader->handlers->section(reader->user, text + 1, reader->line);
}

static int setting_line(struct reader *reader, char *text)
{
	size_t key = strcspn(text, "=:");
	if (text[key] != '=' || key == 0)
		return refuse(reader, text, "not a setting; write Key = value");
	text[key] = '\0';
	return reader->handlers->setting(reader->user, trim(text), trim(text + key + 1), reader->line);
}

static int one_line(struct reader *reader)
{
	static const char byte_order_mark[] = "\xEF\xBB\xBF";
	size_t mark = sizeof byte_order_mark - 1;
	bool marked = reader->line == 1 && strncmp(reader->text, byte_order_mark, mark) == 0;
	char *text = trim(reader->text + (marked ? mark : 0));
	if (has_control_characters(text)) {
		char what[] = "control characters";
		return refuse(reader, what, "not a text file; write plain UTF-8");
	}
	if (*text == '\0' || *text == '#' || *text == ';')
		return 0;
	return *text == '[' ? section_line(reader, text) : setting_line(reader, text);
}

/* --- files -------------------------------------------------------------------------------------------------------- */

const char *reader_kind(unsigned mode)
{
	if (S_ISDIR(mode))
		return "a directory";
	if (S_ISFIFO(mode))
		return "a pipe";
	return S_ISSOCK(mode) ? "a socket" : "a device";
}

/* Not blocking: opening a FIFO without a writer would wait where no signal ends it. */
static int open_file(struct reader *reader, bool streams, struct stat *status)
{
	reader->fd = open(reader->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (reader->fd < 0)
		return error_open(reader->error, reader->path, "cannot be opened");
	if (fstat(reader->fd, status) != 0)
		return error_set(reader->error, -errno, "%s: cannot be read (%s)", reader->path, strerror(errno));
	if (S_ISDIR(status->st_mode))
		return error_set(reader->error, -EISDIR, "%s: a directory; name a file", reader->path);
	if (!S_ISREG(status->st_mode) && !streams)
		return error_set(reader->error, -EINVAL,
				 "%s: %s, which can be read at the start only; restart, or name a regular file",
				 reader->path, reader_kind(status->st_mode));
	return 0;
}

static int read_lines(struct reader *reader)
{
	int result;
	while ((result = next_line(reader)) > 0) {
		result = one_line(reader);
		if (result != 0)
			break;
	}
	return result;
}

int reader_run(const char *path, bool streams, const struct reader_handlers *handlers, void *user, struct error *error)
{
	struct stat status = {0};
	struct reader reader = {.fd = -1, .path = path, .handlers = handlers, .user = user, .error = error};
	reader.chunk = malloc(CHUNK_SIZE);
	reader.text = calloc(1, LINE_FIRST);
	if (reader.chunk == NULL || reader.text == NULL) {
		free(reader.chunk);
		free(reader.text);
		return error_set(error, -ENOMEM, "%s: out of memory", path);
	}
	reader.capacity = LINE_FIRST;
	int result = open_file(&reader, streams, &status);
	if (result == 0 && handlers->opened != NULL)
		result = handlers->opened(user, status.st_mode);
	if (result == 0 && !S_ISREG(status.st_mode))
		wait_for_writer(reader.fd); /* a FIFO without one looks as if it had ended */
	if (result == 0)
		result = read_lines(&reader);
	if (reader.fd >= 0)
		close(reader.fd);
	wipe_and_free(reader.text, reader.capacity);
	wipe_and_free(reader.chunk, CHUNK_SIZE);
	return result;
}
