// SPDX-License-Identifier: Apache-2.0
/* An AEAD engine that remembers every (key, counter) it sealed and notices the second time: the promise on which both
 * suites rest. It allocates while sealing. One thread; what several threads sealed is compared when they rest. */
#pragma once

#include "crypto/aead.h"
#include "crypto/aead_backend.h"

struct sealed {
	uint64_t counter;
	uint8_t iv[AEAD_IV_SIZE]; /* stands for its key: both come from one secret. AEAD_WIREGUARD: the key's start */
	uint32_t no_padding;	  /* 0: two of these are compared whole */
};

struct checked_aead {
	struct aead_engine base; /* what the worker gets */
	struct aead_engine *real;
	struct aead_vtable vtables[AEAD_SUITES];
	struct sealed *seen; /* hash table; counter + 1, so that all zero is a free slot */
	size_t slots, count;
	size_t reused; /* nonces used again by this engine */
};

/* Wraps aead_engine_new(backend); aborts when there is none. */
void checked_aead_init(struct checked_aead *checked, const char *backend);
void checked_aead_deinit(struct checked_aead *checked);

/* How many nonces were used again: by one of these engines, or by two of them. Their threads rest. */
size_t checked_aead_reused(const struct checked_aead *const engines[], size_t count);
