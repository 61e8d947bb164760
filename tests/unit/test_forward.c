// SPDX-License-Identifier: Apache-2.0
/* FORWARD between the gateways of a cluster: its layout, and what strangers make of it. core/protocol/PROTOCOL.md, 6.
 */
#include "core/cluster/forward.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <string.h>

#include "core/base/bytes.h"

#define WALL (1700000000 * NS_PER_S)
#define NOW  (1000 * NS_PER_S)

static struct forward_key key;
static struct forward_sender sender;
static struct forward_guard guard;

static void begin(void)
{
	static const uint8_t private_key[KEY_SIZE] = {1, 2, 3};
	cr_assert_eq(keys_init(NULL), 0);
	forward_key_init(&key, private_key);
	forward_sender_init(&sender);
	guard = (struct forward_guard){0};
}

TestSuite(forward, .init = begin);

static struct forwarded hello(uint32_t length)
{
	struct forwarded from = {.source = {.sin6_family = AF_INET6, .sin6_port = htons(40000)}, .length = length};
	cr_assert_eq(inet_pton(AF_INET6, "::ffff:198.51.100.7", &from.source.sin6_addr), 1);
	cr_assert_eq(inet_pton(AF_INET6, "::ffff:192.0.2.1", &from.local), 1);
	for (uint32_t i = 0; i < length; i++)
		from.message[i] = (uint8_t)(i * 7 + 1);
	return from;
}

static enum forward_verdict take(const uint8_t *datagram, size_t length, struct forwarded *out)
{
	return forward_read(&key, &guard, WALL, NOW, datagram, length, out);
}

static void survives(uint32_t length, bool proven)
{
	uint8_t datagram[FORWARD_MAX];
	struct forwarded in = hello(length), out;
	in.proven = proven;
	size_t size = forward_write(&key, &sender, WALL, &in, datagram);
	cr_assert_eq(size, FORWARD_HEADER + FORWARD_SOURCE + length + FORWARD_TAG);
	cr_assert_eq(take(datagram, size, &out), FORWARD_TAKEN);
	cr_assert(out.length == length && out.proven == proven && memcmp(out.message, in.message, length) == 0);
	cr_assert(memcmp(&out.source, &in.source, sizeof in.source) == 0);
	cr_assert(memcmp(&out.local, &in.local, sizeof in.local) == 0);
}

Test(forward, carries_a_message_and_where_it_came_from)
{
	survives(1200, false);
	survives(1200, true);
	survives(148, true);
	survives(1, false);
}

/* As the document has it, so that another implementation can be written from it. */
Test(forward, has_the_layout_of_the_document)
{
	uint8_t datagram[FORWARD_MAX];
	struct forwarded in = hello(1200);
	size_t size = forward_write(&key, &sender, WALL, &in, datagram);
	cr_assert_eq(size, 1279);
	cr_assert(memcmp(datagram, "\x01\0\0\0", 4) == 0);
	cr_assert_eq(load_be64(datagram + 4), sender.number);
	cr_assert_eq(load_be64(datagram + 12), 1);
	cr_assert_eq(load_be64(datagram + 20), WALL);
	forward_write(&key, &sender, WALL, &in, datagram);
	cr_assert_eq(load_be64(datagram + 12), 2);
}

Test(forward, from_a_stranger_is_nothing)
{
	static const uint8_t other_private[KEY_SIZE] = {1, 2, 4};
	uint8_t datagram[FORWARD_MAX];
	struct forward_key other;
	struct forwarded in = hello(1200), out = {.length = 77};
	forward_key_init(&other, other_private);
	size_t size = forward_write(&other, &sender, WALL, &in, datagram);
	cr_assert_eq(take(datagram, size, &out), FORWARD_FORGED);
	cr_assert_eq(out.length, 77, "nothing was written");
}

/* One bit of any byte, header and all. */
Test(forward, a_changed_bit_is_seen)
{
	uint8_t datagram[FORWARD_MAX];
	struct forwarded in = hello(148), out;
	size_t size = forward_write(&key, &sender, WALL, &in, datagram);
	for (size_t bit = 0; bit < 8 * size; bit++) {
		datagram[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_neq(take(datagram, size, &out), FORWARD_TAKEN, "bit %zu", bit);
		datagram[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	cr_assert_eq(take(datagram, size, &out), FORWARD_TAKEN, "none of these used it up");
}

Test(forward, a_truncated_one_is_nothing)
{
	uint8_t datagram[FORWARD_MAX + 1];
	struct forwarded in = hello(1200), out;
	size_t size = forward_write(&key, &sender, WALL, &in, datagram);
	for (size_t length = 0; length < size; length++)
		cr_assert_neq(take(datagram, length, &out), FORWARD_TAKEN);
	cr_assert_eq(take(datagram, FORWARD_MIN - 1, &out), FORWARD_MALFORMED);
	cr_assert_eq(take(datagram, size + 1, &out), FORWARD_MALFORMED);
}

Test(forward, is_taken_once)
{
	uint8_t datagrams[100][FORWARD_MAX];
	struct forwarded in = hello(148), out;
	size_t size = 0;
	for (size_t i = 0; i < 100; i++)
		size = forward_write(&key, &sender, WALL, &in, datagrams[i]);
	cr_assert_eq(take(datagrams[0], size, &out), FORWARD_TAKEN);
	cr_assert_eq(take(datagrams[0], size, &out), FORWARD_REPEATED);
	cr_assert_eq(take(datagrams[63], size, &out), FORWARD_TAKEN);
	for (size_t i = 62; i > 0; i--)
		cr_assert_eq(take(datagrams[i], size, &out), FORWARD_TAKEN, "%zu came late", i);
	for (size_t i = 0; i <= 63; i++)
		cr_assert_eq(take(datagrams[i], size, &out), FORWARD_REPEATED, "%zu", i);
	cr_assert_eq(take(datagrams[99], size, &out), FORWARD_TAKEN);
	cr_assert_eq(take(datagrams[63], size, &out), FORWARD_REPEATED);
	cr_assert_eq(take(datagrams[64], size, &out), FORWARD_TAKEN);
}

Test(forward, is_too_far_behind_after_64_others)
{
	uint8_t first[FORWARD_MAX], datagram[FORWARD_MAX];
	struct forwarded in = hello(148), out;
	size_t size = forward_write(&key, &sender, WALL, &in, first);
	for (size_t i = 0; i < 64; i++)
		(void)forward_write(&key, &sender, WALL, &in, datagram);
	cr_assert_eq(take(datagram, size, &out), FORWARD_TAKEN);
	cr_assert_eq(take(first, size, &out), FORWARD_REPEATED);
}

Test(forward, has_to_be_of_now)
{
	uint8_t datagram[FORWARD_MAX];
	struct forwarded in = hello(148), out;
	const struct {
		uint64_t sent;
		enum forward_verdict verdict;
	} cases[] = {{WALL - FORWARD_LIFE_NS, FORWARD_TAKEN},
		     {WALL + FORWARD_LIFE_NS, FORWARD_TAKEN},
		     {WALL - FORWARD_LIFE_NS - 1, FORWARD_LATE},
		     {WALL + FORWARD_LIFE_NS + 1, FORWARD_LATE},
		     {0, FORWARD_LATE},
		     {UINT64_MAX, FORWARD_LATE}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t size = forward_write(&key, &sender, cases[i].sent, &in, datagram);
		cr_assert_eq(take(datagram, size, &out), cases[i].verdict, "%zu", i);
	}
}

/* A recording is late before the place of its sender is free for another one. */
Test(forward, a_recording_stays_nothing)
{
	uint8_t datagram[FORWARD_MAX], other[FORWARD_MAX];
	struct forwarded in = hello(148), out;
	size_t size = forward_write(&key, &sender, WALL + FORWARD_LIFE_NS, &in, datagram);
	cr_assert_eq(take(datagram, size, &out), FORWARD_TAKEN);
	for (uint64_t passed = 0; passed < 40 * NS_PER_S; passed += NS_PER_S / 2) {
		struct forward_sender another;
		forward_sender_init(&another);
		(void)forward_write(&key, &another, WALL + passed, &in, other);
		cr_assert_eq(forward_read(&key, &guard, WALL + passed, NOW + passed, other, size, &out), FORWARD_TAKEN);
		cr_assert_neq(forward_read(&key, &guard, WALL + passed, NOW + passed, datagram, size, &out),
			      FORWARD_TAKEN, "%llu", (unsigned long long)passed);
	}
}

Test(forward, senders_are_bounded_and_make_room_when_they_are_silent)
{
	uint8_t datagram[FORWARD_MAX];
	struct forwarded in = hello(148), out;
	struct forward_sender one;
	size_t size = 0;
	for (size_t i = 0; i < FORWARD_SENDERS; i++) {
		forward_sender_init(&one);
		size = forward_write(&key, &one, WALL, &in, datagram);
		cr_assert_eq(take(datagram, size, &out), FORWARD_TAKEN);
	}
	forward_sender_init(&one);
	(void)forward_write(&key, &one, WALL, &in, datagram);
	cr_assert_eq(take(datagram, size, &out), FORWARD_REPEATED, "no room");
	uint64_t later = 30 * NS_PER_S;
	(void)forward_write(&key, &one, WALL + later, &in, datagram);
	cr_assert_eq(forward_read(&key, &guard, WALL + later, NOW + later, datagram, size, &out), FORWARD_TAKEN);
}

Test(forward, a_link_local_source_means_nothing_elsewhere)
{
	struct forwarded in = hello(148);
	cr_assert(forward_possible(&in.source));
	in.source.sin6_scope_id = 2;
	cr_assert(!forward_possible(&in.source));
	in.source.sin6_scope_id = 0;
	cr_assert_eq(inet_pton(AF_INET6, "fe80::1", &in.source.sin6_addr), 1);
	cr_assert(!forward_possible(&in.source));
}
