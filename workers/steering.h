// SPDX-License-Identifier: Apache-2.0
/* Which socket of the reuseport group gets a datagram: the kernel decides by a small BPF program, so that a session
 * stays on its worker wherever its client comes from, and a HELLO never waits with data nor data with it. The same
 * holds for WireGuard's messages (core/protocol/head.h).
 *
 * The sockets of the workers come first in the group, those of the handshake threads after them. A train of datagrams
 * (UDP_GRO) is steered once, by its first datagram, with the length of the whole. */
#pragma once

#include <linux/filter.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/protocol/messages.h"

/* A test of the first byte for each type that handshake threads take. */
enum { STEERING_INSTRUCTIONS = 23 + WIRE_HANDSHAKER_TYPES };

#define STEERING_HASH UINT32_MAX /* any of the group: the kernel's hash over addresses and ports */

struct steering {
	uint32_t workers;     /* sockets 0 to workers - 1 of the group; at least 1 */
	uint32_t handshakers; /* the sockets after them; at least 1 at a gateway, 0 at a client */
	uint32_t slot_mask;   /* of a session ID; all bits below some power of two */
};

/* The socket's index in the group for a datagram of `length` bytes, or STEERING_HASH for one that is too short for any
 * message. What handshake threads take (HELLO of version 1) goes to one of them by its client_magic, everything else to
 * the worker that owns the session ID.
 *
 * Of WireGuard's, an initiation goes to a handshake thread by the initiator's index, and what answers an initiation of
 * ours, a response or a cookie reply, by our index in it less the epoch: both to the same thread, whatever key of the
 * session the handshake was for. Data goes to the session's worker. The program's meaning in C; any thread. */
uint32_t steering_thread(const struct steering *steering, const uint8_t *datagram, uint32_t length);

/* The same as a classic BPF program, for the kernel. */
void steering_program(const struct steering *steering, struct sock_filter program[STEERING_INSTRUCTIONS]);

/* Steers the whole group that the bound socket `fd` is in, from now on and for sockets that join later. 0 or a negative
 * errno. Start-up. */
int steering_attach(int fd, const struct steering *steering, struct error *error);
