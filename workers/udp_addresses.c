// SPDX-License-Identifier: Apache-2.0
/* One socket of the workers' for several addresses: a group of the kernel's sockets for each address, and of each group
 * the one with the same index. So a worker still owns what arrives for its sessions, whichever address they use. */
#include <stdlib.h>
#include <unistd.h>

#include "workers/udp.h"

struct several_sockets {
	struct udp_socket base;
	size_t count, first; /* members; the one to receive from first, in turn */
	struct udp_socket *members[UDP_ADDRESSES_MAX];
	struct sockaddr_in6 bound[UDP_ADDRESSES_MAX];
};

static struct several_sockets *several(struct udp_socket *socket)
{
	return (struct several_sockets *)socket;
}

static struct udp_socket *several_member(struct udp_socket *socket, size_t i)
{
	struct several_sockets *s = several(socket);
	return i < s->count ? s->members[i] : NULL;
}

/* Begins with each in turn, so that a busy one does not starve the others. */
static int several_receive(struct udp_socket *socket, struct udp_message *messages, size_t count)
{
	struct several_sockets *s = several(socket);
	size_t filled = 0;
	int result = 0;
	for (size_t i = 0; i < s->count && filled < count; i++) {
		struct udp_socket *member = s->members[(s->first + i) % s->count];
		int got = member->ops->receive(member, messages + filled, count - filled);
		if (got < 0)
			result = got;
		else
			filled += (size_t)got;
	}
	s->first = s->first + 1 < s->count ? s->first + 1 : 0;
	return filled != 0 ? (int)filled : result;
}

/* The socket of the local address of the message; without one, any that can reach the other side's family. */
static struct udp_socket *choose(const struct several_sockets *s, const struct endpoint *endpoint)
{
	bool ipv4 = IN6_IS_ADDR_V4MAPPED(&endpoint->remote.sin6_addr);
	struct udp_socket *fitting = s->members[0];
	for (size_t i = s->count; i-- > 0;) {
		if (IN6_ARE_ADDR_EQUAL(&s->bound[i].sin6_addr, &endpoint->local))
			return s->members[i];
		if (!!IN6_IS_ADDR_V4MAPPED(&s->bound[i].sin6_addr) == ipv4)
			fitting = s->members[i];
	}
	return fitting;
}

/* As many as leave by the socket of the first. */
static int several_send(struct udp_socket *socket, const struct udp_message *messages, size_t count)
{
	struct several_sockets *s = several(socket);
	struct udp_socket *member = choose(s, &messages[0].endpoint);
	size_t run = 1;
	while (run < count && choose(s, &messages[run].endpoint) == member)
		run++;
	int sent = member->ops->send(member, messages, run);
	member->full = sent == -EAGAIN;
	return sent;
}

static void several_close(struct udp_socket *socket)
{
	struct several_sockets *s = several(socket);
	for (size_t i = s->count; i-- > 0;)
		udp_close(s->members[i]);
	free(s);
}

static const struct udp_ops several_ops = {
	.receive = several_receive, .send = several_send, .close = several_close, .member = several_member};

static struct udp_socket *several_new(void)
{
	struct several_sockets *s = aligned_alloc(CACHE_LINE, (sizeof *s + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
	if (s == NULL)
		return NULL;
	memset(s, 0, sizeof *s);
	s->base = (struct udp_socket){.ops = &several_ops, .fd = -1, .gso = true, .gro = true};
	return &s->base;
}

static void add_member(struct udp_socket *socket, struct udp_socket *member)
{
	struct several_sockets *s = several(socket);
	udp_address(member, &s->bound[s->count]);
	s->members[s->count++] = member;
	s->base.gso = s->base.gso && member->gso;
	s->base.gro = s->base.gro && member->gro;
}

static void close_rest(const int *fds, size_t from, size_t count)
{
	for (size_t i = from; fds != NULL && i < count; i++)
		close(fds[i]);
}

static int make_several(const struct udp_params *params, const struct ip_address *addresses, size_t address_count,
			size_t count, const int *fds, struct udp_socket **sockets, struct error *error)
{
	struct udp_socket **group = calloc(count + 1, sizeof(struct udp_socket *));
	int result = group != NULL ? 0 : -ENOMEM;
	for (size_t i = 0; i < count && result == 0; i++) {
		sockets[i] = several_new();
		result = sockets[i] != NULL ? 0 : -ENOMEM;
	}
	if (result != 0)
		error_set(error, result, "UDP socket: out of memory");
	struct udp_params actual = *params;
	size_t a = 0;
	for (; a < address_count && result == 0; a++) {
		actual.address = addresses[a];
		result = udp_make_group(&actual, count, fds != NULL ? &fds[a * count] : NULL, group, error);
		if (result != 0)
			continue;
		for (size_t i = 0; i < count; i++)
			add_member(sockets[i], group[i]);
		struct sockaddr_in6 bound;
		udp_address(group[0], &bound);
		actual.port = ntohs(bound.sin6_port); /* that the kernel chose, if it did */
	}
	close_rest(fds, a * count, address_count * count);
	free(group);
	return result;
}

static int make_groups(const struct udp_params *params, const struct ip_address *addresses, size_t address_count,
		       size_t count, const int *fds, struct udp_socket **sockets, struct error *error)
{
	struct udp_params actual = *params;
	for (size_t i = 0; i < count; i++)
		sockets[i] = NULL;
	if (address_count != 0)
		actual.address = addresses[0];
	if (address_count <= 1)
		return udp_make_group(&actual, count, fds, sockets, error);
	int result = make_several(params, addresses, address_count, count, fds, sockets, error);
	for (size_t i = count; result != 0 && i > 0; i--) {
		udp_close(sockets[i - 1]);
		sockets[i - 1] = NULL;
	}
	return result;
}

int udp_open_groups(const struct udp_params *params, const struct ip_address *addresses, size_t address_count,
		    size_t count, struct udp_socket **sockets, struct error *error)
{
	return make_groups(params, addresses, address_count, count, NULL, sockets, error);
}

int udp_adopt_groups(const struct udp_params *params, const struct ip_address *addresses, size_t address_count,
		     size_t count, const int *fds, struct udp_socket **sockets, struct error *error)
{
	return make_groups(params, addresses, address_count, count, fds, sockets, error);
}
