// SPDX-License-Identifier: Apache-2.0
/* A real interface with steered queues, in a network namespace of the test's own. Skips the test where the machine
 * cannot make them. */
#pragma once

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
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

/* Sends packets whose headers promise more than is there, of every length, and calls `comes_out` after each, which says
 * whether exactly one frame did. */
static inline void steered_send_broken(bool (*comes_out)(void))
{
	static const uint8_t packets[][60] = {{0x45, [9] = IPPROTO_UDP},
					      {0x4f, [9] = IPPROTO_TCP},
					      {0x60, [6] = IPPROTO_UDP},
					      {0x60, [6] = 44},
					      {0xf0},
					      {0x00}};
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = (int)if_nametoindex("tun9")};
	for (size_t i = 0; i < ARRAY_SIZE(packets); i++) {
		for (size_t length = 1; length <= sizeof packets[i]; length++) {
			cr_assert_eq(sendto(fd, packets[i], length, 0, (struct sockaddr *)&to, sizeof to),
				     (ssize_t)length);
			cr_assert(comes_out(), "packet %zu, %zu bytes", i, length);
		}
	}
	close(fd);
}
