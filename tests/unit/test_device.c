// SPDX-License-Identifier: Apache-2.0
/* Real devices: each test runs in a process and a network namespace of its own. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tun/tun.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { MTU = 1420, FRAMES = 8 };

static const struct tun_offloads all_offloads = {.checksum = true, .tso = true, .uso = true};
static struct error error;
static uint8_t buffers[FRAMES][TUN_FRAME_MAX];

static void new_namespace(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		cr_skip_test("a network namespace of our own needs CAP_SYS_ADMIN");
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		cr_skip_test("no /dev/net/tun to open");
}

TestSuite(device, .init = new_namespace);

static struct ip_prefix prefix(const char *text)
{
	struct ip_prefix parsed;
	cr_assert(ip_prefix_parse(text, &parsed), "%s", text);
	return parsed;
}

static int open_with(struct tun_device *device, const char *name, const char *v4, const char *v6,
		     struct tun_offloads offloads)
{
	const struct ip_prefix addresses[] = {prefix(v4), prefix(v6)};
	return tun_device_open(device,
			       &(struct tun_params){
				       .name = name,
				       .mtu = MTU,
				       .offloads = offloads,
				       .addresses = addresses,
				       .address_count = 2,
				       .readers = 1,
			       },
			       &error);
}

static void open_device(struct tun_device *device, struct tun_offloads offloads)
{
	cr_assert_eq(open_with(device, "tun9", "10.8.0.1/16", "fd00:8::1/64", offloads), 0, "%s", error.text);
}

/* Up to FRAMES frames into `buffers`, waiting at most `ms` for the first; their lengths in `frames`. */
static int read_frames(struct tun_device *device, struct iovec frames[FRAMES], int ms)
{
	for (int i = 0; i < FRAMES; i++)
		frames[i] = (struct iovec){buffers[i], sizeof buffers[i]};
	struct pollfd readable = {.fd = device->queues[0].fd, .events = POLLIN};
	poll(&readable, 1, ms);
	return device->queues[0].ops->read(&device->queues[0], frames, FRAMES);
}

static struct virtio_net_hdr header_of(const struct iovec *frame)
{
	struct virtio_net_hdr header;
	cr_assert_geq(frame->iov_len, sizeof header);
	memcpy(&header, frame->iov_base, sizeof header);
	return header;
}

/* RFC 1071 the slow way, over big-endian words; the oracle of these tests. */
static uint32_t sum_be16(const uint8_t *data, size_t length, uint32_t sum)
{
	for (size_t i = 0; i < length; i++)
		sum += (uint32_t)data[i] << (i % 2 == 0 ? 8 : 0);
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* The UDP or TCP sum over an IPv4 packet without options, pseudo-header included: 0xffff when its checksum is right. */
static uint16_t upper_sum(const uint8_t *packet, size_t length)
{
	uint32_t upper = (uint32_t)length - 20;
	return fold(sum_be16(packet + 20, upper, sum_be16(packet + 12, 8, packet[9] + upper)));
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

static void send_udp(int fd, const void *data, size_t length)
{
	struct sockaddr_in remote = ipv4("10.8.0.2", 7777);
	cr_assert_eq(sendto(fd, data, length, 0, (struct sockaddr *)&remote, sizeof remote), (ssize_t)length);
}

/* --- the interface ------------------------------------------------------------------------------------------------ */

static json_t *ip_addr(const char *name)
{
	char command[128];
	snprintf(command, sizeof command, "ip -j addr show dev %s 2>/dev/null", name);
	FILE *pipe = popen(command, "r");
	cr_assert_not_null(pipe);
	json_error_t why;
	json_t *links = json_loadf(pipe, 0, &why);
	pclose(pipe);
	return links;
}

Test(device, interface_is_complete)
{
	struct tun_device device;
	open_device(&device, all_offloads);
	cr_assert_str_eq(device.name, "tun9");
	cr_assert_eq(device.ifindex, if_nametoindex("tun9"));

	json_t *links = ip_addr("tun9"), *link = json_array_get(links, 0);
	cr_assert_eq(json_integer_value(json_object_get(link, "mtu")), MTU);
	json_t *addresses = json_object_get(link, "addr_info"), *address;
	cr_assert_eq(json_array_size(addresses), 2, "two of ours and no link-local one");
	size_t i;
	static const char *const expected[] = {"10.8.0.1", "fd00:8::1"};
	json_array_foreach (addresses, i, address)
		cr_assert_str_eq(json_string_value(json_object_get(address, "local")), expected[i]);
	cr_assert_eq(json_integer_value(json_object_get(json_array_get(addresses, 0), "prefixlen")), 16);
	bool up = false;
	json_array_foreach (json_object_get(link, "flags"), i, address)
		up |= strcmp(json_string_value(address), "UP") == 0;
	cr_assert(up);
	json_decref(links);

	int flags = fcntl(device.queues[0].fd, F_GETFL), descriptor = fcntl(device.queues[0].fd, F_GETFD);
	cr_assert(flags & O_NONBLOCK);
	cr_assert(descriptor & FD_CLOEXEC);

	tun_device_close(&device);
	cr_assert_null(device.queues);
	cr_assert_eq(if_nametoindex("tun9"), 0, "gone with its queue");
	tun_device_close(&device);
}

Test(device, kernel_chooses_the_name)
{
	struct tun_device first, second;
	cr_assert_eq(open_with(&first, "", "10.8.0.1/16", "fd00:8::1/64", all_offloads), 0, "%s", error.text);
	cr_assert_eq(open_with(&second, "", "10.9.0.1/16", "fd00:9::1/64", all_offloads), 0, "%s", error.text);
	cr_assert_str_eq(first.name, "shardtun0");
	cr_assert_str_eq(second.name, "shardtun1");
	cr_assert_eq(second.ifindex, if_nametoindex("shardtun1"));
	tun_device_close(&first);
	tun_device_close(&second);
}

Test(device, kernel_sends_nothing_of_its_own)
{
	struct tun_device device;
	struct iovec frames[FRAMES];
	open_device(&device, all_offloads);
	/* Router solicitations and the like would come within the first second. */
	cr_assert_eq(read_frames(&device, frames, 1200), 0);
	tun_device_close(&device);
}

/* --- what is sent into it ----------------------------------------------------------------------------------------- */

Test(device, udp_packet_arrives_with_a_partial_checksum)
{
	struct tun_device device;
	struct iovec frames[FRAMES];
	open_device(&device, all_offloads);
	cr_assert(device.offloads.checksum && device.queues[0].offloads.checksum);
	int fd = udp_socket(5000);
	send_udp(fd, "hello", 5);

	cr_assert_eq(read_frames(&device, frames, 20000), 1);
	cr_assert_eq(frames[0].iov_len, VNET_HEADER_SIZE + 20 + 8 + 5);
	struct virtio_net_hdr header = header_of(&frames[0]);
	cr_assert_eq(header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	cr_assert_eq(header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	cr_assert_eq(header.csum_start, 20);
	cr_assert_eq(header.csum_offset, offsetof(struct udphdr, uh_sum));
	const uint8_t *packet = buffers[0] + VNET_HEADER_SIZE;
	cr_assert_arr_eq(packet + 28, "hello", 5);
	cr_assert_eq(load_be16(packet + 26), fold(sum_be16(packet + 12, 8, IPPROTO_UDP + 13)),
		     "the pseudo-header's sum");
	cr_assert_eq(read_frames(&device, frames, 0), 0, "no more, and no blocking");
	close(fd);
	tun_device_close(&device);
}

Test(device, no_checksum_offload_means_complete_checksums)
{
	struct tun_device device;
	struct iovec frames[FRAMES];
	open_device(&device, (struct tun_offloads){.checksum = false, .tso = true, .uso = true});
	cr_assert(!device.offloads.checksum && !device.offloads.tso && !device.offloads.uso,
		  "a condition of the others");
	int fd = udp_socket(5000);
	send_udp(fd, "hello", 5);

	cr_assert_eq(read_frames(&device, frames, 20000), 1);
	cr_assert_eq(header_of(&frames[0]).flags, 0);
	cr_assert_eq(upper_sum(buffers[0] + VNET_HEADER_SIZE, 20 + 8 + 5), 0xffff);
	close(fd);
	tun_device_close(&device);
}

static int send_udp_segments(struct tun_device *device, struct iovec frames[FRAMES])
{
	enum { SEGMENT = 1000, COUNT = 5 };
	static uint8_t data[SEGMENT * COUNT];
	int size = SEGMENT, fd = udp_socket(5000);
	cr_assert_eq(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size), 0);
	send_udp(fd, data, sizeof data);
	close(fd);
	return read_frames(device, frames, 20000);
}

Test(device, uso_brings_udp_super_packets)
{
	struct tun_device device;
	struct iovec frames[FRAMES];
	open_device(&device, all_offloads);
	if (!device.offloads.uso)
		cr_skip_test("this kernel has no USO on TUN");
	cr_assert_eq(send_udp_segments(&device, frames), 1);
	cr_assert_eq(frames[0].iov_len, VNET_HEADER_SIZE + 28 + 5000);
	struct virtio_net_hdr header = header_of(&frames[0]);
	cr_assert_eq(header.gso_type, VIRTIO_NET_HDR_GSO_UDP_L4);
	cr_assert_eq(header.gso_size, 1000);
	tun_device_close(&device);
}

Test(device, without_uso_udp_comes_packet_by_packet)
{
	struct tun_device device;
	struct iovec frames[FRAMES];
	open_device(&device, (struct tun_offloads){.checksum = true, .tso = true});
	cr_assert(device.offloads.tso && !device.offloads.uso);
	cr_assert_eq(send_udp_segments(&device, frames), 5);
	for (int i = 0; i < 5; i++) {
		cr_assert_eq(frames[i].iov_len, VNET_HEADER_SIZE + 28 + 1000);
		cr_assert_eq(header_of(&frames[i]).gso_type, VIRTIO_NET_HDR_GSO_NONE);
	}
	tun_device_close(&device);
}

Test(device, read_stops_at_count)
{
	struct tun_device device;
	struct iovec frames[FRAMES];
	open_device(&device, all_offloads);
	int fd = udp_socket(5000);
	for (int i = 0; i < FRAMES + 3; i++)
		send_udp(fd, &i, sizeof i);
	cr_assert_eq(read_frames(&device, frames, 20000), FRAMES);
	cr_assert_eq(read_frames(&device, frames, 20000), 3);
	int last;
	memcpy(&last, buffers[2] + VNET_HEADER_SIZE + 28, sizeof last);
	cr_assert_eq(last, FRAMES + 2, "in order");
	close(fd);
	tun_device_close(&device);
}

/* --- what is written to it ---------------------------------------------------------------------------------------- */

Test(device, written_packet_reaches_a_socket)
{
	struct tun_device device;
	struct iovec frames[FRAMES];
	open_device(&device, all_offloads);
	int fd = udp_socket(7777);
	send_udp(fd, "there and back", 14);
	cr_assert_eq(read_frames(&device, frames, 20000), 1);

	/* Swapped addresses: from 10.8.0.2 to us. The pseudo-header's sum stays. */
	uint8_t *packet = buffers[0] + VNET_HEADER_SIZE, address[4];
	memcpy(address, packet + 12, 4);
	memcpy(packet + 12, packet + 16, 4);
	memcpy(packet + 16, address, 4);
	const struct iovec pieces[] = {
		{buffers[0], VNET_HEADER_SIZE}, {packet, 28}, {packet + 28, frames[0].iov_len - VNET_HEADER_SIZE - 28}};
	const struct tun_frame frame = {.iov = pieces, .iov_count = 3, .packets = 1};
	cr_assert_eq(device.queues[0].ops->write(&device.queues[0], &frame), 0);

	char text[32];
	cr_assert_eq(recv(fd, text, sizeof text, 0), 14);
	cr_assert_arr_eq(text, "there and back", 14);
	close(fd);
	tun_device_close(&device);
}

Test(device, nonsense_is_refused_with_its_errno)
{
	struct tun_device device;
	open_device(&device, all_offloads);
	uint8_t runt[4] = {0};
	const struct iovec piece = {runt, sizeof runt};
	cr_assert_eq(device.queues[0].ops->write(&device.queues[0], &(struct tun_frame){&piece, 1, 1}), -EINVAL);
	tun_device_close(&device);
}

Test(device, deleted_interface_is_an_error)
{
	struct tun_device device;
	struct iovec frames[FRAMES];
	open_device(&device, all_offloads);
	cr_assert_eq(system("ip link delete tun9"), 0);
	cr_assert_eq(read_frames(&device, frames, 0), -EBADFD);
	const struct iovec piece = {buffers[0], 60};
	cr_assert_eq(device.queues[0].ops->write(&device.queues[0], &(struct tun_frame){&piece, 1, 1}), -EBADFD);
	tun_device_close(&device);
}

/* Moves all that waits in `from` to `to` as it is; returns the longest IP packet seen. */
static size_t pump(struct tun_device *from, struct tun_device *to, bool *partial)
{
	struct iovec frames[FRAMES];
	size_t longest = 0;
	int count;

	while ((count = read_frames(from, frames, 0)) > 0) {
		for (int i = 0; i < count; i++) {
			size_t length = frames[i].iov_len - VNET_HEADER_SIZE;
			longest = length > longest ? length : longest;
			*partial |= (header_of(&frames[i]).flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
			const struct tun_frame frame = {.iov = &frames[i], .iov_count = 1, .packets = 1};
			cr_assert_eq(to->queues[0].ops->write(&to->queues[0], &frame), 0);
		}
	}
	cr_assert_eq(count, 0);
	return longest;
}

/* Two namespaces, a device in each, back to back: one TCP connection moves `total` bytes from the first to the second.
 * Returns the longest packet that the sender's kernel handed out. */
static size_t transfer(struct tun_offloads offloads, bool *partial)
{
	enum { TOTAL = 400000 };
	struct tun_device near, far;
	struct sockaddr_in remote = ipv4("10.8.0.2", 7777);

	cr_assert_eq(open_with(&near, "near", "10.8.0.1/16", "fd00:8::1/64", offloads), 0, "%s", error.text);
	int sender = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert_eq(unshare(CLONE_NEWNET), 0);
	cr_assert_eq(open_with(&far, "far", "10.8.0.2/16", "fd00:8::2/64", offloads), 0, "%s", error.text);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(listener, (struct sockaddr *)&remote, sizeof remote), 0);
	cr_assert_eq(listen(listener, 1), 0);
	cr_assert_eq(connect(sender, (struct sockaddr *)&remote, sizeof remote), -1);
	cr_assert_eq(errno, EINPROGRESS);

	static uint8_t data[65536], got[65536];
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 7);
	size_t sent = 0, received = 0, longest = 0;
	int receiver = -1;
	for (int round = 0; round < 10000 && received < TOTAL; round++) {
		size_t most = pump(&near, &far, partial), offset = sent % sizeof data;
		longest = most > longest ? most : longest;
		pump(&far, &near, partial);
		if (receiver < 0)
			receiver = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
		if (sent < TOTAL) {
			ssize_t now = send(sender, data + offset, sizeof data - offset, MSG_NOSIGNAL);
			sent += now > 0 ? (size_t)now : 0;
		}
		for (ssize_t now; receiver >= 0 && (now = recv(receiver, got, sizeof got, 0)) > 0;
		     received += (size_t)now)
			for (size_t i = 0; i < (size_t)now; i++)
				cr_assert_eq(got[i], data[(received + i) % sizeof data]);
		poll(NULL, 0, received == 0 ? 1 : 0);
	}
	cr_assert_geq(received, TOTAL);
	close(sender);
	close(receiver);
	close(listener);
	tun_device_close(&near);
	tun_device_close(&far);
	return longest;
}

Test(device, tso_brings_tcp_super_packets)
{
	bool partial = false;
	cr_assert_gt(transfer(all_offloads, &partial), 10 * MTU);
	cr_assert(partial);
}

Test(device, without_tso_tcp_comes_packet_by_packet)
{
	bool partial = false;
	cr_assert_eq(transfer((struct tun_offloads){.checksum = true, .uso = true}, &partial), MTU);
	cr_assert(partial);
}

Test(device, without_any_offload_nothing_is_left_to_finish)
{
	bool partial = false;
	cr_assert_eq(transfer((struct tun_offloads){0}, &partial), MTU);
	cr_assert(!partial);
}

/* --- failures ----------------------------------------------------------------------------------------------------- */

static void assert_refused(const char *name, int code, const char *text)
{
	struct tun_device device;
	error.text[0] = '\0';
	cr_assert_eq(open_with(&device, name, "10.8.0.1/16", "fd00:8::1/64", all_offloads), code, "%s", error.text);
	cr_assert_str_eq(error.text, text);
}

Test(device, bad_names)
{
	assert_refused("a-name-too-long0", -EINVAL,
		       "interface name \"a-name-too-long0\": too long; at most 15 characters");
	assert_refused("a b", -EINVAL, "interface name \"a b\": may not have spaces, \"/\", \":\" or \"%\"");
	assert_refused("a/b", -EINVAL, "interface name \"a/b\": may not have spaces, \"/\", \":\" or \"%\"");
	assert_refused("a%d", -EINVAL, "interface name \"a%d\": may not have spaces, \"/\", \":\" or \"%\"");
	assert_refused("..", -EINVAL, "interface name \"..\": not allowed by the kernel");
	struct tun_device device;
	cr_assert_eq(open_with(&device, "fifteen-letters", "10.8.0.1/16", "fd00:8::1/64", all_offloads), 0);
	cr_assert_str_eq(device.name, "fifteen-letters");
	tun_device_close(&device);
}

Test(device, name_held_by_another)
{
	struct tun_device device;
	open_device(&device, all_offloads);
	assert_refused(
		"tun9", -EBUSY,
		"create interface tun9: Device or resource busy; another process holds this interface: stop it or "
		"choose another Interface name");
	cr_assert_eq(device.ifindex, if_nametoindex("tun9"), "the holder keeps it");
	tun_device_close(&device);
}

Test(device, name_of_another_kind)
{
	assert_refused(
		"lo", -EINVAL,
		"create interface lo: Invalid argument; an interface of another kind has this name: choose another "
		"Interface name");
}

Test(device, no_device_node)
{
	cr_assert_eq(unshare(CLONE_NEWNS), 0);
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	cr_assert_eq(mount("none", "/dev/net", "tmpfs", 0, NULL), 0);
	assert_refused(
		"tun9", -ENOENT,
		"open /dev/net/tun: No such file or directory; load the module (modprobe tun), or pass the device "
		"into the container");
}

Test(device, node_not_permitted)
{
	cr_assert_eq(unshare(CLONE_NEWNS), 0);
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	cr_assert_eq(mount("none", "/dev/net", "tmpfs", 0, "mode=755"), 0);
	int fd = open("/dev/net/tun", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	cr_assert_eq(setresuid(65534, 65534, 65534), 0);
	assert_refused("tun9", -EACCES,
		       "open /dev/net/tun: Permission denied; start as root, or allow the device "
		       "(DeviceAllow=/dev/net/tun rw in the unit)");
}

Test(device, no_net_admin)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}, {0}};
	cr_assert_eq(syscall(SYS_capset, &header, none), 0);
	assert_refused("tun9", -EPERM,
		       "create interface tun9: Operation not permitted; start as root or with CAP_NET_ADMIN");
}

static size_t open_descriptors(void)
{
	size_t count = 0;
	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

Test(device, failure_half_way_leaves_nothing)
{
	struct ip_prefix addresses[] = {prefix("10.8.0.1/16"), prefix("ff02::1/64")};
	struct tun_params params = {
		.name = "tun9", .mtu = 1280, .addresses = addresses, .address_count = 2, .readers = 1};
	struct tun_device device;
	size_t before = open_descriptors();

	cr_assert_lt(tun_device_open(&device, &params, &error), 0);
	cr_assert(strncmp(error.text, "add address ff02::1/64 to tun9: ", 32) == 0, "%s", error.text);
	addresses[1] = prefix("fd00:8::1/64");
	params.mtu = 1279;
	cr_assert_eq(tun_device_open(&device, &params, &error), -EINVAL);
	cr_assert_str_eq(error.text, "MTU 1279: IPv6 addresses need at least 1280");
	params.mtu = 10;
	params.address_count = 1;
	cr_assert_eq(tun_device_open(&device, &params, &error), -EINVAL);
	cr_assert(strncmp(error.text, "set MTU 10 on tun9: Invalid argument", 36) == 0, "%s", error.text);

	cr_assert_eq(if_nametoindex("tun9"), 0);
	cr_assert_eq(open_descriptors(), before);
	params.mtu = 1280;
	params.address_count = 2;
	cr_assert_eq(tun_device_open(&device, &params, &error), 0, "%s", error.text);
	tun_device_close(&device);
}
