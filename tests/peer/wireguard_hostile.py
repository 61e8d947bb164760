# SPDX-License-Identifier: Apache-2.0
"""Hostile and unusual WireGuard datagrams, as a table of named cases for a live session: `CASES`.

kind       the other side has ...
handshake  to drop each, silently
transport  to drop each, silently
load       while it is under load, to answer those with a right mac1 with a cookie reply, and no others
lawful     to answer each, with an echo reply or a response: what looks odd but is allowed

A case makes `Shot`s in the order in which they are sent. A shot's `reason` is the check that has to refuse it, in the
words of this peer's `wire.Drop`; None is for what has to be accepted, and also answered if `answered`. Nothing that is sent
ends the session.
"""

import os
import random
from dataclasses import dataclass

import inner
import wireguard as wg
from wire import tai64n

# Of X25519, each with an all-zero result: 0, 1, two of order 8, p - 1, p, p + 1 (RFC 7748 section 7).
LOW_ORDER = [bytes.fromhex(text) for text in (
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ec" + "ff" * 30 + "7f", "ed" + "ff" * 30 + "7f", "ee" + "ff" * 30 + "7f")]
HOUR = 3600.0


@dataclass(frozen=True)
class Shot:
    datagram: bytes
    reason: str
    answered: bool = False


@dataclass(frozen=True)
class Case:
    name: str
    kind: str
    what: str
    reason: str
    make: object

    def shots(self, bench):
        return [shot if isinstance(shot, Shot) else Shot(shot, self.reason) for shot in self.make(bench)]


CASES = {}


def case(kind, reason):
    """The function below is a case, whose datagrams are refused by this reason unless it says otherwise."""

    def register(function):
        name = function.__name__.replace("_", "-")
        CASES[name] = Case(name, kind, " ".join(function.__doc__.split()), reason, function)
        return function

    return register


def accepted(datagram, answered=False):
    return Shot(datagram, None, answered)


def flipped(data, first, last):
    """Copies of data with one bit changed, for each byte from first to last - 1."""
    for index in range(first, last):
        copy = bytearray(data)
        copy[index] ^= 1 << index % 8
        yield bytes(copy)


class Bench:
    """What cases are made from: the own end, with a session; inner addresses; a cookie that belongs to another source."""

    def __init__(self, peer, now, own, remote, foreign_cookie=bytes(16), rng=os.urandom):
        self.peer, self.now, self.own, self.remote = peer, now, own, remote
        self.foreign_cookie, self.rng = foreign_cookie, rng
        self.identifier, self.sequence = random.randrange(1 << 16), 0

    @property
    def keys(self):
        return self.peer.keys.current

    def initiation(self, timestamp=None, static=None, claim=None):
        """All but the macs of one that would be accepted, were it not for what is given."""
        initiator = wg.Initiator(static or self.peer.static, self.peer.remote_public, self.peer.psk)
        initiator.public = claim or initiator.public
        return initiator.initiation(self.rng(4), self.rng(32), timestamp or self.peer.next_timestamp(self.now))

    def macs(self, covered, cookie=None):
        return wg.add_macs(covered, self.peer.remote_public, cookie)

    def response(self, receiver):
        """One out of the blue, with a right mac1."""
        return self.macs(wg.header(wg.RESPONSE) + self.rng(4) + receiver + self.rng(48))

    def request(self, source=None, payload=b"unusual"):
        """An echo request whose length is no multiple of 16."""
        self.sequence = (self.sequence + 1) & 0xFFFF
        return inner.echo_request(source or self.own, self.remote, self.identifier, self.sequence, payload)

    def data(self, plaintext):
        return self.keys.seal(plaintext)


# --- handshake ---


@case("handshake", "reserved")
def initiation_reserved(bench):
    """Each of the reserved bytes of an initiation set, mac1 right for it."""
    for index in (1, 2, 3):
        covered = bytearray(bench.initiation())
        covered[index] = 1 << index
        yield bench.macs(bytes(covered))


@case("handshake", "length")
def initiation_length(bench):
    """An initiation cut at every length, and with bytes to spare."""
    whole = bench.macs(bench.initiation())
    yield from (whole[:length] for length in range(len(whole)))
    yield from (whole + bytes(more) for more in (1, 16, 1000))


@case("handshake", "mac1")
def initiation_mac1(bench):
    """A wrong mac1: a bit of each byte changed, zero, by the sender's key, and one over another message."""
    whole = bench.macs(bench.initiation())
    yield from flipped(whole, 116, 132)
    yield whole[:116] + bytes(32)
    yield wg.add_macs(whole[:116], bench.peer.public)
    yield bench.initiation() + whole[116:]


@case("handshake", "static tag")
def initiation_ephemeral(bench):
    """A bit of each byte of the ephemeral key changed, mac1 right for it."""
    yield from (bench.macs(covered) for covered in flipped(bench.initiation(), 8, 40))


@case("handshake", "dh")
def initiation_low_order(bench):
    """Ephemeral keys for which every DH result is zero."""
    covered = bench.initiation()
    yield from (bench.macs(covered[:8] + point + covered[40:]) for point in LOW_ORDER)


@case("handshake", "static tag")
def initiation_static(bench):
    """A bit of each byte of the encrypted static key changed, mac1 right for it."""
    yield from (bench.macs(covered) for covered in flipped(bench.initiation(), 40, 88))


@case("handshake", "timestamp tag")
def initiation_timestamp(bench):
    """A bit of each byte of the encrypted timestamp changed, mac1 right for it."""
    yield from (bench.macs(covered) for covered in flipped(bench.initiation(), 88, 116))


@case("handshake", "unknown peer")
def initiation_unknown(bench):
    """From static keys that no peer has."""
    yield from (bench.macs(bench.initiation(static=bench.rng(32))) for _ in range(3))


@case("handshake", "timestamp tag")
def initiation_impostor(bench):
    """The peer's public key, from a side that has another private key."""
    yield bench.macs(bench.initiation(static=bench.rng(32), claim=bench.peer.public))


@case("handshake", "timestamp")
def initiation_replayed(bench):
    """The initiation that made the session, three times."""
    yield from [bench.peer.last_initiation] * 3


@case("handshake", "timestamp")
def initiation_stale(bench):
    """New initiations with the timestamps of an hour ago, of 1970, and the least there is."""
    for timestamp in (tai64n(int((bench.now - HOUR) * 10**9)), tai64n(0), bytes(12)):
        yield bench.macs(bench.initiation(timestamp))


@case("handshake", "timestamp")
def initiation_repeated_timestamp(bench):
    """A new initiation with the timestamp of the one that made the session."""
    yield bench.macs(bench.initiation(bench.peer.last_timestamp))


@case("handshake", "type")
def types(bench):
    """Types that there are not, 0 and 5 to 15, in each of the lengths that there are."""
    for kind in (0, *range(5, 16)):
        yield from (bytes([kind, 0, 0, 0]) + bench.rng(length - 4) for length in (32, 64, 92, 148, 1452))


@case("handshake", "receiver")
def response_unsolicited(bench):
    """Responses without an initiation: to the index of the session, to others."""
    yield from (bench.response(index) for index in (bench.keys.remote_index, bytes(4), bench.rng(4)))


@case("handshake", "mac1")
def response_mac1(bench):
    """A response with a wrong mac1."""
    yield from flipped(bench.response(bench.keys.remote_index), 60, 76)


@case("handshake", "length")
def response_length(bench):
    """A response cut at every length, and with bytes to spare."""
    whole = bench.response(bench.keys.remote_index)
    yield from (whole[:length] for length in range(len(whole)))
    yield from (whole + bytes(more) for more in (1, 16, 1000))


@case("handshake", "receiver")
def cookie_receiver(bench):
    """Cookie replies to indexes that sent nothing."""
    message = bench.macs(bench.initiation())
    for _ in range(3):
        yield wg.seal_cookie(bench.peer.public, message[:4] + bench.rng(4) + message[8:], bench.rng(16), bench.rng(24))


@case("handshake", "cookie")
def cookie_unsolicited(bench):
    """A cookie reply to the index of the session, for a message that was not sent, and one that is random."""
    message = bench.macs(bench.initiation())
    message = message[:4] + bench.keys.remote_index + message[8:]
    yield wg.seal_cookie(bench.peer.public, message, bench.rng(16), bench.rng(24))
    yield wg.header(wg.COOKIE_REPLY) + bench.keys.remote_index + bench.rng(56)


@case("handshake", "length")
def cookie_length(bench):
    """A cookie reply cut at every length, and with bytes to spare."""
    whole = wg.header(wg.COOKIE_REPLY) + bench.keys.remote_index + bench.rng(56)
    yield from (whole[:length] for length in range(len(whole)))
    yield from (whole + bytes(more) for more in (1, 16, 1000))


@case("handshake", "reserved")
def reserved(bench):
    """The reserved bytes of a response and a cookie reply."""
    response = bench.response(bench.keys.remote_index)
    cookie = wg.header(wg.COOKIE_REPLY) + bench.keys.remote_index + bench.rng(56)
    for whole in (response, cookie):
        yield from flipped(whole, 1, 4)


# --- transport ---


@case("transport", "reserved")
def data_reserved(bench):
    """Each of the reserved bytes of true data set."""
    yield from flipped(bench.data(bench.request()), 1, 4)


@case("transport", "length")
def data_length(bench):
    """True data, cut below what holds a header and a tag."""
    whole = bench.data(bench.request())
    yield from (whole[:length] for length in range(wg.DATA_MIN))


@case("transport", "tag")
def data_truncated(bench):
    """True data cut at every length above that, and with bytes to spare."""
    whole = bench.data(wg.pad(bench.request()))
    yield from (whole[:length] for length in range(wg.DATA_MIN, len(whole)))
    yield from (whole + bytes(more) for more in (1, 16, 1000))


@case("transport", "tag")
def data_forged(bench):
    """A bit of each byte of counter, ciphertext and tag changed."""
    whole = bench.data(wg.pad(bench.request()))
    yield from flipped(whole, 8, len(whole))


@case("transport", "receiver")
def data_receiver(bench):
    """True data for other indexes: a bit of each byte changed, all zeros, the sender's own."""
    whole = bench.data(bench.request())
    yield from flipped(whole, 4, 8)
    yield from (whole[:4] + index + whole[8:] for index in (bytes(4), bench.keys.index))


@case("transport", "receiver")
def data_reflected(bench):
    """The other side's own data."""
    yield bench.peer.last_opened


@case("transport", "replay")
def data_replayed(bench):
    """A request three times; and another one, which comes again after 100 keepalives."""
    request = bench.data(wg.pad(bench.request()))
    yield from (accepted(request, True), request, request)
    early = bench.data(wg.pad(bench.request()))
    yield accepted(early, True)
    yield from (accepted(bench.data(b"")) for _ in range(100))
    yield early


@case("transport", "replay")
def data_old(bench):
    """True data, after a counter that is more than a window above its own. Receivers' windows differ: far above."""
    old = bench.data(wg.pad(bench.request()))
    bench.keys.counter += 4 * wg.WINDOW
    yield accepted(bench.data(b""))
    yield old


@case("transport", "counter limit")
def data_counter(bench):
    """Counters from 2^64 - 2^13 - 1 on, with a right tag; the session's own counters are still good after that."""
    for counter in (2**64 - 1, 2**64 - 2, 2**64 - 2**13, 2**64 - 2**13 - 1):
        yield wg.seal_data(bench.keys.send_key, bench.keys.remote_index, counter, wg.pad(bench.request()))
    yield accepted(bench.data(b""))


@case("transport", "inner length")
def inner_length(bench):
    """Packets that say to be longer than the plaintext, or shorter than their header; and cut ones."""
    packet = wg.pad(bench.request())
    for length in (0, 19, len(packet) + 1, 65535):
        yield bench.data(packet[:2] + length.to_bytes(2, "big") + packet[4:])
    yield bench.data(packet[:16])
    yield bench.data(b"\x45")
    version6 = b"\x60" + bytes(3) + b"\0\x10\x3a\x40" + bytes(32)
    yield bench.data(version6)
    yield bench.data(version6[:32])


@case("transport", "inner version")
def inner_version(bench):
    """Packets of neither IPv4 nor IPv6, and a plaintext that is only padding."""
    packet = wg.pad(bench.request())
    for version in (0, 1, 5, 7, 15):
        yield bench.data(bytes([version << 4 | 5]) + packet[1:])
    yield bench.data(bytes(16))
    yield bench.data(bytes(1))


@case("transport", "inner source")
def inner_source(bench):
    """Requests whose source is not this peer's: another's, and the other side's own."""
    for source in (bench.own + 1, bench.remote):
        yield bench.data(wg.pad(bench.request(source)))


@case("transport", "receiver")
def garbage(bench):
    """Random bytes behind each good start, of every length up to 1500."""
    for length in range(1500):
        for kind in wg.TYPE_NAMES:
            datagram = (wg.header(kind) + bench.rng(length))[:length]
            whole = length >= wg.DATA_MIN if kind == wg.DATA else length == wg.SIZES[kind]
            has_mac1 = kind in (wg.INITIATION, wg.RESPONSE)
            yield Shot(datagram, ("mac1" if has_mac1 else "receiver") if whole else "length")


# --- load ---


@case("load", "no cookie")
def mac2_absent(bench):
    """A right initiation without mac2."""
    yield bench.macs(bench.initiation())


@case("load", "no cookie")
def mac2_wrong(bench):
    """A right initiation with a mac2 by a key of 16 zeros, a random one, and mac1 again."""
    covered = bench.initiation()
    yield bench.macs(covered, bytes(16))
    yield bench.macs(covered)[:-16] + bench.rng(16)
    yield bench.macs(covered)[:-16] + wg.mac1_of(bench.macs(covered))


@case("load", "no cookie")
def mac2_foreign(bench):
    """A right initiation with a mac2 by a cookie that another source got."""
    yield bench.macs(bench.initiation(), bench.foreign_cookie)


@case("load", "mac1")
def mac1_under_load(bench):
    """A wrong mac1 is not worth a cookie."""
    yield from flipped(bench.macs(bench.initiation()), 116, 132)


# --- lawful ---


@case("lawful", None)
def unpadded(bench):
    """Data of a length that is no multiple of 16."""
    yield bench.data(bench.request())


@case("lawful", None)
def padded_beyond(bench):
    """More padding than there has to be, up to 1408 bytes of plaintext; none of it is delivered."""
    for size in (64, 80, 81, 512, 1408):
        yield bench.data(bench.request().ljust(size, b"\0"))


@case("lawful", None)
def padding_not_zero(bench):
    """Padding that is not zero."""
    packet = bench.request()
    yield bench.data(packet + bench.rng(len(wg.pad(packet)) - len(packet)))


@case("lawful", None)
def counter_gap(bench):
    """Counters that skip some, and many."""
    for gap in (1, 2000, 3 * wg.WINDOW, 2**33):
        bench.keys.counter += gap
        yield bench.data(wg.pad(bench.request()))


@case("lawful", None)
def reordered(bench):
    """32 requests from the last to the first, across 4096 counters."""
    sealed = []
    for _ in range(32):
        sealed.append(bench.data(wg.pad(bench.request())))
        bench.keys.counter += 127
    yield from reversed(sealed)


@case("lawful", None)
def mac2_ignored(bench):
    """An initiation with a nonsensical mac2 for a side that is not under load."""
    yield bench.macs(bench.initiation(), bench.rng(16))
