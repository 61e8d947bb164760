// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_target.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "config/peek.h"
#include "core/host/ownership.h"
#include "core/host/privileges.h"

int ctl_target_set(struct ctl_target *target, const char *path, const char *config, struct error *error)
{
	*target = (struct ctl_target){.config = config};
	if (strlen(path) >= sizeof target->path)
		return error_set(error, -ENAMETOOLONG, "%.64s...: the path is too long for a socket", path);
	memcpy(target->path, path, strlen(path) + 1);
	return 0;
}

static int refuse_user(const struct ctl_target *target, uid_t user, struct error *error)
{
	if (target->config == NULL)
		return error_set(error, -EPERM, "%s: user ID %u answers there, who is neither root nor you: not asked",
				 target->path, (unsigned)user);
	return error_set(error, -EPERM,
			 "%s: user ID %u answers there, who is neither root nor you nor the User of %s: not asked; "
			 "give --config FILE, the one that the gateway runs with",
			 target->path, (unsigned)user, target->config);
}

int ctl_target_check_path(const struct ctl_target *target, struct error *error)
{
	struct stat status;
	if (lstat(target->path, &status) != 0 || ownership_trusted(status.st_uid))
		return 0;
	if (S_ISLNK(status.st_mode))
		return error_set(error, -EPERM, "%s: a symbolic link of user ID %u's, which is not followed",
				 target->path, (unsigned)status.st_uid);
	/* Also because an untrusted listener could make connect(2) block. */
	return target->config == NULL && target->user_name == NULL ? refuse_user(target, status.st_uid, error) : 0;
}

/* One that does not exist cannot listen. */
static void find_named(struct ctl_target *target)
{
	const struct passwd *entry = getpwnam(target->user_name);
	target->known = true;
	target->has_user = entry != NULL;
	target->user = entry != NULL ? entry->pw_uid : 0;
}

/* A configuration that does not exist, or that we may not read, counts as one with User = auto. */
static int find_user(struct ctl_target *target, struct error *error)
{
	char name[CONFIG_USER_SIZE] = "auto";
	struct privileges_user user;
	int result = target->config != NULL ? ownership_check(target->config, error) : -ENOENT;
	if (result == 0)
		result = config_peek_user(target->config, name, error);
	if (result == -ENOENT || result == -EACCES || result == -ENOTDIR)
		result = 0;
	if (result == 0)
		result = privileges_find_user(name, &user, error);
	if (result != 0)
		return result;
	target->known = true;
	target->has_user = user.change && target->config != NULL;
	target->user = user.uid;
	return 0;
}

int ctl_target_check_peer(struct ctl_target *target, int fd, struct error *error)
{
	struct ucred peer;
	socklen_t size = sizeof peer;
	/* The credentials of the process that called listen(2), at that time. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
		return error_set(error, -errno, "%s: %s", target->path, strerror(errno));
	if (ownership_trusted(peer.uid))
		return 0;
	if (!target->known && target->user_name != NULL)
		find_named(target);
	int result = target->known ? 0 : find_user(target, error);
	if (result != 0)
		return result;
	if (target->has_user && peer.uid == target->user)
		return 0;
	return refuse_user(target, peer.uid, error);
}
