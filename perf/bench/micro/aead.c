// SPDX-License-Identifier: Apache-2.0
/* What sealing and opening a message cost, for each back end that this CPU runs, suite and size: with one hot key, and
 * with the keys of a thousand sessions in turn. */
#include <sodium.h>
#include <string.h>

#include "crypto/aead.h"
#include "perf/bench/micro/micro.h"

enum { KEYS = 1024, BATCH = 16, LONGEST = 1400 };

struct bench {
	struct aead_engine *engine;
	const struct aead_vtable *aead;
	struct aead_key *keys;
	size_t key_count, next_key;
	uint32_t length;
	uint8_t header[AEAD_AAD_SIZE];
	uint8_t plain[LONGEST + AEAD_INPUT_SLACK], opened[LONGEST];
	uint8_t sealed[BATCH][LONGEST + AEAD_TAG_SIZE + AEAD_INPUT_SLACK];
};

static void prepare(struct bench *bench, struct aead_op ops[BATCH], bool open)
{
	for (size_t i = 0; i < BATCH; i++)
		ops[i] = (struct aead_op){.input = open ? bench->sealed[i] : bench->plain,
					  .output = open ? bench->opened : bench->sealed[i],
					  .header = bench->header,
					  .tag = bench->sealed[i] + bench->length,
					  .length = bench->length,
					  .counter = (uint32_t)i};
}

static const struct aead_key *next_key(struct bench *bench)
{
	return &bench->keys[bench->next_key++ % bench->key_count];
}

static void seal(void *context)
{
	struct bench *bench = context;
	struct aead_op ops[BATCH];
	prepare(bench, ops, false);
	if (bench->key_count == 1) {
		bench->aead->seal(bench->engine, next_key(bench), ops, BATCH);
		return;
	}
	for (size_t i = 0; i < BATCH; i++)
		bench->aead->seal(bench->engine, next_key(bench), &ops[i], 1);
}

/* What seal() made with one key. */
static void open_sealed(void *context)
{
	struct bench *bench = context;
	struct aead_op ops[BATCH];
	prepare(bench, ops, true);
	bench->aead->open(bench->engine, next_key(bench), ops, BATCH);
	if (!ops[0].authentic || !ops[BATCH - 1].authentic)
		abort();
}

static void measure(struct bench *bench, const char *backend, const struct aead_vtable *aead, const char *suite)
{
	static const uint32_t lengths[] = {64, 576, 1400};
	bench->aead = aead;
	if (aead == NULL)
		return;
	for (size_t i = 0; i < KEYS; i++) {
		uint8_t raw[AEAD_KEY_SIZE], iv[AEAD_IV_SIZE];
		randombytes_buf(raw, sizeof raw);
		randombytes_buf(iv, sizeof iv);
		bench->aead->expand(bench->engine, &bench->keys[i], raw, iv);
	}
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		char name[96];
		bench->length = lengths[i];
		bench->key_count = 1;
		snprintf(name, sizeof name, "%s %s, seal %u", backend, suite, lengths[i]);
		micro_report(name, seal, bench, 10, BATCH);
		snprintf(name, sizeof name, "%s %s, open %u", backend, suite, lengths[i]);
		micro_report(name, open_sealed, bench, 10, BATCH);
		bench->key_count = KEYS;
		snprintf(name, sizeof name, "%s %s, seal %u, %d keys", backend, suite, lengths[i], KEYS);
		micro_report(name, seal, bench, 10, BATCH);
	}
}

int main(void)
{
	struct bench *bench = calloc(1, sizeof *bench);
	struct aead_key *keys = aligned_alloc(CACHE_LINE, KEYS * sizeof *keys);
	if (sodium_init() < 0 || bench == NULL || keys == NULL)
		abort();
	bench->keys = keys;
	const char *name;
	for (size_t i = 0; (name = aead_backend_name(i)) != NULL; i++) {
		struct error error = {0};
		bench->engine = aead_engine_new(name, &error);
		if (bench->engine == NULL) {
			printf("%s: skipped (%s)\n", name, error.text);
			continue;
		}
		for (unsigned suite = AEAD_SUITE_FIRST; suite <= AEAD_SUITE_LAST; suite++)
			measure(bench, name, aead_engine_suite(bench->engine, suite), aead_suite_name(suite));
		measure(bench, name, aead_engine_wireguard(bench->engine), "WireGuard");
		aead_engine_free(bench->engine);
	}
	free(keys);
	free(bench);
	return 0;
}
