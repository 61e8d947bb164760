// SPDX-License-Identifier: Apache-2.0
#include "tun/netlink_watch.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdalign.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "tun/netlink.h"
#include "tun/netlink_request.h"

enum { MESSAGES_MAX = 16384, EVERYTHING = NETLINK_CHANGED_OWN | NETLINK_CHANGED_ATTACHED | NETLINK_CHANGED_PATH };

/* --- the socket filter -------------------------------------------------------------------------------------------- */

/* Jump targets that are resolved when the program is complete. */
enum { NEXT = 0, ACCEPT = 254, DROP = 255 };

/* Offsets in a message about a route. */
enum {
	AT_TYPE = offsetof(struct nlmsghdr, nlmsg_type),
	AT_FAMILY = NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_family),
	AT_LENGTH = NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_dst_len),
	AT_TABLE = NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_table),
	AT_PROTOCOL = NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_protocol),
	AT_ATTRIBUTES = NLMSG_HDRLEN + sizeof(struct rtmsg), /* its size is a multiple of the alignment */
};

/* Of the filter's memory. */
enum { ATTRIBUTE, DIFFERENCE };

enum { ATTRIBUTE_HEADER = sizeof(struct nlattr) };

struct program {
	struct sock_filter *code;
	size_t length;
};

static void emit(struct program *program, uint16_t code, uint32_t k)
{
	program->code[program->length++] = (struct sock_filter){.code = code, .k = k};
}

static void jump(struct program *program, uint16_t condition, uint32_t k, uint8_t yes, uint8_t no)
{
	program->code[program->length++] = (struct sock_filter){BPF_JMP | BPF_K | condition, yes, no, k};
}

static void load_byte(struct program *program, uint32_t offset)
{
	emit(program, BPF_LD | BPF_B | BPF_ABS, offset);
}

/* X becomes the place of the attribute; without one the message is dropped. */
static void find(struct program *program, uint16_t attribute)
{
	emit(program, BPF_LDX | BPF_IMM, attribute);
	emit(program, BPF_LD | BPF_W | BPF_IMM, AT_ATTRIBUTES);
	emit(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_NLATTR));
	jump(program, BPF_JEQ, 0, DROP, NEXT);
	emit(program, BPF_MISC | BPF_TAX, 0);
}

/* Numbers of messages and tables are in the host's byte order, and the filter loads big-endian ones. */
static void filter_routes_in(struct program *program)
{
	emit(program, BPF_LD | BPF_H | BPF_ABS, AT_TYPE);
	jump(program, BPF_JEQ, htons(RTM_NEWROUTE), 1, NEXT);
	jump(program, BPF_JEQ, htons(RTM_DELROUTE), NEXT, ACCEPT);
}

static void filter_origin(struct program *program)
{
	load_byte(program, AT_PROTOCOL);
	jump(program, BPF_JEQ, NETLINK_PROTOCOL, ACCEPT, NEXT);
	jump(program, BPF_JEQ, RTPROT_KERNEL, 1, NEXT);
	jump(program, BPF_JEQ, RTPROT_RA, NEXT, 2);
	load_byte(program, AT_TABLE);
	jump(program, BPF_JEQ, RT_TABLE_MAIN, ACCEPT, NEXT);
	/* Local routes follow from addresses, which have notifications of their own. */
	load_byte(program, AT_TABLE);
	jump(program, BPF_JEQ, RT_TABLE_LOCAL, DROP, NEXT);
}

static void filter_table(struct program *program, uint32_t table)
{
	find(program, RTA_TABLE);
	emit(program, BPF_LD | BPF_W | BPF_IND, ATTRIBUTE_HEADER);
	jump(program, BPF_JEQ, htonl(table), ACCEPT, NEXT);
}

/* Whether the first bits of the endpoint, as many as the route's prefix has, are the route's: word by word. */
static void filter_covering(struct program *program, const struct ip_address *endpoint)
{
	uint32_t words = endpoint->family == 4 ? 1 : 4;
	load_byte(program, AT_FAMILY);
	jump(program, BPF_JEQ, endpoint->family == 4 ? AF_INET : AF_INET6, NEXT, DROP);
	load_byte(program, AT_LENGTH);
	jump(program, BPF_JEQ, 0, ACCEPT, NEXT);
	find(program, RTA_DST);
	emit(program, BPF_STX, ATTRIBUTE);
	for (uint32_t i = 0; i < words; i++) {
		emit(program, BPF_LDX | BPF_W | BPF_MEM, ATTRIBUTE);
		emit(program, BPF_LD | BPF_W | BPF_IND, ATTRIBUTE_HEADER + 4 * i);
		emit(program, BPF_ALU | BPF_XOR | BPF_K, load_be32(endpoint->bytes + 4 * (size_t)i));
		emit(program, BPF_ST, DIFFERENCE);
		load_byte(program, AT_LENGTH);
		jump(program, BPF_JGT, 32 * (i + 1), NEXT, 3);
		/* The prefix goes on in the next word: all of this one counts. */
		emit(program, BPF_LD | BPF_W | BPF_MEM, DIFFERENCE);
		jump(program, BPF_JEQ, 0, NEXT, DROP);
		emit(program, BPF_JMP | BPF_JA, 6);
		/* The prefix ends in this word: the bits behind it are shifted out. */
		emit(program, BPF_ALU | BPF_NEG, 0);
		emit(program, BPF_ALU | BPF_ADD, 32 * (i + 1));
		emit(program, BPF_MISC | BPF_TAX, 0);
		emit(program, BPF_LD | BPF_W | BPF_MEM, DIFFERENCE);
		emit(program, BPF_ALU | BPF_RSH | BPF_X, 0);
		jump(program, BPF_JEQ, 0, ACCEPT, DROP);
	}
}

static void resolve(struct program *program)
{
	size_t drop = program->length, accept = drop + 1;
	emit(program, BPF_RET | BPF_K, 0);
	emit(program, BPF_RET | BPF_K, UINT32_MAX);
	for (size_t i = 0; i < drop; i++) {
		uint8_t *const targets[] = {&program->code[i].jt, &program->code[i].jf};
		for (size_t t = 0; t < ARRAY_SIZE(targets); t++) {
			if (*targets[t] == ACCEPT)
				*targets[t] = (uint8_t)(accept - i - 1);
			else if (*targets[t] == DROP)
				*targets[t] = (uint8_t)(drop - i - 1);
		}
	}
}

size_t netlink_watch_program(const struct netlink_interest *interest, struct sock_filter code[NETLINK_WATCH_PROGRAM])
{
	struct program program = {.code = code};
	filter_routes_in(&program);
	filter_origin(&program);
	if (interest->table != 0)
		filter_table(&program, interest->table);
	if (interest->endpoint.family != 0)
		filter_covering(&program, &interest->endpoint);
	resolve(&program);
	return program.length;
}

int netlink_watch_aim(int fd, const struct netlink_interest *interest, struct error *error)
{
	struct sock_filter code[NETLINK_WATCH_PROGRAM];
	struct sock_fprog program = {.filter = code};
	program.len = (unsigned short)netlink_watch_program(interest, code);
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0)
		return 0;
	return error_set(error, -errno, "netlink: filter of notices: %s", strerror(errno));
}

/* --- the socket --------------------------------------------------------------------------------------------------- */

/* An unbound socket receives no notifications. */
static int join(int fd)
{
	static const int groups[] = {RTNLGRP_LINK,	 RTNLGRP_IPV4_IFADDR,  RTNLGRP_IPV6_IFADDR,
				     RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,   RTNLGRP_IPV4_RULE,
				     RTNLGRP_IPV6_RULE,	 RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF};
	const struct sockaddr_nl any = {.nl_family = AF_NETLINK};
	if (bind(fd, (const struct sockaddr *)&any, sizeof any) != 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof groups[i]) != 0)
			return -errno;
	}
	return 0;
}

int netlink_watch_open(const struct netlink_interest *interest, struct error *error)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (fd < 0)
		return error_set(error, -errno, "netlink: cannot open a route socket (%s)", strerror(errno));
	int result = netlink_watch_aim(fd, interest, error);
	if (result == 0) {
		int code = join(fd);
		if (code != 0)
			result = error_set(error, code, "netlink: cannot watch for changes (%s)", strerror(-code));
	}
	if (result == 0)
		return fd;
	close(fd);
	return result;
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

static bool find_attribute(const struct nlmsghdr *message, size_t header, uint16_t type, uint32_t *value)
{
	const struct nlattr *attribute = mnl_nlmsg_get_payload_offset(message, header);
	const char *end = (const char *)message + message->nlmsg_len; /* its tail would be that rounded up */
	for (; mnl_attr_ok(attribute, (int)(end - (const char *)attribute)); attribute = mnl_attr_next(attribute)) {
		if (mnl_attr_get_type(attribute) == type && mnl_attr_get_payload_len(attribute) == sizeof *value) {
			*value = mnl_attr_get_u32(attribute);
			return true;
		}
	}
	return false;
}

/* A link notification without a change of flags (Wi-Fi sends one after each scan) may mean another MTU. */
static unsigned about_link(const struct nlmsghdr *message, unsigned ifindex)
{
	const struct ifinfomsg *link = mnl_nlmsg_get_payload(message);
	if ((unsigned)link->ifi_index == ifindex)
		return NETLINK_CHANGED_OWN;
	return NETLINK_CHANGED_PATH | (link->ifi_change != 0 ? NETLINK_CHANGED_ATTACHED : 0u);
}

static unsigned about_route(const struct nlmsghdr *message, uint32_t table)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	uint32_t value = route->rtm_table;
	(void)find_attribute(message, sizeof *route, RTA_TABLE, &value);
	if ((table != 0 && value == table) || route->rtm_protocol == NETLINK_PROTOCOL)
		return NETLINK_CHANGED_OWN;
	bool made = route->rtm_protocol == RTPROT_KERNEL || route->rtm_protocol == RTPROT_RA;
	return NETLINK_CHANGED_PATH | (made && value == RT_TABLE_MAIN ? NETLINK_CHANGED_ATTACHED : 0u);
}

static unsigned about(const struct nlmsghdr *message, const struct netlink_interest *interest)
{
	switch (message->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return about_link(message, interest->ifindex);
	case RTM_NEWADDR:
	case RTM_DELADDR:
		if (((const struct ifaddrmsg *)mnl_nlmsg_get_payload(message))->ifa_index == interest->ifindex)
			return NETLINK_CHANGED_OWN;
		return NETLINK_CHANGED_PATH;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		return about_route(message, interest->table);
	case RTM_NEWRULE:
	case RTM_DELRULE:
		return NETLINK_CHANGED_OWN | NETLINK_CHANGED_PATH;
	case RTM_NEWNETCONF:
	case RTM_DELNETCONF:
		return NETLINK_CHANGED_OWN;
	default:
		return 0;
	}
}

unsigned netlink_watch_read(int fd, const struct netlink_interest *interest)
{
	alignas(struct nlmsghdr) char buffer[MESSAGES_MAX];
	unsigned changed = 0;
	for (;;) {
		ssize_t received = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
		if (received < 0 && errno == ENOBUFS)
			changed |= EVERYTHING;
		else if (received == 0 || (received < 0 && errno != EINTR))
			return changed;
		int left = received > 0 ? (int)received : 0;
		const struct nlmsghdr *message = (const struct nlmsghdr *)buffer;
		for (; netlink_message_ok(message, left); message = mnl_nlmsg_next(message, &left))
			changed |= netlink_message_is_sound(message) ? about(message, interest) : 0;
	}
}
