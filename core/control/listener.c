// SPDX-License-Identifier: Apache-2.0
#include "core/control/listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/log.h"

const struct control_socket_kind control_socket_kind = {
	.name = "control socket", .elsewhere = "set ControlSocket", .left = "set ControlSocket", .mode = 0660};

enum {
	DIRECTORY_MODE = 0755,
	SHARED_DIRECTORY_MODE = 01775, /* as tmpfiles make it: each removes its own */
	BACKLOG = 16,
};

static int type_of(const struct control_socket_kind *kind)
{
	return kind->type != 0 ? kind->type : SOCK_STREAM;
}

/* False: the path is in the root or the working directory, which is not ours to make. */
static bool directory_of(const char *path, char directory[sizeof((struct sockaddr_un){0}).sun_path])
{
	const char *slash = strrchr(path, '/');
	if (slash == NULL || slash == path)
		return false;
	size_t length = (size_t)(slash - path);
	memcpy(directory, path, length);
	directory[length] = '\0';
	return true;
}

static int make_directory(const struct control_socket_kind *kind, const char *path, bool *made, struct error *error)
{
	char directory[sizeof((struct sockaddr_un){0}).sun_path];
	if (!directory_of(path, directory))
		return 0;
	if (mkdir(directory, DIRECTORY_MODE) != 0)
		return errno == EEXIST ? 0
				       : error_set(error, -errno, "%s %s: cannot make the directory %s (%s)",
						   kind->name, path, directory, strerror(errno));
	*made = true;
	/* The mode asked for, whatever the umask of a start by hand: other users look for the socket here. */
	if (chmod(directory, DIRECTORY_MODE) != 0)
		return error_set(error, -errno, "%s %s: cannot set the mode of %s (%s)", kind->name, path, directory,
				 strerror(errno));
	return 0;
}

int control_make_directory(const char *path, struct error *error)
{
	bool made;
	return make_directory(&control_socket_kind, path, &made, error);
}

/* Makes way for our socket, unless another daemon has one there. */
static int remove_stale(const struct control_socket_kind *kind, const struct sockaddr_un *address, struct error *error)
{
	const char *path = address->sun_path;
	struct stat status;
	if (lstat(path, &status) != 0)
		return errno == ENOENT ? 0 : error_set(error, -errno, "%s %s: %s", kind->name, path, strerror(errno));
	if (!S_ISSOCK(status.st_mode))
		return error_set(error, -EEXIST, "%s %s: something that is no socket is there; remove it or %s",
				 kind->name, path, kind->elsewhere);

	int probe = socket(AF_UNIX, type_of(kind) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return error_set(error, -errno, "%s %s: %s", kind->name, path, strerror(errno));
	int failure = connect(probe, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
	close(probe);
	/* EAGAIN: the listen queue is full, but there is one. */
	if (failure == 0 || failure == EAGAIN)
		return error_set(error, -EADDRINUSE, "%s %s: another daemon answers there; stop it or %s", kind->name,
				 path, kind->elsewhere);
	if (failure != ECONNREFUSED && failure != ENOENT)
		return error_set(error, -failure, "%s %s: cannot tell whether another daemon uses it (%s)", kind->name,
				 path, strerror(failure));
	if (unlink(path) != 0 && errno != ENOENT)
		return error_set(error, -errno, "%s %s: cannot remove the one left behind (%s)", kind->name, path,
				 strerror(errno));
	return 0;
}

int control_remove_stale(const char *path, struct error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(path);
	if (length >= sizeof address.sun_path)
		return 0;
	memcpy(address.sun_path, path, length);
	return remove_stale(&control_socket_kind, &address, error);
}

static int bind_and_listen(struct control_listener *listener, struct error *error)
{
	const char *path = listener->address.sun_path, *name = listener->kind->name;
	const struct sockaddr *address = (const struct sockaddr *)&listener->address;
	mode_t mode = listener->kind->mode;
	struct stat status;
	listener->fd = socket(AF_UNIX, type_of(listener->kind) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener->fd < 0)
		return error_set(error, -errno, "%s %s: %s", name, path, strerror(errno));
	/* The file gets the descriptor's mode, cut by the umask: it is never wider open than in the end. */
	if (fchmod(listener->fd, mode) != 0 || bind(listener->fd, address, sizeof listener->address) != 0)
		return error_set(error, -errno, "%s %s: cannot bind (%s)", name, path, strerror(errno));
	if (chmod(path, mode) != 0 || lstat(path, &status) != 0 || listen(listener->fd, BACKLOG) != 0) {
		int failure = errno;
		unlink(path);
		return error_set(error, -failure, "%s %s: cannot listen (%s)", name, path, strerror(failure));
	}
	listener->device = status.st_dev;
	listener->inode = status.st_ino;
	return 0;
}

int control_listener_open_as(struct control_listener *listener, const struct control_socket_kind *kind,
			     const char *path, struct error *error)
{
	size_t length = strlen(path);
	*listener = (struct control_listener){.fd = -1, .kind = kind, .address.sun_family = AF_UNIX};
	if (length >= sizeof listener->address.sun_path)
		return error_set(error, -ENAMETOOLONG, "%s %s: the path is longer than %zu bytes; %s", kind->name, path,
				 sizeof listener->address.sun_path - 1, kind->elsewhere);
	memcpy(listener->address.sun_path, path, length);
	int result = make_directory(kind, path, &listener->made_directory, error);
	if (result == 0)
		result = remove_stale(kind, &listener->address, error);
	if (result == 0)
		result = bind_and_listen(listener, error);
	if (result != 0)
		control_listener_close(listener);
	return result;
}

static int check(int fd, int wanted, const char *path, struct error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNSPEC};
	socklen_t size = sizeof address, length = sizeof(int);
	int listens = 0, type = 0;
	if (getsockname(fd, (struct sockaddr *)&address, &size) != 0 || address.sun_family != AF_UNIX ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != wanted ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0 || listens == 0)
		return error_set(error, -EPROTO, "no socket that listens");
	if (strncmp(address.sun_path, path, sizeof address.sun_path) != 0)
		return error_set(error, -EPROTO, "a socket at another path");
	return 0;
}

int control_listener_check(int fd, const char *path, struct error *error)
{
	return check(fd, SOCK_STREAM, path, error);
}

int control_listener_adopt(struct control_listener *listener, const struct control_socket_kind *kind, const char *path,
			   int fd, struct error *error)
{
	struct stat status;
	*listener = (struct control_listener){.fd = fd, .kind = kind, .address.sun_family = AF_UNIX};
	int result = check(fd, type_of(kind), path, error);
	if (result == 0 && (lstat(path, &status) != 0 || !S_ISSOCK(status.st_mode)))
		result = error_set(error, -EPROTO, "its file is gone");
	if (result != 0) {
		control_listener_close(listener);
		return error_prefix(error, result, "%s %s: ", kind->name, path);
	}
	memcpy(listener->address.sun_path, path, strlen(path));
	listener->device = status.st_dev;
	listener->inode = status.st_ino;
	return 0;
}

void control_listener_leave(struct control_listener *listener)
{
	listener->inode = 0;
}

int control_listener_open(struct control_listener *listener, const char *path, struct error *error)
{
	return control_listener_open_as(listener, &control_socket_kind, path, error);
}

void control_listener_close(struct control_listener *listener)
{
	struct stat status;
	const char *path = listener->address.sun_path;
	if (listener->inode != 0 && lstat(path, &status) == 0 && status.st_dev == listener->device &&
	    status.st_ino == listener->inode)
		unlink(path);
	if (listener->fd >= 0)
		close(listener->fd);
	*listener = (struct control_listener){.fd = -1};
}

int control_listener_give(const struct control_listener *listener, uid_t user, gid_t group, struct error *error)
{
	const char *path = listener->address.sun_path;
	char directory[sizeof listener->address.sun_path];
	bool ours = directory_of(path, directory) &&
		    (listener->made_directory || strcmp(directory, CONTROL_DIRECTORY) == 0);
	if (lchown(path, user, group) != 0 ||
	    (ours && (lchown(directory, 0, group) != 0 || chmod(directory, SHARED_DIRECTORY_MODE) != 0)))
		return error_set(error, -errno, "%s %s: cannot be given to user ID %u (%s)", listener->kind->name, path,
				 (unsigned)user, strerror(errno));
	return 0;
}

void control_listener_check_removable(const struct control_listener *listener)
{
	const char *path = listener->address.sun_path;
	char directory[sizeof listener->address.sun_path];
	if (directory_of(path, directory) && faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) != 0)
		log_warning("%s %s: user ID %u cannot remove it at the end, for it may not write to %s; %s",
			    listener->kind->name, path, (unsigned)geteuid(), directory, listener->kind->left);
}
