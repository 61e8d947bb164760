// SPDX-License-Identifier: Apache-2.0
/* How long datagrams waited in a worker's socket: the kernel's stamps, and the stage that they become. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/daemon/stamps.h"
#include "tests/harness/unit.h"
#include "workers/udp.h"

/* --- the kernel's stamps ------------------------------------------------------------------------------------------ */

/* Of one datagram, which is in the queue before the call. */
static uint64_t stamp_of_one(struct udp_socket *receiver)
{
	static uint8_t room[UDP_MESSAGE_MAX];
	struct sockaddr_in6 bound;
	udp_address(receiver, &bound);
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = bound.sin6_port, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof to), 1);
	close(fd);
	struct pollfd readable = {.fd = receiver->fd, .events = POLLIN};
	cr_assert_eq(poll(&readable, 1, 240000), 1);
	struct udp_message message = {.data = room, .stamp = 77};
	cr_assert_eq(receiver->ops->receive(receiver, &message, 1), 1);
	cr_assert_eq(message.length, 1);
	return message.stamp;
}

Test(socket_wait, the_kernel_stamps_where_it_should)
{
	struct error error;
	const struct udp_params params = {.buffer = 1 << 18, .gso = true, .gro = true};
	struct udp_socket *socket = udp_open(&params, &error);
	cr_assert_not_null(socket, "%s", error.text);
	cr_expect_eq(stamp_of_one(socket), 0, "not asked for");
	cr_assert(udp_stamp(socket, true));
	/* Right after the first socket of a machine wants stamps, the kernel may still take the time of the receive
	 * call. */
	for (int i = 0; i < 3; i++) {
		uint64_t before = clock_wall(&clock_system), stamp = stamp_of_one(socket);
		cr_expect(stamp >= before && stamp <= clock_wall(&clock_system), "%d ns off", (int)(stamp - before));
	}
	cr_assert(udp_stamp(socket, false));
	cr_expect_eq(stamp_of_one(socket), 0, "switched off");
	udp_close(socket);
}

/* --- when there are stamps ---------------------------------------------------------------------------------------- */

static bool stamped(const struct udp_socket *receiver)
{
	int value = 0;
	socklen_t length = sizeof value;
	cr_assert_eq(getsockopt(receiver->fd, SOL_SOCKET, SO_TIMESTAMPNS, &value, &length), 0);
	cr_assert_eq(atomic_load(&receiver->stamps), value != 0);
	return value != 0;
}

static bool time_is_over(const struct stamps *stamps, int ms)
{
	struct pollfd readable = {.fd = stamps->timer_fd, .events = POLLIN};
	return poll(&readable, 1, ms) == 1;
}

Test(socket_wait, there_are_stamps_for_a_part_of_each_second)
{
	struct error error;
	struct stamps stamps;
	const struct udp_params params = {.buffer = 1 << 18};
	struct udp_socket *group[3];
	cr_assert_eq(udp_open_group(&params, 3, group, &error), 0, "%s", error.text);
	cr_assert_eq(stamps_open(&stamps, group, 2, &error), 0, "%s", error.text);
	stamps_second(&stamps);
	cr_expect_not(stamped(group[0]), "not wanted");
	stamps_want(&stamps, true);
	for (int i = 0; i < 3; i++) {
		stamps_second(&stamps);
		cr_expect(stamped(group[0]) && stamped(group[1]));
		cr_expect_not(stamped(group[2]), "never a handshake thread's");
		cr_assert(time_is_over(&stamps, 240000));
		stamps_end(&stamps);
		cr_expect_not(stamped(group[0]) || stamped(group[1]), "the rest of the second");
		cr_expect_not(time_is_over(&stamps, 0));
	}
	stamps_second(&stamps);
	stamps_want(&stamps, false);
	cr_expect_not(stamped(group[0]));
	stamps_second(&stamps);
	cr_expect_not(stamped(group[0]));
	stamps_close(&stamps);
	for (size_t i = 3; i > 0; i--)
		udp_close(group[i - 1]);
}

/* --- the stage ---------------------------------------------------------------------------------------------------- */

static struct histogram_sum waits(const struct harness *h)
{
	struct histogram_sum sum = {0};
	histogram_merge(&sum, &h->gateway.node.worker->loop.stages.histograms[STAGE_SOCKET_WAIT]);
	return sum;
}

/* One batch with a datagram that came so many ns before it; the histogram then. */
static struct histogram_sum after(struct harness *h, int64_t ns)
{
	h->gateway.node.link.stamp = h->clock.wall - (uint64_t)ns;
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	h->gateway.node.link.stamp = 0;
	return waits(h);
}

Test(socket_wait, is_a_stage_of_batches_with_stamps)
{
	struct harness *h = START_UP(0);
	h->gateway.node.link.base.stamps = true;
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	cr_assert_eq(waits(h).count, 0, "no stamp");
	struct histogram_sum sum = after(h, 7 * (int64_t)NS_PER_MS);
	if (SHARDTUN_PROFILE) {
		cr_expect_eq(sum.count, 1);
		cr_expect_eq(sum.sum, 7 * NS_PER_MS);
		cr_expect_eq(after(h, 0).count, 2, "it came just before");
		cr_expect_eq(waits(h).sum, 7 * NS_PER_MS);
	} else {
		cr_expect_eq(sum.count, 0);
	}
	uint64_t before = waits(h).count;
	cr_expect_eq(after(h, -1).count, before, "the stamp is of the call");
	cr_expect_eq(after(h, -5 * (int64_t)NS_PER_S).count, before, "the clock was set back");
	cr_expect_eq(after(h, 3600 * (int64_t)NS_PER_S).count, before, "or on");
	h->gateway.node.link.base.stamps = false;
	cr_expect_eq(after(h, NS_PER_MS).count, before, "there are none now");
	finish(h);
}
