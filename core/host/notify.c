// SPDX-License-Identifier: Apache-2.0
#include "core/host/notify.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/log.h"

enum {
	MESSAGE_MAX = NOTIFY_STATUS_MAX + 16,
	NOTIFY_RETRY_MS = 20,
	SIGNS_PER_WATCHDOG = 4, /* sd_watchdog_enabled(3) recommends 2; with 4 one message may be late */
};

static void send_message(const struct notify *notify, const char *format, ...) PRINTF_LIKE(2, 3);

static void send_message(const struct notify *notify, const char *format, ...)
{
	if (notify->fd < 0)
		return;
	char message[MESSAGE_MAX];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(message, sizeof message, format, args);
	va_end(args);
	/* A restarted or slow manager may miss a message; that cannot be remedied here. */
	(void)send(notify->fd, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* A path, or an abstract name behind '@'. */
static int connect_to(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(name);
	if ((name[0] != '/' && name[0] != '@') || length >= sizeof address.sun_path)
		return -EAFNOSUPPORT;
	memcpy(address.sun_path, name, length);
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (name[0] == '/' ? 1 : 0));
	if (connect(fd, (const struct sockaddr *)&address, size) == 0)
		return fd;
	int code = errno;
	close(fd);
	return -code;
}

/* The variables may be meant for a parent process. */
static uint64_t watchdog_asked_for(void)
{
	const char *pid = getenv("WATCHDOG_PID"), *usec = getenv("WATCHDOG_USEC");
	if (usec == NULL || (pid != NULL && strtol(pid, NULL, 10) != getpid()))
		return 0;
	return strtoull(usec, NULL, 10) * NS_PER_US;
}

void notify_open(struct notify *notify)
{
	*notify = (struct notify){.fd = -1};
	const char *name = getenv("NOTIFY_SOCKET");
	if (name == NULL)
		return;
	notify->fd = connect_to(name);
	if (notify->fd < 0) {
		log_warning("NOTIFY_SOCKET %s: %s: the service manager will not hear of us", name,
			    strerror(-notify->fd));
		notify->fd = -1;
	} else {
		notify->watchdog = watchdog_asked_for();
	}
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_PID");
	unsetenv("WATCHDOG_USEC");
}

void notify_close(struct notify *notify)
{
	if (notify->fd >= 0)
		close(notify->fd);
	notify->fd = -1;
}

void notify_ready(struct notify *notify)
{
	send_message(notify, "READY=1");
}

/* The time lets the manager tell this reload's READY from one that was under way before. */
void notify_reloading(struct notify *notify)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	unsigned long long usec = (uint64_t)now.tv_sec * (NS_PER_S / NS_PER_US) + (uint64_t)now.tv_nsec / NS_PER_US;
	send_message(notify, "RELOADING=1\nMONOTONIC_USEC=%llu", usec);
}

void notify_stopping(struct notify *notify)
{
	send_message(notify, "STOPPING=1");
}

void notify_status(struct notify *notify, const char *format, ...)
{
	char status[NOTIFY_STATUS_MAX];
	if (notify->fd < 0)
		return;
	va_list args;
	va_start(args, format);
	(void)vsnprintf(status, sizeof status, format, args);
	va_end(args);
	if (strcmp(status, notify->status) == 0)
		return;
	memcpy(notify->status, status, sizeof status);
	send_message(notify, "STATUS=%s", status);
}

/* Unlike other messages these may wait: they are sent at the start and at the end. */
static int send_with(const struct notify *notify, const char *text, int fd)
{
	if (notify->fd < 0)
		return -ENOTCONN;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	struct iovec iov = {.iov_base = (char *)(uintptr_t)text, .iov_len = strlen(text)};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	if (fd >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof control;
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		*header = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(header), &fd, sizeof fd);
	}
	for (int left = NOTIFY_STORE_MS; left > 0; left -= NOTIFY_RETRY_MS) {
		if (sendmsg(notify->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
			return -errno;
		struct pollfd room = {.fd = notify->fd, .events = POLLOUT};
		(void)poll(&room, 1, NOTIFY_RETRY_MS);
	}
	return -ETIMEDOUT;
}

int notify_store(const struct notify *notify, const char *name, int fd)
{
	char message[MESSAGE_MAX];
	(void)snprintf(message, sizeof message, "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	return send_with(notify, message, fd);
}

void notify_adopt_watchdog(struct notify *notify, uint64_t watchdog)
{
	if (notify->fd >= 0 && notify->watchdog == 0)
		notify->watchdog = watchdog;
}

int notify_main_process(const struct notify *notify, pid_t process)
{
	char message[MESSAGE_MAX];
	(void)snprintf(message, sizeof message, "MAINPID=%d", (int)process);
	return send_with(notify, message, -1);
}

int notify_unstore(const struct notify *notify, const char *name)
{
	char message[MESSAGE_MAX];
	(void)snprintf(message, sizeof message, "FDSTOREREMOVE=1\nFDNAME=%s", name);
	return send_with(notify, message, -1);
}

/* The manager closes the descriptor that it gets when it is that message's turn. Not a pipe: the unit's sandbox allows
 * none. */
int notify_barrier(const struct notify *notify)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return -errno;
	int result = send_with(notify, "BARRIER=1", ends[1]);
	close(ends[1]);
	struct pollfd closed = {.fd = ends[0], .events = 0}; /* POLLHUP comes unasked */
	int ready = result == 0 ? poll(&closed, 1, NOTIFY_STORE_MS) : -1;
	close(ends[0]);
	return result != 0 ? result : ready > 0 ? 0 : ready == 0 ? -ETIMEDOUT : -EIO;
}

bool notify_watchdog_due(const struct notify *notify, uint64_t now)
{
	return notify->watchdog != 0 && now - notify->alive >= notify->watchdog / SIGNS_PER_WATCHDOG;
}

void notify_watchdog(struct notify *notify, uint64_t now)
{
	send_message(notify, "WATCHDOG=1");
	notify->alive = now;
}
