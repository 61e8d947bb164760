// SPDX-License-Identifier: Apache-2.0
/* Puts records into the memory of a hand-over, which grows as needed; and its head. Used by one thread. */
#pragma once

#include "core/handover/format.h"
#include "core/handover/memory.h"

struct handover_writer {
	struct handover_memory *memory;
	size_t used;
	uint32_t records;
	int result; /* of the first call that failed; 0: none did */
	struct error *error;
};

/* A record of this size, zeroed but for its own head; NULL: `result` is set. It is good until the next one. */
void *handover_put(struct handover_writer *writer, enum handover_kind kind, size_t size);

/* Writes the head of memory with so many bytes used, checksum included. */
void handover_head_write(uint8_t *bytes, size_t used, uint32_t records);

/* What the checksum of these bytes has to be. */
void handover_checksum(const uint8_t *bytes, size_t used, uint8_t checksum[HANDOVER_CHECKSUM_SIZE]);
