// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/log.h"

enum { FIRST = 3 /* SD_LISTEN_FDS_START */ };

/* --- what was handed to us ---------------------------------------------------------------------------------------- */

/* The variables may be meant for a parent process. */
static size_t handed(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	if (pid == NULL || count == NULL || strtol(pid, NULL, 10) != getpid())
		return 0;
	long number = strtol(count, NULL, 10);
	return number < 0 ? 0 : number > DESCRIPTOR_LIST_MOST ? DESCRIPTOR_LIST_MOST : (size_t)number;
}

static int prepare(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	return flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ? -errno
													       : 0;
}

/* Names stand between colons, in the order of the descriptors. */
static int take_each(struct descriptor_list *given, size_t count, const char *names, struct error *error)
{
	int result = 0;
	for (size_t i = 0; i < count; i++) {
		char name[DESCRIPTOR_NAME_MAX];
		int fd = FIRST + (int)i;
		size_t length = strcspn(names, ":");
		(void)snprintf(name, sizeof name, "%.*s", (int)length, names);
		if (length >= sizeof name || length == 0 || (names[length] == ':') != (i + 1 < count))
			result = error_set(error, -EPROTO, "names and descriptors do not match");
		names += length + (names[length] == ':');
		int open = prepare(fd);
		if (open != 0) {
			result = error_set(error, -EPROTO, "%s: %s", name, strerror(-open));
			continue;
		}
		if (descriptor_list_add(given, name, fd) != 0) {
			close(fd);
			result = error_set(error, -ENOMEM, "out of memory");
		}
	}
	return result;
}

static size_t most(void)
{
	const char *most = getenv("FDSTORE");
	return most != NULL ? strtoul(most, NULL, 10) : STORE_MOST;
}

int store_take(struct store *store, const struct notify *notify, struct descriptor_list *given, struct error *error)
{
	static const char *const variables[] = {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID",
						"FDSTORE"};
	const char *names = getenv("LISTEN_FDNAMES");
	*store = (struct store){.notify = notify, .most = most()};
	*given = (struct descriptor_list){.count = 0};
	int result = take_each(given, handed(), names != NULL ? names : "", error);
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		unsetenv(variables[i]);
	return result;
}

/* --- what it keeps ------------------------------------------------------------------------------------------------ */

static void unstore(const struct store *store, const struct descriptor_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		(void)notify_unstore(store->notify, list->entries[i].name);
}

void store_give_up(struct store *store, struct descriptor_list *given)
{
	unstore(store, given);
	descriptor_list_close(given);
}

void store_refuse(struct store *store, struct descriptor_list *given)
{
	store_give_up(store, given);
	int result = store->notify->fd >= 0 ? notify_barrier(store->notify) : 0;
	if (result != 0)
		log_warning("service manager: %s; it may still hold the sockets that it kept", strerror(-result));
}

int store_keep(struct store *store, struct descriptor_list *list, bool adopted, struct error *error)
{
	int result = store->notify->fd < 0 ? -ENOTCONN : list->count > store->most ? -E2BIG : 0;
	if (result == -E2BIG)
		error_set(error, result, "%zu descriptors, and the service manager keeps %zu", list->count,
			  store->most);
	store->kept = *list;
	*list = (struct descriptor_list){.count = 0};
	for (size_t i = 0; !adopted && result == 0 && i < store->kept.count; i++) {
		const struct descriptor_entry *entry = &store->kept.entries[i];
		result = notify_store(store->notify, entry->name, entry->fd);
		if (result != 0)
			error_set(error, result, "%s: %s", entry->name, strerror(-result));
	}
	if (result == -E2BIG || result == -ENOTCONN)
		descriptor_list_free(&store->kept);
	else if (result != 0)
		store_empty(store);
	return result;
}

void store_empty(struct store *store)
{
	unstore(store, &store->kept);
	descriptor_list_free(&store->kept);
}

void store_leave(struct store *store)
{
	descriptor_list_free(&store->kept);
}
