// SPDX-License-Identifier: Apache-2.0
/* A real interface with steered queues, in a network namespace of the test's own. Skips the test where the machine
 * cannot make them. */
#pragma once

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tun/tun.h"

enum { STEERED_SOURCE_PORT = 5000 };

static inline void steered_namespace(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		cr_skip_test("a network namespace of our own needs CAP_SYS_ADMIN");
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		cr_skip_test("no /dev/net/tun to open");
}

/* tun9 with 10.8.77.1/16 and fd00:8::5:1/64, its first `readers` queues steered to, `writers` in all behind the first
 * one. What else `params` says stays. */
static inline void steered_open(struct tun_device *device, struct tun_params params, uint32_t queues)
{
	static struct ip_prefix addresses[2];
	static struct error error;
	cr_assert(ip_prefix_parse("10.8.77.1/16", &addresses[0]));
	cr_assert(ip_prefix_parse("fd00:8::5:1/64", &addresses[1]));
	params.name = "tun9";
	params.mtu = 1420;
	params.addresses = addresses;
	params.address_count = ARRAY_SIZE(addresses);
	params.steering = (struct queue_steering){.queues = queues, .base4 = 0x0a080000, .base6 = 0};
	cr_assert_eq(tun_device_open(device, &params, &error), 0, "%s", error.text);
}

/* Reads a frame, if there is one. */
static inline bool steered_read(struct tun_queue *queue, uint8_t **frame, uint32_t *length)
{
	static uint8_t buffer[TUN_FRAME_MAX];
	struct iovec iov = {buffer, sizeof buffer};
	if (queue->ops->read(queue, &iov, 1) != 1)
		return false;
	*frame = buffer;
	*length = (uint32_t)iov.iov_len;
	return true;
}

/* A socket that sends from always the same port. */
static inline int steered_socket(int family)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), yes = 1;
	(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(STEERED_SOURCE_PORT)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(STEERED_SOURCE_PORT)};
	cr_assert_eq(family == AF_INET ? bind(fd, (struct sockaddr *)&v4, sizeof v4)
				       : bind(fd, (struct sockaddr *)&v6, sizeof v6),
		     0);
	return fd;
}

static inline void steered_send(int fd, int family, const char *to, uint16_t port, size_t length)
{
	static const uint8_t payload[4000];
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	cr_assert_eq(inet_pton(family, to, family == AF_INET ? (void *)&v4.sin_addr : (void *)&v6.sin6_addr), 1);
	cr_assert_eq(sendto(fd, payload, length, 0, family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
			    family == AF_INET ? sizeof v4 : sizeof v6),
		     (ssize_t)length, "%s", to);
}
