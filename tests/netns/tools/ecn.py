#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Datagrams with an ECN field, and what became of it.

    ecn.py receive PORT                     prints "TEXT ECN" of each that comes, IPv4 and IPv6, until it is stopped
    ecn.py send ADDRESS PORT (ECN TEXT)...  sends some, each by itself; ECN is a number from 0 to 3
"""

import selectors
import socket
import sys
import time

IPV6_RECVTCLASS, IPV6_TCLASS, IP_RECVTOS, IP_TOS = 66, 67, 13, 1


def receive(port):
    selector = selectors.DefaultSelector()
    for family, level, option, any_address in ((socket.AF_INET, socket.IPPROTO_IP, IP_RECVTOS, "0.0.0.0"),
                                               (socket.AF_INET6, socket.IPPROTO_IPV6, IPV6_RECVTCLASS, "::")):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        udp.setsockopt(level, option, 1)
        udp.bind((any_address, port))
        selector.register(udp, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            text, control, _, _ = key.fileobj.recvmsg(2000, 100)
            print(text.decode(), control[0][2][0] & 3, flush=True)


def send(address, port, ecn, text):
    v6 = ":" in address
    udp = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
    if v6:
        udp.setsockopt(socket.IPPROTO_IPV6, IPV6_TCLASS, ecn)
    else:
        udp.setsockopt(socket.IPPROTO_IP, IP_TOS, ecn)
    udp.sendto(text.encode(), (address, port))


if sys.argv[1] == "receive":
    receive(int(sys.argv[2]))
else:
    for ecn, text in zip(sys.argv[4::2], sys.argv[5::2]):
        send(sys.argv[2], int(sys.argv[3]), int(ecn), text)
        time.sleep(0.01)
