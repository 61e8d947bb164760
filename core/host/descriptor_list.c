// SPDX-License-Identifier: Apache-2.0
#include "core/host/descriptor_list.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int descriptor_list_add(struct descriptor_list *list, const char *name, int fd)
{
	if (list->count == list->room) {
		size_t room = list->room != 0 ? list->room * 2 : 16;
		struct descriptor_entry *entries = realloc(list->entries, room * sizeof *entries);
		if (entries == NULL)
			return -ENOMEM;
		list->entries = entries;
		list->room = room;
	}
	struct descriptor_entry *entry = &list->entries[list->count++];
	(void)snprintf(entry->name, sizeof entry->name, "%s", name);
	entry->fd = fd;
	return 0;
}

static struct descriptor_entry *find(const struct descriptor_list *list, const char *name)
{
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->entries[i].name, name) == 0)
			return &list->entries[i];
	}
	return NULL;
}

int descriptor_list_find(const struct descriptor_list *list, const char *name)
{
	const struct descriptor_entry *entry = find(list, name);
	return entry != NULL ? entry->fd : -1;
}

int descriptor_list_take(struct descriptor_list *list, const char *name)
{
	struct descriptor_entry *entry = find(list, name);
	if (entry == NULL)
		return -1;
	int fd = entry->fd;
	entry->fd = -1;
	return fd;
}

int descriptor_list_take_out(struct descriptor_list *list, const char *name)
{
	struct descriptor_entry *entry = find(list, name);
	if (entry == NULL)
		return -1;
	int fd = entry->fd;
	size_t behind = list->count - (size_t)(entry - list->entries) - 1;
	memmove(entry, entry + 1, behind * sizeof *entry);
	list->count--;
	return fd;
}

/* The flag is of the open file, not of the descriptor: of two that share a file the second has what the first got. */
static int mark(const struct descriptor_entry *entry, struct error *error)
{
	int flags = fcntl(entry->fd, F_GETFL);
	if (flags < 0)
		return error_set(error, -EBADF, "%s: %s", entry->name, strerror(errno));
	if (flags & O_APPEND)
		return error_set(error, -EEXIST, "%s: the same file has another name as well", entry->name);
	return fcntl(entry->fd, F_SETFL, flags | O_APPEND) == 0
		       ? 0
		       : error_set(error, -EBADF, "%s: %s", entry->name, strerror(errno));
}

static void clear_marks(const struct descriptor_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		int flags = fcntl(list->entries[i].fd, F_GETFL);
		if (flags >= 0)
			(void)fcntl(list->entries[i].fd, F_SETFL, flags & ~O_APPEND);
	}
}

int descriptor_list_check_distinct(const struct descriptor_list *list, struct error *error)
{
	for (size_t i = 0; i < list->count; i++) {
		if (find(list, list->entries[i].name) != &list->entries[i])
			return error_set(error, -EEXIST, "%s: there twice", list->entries[i].name);
	}
	int result = 0;
	clear_marks(list);
	for (size_t i = 0; i < list->count && result == 0; i++)
		result = mark(&list->entries[i], error);
	clear_marks(list);
	return result;
}

void descriptor_list_free(struct descriptor_list *list)
{
	free(list->entries);
	*list = (struct descriptor_list){.count = 0};
}

void descriptor_list_close(struct descriptor_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->entries[i].fd >= 0)
			close(list->entries[i].fd);
	}
	descriptor_list_free(list);
}
