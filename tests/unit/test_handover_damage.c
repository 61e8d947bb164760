// SPDX-License-Identifier: Apache-2.0
/* Records that are cut off, altered, or of another version: they are refused, and nothing of them stays. */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/handover/writer.h"
#include "crypto/aead_backend.h"
#include "tests/unit/handover_fixture.h"

TestSuite(handover_damage, .timeout = 120);

enum { CLIENTS = 3 };

/* A gateway's records, as bytes, and the next gateway, which has nothing yet. */
static struct harness *h;
static struct handover_fixture fixture;
static uint8_t *original;
static size_t size;

static void begin(void)
{
	h = START_UP(.clients = CLIENTS, .max_sessions = 4, .limits[0] = {.quota = 1 << 30});
	for (size_t i = 0; i < CLIENTS; i++)
		cr_assert(harness_ping(h, i, TO_GATEWAY) && harness_ping(h, i, TO_CLIENT));
	harness_stop_client(h, 1, true);
	check(h);
	cr_assert_eq(fixture_export(&fixture, h), 0);
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	fixture_aim(&fixture, h);
	size = ((const struct handover_head *)(const void *)fixture.memory.bytes)->used;
	original = malloc(size);
	memcpy(original, fixture.memory.bytes, size);
}

static void end(void)
{
	free(original);
	fixture_close(&fixture);
	harness_free(h);
}

/* The first `length` bytes as they are in `bytes`, in memory that ends there: ASan sees what reads further. */
static int read_bytes(const uint8_t *bytes, size_t length, struct handover_import *import)
{
	uint8_t *copy = aligned_alloc(8, (length + 7) / 8 * 8);
	memcpy(copy, bytes, length);
	struct handover_memory memory = {.fd = -1, .bytes = copy, .size = length};
	int result = handover_read(import, &memory, &fixture.target, &fixture.error);
	if (result == 0)
		handover_discard(import);
	free(copy);
	return result;
}

static bool nothing_changed(void)
{
	const struct registry *registry = &h->gateway.registry;
	const struct session_slots *slots = &registry->table.workers[0];
	bool same = registry->pool.used == 0 && registry->orders == 0 && slots->taken == 0;
	for (size_t i = 0; i < CLIENTS; i++) {
		const struct peer *peer = harness_peer(h, i);
		same &= peer->active == NULL && peer->pending == NULL && peer->sessions == 0 && !peer->freshness.proven;
	}
	return same;
}

/* As if damage had met the checksum too, or a program with a mistake had written it. */
static void seal_again(uint8_t *bytes)
{
	struct handover_head *head = (struct handover_head *)(void *)bytes;
	if (head->used >= sizeof *head && head->used <= size)
		handover_checksum(bytes, head->used, head->checksum);
}

Test(handover_damage, whatever_is_cut_off_is_refused)
{
	struct handover_import import;
	begin();
	for (size_t length = 0; length < size; length++)
		cr_assert_eq(read_bytes(original, length, &import), -EBADMSG, "%zu of %zu bytes", length, size);
	cr_assert(nothing_changed());
	cr_assert_eq(read_bytes(original, size, &import), 0);
	end();
}

/* With a head that says so, and a checksum of it. */
Test(handover_damage, records_that_end_early_are_refused)
{
	struct handover_import import;
	begin();
	uint8_t *bytes = malloc(size);
	for (size_t length = sizeof(struct handover_head); length < size; length += 4) {
		memcpy(bytes, original, size);
		((struct handover_head *)(void *)bytes)->used = length;
		seal_again(bytes);
		cr_assert_eq(read_bytes(bytes, size, &import), -EBADMSG, "%zu of %zu bytes", length, size);
	}
	cr_assert(nothing_changed());
	free(bytes);
	end();
}

Test(handover_damage, each_byte_counts)
{
	struct handover_import import;
	begin();
	uint8_t *bytes = malloc(size);
	memcpy(bytes, original, size);
	for (size_t at = 0; at < size; at++) {
		/* The word is not covered: it changes later. */
		bool covered = at < offsetof(struct handover_head, word) || at >= sizeof(struct handover_head);
		for (unsigned bit = 0; bit < 8; bit += 7) {
			bytes[at] ^= (uint8_t)(1u << bit);
			int result = read_bytes(bytes, size, &import);
			cr_assert(covered ? result == -EBADMSG || result == -EPROTONOSUPPORT : result == 0,
				  "byte %zu, bit %u: %d", at, bit, result);
			bytes[at] = original[at];
		}
	}
	cr_assert(nothing_changed());
	free(bytes);
	end();
}

/* What is refused is refused whole; what is not is a state that may be, and works. */
Test(handover_damage, with_a_right_checksum_it_is_refused_or_harmless)
{
	struct handover_import import;
	begin();
	uint8_t *bytes = malloc(size);
	size_t refused = 0, taken = 0;
	for (size_t at = 0; at < size; at++) {
		for (unsigned change = 0; change < 3; change++) {
			static const uint8_t values[] = {0xff, 0x80, 0x01};
			memcpy(bytes, original, size);
			bytes[at] ^= values[change];
			seal_again(bytes);
			if (read_bytes(bytes, size, &import) == 0)
				taken++;
			else
				refused++;
		}
	}
	cr_assert(nothing_changed());
	cr_assert_gt(refused, size / 8);
	cr_assert_gt(taken, size / 8, "of windows, keys and counts each value may be");
	free(bytes);
	end();
}

Test(handover_damage, another_version_is_refused_by_its_number)
{
	struct handover_import import;
	begin();
	uint8_t *bytes = malloc(size);
	memcpy(bytes, original, size);
	((struct handover_head *)(void *)bytes)->version = HANDOVER_VERSION + 1;
	seal_again(bytes);
	cr_assert_eq(read_bytes(bytes, size, &import), -EPROTONOSUPPORT);
	cr_assert_str_eq(fixture.error.text, "hand-over: records of version 3, and this program reads version 2");
	free(bytes);
	end();
}

/* --- records that contradict each other --------------------------------------------------------------------------- */

static struct handover_session *session_of(uint8_t *bytes, size_t number)
{
	const struct handover_head *head = (const struct handover_head *)(const void *)bytes;
	for (size_t at = sizeof *head; at < head->used;) {
		struct handover_record *record = (struct handover_record *)(void *)(bytes + at);
		if (record->kind == HANDOVER_SESSION && number-- == 0)
			return (struct handover_session *)record;
		at += record->size;
	}
	return NULL;
}

Test(handover_damage, records_that_contradict_each_other_are_refused)
{
	struct handover_import import;
	begin();
	uint8_t *bytes = malloc(size);
	for (unsigned what = 0; what < 9; what++) {
		memcpy(bytes, original, size);
		struct handover_session *one = session_of(bytes, 0), *other = session_of(bytes, 1);
		struct handover_key *key = (struct handover_key *)(void *)(one + 1);
		cr_assert(one != NULL && other != NULL);
		switch (what) {
		case 0: /* two sessions, one ID */
			one->id = other->id;
			break;
		case 1: /* two peers, one address */
			one->pool_index = other->pool_index;
			break;
		case 2: /* two confirmed sessions of one peer */
			memcpy(one->peer, other->peer, sizeof one->peer);
			break;
		case 3: /* the gateway's own address */
			one->pool_index = 1;
			break;
		case 4: /* pending, and has a key that seals */
			one->moving.state = SESSION_PENDING;
			break;
		case 5: /* from the future */
			one->moving.received = h->clock.monotonic + 1;
			break;
		case 6: /* a counter that has no room for the gap */
			key->counters.send_counter = TRANSPORT_COUNTER_LIMIT + 1;
			break;
		case 7: /* WireGuard's suite under our protocol */
			key->suite = AEAD_WIREGUARD;
			break;
		default: /* no epoch */
			key->epoch = 0;
		}
		seal_again(bytes);
		cr_assert_eq(read_bytes(bytes, size, &import), -EBADMSG, "case %u", what);
		cr_assert(nothing_changed());
	}
	free(bytes);
	end();
}

/* --- failures on the way ------------------------------------------------------------------------------------------ */

/* The nth key cannot be made: what was made before it is freed (LeakSanitizer), and the registry is as it was. */
Test(handover_damage, a_failure_at_each_session_leaves_nothing)
{
	struct handover_import import;
	begin();
	struct aead_engine *engine = aead_engine_new("sodium", NULL);
	cr_assert_not_null(engine);
	engine->suites[AEAD_AES_256_GCM] = NULL;
	fixture.target.engine = engine;
	uint8_t *bytes = malloc(size);
	for (size_t fails = 0; fails < CLIENTS - 1; fails++) {
		memcpy(bytes, original, size);
		struct handover_session *session;
		for (size_t i = 0; (session = session_of(bytes, i)) != NULL; i++) {
			struct handover_key *key = (struct handover_key *)(void *)(session + 1);
			key->suite = i == fails ? AEAD_AES_256_GCM : AEAD_CHACHA20_POLY1305;
		}
		seal_again(bytes);
		cr_assert_eq(read_bytes(bytes, size, &import), -ENOTSUP, "%zu", fails);
		cr_assert(import.sessions == NULL && nothing_changed());
	}
	free(bytes);
	aead_engine_free(engine);
	end();
}

/* --- the memory --------------------------------------------------------------------------------------------------- */

Test(handover_damage, memory_that_may_change_its_size_is_refused)
{
	struct handover_memory memory;
	struct error error;
	cr_assert_eq(handover_memory_new(&memory, 4096, &error), 0);
	int fd = dup(memory.fd);
	struct handover_memory other;
	cr_assert_eq(handover_memory_open(&other, fd, &error), -EINVAL);
	cr_assert_eq(fcntl(fd, F_GETFD), -1, "it is closed");
	cr_assert_eq(handover_memory_back(&memory, 8192, &error), 0);
	memory.bytes[5000] = 1;
	cr_assert_eq(handover_memory_seal(&memory, 65536, &error), 0);
	cr_assert_eq(handover_memory_open(&other, dup(memory.fd), &error), 0);
	cr_assert(other.size == 65536 && other.backed == 8192 && other.bytes[5000] == 1);
	cr_assert_eq(handover_memory_back(&memory, 20480, &error), 0, "within its size");
	cr_assert_eq(handover_memory_back(&memory, 65537, &error), -EPERM);
	memory.bytes[20000] = 1;
	cr_assert_eq(ftruncate(other.fd, 4096), -1);
	cr_assert_eq(ftruncate(other.fd, 131072), -1);
	cr_assert_eq(fcntl(memory.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);

	handover_memory_wipe(&other);
	cr_assert_eq(memory.bytes[5000], 0, "for the one that wrote it as well");
	cr_assert_eq(memory.bytes[20000], 0, "and what got pages later");
	handover_memory_close(&other);
	handover_memory_close(&memory);
	handover_memory_close(&memory);
	cr_assert_lt(handover_memory_open(&other, open("/dev/null", O_RDWR | O_CLOEXEC), &error), 0);
}
