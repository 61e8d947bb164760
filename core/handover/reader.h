// SPDX-License-Identifier: Apache-2.0
/* Goes through the records of a hand-over, within their bounds, whatever they are. */
#pragma once

#include "core/handover/format.h"
#include "core/handover/memory.h"

struct handover_reader {
	const struct handover_memory *memory;
	size_t at, end; /* bytes */
};

/* Whether head, checksum and bounds of the records are right: 0, -EPROTONOSUPPORT or -EBADMSG, with `error` set. */
int handover_check_memory(const struct handover_memory *memory, struct error *error);

/* In front of the first record of memory that was checked. */
static inline void handover_reader_begin(struct handover_reader *reader, const struct handover_memory *memory)
{
	const struct handover_head *head = (const struct handover_head *)(const void *)memory->bytes;
	*reader = (struct handover_reader){.memory = memory, .at = sizeof *head, .end = head->used};
}

/* The next record; NULL: there is no other. */
static inline const struct handover_record *handover_next(struct handover_reader *reader)
{
	if (reader->at == reader->end)
		return NULL;
	const void *record = reader->memory->bytes + reader->at;
	reader->at += ((const struct handover_record *)record)->size;
	return record;
}
