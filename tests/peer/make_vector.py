#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/vectors/protocol.txt: one complete exchange with fixed keys (core/protocol/PROTOCOL.md section 7)."""

import ipaddress
import sys
from pathlib import Path

import inner
import shardtun_peer
import wire
import xchacha
from noise_ik import public_key

PATH = Path(__file__).resolve().parent.parent / "vectors" / "protocol.txt"

SESSION_ID = 0x0A0C0007
TIME = 1700000000.5
HIGH_COUNTER = 0x01020304

INTRODUCTION = """\
SPDX-License-Identifier: Apache-2.0
One complete exchange of shardtun's protocol, version 1 (core/protocol/PROTOCOL.md). Written by tests/peer/make_vector.py.

One value a line: "name = hex", lower-case, no spaces inside; an empty value has nothing after "= ". Integers are
big-endian and as wide as on the wire. Lines that begin with # and empty lines are comments.

client_*, gateway_*  X25519 keys: static and ephemeral, private (as drawn, not clamped) and public; psk
hello_*              inputs of HELLO: session_id, magic, timestamp (TAI64N of 1700000000.5 s), suites, mtu, wishes;
                     hello_payload is the plaintext, hello the datagram; mac1_key and prologue on the way
dh_*                 the four DH results, in the order of their tokens
noise_h_N, noise_ck_N  Noise's h and ck: after the pre-message (0), the first message (1), the second (2)
cookie_*, cookie     COOKIE's key, nonce and the cookie in it; cookie_message is the datagram that answers hello
hello2_*             what differs in the HELLO that the client sends then, 250 ms after the first; ephemeral, magic,
                     mac2; hello2 is the datagram. WELCOME and the rest answer the first HELLO
welcome_*            inputs of WELCOME, in the order of its payload; welcome_payload is the plaintext,
                     welcome the datagram
k1, k2               Split(): the client's and the gateway's sending secret, 32 bytes each
sS_c2g_*, sS_g2c_*   suite S (1 or 2): key and iv of each direction; datagrams by type, with the counter at their end.
                     There is one handshake: WELCOME assigns suite 1, and the keys of suite 2 are derived from
                     the same k1 and k2 with the other suite number
packet_c2g, packet_g2c  the inner packets that DATA carries: an ICMP echo request and its reply
bye_reason_*         the plaintext of BYE in each direction
"""


def key_bytes(first):
    """32 bytes that are told apart at a glance: first, first + 1, ..."""
    return bytes((first + i) & 255 for i in range(32))


def scripted(*values):
    """A source of randomness that hands out the values in turn."""
    queue = list(values)

    def draw(size):
        value = queue.pop(0)
        assert len(value) == size
        return value

    return draw


CLIENT_STATIC, GATEWAY_STATIC = key_bytes(0x10), key_bytes(0x40)
CLIENT_EPHEMERAL, GATEWAY_EPHEMERAL = key_bytes(0x70), key_bytes(0xA0)
PSK = key_bytes(0xD0)
MAGIC = bytes.fromhex("c0ffee42")
SECOND_EPHEMERAL, SECOND_MAGIC, SECOND_TIME = key_bytes(0x90), bytes.fromhex("c0ffee43"), TIME + 0.25
COOKIE_SECRET, COOKIE_NONCE = key_bytes(0xB0), bytes(range(0x60, 0x60 + xchacha.NONCE_SIZE))

PUSH = {
    "keepalive": 25, "backoff": 7, "rekey_interval": 120, "session_timeout": 180,
    "reset_token": bytes(range(0xE0, 0xF0)),
    "address4": ipaddress.ip_address("10.8.0.7"), "prefix4": 16, "gateway4": ipaddress.ip_address("10.8.0.1"),
    "address6": ipaddress.ip_address("fd00:8::7"), "prefix6": 64, "gateway6": ipaddress.ip_address("fd00:8::1"),
    "dns": [ipaddress.ip_address("10.8.0.53"), ipaddress.ip_address("fd00:8::53")],
    "routes": [ipaddress.ip_network("192.168.7.0/24"), ipaddress.ip_network("2001:db8:7::/48")],
}


class Writer:
    def __init__(self, introduction=INTRODUCTION):
        self.lines = [f"# {line}".rstrip() for line in introduction.splitlines()]

    def section(self, title):
        self.lines += ["", f"# {title}"]

    def value(self, name, data, width=None):
        self.lines.append(f"{name} = {data.to_bytes(width, 'big').hex() if width else data.hex()}")


def handshake_section(out):
    """The exchange of HELLO and WELCOME by the real Client and Gateway; returns (k1, k2)."""
    client = shardtun_peer.Client(CLIENT_STATIC, public_key(GATEWAY_STATIC), PSK, mtu=1420, uniform=lambda a, b: 0.0,
                                  wished4=PUSH["address4"], wished6=PUSH["address6"],
                                  rng=scripted(MAGIC, CLIENT_EPHEMERAL), capabilities=0)
    gateway = shardtun_peer.Gateway(GATEWAY_STATIC, public_key(CLIENT_STATIC), PSK, mtu=1400, push=PUSH,
                                    rng=scripted(SESSION_ID.to_bytes(4, "big"), GATEWAY_EPHEMERAL), capabilities=0)
    gateway.accept(wire.tai64n(0), 0, 0.0)  # it has known the client for long
    hello = client.make_hello(TIME)
    start, first = hello[: wire.NOISE_OFFSET], hello[wire.NOISE_OFFSET : wire.MAC1_OFFSET]
    noise1 = client.handshake.fork()
    noise0 = shardtun_peer.Handshake(True, wire.prologue(start), CLIENT_STATIC, public_key(GATEWAY_STATIC), PSK)
    reader = shardtun_peer.Handshake(False, wire.prologue(start), GATEWAY_STATIC, psk=PSK)
    payload = reader.read(first)
    parsed = wire.HelloPayload.decode(payload)

    out.section("Keys")
    for name, private in (("client_static", CLIENT_STATIC), ("gateway_static", GATEWAY_STATIC),
                          ("client_ephemeral", CLIENT_EPHEMERAL), ("gateway_ephemeral", GATEWAY_EPHEMERAL)):
        out.value(f"{name}_private", private)
        out.value(f"{name}_public", public_key(private))
    out.value("psk", PSK)

    out.section("HELLO")
    out.value("hello_session_id", 0, 4)
    out.value("hello_magic", MAGIC)
    out.value("hello_timestamp", parsed.timestamp)
    out.value("hello_suites", bytes(parsed.suites).ljust(8, b"\0"))
    out.value("hello_mtu", parsed.mtu, 2)
    out.value("hello_wished4", parsed.wished4.packed)
    out.value("hello_wished6", parsed.wished6.packed)
    out.value("hello_payload", payload)
    out.value("prologue", wire.prologue(start))
    out.value("noise_h_0", noise0.h)
    out.value("noise_ck_0", noise0.ck)
    out.value("dh_es", noise1.trace["es"])
    out.value("dh_ss", noise1.trace["ss"])
    out.value("noise_h_1", noise1.h)
    out.value("noise_ck_1", noise1.ck)
    out.value("mac1_key", wire.blake2b(256, b"shardtun1 mac1" + public_key(GATEWAY_STATIC)))
    out.value("mac1", hello[wire.MAC1_OFFSET : wire.MAC2_OFFSET])
    out.value("hello", hello)
    cookie_section(out)

    gateway.receive(hello, "client", TIME)
    welcome = gateway.outbox.pop()[0]
    accepted, k1, k2 = client.read_welcome(welcome)
    noise2 = gateway.last_handshake
    assert (k1, k2) == noise2.split()

    out.section("WELCOME")
    for name, width in (("session_id", 4), ("suite", 1), ("epoch", 1), ("mtu", 2), ("keepalive", 2), ("backoff", 2),
                        ("rekey_interval", 4), ("session_timeout", 4)):
        out.value(f"welcome_{name}", getattr(accepted, name), width)
    out.value("welcome_reset_token", accepted.reset_token)
    for family in "46":
        out.value(f"welcome_address{family}", getattr(accepted, f"address{family}").packed)
        out.value(f"welcome_prefix{family}", getattr(accepted, f"prefix{family}"), 1)
        out.value(f"welcome_gateway{family}", getattr(accepted, f"gateway{family}").packed)
    for number, server in enumerate(accepted.dns):
        out.value(f"welcome_dns_{number}", bytes([server.version]) + server.packed)
    for number, route in enumerate(accepted.routes):
        out.value(f"welcome_route_{number}", bytes([route.version, route.prefixlen]) + route.network_address.packed)
    out.value("welcome_payload", accepted.encode())
    out.value("dh_ee", noise2.trace["ee"])
    out.value("dh_se", noise2.trace["se"])
    out.value("noise_h_2", noise2.h)
    out.value("noise_ck_2", noise2.ck)
    out.value("welcome", welcome)

    out.section("Split()")
    out.value("k1", k1)
    out.value("k2", k2)
    return k1, k2


def cookie_section(out):
    """The same HELLO, answered by a gateway under load."""
    client = shardtun_peer.Client(CLIENT_STATIC, public_key(GATEWAY_STATIC), PSK, mtu=1420, uniform=lambda a, b: 0.0,
                                  wished4=PUSH["address4"], wished6=PUSH["address6"],
                                  rng=scripted(MAGIC, CLIENT_EPHEMERAL, SECOND_MAGIC, SECOND_EPHEMERAL),
                                  capabilities=0)
    gateway = shardtun_peer.Gateway(GATEWAY_STATIC, public_key(CLIENT_STATIC), PSK, mtu=1400, push=PUSH,
                                    demand_cookie=True,
                                    rng=scripted(COOKIE_SECRET, COOKIE_NONCE, SESSION_ID.to_bytes(4, "big"),
                                                 GATEWAY_EPHEMERAL),
                                    capabilities=0)
    client.connect(TIME)
    try:
        gateway.receive(client.outbox.pop(), "client", TIME)
    except wire.Drop as drop:
        assert str(drop) == "no cookie"
    message = gateway.outbox.pop()[0]
    client.receive(message, SECOND_TIME)
    second = client.outbox.pop()
    gateway.receive(second, "client", SECOND_TIME)
    assert gateway.outbox.pop()[0][0] & 15 == wire.WELCOME

    out.section("COOKIE for this HELLO, and the HELLO after it")
    out.value("cookie_key", wire.cookie_key(public_key(GATEWAY_STATIC)))
    out.value("cookie_nonce", COOKIE_NONCE)
    out.value("cookie", client.cookie)
    out.value("cookie_message", message)
    out.value("hello2_ephemeral_private", SECOND_EPHEMERAL)
    out.value("hello2_magic", SECOND_MAGIC)
    out.value("hello2_timestamp", wire.tai64n(int(SECOND_TIME * 10**9)))
    out.value("hello2_mac2", second[wire.MAC2_OFFSET :])
    out.value("hello2", second)


def transport_section(out, suite, k1, k2, packets):
    out.section(f"Suite {suite}: {'AES-256-GCM' if suite == wire.AES_256_GCM else 'ChaCha20-Poly1305'}, epoch 1")
    for direction, secret in (("c2g", k1), ("g2c", k2)):
        key, iv = wire.traffic_key(secret, suite)
        out.value(f"s{suite}_{direction}_key", key)
        out.value(f"s{suite}_{direction}_iv", iv)
    messages = (
        ("c2g", wire.CLIENT_ACK, 0, b""), ("g2c", wire.KEEPALIVE, 0, b""),
        ("c2g", wire.DATA, 1, packets["c2g"]), ("g2c", wire.DATA, 1, packets["g2c"]),
        ("c2g", wire.KEEPALIVE, 2, b""), ("c2g", wire.DATA, HIGH_COUNTER, packets["c2g"]),
        ("c2g", wire.BYE, HIGH_COUNTER + 1, bytes([wire.GOING_AWAY])),
        ("g2c", wire.BYE, 2, bytes([wire.RESTARTING])),
    )
    for direction, kind, counter, plaintext in messages:
        datagram = wire.seal(k1 if direction == "c2g" else k2, suite, kind, 1, SESSION_ID, counter, plaintext)
        out.value(f"s{suite}_{direction}_{wire.TYPE_NAMES[kind].lower()}_{counter}", datagram)


def text():
    """The whole file."""
    out = Writer()
    k1, k2 = handshake_section(out)
    packets = {"c2g": inner.echo_request(PUSH["address4"], PUSH["gateway4"], 0x5A0C, 7, b"shardtun test vector")}
    packets["g2c"] = inner.answer_echo(packets["c2g"], (PUSH["gateway4"],))
    out.section("Inner packets")
    out.value("packet_c2g", packets["c2g"])
    out.value("packet_g2c", packets["g2c"])
    out.value("bye_reason_c2g", wire.GOING_AWAY, 1)
    out.value("bye_reason_g2c", wire.RESTARTING, 1)
    for suite in (wire.AES_256_GCM, wire.CHACHA20_POLY1305):
        transport_section(out, suite, k1, k2, packets)
    return "\n".join(out.lines) + "\n"


def parse(content):
    """The values of a vector file by name."""
    lines = (line for line in content.splitlines() if line and not line.startswith("#"))
    return {name: bytes.fromhex(value) for name, _, value in (line.partition(" = ") for line in lines)}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(f"usage: {sys.argv[0]}   (writes {PATH.name})")
    PATH.write_text(text())
