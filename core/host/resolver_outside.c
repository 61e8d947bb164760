// SPDX-License-Identifier: Apache-2.0
#include "core/host/resolver_outside.h"

#include <ares.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	TIMEOUT_MS = 1500, /* for a server, at the first try */
	TRIES = 2,
	UDP_PER_SERVER = 3, /* a server that refused is asked again over a new socket */
	SOCKETS_MAX = OUTSIDE_SERVERS_MAX * (UDP_PER_SERVER + 1),
	MS_PER_S = 1000,
};

struct outside_socket {
	int fd; /* -1: taken */
	int domain, type;
};

struct outside {
	struct outside_servers servers;
	size_t count;
	struct outside_socket sockets[SOCKETS_MAX];
};

/* --- sockets ------------------------------------------------------------------------------------------------------ */

static int add_socket(struct outside *outside, int domain, int type)
{
	int fd = socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	outside->sockets[outside->count++] = (struct outside_socket){fd, domain, type};
	const uint32_t mark = outside->servers.mark;
	return mark == 0 || setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0 ? 0 : -errno;
}

struct outside *outside_open(const struct outside_servers *servers, struct error *error)
{
	struct outside *outside = calloc(1, sizeof *outside);
	if (outside == NULL) {
		error_set(error, -ENOMEM, "resolver: out of memory");
		return NULL;
	}
	outside->servers = *servers;
	int result = 0;
	for (size_t i = 0; i < servers->count && result == 0; i++) {
		int domain = servers->list[i].family == 4 ? AF_INET : AF_INET6;
		result = add_socket(outside, domain, SOCK_STREAM);
		for (size_t n = 0; n < UDP_PER_SERVER && result == 0; n++)
			result = add_socket(outside, domain, SOCK_DGRAM);
	}
	/* A machine without IPv6 may list IPv6 servers. */
	if (result == 0 || result == -EAFNOSUPPORT)
		return outside;
	error_set(error, result, "resolver: socket: %s", strerror(-result));
	outside_close(outside);
	return NULL;
}

void outside_close(struct outside *outside)
{
	if (outside == NULL)
		return;
	for (size_t i = 0; i < outside->count; i++) {
		if (outside->sockets[i].fd >= 0)
			close(outside->sockets[i].fd);
	}
	free(outside);
}

/* --- the socket functions for c-ares ------------------------------------------------------------------------------ */

static ares_socket_t take_socket(int domain, int type, int protocol, void *context)
{
	struct outside *outside = context;
	(void)protocol;
	for (size_t i = 0; i < outside->count; i++) {
		struct outside_socket *one = &outside->sockets[i];
		int fd = one->fd;
		if (fd < 0 || one->domain != domain || one->type != (type & (SOCK_DGRAM | SOCK_STREAM)))
			continue;
		one->fd = -1;
		return fd;
	}
	errno = EMFILE;
	return ARES_SOCKET_BAD;
}

static int close_socket(ares_socket_t fd, void *context)
{
	(void)context;
	return close(fd);
}

static int connect_socket(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t length, void *context)
{
	(void)context;
	return connect(fd, to, length);
}

static ares_ssize_t receive(ares_socket_t fd, void *data, size_t size, int flags, struct sockaddr *from,
			    ares_socklen_t *length, void *context)
{
	(void)context;
	return recvfrom(fd, data, size, flags, from, length);
}

static ares_ssize_t send_parts(ares_socket_t fd, const struct iovec *parts, int count, void *context)
{
	(void)context;
	struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};
	return sendmsg(fd, &message, MSG_NOSIGNAL);
}

static const struct ares_socket_functions functions = {
	.asocket = take_socket,
	.aclose = close_socket,
	.aconnect = connect_socket,
	.arecvfrom = receive,
	.asendv = send_parts,
};

/* --- asking ------------------------------------------------------------------------------------------------------- */

struct answer {
	void (*add)(void *context, const struct sockaddr *address);
	void *context;
	int status;
};

static void take_answer(void *context, int status, int timeouts, struct ares_addrinfo *list)
{
	struct answer *answer = context;
	(void)timeouts;
	answer->status = status;
	if (status == ARES_SUCCESS) {
		for (const struct ares_addrinfo_node *at = list->nodes; at != NULL; at = at->ai_next)
			answer->add(answer->context, at->ai_addr);
	}
	if (list != NULL)
		ares_freeaddrinfo(list);
}

/* Until no query is pending; every query has a time limit. */
static void run(ares_channel channel)
{
	ares_socket_t fds[ARES_GETSOCK_MAXNUM];
	for (;;) {
		int bits = ares_getsock(channel, fds, ARES_GETSOCK_MAXNUM);
		struct timeval limit = {.tv_sec = 1}, wait;
		const struct timeval *due = ares_timeout(channel, &limit, &wait);
		struct pollfd polled[ARES_GETSOCK_MAXNUM];
		nfds_t count = 0;
		for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
			bool reads = ARES_GETSOCK_READABLE(bits, i), writes = ARES_GETSOCK_WRITABLE(bits, i);
			if (reads || writes)
				polled[count++] = (struct pollfd){
					.fd = fds[i], .events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0))};
		}
		if (count == 0)
			return;
		(void)poll(polled, count, (int)(due->tv_sec * MS_PER_S + due->tv_usec / 1000 + 1));
		for (nfds_t i = 0; i < count; i++) {
			bool bad = (polled[i].revents & (POLLERR | POLLHUP)) != 0;
			bool reads = (polled[i].revents & POLLIN) != 0 || bad;
			bool writes = (polled[i].revents & POLLOUT) != 0;
			ares_process_fd(channel, reads ? polled[i].fd : ARES_SOCKET_BAD,
					writes ? polled[i].fd : ARES_SOCKET_BAD);
		}
		ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD); /* the queries that timed out */
	}
}

static int set_servers(ares_channel channel, const struct outside_servers *servers)
{
	struct ares_addr_node nodes[OUTSIDE_SERVERS_MAX] = {0};
	for (size_t i = 0; i < servers->count; i++) {
		const struct ip_address *from = &servers->list[i];
		nodes[i].family = from->family == 4 ? AF_INET : AF_INET6;
		memcpy(&nodes[i].addr, from->bytes, from->family == 4 ? 4 : 16);
		nodes[i].next = i + 1 < servers->count ? &nodes[i + 1] : NULL;
	}
	return ares_set_servers(channel, nodes);
}

int outside_ask(struct outside *outside, const char *host, int family,
		void (*add)(void *context, const struct sockaddr *address), void *context, struct error *error)
{
	char lookups[] = "fb"; /* files, then DNS */
	struct ares_options options = {
		.flags = ARES_FLAG_STAYOPEN, .timeout = TIMEOUT_MS, .tries = TRIES, .lookups = lookups};
	ares_channel channel;
	int status = ares_init_options(&channel, &options,
				       ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS);
	if (status != ARES_SUCCESS)
		return error_set(error, -EIO, "%s", ares_strerror(status));
	struct answer answer = {.add = add, .context = context, .status = set_servers(channel, &outside->servers)};
	if (answer.status == ARES_SUCCESS) {
		const struct ares_addrinfo_hints hints = {.ai_family = family, .ai_flags = ARES_AI_NOSORT};
		ares_set_socket_functions(channel, &functions, outside);
		ares_getaddrinfo(channel, host, NULL, &hints, take_answer, &answer);
		run(channel);
	}
	ares_destroy(channel);
	return answer.status == ARES_SUCCESS ? 0 : error_set(error, -EIO, "%s", ares_strerror(answer.status));
}
