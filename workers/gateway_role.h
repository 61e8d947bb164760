// SPDX-License-Identifier: Apache-2.0
/* What a worker does as a gateway: answers HELLO, gives out IDs and addresses, routes by inner destination. The state
 * machine is core/PROTOCOL.md, 4. Everything runs on the worker's thread. */
#pragma once

#include "core/handshake.h"
#include "core/peer.h"
#include "core/pool.h"
#include "workers/worker.h"

struct gateway_role {
	const struct handshake_identity *identity;
	struct peers *peers;
	struct pool *pool;
	uint16_t mtu;
	uint32_t rekey_interval;  /* s */
	uint32_t session_timeout; /* s */
	uint32_t suites;	  /* bit n: suite number n may be chosen */
	bool client_to_client;
	bool reset;			/* answer packets of unknown sessions with RESET */
	uint8_t reset_secret[KEY_SIZE]; /* filled by gateway_role_init() */
	uint64_t hello_turn;		/* the worker's turn that hello_count is of */
	unsigned hello_count;		/* public-key operations in it */
	unsigned resets_left;		/* RESETs that may still be sent before the next tick */
	uint32_t reset_last;		/* session ID of the last one in this tick */
	unsigned log_left;		/* lines that may still be logged before the next tick */
	unsigned log_missed;		/* lines that were not */
	_Atomic uint32_t active;	/* confirmed sessions; any thread may read */
	_Atomic uint32_t pending;	/* answered, not confirmed */
};

extern const struct worker_role gateway_worker_role;

/* Derives what is derived; the other fields are the caller's to fill first. */
void gateway_role_init(struct gateway_role *role);
