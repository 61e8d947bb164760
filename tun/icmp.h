// SPDX-License-Identifier: Apache-2.0
/* ICMP errors of the tunnel: the answer to a packet that is too long for the session (path MTU discovery). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/base/ip.h"
#include "tun/inner.h"
#include "tun/vnet.h"

enum {
	ICMP_IPV4_MAX = 576,  /* bytes of a whole error message: RFC 1812, 4.3.2.3 */
	ICMP_IPV6_MAX = 1280, /* the least MTU of IPv6: RFC 4443, 2.4 (c) */
	ICMP_FRAME_MAX = VNET_HEADER_SIZE + ICMP_IPV6_MAX,
};

/* Writes to `frame` an empty virtio-net header and the message that answers `inner`, a packet that is longer than the
 * `mtu` bytes that can be sent on: ICMPv4 "fragmentation needed and DF set" with the next hop's MTU (RFC 792, RFC 1191)
 * or ICMPv6 "packet too big" (RFC 4443, 3.2). It goes from `from` to the packet's source, quotes as much of the packet
 * as the limits above allow, and has all checksums. Returns the frame's length, at most ICMP_FRAME_MAX.
 *
 * `inner` is one that inner_parse() accepted, a super-packet too, and does not overlap the frame. Neither its length
 * nor `mtu` is checked (a host ignores an MTU of less than 68, in IPv6 of less than 1280). A Linux kernel that gets the
 * message from its TUN drops it when `from` is one of its own IPv4 addresses. The caller limits the rate (RFC 4443, 2.4
 * (f)).
 *
 * Returns 0, and has written nothing, when it does not fit into `capacity`, when `from` is not of the packet's IP
 * version, and when no error may be sent (RFC 1122, 3.2.2; RFC 4443, 2.4 (e)):
 *   - IPv4 without DF: it is fragmented (tun/fragment.h);
 *   - an ICMP error or redirect, or an ICMP type that is not known to be neither;
 *   - a fragment other than the first: its upper header is not in it, and the first fragment is answered;
 *   - source or destination is not a single host's: unspecified, loopback, multicast, limited broadcast, class E. To an
 *     IPv6 multicast address RFC 4443 would allow it, but a tunnel has no way of knowing the group's;
 *   - IPv6 whose extension headers do not end within what would be quoted.
 * Any thread. */
size_t icmp_too_big(const struct inner *inner, uint16_t mtu, const struct ip_address *from, uint8_t *frame,
		    size_t capacity);
