// SPDX-License-Identifier: Apache-2.0
/* What a gateway holds, left by one process and adopted by the next; and everything that is not to be adopted. Each
 * test runs in a process and a network namespace of its own. */
#include "core/daemon/descriptors.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/daemon/layout.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { SOCKETS = 3, READERS = 1, WRITERS = 2, PORT = 5599 };

static struct error error;
static char directory[] = "/tmp/shardtun-descriptors-XXXXXX", control[64];
static struct config_listener metrics = {.port = 9599, .address = {.family = 4, .bytes = {127, 0, 0, 1}}};
static struct ip_prefix inner = {.address = {.family = 4, .bytes = {10, 8, 0, 1}}, .length = 16};
static struct ip_address listen_addresses[] = {{.family = 4, .bytes = {127, 0, 0, 1}},
					       {.family = 6, .bytes = {[15] = 1}},
					       {.family = 4, .bytes = {127, 0, 0, 2}}};
enum { ADDRESSES = ARRAY_SIZE(listen_addresses) };
static struct descriptors_plan plan;

static void plan_all(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		cr_skip_test("a network namespace of our own needs CAP_SYS_ADMIN");
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		cr_skip_test("no /dev/net/tun to open");
	cr_assert_eq(system("ip link set lo up"), 0);
	cr_assert_not_null(mkdtemp(directory));
	(void)snprintf(control, sizeof control, "%s/control", directory);
	plan = (struct descriptors_plan){
		.udp = {.port = PORT, .buffer = 1 << 20},
		.sockets = SOCKETS,
		.device = {.name = "tun9",
			   .mtu = 1420,
			   .addresses = &inner,
			   .address_count = 1,
			   .readers = READERS,
			   .writers = WRITERS},
		.control = control,
		.metrics = &metrics,
		.layout = "layout\nWorkers 2\n",
	};
}

static void remove_all(void)
{
	(void)unlink(control);
	(void)rmdir(directory);
}

TestSuite(descriptors, .init = plan_all, .fini = remove_all, .timeout = 120);

/* --- one process and the next ------------------------------------------------------------------------------------- */

static int open_all(struct descriptors *descriptors)
{
	int result = descriptors_open_sockets(descriptors, &plan.udp, plan.listen_addresses, plan.listen_address_count,
					      plan.sockets, &error);
	if (result == 0)
		result = descriptors_open_control(descriptors, plan.control, &error);
	if (result == 0)
		result = descriptors_open_metrics(descriptors, plan.metrics, &error);
	if (result == 0)
		result = descriptors_open_device(descriptors, &plan.device, &error);
	return result == 0 ? descriptors_open_layout(descriptors, plan.layout, &error) : result;
}

static void close_all(struct descriptors *descriptors)
{
	descriptors_close_layout(descriptors);
	descriptors_close_device(descriptors);
	descriptors_close_metrics(descriptors);
	descriptors_close_control(descriptors);
	descriptors_close_sockets(descriptors);
	descriptors_take_back(descriptors);
}

static const struct descriptors none = {
	.control = {.fd = -1}, .metrics = {.fd = -1}, .wireguard = {.fd = -1}, .layout_fd = -1};

/* What a manager has when the process ended. */
static struct descriptor_list leave(struct descriptors *descriptors)
{
	struct descriptor_list own, kept = {.count = 0};
	cr_assert_eq(descriptors_list(descriptors, &own), 0);
	for (size_t i = 0; i < own.count; i++)
		cr_assert_eq(descriptor_list_add(&kept, own.entries[i].name, dup(own.entries[i].fd)), 0);
	descriptor_list_free(&own);
	control_listener_leave(&descriptors->control);
	metrics_listener_leave(&descriptors->metrics);
	control_listener_leave(&descriptors->wireguard);
	close_all(descriptors);
	return kept;
}

static struct descriptor_list open_and_leave(void)
{
	struct descriptors before = none;
	cr_assert_eq(open_all(&before), 0, "%s", error.text);
	return leave(&before);
}

static uint64_t cookie(int fd)
{
	uint64_t value = 0;
	socklen_t size = sizeof value;
	cr_assert_eq(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &value, &size), 0);
	return value;
}

Test(descriptors, the_next_process_has_the_same_ones_in_their_order)
{
	struct descriptors before = none, after = none;
	uint64_t cookies[ADDRESSES][SOCKETS];
	plan.listen_addresses = listen_addresses;
	plan.listen_address_count = ADDRESSES;
	cr_assert_eq(open_all(&before), 0, "%s", error.text);
	unsigned index = before.device.ifindex;
	for (size_t i = 0; i < SOCKETS; i++) {
		for (size_t a = 0; a < ADDRESSES; a++)
			cookies[a][i] = cookie(udp_member(before.sockets[i], a)->fd);
	}
	struct descriptor_list kept = leave(&before);
	cr_assert_eq(kept.count, ADDRESSES * SOCKETS + READERS + WRITERS + 3);
	cr_assert_eq(descriptors_check(&kept, &plan, &error), 0, "%s", error.text);
	descriptors_give(&after, &kept);
	cr_assert_eq(open_all(&after), 0, "%s", error.text);
	for (size_t i = 0; i < SOCKETS; i++) {
		for (size_t a = 0; a < ADDRESSES; a++)
			cr_assert_eq(cookie(udp_member(after.sockets[i], a)->fd), cookies[a][i]);
	}
	cr_assert_eq(after.device.ifindex, index);
	cr_assert_eq(access(control, F_OK), 0);
	close_all(&after);
	cr_assert_eq(if_nametoindex("tun9"), 0);
	cr_assert_neq(access(control, F_OK), 0, "who ends for good removes the socket's file");
}

/* Twice over: nothing is lost or gained on the way. */
Test(descriptors, they_can_be_left_again)
{
	struct descriptor_list kept = open_and_leave();
	for (int i = 0; i < 3; i++) {
		struct descriptors next = none;
		cr_assert_eq(descriptors_check(&kept, &plan, &error), 0, "%s", error.text);
		descriptors_give(&next, &kept);
		cr_assert_eq(open_all(&next), 0, "%s", error.text);
		kept = leave(&next);
	}
	cr_assert_eq(kept.count, SOCKETS + READERS + WRITERS + 3);
	descriptor_list_close(&kept);
}

Test(descriptors, what_waits_in_a_socket_stays)
{
	struct descriptors after = none;
	struct descriptor_list kept = open_and_leave();
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int sender = socket(AF_INET, SOCK_DGRAM, 0);
	for (uint8_t i = 0; i < 100; i++)
		cr_assert_eq(sendto(sender, &i, 1, 0, (struct sockaddr *)&to, sizeof to), 1);
	descriptors_give(&after, &kept);
	cr_assert_eq(open_all(&after), 0, "%s", error.text);
	size_t got = 0;
	static uint8_t room[UDP_MESSAGE_MAX];
	for (size_t i = 0; i < SOCKETS; i++) {
		struct udp_message message = {.data = room};
		while (after.sockets[i]->ops->receive(after.sockets[i], &message, 1) == 1)
			got++;
	}
	cr_assert_eq(got, 100);
	close_all(&after);
	close(sender);
}

/* A process that was killed may have left the kernel's stamps on, or trains that the next one does not want. */
Test(descriptors, options_are_those_of_the_next_process)
{
	struct descriptors before = none, after = none;
	int on = 1, value = -1;
	socklen_t size = sizeof value;
	plan.udp.gro = true;
	cr_assert_eq(open_all(&before), 0, "%s", error.text);
	cr_assert(before.sockets[1]->gro);
	cr_assert_eq(setsockopt(before.sockets[1]->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on), 0);
	struct descriptor_list kept = leave(&before);
	plan.udp.gro = false;
	descriptors_give(&after, &kept);
	cr_assert_eq(open_all(&after), 0, "%s", error.text);
	int fd = after.sockets[1]->fd;
	cr_assert_eq(getsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &value, &size), 0);
	cr_assert_eq(value, 0);
	cr_assert_eq(getsockopt(fd, IPPROTO_UDP, UDP_GRO, &value, &size), 0);
	cr_assert_eq(value, 0);
	cr_assert(!after.sockets[1]->gro);
	close_all(&after);
}

/* --- what is refused ---------------------------------------------------------------------------------------------- */

static void refused(const struct descriptor_list *list, const char *why)
{
	error.text[0] = '\0';
	cr_assert_eq(descriptors_check(list, &plan, &error), -EPROTO, "%s", why);
	cr_assert_not_null(strstr(error.text, why), "\"%s\" is not in: %s", why, error.text);
}

static int other_socket(int domain, int type, uint16_t port, bool connected)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(domain, type, 0), on = 1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
	if (domain == AF_INET6 && bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
		cr_assert_fail("bind: %s", strerror(errno));
	address = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(9), .sin6_addr = in6addr_loopback};
	if (connected)
		cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

static int foreign_queue(void)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE, .ifr_name = "other"};
	int fd = open("/dev/net/tun", O_RDWR);
	cr_assert_eq(ioctl(fd, TUNSETIFF, &request), 0);
	return fd;
}

static int pipe_end(void)
{
	int ends[2];
	cr_assert_eq(pipe(ends), 0);
	return ends[0];
}

static void put(struct descriptor_list *list, const char *name, int fd)
{
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->entries[i].name, name) == 0) {
			close(list->entries[i].fd);
			list->entries[i].fd = fd;
		}
	}
}

/* Refused with that one in place of the real one, which is back afterwards. */
static void refused_with(struct descriptor_list *list, const char *name, int fd, const char *why)
{
	int real = dup(descriptor_list_find(list, name));
	put(list, name, fd);
	refused(list, why);
	put(list, name, real);
}

Test(descriptors, too_few_are_refused_whichever_is_missing)
{
	struct descriptor_list kept = open_and_leave();
	for (size_t i = 0; i < kept.count; i++) {
		struct descriptor_list fewer = {.count = 0};
		for (size_t k = 0; k < kept.count; k++) {
			if (k != i)
				cr_assert_eq(descriptor_list_add(&fewer, kept.entries[k].name, kept.entries[k].fd), 0);
		}
		refused(&fewer, kept.entries[i].name[0] == 't' && i != 3 ? "" : "missing");
		descriptor_list_free(&fewer);
	}
	cr_assert_eq(descriptors_check(&kept, &plan, &error), 0, "%s", error.text);
	descriptor_list_close(&kept);
}

Test(descriptors, too_many_are_refused)
{
	static const char *const names[] = {"udp.0.3", "udp.1.0", "wireguard", "something", "", "stored"};
	struct descriptor_list kept = open_and_leave();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int fd = other_socket(AF_INET6, SOCK_DGRAM, PORT, false);
		cr_assert_eq(descriptor_list_add(&kept, names[i], fd), 0);
		refused(&kept, "there have to be");
		close(kept.entries[--kept.count].fd);
	}
	cr_assert_eq(descriptor_list_add(&kept, "udp.0.1", pipe_end()), 0);
	refused(&kept, "udp.0.1: there twice");
	close(kept.entries[--kept.count].fd);
	cr_assert_eq(descriptor_list_add(&kept, "udp.0.3", dup(kept.entries[0].fd)), 0);
	refused(&kept, "udp.0.3: the same file");
	descriptor_list_close(&kept);
}

Test(descriptors, each_has_to_be_what_its_name_says)
{
	static const char *const names[] = {"udp.0.1", "tun.1", "control", "metrics", "layout"};
	static const char *const whys[] = {"no UDP socket", "no queue", "no socket that listens", "no TCP socket",
					   "no sealed memory"};
	struct descriptor_list kept = open_and_leave();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		refused_with(&kept, names[i], pipe_end(), whys[i]);
		refused_with(&kept, names[i], other_socket(AF_UNIX, SOCK_STREAM, 0, false), whys[i]);
		refused_with(&kept, names[i], other_socket(AF_INET6, SOCK_STREAM, 0, false), whys[i]);
		refused_with(&kept, names[i], memfd_create("other", 0), whys[i]);
		refused_with(&kept, names[i], open("/dev/null", O_RDWR), whys[i]);
	}
	refused_with(&kept, "udp.0.1", other_socket(AF_INET6, SOCK_DGRAM, PORT + 1, false), "another address or port");
	refused_with(&kept, "udp.0.1", other_socket(AF_INET6, SOCK_DGRAM, PORT, true), "connected");
	refused_with(&kept, "tun.1", foreign_queue(), "a queue of other");
	refused_with(&kept, "tun.1", open("/dev/net/tun", O_RDWR), "no queue");
	put(&kept, "udp.0.2", dup(descriptor_list_find(&kept, "udp.0.0")));
	refused(&kept, "udp.0.2: the same file");
	descriptor_list_close(&kept);
}

Test(descriptors, other_plans_refuse_them)
{
	struct descriptor_list kept = open_and_leave();
	const struct descriptors_plan good = plan;
	plan.layout = "layout\nWorkers 3\n";
	refused(&kept, "another layout: \"Workers 3\", which was \"Workers 2\"");
	plan = good;
	plan.sockets++;
	refused(&kept, "udp.0.3: missing");
	plan = good;
	plan.udp.port++;
	refused(&kept, "udp.0.0: another address or port");
	plan = good;
	plan.listen_addresses = listen_addresses;
	plan.listen_address_count = 1;
	refused(&kept, "udp.0.0: another address or port");
	plan = good;
	plan.device.name = "tun8";
	refused(&kept, "tun.0: a queue of tun9");
	plan = good;
	plan.device.writers++;
	refused(&kept, "tun.3: missing");
	plan = good;
	plan.control = "/tmp/elsewhere";
	refused(&kept, "control: a socket at another path");
	plan = good;
	metrics.port++;
	refused(&kept, "metrics: a socket of another address or port");
	metrics.port = 0;
	refused(&kept, "there have to be");
	descriptor_list_close(&kept);
}

Test(descriptors, those_of_another_network_namespace_are_refused)
{
	struct descriptor_list kept = open_and_leave();
	cr_assert_eq(unshare(CLONE_NEWNET), 0);
	refused(&kept, "udp.0.0: of another network namespace");
	cr_assert_eq(tun_queue_check(descriptor_list_find(&kept, "tun.0"), "tun9", true, &error), -EPROTO);
	cr_assert_not_null(strstr(error.text, "another network namespace"), "%s", error.text);
	/* An interface of the same name does not help. */
	struct tun_device here;
	cr_assert_eq(tun_device_open(&here, &plan.device, &error), 0, "%s", error.text);
	cr_assert_eq(tun_queue_check(descriptor_list_find(&kept, "tun.0"), "tun9", true, &error), -EPROTO);
	tun_device_close(&here);
	descriptor_list_close(&kept);
}

/* The reader's queue under a writer's name, or a writer's queue attached: the kernel would put packets where nothing is
 * read. */
Test(descriptors, a_queue_that_is_not_attached_as_it_has_to_be_is_no_device)
{
	struct descriptor_list kept = open_and_leave();
	struct descriptors after = none;
	int reader = dup(descriptor_list_find(&kept, "tun.0")), writer = dup(descriptor_list_find(&kept, "tun.1"));
	put(&kept, "tun.0", dup(writer));
	put(&kept, "tun.1", dup(reader));
	cr_assert_eq(descriptors_check(&kept, &plan, &error), 0, "%s", error.text);
	descriptors_give(&after, &kept);
	cr_assert_eq(descriptors_open_device(&after, &plan.device, &error), -EPROTO);
	cr_assert_not_null(strstr(error.text, "queue 0 is detached"), "%s", error.text);
	descriptors_take_back(&after);
	close(reader);
	close(writer);
}

Test(descriptors, a_failed_start_leaves_nothing_open)
{
	struct descriptor_list kept = open_and_leave();
	struct descriptors after = none;
	close(descriptor_list_take(&kept, "tun.1"));
	descriptors_give(&after, &kept);
	cr_assert_neq(open_all(&after), 0);
	descriptors_close_metrics(&after);
	descriptors_close_control(&after);
	descriptors_close_sockets(&after);
	descriptors_take_back(&after);
	cr_assert_eq(if_nametoindex("tun9"), 0, "the interface is gone with its last queue");
	/* And everything can be opened anew. */
	after = none;
	cr_assert_eq(open_all(&after), 0, "%s", error.text);
	close_all(&after);
}
