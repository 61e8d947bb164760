// SPDX-License-Identifier: Apache-2.0
#include "workers/udp.h"

#include <netinet/udp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/hot.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* Room for every control message that we send or ask for. */
union control {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int)) +
		      CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct timespec))];
};

union address {
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* The kernel's socket. The arrays are filled anew for each call; they live here only to be off the stack. No line of it
 * is shared with another worker's. */
struct CACHE_ALIGNED kernel_socket {
	struct udp_socket base;
	bool ipv4_only; /* IPv6 is off on this machine: addresses are converted at this edge */
	struct mmsghdr headers[UDP_BATCH];
	struct iovec iov[UDP_BATCH];
	union address addresses[UDP_BATCH];
	union control controls[UDP_BATCH];
};

static struct kernel_socket *kernel(struct udp_socket *socket)
{
	return (struct kernel_socket *)socket;
}

static void map_v4(struct in6_addr *address, struct in_addr v4)
{
	memset(address, 0, 10);
	memset(&address->s6_addr[10], 0xff, 2);
	memcpy(&address->s6_addr[12], &v4, 4);
}

static struct in_addr unmap_v4(const struct in6_addr *address)
{
	struct in_addr v4;
	memcpy(&v4, &address->s6_addr[12], 4);
	return v4;
}

/* --- receiving ---------------------------------------------------------------------------------------------------- */

static void read_control(struct udp_message *message, struct msghdr *header)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
			int size;
			memcpy(&size, CMSG_DATA(c), sizeof size);
			message->segment_size = (uint16_t)size;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof info);
			message->endpoint.local = info.ipi6_addr;
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof info);
			map_v4(&message->endpoint.local, info.ipi_addr);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
			int class;
			memcpy(&class, CMSG_DATA(c), sizeof class);
			message->ecn = class & 3;
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
			message->ecn = *CMSG_DATA(c) & 3;
		} else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
			struct timespec stamp;
			memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
			message->stamp = (uint64_t)stamp.tv_sec * NS_PER_S + (uint64_t)stamp.tv_nsec;
		}
	}
}

static void read_address(struct udp_message *message, const union address *address)
{
	struct sockaddr_in6 *remote = &message->endpoint.remote;
	memset(remote, 0, sizeof *remote);
	remote->sin6_family = AF_INET6;
	if (address->v6.sin6_family == AF_INET6) {
		remote->sin6_port = address->v6.sin6_port;
		remote->sin6_addr = address->v6.sin6_addr;
		if (IN6_IS_ADDR_LINKLOCAL(&remote->sin6_addr))
			remote->sin6_scope_id = address->v6.sin6_scope_id;
	} else {
		remote->sin6_port = address->v4.sin_port;
		map_v4(&remote->sin6_addr, address->v4.sin_addr);
	}
}

HOT static int kernel_receive(struct udp_socket *socket, struct udp_message *messages, size_t count)
{
	struct kernel_socket *k = kernel(socket);
	for (size_t i = 0; i < count; i++) {
		k->iov[i] = (struct iovec){.iov_base = messages[i].data, .iov_len = UDP_MESSAGE_MAX};
		k->headers[i].msg_hdr = (struct msghdr){
			.msg_name = &k->addresses[i],
			.msg_namelen = sizeof k->addresses[i],
			.msg_iov = &k->iov[i],
			.msg_iovlen = 1,
			.msg_control = &k->controls[i],
			.msg_controllen = sizeof k->controls[i],
		};
	}
	int received = recvmmsg(socket->fd, k->headers, (unsigned)count, MSG_DONTWAIT, NULL);
	if (received < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;

	for (int i = 0; i < received; i++) {
		struct udp_message *message = &messages[i];
		message->length = k->headers[i].msg_len;
		message->truncated = (k->headers[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
		message->segment_size = 0;
		message->ecn = 0;
		message->stamp = 0;
		message->endpoint.local = in6addr_any;
		read_address(message, &k->addresses[i]);
		read_control(message, &k->headers[i].msg_hdr);
	}
	return received;
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

static void put_control(struct msghdr *header, struct cmsghdr **at, int level, int type, const void *data, size_t size)
{
	struct cmsghdr *c = *at;
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(c), data, size);
	header->msg_controllen += CMSG_SPACE(size);
	*at = (struct cmsghdr *)((uint8_t *)c + CMSG_SPACE(size));
}

static void write_control(const struct kernel_socket *k, struct msghdr *header, const struct udp_message *message,
			  union control *control)
{
	struct cmsghdr *at = &control->align;
	bool v4 = IN6_IS_ADDR_V4MAPPED(&message->endpoint.remote.sin6_addr);
	header->msg_controllen = 0;

	if (message->segment_size != 0 && message->length > message->segment_size)
		put_control(header, &at, SOL_UDP, UDP_SEGMENT, &message->segment_size, sizeof message->segment_size);
	if (!IN6_IS_ADDR_UNSPECIFIED(&message->endpoint.local)) {
		if (k->ipv4_only) {
			struct in_pktinfo info = {.ipi_spec_dst = unmap_v4(&message->endpoint.local)};
			put_control(header, &at, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
		} else {
			struct in6_pktinfo info = {.ipi6_addr = message->endpoint.local,
						   .ipi6_ifindex = message->endpoint.remote.sin6_scope_id};
			put_control(header, &at, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
		}
	}
	if (message->ecn != 0) {
		/* A v4-mapped destination ignores IPV6_TCLASS. */
		int class = message->ecn;
		put_control(header, &at, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &class,
			    sizeof class);
	}
	header->msg_control = header->msg_controllen != 0 ? control : NULL;
}

static socklen_t write_address(const struct kernel_socket *k, union address *address, const struct udp_message *message)
{
	if (!k->ipv4_only) {
		address->v6 = message->endpoint.remote;
		return sizeof address->v6;
	}
	address->v4 = (struct sockaddr_in){.sin_family = AF_INET,
					   .sin_port = message->endpoint.remote.sin6_port,
					   .sin_addr = unmap_v4(&message->endpoint.remote.sin6_addr)};
	return sizeof address->v4;
}

HOT static int kernel_send(struct udp_socket *socket, const struct udp_message *messages, size_t count)
{
	struct kernel_socket *k = kernel(socket);
	for (size_t i = 0; i < count; i++) {
		struct msghdr *header = &k->headers[i].msg_hdr;
		k->iov[i] = (struct iovec){.iov_base = messages[i].data, .iov_len = messages[i].length};
		*header = (struct msghdr){.msg_iov = &k->iov[i], .msg_iovlen = 1, .msg_name = &k->addresses[i]};
		header->msg_namelen = write_address(k, &k->addresses[i], &messages[i]);
		write_control(k, header, &messages[i], &k->controls[i]);
	}
	int sent;
	do
		sent = sendmmsg(socket->fd, k->headers, (unsigned)count, MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static void kernel_close(struct udp_socket *socket)
{
	close(socket->fd);
	free(socket);
}

static const struct udp_ops kernel_ops = {.receive = kernel_receive, .send = kernel_send, .close = kernel_close};

static int set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof value);
}

/* As much as the forced form or, without the right to it, the limit allows. */
static void set_buffer(int fd, int forced, int plain, uint32_t bytes)
{
	int half = (int)(bytes / 2); /* the kernel doubles it for its own book-keeping */
	if (set_option(fd, SOL_SOCKET, forced, half) != 0)
		(void)set_option(fd, SOL_SOCKET, plain, half);
}

void udp_receive_buffer(struct udp_socket *socket, uint32_t bytes)
{
	struct udp_socket *member;
	for (size_t i = 0; (member = udp_member(socket, i)) != NULL; i++) {
		int now = 0;
		socklen_t size = sizeof now;
		if (getsockopt(member->fd, SOL_SOCKET, SO_RCVBUF, &now, &size) == 0 && (uint32_t)now < bytes)
			set_buffer(member->fd, SO_RCVBUFFORCE, SO_RCVBUF, bytes);
	}
}

bool udp_stamp(struct udp_socket *socket, bool stamps)
{
	struct udp_socket *member;
	bool all = true;
	if (atomic_load_explicit(&socket->stamps, memory_order_relaxed) == stamps)
		return true;
	for (size_t i = 0; (member = udp_member(socket, i)) != NULL; i++)
		all &= set_option(member->fd, SOL_SOCKET, SO_TIMESTAMPNS, stamps) == 0;
	atomic_store_explicit(&socket->stamps, stamps && all, memory_order_relaxed);
	return all;
}

static socklen_t bind_address(const struct udp_params *params, bool ipv4_only, union address *address)
{
	memset(address, 0, sizeof *address);
	if (ipv4_only) {
		address->v4.sin_family = AF_INET;
		address->v4.sin_port = htons(params->port);
		memcpy(&address->v4.sin_addr, params->address.bytes, 4);
		return sizeof address->v4;
	}
	address->v6.sin6_family = AF_INET6;
	address->v6.sin6_port = htons(params->port);
	if (params->address.family == 4) {
		struct in_addr v4;
		memcpy(&v4, params->address.bytes, 4);
		map_v4(&address->v6.sin6_addr, v4);
	} else {
		memcpy(&address->v6.sin6_addr, params->address.bytes, 16);
	}
	return sizeof address->v6;
}

static uint32_t receive_buffer(int fd)
{
	int bytes = 0;
	socklen_t size = sizeof bytes;
	return getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &size) == 0 ? (uint32_t)bytes : 0;
}

/* A socket that was adopted has packets in it: its buffer, which may have been raised later, is not made smaller. */
static void set_buffers(struct kernel_socket *k, const struct udp_params *params, bool adopted)
{
	int fd = k->base.fd;
	uint32_t now = receive_buffer(fd);
	if (!adopted || now < params->buffer)
		set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, params->buffer);
	now = receive_buffer(fd);
	k->base.buffer = adopted && now > params->buffer ? params->buffer : now;
	set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, params->buffer);
}

static int prepare(struct kernel_socket *k, const struct udp_params *params, bool adopted, struct error *error)
{
	int fd = k->base.fd;

	set_buffers(k, params, adopted);
	if (params->mark != 0 && set_option(fd, SOL_SOCKET, SO_MARK, (int)params->mark) != 0)
		return error_set(error, -errno, "UDP socket: SO_MARK: %s; run as root or with CAP_NET_ADMIN",
				 strerror(errno));

	/* Forged ICMP cannot shrink datagrams: the path MTU that it claims is ignored. */
	int failed = set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT);
	failed |= set_option(fd, IPPROTO_IP, IP_RECVTOS, 1);
	if (k->ipv4_only) {
		failed |= set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
	} else {
		failed |= adopted ? 0 : set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0); /* not once it is bound */
		failed |= set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_OMIT);
		failed |= set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
		failed |= set_option(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
	}
	if (adopted)
		failed |= set_option(fd, SOL_SOCKET, SO_TIMESTAMPNS, 0); /* udp_stamp() takes it for off */
	if (failed)
		return error_set(error, -errno, "UDP socket: set options: %s", strerror(errno));

	k->base.gro = set_option(fd, SOL_UDP, UDP_GRO, params->gro) == 0 && params->gro;
	k->base.gso = params->gso && set_option(fd, SOL_UDP, UDP_SEGMENT, 0) == 0;
	return 0;
}

static struct kernel_socket *allocate(int *result, struct error *error)
{
	struct kernel_socket *k = aligned_alloc(CACHE_LINE, sizeof *k);
	if (k != NULL)
		memset(k, 0, sizeof *k);
	else
		*result = error_set(error, -ENOMEM, "UDP socket: out of memory");
	return k;
}

/* A socket with everything set but its address; NULL: `result`. */
static struct kernel_socket *socket_new(const struct udp_params *params, int *result, struct error *error)
{
	struct kernel_socket *k = allocate(result, error);
	if (k == NULL)
		return NULL;

	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 && errno == EAFNOSUPPORT && params->address.family != 6) {
		k->ipv4_only = true;
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	}
	if (fd < 0) {
		*result = error_set(error, -errno, "UDP socket: %s%s", strerror(errno),
				    errno == EMFILE ? "; raise the limit of open files (LimitNOFILE in the unit)" : "");
		free(k);
		return NULL;
	}
	k->base = (struct udp_socket){.ops = &kernel_ops, .fd = fd};
	*result = prepare(k, params, false, error);
	if (*result == 0)
		return k;
	kernel_close(&k->base);
	return NULL;
}

/* The same of one that is bound already; NULL: it is closed. */
static struct kernel_socket *socket_adopt(const struct udp_params *params, int fd, int *result, struct error *error)
{
	struct kernel_socket *k = allocate(result, error);
	if (k == NULL) {
		close(fd);
		return NULL;
	}
	int family = 0;
	socklen_t size = sizeof family;
	k->ipv4_only = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 && family == AF_INET;
	k->base = (struct udp_socket){.ops = &kernel_ops, .fd = fd};
	*result = prepare(k, params, true, error);
	if (*result == 0)
		return k;
	kernel_close(&k->base);
	return NULL;
}

static int bind_socket(struct kernel_socket *k, const struct udp_params *params, struct error *error)
{
	union address address;
	socklen_t length = bind_address(params, k->ipv4_only, &address);
	char text[IP_TEXT_MAX];

	if (bind(k->base.fd, (struct sockaddr *)&address, length) == 0)
		return 0;
	int result = -errno;
	if (result == -EADDRINUSE)
		return error_set(
			error, result,
			"UDP port %u: in use by another process; stop it (ss -lunp shows it) or set another ListenPort",
			params->port);
	if (result == -EADDRNOTAVAIL)
		return error_set(error, result, "ListenAddress %s: no interface of this machine has it",
				 ip_address_format(&params->address, text));
	return error_set(error, result, "UDP port %u: bind: %s", params->port, strerror(-result));
}

static int allow_sharing(struct kernel_socket *k, const struct udp_params *params, struct error *error)
{
	if (set_option(k->base.fd, SOL_SOCKET, SO_REUSEPORT, 1) == 0)
		return 0;
	return error_set(error, -errno, "UDP port %u: SO_REUSEPORT: %s", params->port, strerror(errno));
}

/* The first socket binds before it allows others to do so too. That fails when the port is in
 * use, also by a socket with SO_REUSEPORT, and a port that the kernel chooses is unused. */
static int bind_first(struct kernel_socket *k, struct udp_params *params, bool shared, struct error *error)
{
	int result = bind_socket(k, params, error);
	if (result != 0 || !shared)
		return result;

	struct sockaddr_in6 bound;
	udp_address(&k->base, &bound);
	if (bound.sin6_port == 0)
		return error_set(error, -EIO, "UDP socket: its port cannot be read");
	params->port = ntohs(bound.sin6_port);
	return allow_sharing(k, params, error);
}

static int bind_next(struct kernel_socket *k, const struct udp_params *params, struct error *error)
{
	int result = allow_sharing(k, params, error);
	return result != 0 ? result : bind_socket(k, params, error);
}

static int open_all(struct udp_params *params, size_t count, struct udp_socket **sockets, struct error *error)
{
	for (size_t i = 0; i < count; i++) {
		int result;
		struct kernel_socket *k = socket_new(params, &result, error);
		if (k == NULL)
			return result;
		sockets[i] = &k->base;
		result = i == 0 ? bind_first(k, params, count > 1, error) : bind_next(k, params, error);
		if (result != 0)
			return result;
	}
	return 0;
}

static int adopt_all(const struct udp_params *params, size_t count, const int *fds, struct udp_socket **sockets,
		     struct error *error)
{
	int result = 0;
	size_t i = 0;
	for (; i < count && result == 0; i++) {
		struct kernel_socket *k = socket_adopt(params, fds[i], &result, error);
		sockets[i] = k != NULL ? &k->base : NULL;
	}
	for (; i < count; i++)
		close(fds[i]);
	return result;
}

int udp_make_group(const struct udp_params *params, size_t count, const int *fds, struct udp_socket **sockets,
		   struct error *error)
{
	struct udp_params actual = *params;
	for (size_t i = 0; i < count; i++)
		sockets[i] = NULL;

	int result = fds != NULL ? adopt_all(params, count, fds, sockets, error)
				 : open_all(&actual, count, sockets, error);
	for (size_t i = count; result != 0 && i > 0; i--) {
		udp_close(sockets[i - 1]);
		sockets[i - 1] = NULL;
	}
	return result;
}

int udp_open_group(const struct udp_params *params, size_t count, struct udp_socket **sockets, struct error *error)
{
	return udp_make_group(params, count, NULL, sockets, error);
}

struct udp_socket *udp_open(const struct udp_params *params, struct error *error)
{
	struct udp_socket *socket;
	(void)udp_open_group(params, 1, &socket, error);
	return socket;
}

void udp_close(struct udp_socket *socket)
{
	if (socket != NULL)
		socket->ops->close(socket);
}

void udp_address(const struct udp_socket *socket, struct sockaddr_in6 *bound)
{
	union address address = {0};
	socklen_t length = sizeof address;
	*bound = (struct sockaddr_in6){.sin6_family = AF_INET6};
	if (getsockname(socket->fd, (struct sockaddr *)&address, &length) != 0)
		return;
	if (address.v6.sin6_family == AF_INET6) {
		*bound = address.v6;
	} else {
		bound->sin6_port = address.v4.sin_port;
		map_v4(&bound->sin6_addr, address.v4.sin_addr);
	}
}
