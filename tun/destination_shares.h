/* SPDX-License-Identifier: Apache-2.0 */
/* The queues of the interface, shared evenly by destinations: one that is sent more than there is room for loses
 * packets in front of the queue, and the others hardly any (core/base/queue_shares.h). A BPF program that the kernel
 * runs for each packet before it is queued (TUNSETFILTEREBPF, Linux 4.16). What it drops the kernel counts as the
 * interface's tx_dropped.
 *
 * The queues are made as long as the program believes them to be. Where they are made shorter later, the kernel drops
 * behind the program, which then counts too much until the queue is empty.
 *
 * Packets in the second queues, of sparse flows, have limits of their own (tun/sparse_flows.h) and are let through. An
 * address of the pool is a destination of its own, up to DESTINATION_SHARES_MOST of them for each queue; others, and
 * those of networks behind peers, share one with whomever has the same bits. */
#pragma once

#include <stdbool.h>

#include "core/base/queue_shares.h"
#include "tun/headers.h"
#include "tun/queue_steering.h"
#include "tun/vnet.h"

enum {
	DESTINATION_SHARES_LEAST = 64, /* destinations of a queue: powers of two */
	DESTINATION_SHARES_MOST = 16384,
	DESTINATION_SHARES_PACKET =
		256, /* bytes that it counts besides its length: small ones cost the reader that much */
	DESTINATION_SHARES_SPARE = 24,	     /* the kernel gives back 16 of a queue's slots at a time */
	DESTINATION_SHARES_SLOTS = 1000,     /* packets in a queue, which has room for them: tun/device.c */
	DESTINATION_SHARES_BYTES = 32 << 20, /* and bytes */
};

/* All zero: there are none. */
struct destination_shares {
	struct queue_shares shares;
	struct queue_steering steering;
};

/* Shares the queues that `steering` steers to, among `destinations` in all, and loads the program. Its descriptor, or a
 * negative errno with nothing left: as queue_steering_attach(), and -EINVAL before Linux 5.8 (that clock). Start-up. */
int destination_shares_load(struct destination_shares *shares, const struct queue_steering *steering,
			    uint32_t destinations);

/* Attaches it to the interface of queue `fd`, which holds it, so the descriptor may be closed. 0 or a negative errno.
 * At a start before the interface is up. */
int destination_shares_attach(int fd, int program);

/* Takes such a program off the interface of queue `fd`, if there is one. */
void destination_shares_detach(int fd);

/* When no thread reads the queues any more; again is allowed. */
static inline void destination_shares_unload(struct destination_shares *shares)
{
	queue_shares_unmake(&shares->shares);
}

/* For the thread that reads queue `index`; `shares` may be NULL: none. */
struct queue_shares_tally destination_shares_tally(const struct destination_shares *shares, uint32_t index);

/* The member of its queue that a packet belongs to. False: it is not counted. */
static inline bool destination_shares_member(const struct destination_shares *shares, const uint8_t *packet,
					     uint32_t length, uint32_t *member)
{
	uint32_t address;
	if (length >= IPV4_HEADER_MIN && packet[0] >> 4 == 4)
		address = load_be32(packet + IPV4_AT_DESTINATION) - shares->steering.base4;
	else if (length >= IPV6_HEADER_LENGTH && packet[0] >> 4 == 6)
		address = load_be32(packet + IPV6_AT_DESTINATION + 12) - shares->steering.base6;
	else
		return false;
	*member = address / shares->steering.queues & (shares->shares.stride - 1);
	return true;
}

/* The reader took a frame, virtio-net header and packet, of `length` bytes. With `shares` NULL nothing is done. */
static inline void destination_shares_took(const struct destination_shares *shares, struct queue_shares_tally *tally,
					   const uint8_t *frame, uint32_t length)
{
	uint32_t member;
	if (shares != NULL && length > VNET_HEADER_SIZE &&
	    destination_shares_member(shares, frame + VNET_HEADER_SIZE, length - VNET_HEADER_SIZE, &member))
		queue_shares_took(tally, member,
				  QUEUE_SHARES_SLOT + length - VNET_HEADER_SIZE + DESTINATION_SHARES_PACKET);
}
