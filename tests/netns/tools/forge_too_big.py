#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Forges the ICMP message of a router that cannot forward a datagram of the gateway's: the path's MTU is said to be small.

    forge_too_big.py GATEWAY GATEWAY_PORT CLIENT CLIENT_PORT MTU
"""

import socket
import struct
import sys

gateway, gateway_port, client, client_port, mtu = sys.argv[1:]
v6 = ":" in gateway
family = socket.AF_INET6 if v6 else socket.AF_INET
source, target = socket.inet_pton(family, gateway), socket.inet_pton(family, client)
udp = struct.pack("!HHHH", int(gateway_port), int(client_port), 1400, 0)
if v6:
    quoted = struct.pack("!IHBB", 6 << 28, 1400, socket.IPPROTO_UDP, 64) + source + target + udp
    # Packet too big; the kernel computes the checksum.
    message = struct.pack("!BBHI", 2, 0, 0, int(mtu)) + quoted
    raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
else:
    quoted = struct.pack("!BBHHHBBH", 0x45, 0, 1420, 1, 0x4000, 64, socket.IPPROTO_UDP, 0) + source + target + udp
    message = struct.pack("!BBHHH", 3, 4, 0, 0, int(mtu)) + quoted
    words = struct.unpack(f"!{len(message) // 2}H", message)
    total = sum(words)
    total = (total & 0xffff) + (total >> 16)
    message = message[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xffff) + message[4:]
    raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMP)
raw.sendto(message, (gateway, 0))
