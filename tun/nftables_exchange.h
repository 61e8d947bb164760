// SPDX-License-Identifier: Apache-2.0
/* One request to libnftables' process, and its answer, carried out in as many steps as it takes: so a caller need not
 * stand still while the process, or the kernel behind it, takes long. For tun/nftables.c only. One thread. */
#pragma once

#include "tun/nftables_process.h"

/* All zero: there is none. */
struct nftables_exchange {
	struct nftables_request request;
	char *payload; /* owned; NULL: there is no exchange */
	size_t sent;   /* bytes of the request and its payload */
	struct nftables_answer answer;
	size_t received;       /* bytes of the answer and its text */
	char *text;	       /* owned; from the answer's header on */
	bool answered;	       /* `answer` and `text` are whole */
	uint64_t began, ended; /* ns of CLOCK_BOOTTIME; `ended`: once it is answered */
};

/* Begins one in the place of another, whose answer is forgotten; nothing is sent yet. The payload is copied. 0 or
 * -ENOMEM. */
int nftables_exchange_begin(struct nftables_exchange *exchange, const struct nftables_request *request,
			    const char *payload);

/* Whether it is about this request. */
bool nftables_exchange_is(const struct nftables_exchange *exchange, const struct nftables_request *request,
			  const char *payload);

/* Goes on with it over the process's stream socket, for at most so many milliseconds; 0: as far as it goes at once.
 * 1: answered; 0: not yet; -EPIPE: the process has ended, or there was no memory for its answer. */
int nftables_exchange_step(struct nftables_exchange *exchange, int fd, int wait_ms);

/* How long ago it began, in ms. */
uint64_t nftables_exchange_age(const struct nftables_exchange *exchange);

/* Whether it is answered since so long that its answer may be true no longer. */
bool nftables_exchange_is_old(const struct nftables_exchange *exchange);

/* Forgets it. */
void nftables_exchange_end(struct nftables_exchange *exchange);
