// SPDX-License-Identifier: Apache-2.0
/* What the kernel might say on a netlink socket, cut short or with attributes of any length: nothing is read beyond a
 * message. libmnl's two calls that ask and hear are ours here. */
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <sanitizer/asan_interface.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/input.h"
#include "tun/netlink_request.h"
#include "tun/netlink_state.h"
#include "tun/netlink_watch.h"

enum { ANSWERS = 16, LONGEST = 4096, TABLE = 21845, IFINDEX = 7 };

static struct input *said;
static struct netlink netlink;
static unsigned answers;

ssize_t mnl_socket_sendto(const struct mnl_socket *nl, const void *req, size_t siz)
{
	(void)nl, (void)req;
	return (ssize_t)siz;
}

/* Messages get the number of the request that they are an answer to, or they would be ignored. */
static void number(uint8_t *data, size_t length, uint32_t sequence)
{
	for (size_t at = 0; at + sizeof(struct nlmsghdr) <= length;) {
		struct nlmsghdr header;
		memcpy(&header, data + at, sizeof header);
		header.nlmsg_seq = sequence;
		memcpy(data + at, &header, sizeof header);
		if (header.nlmsg_len < sizeof header)
			break;
		at += MNL_ALIGN((size_t)header.nlmsg_len);
	}
}

ssize_t mnl_socket_recvfrom(const struct mnl_socket *nl, void *buf, size_t siz)
{
	(void)nl;
	ASAN_UNPOISON_MEMORY_REGION(buf, siz);
	size_t length = answers++ < ANSWERS ? input_bytes(said, buf, siz < LONGEST ? siz : LONGEST) : 0;
	if (length == 0) {
		struct nlmsghdr end = {.nlmsg_len = sizeof end, .nlmsg_type = NLMSG_DONE};
		memcpy(buf, &end, length = sizeof end);
	}
	number(buf, length, netlink.sequence);
	/* What is behind the messages is out of bounds. */
	ASAN_POISON_MEMORY_REGION((char *)buf + length, siz - length);
	return (ssize_t)length;
}

static void watch(struct input *input)
{
	static uint8_t data[LONGEST];
	struct netlink_interest interest = {.ifindex = IFINDEX, .table = TABLE, .endpoint = {4, {192, 0, 2, 1}}};
	int pair[2];
	insist(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) == 0, "a pair of sockets");
	for (unsigned i = 0; i < ANSWERS; i++) {
		size_t length = input_bytes(input, data, sizeof data);
		if (length == 0 || send(pair[0], data, length, MSG_DONTWAIT) < 0)
			break;
	}
	(void)netlink_watch_read(pair[1], &interest);
	close(pair[0]);
	close(pair[1]);
}

static void ask(uint8_t what)
{
	struct error error = {0};
	uint8_t family = what & 1 ? 6 : 4;
	struct ip_address somewhere = {.family = family, .bytes = {192, 0, 2, 1}};
	struct ip_prefix address = {somewhere, 24};
	struct netlink_link link;
	struct netlink_path path;
	struct netlink_attached_list attached = {0};
	struct netlink_routes routes = {0};
	int result = 0;
	switch (what >> 1 & 7) {
	case 0:
		result = netlink_link_read(&netlink, IFINDEX, &link, &error);
		insist(result < 0 || memchr(link.name, '\0', sizeof link.name) != NULL, "a name ends");
		break;
	case 1:
		(void)netlink_address_exists(&netlink, IFINDEX, &address);
		break;
	case 2:
		result = netlink_routes_read(&netlink, family, TABLE, &routes, &error);
		for (size_t i = 0; result == 0 && i < routes.count; i++)
			insist(routes.items[i].network.length <= (family == 4 ? 32 : 128),
			       "a prefix is one of its family");
		netlink_routes_free(&routes);
		break;
	case 3:
		result = netlink_path_find(&netlink, &somewhere, 0, &path, &error);
		break;
	case 4:
		result = netlink_attached_read(&netlink, family, &attached, &error);
		for (size_t i = 0; result == 0 && i < attached.count; i++)
			insist(attached.items[i].network.length <= (family == 4 ? 32 : 128),
			       "a prefix is one of its family");
		netlink_attached_free(&attached);
		break;
	case 5:
		result = netlink_rules_delete(&netlink, family, TABLE, &error);
		break;
	case 6:
		result = netlink_table_flush(&netlink, family, TABLE, &error);
		break;
	default:
		result = netlink_link_set_up(&netlink, IFINDEX, &error);
		break;
	}
	insist(result >= 0 || error.text[0] != '\0', "an error has a text");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	uint8_t what = input_byte(&input);
	said = &input;
	answers = 0;
	if ((what & 0x80) != 0)
		watch(&input);
	else
		ask(what);
	ASAN_UNPOISON_MEMORY_REGION(netlink.answer, sizeof netlink.answer);
	return 0;
}
