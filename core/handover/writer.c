// SPDX-License-Identifier: Apache-2.0
#include "core/handover/writer.h"

enum {
	ALIGNMENT = 8,
	LANES = 4,
	STEP = 4 << 20, /* bytes that get pages at once */
};

static size_t aligned(size_t size)
{
	return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

void handover_writer_begin(struct handover_writer *writer, struct handover_memory *memory, size_t start, size_t most,
			   struct error *error)
{
	*writer = (struct handover_writer){.memory = memory,
					   .start = start,
					   .used = start + sizeof(struct handover_head),
					   .most = most,
					   .error = error};
}

/* A part that outgrows what it may have is the caller's mistake, and no memory is left for it. */
bool handover_writer_reserve(struct handover_writer *writer, size_t bytes)
{
	if (writer->result != 0)
		return false;
	size_t end = writer->used + bytes;
	if (end <= writer->memory->backed)
		return true;
	size_t ahead = end + STEP < writer->most ? end + STEP : writer->most;
	if (end > writer->most)
		writer->result = error_set(writer->error, -ENOSPC, "hand-over: memory: there is not enough");
	else
		writer->result = handover_memory_back(writer->memory, ahead, writer->error);
	return writer->result == 0;
}

void *handover_put(struct handover_writer *writer, enum handover_kind kind, size_t size)
{
	size = aligned(size);
	if (!handover_writer_reserve(writer, size))
		return NULL;
	struct handover_record *record = (struct handover_record *)(void *)(writer->memory->bytes + writer->used);
	*record = (struct handover_record){.kind = kind, .size = (uint32_t)size};
	writer->used += size;
	writer->records++;
	return record;
}

/* One to one in either argument, so that no change of a single word is lost. */
static uint64_t mix(uint64_t lane, uint64_t word)
{
	lane = (lane ^ word) * 0x9e3779b97f4a7c15u; /* odd */
	return lane << 31 | lane >> 33;
}

/* The CPU multiplies for several lanes at once. */
static void add_to(uint64_t lanes[LANES], const uint8_t *bytes, size_t size)
{
	uint64_t words[LANES];
	for (; size >= sizeof words; bytes += sizeof words, size -= sizeof words) {
		memcpy(words, bytes, sizeof words);
		for (size_t i = 0; i < LANES; i++)
			lanes[i] = mix(lanes[i], words[i]);
	}
	memset(words, 0, sizeof words);
	memcpy(words, bytes, size);
	for (size_t i = 0; i < LANES; i++)
		lanes[i] = mix(lanes[i], words[i] + size);
}

void handover_checksum(const uint8_t *bytes, size_t used, uint8_t checksum[HANDOVER_CHECKSUM_SIZE])
{
	uint64_t lanes[LANES] = {1, 2, 3, 4};
	add_to(lanes, bytes, offsetof(struct handover_head, checksum));
	add_to(lanes, bytes + sizeof(struct handover_head), used - sizeof(struct handover_head));
	const uint64_t sums[] = {mix(lanes[0], lanes[1]), mix(lanes[2], lanes[3])};
	_Static_assert(sizeof sums == HANDOVER_CHECKSUM_SIZE, "all of it");
	memcpy(checksum, sums, sizeof sums);
}

void handover_head_write(uint8_t *bytes, size_t used, uint32_t records, size_t second, size_t room)
{
	struct handover_head *head = (struct handover_head *)(void *)bytes;
	memcpy(head->magic, HANDOVER_MAGIC, sizeof head->magic);
	head->version = HANDOVER_VERSION;
	head->records = records;
	head->used = used;
	head->second = second;
	head->second_room = room;
	handover_checksum(bytes, used, head->checksum);
	atomic_store_explicit(&head->word, HANDOVER_OLD, memory_order_release);
}
