// SPDX-License-Identifier: Apache-2.0
#include "crypto/aead_backend.h"

#include "core/base/hot.h"

/* The back end's own name, then its code paths, best first. */
static const char *const names[] = {"ipsec-mb",	    "ipsec-mb:avx512", "ipsec-mb:avx2",
				    "ipsec-mb:avx", "ipsec-mb:sse",    NULL};

#if HAVE_IPSEC_MB

#include <intel-ipsec-mb.h>
#include <sodium.h>

_Static_assert(sizeof(struct gcm_key_data) <= AEAD_SCHEDULE_SIZE, "the expanded key fits");

/* Without the one that takes the best, and the NULL behind the names. */
enum { CODE_PATHS = ARRAY_SIZE(names) - 2 };

/* In the order of `names`. */
static const struct code_path {
	const char *description;
	uint64_t features;
	void (*init)(IMB_MGR *manager);
} code_paths[CODE_PATHS] = {
	{"ipsec-mb/avx512", IMB_CPUFLAGS_AVX512, init_mb_mgr_avx512},
	{"ipsec-mb/avx2", IMB_CPUFLAGS_AVX2, init_mb_mgr_avx2},
	{"ipsec-mb/avx", IMB_CPUFLAGS_AVX, init_mb_mgr_avx},
	{"ipsec-mb/sse", IMB_CPUFLAGS_SSE, init_mb_mgr_sse},
};

static void gcm_expand(const struct aead_engine *engine, struct aead_key *key, const uint8_t raw[AEAD_KEY_SIZE],
		       const uint8_t iv[AEAD_IV_SIZE])
{
	IMB_MGR *manager = engine->state;
	IMB_AES256_GCM_PRE(manager, raw, (struct gcm_key_data *)key->schedule);
	memcpy(key->iv, iv, AEAD_IV_SIZE);
}

HOT static void gcm_seal(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	const struct gcm_key_data *schedule = (const struct gcm_key_data *)key->schedule;
	struct gcm_context_data context;
	IMB_MGR *manager = engine->state;

	/* The direct calls are the fastest on every code path: jobs and bursts give GCM no parallelism across messages.
	 */
	for (struct aead_op *op = ops; op < ops + count; op++) {
		uint8_t nonce[AEAD_IV_SIZE];
		aead_nonce(nonce, key, op->counter);
		IMB_AES256_GCM_ENC(manager, schedule, &context, op->output, op->input, op->length, nonce, op->header,
				   AEAD_AAD_SIZE, op->tag, AEAD_TAG_SIZE);
	}
	sodium_memzero(&context, sizeof context);
}

/* In constant time, and inline: once for every packet a call would be 3 % of its decryption. */
static inline bool tag_equal(const uint8_t a[AEAD_TAG_SIZE], const uint8_t b[AEAD_TAG_SIZE])
{
	uint64_t x[2], y[2];
	_Static_assert(sizeof x == AEAD_TAG_SIZE, "compared as two words");
	memcpy(x, a, sizeof x);
	memcpy(y, b, sizeof y);
	uint64_t difference = (x[0] ^ y[0]) | (x[1] ^ y[1]);
	__asm__("" : "+r"(difference)); /* no branch before both are in it */
	return difference == 0;
}

/* The library decrypts and computes the tag without comparing it: what came out is plaintext only after this. */
static bool tag_matches(struct aead_op *op, const uint8_t computed[AEAD_TAG_SIZE])
{
	bool authentic = tag_equal(op->tag, computed);
	if (unlikely(!authentic))
		memset(op->output, 0, op->length);
	return authentic;
}

HOT static void gcm_open(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	const struct gcm_key_data *schedule = (const struct gcm_key_data *)key->schedule;
	struct gcm_context_data context;
	IMB_MGR *manager = engine->state;

	for (struct aead_op *op = ops; op < ops + count; op++) {
		uint8_t nonce[AEAD_IV_SIZE], computed[AEAD_TAG_SIZE];
		aead_nonce(nonce, key, op->counter);
		IMB_AES256_GCM_DEC(manager, schedule, &context, op->output, op->input, op->length, nonce, op->header,
				   AEAD_AAD_SIZE, computed, AEAD_TAG_SIZE);
		op->authentic = tag_matches(op, computed);
	}
	sodium_memzero(&context, sizeof context);
}

static void chacha_expand(const struct aead_engine *engine, struct aead_key *key, const uint8_t raw[AEAD_KEY_SIZE],
			  const uint8_t iv[AEAD_IV_SIZE])
{
	(void)engine;
	memcpy(key->schedule, raw, AEAD_KEY_SIZE);
	memcpy(key->iv, iv, AEAD_IV_SIZE);
}

/* What a job refers to until it is done. */
struct chacha_slot {
	struct aead_op *op;
	uint8_t nonce[AEAD_IV_SIZE];
	uint8_t tag[AEAD_TAG_SIZE];
};

enum { CHACHA_JOBS = 32 /* under way at once; the manager's queue holds IMB_MAX_JOBS */ };
_Static_assert((int)CHACHA_JOBS < (int)IMB_MAX_JOBS, "a slot is never taken by two jobs");

static void chacha_finish(const IMB_JOB *job)
{
	struct chacha_slot *slot = job->user_data;
	struct aead_op *op = slot->op;
	bool completed = job->status == IMB_STATUS_COMPLETED;

	if (job->cipher_direction == IMB_DIR_DECRYPT)
		op->authentic = tag_matches(op, slot->tag) && completed;
	else
		memcpy(op->tag, slot->tag, AEAD_TAG_SIZE);
	/* A job that the library refused left plaintext behind if it was to be sealed in place. */
	if (unlikely(!completed))
		memset(op->output, 0, op->length);
}

/* Jobs, other than with GCM, are a fifth faster than the direct calls with AVX-512. `wireguard`: with its nonce, and
 * without associated data. */
static void chacha_run(IMB_MGR *manager, const struct aead_key *key, struct aead_op *ops, size_t count,
		       IMB_CIPHER_DIRECTION direction, bool wireguard)
{
	struct chacha_slot slots[CHACHA_JOBS];
	IMB_JOB *job;

	for (size_t i = 0; i < count; i++) {
		struct chacha_slot *slot = &slots[i];
		*slot = (struct chacha_slot){.op = &ops[i]};
		if (wireguard)
			aead_nonce_wireguard(slot->nonce, ops[i].counter);
		else
			aead_nonce(slot->nonce, key, ops[i].counter);

		job = IMB_GET_NEXT_JOB(manager);
		job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
		job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
		job->cipher_direction = direction;
		job->chain_order = direction == IMB_DIR_ENCRYPT ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
		job->enc_keys = key->schedule;
		job->dec_keys = key->schedule;
		job->key_len_in_bytes = AEAD_KEY_SIZE;
		job->src = ops[i].input;
		job->dst = ops[i].output;
		job->cipher_start_src_offset_in_bytes = 0;
		job->msg_len_to_cipher_in_bytes = ops[i].length;
		job->hash_start_src_offset_in_bytes = 0;
		job->msg_len_to_hash_in_bytes = ops[i].length;
		job->iv = slot->nonce;
		job->iv_len_in_bytes = AEAD_IV_SIZE;
		job->u.CHACHA20_POLY1305.aad = wireguard ? slot->nonce : ops[i].header; /* of no bytes, but not NULL */
		job->u.CHACHA20_POLY1305.aad_len_in_bytes = wireguard ? 0 : AEAD_AAD_SIZE;
		job->auth_tag_output = slot->tag;
		job->auth_tag_output_len_in_bytes = AEAD_TAG_SIZE;
		job->user_data = slot;
		/* What comes back is a job that got done, not necessarily this one. */
		for (job = IMB_SUBMIT_JOB(manager); job != NULL; job = IMB_GET_COMPLETED_JOB(manager))
			chacha_finish(job);
	}
	while ((job = IMB_FLUSH_JOB(manager)) != NULL)
		chacha_finish(job);
}

static void chacha_batches(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count,
			   IMB_CIPHER_DIRECTION direction, bool wireguard)
{
	for (size_t done = 0; done < count; done += CHACHA_JOBS)
		chacha_run(engine->state, key, ops + done, count - done < CHACHA_JOBS ? count - done : CHACHA_JOBS,
			   direction, wireguard);
}

static void chacha_seal(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	chacha_batches(engine, key, ops, count, IMB_DIR_ENCRYPT, false);
}

static void chacha_open(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	chacha_batches(engine, key, ops, count, IMB_DIR_DECRYPT, false);
}

static void wireguard_expand(const struct aead_engine *engine, struct aead_key *key, const uint8_t raw[AEAD_KEY_SIZE],
			     const uint8_t iv[AEAD_IV_SIZE])
{
	(void)engine;
	(void)iv;
	memcpy(key->schedule, raw, AEAD_KEY_SIZE);
	memset(key->iv, 0, AEAD_IV_SIZE);
}

static void wireguard_seal(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	chacha_batches(engine, key, ops, count, IMB_DIR_ENCRYPT, true);
}

static void wireguard_open(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	chacha_batches(engine, key, ops, count, IMB_DIR_DECRYPT, true);
}

static const struct aead_vtable aes_256_gcm = {
	.suite = AEAD_AES_256_GCM,
	.expand = gcm_expand,
	.seal = gcm_seal,
	.open = gcm_open,
};

static const struct aead_vtable chacha20_poly1305 = {
	.suite = AEAD_CHACHA20_POLY1305,
	.expand = chacha_expand,
	.seal = chacha_seal,
	.open = chacha_open,
};

static const struct aead_vtable wireguard = {
	.suite = AEAD_WIREGUARD,
	.expand = wireguard_expand,
	.seal = wireguard_seal,
	.open = wireguard_open,
};

/* CPUID tells what the processor has, and the compiler's run-time library whether the kernel saves the wide registers.
 */
static uint64_t usable_features(const IMB_MGR *manager)
{
	uint64_t features = manager->features;
	if (!__builtin_cpu_supports("avx"))
		features &= ~(uint64_t)(IMB_FEATURE_AVX | IMB_FEATURE_AVX2);
	if (!__builtin_cpu_supports("avx512f"))
		features &= ~(uint64_t)IMB_FEATURE_AVX512_SKX;
	return features;
}

/* The one that `path` forces, or for 0 the best; NULL when this CPU does not run it. */
static const struct code_path *choose(const IMB_MGR *manager, unsigned path)
{
	uint64_t features = usable_features(manager);
	for (unsigned i = 0; i < CODE_PATHS; i++) {
		bool wanted = path == 0 || path == i + 1;
		if (wanted && (features & code_paths[i].features) == code_paths[i].features)
			return &code_paths[i];
	}
	return NULL;
}

/* What the CPU has is known to the library's managers only. */
static IMB_MGR *new_manager(unsigned path, const struct code_path **code_path, struct error *error)
{
	IMB_MGR *manager = alloc_mb_mgr(0);
	if (manager == NULL) {
		error_set(error, -ENOTSUP, "cannot start (memory or CPU); use sodium");
		return NULL;
	}
	*code_path = choose(manager, path);
	if (*code_path != NULL)
		return manager;
	error_set(error, -ENOTSUP, "this CPU does not run it; use auto");
	free_mb_mgr(manager);
	return NULL;
}

static int probe(unsigned path, struct error *error)
{
	const struct code_path *code_path;
	IMB_MGR *manager = new_manager(path, &code_path, error);
	if (manager == NULL)
		return -ENOTSUP;
	free_mb_mgr(manager);
	return 0;
}

static int init(struct aead_engine *engine, unsigned path, struct error *error)
{
	const struct code_path *code_path;
	IMB_MGR *manager = new_manager(path, &code_path, error);
	if (manager == NULL)
		return -ENOTSUP;
	code_path->init(manager);
	int failure = imb_get_errno(manager);
	if (failure != 0) {
		free_mb_mgr(manager);
		return error_set(error, -ENOTSUP, "%s cannot start (%s); use sodium", code_path->description,
				 imb_get_strerror(failure));
	}
	engine->state = manager;
	engine->suites[AEAD_AES_256_GCM] = &aes_256_gcm;
	engine->suites[AEAD_CHACHA20_POLY1305] = &chacha20_poly1305;
	engine->suites[AEAD_WIREGUARD] = &wireguard;
	engine->description = code_path->description;
	return 0;
}

static void deinit(struct aead_engine *engine)
{
	free_mb_mgr(engine->state);
}

#else

static int probe(unsigned path, struct error *error)
{
	(void)path;
	return error_set(error, -ENOTSUP, "not built for this kind of CPU; use sodium");
}

static int init(struct aead_engine *engine, unsigned path, struct error *error)
{
	(void)engine;
	return probe(path, error);
}

static void deinit(struct aead_engine *engine)
{
	(void)engine;
}

#endif

extern const struct aead_backend aead_backend_ipsec_mb;
const struct aead_backend aead_backend_ipsec_mb = {.names = names, .probe = probe, .init = init, .deinit = deinit};
