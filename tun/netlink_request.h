// SPDX-License-Identifier: Apache-2.0
/* One rtnetlink request and its answer. Only the files netlink*.c of this folder include it: what others call stands in
 * tun/netlink.h, tun/netlink_state.h and tun/netlink_watch.h. */
#pragma once

#include <libmnl/libmnl.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/ip.h"

enum {
	NETLINK_REQUEST_MAX = 1024, /* the largest is a dumped rule that is sent back for deletion */
	NETLINK_ANSWER_MAX = 32768, /* what the kernel fills one dump message up to */
	NETLINK_ATTRIBUTE_TYPES = 32,
};

struct netlink {
	struct mnl_socket *socket;
	uint32_t sequence;
	/* One request is under way at a time, so the socket's owner owns one pair of buffers too. */
	alignas(struct nlmsghdr) char request[NETLINK_REQUEST_MAX];
	alignas(struct nlmsghdr) char answer[NETLINK_ANSWER_MAX];
};

typedef void netlink_answer_fn(const struct nlmsghdr *message, void *data);

/* Begins the request; the caller adds the rest. */
struct nlmsghdr *netlink_start(struct netlink *netlink, uint16_t type, unsigned flags);

/* Sends the request and hands every sound message of the answer that has the type asked for to `answer` until the
 * kernel has acknowledged or refused it, or its dump is complete. On failure `error` holds only the reason: the caller
 * prefixes the operation. */
int netlink_transact(struct netlink *netlink, struct nlmsghdr *request, netlink_answer_fn *answer, void *data,
		     struct error *error);

/* What a sound acknowledgement (NLMSG_ERROR) says: 0, or a negative errno with `error` set. */
int netlink_acknowledged(const struct nlmsghdr *ack, struct error *error);

/* mnl_nlmsg_ok() compares the length as a signed number: one beyond 2 GB would pass as less than what is left. */
static inline bool netlink_message_ok(const struct nlmsghdr *message, int left)
{
	return mnl_nlmsg_ok(message, left) && message->nlmsg_len <= (uint32_t)left;
}

/* Whether the message holds the fixed part of its type, and no prefix is longer than an address of its family. */
bool netlink_message_is_sound(const struct nlmsghdr *message);

/* A message's attributes by type, for the small numbers that are used here. */
struct netlink_attributes {
	const struct nlattr *by_type[NETLINK_ATTRIBUTE_TYPES];
};

struct netlink_attributes netlink_attributes(const struct nlmsghdr *message, size_t header_size);
struct netlink_attributes netlink_nested_attributes(const struct nlattr *nest); /* NULL: empty */
/* `otherwise` when the attribute is absent or too short. */
uint32_t netlink_attribute_u32(const struct netlink_attributes *attributes, uint16_t type, uint32_t otherwise);

/* AF_INET or AF_INET6 for 4 or 6. */
int netlink_family(uint8_t family);
void netlink_put_address(struct nlmsghdr *request, uint16_t type, const struct ip_address *address);

/* Family 0 when the attribute is absent or has another length. `family` is AF_INET or AF_INET6. */
struct ip_address netlink_address_read(const struct nlattr *attribute, int family);

/* The interface's name for an error text, or its number when it is gone. */
const char *netlink_link_name(unsigned ifindex, char name[]);
