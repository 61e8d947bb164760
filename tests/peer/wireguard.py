# SPDX-License-Identifier: Apache-2.0
"""WireGuard's messages and cryptography, from J. Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel", section 5.4.

No sockets, no clock, no randomness: indexes, ephemeral keys, timestamps and nonces are passed in. The paper's C is
`chain`, its H is `hash`. Integers are little-endian; an index is 4 opaque bytes. What must be refused raises
`wire.Drop` with the reason. A `Handshake` whose read failed must be thrown away: reading a message that may be forged
takes a copy (`fork`).
"""

import copy
import hashlib
import hmac
import ipaddress
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

import xchacha
from noise_ik import NoiseError, dh, public_key
from wire import Drop, ReplayWindow

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
LABEL_MAC1, LABEL_COOKIE = b"mac1----", b"cookie--"

INITIATION, RESPONSE, COOKIE_REPLY, DATA = 1, 2, 3, 4
TYPE_NAMES = {INITIATION: "initiation", RESPONSE: "response", COOKIE_REPLY: "cookie reply", DATA: "data"}
SIZES = {INITIATION: 148, RESPONSE: 92, COOKIE_REPLY: 64}
KEY_SIZE, TAG_SIZE, MAC_SIZE, INDEX_SIZE = 32, 16, 16, 4
DATA_HEADER = 16
DATA_MIN = DATA_HEADER + TAG_SIZE
NO_PSK = bytes(KEY_SIZE)

PADDING = 16
WINDOW = 8128
REJECT_AFTER_MESSAGES = 2**64 - 2**13 - 1
COOKIE_LIFE = 120.0


# --- section 5.4, the functions ---


def blake2s(data):
    return hashlib.blake2s(data).digest()


def mac(key, data):
    return hashlib.blake2s(data, key=key, digest_size=MAC_SIZE).digest()


def kdf(key, data, outputs):
    """Kdf1, Kdf2 or Kdf3: a list of as many outputs of 32 bytes."""
    secret = hmac.new(key, data, hashlib.blake2s).digest()
    result, last = [], b""
    for number in range(1, outputs + 1):
        last = hmac.new(secret, last + bytes([number]), hashlib.blake2s).digest()
        result.append(last)
    return result


def seal(key, counter, plaintext, associated):
    return ChaCha20Poly1305(key).encrypt(bytes(4) + counter.to_bytes(8, "little"), plaintext, associated)


def unseal(key, counter, sealed, associated):
    """The plaintext; cryptography's InvalidTag if it is forged."""
    return ChaCha20Poly1305(key).decrypt(bytes(4) + counter.to_bytes(8, "little"), sealed, associated)


# --- messages ---


def header(kind):
    """The type and three reserved bytes."""
    return bytes([kind, 0, 0, 0])


def parse_type(datagram):
    """The type, with type, reserved bytes and length checked."""
    if len(datagram) < 4:
        raise Drop("length")
    kind = datagram[0]
    if kind not in TYPE_NAMES:
        raise Drop("type")
    if datagram[1:4] != bytes(3):
        raise Drop("reserved")
    if len(datagram) < DATA_MIN if kind == DATA else len(datagram) != SIZES[kind]:
        raise Drop("length")
    return kind


def receiver(datagram):
    """The receiver's index in a response, a cookie reply or data."""
    return datagram[8:12] if datagram[0] == RESPONSE else datagram[4:8]


def sender(datagram):
    """The sender's index in an initiation or a response."""
    return datagram[4:8]


# --- sections 5.4.2 and 5.4.3: both handshake messages, without mac1 and mac2 ---


class Handshake:
    """What both sides compute. `trace` holds each value of C, H and the keys by the name of its step."""

    def __init__(self, responder_public):
        self.trace = {}
        self.index = self.remote_index = None
        self.chain = self._note("c_construction", blake2s(CONSTRUCTION))
        self.hash = self._note("h_identifier", blake2s(self.chain + IDENTIFIER))
        self._mix_hash("responder", responder_public)

    def fork(self):
        return copy.deepcopy(self)

    def _note(self, name, value):
        self.trace[name] = value
        return value

    def _mix_hash(self, step, data):
        self.hash = self._note(f"h_{step}", blake2s(self.hash + data))

    def _mix_ephemeral(self, step, public):
        self.chain = self._note(f"c_{step}", kdf(self.chain, public, 1)[0])
        self._mix_hash(step, public)

    def _mix_dh(self, step, private, public):
        """Kdf2 for "es" and "ss"; for "ee" and "se" the paper has Kdf1, whose output is the first of Kdf2."""
        try:
            shared = self._note(f"dh_{step}", dh(private, public))
        except NoiseError as error:
            raise Drop("dh") from error
        self.chain, key = kdf(self.chain, shared, 2)
        self._note(f"c_{step}", self.chain)
        return key

    def _mix_psk(self, psk):
        self.chain, tau, key = kdf(self.chain, psk, 3)
        self._note("c_psk", self.chain)
        self._note("tau", tau)
        self._mix_hash("tau", tau)
        return key

    def _seal(self, step, key, plaintext):
        self._note(f"k_{step}", key)
        sealed = seal(key, 0, plaintext, self.hash)
        self._mix_hash(step, sealed)
        return sealed

    def _open(self, step, key, sealed):
        self._note(f"k_{step}", key)
        try:
            plaintext = unseal(key, 0, sealed, self.hash)
        except InvalidTag as error:
            raise Drop(f"{step} tag") from error
        self._mix_hash(step, sealed)
        return plaintext

    def keys(self):
        """Section 5.4.5: the sending keys of (initiator, responder)."""
        return tuple(kdf(self.chain, b"", 2))


class Initiator(Handshake):
    """initiation(), then read_response(), then keys()."""

    def __init__(self, static, responder_public, psk=NO_PSK):
        super().__init__(responder_public)
        self.static, self.public, self.psk = static, public_key(static), psk
        self.responder_public = responder_public
        self.ephemeral = None

    def initiation(self, index, ephemeral, timestamp):
        """The first 116 bytes of an initiation. `self.public` is what it claims to be the static key."""
        self.index, self.ephemeral = index, ephemeral
        ephemeral_public = public_key(ephemeral)
        self._mix_ephemeral("initiator_ephemeral", ephemeral_public)
        sealed_static = self._seal("static", self._mix_dh("es", ephemeral, self.responder_public), self.public)
        sealed_time = self._seal("timestamp", self._mix_dh("ss", self.static, self.responder_public), timestamp)
        return header(INITIATION) + index + ephemeral_public + sealed_static + sealed_time

    def read_response(self, message):
        self.remote_index = sender(message)
        ephemeral_public, sealed_empty = message[12:44], message[44:60]
        self._mix_ephemeral("responder_ephemeral", ephemeral_public)
        self._mix_dh("ee", self.ephemeral, ephemeral_public)
        self._mix_dh("se", self.static, ephemeral_public)
        self._open("empty", self._mix_psk(self.psk), sealed_empty)


class Responder(Handshake):
    """read_static(), which yields the initiator's static key, read_timestamp(), then response(), then keys()."""

    def __init__(self, static):
        super().__init__(public_key(static))
        self.static = static
        self.remote_static = self.remote_ephemeral = None

    def read_static(self, message):
        self.remote_index = sender(message)
        self.remote_ephemeral = message[8:40]
        self._mix_ephemeral("initiator_ephemeral", self.remote_ephemeral)
        key = self._mix_dh("es", self.static, self.remote_ephemeral)
        self.remote_static = self._open("static", key, message[40:88])
        return self.remote_static

    def read_timestamp(self, message):
        return self._open("timestamp", self._mix_dh("ss", self.static, self.remote_static), message[88:116])

    def response(self, index, ephemeral, psk=NO_PSK):
        """The first 60 bytes of a response."""
        self.index = index
        ephemeral_public = public_key(ephemeral)
        self._mix_ephemeral("responder_ephemeral", ephemeral_public)
        self._mix_dh("ee", ephemeral, self.remote_ephemeral)
        self._mix_dh("se", ephemeral, self.remote_static)
        sealed_empty = self._seal("empty", self._mix_psk(psk), b"")
        return header(RESPONSE) + index + self.remote_index + ephemeral_public + sealed_empty


# --- sections 5.4.4 and 5.4.7: mac1, mac2 and cookies ---


def mac1_key(receiver_public):
    return blake2s(LABEL_MAC1 + receiver_public)


def cookie_key(sender_public):
    """The key of a cookie reply, by the static key of the side that sends it."""
    return blake2s(LABEL_COOKIE + sender_public)


def add_macs(covered, receiver_public, cookie=None):
    """A whole initiation or response from all but its macs."""
    covered += mac(mac1_key(receiver_public), covered)
    return covered + (mac(cookie, covered) if cookie else bytes(MAC_SIZE))


def mac1_of(message):
    return message[-2 * MAC_SIZE : -MAC_SIZE]


def has_mac1(message, own_public):
    return hmac.compare_digest(mac1_of(message), mac(mac1_key(own_public), message[: -2 * MAC_SIZE]))


def has_mac2(message, cookie):
    return hmac.compare_digest(message[-MAC_SIZE:], mac(cookie, message[:-MAC_SIZE]))


def source_bytes(source):
    """The address and port of (host, port), from which a cookie is made."""
    address = ipaddress.ip_address(source[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return address.packed + source[1].to_bytes(2, "big")


def seal_cookie(sender_public, message, cookie, nonce):
    """The cookie reply to an initiation or response."""
    sealed = xchacha.seal(cookie_key(sender_public), nonce, cookie, mac1_of(message))
    return header(COOKIE_REPLY) + sender(message) + nonce + sealed


def unseal_cookie(sender_public, reply, mac1):
    """The cookie in a cookie reply to the message that had this mac1."""
    try:
        return xchacha.unseal(cookie_key(sender_public), reply[8:32], reply[32:], mac1)
    except InvalidTag as error:
        raise Drop("cookie") from error


class CookieMaker:
    """The side under load. Its secret is changed every two minutes, and with it every cookie."""

    def __init__(self, public, rng):
        self.public, self._rng = public, rng
        self._secret = self._until = None

    def cookie(self, source, now):
        if self._until is None or now >= self._until:
            self._secret, self._until = self._rng(32), now + COOKIE_LIFE
        return mac(self._secret, source_bytes(source))

    def reply(self, message, source, now):
        return seal_cookie(self.public, message, self.cookie(source, now), self._rng(xchacha.NONCE_SIZE))

    def proves(self, message, source, now):
        return has_mac2(message, self.cookie(source, now))


class CookieHolder:
    """The other side: the latest cookie, and the message that a cookie reply must be to."""

    def __init__(self, remote_public):
        self.remote_public = remote_public
        self._index = self._mac1 = self._cookie = self._until = None

    def current(self, now):
        return self._cookie if self._cookie and now < self._until else None

    def sent(self, message):
        self._index, self._mac1 = sender(message), mac1_of(message)

    def take(self, reply, now):
        if self._mac1 is None or receiver(reply) != self._index:
            raise Drop("receiver")
        self._cookie = unseal_cookie(self.remote_public, reply, self._mac1)
        self._until = now + COOKIE_LIFE


# --- section 5.4.6: data ---


def pad(packet, mtu=65535):
    """Zeros up to a multiple of 16, but not beyond the MTU."""
    return packet.ljust(max(len(packet), min(-(-len(packet) // PADDING) * PADDING, mtu)), b"\0")


def trim(plaintext):
    """The inner packet, without padding, by the length that it gives of itself."""
    version = plaintext[0] >> 4
    if version not in (4, 6):
        raise Drop("inner version")
    least = 20 if version == 4 else 40
    length = int.from_bytes(plaintext[2:4], "big") if version == 4 else 40 + int.from_bytes(plaintext[4:6], "big")
    if not least <= length <= len(plaintext):
        raise Drop("inner length")
    return plaintext[:length]


def seal_data(key, remote_index, counter, plaintext):
    return header(DATA) + remote_index + counter.to_bytes(8, "little") + seal(key, counter, plaintext, b"")


@dataclass
class Keys:
    """The keypair of one handshake."""

    index: bytes
    remote_index: bytes
    send_key: bytes
    receive_key: bytes
    made: float
    initiator: bool
    counter: int = 0
    window: ReplayWindow = field(default_factory=lambda: ReplayWindow(WINDOW))

    def seal(self, plaintext):
        if self.counter >= REJECT_AFTER_MESSAGES:
            raise Drop("counter limit")
        counter, self.counter = self.counter, self.counter + 1
        return seal_data(self.send_key, self.remote_index, counter, plaintext)

    def open(self, datagram):
        """(plaintext, whether its counter is above all before)."""
        counter = int.from_bytes(datagram[8:16], "little")
        if counter >= REJECT_AFTER_MESSAGES:
            raise Drop("counter limit")
        try:
            plaintext = unseal(self.receive_key, counter, datagram[DATA_HEADER:], b"")
        except InvalidTag as error:
            raise Drop("tag") from error
        newest = counter > self.window.highest
        if not self.window.accept(counter):
            raise Drop("replay")
        return plaintext, newest
