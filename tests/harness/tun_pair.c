// SPDX-License-Identifier: Apache-2.0
#include "tests/harness/tun_pair.h"

#include <sys/socket.h>
#include <unistd.h>

static struct tun_pair *pair_of(struct tun_queue *queue)
{
	return (struct tun_pair *)queue;
}

static int pair_read(struct tun_queue *queue, struct iovec *frames, size_t count)
{
	size_t got = 0;
	while (got < count) {
		ssize_t length = recv(queue->fd, frames[got].iov_base, frames[got].iov_len, MSG_DONTWAIT);
		if (length == 0)
			return got > 0 ? (int)got : -EIO; /* the other end was closed */
		if (length < 0)
			return errno == EAGAIN || got > 0 ? (int)got : -errno;
		frames[got++].iov_len = (size_t)length;
	}
	return (int)got;
}

static int pair_write(struct tun_queue *queue, const struct tun_frame *frame)
{
	int error = atomic_exchange_explicit(&pair_of(queue)->write_error, 0, memory_order_relaxed);
	if (error != 0)
		return error;
	struct msghdr header = {.msg_iov = (struct iovec *)frame->iov, .msg_iovlen = (size_t)frame->iov_count};
	return sendmsg(queue->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ? 0 : -errno;
}

static const struct tun_ops pair_ops = {.read = pair_read, .write = pair_write};

int tun_pair_open(struct tun_pair *pair, struct tun_offloads offloads)
{
	int fds[2], room = 1 << 22;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		(void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof room); /* as much as is allowed */
	*pair = (struct tun_pair){
		.queue = {.ops = &pair_ops, .fd = fds[0], .offloads = offloads},
		.other = fds[1],
	};
	return 0;
}

void tun_pair_close(struct tun_pair *pair)
{
	close(pair->queue.fd);
	close(pair->other);
}

int tun_pair_put(struct tun_pair *pair, const void *frame, size_t length)
{
	return send(pair->other, frame, length, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ? 0 : -errno;
}

size_t tun_pair_take(struct tun_pair *pair, uint8_t *frame)
{
	ssize_t got = recv(pair->other, frame, TUN_FRAME_MAX, MSG_DONTWAIT);
	return got > 0 ? (size_t)got : 0;
}
