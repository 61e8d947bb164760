// SPDX-License-Identifier: Apache-2.0
#include "crypto/aead.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/base/bytes.h"
#include "crypto/aead_known_answer.h"
#include "tests/harness/checked_aead.h"
#include "tests/unit/aead_subjects.h"

TestSuite(aead_engine, .init = subjects_set_up_all, .fini = subjects_tear_down, .timeout = 120);

Test(aead_engine, every_back_end_that_this_cpu_runs_is_tested)
{
	cr_assert_not_null(engine_named("sodium"), "libsodium is always there");
	cr_assert_not_null(aead_engine_suite(engine_named("sodium"), AEAD_CHACHA20_POLY1305));
#if HAVE_IPSEC_MB
	bool aes = __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
	cr_assert_eq(engine_named("ipsec-mb:sse") != NULL, aes);
	cr_assert_eq(engine_named("ipsec-mb:avx") != NULL, aes && __builtin_cpu_supports("avx"));
	cr_assert_eq(engine_named("ipsec-mb:avx2") != NULL,
		     aes && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"));
	cr_assert_eq(engine_named("ipsec-mb:avx512") != NULL,
		     aes && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
			     __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512bw") &&
			     __builtin_cpu_supports("avx512vl"));
#endif
}

/* aead_engine_new() also returns NULL for these, and they would go untested. */
Test(aead_engine, no_back_end_fails_its_known_answers)
{
	const char *name;
	for (size_t i = 0; (name = aead_backend_name(i)) != NULL; i++) {
		struct error error = {0};
		struct aead_engine *engine = aead_engine_new(name, &error);
		cr_assert(engine != NULL || strstr(error.text, "wrong answers") == NULL, "%s", error.text);
		aead_engine_free(engine);
	}
}

Test(aead_engine, suite_numbers_from_the_wire_may_be_anything)
{
	const unsigned unknown[] = {0, 4, 255, 1u << 31, (unsigned)-1};
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
		cr_assert_null(aead_engine_suite(engine_named("sodium"), unknown[i]));
		cr_assert_str_eq(aead_engine_describe(engine_named("sodium"), unknown[i]), "none");
		cr_assert_str_eq(aead_suite_name(unknown[i]), "unknown");
	}
	cr_assert_str_eq(aead_suite_name(AEAD_AES_256_GCM), "AES-256-GCM");
	cr_assert_str_eq(aead_suite_name(AEAD_CHACHA20_POLY1305), "ChaCha20-Poly1305");
}

Test(aead_engine, wireguard_is_offered_by_each_and_has_no_number_on_the_wire)
{
	const char *name;
	for (size_t i = 0; (name = aead_backend_name(i)) != NULL; i++) {
		if (engines[i] == NULL)
			continue;
		const struct aead_vtable *aead = aead_engine_wireguard(engines[i]);
		cr_assert_not_null(aead, "%s", name);
		cr_assert_eq(aead->suite, AEAD_WIREGUARD);
		for (unsigned number = 0; number < 256; number++)
			cr_assert_neq(aead_engine_suite(engines[i], number), aead, "%s: %u", name, number);
	}
	cr_assert_gt(AEAD_WIREGUARD, AEAD_SUITE_LAST);
	cr_assert_str_eq(aead_suite_name(AEAD_WIREGUARD), "ChaCha20-Poly1305");
}

Test(aead_engine, descriptions_name_back_end_and_code_path)
{
	for (const struct subject *s = subjects; s < subjects + subject_count; s++) {
		const char *description = aead_engine_describe(s->engine, AEAD_CHACHA20_POLY1305);
		char expected[48];
		snprintf(expected, sizeof expected, "%s", s->backend);
		char *colon = strchr(expected, ':');
		if (colon != NULL) {
			*colon = '/';
			cr_assert_str_eq(description, expected);
		} else {
			cr_assert_eq(strncmp(description, expected, strlen(expected)), 0, "%s: %s", expected,
				     description);
		}
		if (s->aead->suite != AEAD_WIREGUARD)
			cr_assert_eq(aead_engine_suite(s->engine, s->aead->suite), s->aead);
	}
}

Test(aead_engine, auto_takes_the_best_back_end)
{
	struct error error = {0};
	struct aead_engine *engine = aead_engine_new("auto", &error);
	cr_assert_not_null(engine, "%s", error.text);
	size_t best = 0;
	while (engines[best] == NULL)
		best++;
	cr_assert_str_eq(aead_engine_describe(engine, AEAD_CHACHA20_POLY1305),
			 aead_engine_describe(engines[best], AEAD_CHACHA20_POLY1305));
	aead_engine_free(engine);
}

Test(aead_engine, names_are_found_as_the_table_spells_them)
{
	size_t names = 0;
	for (const char *name; (name = aead_backend_name(names)) != NULL; names++)
		cr_assert_eq(aead_backend_find(name, NULL), name);
	cr_assert_geq(names, 6);
	cr_assert_null(aead_backend_name(names + 1));
	cr_assert_str_eq(aead_backend_find("Sodium", NULL), "sodium");
	cr_assert_str_eq(aead_backend_find("IPsec-MB:AVX2", NULL), "ipsec-mb:avx2");
	cr_assert_str_eq(aead_backend_find("AUTO", NULL), "auto");
}

Test(aead_engine, unknown_back_ends_are_refused_by_name)
{
	static const char *const unknown[] = {"",	   "foo",	   "sodium ",	     "sodium:avx",
					      "ipsec-mb:", "ipsec-mb:mmx", "ipsec-mb:avx51", "ipsec-mb/avx2"};
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
		struct error error = {0};
		cr_assert_null(aead_engine_new(unknown[i], &error), "\"%s\"", unknown[i]);
		cr_assert_not_null(strstr(error.text, unknown[i]), "%s", error.text);
		const char *name;
		for (size_t known = 0; (name = aead_backend_name(known)) != NULL; known++)
			cr_assert_not_null(strstr(error.text, name), "%s: %s", name, error.text);
		cr_assert_null(strchr(error.text, '\n'));
		cr_assert_null(aead_backend_find(unknown[i], &error));
	}
}

Test(aead_engine, known_answers_hold_on_every_back_end)
{
	for (const struct subject *s = subjects; s < subjects + subject_count; s++) {
		cr_assert(aead_known_answer(s->engine, s->aead->suite), "%s", s->label);
	}
}

/* Back ends with one fault each, around libsodium's. */
static void faulty_seal(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	aead_engine_suite(engine_named("sodium"), AEAD_CHACHA20_POLY1305)->seal(engine, key, ops, count);
	ops[0].tag[5] ^= ops[0].length > 64;
}

static void trusting_open(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	aead_engine_suite(engine_named("sodium"), AEAD_CHACHA20_POLY1305)->open(engine, key, ops, count);
	for (size_t i = 0; i < count; i++)
		ops[i].authentic = true;
}

static void careless_open(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	aead_engine_suite(engine_named("sodium"), AEAD_CHACHA20_POLY1305)->open(engine, key, ops, count);
	for (size_t i = 0; i < count; i++)
		if (!ops[i].authentic && ops[i].length > 0)
			ops[i].output[0] = 1;
}

static void faulty_open(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	aead_engine_suite(engine_named("sodium"), AEAD_CHACHA20_POLY1305)->open(engine, key, ops, count);
	for (size_t i = 0; i < count; i++)
		if (ops[i].authentic && ops[i].length > 1000)
			ops[i].output[999] ^= 1;
}

Test(aead_engine, known_answers_find_a_faulty_back_end)
{
	const struct aead_vtable *good = aead_engine_suite(engine_named("sodium"), AEAD_CHACHA20_POLY1305);
	struct aead_vtable vtable = *good;
	struct aead_engine engine = {.suites = {[AEAD_CHACHA20_POLY1305] = &vtable}};
	cr_assert(aead_known_answer(&engine, AEAD_CHACHA20_POLY1305));
	vtable.seal = faulty_seal;
	cr_assert_not(aead_known_answer(&engine, AEAD_CHACHA20_POLY1305));
	vtable.seal = good->seal;
	void (*const faults[])(struct aead_engine *, const struct aead_key *, struct aead_op *,
			       size_t) = {trusting_open, careless_open, faulty_open};
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		vtable.open = faults[i];
		cr_assert_not(aead_known_answer(&engine, AEAD_CHACHA20_POLY1305), "fault %zu", i);
	}
}

Test(aead_engine, checked_engine_notices_a_nonce_of_wireguard_used_twice)
{
	static struct checked_aead checked;
	checked_aead_init(&checked, "sodium");
	struct aead_engine *engine = &checked.base;
	const struct checked_aead *const all[] = {&checked};
	const struct aead_vtable *aead = aead_engine_wireguard(engine);
	struct aead_key keys[2];
	uint8_t raw[AEAD_KEY_SIZE] = {1}, text[16] = {0}, tag[AEAD_TAG_SIZE];
	struct aead_op op = {.input = text, .output = text, .tag = tag, .counter = 1ull << 32};
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		raw[0]++;
		aead->expand(engine, &keys[i], raw, NULL);
		aead->seal(engine, &keys[i], &op, 1);
	}
	op.counter = 0;
	aead->seal(engine, &keys[0], &op, 1);
	cr_assert_eq(checked_aead_reused(all, 1), 0);
	op.counter = 1ull << 32;
	aead->seal(engine, &keys[1], &op, 1);
	cr_assert_eq(checked_aead_reused(all, 1), 1);
	checked_aead_deinit(&checked);
}
