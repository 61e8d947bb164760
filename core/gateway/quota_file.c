// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/quota_file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MODE = 0600, DIRECTORY_MODE = 0700, NUMBER_DIGITS = 8, BYTES_DIGITS = 20, PERIOD_WIDTH = 5 };

static const char header[] = "# shardtun: key, period, its number, the clock's, bytes used; stop the gateway to edit";
_Static_assert(sizeof header <= QUOTA_LINE, "one line");

/* --- lines -------------------------------------------------------------------------------------------------------- */

static void pad(char text[QUOTA_LINE], size_t used)
{
	memset(text + used, ' ', QUOTA_LINE - 1 - used);
	text[QUOTA_LINE - 1] = '\n';
}

void quota_line_format(const struct usage_line *line, char text[QUOTA_LINE])
{
	char key[KEY_TEXT_SIZE], whole[QUOTA_LINE + 1];
	if (line == NULL) {
		text[0] = '#';
		pad(text, 1);
		return;
	}
	key_format(line->public_key, key);
	int length = snprintf(whole, sizeof whole, "%s %-*s %0*" PRIu32 " %0*" PRIu32 " %0*" PRIu64, key, PERIOD_WIDTH,
			      calendar_name(line->period), NUMBER_DIGITS, line->number, NUMBER_DIGITS, line->clock,
			      BYTES_DIGITS, line->used);
	size_t used = length > 0 && length < QUOTA_LINE ? (size_t)length : 0;
	memcpy(text, whole, used);
	pad(text, used);
}

/* Digits, all of them, and what follows. */
static bool take_number(const char **at, int digits, char after, uint64_t *number)
{
	*number = 0;
	for (int i = 0; i < digits; i++) {
		unsigned digit = (unsigned)((*at)[i] - '0');
		if (digit > 9 || __builtin_mul_overflow(*number, 10u, number) ||
		    __builtin_add_overflow(*number, digit, number))
			return false;
	}
	*at += digits;
	return *(*at)++ == after;
}

bool quota_line_parse(const char *text, size_t length, struct usage_line *line)
{
	char key[KEY_TEXT_SIZE] = "";
	uint64_t number, clock;
	if (length != QUOTA_LINE)
		return false;
	memcpy(key, text, KEY_TEXT_SIZE - 1);
	if (!key_parse(key, line->public_key) || text[KEY_TEXT_SIZE - 1] != ' ')
		return false;
	const char *at = text + KEY_TEXT_SIZE, *space = memchr(at, ' ', PERIOD_WIDTH + 1);
	if (space == NULL || !calendar_parse(at, (size_t)(space - at), &line->period))
		return false;
	for (; at < text + KEY_TEXT_SIZE + PERIOD_WIDTH; at++) {
		if (at >= space && *at != ' ')
			return false;
	}
	if (*at++ != ' ' || !take_number(&at, NUMBER_DIGITS, ' ', &number) ||
	    !take_number(&at, NUMBER_DIGITS, ' ', &clock) || !take_number(&at, BYTES_DIGITS, '\n', &line->used))
		return false;
	line->number = (uint32_t)number;
	line->clock = (uint32_t)clock;
	return true;
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

static int explain(struct error *error, int code, const struct quota_file *file, const char *what)
{
	const char *advice = "give another path";
	if (code == -EACCES || code == -EPERM || code == -EROFS)
		advice = "let the gateway's user write there, or give another path";
	if (code == -ENOENT)
		advice = "make the directory, which a start as root does, or give another path";
	if (code == -EWOULDBLOCK)
		return error_set(error, code, "QuotaFile = %s: another gateway uses it; give each a file of its own",
				 file->path);
	return error_set(error, code, "QuotaFile = %s: %s (%s); %s", file->path, what, strerror(-code), advice);
}

/* What root gives to another user must be nothing that this user put here by a link. */
static int give(int fd, const struct quota_file_owner *owner)
{
	struct stat status;
	if (fstat(fd, &status) != 0)
		return -errno;
	if (!S_ISREG(status.st_mode) || status.st_nlink != 1)
		return -EINVAL;
	if (!owner->change || status.st_uid == owner->user)
		return 0;
	if (status.st_uid != geteuid())
		return -EPERM;
	return fchown(fd, owner->user, owner->group) == 0 ? 0 : -errno;
}

static int make_directory_of(const char *path, const struct quota_file_owner *owner)
{
	char directory[PATH_MAX];
	const char *slash = strrchr(path, '/');
	if (slash == NULL || slash == path || (size_t)(slash - path) >= sizeof directory)
		return 0;
	memcpy(directory, path, (size_t)(slash - path));
	directory[slash - path] = '\0';
	if (mkdir(directory, DIRECTORY_MODE) != 0)
		return errno == EEXIST ? 0 : -errno;
	return !owner->change || lchown(directory, owner->user, owner->group) == 0 ? 0 : -errno;
}

/* Locked, and from now on the file. */
static int adopt(struct quota_file *file, int fd)
{
	struct stat status;
	int result = give(fd, &file->owner);
	if (result != 0)
		return result;
	if (flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &status) != 0)
		return -errno;
	file->device = status.st_dev;
	file->inode = status.st_ino;
	file->size = 0;
	file->fd = fd;
	return 0;
}

int quota_file_open(struct quota_file *file, const char *path, bool make_directory,
		    const struct quota_file_owner *owner, struct error *error)
{
	*file = (struct quota_file){.path = path, .owner = *owner, .fd = -1};
	int result = make_directory ? make_directory_of(path, owner) : 0;
	if (result != 0)
		return explain(error, result, file, "cannot make its directory");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, FILE_MODE);
	if (fd < 0)
		return explain(error, -errno, file, "cannot be opened");
	result = adopt(file, fd);
	if (result == 0)
		return 0;
	close(fd);
	return explain(error, result, file, "is no file of the gateway's own");
}

int quota_file_adopt(struct quota_file *file, const char *path, int fd, const struct quota_file_owner *owner,
		     struct error *error)
{
	struct stat there, given;
	*file = (struct quota_file){.path = path, .owner = *owner, .fd = -1};
	if (lstat(path, &there) != 0 || fstat(fd, &given) != 0 || there.st_dev != given.st_dev ||
	    there.st_ino != given.st_ino)
		return explain(error, -ESTALE, file, "is not the file of the gateway that runs");
	int result = adopt(file, fd);
	if (result != 0)
		file->fd = -1;
	return result == 0 ? 0 : explain(error, result, file, "is no file of the gateway's own");
}

void quota_file_close(struct quota_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static int load_line(struct usages *usages, const char *text, size_t length, size_t number,
		     struct quota_file_read *read)
{
	struct usage_line line;
	bool comment = length == QUOTA_LINE && text[0] == '#';
	if (number == 1 && comment)
		return 0;
	read->rewrite |= number == 1;
	if (!comment && quota_line_parse(text, length, &line)) {
		int result = usages_restore(usages, &line);
		read->records++;
		read->rewrite |= result == -EEXIST;
		return result == -EEXIST ? 0 : result;
	}
	if (!comment && read->malformed++ == 0)
		read->first_malformed = number;
	read->rewrite |= !comment;
	return usages_skip(usages);
}

/* Lines of any bytes and length; the last one ends with a new-line, or was truncated. */
static int load_lines(FILE *in, struct usages *usages, struct quota_file_read *read)
{
	char text[QUOTA_LINE];
	size_t length = 0, number = 1;
	int result = 0;
	for (int c = '\0'; result == 0 && c != EOF;) {
		c = getc(in);
		if (c != EOF && length++ < sizeof text)
			text[length - 1] = (char)c;
		if (c != '\n' && (c != EOF || length == 0))
			continue;
		bool whole = c == '\n' && length <= sizeof text;
		result = load_line(usages, text, whole ? length : 0, number++, read);
		length = 0;
	}
	return result == 0 && ferror(in) ? -EIO : result;
}

int quota_file_load(struct quota_file *file, struct usages *usages, struct quota_file_read *read, struct error *error)
{
	struct stat status;
	*read = (struct quota_file_read){0};
	int copy = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
	FILE *in = copy >= 0 ? fdopen(copy, "r") : NULL;
	if (in != NULL)
		rewind(in); /* one that was adopted was read before */
	if (in == NULL) {
		int code = -errno;
		if (copy >= 0)
			close(copy);
		return explain(error, code, file, "cannot be read");
	}
	int result = load_lines(in, usages, read);
	fclose(in);
	if (result == 0 && fstat(file->fd, &status) != 0)
		result = -errno;
	if (result != 0)
		return explain(error, result, file, "cannot be read");
	file->size = (uint64_t)status.st_size;
	return 0;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static int write_at(struct quota_file *file, uint64_t offset, const char *text, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t written = pwrite(file->fd, text + done, size - done, (off_t)(offset + done));
		if (written == 0 || (written < 0 && errno != EINTR))
			return written == 0 ? -EIO : -errno;
		done += written > 0 ? (size_t)written : 0;
	}
	if (file->size < offset + size)
		file->size = offset + size;
	return 0;
}

int quota_file_begin(struct quota_file *file)
{
	char text[QUOTA_LINE];
	memcpy(text, header, sizeof header - 1);
	pad(text, sizeof header - 1);
	return write_at(file, 0, text, QUOTA_LINE);
}

int quota_file_write(struct quota_file *file, uint32_t index, const char *lines, size_t count)
{
	return write_at(file, ((uint64_t)index + 1) * QUOTA_LINE, lines, count * QUOTA_LINE);
}

int quota_file_cut(struct quota_file *file, uint32_t records)
{
	file->size = ((uint64_t)records + 1) * QUOTA_LINE;
	return ftruncate(file->fd, (off_t)file->size) == 0 ? 0 : -errno;
}

enum quota_file_state quota_file_look(const struct quota_file *file)
{
	struct stat status;
	if (file->fd < 0 || lstat(file->path, &status) != 0 || status.st_ino != file->inode ||
	    status.st_dev != file->device)
		return QUOTA_FILE_GONE;
	return (uint64_t)status.st_size < file->size ? QUOTA_FILE_SHORT : QUOTA_FILE_GOOD;
}

static bool new_path(const struct quota_file *file, char path[PATH_MAX])
{
	return (size_t)snprintf(path, PATH_MAX, "%s.new", file->path) < PATH_MAX;
}

int quota_file_replace(struct quota_file *file)
{
	char path[PATH_MAX];
	if (!new_path(file, path))
		return -ENAMETOOLONG;
	(void)unlink(path); /* of a gateway that was killed */
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
	if (fd < 0)
		return -errno;
	struct quota_file new = {.path = file->path, .owner = file->owner, .fd = -1};
	int result = adopt(&new, fd);
	if (result != 0) {
		close(fd);
		(void)unlink(path);
		return result;
	}
	quota_file_close(file);
	*file = new;
	return 0;
}

int quota_file_rename(struct quota_file *file)
{
	char path[PATH_MAX];
	if (!new_path(file, path))
		return -ENAMETOOLONG;
	/* The old lines are lost with the name: the new ones have to be on the disk. */
	return fdatasync(file->fd) == 0 && rename(path, file->path) == 0 ? 0 : -errno;
}
