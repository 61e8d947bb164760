// SPDX-License-Identifier: Apache-2.0
#include "tun/netlink_request.h"

#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>

enum { ERRNO_MAX = 4095 /* the kernel's MAX_ERRNO */ };

struct nlmsghdr *netlink_start(struct netlink *netlink, uint16_t type, unsigned flags)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(netlink->request);
	request->nlmsg_type = type;
	request->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	return request;
}

static int attribute_collect(const struct nlattr *attribute, void *data)
{
	struct netlink_attributes *attributes = data;
	uint16_t type = mnl_attr_get_type(attribute);

	if (type < NETLINK_ATTRIBUTE_TYPES)
		attributes->by_type[type] = attribute;
	return MNL_CB_OK;
}

static bool has_prefix(const struct nlmsghdr *message)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	return route->rtm_dst_len <= (route->rtm_family == AF_INET ? 32 : 128);
}

bool netlink_message_is_sound(const struct nlmsghdr *message)
{
	size_t size = 0, length = mnl_nlmsg_get_payload_len(message);
	switch (message->nlmsg_type) {
	case NLMSG_ERROR:
		size = sizeof(struct nlmsgerr);
		break;
	case RTM_NEWLINK:
	case RTM_DELLINK:
		size = sizeof(struct ifinfomsg);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		size = sizeof(struct ifaddrmsg);
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		return length >= sizeof(struct rtmsg) && has_prefix(message);
	case RTM_NEWRULE:
	case RTM_DELRULE:
		size = sizeof(struct fib_rule_hdr);
		break;
	default:
		break;
	}
	return length >= size;
}

struct netlink_attributes netlink_attributes(const struct nlmsghdr *message, size_t header_size)
{
	struct netlink_attributes attributes = {0};
	/* Not by mnl_attr_parse(): it reads up to the message's length rounded up. */
	size_t start = (size_t)MNL_ALIGN((int)header_size), length = mnl_nlmsg_get_payload_len(message);
	if (length > start)
		mnl_attr_parse_payload((const char *)mnl_nlmsg_get_payload(message) + start, length - start,
				       attribute_collect, &attributes);
	return attributes;
}

struct netlink_attributes netlink_nested_attributes(const struct nlattr *nest)
{
	struct netlink_attributes attributes = {0};
	if (nest != NULL)
		mnl_attr_parse_nested(nest, attribute_collect, &attributes);
	return attributes;
}

uint32_t netlink_attribute_u32(const struct netlink_attributes *attributes, uint16_t type, uint32_t otherwise)
{
	const struct nlattr *attribute = attributes->by_type[type];
	return attribute != NULL && mnl_attr_get_payload_len(attribute) >= sizeof(uint32_t)
		       ? mnl_attr_get_u32(attribute)
		       : otherwise;
}

static const char *extended_text(const struct nlmsghdr *ack)
{
	const struct nlmsgerr *body = mnl_nlmsg_get_payload(ack);
	size_t offset = sizeof *body;

	if (!(ack->nlmsg_flags & NLM_F_ACK_TLVS))
		return NULL;
	/* The acknowledgement quotes the whole request unless NLM_F_CAPPED is set. */
	if (!(ack->nlmsg_flags & NLM_F_CAPPED) && body->msg.nlmsg_len > sizeof body->msg)
		offset += NLMSG_ALIGN((size_t)body->msg.nlmsg_len - sizeof body->msg);
	if (offset > mnl_nlmsg_get_payload_len(ack))
		return NULL;
	const struct nlattr *text = netlink_attributes(ack, offset).by_type[NLMSGERR_ATTR_MSG];
	return text != NULL && mnl_attr_validate(text, MNL_TYPE_NUL_STRING) == 0 ? mnl_attr_get_str(text) : NULL;
}

int netlink_acknowledged(const struct nlmsghdr *ack, struct error *error)
{
	int code = ((const struct nlmsgerr *)mnl_nlmsg_get_payload(ack))->error;
	const char *text = extended_text(ack);

	if (code == 0)
		return 0;
	if (code > 0 || code < -ERRNO_MAX)
		code = -EPROTO;
	if (text != NULL)
		return error_set(error, code, "%s: %s", strerror(-code), text);
	return error_set(error, code, "%s", strerror(-code));
}

int netlink_transact(struct netlink *netlink, struct nlmsghdr *request, netlink_answer_fn *answer, void *data,
		     struct error *error)
{
	bool dump = (request->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	/* rtnetlink numbers its messages NEW, DEL, GET, SET: what is asked for by GET comes as NEW. */
	uint16_t wanted = (uint16_t)(request->nlmsg_type - (RTM_GETLINK - RTM_NEWLINK));

	request->nlmsg_seq = ++netlink->sequence;
	if (!dump)
		request->nlmsg_flags |= NLM_F_ACK;
	if (mnl_socket_sendto(netlink->socket, request, request->nlmsg_len) < 0)
		return error_set(error, -errno, "send to the kernel: %s", strerror(errno));

	for (;;) {
		ssize_t received = mnl_socket_recvfrom(netlink->socket, netlink->answer, sizeof netlink->answer);
		if (received < 0 && errno == EINTR)
			continue;
		if (received < 0)
			return error_set(error, -errno, "receive from the kernel: %s", strerror(errno));

		int left = (int)received;
		const struct nlmsghdr *message = (const struct nlmsghdr *)netlink->answer;
		for (; netlink_message_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
			/* Others: the rest of an answer that an earlier failure left unread. */
			if (message->nlmsg_seq != netlink->sequence || !netlink_message_is_sound(message))
				continue;
			if (message->nlmsg_type == NLMSG_DONE)
				return 0;
			if (message->nlmsg_type == NLMSG_ERROR)
				return netlink_acknowledged(message, error);
			if (answer != NULL && message->nlmsg_type == wanted)
				answer(message, data);
		}
	}
}

int netlink_family(uint8_t family)
{
	return family == 4 ? AF_INET : AF_INET6;
}

void netlink_put_address(struct nlmsghdr *request, uint16_t type, const struct ip_address *address)
{
	mnl_attr_put(request, type, address->family == 4 ? 4 : 16, address->bytes);
}

struct ip_address netlink_address_read(const struct nlattr *attribute, int family)
{
	struct ip_address address = {0};
	size_t size = family == AF_INET ? 4 : 16;
	if (attribute == NULL || mnl_attr_get_payload_len(attribute) != size)
		return address;
	address.family = family == AF_INET ? 4 : 6;
	memcpy(address.bytes, mnl_attr_get_payload(attribute), size);
	return address;
}

const char *netlink_link_name(unsigned ifindex, char name[])
{
	if (if_indextoname(ifindex, name) == NULL)
		snprintf(name, IF_NAMESIZE, "#%u", ifindex);
	return name;
}
