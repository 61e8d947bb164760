/* SPDX-License-Identifier: Apache-2.0 */
/* The interface's second queues, for packets of flows that send little (core/base/sparse_queue.h): a BPF program for
 * tun/queue_steering.h.
 *
 *   flow    addresses and, of TCP and UDP without fragments, ports; hashed into one of SPARSE_FLOWS counters
 *
 * All sparse flows to one destination have a limit of their own, too: one sender with many port numbers cannot fill the
 * second queue. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/base/sparse_queue.h"
#include "tun/queue_steering.h"

enum {
	SPARSE_FLOWS = 4096, /* counters of flows, and of destinations: powers of two */
	SPARSE_DESTINATION_COST = 64 << 10,
};

struct sparse_flows {
	int program; /* descriptor; -1: none */
	struct sparse_queue *queues;
	size_t mapped; /* bytes */
};

/* Loads a program for tun/queue_steering.h's queues that sends sparse flows to queue `first` + q in place of q. 0, or a
 * negative errno, with nothing left: as queue_steering_attach(), and -EINVAL before Linux 5.8 (that clock).
 * Start-up. */
int sparse_flows_load(struct sparse_flows *flows, const struct queue_steering *steering, uint32_t first);

/* The program's descriptor alone, once it is attached. */
void sparse_flows_close_program(struct sparse_flows *flows);

/* When no thread reads the queues any more; again is allowed. */
void sparse_flows_unload(struct sparse_flows *flows);
