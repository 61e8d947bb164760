// SPDX-License-Identifier: Apache-2.0
/* The generator's clients have keys that follow from one seed and a number, so that a million of them need not be
 * stored. The seed gives all private keys away: they are for gateways under test. */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "core/base/ip.h"
#include "crypto/keys.h"

struct seed {
	uint8_t root[KEY_SIZE];
};

/* From any text. After keys_init(). */
void seed_init(struct seed *seed, const char *text);

/* Private key of client `number`: BLAKE2b-256(root, "stgun key" || number as u32). */
void seed_private_key(const struct seed *seed, uint32_t number, uint8_t private_key[KEY_SIZE]);

/* The inner address of client `number`, when client 0 has `first`. */
struct ip_address seed_address(const struct ip_address *first, uint32_t number);

/* Writes a gateway's [Peer] sections for clients `first` to first + count - 1. `psk_file`: the path for
 * PresharedKeyFile, or NULL. `address`: that of client 0, of clients that speak WireGuard; NULL: they do not. Costs
 * about 45 us each. */
void seed_print_peers(FILE *out, const struct seed *seed, uint32_t first, uint32_t count, const char *psk_file,
		      const struct ip_address *address);
