# SPDX-License-Identifier: Apache-2.0
"""A second implementation of shardtun, written from core/protocol/PROTOCOL.md alone.

`Client` and `Gateway` do no input or output: datagrams and inner packets are handed in, what is to be sent waits in
`outbox` (datagrams) and `delivered` (inner packets) until taken. Time is handed in too, as seconds since 1970 UTC. A
method that is given something it must not accept raises `wire.Drop` with the reason, and has changed nothing; at most
it has put a COOKIE into `outbox`.
"""

import ipaddress
import os
import random
from dataclasses import dataclass, field

import inner
import sparse
import wire
from noise_ik import Handshake, NoiseError, public_key
from wire import Drop

EVERYTHING = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
NO_PSK = bytes(32)

HELLO_FIRST, HELLO_LAST, JITTER = 1.0, 16.0, 0.25
ACK_INTERVAL, CONFIRM_TIME = 0.25, 5.0
PENDING_TIME = 10.0
PREVIOUS_TIME = 10.0
KEY_LIFE = 3600.0
SILENCE = 15.0
KEEPALIVE_AFTER_DATA = 10.0
RESET_FIRST = 10.0
REPEATS = 2
COOKIE_KEPT = 115.0
COOKIE_PERIOD = 120
NANOSECONDS = 10**9
CLOCK_JUMP = 300.0


@dataclass
class Keys:
    """The two traffic keys that one handshake made, with their counters; `other` is what the other side can do."""

    session_id: int
    epoch: int
    suite: int
    send_secret: bytes
    receive_secret: bytes
    made: float
    other: int = 0
    confirmed: bool = False
    counter: int = 0
    opened: int = 0
    window: wire.ReplayWindow = field(default_factory=wire.ReplayWindow)
    sparse_window: wire.ReplayWindow = field(default_factory=wire.ReplayWindow)

    def alive(self, now):
        return now < self.made + KEY_LIFE

    def seal(self, kind, plaintext=b""):
        if self.counter >= wire.COUNTER_LIMIT:
            raise Drop("counter limit")
        counter, self.counter = self.counter, self.counter + 1
        return wire.seal(self.send_secret, self.suite, kind, self.epoch, self.session_id, counter, plaintext)

    def open(self, datagram):
        """(plaintext, whether its counter is above all before)."""
        counter, plaintext = wire.unseal(self.receive_secret, self.suite, datagram)
        newest = counter > max(self.window.highest, self.sparse_window.highest)
        window = self.sparse_window if datagram[0] & 15 == wire.DATA_SPARSE else self.window
        if not window.accept(counter):
            raise Drop("replay")
        self.opened += 1
        return plaintext, newest

    def names(self, epoch, session_id):
        return (self.epoch, self.session_id) == (epoch, session_id)


@dataclass
class KeyRing:
    """Previous, current and next key; previous opens until `previous_until`."""

    previous: Keys = None
    current: Keys = None
    next: Keys = None
    previous_until: float = None

    def find(self, epoch, session_id, now):
        if self.previous_until is not None and now >= self.previous_until:
            self.previous = self.previous_until = None
        for keys in (self.current, self.next, self.previous):
            if keys and keys.names(epoch, session_id):
                if not keys.alive(now):
                    raise Drop("key dead")
                return keys
        raise Drop("no key")

    def confirm(self, keys, now):
        """`keys` opened its first packet: the one before it has 10 s to live."""
        keys.confirmed = True
        if keys is self.next:
            self.previous, self.current, self.next = self.current, keys, None
        self.previous_until = now + PREVIOUS_TIME


def take(queue):
    """What waits in a queue, which is empty afterwards."""
    taken = list(queue)
    queue.clear()
    return taken


class Client:
    """The client side. `outbox` holds datagrams, `delivered` inner packets, `state` a name of section 4's diagram."""

    def __init__(self, static, gateway_public, psk=NO_PSK, suites=(wire.AES_256_GCM, wire.CHACHA20_POLY1305), mtu=1420,
                 wished4=wire.NONE4, wished6=wire.NONE6, allowed=EVERYTHING, rng=os.urandom, uniform=random.uniform,
                 capabilities=sparse.CAPABILITIES):
        self.static, self.gateway_public, self.psk = static, gateway_public, psk
        self.suites, self.mtu, self.wished4, self.wished6, self.allowed = suites, mtu, wished4, wished6, allowed
        self.rng, self.uniform = rng, uniform
        self.sparse = sparse.Marker(capabilities)
        self.state = "DOWN"
        self.outbox, self.delivered = [], []
        self.keys = KeyRing()
        self.session_id = 0
        self.last_session_id = 0  # also after it ended
        self.welcome = None
        self.bye_reason = None
        self.handshake = None
        self.cookie = self.challenge = None  # the key of mac2, and the challenge
        self.cookies_taken = 0
        self._cookie_until = self._challenge_end = None
        self._magic = self._latest = None
        self._last_stamp = 0
        self._hello_wait = HELLO_FIRST
        self._repeats = 0  # HELLOs for COOKIEs since the last one that was due
        self._deadline = self._confirm_until = None
        self._rekey_at = None
        self._last_sent = self._unheard_since = self._data_unanswered_since = None
        self._reset_due, self._reset_wait = 0.0, RESET_FIRST

    # Handshake

    def make_hello(self, now, version=wire.VERSION, session_id=None):
        """A new HELLO, which becomes the latest; the version can be a wrong one."""
        self._last_stamp = max(int(now * 10**9), self._last_stamp + 1)
        if self.cookie and now >= self._cookie_until:
            self.cookie = None
        if self.challenge and now >= self._challenge_end:
            self.challenge = None
        self._one_cookie = self.cookie is not None and self.cookie == self.challenge
        payload = wire.HelloPayload(wire.tai64n(self._last_stamp), self.suites, self.mtu, self.wished4, self.wished6,
                                    self.challenge or bytes(wire.CHALLENGE_SIZE), self.sparse.capabilities)
        named = self.last_session_id if session_id is None else session_id
        self._magic = self.rng(4)
        start = wire.header(wire.HELLO, version, named) + self._magic
        self.handshake = Handshake(True, wire.prologue(start), self.static, self.gateway_public, self.psk)
        covered = start + self.handshake.write(self.rng(32), payload.encode())
        covered += wire.mac1(self.gateway_public, covered)
        self._latest = covered + (wire.mac2(self.cookie, covered) if self.cookie else bytes(16))
        return self._latest

    def connect(self, now):
        """DOWN or UP to HANDSHAKE."""
        self.state = "HANDSHAKE"
        self._hello_wait = HELLO_FIRST
        self._hello(now)

    def _hello(self, now):
        self._repeats = 0
        self.outbox.append(self.make_hello(now))
        self._deadline = now + self._hello_wait * (1 + self.uniform(-JITTER, JITTER))
        self._hello_wait = min(2 * self._hello_wait, HELLO_LAST)

    def _receive_cookie(self, datagram, now):
        if self.state != "HANDSHAKE":
            raise Drop("state")
        cookie = wire.unseal_cookie(self.gateway_public, self._latest, datagram)
        asked_anew = self._latest[wire.MAC2_OFFSET :] == bytes(16)
        if not self._one_cookie:
            self.cookie, self._cookie_until = cookie, now + COOKIE_KEPT
        self.challenge, self._challenge_end = cookie, now + COOKIE_KEPT
        self.cookies_taken += 1
        if asked_anew:
            self._hello_wait = HELLO_FIRST
            self._hello(now)
        elif self._repeats < REPEATS:
            self._repeats += 1
            self.outbox.append(self.make_hello(now))

    def read_welcome(self, datagram):
        """(payload, k1, k2) of a WELCOME for the latest HELLO."""
        kind, _, session_id = wire.parse_header(datagram)
        if kind != wire.WELCOME:
            raise Drop("type")
        if self.handshake is None or datagram[5:9] != self._magic:
            raise Drop("magic")
        handshake = self.handshake.fork()
        try:
            welcome = wire.WelcomePayload.decode(handshake.read(datagram[wire.NOISE_OFFSET :]))
        except NoiseError as error:
            raise Drop("handshake") from error
        if welcome.session_id != session_id or session_id == 0:
            raise Drop("welcome")
        if welcome.suite not in self.suites or not 1 <= welcome.epoch <= wire.MAX_EPOCH:
            raise Drop("welcome")
        return welcome, *handshake.split()

    def _receive_welcome(self, datagram, now):
        if self.state != "HANDSHAKE":
            raise Drop("state")
        welcome, k1, k2 = self.read_welcome(datagram)
        self.handshake = None
        self.welcome = welcome
        if self.keys.current and self.keys.current.confirmed:
            self.keys.previous, self.keys.previous_until = self.keys.current, None
        self.keys.current = Keys(welcome.session_id, welcome.epoch, welcome.suite, k1, k2, now,
                                 welcome.capabilities)
        self.session_id = self.last_session_id = welcome.session_id
        self._rekey_at = now + welcome.rekey_interval * (1 - self.uniform(0, 0.2)) + welcome.backoff
        self._data_unanswered_since = self._unheard_since = None
        self.state = "CONFIRM"
        self._confirm_until = now + CONFIRM_TIME
        self._acknowledge(now)

    def _acknowledge(self, now):
        self._transmit(wire.CLIENT_ACK, b"", now)
        self._deadline = now + ACK_INTERVAL

    # Transport

    def _transmit(self, kind, plaintext, now):
        self.outbox.append(self.keys.current.seal(kind, plaintext))
        self._last_sent = now
        self._data_unanswered_since = None

    def receive(self, datagram, now):
        """A datagram from the gateway."""
        kind, high, session_id = wire.parse_header(datagram)
        if kind == wire.WELCOME:
            self._receive_welcome(datagram, now)
            return
        if kind == wire.COOKIE:
            self._receive_cookie(datagram, now)
            return
        if kind == wire.RESET:
            self._receive_reset(datagram, session_id, now)
            return
        if kind in (wire.HELLO, wire.CLIENT_ACK):
            raise Drop("direction")
        self.sparse.check(kind)
        keys = self.keys.find(high, session_id, now)
        plaintext, _ = keys.open(datagram)
        self._unheard_since = None
        if keys is self.keys.current and not keys.confirmed:
            self.keys.confirm(keys, now)
            if self.state == "CONFIRM":
                self.state = "UP"
        if kind == wire.BYE:
            self._receive_bye(keys, plaintext[0], now)
        elif kind == wire.KEEPALIVE and plaintext[:1] == bytes([wire.PING]):
            self._transmit(wire.KEEPALIVE, bytes([wire.PONG]) + plaintext[1:], now)
        elif kind in (wire.DATA, wire.DATA_SPARSE):
            self.sparse.count(kind)
            if self._data_unanswered_since is None:
                self._data_unanswered_since = now
            self._deliver(plaintext)

    def _receive_reset(self, datagram, session_id, now):
        if not self.session_id or session_id != self.session_id or datagram[wire.HEADER_SIZE:] != self.welcome.reset_token:
            raise Drop("unexpected")
        if self.state in ("CONFIRM", "UP") and now >= self._reset_due:
            self._reset_due = now + self._reset_wait
            self._reset_wait *= 2
            self.cookie = self.challenge = None
            self.connect(now)

    def _receive_bye(self, keys, reason, now):
        if keys.session_id != self.keys.current.session_id:
            self.keys.previous = None
            return
        self.bye_reason = reason
        self.keys = KeyRing()
        self.session_id = 0
        self.connect(now)

    def _deliver(self, packet):
        pair = inner.addresses(packet)
        if pair is None:
            raise Drop("inner length")
        source, destination = pair
        if not any(source in network for network in self.allowed):
            raise Drop("inner source")
        if destination not in (self.welcome.address4, self.welcome.address6):
            raise Drop("inner destination")
        self.delivered.append(packet)

    def send(self, packet, now):
        """An inner packet for the gateway."""
        current = self.keys.current
        if current is None or not current.alive(now):
            if self.state in ("CONFIRM", "UP"):
                self.connect(now)
            raise Drop("no key")
        if len(packet) > self.welcome.mtu:
            raise Drop("mtu")
        self._transmit(self.sparse.kind(packet, current.other, now), packet, now)
        if self._unheard_since is None:
            self._unheard_since = now
        limit = 2**28 if self.welcome.mtu <= 2048 else 2**26
        if self.state == "UP" and (now >= self._rekey_at or max(current.counter, current.opened) >= limit):
            self.connect(now)

    def keepalive(self, now):
        self._transmit(wire.KEEPALIVE, b"", now)

    def close(self, now, reason=wire.GOING_AWAY):
        """BYE, and DOWN."""
        if self.keys.current and self.keys.current.alive(now):
            self._transmit(wire.BYE, bytes([reason]), now)
        self.keys = KeyRing()
        self.session_id = 0
        self.state = "DOWN"

    def tick(self, now):
        """What is due by the clock."""
        if self.state == "HANDSHAKE" and now >= self._deadline:
            self._hello(now)
        elif self.state == "CONFIRM" and now >= self._confirm_until:
            self.connect(now)
        elif self.state == "CONFIRM" and now >= self._deadline:
            self._acknowledge(now)
        elif self.state == "UP":
            self._tick_up(now)

    def _tick_up(self, now):
        if self._unheard_since is not None and now >= self._unheard_since + SILENCE:
            self._unheard_since = None
            self.connect(now)
        elif self.keys.current.alive(now):
            answer = self._data_unanswered_since
            interval = self.welcome.keepalive
            if (answer is not None and now >= answer + KEEPALIVE_AFTER_DATA) or (
                    interval and now >= self._last_sent + interval):
                self.keepalive(now)


@dataclass
class Session:
    """A session at the gateway, or one that is to become one."""

    session_id: int
    endpoint: object = None
    mtu: int = 0
    last_heard: float = 0.0
    keys: KeyRing = field(default_factory=KeyRing)
    data_unanswered_since: float = None


class Gateway:
    """The gateway side, for one peer. `outbox` holds (datagram, endpoint), `delivered` inner packets.

    `push` holds the fields of WELCOME that do not come from the handshake, as keyword arguments of WelcomePayload.
    With `demand_cookie` it behaves as under load: a HELLO must prove where it comes from.
    """

    def __init__(self, static, peer_public, psk=NO_PSK, suites=(wire.AES_256_GCM, wire.CHACHA20_POLY1305), mtu=1420,
                 push=None, rng=os.urandom, demand_cookie=False, capabilities=sparse.CAPABILITIES):
        self.static, self.public = static, public_key(static)
        self.peer_public, self.psk = peer_public, psk
        self.suites, self.mtu, self.push, self.rng = suites, mtu, push or {}, rng
        self.sparse = sparse.Marker(capabilities)
        self.outbox, self.delivered = [], []
        self.active = None
        self.pending = None
        self.pending_until = None
        self.last_handshake = None
        self.demand_cookie = demand_cookie
        self._cookie_secret = None
        self._last_number = 0  # of the newest cookie of the second kind
        self._mark = 0  # a number from when the last HELLO was accepted
        self._newest_cookie = 0  # number of the newest that counted
        self._last_stamp, self._last_at = None, None  # of the last accepted HELLO
        self._highest_stamp = bytes(12)

    # Handshake

    def _mac(self, *what):
        if self._cookie_secret is None:
            self._cookie_secret = self.rng(32)
        return wire.blake2b(128, repr(what).encode(), key=self._cookie_secret)

    def _period_cookies(self, endpoint, now):
        """The valid cookies of the first kind by their number, the newest first."""
        period = int(now // COOKIE_PERIOD)
        return {p * COOKIE_PERIOD * NANOSECONDS: self._mac(endpoint, p) for p in (period, period - 1)}

    def _numbered_cookie(self, endpoint, number):
        return number.to_bytes(8, "big") + self._mac(endpoint, number, "numbered")[:8]

    def _cookie_number(self, cookie, endpoint, now):
        """Which cookie of this endpoint it is; 0: none that is valid."""
        if cookie == bytes(wire.CHALLENGE_SIZE):
            return 0
        for number, made in self._period_cookies(endpoint, now).items():
            if cookie == made:
                return number
        number = int.from_bytes(cookie[:8], "big")
        age = int(now * NANOSECONDS) - number
        valid = -NANOSECONDS <= age <= COOKIE_PERIOD * NANOSECONDS and cookie == self._numbered_cookie(endpoint, number)
        return number if valid else 0

    def _send_cookie(self, hello, endpoint, cookie):
        self.outbox.append((wire.seal_cookie(self.public, hello, cookie, self.rng(24)), endpoint))

    def _prove(self, datagram, hello, endpoint, now):
        """Asks the sender of an authentic HELLO to show that it is there."""
        number, cookie = next(iter(self._period_cookies(endpoint, now).items()))
        if not self._fresh(hello, number, now):
            self._last_number = max(int(now * NANOSECONDS), self._last_number + 1)
            cookie = self._numbered_cookie(endpoint, self._last_number)
        self._send_cookie(datagram, endpoint, cookie)

    def _proven(self, hello, endpoint, now):
        covered, sent = hello[: wire.MAC2_OFFSET], hello[wire.MAC2_OFFSET :]
        return any(wire.mac2(cookie, covered) == sent for cookie in self._period_cookies(endpoint, now).values())

    def _fresh(self, hello, number, now):
        """Section 2, Freshness: its three rules."""
        if number > self._newest_cookie and (number > self._mark or hello.timestamp > self._highest_stamp):
            return True
        if self._last_stamp is None:
            return False
        if number and number == self._newest_cookie and hello.timestamp > self._last_stamp:
            return True
        ahead = int.from_bytes(hello.timestamp[:8], "big") - int.from_bytes(self._last_stamp[:8], "big")
        elapsed = now - self._last_at
        return hello.timestamp > self._highest_stamp and ahead <= elapsed * 9 / 8 + CLOCK_JUMP

    def accept(self, timestamp, number, now):
        """From now on such a HELLO is stale."""
        self._mark = self._last_number = max(int(now * NANOSECONDS), self._last_number + 1)
        self._newest_cookie = max(self._newest_cookie, number)
        self._highest_stamp = max(self._highest_stamp, timestamp)
        self._last_stamp, self._last_at = timestamp, now

    def _receive_hello(self, datagram, session_id, endpoint, now):
        """Section 2's order of checks; length and version were the first."""
        if wire.mac1(self.public, datagram[: wire.MAC1_OFFSET]) != datagram[wire.MAC1_OFFSET : wire.MAC2_OFFSET]:
            raise Drop("mac1")
        if self.demand_cookie and not self._proven(datagram, endpoint, now):
            self._send_cookie(datagram, endpoint, next(iter(self._period_cookies(endpoint, now).values())))
            raise Drop("no cookie")
        message = datagram[wire.NOISE_OFFSET : wire.MAC1_OFFSET]
        handshake = Handshake(False, wire.prologue(datagram), self.static, psk=self.psk)
        try:
            if handshake.read_static(message) != self.peer_public:
                raise Drop("unknown peer")
            hello = wire.HelloPayload.decode(handshake.read_payload(message))
        except NoiseError as error:
            raise Drop("handshake") from error
        suite = next((s for s in hello.suites if s in self.suites), None)
        if suite is None:
            raise Drop("suite")
        number = self._cookie_number(hello.challenge, endpoint, now)
        if not self._fresh(hello, number, now):
            self._prove(datagram, hello, endpoint, now)
            raise Drop("timestamp")
        self.accept(hello.timestamp, number, now)
        self._welcome(handshake, datagram[5:9], session_id, suite, hello, endpoint, now)

    def _new_id(self):
        taken = {s.session_id for s in (self.active, self.pending) if s} | {0}
        while (session_id := int.from_bytes(self.rng(4), "big") & wire.SESSION_ID_MASK) in taken:
            pass
        return session_id

    def _welcome(self, handshake, magic, named, suite, hello, endpoint, now):
        rekey = self.active is not None and named == self.active.session_id
        if rekey:
            session = self.active
            confirmed = session.keys.current.epoch
            epoch = confirmed % wire.MAX_EPOCH + 1
        else:
            reuse = self.pending if self.pending is not self.active else None
            session = Session(reuse.session_id if reuse else self._new_id())
            epoch = 1
        mtu = max(wire.MIN_MTU, min(self.mtu, hello.mtu))
        payload = wire.WelcomePayload(session.session_id, suite, epoch, mtu, **self.push,
                                      capabilities=self.sparse.capabilities).encode()
        start = wire.header(wire.WELCOME, wire.VERSION, session.session_id) + magic
        self.outbox.append((start + handshake.write(self.rng(32), payload), endpoint))
        k1, k2 = handshake.split()
        if self.active:
            self.active.keys.next = None
        session.keys.next = Keys(session.session_id, epoch, suite, k2, k1, now, hello.capabilities)
        session.mtu = mtu
        self.pending, self.pending_until = session, now + PENDING_TIME
        self.last_handshake = handshake

    def _expire(self, now):
        if self.pending and now >= self.pending_until:
            self.pending.keys.next = None
            self.pending = None
        if self.active and now >= self.active.last_heard + self._session_timeout():
            self.end(now, wire.TIMED_OUT)

    def _session_timeout(self):
        return self.push.get("session_timeout", wire.WelcomePayload.session_timeout)

    # Transport

    def receive(self, datagram, endpoint, now):
        """A datagram that came from `endpoint`, which is anything comparable."""
        self._expire(now)
        kind, high, session_id = wire.parse_header(datagram)
        if kind == wire.HELLO:
            self._receive_hello(datagram, session_id, endpoint, now)
            return
        if kind in (wire.WELCOME, wire.COOKIE, wire.RESET):
            raise Drop("direction")
        self.sparse.check(kind)
        session = next((s for s in (self.active, self.pending) if s and s.session_id == session_id), None)
        if session is None:
            raise Drop("no session")
        keys = session.keys.find(high, session_id, now)
        plaintext, newest = keys.open(datagram)
        if keys is session.keys.next:
            self._confirm(session, now)
        session.last_heard = now
        if keys is session.keys.current and newest:
            session.endpoint = endpoint
        if kind == wire.CLIENT_ACK:
            self._transmit(session, wire.KEEPALIVE, b"", now)
        elif kind == wire.BYE:
            self._forget(session)
        elif kind in (wire.DATA, wire.DATA_SPARSE):
            self.sparse.count(kind)
            if session.data_unanswered_since is None:
                session.data_unanswered_since = now
            self._deliver(plaintext)

    def _confirm(self, session, now):
        session.keys.confirm(session.keys.next, now)
        if self.active and self.active is not session:
            self.end(now, wire.REPLACED)
        self.active = session
        self.pending = None

    def _deliver(self, packet):
        pair = inner.addresses(packet)
        if pair is None:
            raise Drop("inner length")
        if pair[0] not in (self.push.get("address4"), self.push.get("address6")):
            raise Drop("inner source")
        self.delivered.append(packet)

    def _transmit(self, session, kind, plaintext, now):
        keys = session.keys.current
        if keys is None or not keys.alive(now):
            raise Drop("no key")
        self.outbox.append((keys.seal(kind, plaintext), session.endpoint))
        session.data_unanswered_since = None

    def send(self, packet, now):
        """An inner packet for the client."""
        if self.active is None:
            raise Drop("no session")
        if len(packet) > self.active.mtu:
            raise Drop("mtu")
        kind = self.sparse.kind(packet, self.active.keys.current.other, now)
        self._transmit(self.active, kind, packet, now)

    def end(self, now, reason):
        """Ends the active session with BYE."""
        if self.active.keys.current.alive(now):
            self._transmit(self.active, wire.BYE, bytes([reason]), now)
        self._forget(self.active)

    def _forget(self, session):
        if self.pending is session:
            self.pending = None
        if self.active is session:
            self.active = None

    def tick(self, now):
        """What is due by the clock."""
        self._expire(now)
        if self.active and self.active.data_unanswered_since is not None:
            if now >= self.active.data_unanswered_since + KEEPALIVE_AFTER_DATA and self.active.keys.current.alive(now):
                self._transmit(self.active, wire.KEEPALIVE, b"", now)
