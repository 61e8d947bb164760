// SPDX-License-Identifier: Apache-2.0
/* What the back ends share with crypto/aead.c; nobody else includes this (its unit test aside). */
#pragma once

#include <string.h>

#include "core/base/bytes.h"
#include "crypto/aead.h"

struct IMB_MGR;

struct aead_engine {
	const struct aead_vtable *suites[AEAD_SUITE_LAST + 1]; /* by wire number; NULL where not offered */
	const char *description;			       /* static text */
	struct IMB_MGR *ipsec_mb;			       /* owned; NULL without that back end */
};

static inline void aead_nonce(uint8_t nonce[AEAD_IV_SIZE], const struct aead_key *key, uint32_t counter)
{
	memcpy(nonce, key->iv, AEAD_IV_SIZE);
	store_be32(nonce + AEAD_IV_SIZE - 4, load_be32(key->iv + AEAD_IV_SIZE - 4) ^ counter);
}

/* Fills suites and description. libsodium must have been initialised. */
void aead_sodium_init(struct aead_engine *engine);

/* The same for intel-ipsec-mb: `arch` is "sse", "avx", "avx2", "avx512" or NULL for the best that this CPU runs. 0, or
 * a negative errno with `error` set and nothing to undo. */
int aead_ipsec_mb_init(struct aead_engine *engine, const char *arch, struct error *error);
/* Does nothing to an engine of another back end. */
void aead_ipsec_mb_deinit(struct aead_engine *engine);

/* Whether the engine's back end gives the right answers for a suite it offers, forgeries included. */
bool aead_known_answer(struct aead_engine *engine, enum aead_suite suite);
