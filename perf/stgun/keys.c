// SPDX-License-Identifier: Apache-2.0
#include "perf/stgun/keys.h"

#include <string.h>

#include "core/base/bytes.h"
#include "crypto/noise.h"

void seed_init(struct seed *seed, const char *text)
{
	key_derive(seed->root, sizeof seed->root, NULL, 0, "stgun seed", text, strlen(text));
}

void seed_private_key(const struct seed *seed, uint32_t number, uint8_t private_key[KEY_SIZE])
{
	uint8_t bytes[4];
	store_be32(bytes, number);
	key_derive(private_key, KEY_SIZE, seed->root, sizeof seed->root, "stgun key", bytes, sizeof bytes);
}

struct ip_address seed_address(const struct ip_address *first, uint32_t number)
{
	struct ip_address address = *first;
	uint8_t *low = address.bytes + (first->family == 4 ? 0 : 12);
	store_be32(low, load_be32(low) + number);
	return address;
}

void seed_print_peers(FILE *out, const struct seed *seed, uint32_t first, uint32_t count, const char *psk_file,
		      const struct ip_address *address)
{
	for (uint32_t i = 0; i < count; i++) {
		uint8_t private_key[KEY_SIZE], public_key[KEY_SIZE];
		char text[KEY_TEXT_SIZE];
		seed_private_key(seed, first + i, private_key);
		noise_public_key(private_key, public_key);
		key_format(public_key, text);
		fprintf(out, "\n[Peer]\nPublicKey = %s\n", text);
		if (psk_file != NULL)
			fprintf(out, "PresharedKeyFile = %s\n", psk_file);
		if (address == NULL)
			continue;
		char inner[IP_TEXT_MAX];
		struct ip_address own = seed_address(address, first + i);
		fprintf(out, "Protocol = wireguard\nAddress = %s\n", ip_address_format(&own, inner));
	}
}
