// SPDX-License-Identifier: Apache-2.0
/* Whether a descriptor is a queue as tun/device.c opens them. */
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tun/tun.h"

#ifndef TUNGETDEVNETNS
#define TUNGETDEVNETNS _IO('T', 227)
#endif

enum {
	TUN_MAJOR = 10, /* Documentation/admin-guide/devices.txt of the kernel */
	TUN_MINOR = 200,
	TUN_FLAGS = IFF_TUN | IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE,
};

/* The same name may be another interface's elsewhere. Kernels before 5.7 do not say. */
static bool is_of_this_namespace(int fd)
{
	struct stat of, own;
	int other = ioctl(fd, TUNGETDEVNETNS);
	if (other < 0)
		return errno != EPERM;
	bool same = fstat(other, &of) != 0 || stat("/proc/self/ns/net", &own) != 0 ||
		    (of.st_dev == own.st_dev && of.st_ino == own.st_ino);
	close(other);
	return same;
}

static bool is_node(int fd)
{
	struct stat status;
	return fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == makedev(TUN_MAJOR, TUN_MINOR);
}

int tun_queue_check(int fd, const char *name, bool several, struct error *error)
{
	struct ifreq request = {.ifr_flags = 0};
	int header = 0, flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | (several ? IFF_MULTI_QUEUE : 0);
	const char *wrong = NULL;
	if (!is_node(fd) || ioctl(fd, TUNGETIFF, &request) != 0)
		wrong = "no queue of a TUN interface";
	else if (strncmp(request.ifr_name, name, IFNAMSIZ) != 0)
		return error_set(error, -EPROTO, "a queue of %.15s", request.ifr_name);
	else if (((unsigned short)request.ifr_flags & TUN_FLAGS) != flags)
		wrong = "a queue of another kind";
	else if (ioctl(fd, TUNGETVNETHDRSZ, &header) != 0 || header != VNET_HEADER_SIZE)
		wrong = "a queue with other headers";
	else if (!is_of_this_namespace(fd) || if_nametoindex(name) == 0)
		wrong = "a queue of another network namespace";
	return wrong == NULL ? 0 : error_set(error, -EPROTO, "%s", wrong);
}
