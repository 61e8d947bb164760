// SPDX-License-Identifier: Apache-2.0
#include "core/handover/reader.h"

#include <sodium.h>
#include <stdbool.h>

#include "core/handover/writer.h"

/* Each record lies in the memory and is aligned, and they end where the head says. */
static bool bounds_right(const uint8_t *bytes, const struct handover_head *head)
{
	size_t at = sizeof *head;
	for (uint32_t i = 0; i < head->records; i++) {
		if (head->used - at < sizeof(struct handover_record))
			return false;
		const void *here = bytes + at;
		const struct handover_record *record = here;
		if (record->size < sizeof *record || record->size % 8 != 0 || record->size > head->used - at)
			return false;
		at += record->size;
	}
	return at == head->used;
}

int handover_check_part(const uint8_t *bytes, size_t size, struct error *error)
{
	const struct handover_head *head = (const struct handover_head *)(const void *)bytes;
	uint8_t checksum[HANDOVER_CHECKSUM_SIZE];
	if (size < sizeof *head || memcmp(head->magic, HANDOVER_MAGIC, sizeof head->magic) != 0)
		return error_set(error, -EBADMSG, "hand-over: these are no records of sessions");
	if (head->version != HANDOVER_VERSION)
		return error_set(error, -EPROTONOSUPPORT,
				 "hand-over: records of version %u, and this program reads version %d", head->version,
				 HANDOVER_VERSION);
	if (head->used > size || head->used < sizeof *head)
		return error_set(error, -EBADMSG, "hand-over: the records are cut off");
	handover_checksum(bytes, head->used, checksum);
	if (sodium_memcmp(checksum, head->checksum, sizeof checksum) != 0)
		return error_set(error, -EBADMSG, "hand-over: the records are damaged");
	if (!bounds_right(bytes, head))
		return error_set(error, -EBADMSG, "hand-over: the records do not fit");
	return 0;
}

const uint8_t *handover_second_part(const struct handover_memory *memory, size_t *room)
{
	const struct handover_head *head = (const struct handover_head *)(const void *)memory->bytes;
	bool inside = head->second >= head->used && head->second <= memory->size && head->second % 8 == 0 &&
		      head->second_room <= memory->size - head->second;
	*room = head->second_room;
	return inside ? memory->bytes + head->second : NULL;
}
