// SPDX-License-Identifier: Apache-2.0
#include "core/client/dns_watch.h"

#include <limits.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "core/client/dns_file.h"

/* Not IN_MODIFY: a file that is being written is read when it is closed. */
#define DIRECTORY_EVENTS (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE | IN_ONLYDIR)
#define FILE_EVENTS	 (IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF)

int dns_watch_open(struct dns_watch *watch, struct error *error)
{
	*watch = (struct dns_watch){.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
	return watch->fd < 0 ? error_set(error, -errno, "inotify: %s", strerror(errno)) : 0;
}

void dns_watch_close(struct dns_watch *watch)
{
	if (watch->fd >= 0)
		close(watch->fd);
	watch->fd = -1;
}

/* Failures are ignored: the slow round finds what is missed. */
static void watch_target(struct dns_watch *watch, size_t index, const char *link)
{
	char path[PATH_MAX];
	watch->targets[index][0] = '\0';
	if (realpath(link, path) == NULL)
		return;
	char *slash = strrchr(path, '/');
	(void)snprintf(watch->targets[index], sizeof watch->targets[index], "%.255s", slash + 1);
	(void)inotify_add_watch(watch->fd, path, FILE_EVENTS);
	*slash = '\0';
	(void)inotify_add_watch(watch->fd, path[0] != '\0' ? path : "/", DIRECTORY_EVENTS);
}

void dns_watch_arm(struct dns_watch *watch)
{
	if (watch->fd < 0)
		return;
	watch_target(watch, 0, RESOLV_CONF);
	watch_target(watch, 1, RESOLV_CONF_SAVED);
	(void)inotify_add_watch(watch->fd, "/etc", DIRECTORY_EVENTS);
}

static bool is_about(const struct dns_watch *watch, const struct inotify_event *event)
{
	static const char name[] = "resolv.conf";
	if (event->len == 0)
		return (event->mask & IN_IGNORED) == 0; /* a watched file itself, or an overflow of the queue */
	bool about = strcmp(event->name, name) == 0;
	for (size_t i = 0; i < DNS_WATCH_TARGETS; i++)
		about |= strcmp(event->name, watch->targets[i]) == 0;
	return about;
}

bool dns_watch_read(struct dns_watch *watch)
{
	alignas(struct inotify_event) char buffer[4096];
	bool about = false;
	ssize_t got;
	while ((got = read(watch->fd, buffer, sizeof buffer)) > 0) {
		for (ssize_t at = 0; at < got;) {
			const struct inotify_event *event = (const struct inotify_event *)(const void *)(buffer + at);
			about |= is_about(watch, event);
			at += (ssize_t)(sizeof *event + event->len);
		}
	}
	return about;
}
