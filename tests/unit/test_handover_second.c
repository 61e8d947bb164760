// SPDX-License-Identifier: Apache-2.0
/* The second part of a hand-over, cut off or altered: it is refused whole, and the new gateway lets go of what it had
 * made of the first. */
#include "core/handover/moving.h"
#include "core/handover/reader.h"
#include "core/handover/writer.h"
#include "tests/unit/handover_fixture.h"

TestSuite(handover_second, .timeout = 120);

enum { CLIENTS = 4 };

static struct harness *h;
static struct handover_fixture fixture;
static uint8_t *original; /* both parts, one behind the other */
static size_t first_size, second_size;

static struct handover_head *head_of(uint8_t *part)
{
	return (struct handover_head *)(void *)part;
}

/* Client 0 sends between the parts, 1 roams, 2 leaves. */
static void begin(void)
{
	h = START_UP(.clients = CLIENTS, .max_sessions = 4, .limits[0] = {.quota = 1 << 30});
	for (size_t i = 0; i < CLIENTS; i++)
		cr_assert(harness_ping(h, i, TO_GATEWAY) && harness_ping(h, i, TO_CLIENT));
	cr_assert_eq(fixture_begin(&fixture, h), 0);
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	link_move(&h->clients[1].node.link, network_address("2001:db8::77", 99));
	cr_assert(harness_ping(h, 1, TO_GATEWAY));
	harness_stop_client(h, 2, true);
	harness_pump(h);
	cr_assert_eq(fixture_end(&fixture, h), 0);
	uint8_t *bytes = fixture.memory.bytes;
	first_size = head_of(bytes)->used;
	second_size = head_of(bytes + head_of(bytes)->second)->used;
	original = aligned_alloc(8, first_size + second_size);
	memcpy(original, bytes, first_size);
	memcpy(original + first_size, bytes + head_of(bytes)->second, second_size);
	head_of(original)->second = first_size;
	head_of(original)->second_room = second_size;
	handover_checksum(original, first_size, head_of(original)->checksum);
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	fixture_aim(&fixture, h);
}

static void end(void)
{
	free(original);
	fixture_close(&fixture);
	harness_free(h);
}

/* Whether the second part, of so many bytes, is refused; the first is right. Memory ends behind them: ASan sees what
 * reads further. */
static int try_second(const uint8_t *second, size_t length)
{
	struct handover_import import;
	size_t size = first_size + length;
	uint8_t *copy = aligned_alloc(8, (size + 7) / 8 * 8);
	memcpy(copy, original, first_size);
	memcpy(copy + first_size, second, length);
	head_of(copy)->second_room = length;
	handover_checksum(copy, first_size, head_of(copy)->checksum);
	struct handover_memory memory = {.fd = -1, .bytes = copy, .size = size};
	cr_assert_eq(handover_read(&import, &memory, &fixture.target, &fixture.error), 0, "%s", fixture.error.text);
	int result = handover_check_moved(&import, h->clock.monotonic, &fixture.error);
	handover_discard(&import);
	free(copy);
	return result;
}

static void seal_again(uint8_t *second)
{
	if (head_of(second)->used >= sizeof(struct handover_head) && head_of(second)->used <= second_size)
		handover_checksum(second, head_of(second)->used, head_of(second)->checksum);
}

Test(handover_second, whatever_is_cut_off_is_refused)
{
	begin();
	for (size_t length = 0; length < second_size; length++)
		cr_assert_eq(try_second(original + first_size, length), -EBADMSG, "%zu of %zu bytes", length,
			     second_size);
	cr_assert_eq(try_second(original + first_size, second_size), 0);
	end();
}

Test(handover_second, each_byte_counts)
{
	begin();
	uint8_t *second = malloc(second_size);
	memcpy(second, original + first_size, second_size);
	for (size_t at = 0; at < second_size; at++) {
		bool covered = at < offsetof(struct handover_head, word) || at >= sizeof(struct handover_head);
		second[at] ^= 0x80;
		int result = try_second(second, second_size);
		cr_assert(covered ? result == -EBADMSG || result == -EPROTONOSUPPORT : result == 0, "byte %zu: %d", at,
			  result);
		second[at] = original[first_size + at];
	}
	free(second);
	end();
}

/* What a program with a mistake may write: refused, or a state that may be. */
Test(handover_second, with_a_right_checksum_it_is_refused_or_harmless)
{
	begin();
	uint8_t *second = malloc(second_size);
	size_t refused = 0, taken = 0;
	for (size_t at = sizeof(struct handover_head); at < second_size; at++) {
		memcpy(second, original + first_size, second_size);
		second[at] ^= 0xff;
		seal_again(second);
		if (try_second(second, second_size) == 0)
			taken++;
		else
			refused++;
	}
	cr_assert_gt(refused, second_size / 20);
	cr_assert_gt(taken, second_size / 20);
	free(second);
	end();
}

static void *find(uint8_t *second, enum handover_kind kind, size_t number)
{
	for (size_t at = sizeof(struct handover_head); at < second_size;) {
		struct handover_record *record = (struct handover_record *)(void *)(second + at);
		if (record->kind == kind && number-- == 0)
			return record;
		at += record->size;
	}
	return NULL;
}

Test(handover_second, what_contradicts_the_first_part_is_refused)
{
	begin();
	uint8_t *second = malloc(second_size);
	for (unsigned what = 0; what < 11; what++) {
		memcpy(second, original + first_size, second_size);
		struct handover_moment *moment = find(second, HANDOVER_MOMENT, 0);
		struct handover_moved *one = find(second, HANDOVER_MOVED, 0), *other = find(second, HANDOVER_MOVED, 1);
		struct handover_gone *gone = find(second, HANDOVER_GONE, 0);
		cr_assert(moment != NULL && one != NULL && other != NULL && gone != NULL);
		struct handover_moved_key *key = (struct handover_moved_key *)(void *)(one + 1);
		switch (what) {
		case 0: /* another number of sessions */
			moment->sessions++;
			break;
		case 1: /* another session's ID */
			one->id = other->id;
			break;
		case 2: /* the same session twice */
			other->index = one->index;
			other->id = one->id;
			break;
		case 3: /* none of them */
			gone->index = CLIENTS;
			break;
		case 4: /* from the future */
			one->moving.received = h->clock.monotonic + 1;
			break;
		case 5:
			moment->now = h->clock.monotonic + 1;
			break;
		case 6: /* a key that the first part cannot have */
			key->was = HANDOVER_KEYS;
			break;
		case 7: /* more words than the ring has */
			key->count[0] = HANDOVER_WINDOW_WORDS + 1;
			break;
		case 8: /* a counter that has no room for the gap */
			key->counters.send_counter = TRANSPORT_COUNTER_LIMIT + 1;
			break;
		case 9: /* of the first part */
			moment->record.kind = HANDOVER_GATEWAY;
			break;
		default: /* a key that is not there */
			one->moving.keys = HANDOVER_CURRENT | HANDOVER_PREVIOUS;
		}
		seal_again(second);
		cr_assert_eq(try_second(second, second_size), -EBADMSG, "case %u", what);
	}
	free(second);
	end();
}

/* Where it is, the first part says. */
Test(handover_second, one_that_is_not_in_the_memory_is_refused)
{
	static const uint64_t places[] = {0, 8, UINT64_MAX, 1 << 30};
	begin();
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		struct handover_memory memory = {.fd = -1, .bytes = original, .size = first_size + second_size};
		struct handover_import import;
		head_of(original)->second = places[i];
		handover_checksum(original, first_size, head_of(original)->checksum);
		cr_assert_eq(handover_read(&import, &memory, &fixture.target, &fixture.error), 0);
		cr_assert_eq(handover_check_moved(&import, h->clock.monotonic, &fixture.error), -EBADMSG);
		handover_discard(&import);
	}
	end();
}
