// SPDX-License-Identifier: Apache-2.0
/* The memory by which a gateway hands its sessions over to another process: a memfd, whose descriptor is passed on. It
 * is written by one process, sealed against changes of its size, and then mapped by the other one, which wipes it. It
 * is left out of core dumps; it holds keys. The control thread.
 *
 * Its pages are taken before anything is written to them: where there is no memory a call fails, and not the write,
 * which would end the process. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"

struct handover_memory {
	int fd;
	uint8_t *bytes; /* page-aligned; zeros where nothing was written */
	size_t size;
	size_t backed; /* so many bytes of them have pages */
};

/* Of this size, writable. 0 or a negative errno with `error` set. */
int handover_memory_new(struct handover_memory *memory, size_t size, struct error *error);

/* Has pages for so many bytes from the start on, and is made larger if need be; `bytes` may move then. On failure its
 * size is as it was. */
int handover_memory_back(struct handover_memory *memory, size_t size, struct error *error);

/* Its size is this from here on, at least what has pages: no process can change it, nor take the seals away. What has
 * no pages yet can get them. */
int handover_memory_seal(struct handover_memory *memory, size_t size, struct error *error);

/* Maps what another process sealed. `fd` is this one's from here on, also on failure. -EINVAL: it is not sealed, so
 * that its size could change under the reader, which would end by SIGBUS. */
int handover_memory_open(struct handover_memory *memory, int fd, struct error *error);

/* Overwrites the records with zeros, for every process that has them. The head stays: the old process may still have to
 * see whose the sessions are. */
void handover_memory_wipe(struct handover_memory *memory);

/* Unmaps and closes; again is allowed. */
void handover_memory_close(struct handover_memory *memory);
