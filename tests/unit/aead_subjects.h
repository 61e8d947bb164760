// SPDX-License-Identifier: Apache-2.0
/* What the AEAD tests run on: every back end of the table and each of its code paths that this machine runs, and each
 * suite on it with a key expanded. A file's suite gets its own by `.init = subjects_set_up, .fini =
 * subjects_tear_down`; by `subjects_set_up_all` also WireGuard's, which no key of the own protocol has. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "crypto/aead.h"

enum { BACKENDS = 64 /* more than the table names */ };

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
static struct aead_engine *engines[BACKENDS]; /* by index of aead_backend_name(); NULL where it does not run here */
static struct subject subjects[AEAD_SUITES * BACKENDS];
static size_t subject_count;

/* The engine of a back end or code path, or NULL where this machine does not run it. */
static inline struct aead_engine *engine_named(const char *wanted)
{
	const char *name;
	for (size_t i = 0; (name = aead_backend_name(i)) != NULL; i++) {
		if (strcmp(name, wanted) == 0)
			return engines[i];
	}
	return NULL;
}

static inline void subject_add(const char *name, struct aead_engine *engine, const struct aead_vtable *aead)
{
	if (aead == NULL)
		return;
	struct subject *s = &subjects[subject_count++];
	s->backend = name;
	s->engine = engine;
	s->aead = aead;
	snprintf(s->label, sizeof s->label, "%s %s %u", name, aead_suite_name(aead->suite), aead->suite);
	aead->expand(s->engine, &s->key, raw_key, iv);
}

static inline void subjects_set_up(void)
{
	const char *name;
	for (size_t i = 0; (name = aead_backend_name(i)) != NULL; i++) {
		if (i == BACKENDS)
			abort();
		engines[i] = aead_engine_new(name, NULL);
		for (unsigned suite = AEAD_SUITE_FIRST; engines[i] != NULL && suite <= AEAD_SUITE_LAST; suite++)
			subject_add(name, engines[i], aead_engine_suite(engines[i], suite));
	}
}

static inline void subjects_set_up_all(void)
{
	subjects_set_up();
	const char *name;
	for (size_t i = 0; (name = aead_backend_name(i)) != NULL; i++) {
		if (engines[i] != NULL)
			subject_add(name, engines[i], aead_engine_wireguard(engines[i]));
	}
}

static inline void subjects_tear_down(void)
{
	for (size_t i = 0; i < BACKENDS; i++)
		aead_engine_free(engines[i]);
}
