// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/metrics_listener.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/control/listener.h"

enum {
	METRICS_BACKLOG = 64,
	METRICS_SOCKET_MODE = 0660,
};

static bool is_loopback(const struct ip_address *address)
{
	static const struct ip_prefix loopback4 = {{.family = 4, .bytes = {127}}, 8};
	static const struct ip_prefix loopback6 = {{.family = 6, .bytes = {[15] = 1}}, 128};
	return ip_prefix_contains(&loopback4, address) || ip_prefix_contains(&loopback6, address);
}

union tcp_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static union tcp_address tcp_address(const struct config_listener *config)
{
	union tcp_address address = {.v6 = {.sin6_family = AF_UNSPEC}};
	if (config->address.family == 6) {
		address.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(config->port)};
		memcpy(&address.v6.sin6_addr, config->address.bytes, sizeof address.v6.sin6_addr);
	} else {
		address.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(config->port)};
		memcpy(&address.v4.sin_addr, config->address.bytes, sizeof address.v4.sin_addr);
	}
	return address;
}

static int listen_tcp(struct metrics_listener *listener, const struct config_listener *config, struct error *error)
{
	union tcp_address address = tcp_address(config);
	bool v6 = config->address.family == 6;
	char text[IP_TEXT_MAX];
	ip_address_format(&config->address, text);
	int on = 1;
	listener->fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener->fd >= 0 && setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
	    bind(listener->fd, &address.any, v6 ? sizeof address.v6 : sizeof address.v4) == 0 &&
	    listen(listener->fd, METRICS_BACKLOG) == 0)
		return 0;
	int failure = errno;
	return error_set(error, -failure, "MetricsListen = %s%s%s:%u: cannot listen (%s); %s", v6 ? "[" : "", text,
			 v6 ? "]" : "", config->port, strerror(failure),
			 failure == EADDRINUSE ? "stop the program that does, or choose another port or off"
					       : "choose an address of this machine, or off");
}

/* Makes way for our socket, unless there is something else than the socket of a daemon that ended. */
static int remove_stale(const struct sockaddr_un *address, struct error *error)
{
	struct stat status = {0};
	if (lstat(address->sun_path, &status) != 0 && errno == ENOENT)
		return 0;
	int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return error_set(error, -errno, "MetricsListen = unix:%s: %s", address->sun_path, strerror(errno));
	int failure = connect(probe, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
	close(probe);
	if (!S_ISSOCK(status.st_mode) || failure != ECONNREFUSED)
		return error_set(error, -EADDRINUSE,
				 "MetricsListen = unix:%s: something is there; remove it, stop the program that "
				 "listens, or choose "
				 "another path or off",
				 address->sun_path);
	if (unlink(address->sun_path) != 0)
		return error_set(error, -errno, "MetricsListen = unix:%s: cannot remove the one left behind (%s)",
				 address->sun_path, strerror(errno));
	return 0;
}

static int listen_unix(struct metrics_listener *listener, const char *path, struct error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat status;
	memcpy(address.sun_path, path, strnlen(path, sizeof address.sun_path - 1));
	int result = remove_stale(&address, error);
	if (result != 0)
		return result;
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* The file gets the descriptor's mode, cut by the umask: it is never wider open than in the end. */
	if (listener->fd < 0 || fchmod(listener->fd, METRICS_SOCKET_MODE) != 0 ||
	    bind(listener->fd, (const struct sockaddr *)&address, sizeof address) != 0)
		return error_set(error, -errno, "MetricsListen = unix:%s: cannot listen (%s); is its directory there?",
				 path, strerror(errno));
	listener->path = address;
	if (chmod(path, METRICS_SOCKET_MODE) != 0 || lstat(path, &status) != 0 ||
	    listen(listener->fd, METRICS_BACKLOG) != 0) {
		int failure = errno;
		unlink(path);
		return error_set(error, -failure, "MetricsListen = unix:%s: cannot listen (%s)", path,
				 strerror(failure));
	}
	listener->device = status.st_dev;
	listener->inode = status.st_ino;
	return 0;
}

int metrics_listener_open(struct metrics_listener *listener, const struct config_listener *config, struct error *error)
{
	*listener = (struct metrics_listener){.fd = -1};
	if (config->path == NULL && config->port == 0)
		return 0;
	listener->private = config->path == NULL && is_loopback(&config->address);
	int result = config->path != NULL ? listen_unix(listener, config->path, error)
					  : listen_tcp(listener, config, error);
	if (result != 0)
		metrics_listener_close(listener);
	return result;
}

static int check_tcp(const struct config_listener *config, int fd, struct error *error)
{
	union tcp_address wanted = tcp_address(config), bound = {.v6 = {.sin6_family = AF_UNSPEC}};
	socklen_t size = sizeof bound, length = sizeof(int);
	int listens = 0, protocol = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) != 0 || protocol != IPPROTO_TCP ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0 || listens == 0 ||
	    getsockname(fd, &bound.any, &size) != 0)
		return error_set(error, -EPROTO, "no TCP socket that listens");
	bool same = bound.any.sa_family == wanted.any.sa_family &&
		    (wanted.any.sa_family == AF_INET6
			     ? bound.v6.sin6_port == wanted.v6.sin6_port &&
				       IN6_ARE_ADDR_EQUAL(&bound.v6.sin6_addr, &wanted.v6.sin6_addr)
			     : bound.v4.sin_port == wanted.v4.sin_port &&
				       bound.v4.sin_addr.s_addr == wanted.v4.sin_addr.s_addr);
	return same ? 0 : error_set(error, -EPROTO, "a socket of another address or port");
}

int metrics_listener_check(const struct config_listener *config, int fd, struct error *error)
{
	return config->path != NULL ? control_listener_check(fd, config->path, error) : check_tcp(config, fd, error);
}

int metrics_listener_adopt(struct metrics_listener *listener, const struct config_listener *config, int fd,
			   struct error *error)
{
	struct stat status;
	*listener = (struct metrics_listener){.fd = fd,
					      .private = config->path == NULL && is_loopback(&config->address)};
	int result = metrics_listener_check(config, fd, error);
	if (result == 0 && config->path != NULL && (lstat(config->path, &status) != 0 || !S_ISSOCK(status.st_mode)))
		result = error_set(error, -EPROTO, "its file is gone");
	if (result != 0) {
		metrics_listener_close(listener);
		return error_prefix(error, result, "MetricsListen: ");
	}
	if (config->path == NULL)
		return 0;
	listener->path.sun_family = AF_UNIX;
	memcpy(listener->path.sun_path, config->path, strnlen(config->path, sizeof listener->path.sun_path - 1));
	listener->device = status.st_dev;
	listener->inode = status.st_ino;
	return 0;
}

void metrics_listener_leave(struct metrics_listener *listener)
{
	listener->inode = 0;
}

int metrics_listener_give(const struct metrics_listener *listener, uid_t user, gid_t group, struct error *error)
{
	if (listener->inode == 0 || lchown(listener->path.sun_path, user, group) == 0)
		return 0;
	return error_set(error, -errno, "MetricsListen %s: cannot be given to user ID %u (%s)", listener->path.sun_path,
			 (unsigned)user, strerror(errno));
}

void metrics_listener_close(struct metrics_listener *listener)
{
	struct stat status;
	const char *path = listener->path.sun_path;
	if (listener->fd >= 0)
		close(listener->fd);
	if (listener->inode != 0 && lstat(path, &status) == 0 && status.st_dev == listener->device &&
	    status.st_ino == listener->inode)
		unlink(path);
	*listener = (struct metrics_listener){.fd = -1};
}
