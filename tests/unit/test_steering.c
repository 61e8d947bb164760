// SPDX-License-Identifier: Apache-2.0
/* The program is run by the kernel: datagrams over the loopback interface arrive at the socket that the model in C
 * says.
 */
#include "workers/steering.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/wire.h"
#include "workers/udp.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { SOCKETS_MAX = 16, SOURCES_V4 = 3, SOURCES_MAX = 6, NOBODY = -1 };

static struct error error;
static uint8_t room[UDP_MESSAGE_MAX];
static uint8_t datagram[UDP_MESSAGE_MAX];
static unsigned sources = SOURCES_MAX;

static void count_sources(void)
{
	struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&loopback, sizeof loopback) != 0)
		sources = SOURCES_V4; /* containers often are without IPv6 */
	close(fd);
}

TestSuite(steering, .init = count_sources);

struct group {
	struct udp_socket *sockets[SOCKETS_MAX];
	size_t count;
	in_port_t port; /* network order */
	struct udp_message last;
};

static void group_open(struct group *group, const struct steering *steering, bool gro)
{
	const struct udp_params params = {.buffer = 1 << 20, .gso = true, .gro = gro};
	struct sockaddr_in6 bound;

	*group = (struct group){.count = steering->workers + steering->handshakers};
	cr_assert_leq(group->count, SOCKETS_MAX);
	cr_assert_eq(udp_open_group(&params, group->count, group->sockets, &error), 0, "%s", error.text);
	cr_assert_eq(steering_attach(group->sockets[0]->fd, steering, &error), 0, "%s", error.text);
	udp_address(group->sockets[0], &bound);
	group->port = bound.sin6_port;
}

static void group_close(struct group *group)
{
	for (size_t i = group->count; i > 0; i--)
		udp_close(group->sockets[i - 1]);
}

/* The one socket that has something after at most `ms`, or NOBODY; what it has is in group->last and `room`. */
static int receiver(struct group *group, int ms)
{
	struct pollfd polled[SOCKETS_MAX];
	int found = NOBODY;

	for (size_t i = 0; i < group->count; i++)
		polled[i] = (struct pollfd){.fd = group->sockets[i]->fd, .events = POLLIN};
	if (poll(polled, group->count, ms) <= 0)
		return NOBODY;
	for (size_t i = 0; i < group->count; i++) {
		if (polled[i].revents == 0)
			continue;
		cr_assert_eq(found, NOBODY, "one datagram, two sockets");
		found = (int)i;
		group->last = (struct udp_message){.data = room};
		cr_assert_eq(group->sockets[i]->ops->receive(group->sockets[i], &group->last, 1), 1);
	}
	return found;
}

/* Where datagrams come from: sockets of both families on several addresses and ports. */
static int source_open(unsigned which)
{
	static const char *const addresses[SOURCES_MAX] = {"127.0.0.1", "127.0.0.1", "127.77.3.9", "::1", "::1", "::1"};
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	bool is_v4 = inet_pton(AF_INET, addresses[which], &v4.sin_addr) == 1;
	int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	cr_assert_geq(fd, 0);
	cr_assert(is_v4 || inet_pton(AF_INET6, addresses[which], &v6.sin6_addr) == 1);
	cr_assert_eq(bind(fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6, is_v4 ? sizeof v4 : sizeof v6),
		     0);
	return fd;
}

/* `segment` 0: one datagram. */
static void source_send(int fd, const struct group *group, const uint8_t *data, size_t length, uint16_t segment)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = group->port, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in6 v6 = {
		.sin6_family = AF_INET6, .sin6_port = group->port, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int family, value = segment;
	socklen_t size = sizeof family;

	cr_assert_eq(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size), 0);
	cr_assert_eq(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &value, sizeof value), 0);
	bool is_v4 = family == AF_INET;
	cr_assert_eq(sendto(fd, data, length, 0, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
			    is_v4 ? sizeof v4 : sizeof v6),
		     (ssize_t)length);
}

static uint32_t random_state = 1;

static uint32_t random_u32(void)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 16 | random_state << 16) ^ random_state >> 7;
}

static void fill(uint8_t first, size_t length)
{
	for (size_t i = 0; i < 32; i++)
		datagram[i] = (uint8_t)random_u32();
	if (length > 0)
		datagram[0] = first;
}

static void assert_steered(struct group *group, const struct steering *steering, int fd, size_t length)
{
	uint32_t expected = steering_thread(steering, datagram, (uint32_t)length);
	source_send(fd, group, datagram, length, 0);
	int got = receiver(group, 5000);

	cr_assert_neq(got, NOBODY, "lost: first byte %#x, %zu bytes", datagram[0], length);
	cr_assert_eq(group->last.length, length);
	if (expected != STEERING_HASH)
		cr_assert_eq(got, (int)expected, "first byte %#x, %zu bytes", datagram[0], length);
}

/* --- the model ---------------------------------------------------------------------------------------------------- */

static uint32_t model(uint32_t workers, uint32_t handshakers, uint8_t first, uint32_t id, uint32_t magic)
{
	const struct steering steering = {.workers = workers, .handshakers = handshakers, .slot_mask = 0xffff};
	uint8_t message[WIRE_SMALLEST] = {first};
	store_be32(message + 1, id);
	store_be32(message + 5, magic);
	return steering_thread(&steering, message, sizeof message);
}

Test(steering, model_as_specified)
{
	cr_assert_eq(model(6, 1, 0x14, 0, 0), 0);
	cr_assert_eq(model(6, 1, 0x14, 5, 9), 5);
	cr_assert_eq(model(6, 1, 0x14, 6, 9), 0);
	cr_assert_eq(model(7, 1, 0x14, 0xffff, 9), 65535 % 7);
	cr_assert_eq(model(7, 1, 0x14, 0xabcdffff, 9), 65535 % 7, "the generation has no say");
	cr_assert_eq(model(7, 1, 0x14, 0xabcd0000, 9), 0);

	cr_assert_eq(model(6, 1, 0x11, 5, 9), 6, "HELLO");
	cr_assert_eq(model(6, 3, 0x11, 5, 9), 6);
	cr_assert_eq(model(6, 3, 0x11, 5, 10), 7);
	cr_assert_eq(model(6, 3, 0x11, 5, 0xffffffff), 6 + 0xffffffff % 3);
	cr_assert_eq(model(1, 3, 0x11, 5, 11), 3);

	cr_assert_eq(model(6, 3, 0x21, 5, 10), 5, "HELLO of another version");
	cr_assert_eq(model(6, 3, 0x01, 4, 10), 4);
	cr_assert_eq(model(6, 3, 0x13, 3, 10), 3, "CLIENT_ACK");
}

Test(steering, model_of_runts)
{
	const struct steering steering = {.workers = 6, .handshakers = 1, .slot_mask = 0xffff};
	const uint8_t hello[WIRE_SMALLEST] = {0x11};
	for (uint32_t length = 0; length < 21; length++)
		cr_assert_eq(steering_thread(&steering, hello, length), STEERING_HASH);
	cr_assert_eq(steering_thread(&steering, hello, 21), 6);
}

/* --- the kernel --------------------------------------------------------------------------------------------------- */

static const struct steering shapes[] = {
	{1, 1, 0xffff}, {3, 1, 0xffff}, {6, 1, 0xffff}, {7, 1, 0xffffff},
	{1, 3, 0xffff}, {3, 3, 0x3},	{6, 3, 0xf},	{7, 3, 0xffff},
};

/* From one source of each family, then the same bytes from elsewhere. */
Test(steering, kernel_does_as_the_model, .timeout = 60)
{
	int sockets[SOURCES_MAX];
	for (unsigned i = 0; i < sources; i++)
		sockets[i] = source_open(i);

	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++) {
		struct group group;
		group_open(&group, &shapes[shape], true);
		for (unsigned first = 0; first < 256; first++) {
			fill((uint8_t)first, 1200);
			for (unsigned i = 0; i < sources; i++)
				assert_steered(&group, &shapes[shape], sockets[i], i % 2 == 0 ? 21 : 1200);
		}
		/* HELLO is one first byte in 256 and deserves more. */
		for (unsigned i = 0; i < 200; i++) {
			fill(0x11, 1200);
			assert_steered(&group, &shapes[shape], sockets[i % sources], 1200);
		}
		cr_assert_eq(receiver(&group, 0), NOBODY);
		group_close(&group);
	}
}

Test(steering, every_length, .timeout = 60)
{
	static const size_t longer[] = {63, 64, 575, 1199, 1201, 1452, 1473, 9000, 65000};
	static const uint8_t firsts[] = {0x11, 0x14, 0x21, 0x00, 0xff};

	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++) {
		struct group group;
		group_open(&group, &shapes[shape], true);
		for (unsigned source = 0; source < sources; source++) {
			int fd = source_open(source);
			for (size_t first = 0; first < ARRAY_SIZE(firsts); first++) {
				for (size_t length = 0; length < 26 + ARRAY_SIZE(longer); length++) {
					size_t bytes = length < 26 ? length : longer[length - 26];
					fill(firsts[first], bytes);
					assert_steered(&group, &shapes[shape], fd, bytes);
				}
			}
			close(fd);
		}
		cr_assert_eq(receiver(&group, 0), NOBODY);
		group_close(&group);
	}
}

/* Not all on worker 0, as a load past the end of the datagram would have it. */
Test(steering, runts_are_spread)
{
	const struct steering steering = {.workers = 3, .handshakers = 1, .slot_mask = 0xffff};
	static const size_t lengths[] = {0, 1, 4, 8, 20};
	struct group group;

	group_open(&group, &steering, true);
	for (size_t length = 0; length < ARRAY_SIZE(lengths); length++) {
		unsigned counts[4] = {0};
		for (unsigned i = 0; i < 120; i++) {
			int fd = source_open(i % sources);
			memset(datagram, 0, 32);
			datagram[0] = i % 2 == 0 ? 0x11 : 0x14;
			source_send(fd, &group, datagram, lengths[length], 0);
			int got = receiver(&group, 5000);
			cr_assert_neq(got, NOBODY);
			counts[got]++;
			close(fd);
		}
		for (unsigned i = 0; i < 4; i++)
			cr_assert_gt(counts[i], 0, "%zu bytes", lengths[length]);
	}
	group_close(&group);
}

/* --- trains ------------------------------------------------------------------------------------------------------- */

/* `count` datagrams of `size` bytes, each of another session, the first one with `first` and `id`. */
static void fill_train(uint8_t first, uint32_t id, size_t count, uint16_t size)
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

static void assert_train(struct group *group, const struct steering *steering, int fd, size_t length, uint16_t size)
{
	uint32_t expected = steering_thread(steering, datagram, (uint32_t)length);
	source_send(fd, group, datagram, length, size);
	cr_assert_eq(receiver(group, 5000), (int)expected, "%zu bytes in datagrams of %u", length, size);
	cr_assert_eq(group->last.length, length);
	cr_assert_eq(group->last.segment_size, size);
}

Test(steering, train_goes_where_its_first_datagram_goes)
{
	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++) {
		const struct steering *steering = &shapes[shape];
		struct group group;
		group_open(&group, steering, true);
		for (unsigned source = 0; source < sources; source++) {
			int fd = source_open(source);
			for (uint32_t id = 0; id < 8; id++) {
				fill_train(0x14, id, 9, 100);
				assert_train(&group, steering, fd, 820, 100);
				fill_train(0x11, id, 9, 1200);
				assert_train(&group, steering, fd, 9 * 1200, 1200);
			}
			/* Each datagram is a runt, the train is not: its length counts. */
			fill_train(0x14, 5, 9, 20);
			assert_train(&group, steering, fd, 180, 20);
			fill_train(0x11, 5, 2, 20);
			assert_train(&group, steering, fd, 21, 20);
			close(fd);
		}
		cr_assert_eq(receiver(&group, 0), NOBODY);
		group_close(&group);
	}
}

Test(steering, without_gro_a_train_is_still_steered_once)
{
	const struct steering steering = {.workers = 6, .handshakers = 1, .slot_mask = 0xffff};
	struct group group;
	int fd = source_open(0);

	group_open(&group, &steering, false);
	fill_train(0x14, 4, 5, 100);
	source_send(fd, &group, datagram, 500, 100);
	for (unsigned i = 0; i < 5; i++) {
		cr_assert_eq(receiver(&group, 5000), 4);
		cr_assert_eq(group.last.length, 100);
		cr_assert_eq(group.last.segment_size, 0);
	}
	close(fd);
	group_close(&group);
}

/* --- attaching ---------------------------------------------------------------------------------------------------- */

Test(steering, attached_again_it_replaces)
{
	struct steering steering = {.workers = 3, .handshakers = 1, .slot_mask = 0xffff};
	struct group group;
	int fd = source_open(0);

	group_open(&group, &steering, true);
	memset(datagram, 0, 32);
	datagram[0] = 0x14;
	datagram[4] = 6;
	assert_steered(&group, &steering, fd, 32);
	steering.slot_mask = 1;
	datagram[4] = 7;
	cr_assert_eq(steering_attach(group.sockets[3]->fd, &steering, &error), 0, "%s", error.text);
	cr_assert_eq(steering_thread(&steering, datagram, 32), 1);
	assert_steered(&group, &steering, fd, 32);
	close(fd);
	group_close(&group);
}

Test(steering, refused_for_a_socket_that_does_not_share)
{
	const struct udp_params params = {.buffer = 1 << 20};
	const struct steering steering = {.workers = 1, .handshakers = 1, .slot_mask = 0xffff};
	struct udp_socket *alone = udp_open(&params, &error);

	cr_assert_not_null(alone, "%s", error.text);
	cr_assert_eq(steering_attach(alone->fd, &steering, &error), -EINVAL);
	cr_assert_str_eq(error.text, "UDP steering: attach the BPF program: Invalid argument");
	udp_close(alone);
}
