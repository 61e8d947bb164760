// SPDX-License-Identifier: Apache-2.0
/* Which queue of the interface a packet comes out of: each test runs in a network namespace of its own. */
#include <cap-ng.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "tests/harness/steered_device.h"

enum { READERS = 3, WRITERS = 2, QUEUES = READERS + WRITERS, PORT = 7777 };

static struct tun_device device;

TestSuite(queue_steering, .init = steered_namespace);

static void open_device(void)
{
	steered_open(&device, (struct tun_params){.readers = READERS, .writers = WRITERS}, READERS);
}

/* The queue that the only frame there is comes out of; -1: there is none. */
static int queue_of_frame(void)
{
	int found = -1;
	uint8_t *frame;
	uint32_t length;
	for (int i = 0; i < QUEUES; i++) {
		while (steered_read(&device.queues[i], &frame, &length)) {
			cr_assert_eq(found, -1);
			found = i;
		}
	}
	return found;
}

static int queue_of_destination(int family, const char *destination, uint16_t port)
{
	int fd = steered_socket(family);
	steered_send(fd, family, destination, port, 5);
	close(fd);
	return queue_of_frame();
}

Test(queue_steering, follows_the_index_in_the_pool)
{
	char text[64];
	open_device();
	cr_assert_eq(device.steering, 0, "%s", strerror(-device.steering));
	for (unsigned index = 2; index < 2000; index += index < 20 ? 1 : 97) {
		snprintf(text, sizeof text, "10.8.%u.%u", index >> 8, index & 255);
		cr_assert_eq(queue_of_destination(AF_INET, text, PORT), index % READERS, "%s", text);
		snprintf(text, sizeof text, "fd00:8::%x", index);
		cr_assert_eq(queue_of_destination(AF_INET6, text, PORT), index % READERS, "%s", text);
	}
	for (uint16_t port = 1; port < 50; port++)
		cr_assert_eq(queue_of_destination(AF_INET, "10.8.0.4", port), 1, "all flows to one address");
	tun_device_close(&device);
}

static bool comes_out_of_one_that_is_read(void)
{
	int queue = queue_of_frame();
	return queue >= 0 && queue < READERS;
}

Test(queue_steering, anything_else_has_a_queue_that_is_read)
{
	open_device();
	steered_send_broken(comes_out_of_one_that_is_read);
	tun_device_close(&device);
}

/* So each has an index, which the kernel records in what is written to it. */
Test(queue_steering, no_queue_is_detached)
{
	open_device();
	for (unsigned i = 0; i < QUEUES; i++) {
		struct ifreq request = {0};
		cr_assert_eq(ioctl(device.queues[i].fd, TUNGETIFF, &request), 0);
		cr_assert_eq((uint16_t)request.ifr_flags & IFF_DETACH_QUEUE, 0, "queue %u", i);
	}
	tun_device_close(&device);
}

Test(queue_steering, without_the_right_readers_share_and_writers_are_detached)
{
	FILE *file = fopen("/proc/sys/kernel/unprivileged_bpf_disabled", "re");
	if (file == NULL || fgetc(file) == '0')
		cr_skip_test("this kernel lets everyone load BPF programs");
	fclose(file);
	cr_assert_eq(capng_get_caps_process(), 0);
	cr_assert_eq(capng_updatev(CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SYS_ADMIN, CAP_BPF, -1), 0);
	cr_assert_eq(capng_apply(CAPNG_SELECT_CAPS), 0);
	open_device();
	cr_assert_eq(device.steering, -EPERM);
	for (uint16_t port = 1; port < 50; port++) {
		int queue = queue_of_destination(AF_INET, "10.8.0.4", port);
		cr_assert(queue >= 0 && queue < READERS);
	}
	tun_device_close(&device);
}
