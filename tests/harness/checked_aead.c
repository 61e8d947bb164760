// SPDX-License-Identifier: Apache-2.0
#include "tests/harness/checked_aead.h"

#include <stdlib.h>

enum { SLOTS_FIRST = 1024 };

static bool is_free(const struct sealed *slot)
{
	static const struct sealed none;
	return memcmp(slot, &none, sizeof none) == 0;
}

static struct sealed *slot_for(const struct checked_aead *checked, const struct sealed *what)
{
	uint64_t hash;
	memcpy(&hash, what->iv, sizeof hash);
	hash = (hash ^ what->counter) * 0x9e3779b97f4a7c15u;
	size_t at = (size_t)(hash >> 32) & (checked->slots - 1);
	while (!is_free(&checked->seen[at]) && memcmp(&checked->seen[at], what, sizeof *what) != 0)
		at = (at + 1) & (checked->slots - 1);
	return &checked->seen[at];
}

static void make_room(struct checked_aead *checked)
{
	if (checked->count * 2 < checked->slots)
		return;
	struct sealed *old = checked->seen;
	size_t old_slots = checked->slots;
	checked->slots = old_slots != 0 ? old_slots * 2 : SLOTS_FIRST;
	checked->seen = calloc(checked->slots, sizeof *checked->seen);
	if (checked->seen == NULL)
		abort();
	for (size_t i = 0; i < old_slots; i++) {
		if (!is_free(&old[i]))
			*slot_for(checked, &old[i]) = old[i];
	}
	free(old);
}

static void remember(struct checked_aead *checked, const uint8_t iv[AEAD_IV_SIZE], uint64_t counter)
{
	struct sealed what = {.counter = counter + 1};
	memcpy(what.iv, iv, sizeof what.iv);
	make_room(checked);
	struct sealed *slot = slot_for(checked, &what);
	if (is_free(slot))
		checked->count++;
	else
		checked->reused++;
	*slot = what;
}

static void seal(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count,
		 enum aead_suite suite)
{
	struct checked_aead *checked = (struct checked_aead *)engine;
	for (size_t i = 0; i < count; i++)
		remember(checked, suite == AEAD_WIREGUARD ? key->schedule : key->iv, ops[i].counter);
	checked->real->suites[suite]->seal(engine, key, ops, count);
}

static void seal_aes(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	seal(engine, key, ops, count, AEAD_AES_256_GCM);
}

static void seal_chacha(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	seal(engine, key, ops, count, AEAD_CHACHA20_POLY1305);
}

static void seal_wireguard(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	seal(engine, key, ops, count, AEAD_WIREGUARD);
}

void checked_aead_init(struct checked_aead *checked, const char *backend)
{
	struct aead_engine *real = aead_engine_new(backend, NULL);
	if (real == NULL)
		abort();
	*checked = (struct checked_aead){.base = *real, .real = real};
	static void (*const seals[AEAD_SUITES])(struct aead_engine *, const struct aead_key *, struct aead_op *,
						size_t) = {[AEAD_AES_256_GCM] = seal_aes,
							   [AEAD_CHACHA20_POLY1305] = seal_chacha,
							   [AEAD_WIREGUARD] = seal_wireguard};
	for (unsigned suite = AEAD_SUITE_FIRST; suite < AEAD_SUITES; suite++) {
		if (real->suites[suite] == NULL)
			continue;
		checked->vtables[suite] = *real->suites[suite];
		checked->vtables[suite].seal = seals[suite];
		checked->base.suites[suite] = &checked->vtables[suite];
	}
}

void checked_aead_deinit(struct checked_aead *checked)
{
	free(checked->seen);
	aead_engine_free(checked->real);
}

static bool has(const struct checked_aead *checked, const struct sealed *what)
{
	return checked->slots != 0 && !is_free(slot_for(checked, what));
}

size_t checked_aead_reused(const struct checked_aead *const engines[], size_t count)
{
	size_t reused = 0;
	for (size_t i = 0; i < count; i++) {
		reused += engines[i]->reused;
		for (size_t at = 0; at < engines[i]->slots; at++) {
			for (size_t k = 0; k < i && !is_free(&engines[i]->seen[at]); k++)
				reused += has(engines[k], &engines[i]->seen[at]);
		}
	}
	return reused;
}
