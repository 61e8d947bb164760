// SPDX-License-Identifier: Apache-2.0
/* Sockets for several addresses: each is made of one of every address's group. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>

#include "workers/udp.h"

enum { COUNT = 3, ADDRESSES = 3 };

static const char *const texts[ADDRESSES] = {"127.0.0.1", "::1", "127.0.0.2"};
static struct ip_address addresses[ADDRESSES];
static struct udp_socket *sockets[COUNT];
static struct udp_params params = {.buffer = 1 << 20, .gso = true, .gro = true};
static struct error error;
static uint8_t room[ADDRESSES][UDP_MESSAGE_MAX];

static void open_all(void)
{
	for (size_t i = 0; i < ADDRESSES; i++)
		cr_assert(ip_address_parse(texts[i], &addresses[i]));
	cr_assert_eq(udp_open_groups(&params, addresses, ADDRESSES, COUNT, sockets, &error), 0, "%s", error.text);
}

static void close_all(void)
{
	for (size_t i = COUNT; i > 0; i--)
		udp_close(sockets[i - 1]);
}

static struct sockaddr_in6 bound(struct udp_socket *socket, size_t i)
{
	struct sockaddr_in6 address;
	udp_address(udp_member(socket, i), &address);
	return address;
}

Test(udp_addresses, each_has_a_member_of_every_address_at_one_port)
{
	open_all();
	uint16_t port = bound(sockets[0], 0).sin6_port;
	for (size_t s = 0; s < COUNT; s++) {
		for (size_t i = 0; i < ADDRESSES; i++) {
			char text[ENDPOINT_TEXT_MAX], expected[ENDPOINT_TEXT_MAX];
			struct sockaddr_in6 address = bound(sockets[s], i);
			cr_expect_eq(address.sin6_port, port);
			(void)snprintf(expected, sizeof expected, i == 1 ? "[%s]:%u" : "%s:%u", texts[i], ntohs(port));
			cr_expect_str_eq(sockaddr_format(&address, text), expected);
		}
		cr_expect_null(udp_member(sockets[s], ADDRESSES));
	}
	close_all();
}

static bool is_address(const struct in6_addr *address, size_t i)
{
	struct sockaddr_in6 own = bound(sockets[0], i);
	return IN6_ARE_ADDR_EQUAL(address, &own.sin6_addr);
}

/* A client's socket and what it is to send to: address `i` of the first socket. */
static struct endpoint client_of(size_t i, struct udp_socket **client)
{
	struct udp_params any = {.buffer = 1 << 16};
	struct endpoint to = {.remote = bound(sockets[0], i)};
	*client = udp_open(&any, &error);
	cr_assert_not_null(*client);
	return to;
}

static int receive(struct udp_socket *socket, struct udp_message *messages, size_t count)
{
	struct pollfd polled[ADDRESSES];
	nfds_t fds = 0;
	for (struct udp_socket *member; (member = udp_member(socket, fds)) != NULL; fds++)
		polled[fds] = (struct pollfd){.fd = member->fd, .events = POLLIN};
	cr_assert_gt(poll(polled, fds, 240000), 0);
	for (size_t i = 0; i < count; i++)
		messages[i] = (struct udp_message){.data = room[i]};
	return socket->ops->receive(socket, messages, count);
}

Test(udp_addresses, answers_leave_from_the_address_that_was_asked)
{
	open_all();
	struct udp_socket *clients[ADDRESSES];
	struct udp_message got[ADDRESSES], answers[ADDRESSES];
	uint8_t byte = 'x';
	for (size_t i = 0; i < ADDRESSES; i++) {
		struct udp_message message = {.data = &byte, .length = 1, .endpoint = client_of(i, &clients[i])};
		cr_assert_eq(clients[i]->ops->send(clients[i], &message, 1), 1);
		/* The kernel chooses the member of the group, by its hash; whichever it is answers. */
		int count = 0;
		for (size_t s = 0; s < 200 * COUNT && count == 0; s++) {
			struct udp_socket *asked = sockets[s % COUNT];
			struct pollfd polled = {.fd = udp_member(asked, i)->fd, .events = POLLIN};
			if (poll(&polled, 1, 100) == 1)
				count = receive(asked, &got[i], 1);
		}
		cr_assert_eq(count, 1);
		cr_expect(is_address(&got[i].endpoint.local, i));
		answers[i] = (struct udp_message){.data = &byte, .length = 1, .endpoint = got[i].endpoint};
	}
	/* Each is for another member: one at a time is taken, in order. */
	for (size_t i = 0; i < ADDRESSES; i++)
		cr_assert_eq(sockets[1]->ops->send(sockets[1], &answers[i], ADDRESSES - i), 1);
	for (size_t i = 0; i < ADDRESSES; i++) {
		cr_assert_eq(receive(clients[i], got, 1), 1);
		cr_expect(is_address(&got[0].endpoint.remote.sin6_addr, i));
		cr_expect_eq(got[0].endpoint.remote.sin6_port, bound(sockets[0], i).sin6_port);
		udp_close(clients[i]);
	}
	close_all();
}

Test(udp_addresses, those_for_one_member_are_taken_together)
{
	open_all();
	struct udp_socket *client;
	uint8_t byte = 'x';
	(void)client_of(0, &client);
	struct endpoint to = {.remote = bound(sockets[0], 0), .local = bound(sockets[0], 2).sin6_addr};
	to.remote.sin6_port = bound(client, 0).sin6_port;
	struct udp_message messages[3];
	for (size_t i = 0; i < 3; i++)
		messages[i] = (struct udp_message){.data = &byte, .length = 1, .endpoint = to};
	messages[2].endpoint.local = bound(sockets[0], 0).sin6_addr;
	cr_assert_eq(sockets[0]->ops->send(sockets[0], messages, 3), 2);
	cr_assert_eq(sockets[0]->ops->send(sockets[0], messages + 2, 1), 1);
	udp_close(client);
	close_all();
}

Test(udp_addresses, one_that_cannot_be_had_leaves_none)
{
	cr_assert(ip_address_parse("127.0.0.1", &addresses[0]) && ip_address_parse("192.0.2.99", &addresses[1]));
	cr_assert_eq(udp_open_groups(&params, addresses, 2, COUNT, sockets, &error), -EADDRNOTAVAIL);
	cr_expect_str_eq(error.text, "ListenAddress 192.0.2.99: no interface of this machine has it");
	for (size_t i = 0; i < COUNT; i++)
		cr_expect_null(sockets[i]);
}
