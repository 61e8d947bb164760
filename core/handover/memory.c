// SPDX-License-Identifier: Apache-2.0
#include "core/handover/memory.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/handover/format.h"

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

static int fail(struct error *error, const char *what)
{
	int code = -errno;
	return error_set(error, code, "hand-over: memory: %s (%s)", what, strerror(-code));
}

/* What is written already is mapped at once: a fault for each page takes several times as long. */
static int map(struct handover_memory *memory, bool written, struct error *error)
{
	void *bytes = mmap(NULL, memory->size, PROT_READ | PROT_WRITE, MAP_SHARED | (written ? MAP_POPULATE : 0),
			   memory->fd, 0);
	if (bytes == MAP_FAILED)
		return fail(error, "cannot map it");
	(void)madvise(bytes, memory->size, MADV_DONTDUMP);
	memory->bytes = bytes;
	return 0;
}

int handover_memory_new(struct handover_memory *memory, size_t size, struct error *error)
{
	*memory = (struct handover_memory){.size = size};
	memory->fd = memfd_create("shardtun hand-over", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memory->fd < 0)
		return fail(error, "cannot create it");
	int result = ftruncate(memory->fd, (off_t)size) == 0 ? map(memory, false, error)
							     : fail(error, "cannot size it");
	if (result != 0)
		handover_memory_close(memory);
	return result;
}

int handover_memory_grow(struct handover_memory *memory, size_t size, struct error *error)
{
	if (ftruncate(memory->fd, (off_t)size) != 0)
		return fail(error, "cannot size it");
	void *bytes = mremap(memory->bytes, memory->size, size, MREMAP_MAYMOVE);
	if (bytes == MAP_FAILED)
		return fail(error, "cannot map it");
	(void)madvise(bytes, size, MADV_DONTDUMP);
	memory->bytes = bytes;
	memory->size = size;
	return 0;
}

int handover_memory_seal(struct handover_memory *memory, size_t used, struct error *error)
{
	void *bytes = mremap(memory->bytes, memory->size, used, 0);
	if (bytes == MAP_FAILED)
		return fail(error, "cannot map it");
	memory->size = used;
	if (ftruncate(memory->fd, (off_t)used) != 0)
		return fail(error, "cannot size it");
	return fcntl(memory->fd, F_ADD_SEALS, SEALS) == 0 ? 0 : fail(error, "cannot seal it");
}

int handover_memory_open(struct handover_memory *memory, int fd, struct error *error)
{
	struct stat status;
	*memory = (struct handover_memory){.fd = fd};
	int seals = fcntl(fd, F_GET_SEALS);
	int result;
	if (seals < 0 || fstat(fd, &status) != 0)
		result = fail(error, "is none");
	else if ((seals & SEALS) != SEALS || status.st_size <= 0)
		result = error_set(error, -EINVAL, "hand-over: memory: it is not sealed");
	else {
		memory->size = (size_t)status.st_size;
		result = map(memory, true, error);
	}
	if (result != 0)
		handover_memory_close(memory);
	return result;
}

void handover_memory_wipe(struct handover_memory *memory)
{
	size_t kept = sizeof(struct handover_head);
	if (memory->bytes != NULL && memory->size > kept)
		sodium_memzero(memory->bytes + kept, memory->size - kept);
}

void handover_memory_close(struct handover_memory *memory)
{
	if (memory->bytes != NULL)
		(void)munmap(memory->bytes, memory->size);
	if (memory->fd >= 0)
		(void)close(memory->fd);
	*memory = (struct handover_memory){.fd = -1};
}
