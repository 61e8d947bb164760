#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/vectors/wireguard.txt: one complete exchange of the WireGuard protocol with fixed keys."""

import ipaddress
import sys
from pathlib import Path

import inner
import wireguard as wg
from make_vector import Writer, key_bytes
from wire import tai64n

PATH = Path(__file__).resolve().parent.parent / "vectors" / "wireguard.txt"

INTRODUCTION = """\
SPDX-License-Identifier: Apache-2.0
One complete exchange of the WireGuard protocol, from the paper (J. Donenfeld, "WireGuard: Next Generation Kernel Network
Tunnel", section 5.4). Written by tests/peer/make_wireguard_vector.py.

One value a line: "name = hex", lower-case, no spaces inside; an empty value has nothing after "= ". All are as on the
wire: counters little-endian, indexes opaque. Lines that begin with # and empty lines are comments.

initiator_*, responder_*  X25519 keys: static and ephemeral, private (as drawn, not clamped) and public; the key of mac1
                     and of cookie replies that this static key makes; index
psk, timestamp       the pre-shared key; TAI64N of 1700000000.5 s
c_*, h_*             the paper's C and H after each step, in their order: construction, identifier and the responder's
                     static key (before any message); initiator_ephemeral, es, static, ss, timestamp; responder_ephemeral,
                     ee, se, psk, tau, empty. Not every step changes both
dh_*, tau            the DH results, and the second output of the KDF that mixes the PSK
k_*                  the keys of the three encrypted fields: static, timestamp, empty
initiation, response whole datagrams, mac2 being zero
key_i2r, key_r2i     the transport keys of initiator to responder, and of responder to initiator
no_psk_*             response and transport keys from the same inputs with a PSK of zeros, which is none
cookie_*, cookie     secret and source (address and port) that the cookie was made from, nonce; cookie_reply is the datagram
                     that answers the initiation, cookie_reply_to_response the initiator's that answers the response
initiation2_*        the initiation after that, 5.25 s later: index, ephemeral key, timestamp, mac1 and mac2 (by that cookie);
                     initiation2 is the datagram. Everything else is about the first initiation
packet_N             inner packets: an ICMP echo request (1) and its reply (2), ICMPv6 (3), of 16 n bytes (4)
data_DIRECTION_COUNTER_PACKET  data that carries packet_PACKET, padded with zeros to 16 bytes, or nothing (keepalive)
"""

TIME = 1700000000.5
INITIATOR_STATIC, RESPONDER_STATIC = key_bytes(0x11), key_bytes(0x42)
INITIATOR_EPHEMERAL, RESPONDER_EPHEMERAL = key_bytes(0x73), key_bytes(0xA4)
PSK = key_bytes(0xD5)
INITIATOR_INDEX, RESPONDER_INDEX = bytes.fromhex("c0ffee01"), bytes.fromhex("1a2b3c4d")
SECOND_EPHEMERAL, SECOND_INDEX = key_bytes(0x96), bytes.fromhex("c0ffee02")
COOKIE_SECRET, COOKIE_NONCE = key_bytes(0xB7), bytes(range(0x60, 0x78))
SOURCE = ("192.0.2.2", 51820)
HIGH_COUNTER = 0x0102030405060708

OWN4, REMOTE4 = ipaddress.ip_address("10.8.0.7"), ipaddress.ip_address("10.8.0.1")
OWN6, REMOTE6 = ipaddress.ip_address("fd00:8::7"), ipaddress.ip_address("fd00:8::1")


def handshake(psk):
    """(initiator, responder, initiation, response) after both messages."""
    initiator = wg.Initiator(INITIATOR_STATIC, wg.public_key(RESPONDER_STATIC), psk)
    responder = wg.Responder(RESPONDER_STATIC)
    covered = initiator.initiation(INITIATOR_INDEX, INITIATOR_EPHEMERAL, tai64n(int(TIME * 10**9)))
    initiation = wg.add_macs(covered, wg.public_key(RESPONDER_STATIC))
    assert responder.read_static(initiation) == wg.public_key(INITIATOR_STATIC)
    responder.read_timestamp(initiation)
    covered = responder.response(RESPONDER_INDEX, RESPONDER_EPHEMERAL, psk)
    response = wg.add_macs(covered, wg.public_key(INITIATOR_STATIC))
    initiator.read_response(response)
    assert initiator.trace == responder.trace and initiator.keys() == responder.keys()
    return initiator, responder, initiation, response


def key_section(out):
    out.section("Keys, indexes, time")
    for side, static, ephemeral, index in (
            ("initiator", INITIATOR_STATIC, INITIATOR_EPHEMERAL, INITIATOR_INDEX),
            ("responder", RESPONDER_STATIC, RESPONDER_EPHEMERAL, RESPONDER_INDEX)):
        for name, private in (("static", static), ("ephemeral", ephemeral)):
            out.value(f"{side}_{name}_private", private)
            out.value(f"{side}_{name}_public", wg.public_key(private))
        out.value(f"{side}_mac1_key", wg.mac1_key(wg.public_key(static)))
        out.value(f"{side}_cookie_key", wg.cookie_key(wg.public_key(static)))
        out.value(f"{side}_index", index)
    out.value("psk", PSK)
    out.value("timestamp", tai64n(int(TIME * 10**9)))


def handshake_section(out):
    """Both messages and what they are made from; returns (initiation, response, the transport keys)."""
    initiator, _, initiation, response = handshake(PSK)
    out.section("Handshake")
    for name, value in initiator.trace.items():
        if name == "c_responder_ephemeral":
            out.value("initiation", initiation)
        out.value(name, value)
    out.value("response", response)
    key_i2r, key_r2i = initiator.keys()
    out.value("key_i2r", key_i2r)
    out.value("key_r2i", key_r2i)
    out.section("The same without a PSK")
    other, _, same, response_without = handshake(wg.NO_PSK)
    assert same == initiation
    out.value("no_psk_response", response_without)
    out.value("no_psk_key_i2r", other.keys()[0])
    out.value("no_psk_key_r2i", other.keys()[1])
    return initiation, response, key_i2r, key_r2i


def cookie_section(out, initiation, response):
    """A responder under load, and what the initiator sends then; and an initiator under load."""
    out.section("Cookies")
    cookie = wg.mac(COOKIE_SECRET, wg.source_bytes(SOURCE))
    reply = wg.seal_cookie(wg.public_key(RESPONDER_STATIC), initiation, cookie, COOKIE_NONCE)
    out.value("cookie_secret", COOKIE_SECRET)
    out.value("cookie_source", wg.source_bytes(SOURCE))
    out.value("cookie_nonce", COOKIE_NONCE)
    out.value("cookie", cookie)
    out.value("cookie_reply", reply)
    out.value("cookie_reply_to_response",
              wg.seal_cookie(wg.public_key(INITIATOR_STATIC), response, cookie, COOKIE_NONCE))
    second = wg.Initiator(INITIATOR_STATIC, wg.public_key(RESPONDER_STATIC), PSK)
    timestamp = tai64n(int((TIME + 5.25) * 10**9))
    message = wg.add_macs(second.initiation(SECOND_INDEX, SECOND_EPHEMERAL, timestamp), wg.public_key(RESPONDER_STATIC),
                          cookie)
    out.value("initiation2_index", SECOND_INDEX)
    out.value("initiation2_ephemeral_private", SECOND_EPHEMERAL)
    out.value("initiation2_timestamp", timestamp)
    out.value("initiation2_mac1", wg.mac1_of(message))
    out.value("initiation2_mac2", message[-wg.MAC_SIZE :])
    out.value("initiation2", message)


def data_section(out, key_i2r, key_r2i):
    request = inner.echo_request(OWN4, REMOTE4, 0x5A0C, 7, b"WireGuard test vector")
    packets = {
        1: request, 2: inner.answer_echo(request, (REMOTE4,)),
        3: inner.echo_request(OWN6, REMOTE6, 0x5A0C, 8, b"of IPv6"),
        4: inner.echo_request(OWN4, REMOTE4, 0x5A0C, 9, bytes(range(36))),
    }
    assert len(packets[1]) % wg.PADDING and len(packets[4]) % wg.PADDING == 0
    out.section("Inner packets")
    for number, packet in packets.items():
        out.value(f"packet_{number}", packet)
    out.section("Data")
    for direction, key, index, messages in (
            ("i2r", key_i2r, RESPONDER_INDEX, ((0, None), (1, 1), (2, 4), (HIGH_COUNTER, 3))),
            ("r2i", key_r2i, INITIATOR_INDEX, ((0, 2), (1, None), (2, 3), (HIGH_COUNTER, 2)))):
        for counter, number in messages:
            name = f"data_{direction}_{counter}_{number or 'keepalive'}"
            out.value(name, wg.seal_data(key, index, counter, wg.pad(packets[number]) if number else b""))


def text():
    """The whole file."""
    out = Writer(INTRODUCTION)
    key_section(out)
    initiation, response, key_i2r, key_r2i = handshake_section(out)
    cookie_section(out, initiation, response)
    data_section(out, key_i2r, key_r2i)
    return "\n".join(out.lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(f"usage: {sys.argv[0]}   (writes {PATH.name})")
    PATH.write_text(text())
