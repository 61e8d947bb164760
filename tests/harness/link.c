// SPDX-License-Identifier: Apache-2.0
#include "tests/harness/link.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <unistd.h>

/* In front of each message. */
struct link_header {
	struct sockaddr_in6 from;
	struct in6_addr to;
	uint16_t segment_size;
	uint8_t ecn;
};

enum { LINK_SCRATCH = 1 << 17 /* room for messages that are longer than a receiver's buffer */ };

static struct link *link_of(struct udp_socket *socket)
{
	return (struct link *)socket;
}

/* --- receiving ---------------------------------------------------------------------------------------------------- */

static int link_receive(struct udp_socket *socket, struct udp_message *messages, size_t count)
{
	size_t received = 0;
	while (received < count) {
		struct udp_message *message = &messages[received];
		struct link_header head;
		struct iovec iov[] = {{&head, sizeof head}, {message->data, UDP_MESSAGE_MAX}};
		struct msghdr header = {.msg_iov = iov, .msg_iovlen = ARRAY_SIZE(iov)};
		ssize_t got = recvmsg(socket->fd, &header, MSG_DONTWAIT);
		if (got < (ssize_t)sizeof head)
			break;
		message->length = (uint32_t)((size_t)got - sizeof head);
		message->truncated = (header.msg_flags & MSG_TRUNC) != 0;
		message->segment_size = head.segment_size;
		message->ecn = head.ecn;
		message->stamp = link_of(socket)->stamp;
		message->endpoint = (struct endpoint){.remote = head.from, .local = head.to};
		received++;
	}
	return (int)received;
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

static bool same_address(const struct sockaddr_in6 *a, const struct sockaddr_in6 *b)
{
	return a->sin6_port == b->sin6_port && memcmp(&a->sin6_addr, &b->sin6_addr, sizeof a->sin6_addr) == 0;
}

struct link *network_find(const struct network *network, const struct sockaddr_in6 *address)
{
	for (size_t i = 0; i < network->count; i++) {
		if (same_address(&network->entries[i].address, address))
			return network->entries[i].link;
	}
	return NULL;
}

static bool put(int fd, const struct link *to, const struct link_header *head, uint8_t *data, uint32_t length)
{
	struct link_header copy = *head;
	struct sockaddr_un name = to->name;
	struct iovec iov[] = {{&copy, sizeof copy}, {data, length}};
	struct msghdr header = {
		.msg_name = &name, .msg_namelen = to->name_length, .msg_iov = iov, .msg_iovlen = ARRAY_SIZE(iov)};
	return sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno != EAGAIN;
}

/* Runts go to the first member: the kernel's hash would choose any. */
static const struct link *choose_member(const struct link *to, const struct udp_message *message)
{
	if (to == NULL || to->group == NULL)
		return to;
	uint32_t first = message->segment_size != 0 && message->segment_size < message->length ? message->segment_size
											       : message->length;
	uint32_t index = steering_thread(to->group->steering, message->data, first);
	return index == STEERING_HASH ? to : to->group->members[index];
}

/* Sends what is left of the message under way. False: the receiver's queue is full. */
static bool push(struct link *link)
{
	const struct udp_message *message = &link->carried;
	const struct link *to = choose_member(network_find(link->network, &message->endpoint.remote), message);
	struct link_header head = {
		.from = link->address,
		.to = message->endpoint.remote.sin6_addr,
		.segment_size = message->segment_size < message->length ? message->segment_size : 0,
		.ecn = message->ecn,
	};
	if (!IN6_IS_ADDR_UNSPECIFIED(&message->endpoint.local))
		head.from.sin6_addr = message->endpoint.local;
	uint32_t step = message->length;
	if (to != NULL && !to->base.gro && head.segment_size != 0) {
		step = head.segment_size;
		head.segment_size = 0;
	}
	for (; to != NULL && link->copies > 0; link->copies--, link->at = 0) {
		do {
			uint32_t left = message->length - link->at;
			if (!put(link->base.fd, to, &head, message->data + link->at, left < step ? left : step))
				return false;
			link->at += step;
		} while (link->at < message->length);
	}
	link->source = NULL;
	return true;
}

static void start(struct link *link, const struct udp_message *message)
{
	const struct link_hooks *hooks = &link->network->hooks;
	link->source = message->data;
	link->carried = *message;
	link->copies = 1;
	link->at = 0;
	if (hooks->carry == NULL)
		return;
	memcpy(link->scratch, message->data, message->length);
	link->carried.data = link->scratch;
	link->copies = hooks->carry(hooks->context, link, &link->carried);
}

static int link_send(struct udp_socket *socket, const struct udp_message *messages, size_t count)
{
	struct link *link = link_of(socket);
	const struct link_hooks *hooks = &link->network->hooks;
	int taken = (int)count;
	if (hooks->accept != NULL)
		taken = hooks->accept(hooks->context, link, messages, count);
	for (int i = 0; i < taken; i++) {
		/* A sender that gave up on the message under way offers another. */
		if (link->source != messages[i].data)
			start(link, &messages[i]);
		if (!push(link))
			return i > 0 ? i : -EAGAIN;
	}
	return taken;
}

bool link_inject(struct link *to, const struct udp_message *message)
{
	struct link_header head = {
		.from = message->endpoint.remote,
		.to = message->endpoint.local,
		.segment_size = message->segment_size,
		.ecn = message->ecn,
	};
	return put(to->base.fd, choose_member(to, message), &head, message->data, message->length);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static void link_close(struct udp_socket *socket)
{
	struct link *link = link_of(socket);
	struct network *network = link->network;
	size_t kept = 0;
	for (size_t i = 0; i < network->count; i++) {
		if (network->entries[i].link != link)
			network->entries[kept++] = network->entries[i];
	}
	network->count = kept;
	close(socket->fd);
	free(link->scratch);
}

static const struct udp_ops link_ops = {.receive = link_receive, .send = link_send, .close = link_close};

struct sockaddr_in6 network_address(const char *text, uint16_t port)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	uint8_t *bytes = address.sin6_addr.s6_addr;
	if (inet_pton(AF_INET6, text, bytes) == 1)
		return address;
	bytes[10] = bytes[11] = 0xff;
	if (inet_pton(AF_INET, text, bytes + 12) != 1)
		abort();
	return address;
}

void link_add_address(struct link *link, struct sockaddr_in6 address)
{
	struct network *network = link->network;
	if (network->count == NETWORK_ADDRESSES)
		abort();
	network->entries[network->count++] = (struct network_entry){address, link};
}

void link_move(struct link *link, struct sockaddr_in6 address)
{
	struct network *network = link->network;
	for (size_t i = 0; i < network->count; i++) {
		if (network->entries[i].link == link && same_address(&network->entries[i].address, &link->address))
			network->entries[i].address = address;
	}
	link->address = address;
}

void link_clear(struct link *link)
{
	uint8_t byte;
	while (recv(link->base.fd, &byte, sizeof byte, MSG_DONTWAIT) >= 0)
		continue;
	link->source = NULL;
}

int link_open(struct link *link, struct network *network, struct sockaddr_in6 address)
{
	int result = link_open_member(link, network, address);
	if (result == 0)
		link_add_address(link, address);
	return result;
}

int link_open_member(struct link *link, struct network *network, struct sockaddr_in6 address)
{
	*link = (struct link){.network = network, .address = address};
	link->base = (struct udp_socket){.ops = &link_ops, .gso = true, .gro = true};
	link->scratch = malloc(LINK_SCRATCH);
	link->base.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (link->scratch == NULL || link->base.fd < 0)
		goto fail;
	/* A bind without a name makes the kernel choose an abstract one. */
	struct sockaddr_un unnamed = {.sun_family = AF_UNIX};
	link->name_length = sizeof link->name;
	if (bind(link->base.fd, (struct sockaddr *)&unnamed, sizeof unnamed.sun_family) != 0 ||
	    getsockname(link->base.fd, (struct sockaddr *)&link->name, &link->name_length) != 0)
		goto fail;
	return 0;

fail:;
	int result = -errno;
	if (link->base.fd >= 0)
		close(link->base.fd);
	free(link->scratch);
	return result;
}
