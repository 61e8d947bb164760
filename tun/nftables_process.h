// SPDX-License-Identifier: Apache-2.0
/* The process behind tun/nftables.h, and what passes between the two: requests and answers over a pair of stream
 * sockets, each a header and then `length` bytes of text without a NUL. For tun/nftables.c only. */
#pragma once

#include <stdint.h>

#include "tun/nftables.h"

enum nftables_operation { NFTABLES_LAY, NFTABLES_CHECK, NFTABLES_REMOVE, NFTABLES_QUERY };

struct nftables_request {
	enum nftables_operation operation;
	bool outlives;
	char name[NFTABLES_NAME_MAX];
	uint32_t length;
};

struct nftables_answer {
	int32_t code; /* 0 (CHECK: 0 or 1), or a negative errno: then the text says why */
	uint32_t length;
};

/* Answers requests until the other end is closed. Never returns. */
void nftables_process_run(int fd) __attribute__((noreturn));

/* All of it, whatever signals come. Returns whether it worked; at the stream's end it does not. */
bool nftables_send(int fd, const void *data, size_t size);
bool nftables_receive(int fd, void *data, size_t size);
