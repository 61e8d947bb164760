// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/cluster_links.h"

#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 8 /* the kernel's own limit of links over each other */, PATH_MAX_TEXT = 64 };

/* A datagram within another one is not seen by the links below. */
static bool is_tunnel(const char *link)
{
	char path[PATH_MAX_TEXT], line[64];
	bool tunnel = false;
	(void)snprintf(path, sizeof path, "/sys/class/net/%.*s/uevent", IFNAMSIZ, link);
	FILE *file = fopen(path, "re");
	while (file != NULL && fgets(line, sizeof line, file) != NULL)
		tunnel |= strcmp(line, "DEVTYPE=vxlan\n") == 0 || strcmp(line, "DEVTYPE=geneve\n") == 0;
	if (file != NULL)
		(void)fclose(file);
	return tunnel;
}

/* The links below `link`, each as an entry "lower_NAME" of its folder. */
static bool lies_on(const char *link, const char *below, unsigned depth)
{
	static const char lower[] = "lower_";
	char path[PATH_MAX_TEXT];
	bool found = false;
	if (depth == 0 || is_tunnel(link))
		return false;
	(void)snprintf(path, sizeof path, "/sys/class/net/%.*s", IFNAMSIZ, link);
	DIR *folder = opendir(path);
	for (const struct dirent *entry; folder != NULL && !found && (entry = readdir(folder)) != NULL;) {
		const char *name = entry->d_name + strlen(lower);
		if (strncmp(entry->d_name, lower, strlen(lower)) == 0)
			found = strcmp(name, below) == 0 || lies_on(name, below, depth - 1);
	}
	if (folder != NULL)
		(void)closedir(folder);
	return found;
}

bool cluster_links_overlap(const char *inside, const char *outside)
{
	return strcmp(inside, outside) == 0 || lies_on(inside, outside, DEPTH_MAX);
}

int cluster_links_addresses(const char *link, struct ip_address **items, size_t *count)
{
	struct ifaddrs *list;
	size_t room = 0;
	if (getifaddrs(&list) != 0)
		return -1;
	for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next)
		room++;
	*count = 0;
	*items = calloc(room + 1, sizeof **items);
	for (const struct ifaddrs *i = list; i != NULL && *items != NULL; i = i->ifa_next) {
		struct ip_address *address = &(*items)[*count];
		if (i->ifa_addr == NULL || (link != NULL && strcmp(i->ifa_name, link) != 0))
			continue;
		if (i->ifa_addr->sa_family == AF_INET) {
			address->family = 4;
			memcpy(address->bytes, &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr, 4);
			++*count;
		} else if (i->ifa_addr->sa_family == AF_INET6) {
			address->family = 6;
			memcpy(address->bytes, &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr,
			       16);
			++*count;
		}
	}
	freeifaddrs(list);
	return *items != NULL ? 0 : -1;
}
