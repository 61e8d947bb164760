// SPDX-License-Identifier: Apache-2.0
/* The kernel runs the program: what is sent over the loopback interface arrives where the model in C says. */
#include "core/protocol/wire.h"
#include "tests/unit/steering_group.h"

enum { SOURCES_V4 = 3 };

/* Both families, several addresses, ports of their own. */
static const char *const addresses[] = {"127.0.0.1", "127.0.0.1", "127.77.3.9", "::1", "::1", "::1"};
static unsigned sources = ARRAY_SIZE(addresses);
static struct group group;

static void count_sources(void)
{
	struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&loopback, sizeof loopback) != 0)
		sources = SOURCES_V4; /* containers often are without IPv6 */
	close(fd);
}

TestSuite(steering, .init = count_sources);

static void open_group(const struct steering *steering, bool gro)
{
	group_open(&group, steering, gro, "127.0.0.1", "::1");
}

/* Nothing came that was not asked for. */
static void close_group(void)
{
	cr_assert_eq(group_receive(&group, 0), NO_SOCKET);
	group_close(&group);
}

static void assert_steered(const struct steering *steering, int fd, size_t length)
{
	uint32_t expected = steering_thread(steering, datagram, (uint32_t)length);
	source_send(fd, &group, length, 0);
	int got = group_receive(&group, 240000);

	cr_assert_neq(got, NO_SOCKET, "lost: first byte %#x, %zu bytes", datagram[0], length);
	cr_assert_eq(group.last.length, length);
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
	cr_assert_eq(model(6, 3, 0x13, 3, 10), 3, "CLIENT_ACK");
}

/* Of WireGuard's: `at4` and `at8` are what stands at these offsets. */
static uint32_t wireguard(uint32_t handshakers, uint8_t first, uint32_t at4, uint32_t at8)
{
	const struct steering steering = {.workers = 6, .handshakers = handshakers, .slot_mask = 0xffff};
	uint8_t message[WIRE_SMALLEST] = {first};
	store_be32(message + 4, at4);
	store_be32(message + 8, at8);
	return steering_thread(&steering, message, sizeof message);
}

Test(steering, model_of_wireguard_s_as_specified)
{
	cr_assert_eq(wireguard(3, 4, 5, 9), 5, "data");
	cr_assert_eq(wireguard(3, 4, 0xf0000005, 9), 5, "the epoch has no say");
	cr_assert_eq(wireguard(3, 4, 0x0abc0006, 9), 0, "the generation neither");
	cr_assert_eq(wireguard(3, 4, 0xffffffff, 9), 65535 % 6);
	cr_assert_eq(wireguard(3, 1, 4, 9), 6 + 1, "initiation");
	cr_assert_eq(wireguard(3, 1, 0xffffffff, 9), 6 + 0x0fffffff % 3);
	cr_assert_eq(wireguard(3, 2, 4, 9), 6 + 0, "response: the receiver's index is the second");
	cr_assert_eq(wireguard(3, 2, 4, 0x1000000a), 6 + 1, "less the epoch");
	cr_assert_eq(wireguard(3, 3, 0x7000000a, 9), 6 + 1, "cookie reply: where the response went");
	cr_assert_eq(wireguard(1, 1, 5, 9), 6);
	for (unsigned first = 0; first < 16; first++) {
		if (first == 0 || first > 3)
			cr_assert_eq(wireguard(3, (uint8_t)first, 8, 9), 2, "%u is dropped by a worker", first);
	}
}

Test(steering, model_of_runts)
{
	const struct steering steering = {.workers = 6, .handshakers = 1, .slot_mask = 0xffff};
	const uint8_t hello[WIRE_SMALLEST] = {0x11};
	for (uint32_t length = 0; length < 21; length++)
		cr_assert_eq(steering_thread(&steering, hello, length), STEERING_HASH);
	cr_assert_eq(steering_thread(&steering, hello, 21), 6);
	for (uint8_t first = 0; first < 5; first++) {
		const uint8_t message[WIRE_SMALLEST] = {first};
		for (uint32_t length = 0; length < 21; length++)
			cr_assert_eq(steering_thread(&steering, message, length), STEERING_HASH);
	}
}

/* --- the kernel --------------------------------------------------------------------------------------------------- */

static const struct steering shapes[] = {
	{1, 1, 0xffff}, {3, 1, 0xffff}, {6, 1, 0xffff}, {7, 1, 0xffffff},
	{1, 3, 0xffff}, {3, 3, 0x3},	{6, 3, 0xf},	{7, 3, 0xffff},
};

/* From one source of each family, then the same bytes from elsewhere. */
Test(steering, kernel_does_as_the_model, .timeout = 60)
{
	int fds[ARRAY_SIZE(addresses)];
	for (unsigned i = 0; i < sources; i++)
		fds[i] = source_open(addresses[i]);

	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++) {
		open_group(&shapes[shape], true);
		for (unsigned first = 0; first < 256; first++) {
			fill((uint8_t)first);
			for (unsigned i = 0; i < sources; i++)
				assert_steered(&shapes[shape], fds[i], i % 2 == 0 ? 21 : 1200);
		}
		/* HELLO is one first byte in 256 and deserves more, and so do those of WireGuard's. */
		for (unsigned i = 0; i < 200; i++) {
			fill(0x11);
			assert_steered(&shapes[shape], fds[i % sources], 1200);
			fill((uint8_t)(i % 5));
			assert_steered(&shapes[shape], fds[i % sources], 148);
		}
		close_group();
	}
	for (unsigned i = 0; i < sources; i++)
		close(fds[i]);
}

Test(steering, every_length, .timeout = 60)
{
	static const size_t longer[] = {63, 64, 575, 1199, 1201, 1452, 1473, 9000, 65000};
	static const uint8_t firsts[] = {0x11, 0x14, 0x21, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0xff};

	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++) {
		open_group(&shapes[shape], true);
		for (unsigned source = 0; source < sources; source++) {
			int fd = source_open(addresses[source]);
			for (size_t first = 0; first < ARRAY_SIZE(firsts); first++) {
				for (size_t length = 0; length < 26 + ARRAY_SIZE(longer); length++) {
					size_t bytes = length < 26 ? length : longer[length - 26];
					fill(firsts[first]);
					assert_steered(&shapes[shape], fd, bytes);
				}
			}
			close(fd);
		}
		close_group();
	}
}

/* Not all on worker 0, as a load past the end of the datagram would have it. */
Test(steering, runts_are_spread)
{
	const struct steering steering = {.workers = 3, .handshakers = 1, .slot_mask = 0xffff};
	static const size_t lengths[] = {0, 1, 4, 8, 20};

	open_group(&steering, true);
	for (size_t length = 0; length < ARRAY_SIZE(lengths); length++) {
		unsigned counts[4] = {0};
		for (unsigned i = 0; i < 120; i++) {
			int fd = source_open(addresses[i % sources]);
			memset(datagram, 0, 32);
			datagram[0] = i % 2 == 0 ? 0x11 : 0x14;
			source_send(fd, &group, lengths[length], 0);
			int got = group_receive(&group, 240000);
			cr_assert_neq(got, NO_SOCKET);
			counts[got]++;
			close(fd);
		}
		for (unsigned i = 0; i < 4; i++)
			cr_assert_gt(counts[i], 0, "%zu bytes", lengths[length]);
	}
	close_group();
}

/* --- trains ------------------------------------------------------------------------------------------------------- */

static void assert_train(const struct steering *steering, int fd, size_t length, uint16_t size)
{
	uint32_t expected = steering_thread(steering, datagram, (uint32_t)length);
	source_send(fd, &group, length, size);
	cr_assert_eq(group_receive(&group, 240000), (int)expected, "%zu bytes in datagrams of %u", length, size);
	cr_assert_eq(group.last.length, length);
	cr_assert_eq(group.last.segment_size, size);
}

Test(steering, train_goes_where_its_first_datagram_goes)
{
	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++) {
		const struct steering *steering = &shapes[shape];
		open_group(steering, true);
		for (unsigned source = 0; source < sources; source++) {
			int fd = source_open(addresses[source]);
			for (uint32_t id = 0; id < 8; id++) {
				fill_train(0x14, id, 9, 100);
				assert_train(steering, fd, 820, 100);
				fill_train(0x11, id, 9, 1200);
				assert_train(steering, fd, 9 * 1200, 1200);
			}
			/* Each datagram is a runt, the train is not: its length counts. */
			fill_train(0x14, 5, 9, 20);
			assert_train(steering, fd, 180, 20);
			fill_train(0x11, 5, 2, 20);
			assert_train(steering, fd, 21, 20);
			close(fd);
		}
		close_group();
	}
}

/* Of WireGuard's data; each of another session. */
Test(steering, a_train_of_wireguard_s_goes_where_its_first_datagram_goes)
{
	for (size_t shape = 0; shape < ARRAY_SIZE(shapes); shape++) {
		const struct steering *steering = &shapes[shape];
		int fd = source_open(addresses[0]);
		open_group(steering, true);
		for (uint32_t id = 0; id < 8; id++) {
			for (uint32_t i = 0; i < 9; i++) {
				wg_data_header(datagram + i * 100, wg_index(id + i, 1 + i), i);
			}
			cr_assert_eq(steering_thread(steering, datagram, 820),
				     (id & steering->slot_mask) % steering->workers);
			assert_train(steering, fd, 820, 100);
		}
		close(fd);
		close_group();
	}
}

Test(steering, without_gro_a_train_is_still_steered_once)
{
	const struct steering steering = {.workers = 6, .handshakers = 1, .slot_mask = 0xffff};
	int fd = source_open(addresses[0]);

	open_group(&steering, false);
	fill_train(0x14, 4, 5, 100);
	source_send(fd, &group, 500, 100);
	for (unsigned i = 0; i < 5; i++) {
		cr_assert_eq(group_receive(&group, 240000), 4);
		cr_assert_eq(group.last.length, 100);
		cr_assert_eq(group.last.segment_size, 0);
	}
	close(fd);
	close_group();
}

/* --- attaching ---------------------------------------------------------------------------------------------------- */

Test(steering, attached_again_it_replaces)
{
	struct steering steering = {.workers = 3, .handshakers = 1, .slot_mask = 0xffff};
	int fd = source_open(addresses[0]);

	open_group(&steering, true);
	memset(datagram, 0, 32);
	datagram[0] = 0x14;
	datagram[4] = 5;
	cr_assert_eq(steering_thread(&steering, datagram, 32), 2);
	assert_steered(&steering, fd, 32);
	steering.slot_mask = 1;
	cr_assert_eq(steering_attach(group.sockets[3]->fd, &steering, &error), 0, "%s", error.text);
	cr_assert_eq(steering_thread(&steering, datagram, 32), 1);
	assert_steered(&steering, fd, 32);
	close(fd);
	close_group();
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
