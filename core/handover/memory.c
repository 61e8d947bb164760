// SPDX-License-Identifier: Apache-2.0
#include "core/handover/memory.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/handover/format.h"

enum {
	SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
	BLOCK = 512, /* stat(2) counts pages in these */
};
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static int fail(struct error *error, const char *what)
{
	int code = -errno;
	return error_set(error, code, "hand-over: memory: %s (%s)", what, strerror(-code));
}

static size_t whole_pages(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	return (size + page - 1) / page * page;
}

/* Of what has pages already: a fault for each takes several times as long. Before Linux 5.14 it stays with that. */
static void map_pages(const struct handover_memory *memory, size_t from, size_t to)
{
	if (to > from)
		(void)madvise(memory->bytes + from, to - from, MADV_POPULATE_WRITE);
}

static int map(struct handover_memory *memory, struct error *error)
{
	void *bytes = mmap(NULL, memory->size, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, 0);
	if (bytes == MAP_FAILED)
		return fail(error, "cannot map it");
	(void)madvise(bytes, memory->size, MADV_DONTDUMP);
	memory->bytes = bytes;
	return 0;
}

/* The mapping follows its size. */
static int resize(struct handover_memory *memory, size_t size, struct error *error)
{
	void *bytes = mremap(memory->bytes, memory->size, size, MREMAP_MAYMOVE);
	if (bytes == MAP_FAILED)
		return fail(error, "cannot map it");
	(void)madvise(bytes, size, MADV_DONTDUMP);
	memory->bytes = bytes;
	memory->size = size;
	return 0;
}

int handover_memory_new(struct handover_memory *memory, size_t size, struct error *error)
{
	*memory = (struct handover_memory){.size = whole_pages(size)};
	memory->fd = memfd_create("shardtun hand-over", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memory->fd < 0)
		return fail(error, "cannot create it");
	int result = ftruncate(memory->fd, (off_t)memory->size) == 0 ? map(memory, error)
								     : fail(error, "cannot size it");
	if (result == 0)
		result = handover_memory_back(memory, memory->size, error);
	if (result != 0)
		handover_memory_close(memory);
	return result;
}

int handover_memory_back(struct handover_memory *memory, size_t size, struct error *error)
{
	size = whole_pages(size);
	if (size <= memory->backed)
		return 0;
	/* It makes the file larger, too. */
	if (fallocate(memory->fd, 0, (off_t)memory->backed, (off_t)(size - memory->backed)) != 0)
		return fail(error, "there is not enough");
	int result = size > memory->size ? resize(memory, size, error) : 0;
	if (result != 0)
		return result;
	map_pages(memory, memory->backed, size);
	memory->backed = size;
	return 0;
}

int handover_memory_seal(struct handover_memory *memory, size_t size, struct error *error)
{
	size = whole_pages(size);
	if (ftruncate(memory->fd, (off_t)size) != 0)
		return fail(error, "cannot size it");
	int result = size != memory->size ? resize(memory, size, error) : 0;
	if (result != 0)
		return result;
	if (memory->backed > size)
		memory->backed = size;
	return fcntl(memory->fd, F_ADD_SEALS, SEALS) == 0 ? 0 : fail(error, "cannot seal it");
}

/* They are taken from the start on, without holes. */
static int pages_of(const struct handover_memory *memory, size_t *backed)
{
	struct stat status;
	if (fstat(memory->fd, &status) != 0)
		return -errno;
	size_t pages = (size_t)status.st_blocks * BLOCK;
	*backed = pages < memory->size ? pages : memory->size;
	return 0;
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
		result = map(memory, error);
	}
	if (result == 0 && pages_of(memory, &memory->backed) != 0)
		result = fail(error, "cannot look at it");
	if (result == 0)
		map_pages(memory, 0, memory->backed);
	if (result != 0)
		handover_memory_close(memory);
	return result;
}

void handover_memory_wipe(struct handover_memory *memory)
{
	size_t kept = sizeof(struct handover_head), backed = memory->backed;
	if (memory->fd >= 0) /* the other process may have needed more */
		(void)pages_of(memory, &backed);
	if (memory->bytes != NULL && backed > kept)
		sodium_memzero(memory->bytes + kept, backed - kept);
}

void handover_memory_close(struct handover_memory *memory)
{
	if (memory->bytes != NULL)
		(void)munmap(memory->bytes, memory->size);
	if (memory->fd >= 0)
		(void)close(memory->fd);
	*memory = (struct handover_memory){.fd = -1};
}
