// SPDX-License-Identifier: Apache-2.0
#include "core/peer.h"

#include <stdlib.h>

int peers_init(struct peers *peers, size_t count, struct error *error)
{
	*peers = (struct peers){.count = count};
	if (count == 0)
		return 0;
	peers->list = secret_new(count * sizeof *peers->list);
	peers->by_key = calloc(count, sizeof(struct peer *));
	if (peers->list == NULL || peers->by_key == NULL) {
		peers_deinit(peers);
		return error_set(error, -ENOMEM, "%zu peers: out of memory", count);
	}
	memset(peers->list, 0, count * sizeof *peers->list);
	for (size_t i = 0; i < count; i++) {
		peers->list[i].fixed_index = peers->list[i].last_index = POOL_NONE;
		peers->by_key[i] = &peers->list[i];
	}
	return 0;
}

void peers_deinit(struct peers *peers)
{
	secret_free(peers->list);
	free(peers->by_key);
	*peers = (struct peers){0};
}

static int compare_peers(const void *a, const void *b)
{
	const struct peer *const *one = a, *const *other = b;
	return memcmp((*one)->public_key, (*other)->public_key, KEY_SIZE);
}

void peers_sort(struct peers *peers)
{
	if (peers->count > 1)
		qsort(peers->by_key, peers->count, sizeof(struct peer *), compare_peers);
}

static int compare_key(const void *key, const void *peer)
{
	return memcmp(key, (*(const struct peer *const *)peer)->public_key, KEY_SIZE);
}

struct peer *peers_find(const struct peers *peers, const uint8_t public_key[KEY_SIZE])
{
	if (peers->count == 0)
		return NULL;
	struct peer **found = bsearch(public_key, peers->by_key, peers->count, sizeof(struct peer *), compare_key);
	return found != NULL ? *found : NULL;
}
