// SPDX-License-Identifier: Apache-2.0
/* Keys of a session, and ECN through the tunnel. */
#include "core/sessions/session.h"

#include <criterion/criterion.h>

#include "core/base/clock.h"
#include "crypto/keys.h"
#include "tun/ecn.h"

static struct aead_engine *engine;

static void open_engine(void)
{
	struct error error = {0};
	cr_assert(keys_init(&error) == 0);
	engine = aead_engine_new("sodium", &error);
	cr_assert(engine != NULL, "%s", error.text);
}

static void close_engine(void)
{
	aead_engine_free(engine);
}

TestSuite(session, .init = open_engine, .fini = close_engine);

static struct transport_key *key(uint8_t epoch, uint64_t now)
{
	struct noise_keys secrets = {{epoch}, {epoch}};
	struct transport_key *made = transport_key_new(engine, AEAD_CHACHA20_POLY1305, epoch, &secrets,
						       TRANSPORT_GATEWAY, now);
	cr_assert(made != NULL);
	return made;
}

Test(session, keys_move_from_next_to_current_to_previous)
{
	struct session *session = session_new(7, 1);
	session_set_next(session, key(1, 1), 1);
	cr_assert(session_key(session, 1) == session->next);
	cr_assert(!session_promote(session), "the first key is no rekey");
	session->current->first_opened = 2;
	session_set_next(session, key(2, 3), 3);
	cr_assert(session_promote(session));
	cr_assert(session->current->epoch == 2 && session->previous->epoch == 1 && session->next == NULL);
	cr_assert(session->view.epoch == 2 && session->view.suite == AEAD_CHACHA20_POLY1305, "others see it");
	cr_assert(session_key(session, 1) == session->previous);
	cr_assert(session_key(session, 3) == NULL);
	cr_assert(session_key(session, 0) == NULL);
	session_free(session);
}

Test(session, an_unconfirmed_key_does_not_push_out_the_confirmed_one)
{
	struct session *session = session_new(7, 1);
	session_set_next(session, key(1, 1), 1);
	session_promote(session);
	session->current->first_opened = 2;
	session_set_next(session, key(2, 3), 3);
	session_promote(session); /* epoch 2 is current, but nothing ever came under it */
	session_set_next(session, key(2, 4), 4);
	session_promote(session);
	cr_assert(session->previous != NULL && session->previous->epoch == 1);
	session_free(session);
}

Test(session, keys_expire_when_they_are_due)
{
	const uint64_t start = 100 * NS_PER_S;
	struct session *session = session_new(7, start);
	session_set_next(session, key(1, start), start);
	session_expire_keys(session, start + SESSION_PENDING_NS - 1);
	cr_assert(session->next != NULL);
	session_expire_keys(session, start + SESSION_PENDING_NS);
	cr_assert(session->next == NULL, "not confirmed in time");

	session_set_next(session, key(1, start), start);
	session_promote(session);
	session->current->first_opened = start;
	session_set_next(session, key(2, start), start);
	session_promote(session);
	session_expire_keys(session, start + 60 * NS_PER_S);
	cr_assert(session->previous != NULL, "the new key was not used yet");
	session->current->first_opened = start + 60 * NS_PER_S;
	session_expire_keys(session, start + 70 * NS_PER_S - 1);
	cr_assert(session->previous != NULL);
	session_expire_keys(session, start + 70 * NS_PER_S);
	cr_assert(session->previous == NULL, "10 s after the first packet under the new one");
	session_expire_keys(session, start + DIALECT_OWN_KEY_MAX_AGE_NS - 1);
	cr_assert(session->current != NULL);
	session_expire_keys(session, start + DIALECT_OWN_KEY_MAX_AGE_NS);
	cr_assert(session->current == NULL, "no key outlives its greatest age");
	session_free(session);
}

Test(session, rekey_is_wanted_by_age_with_traffic_or_by_packets)
{
	const uint64_t start = 100 * NS_PER_S, interval = 120 * NS_PER_S;
	struct session *session = session_new(7, start);
	cr_assert(!session_wants_rekey(session, interval, start), "no key, no rekey");
	session_set_next(session, key(1, start), start);
	session_promote(session);
	cr_assert(!session_wants_rekey(session, interval, start + 2 * interval), "idle");
	session->data_moved = start + 1;
	cr_assert(!session_wants_rekey(session, interval, start + interval - 1));
	cr_assert(session_wants_rekey(session, interval, start + interval));
	session->current->send_counter = TRANSPORT_REKEY_PACKETS_JUMBO;
	session->mtu = 1420;
	cr_assert(!session_wants_rekey(session, interval, start));
	session->mtu = 9000;
	cr_assert(session_wants_rekey(session, interval, start));
	session->mtu = 1420;
	session->current->opened = TRANSPORT_REKEY_PACKETS;
	cr_assert(session_wants_rekey(session, interval, start));
	session_free(session);
}

Test(session, a_key_stops_before_its_counter_could_repeat)
{
	struct transport_key *spent = key(1, 1);
	spent->send_counter = TRANSPORT_COUNTER_LIMIT - 1;
	cr_assert(!transport_key_spent(spent));
	spent->send_counter++;
	cr_assert(transport_key_spent(spent));
	transport_key_free(spent);
}

/* RFC 6040, figure 4: rows are the inner field, columns the outer one; -1 is a drop. In the order of the codepoints:
 * Not-ECT, ECT(1), ECT(0), CE. */
static const int decapsulated[4][4] = {
	[ECN_NOT_ECT] = {ECN_NOT_ECT, ECN_NOT_ECT, ECN_NOT_ECT, -1},
	[ECN_ECT1] = {ECN_ECT1, ECN_ECT1, ECN_ECT1, ECN_CE},
	[ECN_ECT0] = {ECN_ECT0, ECN_ECT1, ECN_ECT0, ECN_CE},
	[ECN_CE] = {ECN_CE, ECN_CE, ECN_CE, ECN_CE},
};

static void fill_packet(uint8_t packet[40], unsigned version, unsigned ecn)
{
	memset(packet, 0, 40);
	if (version == 4) {
		packet[0] = 0x45;
		packet[1] = (uint8_t)(0xb8 | ecn);
		store_be16(packet + 2, 40);
		packet[8] = 64;
		packet[9] = 253;
		memcpy(packet + 12, "\x0a\x08\x00\x02\x0a\x08\x00\x01", 8);
		uint32_t sum = 0;
		for (size_t i = 0; i < 20; i += 2)
			sum += load_be16(packet + i);
		while (sum >> 16 != 0)
			sum = (sum & 0xffff) + (sum >> 16);
		store_be16(packet + 10, (uint16_t)~sum);
	} else {
		packet[0] = 0x6b;
		packet[1] = (uint8_t)(0x85 | ecn << 4);
		packet[6] = 59;
		packet[7] = 64;
	}
}

static uint16_t header_sum(const uint8_t *packet)
{
	uint32_t sum = 0;
	for (size_t i = 0; i < 20; i += 2)
		sum += load_be16(packet + i);
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

Test(ecn, follows_rfc_6040)
{
	for (unsigned version = 4; version <= 6; version += 2) {
		for (unsigned own = 0; own < 4; own++) {
			for (unsigned outer = 0; outer < 4; outer++) {
				uint8_t packet[40], before[40];
				struct inner inner;
				fill_packet(packet, version, own);
				memcpy(before, packet, sizeof before);
				cr_assert(inner_parse(&inner, packet, sizeof packet));
				cr_assert(ecn_get(&inner) == own);
				bool kept = ecn_decapsulate(&inner, (uint8_t)outer);
				int expected = decapsulated[own][outer];
				cr_assert(kept == (expected >= 0), "IPv%u %u %u", version, own, outer);
				if (kept)
					cr_assert(ecn_get(&inner) == expected, "IPv%u %u %u", version, own, outer);
				if (version == 4)
					cr_assert(header_sum(packet) == 0xffff);
				packet[1] = before[1];
				memcpy(packet + 10, before + 10, 2);
				cr_assert(memcmp(packet, before, sizeof packet) == 0, "nothing else changed");
			}
		}
	}
}
