// SPDX-License-Identifier: Apache-2.0
/* Coalescing, the inverse of segmentation: consecutive packets of one TCP or UDP flow become one super-packet for the
 * TUN.
 *
 * Packets are not copied: frames point to the memory where each packet was decrypted, which must stay valid until the
 * frames were written. Packets of a flow keep their order, also those that cannot be merged; a packet without ports (a
 * fragment) counts as one of every flow between its addresses.
 *
 * A merged packet comes out of segmentation again byte for byte, in tun/segment.c as in the kernel, with one exception:
 * IPv4 IDs under DF that were all the same (0 from an unconnected UDP socket) come out counting up from it. Nothing may
 * rely on such an ID (RFC 6864), and a virtio-net header has no word for IDs that stay (SKB_GSO_TCP_FIXEDID).
 *
 * That decides the rules: same addresses, ports, TTL, TOS with ECN, fragment field, flow label and IP options; IPv4 IDs
 * that count up by one or, with DF, are all the same, as the kernel's GRO takes them. TCP: next sequence number, same
 * acknowledgement, window and options, ACK and nothing but PSH beside it. Equal payload sizes; a shorter one or PSH
 * closes; an empty one (a pure ACK) is never merged. No fragment, no IPv6 extension header. All checksums verified, and
 * in the form that segmentation computes: a packet with 0xffff where TCP's or IPv4's checksum would be 0 is not merged.
 *
 * A packet whose checksum is wrong or absent is never merged and never marked as checked: the receiving stack then sees
 * it as it came.
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

/* For OWNERS=1 builds (core/base/owner.h): the coalescer has the owner that `owner` has. */
void coalescer_own(struct coalescer *coalescer, const struct owner *owner);

/* Adds a packet that inner_parse() accepted; `inner->data` is modified when it becomes the head of a super-packet.
 * False when the batch is full: take the frames first. */
bool coalescer_add(struct coalescer *coalescer, const struct inner *inner);

/* Finishes all super-packets and yields the frames in the order of their first packets; they stay valid until
 * coalescer_reset(). */
const struct tun_frame *coalescer_frames(struct coalescer *coalescer, size_t *count);
void coalescer_reset(struct coalescer *coalescer);
