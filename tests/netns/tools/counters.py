#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Looks at the datagrams of a gateway on the wire: whether a value of a key's counter was ever used twice, by whatever process.

    counters.py watch INTERFACE PORT FILE    until SIGTERM; says "watching", and at the end a line of JSON. Keeps in FILE what
                                             came to the gateway
    counters.py replay FILE ADDRESS          sends that to the gateway's address once more, from where it came from; IPv4.
                                             Prints how many datagrams of each kind

A key is the receiver's session and epoch (ours) or index (WireGuard), in one direction. A handshake's answer makes the keys of
its session new ones. The interface has to carry each datagram alone (ethtool -K INTERFACE tx-udp-segmentation off at either end).
"""

import json
import signal
import socket
import struct
import sys
import time

ETH_P_ALL, SOL_PACKET, PACKET_STATISTICS, SO_RCVBUFFORCE = 3, 263, 6, 33
IP_VERSIONS = {0x0800: 4, 0x86DD: 6}
UDP = 17
BUFFER = 64 << 20
WELCOME, TRANSPORT = 2, (3, 4, 5, 6, 9)  # ours
WG_RESPONSE, WG_DATA = 2, 4
PIECE = 64  # datagrams that are sent without a pause


class Watch:
    def __init__(self, port, keep):
        self.port, self.keep = port, keep
        self.used = {}  # key -> the counter's values
        self.twice, self.kinds = [], {}
        self.kept = 0

    def transport(self, key, counter):
        values = self.used.setdefault(key, set())
        if counter in values:
            self.twice.append([*key, counter])
        values.add(counter)

    def forget(self, wanted):
        for key in [key for key in self.used if wanted(key)]:
            del self.used[key]

    def message(self, up, data):
        high, kind = data[0] >> 4, data[0] & 15
        name = f"{'shardtun' if high else 'wireguard'} {kind} {'up' if up else 'down'}"
        self.kinds[name] = self.kinds.get(name, 0) + 1
        if high and kind in TRANSPORT:
            session, counter = struct.unpack_from(">II", data, 1)
            self.transport(("shardtun", up, session, high), counter)
        elif high and kind == WELCOME:
            session = struct.unpack_from(">I", data, 1)[0]
            self.forget(lambda key: key[0] == "shardtun" and key[2] == session)
        elif not high and kind == WG_DATA:
            index, counter = struct.unpack_from("<IQ", data, 4)
            self.transport(("wireguard", up, index, 0), counter)
        elif not high and kind == WG_RESPONSE:
            sender, receiver = struct.unpack_from("<II", data, 4)
            self.forget(lambda key: key[0] == "wireguard" and (key[1] == up, key[2]) in ((True, receiver), (False, sender)))

    def datagram(self, source, source_port, target_port, data):
        if not data or self.port not in (source_port, target_port):
            return
        up = target_port == self.port
        self.message(up, data)
        if up and len(source) == 4:
            self.keep.write(struct.pack(">4sHH", source, source_port, len(data)) + data)
            self.kept += 1

    def frame(self, protocol, packet):
        version = IP_VERSIONS.get(protocol)
        if version == 4 and packet[9] == UDP:
            header, source = (packet[0] & 15) * 4, packet[12:16]
        elif version == 6 and packet[6] == UDP:
            header, source = 40, packet[8:24]
        else:
            return
        source_port, target_port, length = struct.unpack_from(">HHH", packet, header)
        self.datagram(source, source_port, target_port, packet[header + 8 : header + length])


def watch(interface, port, file):
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    tap.bind((interface, ETH_P_ALL))
    tap.settimeout(0.2)
    with open(file, "wb") as keep:
        seen = Watch(int(port), keep)
        print("watching", flush=True)
        while not stopping:
            try:
                packet, (_, protocol, *_) = tap.recvfrom(1 << 17)
            except TimeoutError:
                continue
            seen.frame(protocol, packet)
    missed = struct.unpack("II", tap.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
    print(json.dumps({"keys": len(seen.used), "values": sum(map(len, seen.used.values())), "twice": len(seen.twice),
                      "first": seen.twice[:3], "kinds": seen.kinds, "kept": seen.kept, "missed": missed}), flush=True)


def read_kept(file):
    with open(file, "rb") as kept:
        while head := kept.read(8):
            source, port, length = struct.unpack(">4sHH", head)
            yield source, port, kept.read(length)


def replay(file, address):
    """By IP headers of our own, and no UDP checksum, which IPv4 allows."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    host, _, port = address.rpartition(":")
    target, kinds = socket.inet_aton(host), {"transport": 0, "handshake": 0}
    for number, (source, source_port, data) in enumerate(read_kept(file)):
        head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, UDP, 0, source, target)
        raw.sendto(head + struct.pack(">HHHH", source_port, int(port), 8 + len(data), 0) + data, (host, 0))
        high, kind = data[0] >> 4, data[0] & 15
        kinds["transport" if kind in (TRANSPORT if high else (WG_DATA,)) else "handshake"] += 1
        if number % PIECE == 0:
            time.sleep(0.01)
    print(json.dumps(kinds))


if __name__ == "__main__":
    {"watch": watch, "replay": replay}[sys.argv[1]](*sys.argv[2:])
