// SPDX-License-Identifier: Apache-2.0
/* Pre-shared keys as a cluster keeps them outside of its gateways. */
#include "core/cluster/sealed_psk.h"

#include <criterion/criterion.h>
#include <string.h>

static const uint8_t ours[KEY_SIZE] = {1}, other[KEY_SIZE] = {2}, peer[KEY_SIZE] = {3}, psk[KEY_SIZE] = {4, 5, 6};

Test(sealed_psk, opens_for_its_peer_under_the_shared_key_alone)
{
	char text[SEALED_PSK_TEXT_SIZE], again[SEALED_PSK_TEXT_SIZE];
	uint8_t out[KEY_SIZE] = {9};
	cr_assert_eq(keys_init(NULL), 0);
	sealed_psk_write(ours, peer, psk, text);
	sealed_psk_write(ours, peer, psk, again);
	cr_assert_eq(strlen(text), 96);
	cr_assert_neq(strcmp(text, again), 0, "each has a nonce of its own");
	cr_assert(!sealed_psk_read(other, peer, text, out) && !sealed_psk_read(ours, other, text, out));
	cr_assert_eq(out[0], 9, "as before");
	cr_assert(sealed_psk_read(ours, peer, text, out) && memcmp(out, psk, KEY_SIZE) == 0);
}

Test(sealed_psk, a_changed_or_other_text_is_none)
{
	char text[SEALED_PSK_TEXT_SIZE + 1];
	uint8_t out[KEY_SIZE];
	cr_assert_eq(keys_init(NULL), 0);
	sealed_psk_write(ours, peer, psk, text);
	for (size_t i = 0; i < SEALED_PSK_TEXT_SIZE - 1; i++) {
		char was = text[i];
		text[i] = was == 'A' ? 'B' : 'A';
		cr_assert(!sealed_psk_read(ours, peer, text, out), "%zu", i);
		text[i] = '!';
		cr_assert(!sealed_psk_read(ours, peer, text, out));
		text[i] = '\0';
		cr_assert(!sealed_psk_read(ours, peer, text, out));
		text[i] = was;
	}
	text[SEALED_PSK_TEXT_SIZE - 1] = 'A';
	text[SEALED_PSK_TEXT_SIZE] = '\0';
	cr_assert(!sealed_psk_read(ours, peer, text, out), "longer");
	cr_assert(!sealed_psk_read(ours, peer, "", out));
}
