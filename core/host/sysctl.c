// SPDX-License-Identifier: Apache-2.0
#include "core/host/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int sysctl_open(const char *name, int flags)
{
	char path[128];
	int length = snprintf(path, sizeof path, "/proc/sys/%s", name);
	if (length < 0 || (size_t)length >= sizeof path)
		return -ENAMETOOLONG;
	int fd = open(path, flags | O_CLOEXEC);
	return fd >= 0 ? fd : -errno;
}

const char *sysctl_read(const char *name, char text[SYSCTL_TEXT])
{
	text[0] = '\0';
	int fd = sysctl_open(name, O_RDONLY);
	if (fd < 0)
		return text;
	ssize_t got = read(fd, text, SYSCTL_TEXT - 1);
	text[got > 0 ? got : 0] = '\0';
	close(fd);
	return text;
}

long sysctl_number(const char *name)
{
	char text[SYSCTL_TEXT], *end;
	long number = strtol(sysctl_read(name, text), &end, 10);
	return end != text ? number : -1;
}

int sysctl_write(const char *name, const char *text)
{
	int fd = sysctl_open(name, O_WRONLY);
	if (fd < 0)
		return fd;
	ssize_t length = (ssize_t)strlen(text);
	int result = write(fd, text, (size_t)length) == length ? 0 : -errno;
	close(fd);
	return result;
}

int sysctl_enable_ipv6(unsigned ifindex)
{
	char interface[IF_NAMESIZE], name[64];
	if (if_indextoname(ifindex, interface) == NULL)
		return -errno;
	(void)snprintf(name, sizeof name, "net/ipv6/conf/%s/disable_ipv6", interface);
	long off = sysctl_number(name);
	if (off == 0)
		return 0;
	return off < 0 ? -EOPNOTSUPP : sysctl_write(name, "0");
}
