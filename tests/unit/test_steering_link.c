// SPDX-License-Identifier: Apache-2.0
/* Steering of what comes over a link: two network namespaces with a virtual Ethernet between them, so that the kernel
 * merges on arrival, and puts fragments together, before it steers. */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/protocol/wire.h"
#include "tests/unit/steering_group.h"

enum { TRAIN = 9, FRAGMENTED = 4000 /* at an MTU of 1500 */ };

static const char *const sources[] = {"192.0.2.2", "192.0.2.3", "2001:db8::2", "2001:db8::3"};
static const struct steering steering = {.workers = 6, .handshakers = 3, .slot_mask = 0xffff};

static int near = -1, far = -1; /* the namespaces: of the sources, and of the group */
static struct group group;
static unsigned merged; /* messages of more than one datagram */

static void run(const char *command)
{
	cr_assert_eq(system(command), 0, "%s", command);
}

static void enter(int namespace)
{
	cr_assert_eq(setns(namespace, CLONE_NEWNET), 0);
}

static int new_namespace(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		cr_skip_test("a network namespace of our own needs CAP_SYS_ADMIN");
	run("sysctl -qw net.ipv6.conf.default.accept_dad=0");
	return open("/proc/self/ns/net", O_RDONLY);
}

static void link_up(void)
{
	char command[128];

	far = new_namespace();
	near = new_namespace();
	cr_assert(far >= 0 && near >= 0);
	snprintf(command, sizeof command, "ip link add eth0 type veth peer name eth0 netns /proc/%d/fd/%d", getpid(),
		 far);
	run(command);
	run("ip address add 192.0.2.2/24 dev eth0 && ip address add 192.0.2.3/24 dev eth0");
	run("ip address add 2001:db8::2/64 dev eth0 nodad && ip address add 2001:db8::3/64 dev eth0 nodad");
	run("ip link set eth0 up");
	enter(far);
	run("ip address add 192.0.2.1/24 dev eth0 && ip address add 2001:db8::1/64 dev eth0 nodad");
	run("ip link set eth0 up");
	group_open(&group, &steering, true, "192.0.2.1", "2001:db8::1");
	enter(near);
}

static void link_down(void)
{
	cr_assert_eq(group_receive(&group, 0), NO_SOCKET);
	group_close(&group);
	close(near);
	close(far);
}

TestSuite(steering_link, .init = link_up, .fini = link_down, .timeout = 60);

/* What was sent arrives whole, in as many messages as the kernel likes, each where its own first bytes and length say.
 */
static void assert_arrives(size_t length)
{
	for (size_t got = 0; got < length; got += group.last.length) {
		int index = group_receive(&group, 240000);
		cr_assert_neq(index, NO_SOCKET, "%zu of %zu bytes", got, length);
		merged += group.last.segment_size != 0;
		uint32_t expected = steering_thread(&steering, group.room, group.last.length);
		if (expected != STEERING_HASH)
			cr_assert_eq(index, (int)expected, "first byte %#x, %u bytes", group.room[0],
				     group.last.length);
	}
}

static void datagrams_from(int fd)
{
	static const size_t lengths[] = {21, 64, 1200, 1452, FRAGMENTED};

	for (unsigned first = 0; first < 256; first++) {
		fill((uint8_t)first);
		source_send(fd, &group, 21, 0);
		assert_arrives(21);
	}
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		for (unsigned round = 0; round < 20; round++) {
			fill(round % 2 == 0 ? 0x11 : 0x24);
			source_send(fd, &group, lengths[i], 0);
			assert_arrives(lengths[i]);
		}
	}
}

static void trains_from(int fd)
{
	for (uint32_t id = 0; id < 12; id++) {
		fill_train(0x14, id, TRAIN, 100);
		source_send(fd, &group, TRAIN * 100 - 50, 100);
		assert_arrives(TRAIN * 100 - 50);
		fill_train(0x11, id, TRAIN, 1200);
		source_send(fd, &group, TRAIN * 1200, 1200);
		assert_arrives(TRAIN * 1200);
	}
}

static void from_everywhere(void (*send)(int fd))
{
	merged = 0;
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		int fd = source_open(sources[i]);
		send(fd);
		close(fd);
	}
}

Test(steering_link, datagrams_and_fragments)
{
	from_everywhere(datagrams_from);
	cr_assert_eq(merged, 0);
}

Test(steering_link, trains_cross_whole)
{
	from_everywhere(trains_from);
	cr_assert_eq(merged, ARRAY_SIZE(sources) * 2 * 12);
}

/* A network card that cuts trains, and one that merges nothing. */
Test(steering_link, trains_are_cut_and_stay_so)
{
	run("ethtool -K eth0 tx-udp-segmentation off >/dev/null");
	from_everywhere(trains_from);
	cr_assert_eq(merged, 0);
}

/* What the kernel merges on arrival is steered after that: by the first that came. */
Test(steering_link, trains_are_cut_and_merged_again)
{
	run("ethtool -K eth0 tx-udp-segmentation off >/dev/null");
	enter(far);
	run("ethtool -K eth0 gro on rx-udp-gro-forwarding on >/dev/null");
	enter(near);
	from_everywhere(trains_from);
	cr_assert_gt(merged, 0);
	from_everywhere(datagrams_from);
}
