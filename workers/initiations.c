// SPDX-License-Identifier: Apache-2.0
#include "workers/initiations.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/protocol/head.h"

enum { EXPIRED_AT_ONCE = 4 };

int initiations_init(struct initiations *table)
{
	*table = (struct initiations){.buckets = malloc(INITIATIONS_BUCKETS * sizeof *table->buckets)};
	CDS_INIT_LIST_HEAD(&table->ages);
	if (table->buckets == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < INITIATIONS_BUCKETS; i++)
		CDS_INIT_LIST_HEAD(&table->buckets[i]);
	return 0;
}

static void forget(struct initiations *table, struct sent_initiation *initiation)
{
	cds_list_del(&initiation->node);
	cds_list_del(&initiation->age);
	table->count--;
	sodium_memzero(initiation, sizeof *initiation);
	free(initiation);
}

static struct sent_initiation *oldest(const struct initiations *table)
{
	return caa_container_of(table->ages.next, struct sent_initiation, age);
}

void initiations_deinit(struct initiations *table)
{
	struct sent_initiation *initiation, *following;
	if (table->buckets == NULL)
		return;
	cds_list_for_each_entry_safe(initiation, following, &table->ages, age)
	{
		forget(table, initiation);
	}
	free(table->buckets);
	*table = (struct initiations){0};
}

/* A session ID's low bits are its slot, and those of one handshake thread have them in common only modulo the number of
 * threads, so they spread over the buckets well enough. */
static struct cds_list_head *bucket_of(const struct initiations *table, uint32_t session_id)
{
	return &table->buckets[(session_id * 0x9e3779b1u) >> 16 & (INITIATIONS_BUCKETS - 1)];
}

static struct sent_initiation *find(const struct initiations *table, uint32_t session_id)
{
	struct sent_initiation *initiation;
	cds_list_for_each_entry (initiation, bucket_of(table, session_id), node) {
		if (initiation->session_id == session_id)
			return initiation;
	}
	return NULL;
}

static struct sent_initiation *make(struct initiations *table, uint32_t session_id)
{
	if (table->count == INITIATIONS_MAX)
		forget(table, oldest(table));
	struct sent_initiation *initiation = calloc(1, sizeof *initiation);
	if (initiation == NULL)
		return NULL;
	initiation->session_id = session_id;
	cds_list_add(&initiation->node, bucket_of(table, session_id));
	cds_list_add_tail(&initiation->age, &table->ages);
	table->count++;
	return initiation;
}

struct sent_initiation *initiations_begin(struct initiations *table, uint32_t session_id, const uint8_t peer[KEY_SIZE],
					  uint64_t now)
{
	struct sent_initiation *initiation = find(table, session_id);
	if (initiation == NULL)
		initiation = make(table, session_id);
	if (initiation == NULL)
		return NULL;
	cds_list_del(&initiation->age);
	cds_list_add_tail(&initiation->age, &table->ages);
	bool fresh = now - initiation->cookie_at < WG_COOKIE_S * NS_PER_S;
	initiation->has_cookie &= fresh && memcmp(initiation->peer, peer, KEY_SIZE) == 0;
	initiation->waits = true;
	initiation->replied = false;
	initiation->sent = now;
	memcpy(initiation->peer, peer, KEY_SIZE);
	return initiation;
}

struct sent_initiation *initiations_awaited(const struct initiations *table, uint32_t index, uint64_t now)
{
	struct sent_initiation *initiation = find(table, wg_index_session_id(index));
	bool awaited = initiation != NULL && initiation->waits && initiation->epoch == wg_index_epoch(index) &&
		       now - initiation->sent < WG_REKEY_ATTEMPT_S * NS_PER_S;
	return awaited ? initiation : NULL;
}

void initiations_expire(struct initiations *table, uint64_t now)
{
	struct sent_initiation *initiation, *following;
	unsigned left = EXPIRED_AT_ONCE;
	cds_list_for_each_entry_safe(initiation, following, &table->ages, age)
	{
		if (left-- == 0 || now - initiation->sent < WG_COOKIE_S * NS_PER_S)
			break;
		forget(table, initiation);
	}
}
