// SPDX-License-Identifier: Apache-2.0
/* Which queue of the interface a packet is read from: a BPF program that the kernel runs for each packet that it sends
 * into the interface (TUNSETSTEERINGEBPF, Linux 4.16). The queue follows the inner destination:
 *
 *   queue = (address - base of its family) mod queues     unsigned, on the address's last 32 bits
 *
 * For an address of the gateway's pool that is its index in the pool modulo the queues, which is also how sessions are
 * dealt to workers (core/sessions/registry.h). Any other address has a queue too, always the same one. */
#pragma once

#include <stdint.h>

struct bpf_insn;

struct queue_steering {
	uint32_t queues;       /* the first so many are read from; 0: no steering */
	uint32_t base4, base6; /* network address of the pool, host order: IPv4, and the last 32 bits of IPv6 */
};

enum { QUEUE_STEERING_INSTRUCTIONS = 12 };

/* What the kernel runs: QUEUE_STEERING_INSTRUCTIONS instructions. */
void queue_steering_program(const struct queue_steering *steering, struct bpf_insn *program);

/* Loads the program into the kernel and attaches it to the interface that the queue `fd` belongs to; it stays as long
 * as the interface. 0, or a negative errno: -EPERM without CAP_BPF (before Linux 5.8 CAP_SYS_ADMIN), -EINVAL or
 * -ENOSYS where the kernel has no such thing. Start-up. */
int queue_steering_attach(int fd, const struct queue_steering *steering);

/* Loads it alone: a descriptor for queue_steering_attach_program(), or as above. */
int queue_steering_load(const struct queue_steering *steering);

/* Attaches another program, by its descriptor. The interface holds it, so the descriptor may be closed. As above. */
int queue_steering_attach_program(int fd, int program);
