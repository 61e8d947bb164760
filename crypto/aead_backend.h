// SPDX-License-Identifier: Apache-2.0
/* What a back end implements. A further one is a file crypto/aead_NAME.c that defines `aead_backend_NAME`, and a row in
 * the table of crypto/aead.c. Only that file, the back ends and tests include this. */
#pragma once

#include <string.h>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "crypto/aead_suite.h"

struct aead_engine {
	const struct aead_vtable *suites[AEAD_SUITES]; /* by enum aead_suite; NULL where not offered */
	const char *description;		       /* static text */
	void *state;				       /* the back end's own */
	const struct aead_backend *backend;	       /* set by crypto/aead.c */
};

struct aead_backend {
	/* What configuration calls it: its own name, then "NAME:PATH" for each code path that can be forced; ended by
	 * NULL. `path` below is an index of this array; with 0 the back end takes the fastest that runs here. */
	const char *const *names;
	/* Whether this build and this CPU run the code path: 0, or a negative errno with `error` set. */
	int (*probe)(unsigned path, struct error *error);
	/* Fills suites, description and state of a zeroed engine for a code path that probe() accepted; libsodium is
	 * initialised. 0, or a negative errno with `error` set and the engine as it was. */
	int (*init)(struct aead_engine *engine, unsigned path, struct error *error);
	/* Frees the state. NULL for a back end that has none. */
	void (*deinit)(struct aead_engine *engine);
};

static inline void aead_nonce(uint8_t nonce[AEAD_IV_SIZE], const struct aead_key *key, uint64_t counter)
{
	memcpy(nonce, key->iv, AEAD_IV_SIZE);
	store_be64(nonce + AEAD_IV_SIZE - 8, load_be64(key->iv + AEAD_IV_SIZE - 8) ^ counter);
}

static inline void aead_nonce_wireguard(uint8_t nonce[AEAD_IV_SIZE], uint64_t counter)
{
	memset(nonce, 0, AEAD_IV_SIZE - 8);
	store_le64(nonce + AEAD_IV_SIZE - 8, counter);
}
