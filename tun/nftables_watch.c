// SPDX-License-Identifier: Apache-2.0
#include "tun/nftables_watch.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

/* A transaction is reported rule by rule and ends in a message about the new generation: only that one passes. Types
 * are in the host's byte order, and the filter loads big-endian ones. */
static int pass_generations(int fd)
{
	const uint32_t type = htons(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN);
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, type, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0 ? 0 : -errno;
}

int nftables_watch_open(struct error *error)
{
	static const int group = NFNLGRP_NFTABLES;
	const struct sockaddr_nl any = {.nl_family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
	if (fd < 0)
		return error_set(error, -errno, "nftables: cannot open a socket (%s)", strerror(errno));
	int result = pass_generations(fd);
	if (result == 0 && (bind(fd, (const struct sockaddr *)&any, sizeof any) != 0 ||
			    setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0))
		result = -errno;
	if (result == 0)
		return fd;
	close(fd);
	return error_set(error, result, "nftables: cannot watch for changes (%s)", strerror(-result));
}

bool nftables_watch_read(int fd)
{
	char message[256];
	bool any = false;
	for (;;) {
		ssize_t got = recv(fd, message, sizeof message, MSG_DONTWAIT);
		if (got > 0 || (got < 0 && errno == ENOBUFS))
			any = true;
		else if (got == 0 || errno != EINTR)
			return any;
	}
}
