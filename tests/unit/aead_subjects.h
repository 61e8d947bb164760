// SPDX-License-Identifier: Apache-2.0
/* What the AEAD tests run on: every back end that this machine has, and each suite on it with a key expanded. A file's
 * suite gets its own by `.init = subjects_set_up, .fini = subjects_tear_down`. */
#pragma once

#include <stdio.h>

#include "core/base/bytes.h"
#include "crypto/aead.h"

static const char *const backends[] = {"sodium", "ipsec-mb:sse", "ipsec-mb:avx", "ipsec-mb:avx2", "ipsec-mb:avx512"};

enum { BACKENDS = ARRAY_SIZE(backends) };

/* A suite on a back end, with a key expanded. */
struct subject {
	const char *backend;
	char label[48];
	struct aead_engine *engine;
	const struct aead_vtable *aead;
	struct aead_key key;
};

static const uint8_t raw_key[AEAD_KEY_SIZE] = "an AEAD key of 32 bytes, exactly";
static const uint8_t iv[AEAD_IV_SIZE] = "twelve bytes";
static struct aead_engine *engines[BACKENDS]; /* NULL where this machine does not run it */
static struct subject subjects[2 * BACKENDS];
static size_t subject_count;

static inline void subjects_set_up(void)
{
	for (size_t i = 0; i < BACKENDS; i++) {
		engines[i] = aead_engine_new(backends[i], NULL);
		for (unsigned suite = AEAD_SUITE_FIRST; engines[i] != NULL && suite <= AEAD_SUITE_LAST; suite++) {
			const struct aead_vtable *aead = aead_engine_suite(engines[i], suite);
			if (aead == NULL)
				continue;
			struct subject *s = &subjects[subject_count++];
			s->backend = backends[i];
			s->engine = engines[i];
			s->aead = aead;
			snprintf(s->label, sizeof s->label, "%s %s", backends[i], aead_suite_name(suite));
			aead->expand(s->engine, &s->key, raw_key, iv);
		}
	}
}

static inline void subjects_tear_down(void)
{
	for (size_t i = 0; i < BACKENDS; i++)
		aead_engine_free(engines[i]);
}
