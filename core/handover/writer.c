// SPDX-License-Identifier: Apache-2.0
#include "core/handover/writer.h"

#include <sodium.h>

enum { ALIGNMENT = 8 };

_Static_assert(HANDOVER_CHECKSUM_SIZE == crypto_shorthash_siphashx24_BYTES, "the whole of it");

static size_t aligned(size_t size)
{
	return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static bool make_room(struct handover_writer *writer, size_t size)
{
	size_t has = writer->memory->size;
	if (size <= has - writer->used)
		return true;
	while (size > has - writer->used)
		has *= 2;
	writer->result = handover_memory_grow(writer->memory, has, writer->error);
	return writer->result == 0;
}

void *handover_put(struct handover_writer *writer, enum handover_kind kind, size_t size)
{
	size = aligned(size);
	if (writer->result != 0 || !make_room(writer, size))
		return NULL;
	struct handover_record *record = (struct handover_record *)(void *)(writer->memory->bytes + writer->used);
	*record = (struct handover_record){.kind = kind, .size = (uint32_t)size};
	writer->used += size;
	writer->records++;
	return record;
}

void handover_checksum(const uint8_t *bytes, size_t used, uint8_t checksum[HANDOVER_CHECKSUM_SIZE])
{
	/* Of the head first, which then is the key of what follows it. */
	uint8_t zero[crypto_shorthash_siphashx24_KEYBYTES] = {0}, key[crypto_shorthash_siphashx24_KEYBYTES];
	crypto_shorthash_siphashx24(key, bytes, offsetof(struct handover_head, checksum), zero);
	crypto_shorthash_siphashx24(checksum, bytes + sizeof(struct handover_head), used - sizeof(struct handover_head),
				    key);
}

void handover_head_write(uint8_t *bytes, size_t used, uint32_t records)
{
	struct handover_head *head = (struct handover_head *)(void *)bytes;
	memcpy(head->magic, HANDOVER_MAGIC, sizeof head->magic);
	head->version = HANDOVER_VERSION;
	head->records = records;
	head->used = used;
	handover_checksum(bytes, used, head->checksum);
	atomic_store_explicit(&head->word, HANDOVER_OLD, memory_order_release);
}
