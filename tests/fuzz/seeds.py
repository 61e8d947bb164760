#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes inputs to begin with, in the form that the fuzzers take apart: seeds.py DIRECTORY (one folder for each fuzzer)."""

import pathlib
import re
import struct
import sys

ROOT = pathlib.Path(__file__).parents[2]


def block(data):
    return struct.pack(">H", len(data)) + data


def ipv4(protocol, payload, number=1):
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), number, 0x4000, 64, protocol, 0,
                       bytes([10, 8, 0, 2]), bytes([198, 51, 100, 2])) + payload


def ipv6(protocol, payload):
    return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + bytes.fromhex(
        "fd000008000000000000000000000002" "20010db8000200000000000000000002") + payload


def tcp(sequence, flags, data, options=b""):
    return struct.pack(">HHIIBBHHH", 40000, 443, sequence, 1, (20 + len(options)) // 4 << 4, flags, 500, 0, 0) + options + data


def udp(data):
    return struct.pack(">HHHH", 40000, 53, 8 + len(data), 0) + data


def packets():
    def one(packet):
        return block(packet) + bytes([1]) + bytes([0x05, 0x00]) + bytes([0]) + bytes([0x05, 0x00, 0])

    for wrap in (lambda protocol, payload, number: ipv4(protocol, payload, number),
                 lambda protocol, payload, _: ipv6(protocol, payload)):
        yield b"".join(one(wrap(6, tcp(1 + 100 * i, 0x10, bytes(100)), i)) for i in range(8))
        yield b"".join(one(wrap(17, udp(bytes(64)), i)) for i in range(8))
        yield one(wrap(6, tcp(1, 0x02, b"", bytes([2, 4, 5, 180, 1, 1, 1, 0])), 1))
        yield one(wrap(1, b"\x08\0\0\0\0\1\0\1" + bytes(32), 1))


def frames():
    def header(kind, size, start, offset):
        return struct.pack("<BBHHHH", 1, kind, 0, size, start, offset)

    for longest in (1400, 600):
        for kind, packet, start in ((1, ipv4(6, tcp(1, 0x18, bytes(5000))), 20), (4, ipv6(6, tcp(1, 0x18, bytes(5000))), 40)):
            yield struct.pack(">H", longest) + header(kind, 1300, start, 16) + packet
        yield struct.pack(">H", longest) + header(5, 500, 20, 6) + ipv4(17, udp(bytes(3000)))
        yield struct.pack(">H", longest) + header(0, 0, 20, 16) + ipv4(6, tcp(1, 0x10, bytes(300)))


def messages():
    """All that the published exchange has as hexadecimal, payloads among it."""
    for line in (ROOT / "tests/vectors/protocol.txt").read_text().splitlines():
        found = re.fullmatch(r"\S+\s*[=:]?\s*([0-9a-f]{100,})", line.strip())
        if found and len(found[1]) % 2 == 0:
            yield bytes.fromhex(found[1])


def configuration():
    for number, name in ((0, "gateway"), (1, "client")):
        text = (ROOT / f"config/examples/{name}.conf").read_text()
        yield bytes([number]) + text.encode()
        yield bytes([number]) + re.sub(r"(?m)^# ([A-Z]\w* = )", r"\1", text).encode()


def tunnel():
    packet = ipv4(17, udp(bytes(200)))
    yield bytes([2, 1, 4, 0]) + block(packet) + bytes([6, 1])
    yield bytes([3, 1, 4, 0]) + block(packet) + bytes([2, 1, 6, 0]) + block(b"") + bytes([2, 1, 5, 0]) + block(b"\0")
    yield bytes([0, 5, 40]) + block(bytes([0x14]) + bytes(79)) + bytes([4, 0]) + block(packet) + bytes([5, 0]) + block(packet)
    yield bytes([0, 0, 0]) + block(bytes([0x11]) + bytes(1199)) + bytes([1, 0, 0]) + block(bytes([0x12]) + bytes(200))


def main(directory):
    for make in (packets, frames, messages, configuration, tunnel):
        folder = pathlib.Path(directory, make.__name__)
        folder.mkdir(parents=True, exist_ok=True)
        inputs = list(make())
        assert inputs, make.__name__
        for number, data in enumerate(inputs):
            (folder / f"seed-{number}").write_bytes(data)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
