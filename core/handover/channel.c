// SPDX-License-Identifier: Apache-2.0
#include "core/handover/channel.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct channel_head {
	uint32_t kind, length;
};

union control {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE(sizeof(int) * CHANNEL_DESCRIPTORS_MAX)];
};

int channel_check_peer(int fd, struct error *error)
{
	struct ucred peer;
	socklen_t size = sizeof peer;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
		return error_set(error, -errno, "take-over: credentials of the other process: %s", strerror(errno));
	if (peer.uid == 0 || peer.uid == geteuid())
		return 0;
	return error_set(error, -EPERM, "take-over: process %d is of user %u, which may not have the sessions",
			 (int)peer.pid, peer.uid);
}

int channel_send(int fd, const struct channel_message *message, struct error *error)
{
	struct channel_head head = {.kind = message->kind, .length = message->length};
	struct iovec parts[] = {{&head, sizeof head}, {(void *)(uintptr_t)message->payload, message->length}};
	union control control = {0};
	struct msghdr header = {.msg_iov = parts, .msg_iovlen = ARRAY_SIZE(parts)};
	if (message->fd_count != 0) {
		size_t size = message->fd_count * sizeof(int);
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(size);
		struct cmsghdr *first = CMSG_FIRSTHDR(&header);
		first->cmsg_level = SOL_SOCKET;
		first->cmsg_type = SCM_RIGHTS;
		first->cmsg_len = CMSG_LEN(size);
		memcpy(CMSG_DATA(first), message->fds, size);
	}
	ssize_t sent;
	do
		sent = sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	return sent >= 0 ? 0 : error_set(error, -errno, "take-over: cannot send (%s)", strerror(errno));
}

void channel_refuse(int fd, const char *text)
{
	struct channel_message message = {.kind = CHANNEL_REFUSED, .length = (uint32_t)strlen(text)};
	if (message.length > CHANNEL_BYTES_MAX)
		return;
	memcpy(message.payload, text, message.length);
	(void)channel_send(fd, &message, NULL);
}

void channel_close_descriptors(struct channel_message *message)
{
	for (size_t i = 0; i < message->fd_count; i++)
		(void)close(message->fds[i]);
	message->fd_count = 0;
}

static int wait_readable(int fd, int limit_ms, struct error *error)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	int ready;
	do
		ready = poll(&readable, 1, limit_ms);
	while (ready < 0 && errno == EINTR);
	if (ready < 0)
		return error_set(error, -errno, "take-over: %s", strerror(errno));
	return ready > 0 ? 0 : error_set(error, -ETIMEDOUT, "take-over: the other process does not answer");
}

/* What came as descriptors is kept in the message, all of it. */
static void take_descriptors(struct msghdr *header, struct channel_message *message)
{
	for (struct cmsghdr *one = CMSG_FIRSTHDR(header); one != NULL; one = CMSG_NXTHDR(header, one)) {
		if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS)
			continue;
		size_t size = one->cmsg_len - CMSG_LEN(0);
		memcpy(&message->fds[message->fd_count], CMSG_DATA(one), size);
		message->fd_count += size / sizeof(int);
	}
}

static int receive(int fd, struct channel_message *message, struct error *error)
{
	struct channel_head head;
	struct iovec parts[] = {{&head, sizeof head}, {message->payload, CHANNEL_BYTES_MAX}};
	union control control;
	struct msghdr header = {.msg_iov = parts,
				.msg_iovlen = ARRAY_SIZE(parts),
				.msg_control = &control,
				.msg_controllen = sizeof control};
	ssize_t got;
	do
		got = recvmsg(fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	message->fd_count = 0;
	if (got < 0 && errno != ECONNRESET)
		return error_set(error, -errno, "take-over: cannot receive (%s)", strerror(errno));
	if (got <= 0)
		return error_set(error, -ECONNRESET, "take-over: the other process is gone");
	take_descriptors(&header, message);
	if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || (size_t)got < sizeof head ||
	    head.length != (size_t)got - sizeof head)
		return error_set(error, -EPROTO, "take-over: a message that is none");
	message->kind = (enum channel_kind)head.kind;
	message->length = head.length;
	message->payload[head.length] = '\0';
	return 0;
}

int channel_receive(int fd, enum channel_kind kind, struct channel_message *message, int limit_ms, struct error *error)
{
	message->fd_count = 0;
	int result = wait_readable(fd, limit_ms, error);
	if (result == 0)
		result = receive(fd, message, error);
	if (result == 0 && message->kind == CHANNEL_REFUSED)
		result = error_set(error, -ECONNREFUSED, "%s", (const char *)message->payload);
	else if (result == 0 && message->kind == CHANNEL_RELOADS)
		result = error_set(error, -EALREADY, "take-over: the gateway that runs has the same program");
	else if (result == 0 && message->kind != kind)
		result = error_set(error, -EPROTO, "take-over: message %u came, not %u", message->kind, kind);
	if (result != 0)
		channel_close_descriptors(message);
	return result;
}
