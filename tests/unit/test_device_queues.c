// SPDX-License-Identifier: Apache-2.0
/* Devices with several queues: each test runs in a process and a network namespace of its own. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tun/tun.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { MTU = 1420, QUEUES_MAX = 256, PORT = 7777 };

static struct error error;
static struct tun_device device;
static uint8_t buffer[TUN_FRAME_MAX];

static void new_namespace(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		cr_skip_test("a network namespace of our own needs CAP_SYS_ADMIN");
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		cr_skip_test("no /dev/net/tun to open");
}

TestSuite(device_queues, .init = new_namespace);

static int open_queues(struct tun_device *opened, unsigned readers, unsigned writers)
{
	static struct ip_prefix address;
	cr_assert(ip_prefix_parse("10.8.0.1/16", &address));
	const struct tun_params params = {
		.name = "tun9",
		.mtu = MTU,
		.offloads = {.checksum = true, .tso = true, .uso = true},
		.addresses = &address,
		.address_count = 1,
		.readers = readers,
		.writers = writers,
	};
	return tun_device_open(opened, &params, &error);
}

static void open_device(unsigned readers, unsigned writers)
{
	cr_assert_eq(open_queues(&device, readers, writers), 0, "%s", error.text);
	cr_assert_eq(device.readers, readers);
	cr_assert_eq(device.writers, writers);
}

static struct sockaddr_in ipv4(const char *address, uint16_t port)
{
	struct sockaddr_in socket_address = {.sin_family = AF_INET, .sin_port = htons(port)};
	cr_assert_eq(inet_pton(AF_INET, address, &socket_address.sin_addr), 1);
	return socket_address;
}

static int udp_socket(uint16_t port)
{
	struct sockaddr_in local = ipv4("10.8.0.1", port);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert_geq(fd, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&local, sizeof local), 0);
	return fd;
}

static void send_out(int fd, const void *data, size_t length)
{
	struct sockaddr_in remote = ipv4("10.8.0.2", PORT);
	cr_assert_eq(sendto(fd, data, length, 0, (struct sockaddr *)&remote, sizeof remote), (ssize_t)length);
}

/* One frame into `buffer`: its length, or what read() returned when that is not 1. */
static int read_one(struct tun_queue *queue)
{
	struct iovec frame = {buffer, sizeof buffer};
	int count = queue->ops->read(queue, &frame, 1);
	return count == 1 ? (int)frame.iov_len : count;
}

/* The frame in `buffer` again, as if 10.8.0.2 answered. The sum of the pseudo-header stays. */
static int write_back(struct tun_queue *queue, size_t length)
{
	uint8_t *packet = buffer + VNET_HEADER_SIZE, address[4];
	memcpy(address, packet + 12, 4);
	memcpy(packet + 12, packet + 16, 4);
	memcpy(packet + 16, address, 4);
	const struct iovec piece = {buffer, length};
	return queue->ops->write(queue, &(struct tun_frame){&piece, 1, 1});
}

static int flags_of(const struct tun_queue *queue)
{
	struct ifreq request = {0};
	cr_assert_eq(ioctl(queue->fd, TUNGETIFF, &request), 0);
	return (uint16_t)request.ifr_flags;
}

static size_t open_descriptors(void)
{
	size_t count = 0;
	for (int fd = 0; fd < 2 * QUEUES_MAX; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* --- the queues --------------------------------------------------------------------------------------------------- */

Test(device_queues, one_is_no_multi_queue)
{
	open_device(1, 0);
	cr_assert_eq(flags_of(&device.queues[0]) & (IFF_MULTI_QUEUE | IFF_DETACH_QUEUE), 0);
	tun_device_close(&device);
}

Test(device_queues, readers_are_attached_and_writers_are_not)
{
	size_t before = open_descriptors();
	open_device(2, 3);
	cr_assert_eq(open_descriptors(), before + 5);
	for (unsigned i = 0; i < 5; i++) {
		const struct tun_queue *queue = &device.queues[i];
		int flags = flags_of(queue);
		cr_assert(flags & IFF_MULTI_QUEUE);
		cr_assert_eq((flags & IFF_DETACH_QUEUE) != 0, i >= 2, "queue %u", i);
		cr_assert(fcntl(queue->fd, F_GETFL) & O_NONBLOCK);
		cr_assert(fcntl(queue->fd, F_GETFD) & FD_CLOEXEC);
		cr_assert(queue->offloads.checksum);
		cr_assert_eq(queue->offloads.tso, device.offloads.tso);
		cr_assert_eq(queue->offloads.uso, device.offloads.uso);
	}
	tun_device_close(&device);
	cr_assert_eq(if_nametoindex("tun9"), 0, "gone with its queues");
	cr_assert_eq(open_descriptors(), before);
	tun_device_close(&device);
}

/* --- what is sent into it ----------------------------------------------------------------------------------------- */

enum { FLOWS = 1000 };

/* FLOWS datagrams from as many ports; how many came out of each queue. */
static void count_flows(unsigned counts[])
{
	unsigned queues = device.readers + device.writers;
	for (unsigned i = 0; i < queues; i++)
		counts[i] = 0;
	for (int flow = 0; flow < FLOWS; flow++) {
		int fd = udp_socket((uint16_t)(20000 + flow));
		send_out(fd, "flow", 4);
		close(fd);
		for (unsigned i = 0; i < queues; i++)
			while (read_one(&device.queues[i]) > 0)
				counts[i]++;
	}
}

Test(device_queues, everything_goes_to_the_reader)
{
	unsigned counts[5];
	open_device(1, 4);
	count_flows(counts);
	cr_assert_eq(counts[0], FLOWS);
	tun_device_close(&device);
}

Test(device_queues, several_readers_share)
{
	unsigned counts[6];
	open_device(3, 3);
	count_flows(counts);
	cr_assert_eq(counts[0] + counts[1] + counts[2], FLOWS);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_gt(counts[i], FLOWS / 10);
	tun_device_close(&device);
}

Test(device_queues, writers_read_nothing_and_do_not_wait)
{
	open_device(1, 1);
	int fd = udp_socket(PORT);
	send_out(fd, "hello", 5);
	struct pollfd polled = {.fd = device.queues[1].fd, .events = POLLIN};
	cr_assert_eq(poll(&polled, 1, 50), 0);
	cr_assert_eq(read_one(&device.queues[1]), 0);
	cr_assert_gt(read_one(&device.queues[0]), 0);
	close(fd);
	tun_device_close(&device);
}

/* --- what is written to it ---------------------------------------------------------------------------------------- */

Test(device_queues, every_queue_can_be_written)
{
	char text[32];
	open_device(2, 3);
	for (unsigned i = 0; i < 5; i++) {
		int fd = udp_socket(PORT), length = 0;
		send_out(fd, "there and back", 14);
		for (unsigned from = 0; from < 2 && length <= 0; from++)
			length = read_one(&device.queues[from]);
		cr_assert_gt(length, 0);
		cr_assert_eq(write_back(&device.queues[i], (size_t)length), 0, "queue %u", i);
		cr_assert_eq(recv(fd, text, sizeof text, 0), 14, "queue %u", i);
		cr_assert_arr_eq(text, "there and back", 14);
		close(fd);
	}
	tun_device_close(&device);
}

Test(device_queues, super_packet_written_to_a_detached_queue)
{
	enum { SEGMENT = 1000, COUNT = 5 };
	static uint8_t data[SEGMENT * COUNT];
	open_device(1, 2);
	if (!device.offloads.uso)
		cr_skip_test("this kernel has no USO on TUN");
	int size = SEGMENT, fd = udp_socket(PORT);
	cr_assert_eq(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size), 0);
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i / SEGMENT);
	send_out(fd, data, sizeof data);
	int length = read_one(&device.queues[0]);
	cr_assert_eq(length, VNET_HEADER_SIZE + 28 + SEGMENT * COUNT);
	cr_assert_eq(write_back(&device.queues[2], (size_t)length), 0);
	for (int i = 0; i < COUNT; i++) {
		uint8_t got[2 * SEGMENT];
		cr_assert_eq(recv(fd, got, sizeof got, 0), SEGMENT);
		cr_assert_eq(got[0], i);
		cr_assert_eq(got[SEGMENT - 1], i);
	}
	close(fd);
	tun_device_close(&device);
}

Test(device_queues, deleted_interface_is_an_error_on_each)
{
	open_device(2, 2);
	cr_assert_eq(system("ip link delete tun9"), 0);
	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(read_one(&device.queues[i]), -EBADFD);
		cr_assert_eq(write_back(&device.queues[i], 60), -EBADFD);
	}
	tun_device_close(&device);
}

/* --- failures ----------------------------------------------------------------------------------------------------- */

static const char *const held = "another process holds this interface: stop it or choose another Interface name";

/* The holder has `readers` and `writers`; we want others. It stays as it was. */
static void assert_held(unsigned readers, unsigned writers, unsigned our_readers, unsigned our_writers)
{
	struct tun_device ours;
	open_device(readers, writers);
	size_t before = open_descriptors();

	cr_assert_lt(open_queues(&ours, our_readers, our_writers), 0, "%u+%u in %u+%u", our_readers, our_writers,
		     readers, writers);
	cr_assert_not_null(strstr(error.text, held), "%s", error.text);
	cr_assert_eq(open_descriptors(), before);
	unsigned counts[8];
	count_flows(counts);
	unsigned sum = 0;
	for (unsigned i = 0; i < readers; i++)
		sum += counts[i];
	cr_assert_eq(sum, FLOWS);
	tun_device_close(&device);
}

/* The kernel itself would let us in: our queues would take packets from the holder's. */
Test(device_queues, interface_of_another_with_queues)
{
	assert_held(1, 2, 1, 2);
	assert_held(2, 0, 2, 0);
}

Test(device_queues, interface_of_another_with_one)
{
	assert_held(1, 0, 1, 2);
	assert_held(1, 2, 1, 0);
}

Test(device_queues, interface_of_another_kind)
{
	struct tun_device ours;
	cr_assert_eq(system("ip link add tun9 type veth peer name other"), 0);
	cr_assert_lt(open_queues(&ours, 1, 2), 0);
	cr_assert_str_eq(error.text, "create interface tun9: Device or resource busy; an interface of another kind "
				     "has this name: choose another Interface name");
	cr_assert_neq(if_nametoindex("tun9"), 0);
}

Test(device_queues, as_many_as_the_kernel_has)
{
	struct tun_device ours;
	size_t before = open_descriptors();
	open_device(1, QUEUES_MAX - 1);
	tun_device_close(&device);

	cr_assert_eq(open_queues(&ours, 2, QUEUES_MAX - 1), -E2BIG);
	cr_assert_str_eq(error.text, "create interface tun9: Argument list too long; this is one queue too many for "
				     "the kernel: set fewer Workers or TunReaders");
	cr_assert_eq(if_nametoindex("tun9"), 0);
	cr_assert_eq(open_descriptors(), before);
}

/* Each queue in turn is the one for which there is no descriptor. */
Test(device_queues, failure_half_way_leaves_nothing)
{
	struct rlimit limit, low;
	struct tun_device ours = {0};
	size_t before = open_descriptors();
	int lowest = dup(0);

	cr_assert_geq(lowest, 0);
	close(lowest);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	for (unsigned room = 0; room < 5; room++) {
		low = (struct rlimit){.rlim_cur = (rlim_t)lowest + room, .rlim_max = limit.rlim_max};
		cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
		int rc = open_queues(&ours, 2, 3);
		cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		cr_assert_eq(rc, -EMFILE);
		cr_assert_str_eq(error.text, "open /dev/net/tun: Too many open files; raise the limit of open files "
					     "(LimitNOFILE in the unit)");
		cr_assert_null(ours.queues, "untouched");
		cr_assert_eq(if_nametoindex("tun9"), 0);
		cr_assert_eq(open_descriptors(), before);
	}
	open_device(2, 3);
	tun_device_close(&device);
}
