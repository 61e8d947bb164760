// SPDX-License-Identifier: Apache-2.0
/* Coalescing, the inverse of segmentation: consecutive packets of one TCP or UDP flow become one super-packet for the
 * TUN.
 *
 * Packets are not copied: frames point to the memory where each was opened, which must stay until the frames were
 * written. Packets of a flow keep their order, also those that cannot be merged; what has no ports (a fragment) counts
 * for every flow between its addresses.
 *
 * What is merged comes out of segmentation again byte for byte, in ours as in the kernel's. That decides the rules:
 * same addresses, ports, TTL, TOS with ECN, fragment field, flow label and IP options; IPv4 IDs that count up by one,
 * also with DF (segmentation counts them up, so equal ones would not come back). TCP: next sequence number, same
 * acknowledgement, window and options, ACK and nothing but PSH beside it. Equal payload sizes; a shorter one or PSH
 * closes; an empty one (a pure ACK) is never merged. No fragment, no IPv6 extension header. All checksums verified, and
 * in the form that segmentation computes: a packet that says 0xffff where TCP's or IPv4's would be 0 stays alone.
 *
 * A packet whose checksum is not verified right is never merged and never marked as checked: the receiver's stack shall
 * find what we found.
 *
 * Owner: one worker. Fixed memory, no allocation after init. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/owner.h"
#include "tun/inner.h"
#include "tun/tun.h"

struct coalescer; /* large: allocated once */

/* `packets` is how many packets one batch can hold, 1 … 2^20. `offloads` says which super-packets the device takes;
 * without `checksum` nothing is verified, marked or merged. NULL: no memory. */
struct coalescer *coalescer_new(size_t packets, struct tun_offloads offloads);
void coalescer_free(struct coalescer *coalescer);

/* It belongs to whom `owner` belongs to. */
void coalescer_own(struct coalescer *coalescer, const struct owner *owner);

/* Adds a packet that inner_parse() accepted; `inner->data` is modified when it becomes the head of a super-packet.
 * False when the batch is full: take the frames first. */
bool coalescer_add(struct coalescer *coalescer, const struct inner *inner);

/* Finishes all super-packets and yields the frames in the order of their first packets; they stay valid until
 * coalescer_reset(). */
const struct tun_frame *coalescer_frames(struct coalescer *coalescer, size_t *count);
void coalescer_reset(struct coalescer *coalescer);
