// SPDX-License-Identifier: Apache-2.0
/* Goes through the records of a part of a hand-over, within their bounds, whatever they are. */
#pragma once

#include "core/handover/format.h"
#include "core/handover/memory.h"

struct handover_reader {
	const uint8_t *bytes; /* of the part */
	size_t at, end;
};

/* Whether head, checksum and bounds of the records of a part are right, which has at most `size` bytes: 0,
 * -EPROTONOSUPPORT or -EBADMSG, with `error` set. */
int handover_check_part(const uint8_t *bytes, size_t size, struct error *error);

/* Where the second part is, of memory whose first one was checked, and how long it may be. NULL: not in the memory. */
const uint8_t *handover_second_part(const struct handover_memory *memory, size_t *room);

/* In front of the first record of a part that was checked. */
static inline void handover_reader_begin(struct handover_reader *reader, const uint8_t *part)
{
	const struct handover_head *head = (const struct handover_head *)(const void *)part;
	*reader = (struct handover_reader){.bytes = part, .at = sizeof *head, .end = head->used};
}

/* The next record; NULL: there is no other. */
static inline const struct handover_record *handover_next(struct handover_reader *reader)
{
	if (reader->at == reader->end)
		return NULL;
	const void *record = reader->bytes + reader->at;
	reader->at += ((const struct handover_record *)record)->size;
	return record;
}
