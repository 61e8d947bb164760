// SPDX-License-Identifier: Apache-2.0
/* The UDP side as the workers see it: batches of messages, each one datagram or a train of equal ones (UDP_GRO,
 * UDP_SEGMENT).
 *
 * A socket is reached through a small ops struct chosen once at start: the kernel's (workers/udp.c) or a socketpair for
 * tests. Owned by one worker. Addresses are IPv6 throughout, IPv4 as v4-mapped. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/ip.h"
#include "core/sessions/session.h"

enum {
	UDP_BATCH = 64,		 /* messages in one system call, at most */
	UDP_MESSAGE_MAX = 65535, /* bytes a receive buffer must hold */
	UDP_TRAIN_SEGMENTS = 64, /* datagrams in one train: UDP_MAX_SEGMENTS of every kernel with UDP_SEGMENT */
	UDP_TRAIN_BYTES = 65000, /* and bytes: an IP packet less headers with options */
	UDP_ADDRESSES_MAX = 16,	 /* that one socket of ours may listen on */
};

struct udp_message {
	uint8_t *data;	       /* receive: room for UDP_MESSAGE_MAX bytes, the caller's */
	uint32_t length;       /* bytes; receive: set */
	uint16_t segment_size; /* bytes of each datagram in the train but the last; 0: a single datagram */
	uint8_t ecn;	       /* outer ECN bits, 0…3 */
	bool truncated;	       /* receive: the message was longer than the buffer */
	uint64_t stamp;	       /* receive: when the kernel got it, ns of CLOCK_REALTIME; 0: not known (udp_stamp()) */
	struct endpoint endpoint; /* the other side's address and ours */
};

/* The datagrams of a message: of a train one for each segment, else the message itself, also when it is empty. The
 * bytes may be changed on the way.
 *
 *   struct udp_datagrams datagrams = udp_datagrams(message);
 *   while (udp_datagrams_next(&datagrams))
 *           take(datagrams.data, datagrams.length); */
struct udp_datagrams {
	uint8_t *data;	 /* the one at hand */
	uint32_t length; /* bytes */
	uint32_t count;	 /* so many up to and with the one at hand */
	uint32_t step;	 /* bytes from each to the next */
	uint32_t left;	 /* bytes behind the one at hand */
};

static inline struct udp_datagrams udp_datagrams(const struct udp_message *message)
{
	return (struct udp_datagrams){.data = message->data,
				      .step = message->segment_size != 0 ? message->segment_size : message->length,
				      .left = message->length};
}

/* False after the last. */
static inline bool udp_datagrams_next(struct udp_datagrams *datagrams)
{
	if (datagrams->left == 0 && datagrams->count != 0)
		return false;
	datagrams->data += datagrams->length;
	datagrams->length = datagrams->left < datagrams->step ? datagrams->left : datagrams->step;
	datagrams->left -= datagrams->length;
	datagrams->count++;
	return true;
}

struct udp_socket;

struct udp_ops {
	/* Receives up to `count` (at most UDP_BATCH) messages. Returns how many, 0 when none is waiting, or a negative
	 * errno. Never blocks. */
	int (*receive)(struct udp_socket *socket, struct udp_message *messages, size_t count);
	/* Sends up to `count` (at most UDP_BATCH) messages in order. Returns how many were taken (at least 1), or the
	 * negative errno of the first. Never blocks: -EAGAIN. */
	int (*send)(struct udp_socket *socket, const struct udp_message *messages, size_t count);
	void (*close)(struct udp_socket *socket);
	/* The sockets with a descriptor that it is made of, from 0 on; NULL after the last. NULL: it has its own. */
	struct udp_socket *(*member)(struct udp_socket *socket, size_t i);
};

struct udp_socket {
	const struct udp_ops *ops;
	int fd;
	_Atomic bool gso; /* trains can be sent; the worker clears it when the device refuses them; any thread reads */
	bool gro;	  /* trains may be received */
	_Atomic bool stamps; /* the kernel stamps what arrives; the control thread sets it; any thread reads */
	bool full;	     /* the last send was -EAGAIN: wait until `fd` is writable */
	uint32_t buffer; /* bytes of receive buffer that it was opened with, before others raised that; 0: not known */
};

/* The sockets with a descriptor to wait for, from 0 on; NULL after the last. */
static inline struct udp_socket *udp_member(struct udp_socket *socket, size_t i)
{
	if (socket->ops->member != NULL)
		return socket->ops->member(socket, i);
	return i == 0 ? socket : NULL;
}

struct udp_params {
	struct ip_address address; /* to listen on; family 0: all addresses, both families */
	uint16_t port;		   /* host order; 0: any */
	uint32_t mark;		   /* SO_MARK of what is sent; 0: none */
	uint32_t buffer;	   /* bytes of socket buffer, each direction */
	bool gso, gro;		   /* what to try */
};

/* Opens, binds and prepares a socket, dual-stack unless IPv6 is off. A port in use, by another shardtund too,
 * is an error; a port that was bound here is exclusive. NULL with `error` set. Start-up; CAP_NET_ADMIN for mark and
 * large buffers. */
struct udp_socket *udp_open(const struct udp_params *params, struct error *error);

/* The same for `count` sockets of one address and port that share what arrives (SO_REUSEPORT): sockets[i] has index i
 * for workers/steering.h. With port 0 all have the one that the kernel chose for the first. On failure none is left,
 * all are NULL. 0 or a negative errno.
 *
 * While the group lives, none of them may be closed or connected: either moves the indexes of others. */
int udp_open_group(const struct udp_params *params, size_t count, struct udp_socket **sockets, struct error *error);

/* The same for several addresses, at most UDP_ADDRESSES_MAX, with a group for each, none of which overlap: socket i is
 * made of member i of every group, and sends from the address that the endpoint names. `params` has no address; with
 * none here all are meant. Each group has to be steered by itself. */
int udp_open_groups(const struct udp_params *params, const struct ip_address *addresses, size_t address_count,
		    size_t count, struct udp_socket **sockets, struct error *error);

/* Whether `fd` is a socket as udp_open() opens it with these parameters, or (`shared`) udp_open_group(): of this
 * network namespace, bound to that address and port (0: any), not connected. -EPROTO with `error` saying what is wrong.
 * Changes nothing. Start-up. */
int udp_check(const struct udp_params *params, bool shared, int fd, struct error *error);

/* As udp_open_groups(), of sockets that exist and passed udp_check(): descriptor `address * count + i` becomes member i
 * of that address's group. What waits in them stays there, as do the programs that are attached to them. The
 * descriptors belong to the sockets; on failure they are closed. */
int udp_adopt_groups(const struct udp_params *params, const struct ip_address *addresses, size_t address_count,
		     size_t count, const int *fds, struct udp_socket **sockets, struct error *error);

/* One group of these; `fds` of udp_adopt_groups(), or NULL to open. On failure its part of them is closed. */
int udp_make_group(const struct udp_params *params, size_t count, const int *fds, struct udp_socket **sockets,
		   struct error *error);

/* At least so many bytes of receive buffer, as far as may be. Start-up; CAP_NET_ADMIN for large ones. */
void udp_receive_buffer(struct udp_socket *socket, uint32_t bytes);

/* Has the kernel stamp what it receives for this socket, or not. While any socket of the machine has that, the kernel
 * reads the clock for each packet that arrives. What waits in the socket when that begins gets the time of the receive
 * call. False: this kernel refuses, and no message has a stamp. Control thread, at any time. */
bool udp_stamp(struct udp_socket *socket, bool stamps);

void udp_close(struct udp_socket *socket); /* NULL is allowed */

/* The address and port that the kernel's socket is bound to. */
void udp_address(const struct udp_socket *socket, struct sockaddr_in6 *bound);
