// SPDX-License-Identifier: Apache-2.0
/* The TUN side as the workers see it: frames (virtio-net header and IP packet) read from and written to a queue.
 *
 * A queue is reached through a small ops struct chosen once at start: the kernel's device (tun/device.c), a socketpair
 * for tests, or null. One thread reads a queue, one thread writes it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/base/error.h"
#include "core/base/ip.h"
#include "tun/destination_shares.h"
#include "tun/sparse_flows.h"
#include "tun/vnet.h"

/* Offloads of the device, probed at start: each is left out alone where the kernel lacks it. The others need
 * `checksum`. */
struct tun_offloads {
	bool checksum; /* partial checksums in both directions */
	bool tso;      /* TCP super-packets, IPv4 and IPv6 */
	bool uso;      /* UDP super-packets, IPv4 and IPv6: Linux 6.2 and later */
};

/* One frame to write: iov[0] is the virtio-net header, the rest the IP packet. */
struct tun_frame {
	const struct iovec *iov;
	int iov_count;
	uint32_t packets; /* how many packets the frame stands for (1 unless a super-packet) */
};

struct tun_queue;

struct tun_ops {
	/* Reads up to `count` frames, each into iov_base with room for iov_len bytes, and sets iov_len to its length.
	 * Returns how many; 0 when none is waiting; a negative errno when the device is gone (-EBADFD, -EIO). Never
	 * blocks. */
	int (*read)(struct tun_queue *queue, struct iovec *frames, size_t count);
	/* Writes one frame whole. 0, or a negative errno (the frame is lost). Never blocks. */
	int (*write)(struct tun_queue *queue, const struct tun_frame *frame);
};

struct tun_queue {
	const struct tun_ops *ops;
	int fd; /* for epoll; -1 when there is none */
	struct tun_offloads offloads;
	/* Where the kernel puts packets of sparse flows (tun/sparse_flows.h), and what is shared with it; both NULL:
	 * there is no such queue. */
	struct tun_queue *sparse;
	struct sparse_queue *shared;
	/* How the kernel shares it, as queue `index`; NULL: first come, first served. */
	const struct destination_shares *shares;
	uint32_t index;
};

/* --- the kernel's device ------------------------------------------------------------------------------------------ */

struct tun_params {
	const char *name;		   /* interface name, 1…15 characters; "" lets the kernel choose shardtun%d */
	unsigned mtu;			   /* bytes of inner IP packet */
	struct tun_offloads offloads;	   /* what to try; false switches one off */
	const struct ip_prefix *addresses; /* with prefix length, host bits kept */
	size_t address_count;
	unsigned readers; /* queues to read from, at least 1; they can be written to as well */
	unsigned writers; /* further queues, to be written to; CPU_TUN_QUEUES_MAX of both at most */
	/* What the kernel sends goes to the first `steering.queues` of all by their destination. Where the kernel
	 * cannot do that, or is not asked to, it spreads packets over the readers by flow, and the writers are
	 * detached: nothing is ever read from those. */
	struct queue_steering steering;
	/* Wanted: a second queue behind each that is steered to, for sparse flows. Where the kernel cannot do that,
	 * or that would be too many queues, there is none. */
	bool sparse;
	/* Wanted: queues that are steered to, or the only one, are shared evenly by so many destinations; 0: not. */
	uint32_t destinations;
	/* Queues of the interface `name`, which exists, in the order of struct tun_device, each of which passed
	 * tun_queue_check(); NULL: a new interface. They belong to the device; on failure they are closed. */
	const int *adopted;
	unsigned adopted_count;
	/* Of adopted queues which another process still reads: programs are loaded, and attached by
	 * tun_device_attach(). */
	bool attach_later;
};

struct tun_device {
	struct tun_queue *queues; /* readers, then writers; heap, owned; non-blocking; constant once open */
	unsigned readers, writers;
	unsigned sparse; /* queues behind all these, which they point to; 0 where there are none */
	struct sparse_flows sparse_flows;
	struct destination_shares *shares; /* heap, owned; NULL: none */
	int sharing;  /* 0: queues are shared as wanted, if that was wanted; a negative errno: why they are not */
	int steering; /* 0: packets are steered as wanted, if that was wanted; a negative errno: why they are not */
	char name[16];
	unsigned ifindex;
	struct tun_offloads offloads; /* those in force, on every queue */
	bool no_ipv6;		      /* IPv6 addresses were wanted, and the kernel has no IPv6 for this interface */
	/* What tun_device_attach() attaches: descriptors; -1: none. All zero but while `waiting`. */
	struct {
		bool waiting;
		int steering, shares;
	} programs;
};

/* Creates the interface, probes offloads, sets MTU, addresses and link up, without link-local address or router
 * discovery. On failure nothing is left and `error` has the remedy (no /dev/net/tun: modprobe or DeviceAllow; EPERM:
 * CAP_NET_ADMIN; interface held by another process; E2BIG: too many queues). The interface goes when the last queue is
 * closed. An offload that the kernel lacks is logged once. IPv6 is switched on for the interface where it is off for
 * new ones; where that fails, it is logged, and an interface with IPv4 addresses works with those. Start-up; needs
 * CAP_NET_ADMIN.
 *
 * An interface that is adopted keeps its index, its routes and what waits in its queues; its programs are replaced in
 * one step each, and addresses are added, not removed. -EPROTO: its queues are too many or too few for what this kernel
 * grants now, or not attached as they have to be. */
int tun_device_open(struct tun_device *device, const struct tun_params *params, struct error *error);

/* Whether `fd` is a queue of the interface `name` as tun_device_open() opens them, which is of this network namespace,
 * and has more than one queue (`several`) or one. -EPROTO with `error` saying what is wrong. Changes nothing.
 * Start-up. */
int tun_queue_check(int fd, const char *name, bool several, struct error *error);

/* From now on the queues are this process's: its programs replace those of the interface. Nothing to do without
 * `attach_later`. 0, or a negative errno with `error`, which only a lack of memory explains: then the queues are of no
 * use to either process. Needs no rights. */
int tun_device_attach(struct tun_device *device, struct error *error);

void tun_device_close(struct tun_device *device); /* again is allowed */
