// SPDX-License-Identifier: Apache-2.0
#include "core/handover/reader.h"

#include <sodium.h>

#include "core/handover/writer.h"

/* Each record lies in the memory and is aligned, and they end where the head says. */
static bool bounds_right(const struct handover_memory *memory, const struct handover_head *head)
{
	size_t at = sizeof *head;
	for (uint32_t i = 0; i < head->records; i++) {
		if (head->used - at < sizeof(struct handover_record))
			return false;
		const void *here = memory->bytes + at;
		const struct handover_record *record = here;
		if (record->size < sizeof *record || record->size % 8 != 0 || record->size > head->used - at)
			return false;
		at += record->size;
	}
	return at == head->used;
}

int handover_check_memory(const struct handover_memory *memory, struct error *error)
{
	const struct handover_head *head = (const struct handover_head *)(const void *)memory->bytes;
	uint8_t checksum[HANDOVER_CHECKSUM_SIZE];
	if (memory->size < sizeof *head || memcmp(head->magic, HANDOVER_MAGIC, sizeof head->magic) != 0)
		return error_set(error, -EBADMSG, "hand-over: these are no records of sessions");
	if (head->version != HANDOVER_VERSION)
		return error_set(error, -EPROTONOSUPPORT,
				 "hand-over: records of version %u, and this program reads version %d", head->version,
				 HANDOVER_VERSION);
	if (head->used > memory->size || head->used < sizeof *head)
		return error_set(error, -EBADMSG, "hand-over: the records are cut off");
	handover_checksum(memory->bytes, head->used, checksum);
	if (sodium_memcmp(checksum, head->checksum, sizeof checksum) != 0)
		return error_set(error, -EBADMSG, "hand-over: the records are damaged");
	if (!bounds_right(memory, head))
		return error_set(error, -EBADMSG, "hand-over: the records do not fit");
	return 0;
}
