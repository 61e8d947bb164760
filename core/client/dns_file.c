// SPDX-License-Identifier: Apache-2.0
#include "core/client/dns_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREPARED RESOLV_CONF ".shardtun-new"

enum {
	FILE_MODE = 0644,
	FORMER_MOST = 16 << 20,
	REST_US = 20000,
	REST_TRIES = 10,
	TEXT_MOST = 4 * FORMER_MOST, /* written in place it has the former text twice, once with prefixes */
};

/* --- files -------------------------------------------------------------------------------------------------------- */

static int read_open(int fd, struct resolv_conf_text *text)
{
	struct stat status;
	if (fstat(fd, &status) != 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	if (status.st_size > TEXT_MOST)
		return -EFBIG;
	text->bytes = malloc((size_t)status.st_size + 1);
	if (text->bytes == NULL)
		return -ENOMEM;
	while (text->length < (size_t)status.st_size) {
		ssize_t got = read(fd, text->bytes + text->length, (size_t)status.st_size - text->length);
		if (got < 0)
			return -errno;
		if (got == 0)
			break; /* the file was truncated meanwhile */
		text->length += (size_t)got;
	}
	return 0;
}

int dns_file_read(const char *path, struct resolv_conf_text *text, struct error *error)
{
	*text = (struct resolv_conf_text){0};
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && (errno == ENOENT || errno == ELOOP || errno == ENOTDIR))
		return 0; /* as for a link to nothing */
	if (fd < 0)
		return error_set(error, -errno, "%s: %s", path, strerror(errno));
	int result = read_open(fd, text);
	close(fd);
	if (result == 0)
		return 0;
	free(text->bytes);
	*text = (struct resolv_conf_text){0};
	return error_set(error, result, "%s: %s", path,
			 result == -EINVAL ? "it is no regular file" : strerror(-result));
}

static int write_all(int fd, const struct resolv_conf_text *text)
{
	for (size_t done = 0; done < text->length;) {
		ssize_t written = pwrite(fd, text->bytes + done, text->length - done, (off_t)done);
		if (written < 0)
			return -errno;
		done += (size_t)written;
	}
	return ftruncate(fd, (off_t)text->length) == 0 ? 0 : -errno;
}

/* -errno. */
static int write_file(const char *path, int flags, const struct resolv_conf_text *text)
{
	int fd = open(path, flags | O_WRONLY | O_CLOEXEC | O_NONBLOCK, FILE_MODE);
	if (fd < 0)
		return -errno;
	struct stat status;
	int result = fstat(fd, &status) != 0 ? -errno : S_ISREG(status.st_mode) ? write_all(fd, text) : -EINVAL;
	/* Regardless of the umask: every user resolves names. */
	if (result == 0 && (flags & O_CREAT) != 0 && fchmod(fd, FILE_MODE) != 0)
		result = -errno;
	if (close(fd) != 0 && result == 0)
		result = -errno;
	return result;
}

static bool is_link(const char *path)
{
	struct stat status;
	return lstat(path, &status) == 0 && S_ISLNK(status.st_mode);
}

/* --- the former text ---------------------------------------------------------------------------------------------- */

static int former_of(const struct resolv_conf_text *current, int owner, struct resolv_conf_text *former,
		     struct error *error)
{
	*former = (struct resolv_conf_text){0};
	if (owner == 1 && resolv_conf_is_in_place(current))
		return resolv_conf_former(current, former) == 0 ? 0 : error_set(error, -ENOMEM, "out of memory");
	if (owner == 1)
		return dns_file_read(RESOLV_CONF_SAVED, former, error);
	former->bytes = malloc(current->length + 1);
	if (former->bytes == NULL)
		return error_set(error, -ENOMEM, "out of memory");
	if (current->length != 0)
		memcpy(former->bytes, current->bytes, current->length);
	former->length = current->length;
	return 0;
}

int dns_file_former(const char *interface, struct resolv_conf_text *former, struct error *error)
{
	struct resolv_conf_text current;
	*former = (struct resolv_conf_text){0};
	int result = dns_file_read(RESOLV_CONF, &current, error);
	if (result == 0)
		result = former_of(&current, resolv_conf_owner(&current, interface, NULL), former, error);
	free(current.bytes);
	return result;
}

/* --- setting ------------------------------------------------------------------------------------------------------ */

/* Another program meant to write through the link that we replaced: writes its text to the target of that link. */
static bool pass_through_saved_link(const struct resolv_conf_text *written)
{
	return is_link(RESOLV_CONF_SAVED) && !is_link(RESOLV_CONF) && write_file(RESOLV_CONF_SAVED, 0, written) == 0;
}

/* Gives the current file its second name. `again`: one was saved before, and another program replaced ours since.
 * -errno. */
static int save_current(const struct resolv_conf_text *current, bool again)
{
	struct stat status;
	if (lstat(RESOLV_CONF, &status) != 0)
		return errno == ENOENT ? 0 : -errno; /* a file that was saved before stays saved */
	if (again && pass_through_saved_link(current))
		return 0;
	(void)unlink(RESOLV_CONF_SAVED);
	return linkat(AT_FDCWD, RESOLV_CONF, AT_FDCWD, RESOLV_CONF_SAVED, 0) == 0 ? 0 : -errno;
}

/* Both files are whole at any moment: first the old one gets its second name, then the new one is renamed. -errno. */
static int replace(const struct resolv_conf_text *current, const struct resolv_conf_text *ours, int owner)
{
	bool saved_before = is_link(RESOLV_CONF_SAVED) || access(RESOLV_CONF_SAVED, F_OK) == 0;
	int result = write_file(PREPARED, O_CREAT | O_TRUNC | O_NOFOLLOW, ours);
	if (result == 0 && owner == 0)
		result = save_current(current, saved_before);
	if (result == 0 && rename(PREPARED, RESOLV_CONF) != 0) {
		result = -errno;
		if (owner == 0 && !saved_before)
			(void)unlink(RESOLV_CONF_SAVED);
	}
	if (result != 0)
		(void)unlink(PREPARED);
	return result;
}

static int write_wish(const struct resolv_conf_wish *wish, const struct resolv_conf_text *former, bool in_place,
		      struct resolv_conf_text *ours, struct error *error)
{
	return resolv_conf_write(wish, former, in_place ? NULL : RESOLV_CONF_SAVED, ours) == 0
		       ? 0
		       : error_set(error, -ENOMEM, "out of memory");
}

static int set_in_place(const struct resolv_conf_wish *wish, const struct resolv_conf_text *former, struct error *error)
{
	struct resolv_conf_text ours;
	int result = write_wish(wish, former, true, &ours, error);
	if (result != 0)
		return result;
	result = write_file(RESOLV_CONF, 0, &ours);
	free(ours.bytes);
	return result == 0 ? 0
			   : error_set(error, result,
				       RESOLV_CONF ": cannot be changed (%s); mount it writable, enter the servers "
						   "there, or set DNS = off",
				       strerror(-result));
}

/* For a file that is not ours, or that was replaced before. Fails where only writing in place works. */
static int set_replaced(const struct resolv_conf_wish *wish, const struct resolv_conf_text *current, int owner,
			const struct resolv_conf_text *former, struct error *error)
{
	struct resolv_conf_text ours;
	int result = write_wish(wish, former, false, &ours, error);
	if (result != 0)
		return result;
	result = replace(current, &ours, owner);
	free(ours.bytes);
	return result == 0 ? 0 : error_set(error, result, RESOLV_CONF ": cannot be replaced (%s)", strerror(-result));
}

static bool same_text(const struct resolv_conf_text *a, const struct resolv_conf_text *b)
{
	return a->length == b->length && (a->length == 0 || memcmp(a->bytes, b->bytes, a->length) == 0);
}

/* Another program may be writing the file at this moment, and what it writes after we replaced it would be lost: reads
 * until two readings are the same, and not empty. */
static int read_at_rest(struct resolv_conf_text *text, struct error *error)
{
	struct resolv_conf_text before;
	int result = dns_file_read(RESOLV_CONF, &before, error);
	for (unsigned i = 0; result == 0 && i < REST_TRIES; i++) {
		(void)usleep(REST_US);
		result = dns_file_read(RESOLV_CONF, text, error);
		bool rests = result == 0 && same_text(&before, text) &&
			     (text->length != 0 || access(RESOLV_CONF, F_OK) != 0);
		free(before.bytes);
		if (rests || result != 0 || i + 1 == REST_TRIES)
			return result;
		before = *text;
	}
	return result;
}

int dns_file_set(const struct resolv_conf_wish *wish, struct error *error)
{
	struct resolv_conf_text current, former = {0};
	int result = read_at_rest(&current, error);
	if (result != 0)
		return result;
	int owner = resolv_conf_owner(&current, wish->interface, error);
	if (owner == 0 && current.length > FORMER_MOST)
		owner = error_set(error, -EFBIG, RESOLV_CONF ": %zu bytes are too many", current.length);
	bool in_place = owner == 1 && resolv_conf_is_in_place(&current);
	result = owner < 0 ? owner : former_of(&current, owner, &former, error);
	if (result == 0 && !in_place)
		result = set_replaced(wish, &current, owner, &former, error);
	if (in_place || (result != 0 && result != -ENOMEM && owner == 0))
		result = set_in_place(wish, &former, error);
	free(former.bytes);
	free(current.bytes);
	return result;
}

bool dns_file_is_set(const struct resolv_conf_wish *wish)
{
	struct resolv_conf_text current, former = {0}, ours = {0};
	bool set = false;
	if (dns_file_read(RESOLV_CONF, &current, NULL) != 0)
		return false;
	int owner = resolv_conf_owner(&current, wish->interface, NULL);
	if (owner == 1 && former_of(&current, owner, &former, NULL) == 0 &&
	    write_wish(wish, &former, resolv_conf_is_in_place(&current), &ours, NULL) == 0)
		set = same_text(&ours, &current);
	free(ours.bytes);
	free(former.bytes);
	free(current.bytes);
	return set;
}

/* --- restoring ---------------------------------------------------------------------------------------------------- */

static int restore_in_place(const struct resolv_conf_text *current, struct error *error)
{
	struct resolv_conf_text former;
	if (resolv_conf_former(current, &former) != 0)
		return error_set(error, -ENOMEM, RESOLV_CONF ": out of memory");
	int result = write_file(RESOLV_CONF, 0, &former);
	free(former.bytes);
	if (result == 0)
		return 0;
	return error_set(error, result,
			 RESOLV_CONF ": cannot be written (%s); what was there before stands in it as comments",
			 strerror(-result));
}

int dns_file_restore(const char *interface, struct error *error)
{
	struct resolv_conf_text current;
	(void)unlink(PREPARED);
	int result = dns_file_read(RESOLV_CONF, &current, error);
	if (result != 0)
		return result;
	int owner = resolv_conf_owner(&current, interface, NULL);
	if (owner == 1 && resolv_conf_is_in_place(&current)) {
		result = restore_in_place(&current, error);
	} else if (owner == 1) {
		if (rename(RESOLV_CONF_SAVED, RESOLV_CONF) != 0 && (errno != ENOENT || unlink(RESOLV_CONF) != 0))
			result = error_set(error, -errno,
					   RESOLV_CONF ": cannot be restored from " RESOLV_CONF_SAVED " (%s)",
					   strerror(errno));
	} else if (owner == 0) {
		/* We were killed before we replaced it, or another program replaced ours. */
		(void)unlink(RESOLV_CONF_SAVED);
	}
	free(current.bytes);
	return result;
}
