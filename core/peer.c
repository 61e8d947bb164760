// SPDX-License-Identifier: Apache-2.0
#include "core/peer.h"

#include <stdlib.h>

int peers_init(struct peers *peers, size_t count, struct error *error)
{
	*peers = (struct peers){.count = count};
	if (count == 0)
		return 0;
	peers->list = secret_new(count * sizeof *peers->list);
	if (peers->list == NULL)
		return error_set(error, -ENOMEM, "%zu peers: out of memory", count);
	memset(peers->list, 0, count * sizeof *peers->list);
	for (size_t i = 0; i < count; i++)
		peers->list[i].fixed_index = peers->list[i].last_index = POOL_NONE;
	return 0;
}

void peers_deinit(struct peers *peers)
{
	if (peers->list != NULL)
		secret_free(peers->list);
	*peers = (struct peers){0};
}

static int compare_peers(const void *a, const void *b)
{
	return memcmp(((const struct peer *)a)->public_key, ((const struct peer *)b)->public_key, KEY_SIZE);
}

void peers_sort(struct peers *peers)
{
	if (peers->count > 1)
		qsort(peers->list, peers->count, sizeof *peers->list, compare_peers);
}

static int compare_key(const void *key, const void *peer)
{
	return memcmp(key, ((const struct peer *)peer)->public_key, KEY_SIZE);
}

struct peer *peers_find(const struct peers *peers, const uint8_t public_key[KEY_SIZE])
{
	if (peers->count == 0)
		return NULL;
	return bsearch(public_key, peers->list, peers->count, sizeof *peers->list, compare_key);
}
