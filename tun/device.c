// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/cpu.h"
#include "core/base/hot.h"
#include "core/base/log.h"
#include "core/host/sysctl.h"
#include "tun/netlink.h"
#include "tun/tun.h"

#define TUN_NODE "/dev/net/tun"

enum { IPV6_MIN_MTU = 1280 /* RFC 8200, section 5 */ };

_Static_assert(sizeof((struct tun_device *)0)->name == IFNAMSIZ, "a kernel interface name fits");

/* --- reading and writing ------------------------------------------------------------------------------------------ */

HOT static int device_read(struct tun_queue *queue, struct iovec *frames, size_t count)
{
	size_t done = 0;

	while (done < count) {
		ssize_t length = read(queue->fd, frames[done].iov_base, frames[done].iov_len);
		if (length >= 0) {
			frames[done++].iov_len = (size_t)length;
			continue;
		}
		if (errno == EINTR)
			continue;
		/* Frames that were read are returned first; a device that is gone fails again at the next call. */
		if (errno == EAGAIN || done > 0)
			break;
		return -errno;
	}
	return (int)done;
}

HOT static int device_write(struct tun_queue *queue, const struct tun_frame *frame)
{
	ssize_t written;
	size_t length = 0;

	do
		written = writev(queue->fd, frame->iov, frame->iov_count);
	while (written < 0 && errno == EINTR);
	if (written < 0)
		return -errno;
	for (int i = 0; i < frame->iov_count; i++)
		length += frame->iov[i].iov_len;
	return (size_t)written == length ? 0 : -EIO;
}

static const struct tun_ops device_ops = {.read = device_read, .write = device_write};

/* --- creating queues ---------------------------------------------------------------------------------------------- */

static int name_check(const char *name, struct error *error)
{
	size_t length = strlen(name);

	if (length >= IFNAMSIZ)
		return error_set(error, -EINVAL, "interface name \"%s\": too long; at most %d characters", name,
				 IFNAMSIZ - 1);
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return error_set(error, -EINVAL, "interface name \"%s\": not allowed by the kernel", name);
	for (size_t i = 0; i < length; i++)
		if (isspace((unsigned char)name[i]) || strchr("/:%", name[i]) != NULL)
			return error_set(error, -EINVAL,
					 "interface name \"%s\": may not have spaces, \"/\", \":\" or \"%%\"", name);
	return 0;
}

static int node_error(int code, struct error *error)
{
	const char *hint = "";

	if (code == -ENOENT || code == -ENODEV || code == -ENXIO)
		hint = "; load the module (modprobe tun), or pass the device into the container";
	else if (code == -EPERM || code == -EACCES)
		hint = "; start as root, or allow the device (DeviceAllow=" TUN_NODE " rw in the unit)";
	else if (code == -EMFILE)
		hint = "; raise the limit of open files (LimitNOFILE in the unit)";
	return error_set(error, code, "open " TUN_NODE ": %s%s", strerror(-code), hint);
}

static bool is_tun(const char *name)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq request = {.ifr_data = (char *)&info};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(request.ifr_name, name, IFNAMSIZ);
	bool known = ioctl(fd, SIOCETHTOOL, &request) == 0;
	close(fd);
	return known && strcmp(info.driver, "tun") == 0;
}

static int create_error(int code, const char *name, struct error *error)
{
	const char *hint = "";

	if (code == -EPERM)
		hint = "; start as root or with CAP_NET_ADMIN";
	else if (code == -E2BIG)
		hint = "; this is one queue too many for the kernel: set fewer Workers or TunReaders";
	/* The kernel answers EINVAL when an interface with several queues is opened with one, and the other way round.
	 */
	else if ((code == -EBUSY || code == -EINVAL) && is_tun(name))
		hint = "; another process holds this interface: stop it or choose another Interface name";
	else if ((code == -EBUSY || code == -EINVAL) && if_nametoindex(name) != 0)
		hint = "; an interface of another kind has this name: choose another Interface name";
	return error_set(error, code, "create interface %s: %s%s", name, strerror(-code), hint);
}

/* Opens one queue of the interface `name`, which is created with its first queue; `name` receives the name that the
 * kernel chose. */
static int queue_open(char name[IFNAMSIZ], int flags, struct error *error)
{
	int fd = open(TUN_NODE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return node_error(-errno, error);

	struct ifreq request = {.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | flags)};
	memcpy(request.ifr_name, name, IFNAMSIZ);
	if (ioctl(fd, TUNSETIFF, &request) < 0) {
		int code = create_error(-errno, name, error);
		close(fd);
		return code;
	}
	memcpy(name, request.ifr_name, IFNAMSIZ);
	return fd;
}

/* The kernel sends nothing to a detached queue, and still accepts frames written to it. */
static int queue_detach(int fd, const char *name, struct error *error)
{
	struct ifreq request = {.ifr_flags = IFF_DETACH_QUEUE};

	if (ioctl(fd, TUNSETQUEUE, &request) == 0)
		return 0;
	return error_set(error, -errno, "detach a queue of interface %s: %s", name, strerror(errno));
}

static bool queue_is_detached(int fd)
{
	struct ifreq request = {.ifr_flags = 0};
	return ioctl(fd, TUNGETIFF, &request) == 0 && (request.ifr_flags & IFF_DETACH_QUEUE) != 0;
}

/* TUNSETIFF on an existing interface with several queues adds a queue, even when another process made the interface:
 * before the first queue is opened there must be no such interface. */
static int queues_open(struct tun_device *device, struct error *error)
{
	unsigned count = device->readers + device->writers + device->sparse;

	device->queues = calloc(count, sizeof *device->queues);
	if (device->queues == NULL)
		return error_set(error, -ENOMEM, "create interface %s: out of memory", device->name);
	for (unsigned i = 0; i < count; i++)
		device->queues[i] = (struct tun_queue){.ops = &device_ops, .fd = -1};

	for (unsigned i = 0; i < count; i++) {
		int flags = count == 1 ? 0 : i == 0 ? IFF_MULTI_QUEUE | IFF_TUN_EXCL : IFF_MULTI_QUEUE;
		int fd = queue_open(device->name, flags, error);
		if (fd < 0)
			return fd;
		device->queues[i].fd = fd;
	}
	return 0;
}

static int queues_adopt(struct tun_device *device, const struct tun_params *params, struct error *error)
{
	unsigned count = device->readers + device->writers + device->sparse;
	bool fits = params->adopted_count == count;

	device->queues = fits ? calloc(count, sizeof *device->queues) : NULL;
	if (device->queues == NULL) {
		for (unsigned i = 0; i < params->adopted_count; i++)
			close(params->adopted[i]);
		return fits ? error_set(error, -ENOMEM, "interface %s: out of memory", device->name)
			    : error_set(error, -EPROTO, "interface %s: %u queues, and there have to be %u",
					device->name, params->adopted_count, count);
	}
	for (unsigned i = 0; i < count; i++)
		device->queues[i] = (struct tun_queue){.ops = &device_ops, .fd = params->adopted[i]};
	return 0;
}

/* Before the queues are opened: their number follows from it. */
static int sparse_load(struct tun_device *device, const struct tun_params *params)
{
	struct queue_steering steering = params->steering;
	unsigned others = params->readers + params->writers;
	steering.queues = steering.queues != 0 ? steering.queues : 1;
	if (others + steering.queues > CPU_TUN_QUEUES_MAX)
		return -E2BIG;
	int result = sparse_flows_load(&device->sparse_flows, &steering, others);
	device->sparse = result == 0 ? steering.queues : 0;
	return result;
}

static int sparse_attach(struct tun_device *device)
{
	unsigned others = device->readers + device->writers;
	int result = 0;
	if (device->programs.waiting) {
		device->programs.steering = device->sparse_flows.program;
		device->sparse_flows.program = -1;
	} else {
		result = queue_steering_attach_program(device->queues[0].fd, device->sparse_flows.program);
	}
	sparse_flows_close_program(&device->sparse_flows);
	for (unsigned i = 0; i < device->sparse && result == 0; i++) {
		device->queues[i].sparse = &device->queues[others + i];
		device->queues[i].shared = &device->sparse_flows.queues[i];
	}
	for (; device->sparse != 0 && result != 0; device->sparse--) {
		int *fd = &device->queues[others + device->sparse - 1].fd;
		close(*fd); /* or the kernel would put packets there */
		*fd = -1;
	}
	return result;
}

static void sparse_report(const char *name, int result)
{
	log_info("%s: packets of flows that send little wait behind those of others (%s%s)", name, strerror(-result),
		 result == -EPERM ? "; else this takes CAP_BPF at the start" : "");
}

/* Before the interface is up: nothing was queued yet. */
static int shares_attach(struct tun_device *device, const struct tun_params *params)
{
	struct destination_shares *shares = calloc(1, sizeof *shares);
	if (shares == NULL)
		return -ENOMEM;
	int program = destination_shares_load(shares, &params->steering, params->destinations);
	int result = program < 0 ? program : 0;
	if (device->programs.waiting)
		device->programs.shares = program < 0 ? -1 : program;
	else if (program >= 0) {
		result = destination_shares_attach(device->queues[0].fd, program);
		close(program);
	}
	if (result != 0) {
		destination_shares_unload(shares);
		free(shares);
		return result;
	}
	device->shares = shares;
	for (unsigned i = 0; i < shares->steering.queues; i++) {
		device->queues[i].shares = shares;
		device->queues[i].index = i;
	}
	return 0;
}

static void shares_report(const char *name, int result)
{
	log_info("%s: a client that is sent too much costs others packets (%s%s)", name, strerror(-result),
		 result == -EPERM ? "; else this takes CAP_BPF at the start" : "");
}

static int plain_steer(struct tun_device *device, const struct queue_steering *steering)
{
	if (!device->programs.waiting)
		return queue_steering_attach(device->queues[0].fd, steering);
	int program = queue_steering_load(steering);
	device->programs.steering = program < 0 ? -1 : program;
	return program < 0 ? program : 0;
}

/* A queue that is not detached has an index of its own, which the kernel records in the packets that are written to it:
 * packets of several writers then leave by several transmit queues. All detached ones have the same. */
static int queues_steer(struct tun_device *device, const struct tun_params *params, struct error *error)
{
	const struct queue_steering *steering = &params->steering;
	bool adopted = params->adopted != NULL, wanted = steering->queues != 0, steered = false;
	if (device->sparse != 0) {
		int result = sparse_attach(device);
		if (result != 0 && adopted)
			return error_set(error, result, "interface %s: steering: %s", device->name, strerror(-result));
		steered = result == 0;
	}
	if (!steered && wanted) {
		device->steering = plain_steer(device, steering);
		steered = device->steering == 0;
	}
	int result = 0;
	unsigned writers = device->readers + device->writers;
	for (unsigned i = device->readers; !adopted && !steered && i < writers && result == 0; i++)
		result = queue_detach(device->queues[i].fd, device->name, error);
	for (unsigned i = 0; adopted && i < writers + device->sparse && result == 0; i++) {
		bool writer = i >= device->readers && i < writers;
		if (queue_is_detached(device->queues[i].fd) != (writer && !steered))
			result = error_set(error, -EPROTO, "interface %s: queue %u is %s", device->name, i,
					   writer && !steered ? "attached" : "detached");
	}
	return result;
}

/* --- offloads ----------------------------------------------------------------------------------------------------- */

static unsigned long offload_mask(struct tun_offloads offloads)
{
	/* The kernel accepts USO for both families or for none, and no other offload without checksums. */
	return (offloads.checksum ? TUN_F_CSUM : 0ul) | (offloads.tso ? TUN_F_TSO4 | TUN_F_TSO6 : 0ul) |
	       (offloads.uso ? TUN_F_USO4 | TUN_F_USO6 : 0ul);
}

/* Tries the wanted set, and leaves out the most recent kernel feature after each refusal. */
static int offloads_probe(int fd, struct tun_offloads wanted, struct tun_offloads *granted, struct error *error)
{
	struct tun_offloads try = {
		.checksum = wanted.checksum,
		.tso = wanted.checksum && wanted.tso,
		.uso = wanted.checksum && wanted.uso,
	};

	while (ioctl(fd, TUNSETOFFLOAD, offload_mask(try)) < 0) {
		if (errno != EINVAL || !try.checksum)
			return error_set(error, -errno, "set offloads: %s", strerror(errno));
		if (try.uso)
			try.uso = false;
		else if (try.tso)
			try.tso = false;
		else
			try.checksum = false;
	}
	*granted = try;
	return 0;
}

static void offloads_report(const char *name, struct tun_offloads wanted, struct tun_offloads granted)
{
	if (wanted.checksum && !granted.checksum)
		log_info("%s: this kernel offers no TUN offloads: packets pass one by one", name);
	else if (wanted.checksum && wanted.tso && !granted.tso)
		log_info("%s: this kernel offers no TCP segmentation on TUN: TCP passes packet by packet", name);
	else if (wanted.checksum && wanted.uso && !granted.uso)
		log_info("%s: this kernel offers no UDP segmentation on TUN (Linux 6.2 does): UDP passes packet by "
			 "packet",
			 name);
}

/* --- the interface ------------------------------------------------------------------------------------------------ */

static size_t count_family(const struct tun_params *params, uint8_t family)
{
	size_t count = 0;
	for (size_t i = 0; i < params->address_count; i++)
		count += params->addresses[i].address.family == family;
	return count;
}

/* The kernel's errors where IPv6 is off: for the interface, or for the whole machine (ipv6.disable=1, or not built in).
 */
static bool is_off(int code)
{
	return code == -EACCES || code == -EOPNOTSUPP || code == -EAFNOSUPPORT;
}

static void report_no_ipv6(const char *name, int code)
{
	log_warning(
		"%s: IPv6 is off on this machine (net.ipv6.conf.%s.disable_ipv6) and cannot be switched on (%s): "
		"going on with IPv4 alone; set net.ipv6.conf.default.disable_ipv6=0 before the start, or configure no "
		"IPv6 Address",
		name, name, strerror(-code));
}

static int add_addresses(struct tun_device *device, struct netlink *netlink, const struct tun_params *params,
			 struct error *error)
{
	int on = count_family(params, 6) != 0 ? sysctl_enable_ipv6(device->ifindex) : 0;
	int result = 0;
	for (size_t i = 0; i < params->address_count && result == 0; i++) {
		const struct ip_prefix *address = &params->addresses[i];
		result = netlink_address_add(netlink, device->ifindex, address, error);
		if (on != 0 && is_off(result) && address->address.family == 6 && count_family(params, 4) != 0) {
			device->no_ipv6 = true;
			result = 0;
		}
	}
	if (on != 0 && is_off(result))
		error_set(error, result,
			  "interface %s: IPv6 is off on this machine (net.ipv6.conf.%s.disable_ipv6) and cannot be "
			  "switched on (%s); set net.ipv6.conf.default.disable_ipv6=0 before the start, or configure "
			  "IPv4 "
			  "addresses",
			  device->name, device->name, strerror(-on));
	if (device->no_ipv6)
		report_no_ipv6(device->name, on);
	return result;
}

/* Link-local addresses are turned off before the link is set up: the kernel makes one at that moment. */
static int interface_configure(struct tun_device *device, struct netlink *netlink, const struct tun_params *params,
			       struct error *error)
{
	if (count_family(params, 6) != 0 && params->mtu < IPV6_MIN_MTU)
		return error_set(error, -EINVAL, "MTU %u: IPv6 addresses need at least %d", params->mtu, IPV6_MIN_MTU);
	int rc = netlink_link_no_link_local(netlink, device->ifindex, error);
	if (rc == 0)
		rc = netlink_link_set_mtu(netlink, device->ifindex, params->mtu, error);
	if (rc == 0 && device->shares != NULL)
		rc = netlink_link_set_queue_length(netlink, device->ifindex,
						   DESTINATION_SHARES_SLOTS + DESTINATION_SHARES_SPARE, error);
	if (rc == 0)
		rc = add_addresses(device, netlink, params, error);
	if (rc == 0)
		rc = netlink_link_set_up(netlink, device->ifindex, error);
	return rc;
}

static int interface_open(struct tun_device *device, const struct tun_params *params, struct error *error)
{
	int sparse = params->sparse ? sparse_load(device, params) : 0;
	int rc = params->adopted != NULL ? queues_adopt(device, params, error) : queues_open(device, error);
	if (rc == 0)
		rc = queues_steer(device, params, error);
	if (rc < 0)
		return rc;
	if (params->sparse && device->sparse == 0)
		sparse_report(device->name, sparse);
	if (params->destinations != 0)
		device->sharing = device->steering != 0 ? device->steering : shares_attach(device, params);
	if (device->sharing != 0) {
		if (!device->programs.waiting)
			destination_shares_detach(device->queues[0].fd);
		shares_report(device->name, device->sharing);
	}
	rc = offloads_probe(device->queues[0].fd, params->offloads, &device->offloads, error);
	if (rc < 0)
		return error_prefix(error, rc, "interface %s: ", device->name);
	for (unsigned i = 0; i < device->readers + device->writers + device->sparse; i++)
		device->queues[i].offloads = device->offloads;

	device->ifindex = if_nametoindex(device->name);
	if (device->ifindex == 0)
		return error_set(error, -errno, "interface %s: %s", device->name, strerror(errno));
	struct netlink *netlink = netlink_open(error);
	if (netlink == NULL)
		return -errno;
	rc = interface_configure(device, netlink, params, error);
	netlink_close(netlink);
	return rc;
}

int tun_device_open(struct tun_device *device, const struct tun_params *params, struct error *error)
{
	struct tun_device opened = {
		.readers = params->readers, .writers = params->writers, .sparse_flows = {.program = -1}};
	int rc = name_check(params->name, error);
	if (rc < 0)
		return rc; /* no descriptor of an interface with such a name passed a check */
	strcpy(opened.name, params->name[0] != '\0' ? params->name : "shardtun%d");
	if (params->attach_later) {
		opened.programs.waiting = true;
		opened.programs.steering = opened.programs.shares = -1;
	}

	rc = interface_open(&opened, params, error);
	if (rc < 0) {
		tun_device_close(&opened);
		return rc;
	}
	offloads_report(opened.name, params->offloads, opened.offloads);
	*device = opened;
	return 0;
}

static void programs_close(struct tun_device *device)
{
	if (device->programs.waiting && device->programs.steering >= 0)
		close(device->programs.steering);
	if (device->programs.waiting && device->programs.shares >= 0)
		close(device->programs.shares);
	device->programs.waiting = false;
	device->programs.steering = device->programs.shares = 0;
}

int tun_device_attach(struct tun_device *device, struct error *error)
{
	int fd = device->queues[0].fd, result = 0;
	if (!device->programs.waiting)
		return 0;
	if (device->programs.steering >= 0)
		result = queue_steering_attach_program(fd, device->programs.steering);
	if (result == 0 && device->programs.shares >= 0)
		result = destination_shares_attach(fd, device->programs.shares);
	else if (result == 0)
		destination_shares_detach(fd);
	programs_close(device);
	return result == 0 ? 0
			   : error_set(error, result, "interface %s: cannot attach a program: %s", device->name,
				       strerror(-result));
}

void tun_device_close(struct tun_device *device)
{
	programs_close(device);
	sparse_flows_unload(&device->sparse_flows);
	if (device->shares != NULL)
		destination_shares_unload(device->shares);
	free(device->shares);
	device->shares = NULL;
	if (device->queues == NULL)
		return;
	for (unsigned i = device->readers + device->writers + device->sparse; i > 0; i--)
		if (device->queues[i - 1].fd >= 0)
			close(device->queues[i - 1].fd);
	free(device->queues);
	device->queues = NULL;
}
