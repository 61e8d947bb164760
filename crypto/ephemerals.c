// SPDX-License-Identifier: Apache-2.0
#include "crypto/ephemerals.h"

#include <errno.h>
#include <sodium.h>

#include "crypto/keys.h"

int ephemerals_init(struct ephemerals *ephemerals, uint32_t size)
{
	*ephemerals = (struct ephemerals){.pairs = secret_new(size * sizeof *ephemerals->pairs), .size = size};
	return ephemerals->pairs != NULL ? 0 : -ENOMEM;
}

void ephemerals_deinit(struct ephemerals *ephemerals)
{
	secret_free(ephemerals->pairs);
	*ephemerals = (struct ephemerals){0};
}

static void make(struct noise_keypair *pair)
{
	randombytes_buf(pair->private_key, sizeof pair->private_key);
	noise_public_key(pair->private_key, pair->public_key);
}

bool ephemerals_prepare(struct ephemerals *ephemerals)
{
	if (ephemerals->count == ephemerals->size)
		return false;
	make(&ephemerals->pairs[ephemerals->count++]);
	return true;
}

void ephemerals_take(struct ephemerals *ephemerals, struct noise_keypair *pair)
{
	if (ephemerals->count == 0) {
		make(pair);
		return;
	}
	struct noise_keypair *prepared = &ephemerals->pairs[--ephemerals->count];
	*pair = *prepared;
	sodium_memzero(prepared, sizeof *prepared);
}
