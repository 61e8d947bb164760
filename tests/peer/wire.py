# SPDX-License-Identifier: Apache-2.0
"""shardtun's messages, protocol version 1, from core/protocol/PROTOCOL.md sections 1 to 3: bytes to values and back."""

import hashlib
import ipaddress
import struct
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

import xchacha

VERSION = 1
HELLO, WELCOME, CLIENT_ACK, DATA, BYE, KEEPALIVE, COOKIE, RESET, DATA_SPARSE = range(1, 10)
TYPE_NAMES = {1: "HELLO", 2: "WELCOME", 3: "CLIENT_ACK", 4: "DATA", 5: "BYE", 6: "KEEPALIVE",
              7: "COOKIE", 8: "RESET", 9: "DATA_SPARSE"}

AES_256_GCM, CHACHA20_POLY1305 = 1, 2
SUITES = {AES_256_GCM: AESGCM, CHACHA20_POLY1305: ChaCha20Poly1305}

TAKES_SPARSE, MARKS_SPARSE = 1, 2  # capabilities

GOING_AWAY, RESTARTING, REMOVED, REPLACED, TIMED_OUT = range(5)

SESSION_ID_MASK = 2**28 - 1

HEADER_SIZE = 5
TRANSPORT_HEADER_SIZE = 9
TAG_SIZE = 16
OVERHEAD = TRANSPORT_HEADER_SIZE + TAG_SIZE
HELLO_SIZE = 1200
HELLO_PAYLOAD_SIZE = 1063
NOISE_OFFSET = 9
MAC1_OFFSET = 1168
MAC2_OFFSET = 1184
CHALLENGE_SIZE = 16
COOKIE_SEALED_OFFSET = NOISE_OFFSET + xchacha.NONCE_SIZE
COOKIE_MESSAGE_SIZE = COOKIE_SEALED_OFFSET + CHALLENGE_SIZE + TAG_SIZE
WELCOME_MIN, WELCOME_MAX = 137, 1200
MIN_MTU = 576
MAX_EPOCH = 15
REPLAY_WINDOW = 8192
COUNTER_LIMIT = 2**32 - 2**16

NONE4 = ipaddress.IPv4Address(0)
NONE6 = ipaddress.IPv6Address(0)


class Drop(Exception):
    """The datagram or packet is dropped; the text says why and nothing has changed."""


def blake2b(bits, data, key=b""):
    return hashlib.blake2b(data, digest_size=bits // 8, key=key).digest()


def tai64n(nanoseconds):
    """TAI64N of a time in nanoseconds since 1970 UTC. Two stamps compare as their bytes do."""
    return struct.pack(">QI", 2**62 + 10 + nanoseconds // 10**9, nanoseconds % 10**9)


def header(kind, high, session_id):
    return struct.pack(">BI", high << 4 | kind, session_id)


PING, PONG = 1, 2
PROBE_SIZE = 9
RESET_SIZE = HEADER_SIZE + 16


def check_length(kind, length):
    """The lengths of section 1's table."""
    low, high = {
        HELLO: (HELLO_SIZE, HELLO_SIZE),
        WELCOME: (WELCOME_MIN, WELCOME_MAX),
        CLIENT_ACK: (OVERHEAD, OVERHEAD),
        DATA: (OVERHEAD + 1, 65535),
        DATA_SPARSE: (OVERHEAD + 1, 65535),
        BYE: (OVERHEAD + 1, OVERHEAD + 1),
        KEEPALIVE: (OVERHEAD, OVERHEAD + PROBE_SIZE),
        COOKIE: (COOKIE_MESSAGE_SIZE, COOKIE_MESSAGE_SIZE),
        RESET: (RESET_SIZE, RESET_SIZE),
    }[kind]
    if not low <= length <= high or kind == KEEPALIVE and low < length < high:
        raise Drop("length")


def parse_header(datagram):
    """(type, high 4 bits, session ID), version and length checked."""
    if len(datagram) < HEADER_SIZE:
        raise Drop("length")
    first, session_id = struct.unpack_from(">BI", datagram)
    kind, high = first & 15, first >> 4
    if kind not in TYPE_NAMES:
        raise Drop("type")
    if kind in (HELLO, WELCOME, COOKIE, RESET):
        if high != VERSION:
            raise Drop("version")
    elif high == 0:
        raise Drop("epoch")
    check_length(kind, len(datagram))
    return kind, high, session_id


def prologue(hello_start):
    """The Noise prologue, from the first 9 bytes of HELLO."""
    return b"shardtun" + hello_start[:NOISE_OFFSET]


def mac1(gateway_public, covered):
    return blake2b(128, covered, key=blake2b(256, b"shardtun1 mac1" + gateway_public))


def mac2(cookie, covered):
    return blake2b(128, covered, key=cookie)


def cookie_key(gateway_public):
    return blake2b(256, b"shardtun1 cookie" + gateway_public)


def seal_cookie(gateway_public, hello, cookie, nonce):
    """The COOKIE that answers a HELLO."""
    start = header(COOKIE, VERSION, 0)[:1] + hello[1:NOISE_OFFSET]
    return start + nonce + xchacha.seal(cookie_key(gateway_public), nonce, cookie, hello[MAC1_OFFSET:MAC2_OFFSET])


def unseal_cookie(gateway_public, hello, datagram):
    """The cookie in a COOKIE whose header was parsed, if it answers this HELLO."""
    if datagram[1:NOISE_OFFSET] != hello[1:NOISE_OFFSET]:
        raise Drop("unexpected")
    nonce, sealed = datagram[NOISE_OFFSET:COOKIE_SEALED_OFFSET], datagram[COOKIE_SEALED_OFFSET:]
    try:
        return xchacha.unseal(cookie_key(gateway_public), nonce, sealed, hello[MAC1_OFFSET:MAC2_OFFSET])
    except InvalidTag as error:
        raise Drop("cookie") from error


@dataclass
class HelloPayload:
    timestamp: bytes
    suites: tuple
    mtu: int
    wished4: ipaddress.IPv4Address = NONE4
    wished6: ipaddress.IPv6Address = NONE6
    challenge: bytes = bytes(CHALLENGE_SIZE)
    capabilities: int = 0

    def encode(self):
        fixed = struct.pack(">12s16s8sH", self.timestamp, self.challenge, bytes(self.suites), self.mtu)
        fixed += self.wished4.packed + self.wished6.packed + bytes([self.capabilities])
        return fixed.ljust(HELLO_PAYLOAD_SIZE, b"\0")

    @classmethod
    def decode(cls, data):
        fields = struct.unpack_from(">12s16s8sH4s16sB", data)
        timestamp, challenge, suites, mtu, wished4, wished6, capabilities = fields
        return cls(timestamp, tuple(s for s in suites if s), mtu, ipaddress.IPv4Address(wished4),
                   ipaddress.IPv6Address(wished6), challenge, capabilities)


WELCOME_FIXED = struct.Struct(">IBBHHHII16s4sB4s16sB16sBB")


@dataclass
class WelcomePayload:
    session_id: int
    suite: int
    epoch: int
    mtu: int
    keepalive: int = 0
    backoff: int = 0
    rekey_interval: int = 120
    session_timeout: int = 180
    reset_token: bytes = bytes(16)
    address4: ipaddress.IPv4Address = NONE4
    prefix4: int = 0
    gateway4: ipaddress.IPv4Address = NONE4
    address6: ipaddress.IPv6Address = NONE6
    prefix6: int = 0
    gateway6: ipaddress.IPv6Address = NONE6
    dns: list = field(default_factory=list)
    routes: list = field(default_factory=list)
    capabilities: int = 0

    def encode(self):
        """A gateway without capabilities writes no byte for them, as those did before there were any."""
        data = WELCOME_FIXED.pack(
            self.session_id, self.suite, self.epoch, self.mtu, self.keepalive, self.backoff, self.rekey_interval,
            self.session_timeout, self.reset_token, self.address4.packed, self.prefix4, self.gateway4.packed,
            self.address6.packed, self.prefix6, self.gateway6.packed, len(self.dns), len(self.routes))
        for server in self.dns:
            data += bytes([server.version]) + server.packed
        for route in self.routes:
            data += bytes([route.version, route.prefixlen]) + route.network_address.packed
        data += bytes([self.capabilities] if self.capabilities else [])
        if NOISE_OFFSET + 32 + len(data) + TAG_SIZE > WELCOME_MAX:
            raise ValueError("what the gateway pushes does not fit into WELCOME")
        return data

    @classmethod
    def decode(cls, data):
        """The fields, or Drop if the lists are cut short or hold what is neither IPv4 nor IPv6."""
        if len(data) < WELCOME_FIXED.size:
            raise Drop("welcome")
        fields = list(WELCOME_FIXED.unpack_from(data))
        for index, kind in ((9, ipaddress.IPv4Address), (11, ipaddress.IPv4Address), (12, ipaddress.IPv6Address),
                            (14, ipaddress.IPv6Address)):
            fields[index] = kind(fields[index])
        dns_count, route_count = fields[15:]
        rest = data[WELCOME_FIXED.size :]
        dns, routes = [], []

        def take(count):
            nonlocal rest
            if len(rest) < count:
                raise Drop("welcome")
            taken, rest = rest[:count], rest[count:]
            return taken

        def take_address(family):
            if family not in (4, 6):
                raise Drop("welcome")
            return ipaddress.ip_address(take(4 if family == 4 else 16))

        for _ in range(dns_count):
            dns.append(take_address(take(1)[0]))
        for _ in range(route_count):
            family, length = take(2)
            try:
                routes.append(ipaddress.ip_network((take_address(family), length), strict=False))
            except ValueError as error:
                raise Drop("welcome") from error
        return cls(*fields[:15], dns, routes, rest[0] if rest else 0)


def traffic_key(secret, suite):
    """(key, IV) of one direction, from its secret of Split()."""
    both = blake2b(352, b"shardtun1 data" + bytes([suite]), key=secret)
    return both[:32], both[32:]


def nonce(iv, counter):
    return iv[:8] + (int.from_bytes(iv[8:], "big") ^ counter).to_bytes(4, "big")


def seal(secret, suite, kind, epoch, session_id, counter, plaintext):
    """A whole transport message."""
    key, iv = traffic_key(secret, suite)
    clear = header(kind, epoch, session_id) + counter.to_bytes(4, "big")
    return clear + SUITES[suite](key).encrypt(nonce(iv, counter), plaintext, clear)


def unseal(secret, suite, datagram):
    """(counter, plaintext) of a transport message whose header was parsed."""
    key, iv = traffic_key(secret, suite)
    counter = int.from_bytes(datagram[HEADER_SIZE:TRANSPORT_HEADER_SIZE], "big")
    clear, sealed = datagram[:TRANSPORT_HEADER_SIZE], datagram[TRANSPORT_HEADER_SIZE:]
    try:
        return counter, SUITES[suite](key).decrypt(nonce(iv, counter), sealed, clear)
    except InvalidTag as error:
        raise Drop("tag") from error


class ReplayWindow:
    """The newest counters: highest, highest - 1 ... highest - size + 1. Section 3's goes to highest - 8192."""

    def __init__(self, size=REPLAY_WINDOW + 1):
        self.size = size
        self.highest = -1
        self._seen = set()

    def accept(self, counter):
        """True once per counter; False for what was seen or is too old."""
        if counter <= self.highest - self.size or counter in self._seen:
            return False
        self._seen.add(counter)
        if counter > self.highest:
            self.highest = counter
            if len(self._seen) > 2 * self.size:
                self._seen = {c for c in self._seen if c > counter - self.size}
        return True
