// SPDX-License-Identifier: Apache-2.0
#include "core/host/ownership.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

bool ownership_trusted(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

static int check_one(const char *path, bool last, struct error *error)
{
	struct stat status;
	if (lstat(path, &status) != 0)
		return error_set(error, -errno, "%s: %s", path, strerror(errno));
	if (!ownership_trusted(status.st_uid))
		return error_set(error, -EPERM,
				 "%s: belongs to user ID %u, who may put there what he likes; chown root it", path,
				 (unsigned)status.st_uid);
	bool shared = (status.st_mode & (S_IWGRP | S_IWOTH)) != 0 && !S_ISLNK(status.st_mode);
	bool sticky = S_ISDIR(status.st_mode) && (status.st_mode & S_ISVTX) != 0;
	if (shared && (last || !sticky))
		return error_set(
			error, -EPERM,
			"%s: others than root may write to it (mode %04o); choose another place, or run chmod go-w",
			path, (unsigned)status.st_mode & 07777);
	return 0;
}

/* Each prefix of an absolute path that ends before a slash, then all of it. */
static int check_each(const char *path, struct error *error)
{
	char prefix[PATH_MAX];
	size_t length = strlen(path);
	if (length >= sizeof prefix)
		return error_set(error, -ENAMETOOLONG, "%.200s...: the path is too long", path);
	int result = check_one("/", path[1] == '\0', error);
	for (size_t end = 1; end < length && result == 0; end++) {
		end += strcspn(path + end, "/");
		memcpy(prefix, path, end);
		prefix[end] = '\0';
		result = check_one(prefix, end == length, error);
	}
	return result;
}

int ownership_check(const char *path, struct error *error)
{
	char here[PATH_MAX], *absolute = NULL;
	int length;
	if (path[0] == '/')
		length = asprintf(&absolute, "%s", path);
	else if (getcwd(here, sizeof here) != NULL)
		length = asprintf(&absolute, "%s/%s", here, path);
	else
		return error_set(error, -errno, "%s: %s", path, strerror(errno));
	if (length < 0)
		return error_set(error, -ENOMEM, "%s: out of memory", path);
	/* Both the path as written, with its symbolic links, and the resolved one. */
	char *resolved = realpath(absolute, NULL);
	int result = resolved != NULL ? check_each(resolved, error)
				      : error_set(error, -errno, "%s: %s", path, strerror(errno));
	if (result == 0)
		result = check_each(absolute, error);
	free(resolved);
	free(absolute);
	return result;
}
