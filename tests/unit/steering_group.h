// SPDX-License-Identifier: Apache-2.0
/* A steered group of real sockets, and sockets that send to it. */
#pragma once

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "workers/steering.h"
#include "workers/udp.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { GROUP_MAX = 16, NO_SOCKET = -1 };

static struct error error;
static uint8_t datagram[UDP_MESSAGE_MAX]; /* what is sent */

struct group {
	struct udp_socket *sockets[GROUP_MAX];
	size_t count;
	struct sockaddr_in to4;
	struct sockaddr_in6 to6;
	struct udp_message last; /* what came, in `room` */
	uint8_t room[UDP_MESSAGE_MAX];
};

static inline void group_open_sockets(struct group *group, size_t count, bool gro, const char *address4,
				      const char *address6)
{
	const struct udp_params params = {.buffer = 1 << 20, .gso = true, .gro = gro};
	struct sockaddr_in6 bound;

	group->count = count;
	cr_assert_leq(group->count, GROUP_MAX);
	cr_assert_eq(udp_open_group(&params, group->count, group->sockets, &error), 0, "%s", error.text);

	udp_address(group->sockets[0], &bound);
	group->to4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = bound.sin6_port};
	group->to6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = bound.sin6_port};
	cr_assert_eq(inet_pton(AF_INET, address4, &group->to4.sin_addr), 1);
	cr_assert_eq(inet_pton(AF_INET6, address6, &group->to6.sin6_addr), 1);
}

static inline void group_open(struct group *group, const struct steering *steering, bool gro, const char *address4,
			      const char *address6)
{
	group_open_sockets(group, steering->workers + steering->handshakers, gro, address4, address6);
	cr_assert_eq(steering_attach(group->sockets[0]->fd, steering, &error), 0, "%s", error.text);
}

static inline void group_close(struct group *group)
{
	for (size_t i = group->count; i > 0; i--)
		udp_close(group->sockets[i - 1]);
}

/* The first socket that has a message after at most `ms`, or NO_SOCKET. */
static inline int group_receive(struct group *group, int ms)
{
	struct pollfd polled[GROUP_MAX];

	for (size_t i = 0; i < group->count; i++)
		polled[i] = (struct pollfd){.fd = group->sockets[i]->fd, .events = POLLIN};
	if (poll(polled, group->count, ms) <= 0)
		return NO_SOCKET;
	for (size_t i = 0; i < group->count; i++) {
		if (polled[i].revents == 0)
			continue;
		group->last = (struct udp_message){.data = group->room};
		cr_assert_eq(group->sockets[i]->ops->receive(group->sockets[i], &group->last, 1), 1);
		return (int)i;
	}
	return NO_SOCKET;
}

/* A socket on an address of either family and a port of its own. */
static inline int source_open(const char *address)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
	int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	cr_assert_geq(fd, 0);
	cr_assert(is_v4 || inet_pton(AF_INET6, address, &v6.sin6_addr) == 1);
	cr_assert_eq(bind(fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6, is_v4 ? sizeof v4 : sizeof v6),
		     0, "%s", address);
	return fd;
}

/* Sends `length` bytes of `datagram` to the group, as a train of datagrams of `segment` bytes unless that is 0. */
static inline void source_send(int fd, const struct group *group, size_t length, uint16_t segment)
{
	int family, value = segment;
	socklen_t size = sizeof family;

	cr_assert_eq(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size), 0);
	cr_assert_eq(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &value, sizeof value), 0);
	bool is_v4 = family == AF_INET;
	cr_assert_eq(sendto(fd, datagram, length, 0,
			    is_v4 ? (const struct sockaddr *)&group->to4 : (const struct sockaddr *)&group->to6,
			    is_v4 ? sizeof group->to4 : sizeof group->to6),
		     (ssize_t)length);
}

/* A header as it may arrive, forged ones included. */
static inline void fill(uint8_t first)
{
	static uint32_t state = 1;

	for (size_t i = 0; i < 32; i++) {
		state = state * 1664525 + 1013904223;
		datagram[i] = (uint8_t)(state >> 24);
	}
	datagram[0] = first;
}

/* `count` datagrams of `size` bytes, each of another session, the first one with `first` and `id`. */
static inline void fill_train(uint8_t first, uint32_t id, size_t count, uint16_t size)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t *message = datagram + i * size;
		message[0] = i == 0 ? first : 0x14;
		if (size >= 9) {
			store_be32(message + 1, id + (uint32_t)i);
			store_be32(message + 5, (uint32_t)i + 1);
		}
	}
}
