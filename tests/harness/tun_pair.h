// SPDX-License-Identifier: Apache-2.0
/* A TUN without a device: struct tun_queue over one end of a socket pair, whose other end a test holds. Frames carry
 * their virtio-net header. Reading and writing neither allocate nor lock. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "tun/tun.h"

struct tun_pair {
	struct tun_queue queue;
	int other;		 /* the test's end, non-blocking */
	_Atomic int write_error; /* a negative errno that the next write fails with, once */
};

/* 0 or a negative errno. */
int tun_pair_open(struct tun_pair *pair, struct tun_offloads offloads);
void tun_pair_close(struct tun_pair *pair);

/* The test's end: hands a frame in; 0 or a negative errno (-EAGAIN: the queue is full). */
int tun_pair_put(struct tun_pair *pair, const void *frame, size_t length);

/* The test's end: the next frame that was written, up to TUN_FRAME_MAX bytes; 0 when none is waiting. */
size_t tun_pair_take(struct tun_pair *pair, uint8_t *frame);
