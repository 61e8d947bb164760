// SPDX-License-Identifier: Apache-2.0
/* Puts records into a part of the memory of a hand-over, which gets pages as needed; and its head. Used by one thread.
 */
#pragma once

#include <stdbool.h>

#include "core/handover/format.h"
#include "core/handover/memory.h"

struct handover_writer {
	struct handover_memory *memory;
	size_t start; /* of the part, in the memory */
	size_t used;  /* so far: in the memory, up to where the next record will be */
	size_t most;  /* where the part has to end; SIZE_MAX: the memory grows */
	uint32_t records;
	int result; /* of the first call that failed; 0: none did */
	struct error *error;
};

/* A part that is empty, and has a head. */
void handover_writer_begin(struct handover_writer *writer, struct handover_memory *memory, size_t start, size_t most,
			   struct error *error);

/* Has pages for so many bytes more: what is put then takes no time for that. False: `result` is set. */
bool handover_writer_reserve(struct handover_writer *writer, size_t bytes);

/* A record of this size, zeroed but for its own head; NULL: `result` is set. It is good until the next one. */
void *handover_put(struct handover_writer *writer, enum handover_kind kind, size_t size);

/* Writes the head of a part with so many bytes used, checksum included; `second` and `room`: of the second part, from
 * here on. */
void handover_head_write(uint8_t *bytes, size_t used, uint32_t records, size_t second, size_t room);

/* What the checksum of the part has to be. */
void handover_checksum(const uint8_t *bytes, size_t used, uint8_t checksum[HANDOVER_CHECKSUM_SIZE]);
