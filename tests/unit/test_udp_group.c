// SPDX-License-Identifier: Apache-2.0
/* Sockets of the kernel that share one port. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "workers/steering.h"
#include "workers/udp.h"

enum { COUNT = 5 };

static struct error error;
static struct udp_socket *sockets[COUNT];

static uint16_t port_of(const struct udp_socket *socket)
{
	struct sockaddr_in6 bound;
	udp_address(socket, &bound);
	return ntohs(bound.sin6_port);
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t length = sizeof value;
	cr_assert_eq(getsockopt(fd, level, name, &value, &length), 0);
	return value;
}

/* COUNT of them on a port of the kernel's choice, which is returned. */
static uint16_t open_group(void)
{
	const struct udp_params params = {.buffer = 1 << 18, .gso = true, .gro = true};
	cr_assert_eq(udp_open_group(&params, COUNT, sockets, &error), 0, "%s", error.text);
	return port_of(sockets[0]);
}

static void close_group(void)
{
	for (int i = COUNT; i > 0; i--)
		udp_close(sockets[i - 1]);
}

/* Another socket on the port: 0, or the errno of bind. */
static int bind_another(uint16_t port, int reuse, int *fd)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	*fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert_geq(*fd, 0);
	cr_assert_eq(setsockopt(*fd, SOL_SOCKET, SO_REUSEPORT, &reuse, sizeof reuse), 0);
	return bind(*fd, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
}

static size_t open_descriptors(void)
{
	size_t count = 0;
	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

Test(udp_group, all_alike)
{
	uint16_t port = open_group();

	cr_assert_neq(port, 0);
	for (int i = 0; i < COUNT; i++) {
		int fd = sockets[i]->fd;
		cr_assert_eq(port_of(sockets[i]), port);
		cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
		cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		cr_assert_eq(option(fd, SOL_SOCKET, SO_REUSEPORT), 1);
		cr_assert_eq(option(fd, SOL_SOCKET, SO_RCVBUF), option(sockets[0]->fd, SOL_SOCKET, SO_RCVBUF));
		cr_assert_geq(option(fd, SOL_SOCKET, SO_RCVBUF), 1 << 18);
		cr_assert_eq(sockets[i]->gro, sockets[0]->gro);
		cr_assert_eq(sockets[i]->gso, sockets[0]->gso);
		cr_assert_eq((uintptr_t)sockets[i] % CACHE_LINE, 0, "none shares a line with its neighbour");
	}
	close_group();
}

Test(udp_group, index_is_the_order_of_binding)
{
	struct steering steering = {.workers = COUNT - 1, .handshakers = 1, .slot_mask = 0xffff};
	uint16_t port = open_group();
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(steering_attach(sockets[COUNT - 1]->fd, &steering, &error), 0, "%s", error.text);
	for (int i = 0; i < COUNT; i++) {
		uint8_t room[64], message[32] = {i == COUNT - 1 ? 0x11 : 0x14, 0, 0, 0, (uint8_t)i};
		struct pollfd readable = {.fd = sockets[i]->fd, .events = POLLIN};
		cr_assert_eq(sendto(fd, message, sizeof message, 0, (struct sockaddr *)&to, sizeof to), 32);
		cr_assert_eq(poll(&readable, 1, 240000), 1);
		cr_assert_eq(recv(sockets[i]->fd, room, sizeof room, 0), 32);
		cr_assert_eq(room[4], i);
	}
	close(fd);
	close_group();
}

Test(udp_group, port_that_another_has)
{
	const struct udp_params any = {.buffer = 1 << 18};
	struct error expected;

	for (int reuse = 0; reuse < 2; reuse++) {
		int holder;
		cr_assert_eq(bind_another(0, reuse, &holder), 0);
		struct sockaddr_in6 bound;
		socklen_t length = sizeof bound;
		cr_assert_eq(getsockname(holder, (struct sockaddr *)&bound, &length), 0);
		struct udp_params params = any;
		params.port = ntohs(bound.sin6_port);

		size_t before = open_descriptors();
		error_set(&expected, 0,
			  "UDP port %u: in use by another process; stop it (ss -lunp shows it) or set another "
			  "ListenPort",
			  params.port);
		cr_assert_eq(udp_open_group(&params, COUNT, sockets, &error), -EADDRINUSE);
		cr_assert_str_eq(error.text, expected.text);
		cr_assert_null(udp_open(&params, &error));
		cr_assert_str_eq(error.text, expected.text);
		cr_assert_eq(open_descriptors(), before);
		close(holder);
		cr_assert_eq(udp_open_group(&params, COUNT, sockets, &error), 0, "%s", error.text);
		close_group();
	}
}

Test(udp_group, port_is_taken_from_the_first_on)
{
	uint16_t port = open_group();
	int other;

	cr_assert_eq(bind_another(port, 0, &other), EADDRINUSE);
	close(other);
	close_group();
	cr_assert_eq(bind_another(port, 0, &other), 0, "all of it is gone");
	close(other);
}

Test(udp_group, one_socket_shares_with_nobody)
{
	const struct udp_params params = {.buffer = 1 << 18};
	struct udp_socket *alone = udp_open(&params, &error);
	int other;

	cr_assert_not_null(alone, "%s", error.text);
	cr_assert_eq(bind_another(port_of(alone), 1, &other), EADDRINUSE);
	close(other);
	udp_close(alone);
}

Test(udp_group, address_that_we_do_not_have)
{
	struct udp_params params = {.buffer = 1 << 18};
	cr_assert(ip_address_parse("192.0.2.99", &params.address));
	cr_assert_eq(udp_open_group(&params, COUNT, sockets, &error), -EADDRNOTAVAIL);
	cr_assert_str_eq(error.text, "ListenAddress 192.0.2.99: no interface of this machine has it");
}

/* Each socket of the group in turn is the one for which there is no descriptor. */
Test(udp_group, failure_half_way_leaves_nothing)
{
	const struct udp_params params = {.buffer = 1 << 18};
	struct rlimit limit, low;
	size_t before = open_descriptors();
	int lowest = dup(0);

	cr_assert_geq(lowest, 0);
	close(lowest);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	for (unsigned room = 0; room < COUNT; room++) {
		low = (struct rlimit){.rlim_cur = (rlim_t)lowest + room, .rlim_max = limit.rlim_max};
		memset(sockets, 0xff, sizeof sockets);
		cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
		int result = udp_open_group(&params, COUNT, sockets, &error);
		cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		cr_assert_eq(result, -EMFILE);
		cr_assert_str_eq(error.text, "UDP socket: Too many open files; raise the limit of open files "
					     "(LimitNOFILE in the unit)");
		for (int i = 0; i < COUNT; i++)
			cr_assert_null(sockets[i]);
		cr_assert_eq(open_descriptors(), before);
	}
}

/* A machine whose kernel was built without IPv6. */
static void forbid_ipv6(void)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = ARRAY_SIZE(program), .filter = program};

	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

Test(udp_group, without_ipv6)
{
	const struct steering steering = {.workers = COUNT - 1, .handshakers = 1, .slot_mask = 0xffff};
	static uint8_t room[UDP_MESSAGE_MAX];
	forbid_ipv6();
	uint16_t port = open_group();
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(steering_attach(sockets[0]->fd, &steering, &error), 0, "%s", error.text);
	for (int i = 0; i < COUNT; i++) {
		uint8_t message[32] = {i == COUNT - 1 ? 0x11 : 0x14, 0, 0, 0, (uint8_t)i};
		struct pollfd readable = {.fd = sockets[i]->fd, .events = POLLIN};
		struct udp_message got = {.data = room};
		cr_assert_eq(sendto(fd, message, sizeof message, 0, (struct sockaddr *)&to, sizeof to), 32);
		cr_assert_eq(poll(&readable, 1, 240000), 1);
		cr_assert_eq(sockets[i]->ops->receive(sockets[i], &got, 1), 1);
		cr_assert_eq(room[4], i);
		cr_assert(IN6_IS_ADDR_V4MAPPED(&got.endpoint.remote.sin6_addr));
		cr_assert(IN6_IS_ADDR_V4MAPPED(&got.endpoint.local));
	}
	close(fd);
	close_group();

	struct udp_params params = {.buffer = 1 << 18};
	cr_assert(ip_address_parse("::1", &params.address));
	cr_assert_eq(udp_open_group(&params, COUNT, sockets, &error), -EAFNOSUPPORT);
}
