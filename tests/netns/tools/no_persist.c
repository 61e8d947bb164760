// SPDX-License-Identifier: Apache-2.0
/* To be preloaded: a kernel from before Linux 6.9, which refuses tables of nftables with the flag "persist". */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PERSIST = 0x4, NEW_TABLE = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE };

static bool persists(const struct nlmsghdr *message)
{
	const char *end = (const char *)message + message->nlmsg_len;
	const char *at = (const char *)NLMSG_DATA(message) + NLMSG_ALIGN(sizeof(struct nfgenmsg));
	while (end - at >= (long)sizeof(struct nlattr)) {
		struct nlattr attribute;
		uint32_t flags;
		memcpy(&attribute, at, sizeof attribute);
		memcpy(&flags, at + sizeof attribute, sizeof flags);
		if ((attribute.nla_type & NLA_TYPE_MASK) == NFTA_TABLE_FLAGS && (ntohl(flags) & PERSIST) != 0)
			return true;
		if (attribute.nla_len < sizeof attribute)
			return false;
		at += NLA_ALIGN(attribute.nla_len);
	}
	return false;
}

// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the C library's names are reserved
ssize_t sendto(int fd, const void *data, size_t size, int flags, __CONST_SOCKADDR_ARG address, socklen_t length)
{
	const struct sockaddr *to = *(const struct sockaddr *const *)&address;
	const struct nlmsghdr *message = data;
	int left = to != NULL && to->sa_family == AF_NETLINK ? (int)size : 0;
	for (; NLMSG_OK(message, (unsigned)left); message = NLMSG_NEXT(message, left)) {
		if (message->nlmsg_type == NEW_TABLE && persists(message)) {
			errno = EOPNOTSUPP;
			return -1;
		}
	}
	return syscall(SYS_sendto, fd, data, size, flags, to, length);
}
