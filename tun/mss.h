// SPDX-License-Identifier: Apache-2.0
/* MSS clamping: TCP connections through the tunnel negotiate segments that fit into it, and need no path MTU discovery,
 * which fails wherever ICMP is lost. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tun/inner.h"

/* Lowers the MSS option of a TCP SYN (or SYN-ACK) to what fits into packets of `mtu` bytes: `mtu` less the IP header
 * and the TCP header without their options, which the sender subtracts itself (RFC 6691). The TCP checksum is updated
 * incrementally (RFC 1624), so a wrong one stays wrong. Returns whether the packet changed.
 *
 * `inner` is one that inner_parse() accepted. With `partial_checksum` (frame_needs_checksum()) the field holds the
 * pseudo-header's sum, to which options do not belong: it stays.
 *
 * Never raises an MSS and never adds one: a SYN without one means 536 bytes (IPv6: 1220). Options are read up to the
 * first malformed one, as a receiver does; should MSS be there several times, each is lowered. Nothing changes in
 * fragments, behind IPv6 extension headers, and with an `mtu` that does not hold the headers and one byte. Any thread.
 */
bool mss_clamp(const struct inner *inner, uint16_t mtu, bool partial_checksum);
