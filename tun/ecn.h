// SPDX-License-Identifier: Apache-2.0
/* Explicit Congestion Notification through a tunnel, RFC 6040 in normal mode. ECN values are the two low bits of TOS or
 * traffic class. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tun/inner.h"

enum { ECN_NOT_ECT = 0, ECN_ECT1 = 1, ECN_ECT0 = 2, ECN_CE = 3 };

/* The ECN field of an inner packet: also the outer one of the datagram that carries it (RFC 6040, 4.1). */
uint8_t ecn_get(const struct inner *inner);

/* Combines the outer field into the inner packet (RFC 6040, figure 4) and updates the IPv4 header checksum. False when
 * the packet must be dropped: the outer field is CE, and the inner packet is not ECN-capable. */
bool ecn_decapsulate(const struct inner *inner, uint8_t outer);
