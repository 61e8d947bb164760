// SPDX-License-Identifier: Apache-2.0
/* The process behind tun/nftables.h, and what passes between the two: requests and answers over a pair of stream
 * sockets, each a header and then `length` bytes of text without a NUL. For tun/nftables.c only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tun/nftables_name.h"

enum nftables_operation { NFTABLES_LAY, NFTABLES_CHECK, NFTABLES_REMOVE, NFTABLES_QUERY };

struct nftables_request {
	enum nftables_operation operation;
	enum nftables_family family;
	bool outlives, may_outlive;
	char name[NFTABLES_NAME_MAX];
	uint32_t length;
};

struct nftables_answer {
	int32_t code; /* 0 (CHECK: 0 or 1), or a negative errno, with the reason as text */
	uint32_t length;
};

/* Removes a table whose process ended before it could, in the calling process, without libnftables. 0, also when there
 * is none, or a negative errno. Needs CAP_NET_ADMIN. */
int nftables_process_remove(enum nftables_family family, const char *name);

/* Answers requests until the other end is closed. Never returns. */
void nftables_process_run(int fd) __attribute__((noreturn));

/* Sends or receives all `size` bytes, in spite of signals. False on error and at the stream's end. */
bool nftables_send(int fd, const void *data, size_t size);
bool nftables_receive(int fd, void *data, size_t size);
