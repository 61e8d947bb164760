#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Another program's tunnel, plain packets in UDP: other_tunnel.py INTERFACE PORT [REMOTE_ADDRESS:PORT] [MARK]

Without a remote it answers where the last packet came from. With a mark its own packets carry it, as those of wg-quick
do. Says "ready" once the interface is there, and the number of packets that it has sent when it is ended.
"""
import fcntl
import os
import select
import signal
import socket
import struct
import sys

TUNSETIFF, IFF_TUN, IFF_NO_PI, SO_MARK = 0x400454CA, 1, 0x1000, 36


def main():
    interface, port = sys.argv[1], int(sys.argv[2])
    remote = None
    if len(sys.argv) > 3 and sys.argv[3]:
        host, _, remote_port = sys.argv[3].rpartition(":")
        remote = (host, int(remote_port))
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", interface.encode(), IFF_TUN | IFF_NO_PI))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if len(sys.argv) > 4:
        udp.setsockopt(socket.SOL_SOCKET, SO_MARK, int(sys.argv[4]))
    udp.bind(("", port))
    sent = 0

    def end(*_):
        print("sent", sent, flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([tun, udp], [], [])
        if tun in ready:
            packet = os.read(tun, 65536)
            if remote:
                try:
                    udp.sendto(packet, remote)
                    sent += 1
                except OSError:
                    pass
        if udp in ready:
            packet, source = udp.recvfrom(65536)
            if len(sys.argv) <= 3 or not sys.argv[3]:
                remote = source
            try:
                os.write(tun, packet)
            except OSError:
                pass


main()
