# SPDX-License-Identifier: Apache-2.0
"""Inner packets: as much of IPv4, IPv6 and ICMP echo as the peer needs."""

import ipaddress
import struct


def checksum(data):
    """The Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _icmp(source, destination, kind, identifier, sequence, payload):
    body = struct.pack(">BBHHH", kind, 0, 0, identifier, sequence) + payload
    pseudo = b""
    if source.version == 6:
        pseudo = source.packed + destination.packed + struct.pack(">IHBB", len(body), 0, 0, 58)
    return body[:2] + checksum(pseudo + body).to_bytes(2, "big") + body[4:]


def _packet(source, destination, kind, identifier, sequence, payload):
    body = _icmp(source, destination, kind, identifier, sequence, payload)
    if source.version == 6:
        return struct.pack(">IHBB", 6 << 28, len(body), 58, 64) + source.packed + destination.packed + body
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 1, 0) + source.packed + destination.packed
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body


def echo_request(source, destination, identifier, sequence, payload=b""):
    """A whole ICMP or ICMPv6 echo request; the family is that of the addresses."""
    return _packet(source, destination, 8 if source.version == 4 else 128, identifier, sequence, payload)


def datagram(source, destination, port, destination_port, payload):
    """A whole UDP datagram in IPv4, without a checksum."""
    body = struct.pack(">HHHH", port, destination_port, 8 + len(payload), 0) + payload
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 17, 0) + source.packed + destination.packed
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body


def addresses(packet):
    """(source, destination), or None for what is neither IPv4 nor IPv6 or does not say its own length."""
    if len(packet) >= 20 and packet[0] >> 4 == 4 and int.from_bytes(packet[2:4], "big") == len(packet):
        return ipaddress.ip_address(packet[12:16]), ipaddress.ip_address(packet[16:20])
    if len(packet) >= 40 and packet[0] >> 4 == 6 and int.from_bytes(packet[4:6], "big") + 40 == len(packet):
        return ipaddress.ip_address(packet[8:24]), ipaddress.ip_address(packet[24:40])
    return None


def _parse_echo(packet, kinds):
    pair = addresses(packet)
    if pair is None:
        return None
    version4 = pair[0].version == 4
    offset = (packet[0] & 15) * 4 if version4 else 40
    protocol = packet[9] if version4 else packet[6]
    if protocol != (1 if version4 else 58) or len(packet) < offset + 8 or packet[offset] != kinds[0 if version4 else 1]:
        return None
    identifier, sequence = struct.unpack_from(">HH", packet, offset + 4)
    return pair[0], pair[1], identifier, sequence, packet[offset + 8 :]


def is_echo(packet):
    """Whether it is an echo request or its reply."""
    return _parse_echo(packet, (8, 128)) is not None or parse_reply(packet) is not None


def flow(packet):
    """(source, destination, protocol), or None: coarser than section 5's flow, whose order it keeps all the more."""
    pair = addresses(packet)
    return pair and (*pair, packet[9] if pair[0].version == 4 else packet[6])


def parse_reply(packet):
    """(source, destination, identifier, sequence, payload) of an echo reply, or None."""
    return _parse_echo(packet, (0, 129))


def answer_echo(packet, own):
    """The echo reply to an echo request for one of the addresses `own`, or None."""
    request = _parse_echo(packet, (8, 128))
    if request is None or request[1] not in own:
        return None
    source, destination, identifier, sequence, payload = request
    return _packet(destination, source, 0 if source.version == 4 else 129, identifier, sequence, payload)
