#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sends single datagrams and trains of them, and prints what arrives.

datagrams.py receive PORT                 a line for each: LENGTH SEGMENT FIRST-BYTES TO (SEGMENT: of a train, else 0)
datagrams.py send ADDRESS PORT HEX LENGTH [COUNT]   HEX, filled up to LENGTH; COUNT of them as one train (UDP_SEGMENT)
"""

import socket
import struct
import sys

UDP_SEGMENT, UDP_GRO = 103, 104
IPV6_RECVPKTINFO, IPV6_PKTINFO = 49, 50


def receive(port):
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    udp.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
    udp.bind(("::", port))
    print("ready", flush=True)
    while True:
        data, ancillary, _, _ = udp.recvmsg(65536, 256)
        segment, to = 0, "?"
        for level, kind, value in ancillary:
            if level == socket.IPPROTO_UDP and kind == UDP_GRO:
                segment = struct.unpack_from("=H", value)[0]
            elif level == socket.IPPROTO_IPV6 and kind == IPV6_PKTINFO:
                to = socket.inet_ntop(socket.AF_INET6, value[:16]).removeprefix("::ffff:")
        print(len(data), segment, data[:12].hex(), to, flush=True)


def send(address, port, text, length, count=1):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM)
    one = bytes.fromhex(text).ljust(length, b"\x55")
    ancillary = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", length))] if count > 1 else []
    udp.sendmsg([one * count], ancillary, 0, (address, port))


if sys.argv[1] == "receive":
    receive(int(sys.argv[2]))
else:
    send(sys.argv[2], int(sys.argv[3]), sys.argv[4], *map(int, sys.argv[5:]))
