# SPDX-License-Identifier: Apache-2.0
"""One end of a WireGuard tunnel, initiator and responder: sections 5.1, 5.3 and 6 of the paper that wireguard.py is from.

`Peer` does no input or output: datagrams and inner packets are handed in, what is to be sent waits in `outbox`
((datagram, endpoint)), `delivered` (inner packets) and `events` (what happened, as dictionaries) until taken. Time is
handed in too, as seconds since 1970 UTC. What must not be accepted raises `wire.Drop`, and has changed nothing; at most it
has put a cookie reply into `outbox`. Only the reasons that begin with "inner" are for what was authentic, and counted.
"""

import ipaddress
import os
import random
from dataclasses import dataclass

import inner
import wireguard as wg
from wire import Drop, tai64n

REKEY_AFTER_MESSAGES = 2**60
REKEY_AFTER_TIME, REJECT_AFTER_TIME = 120.0, 180.0
REKEY_ATTEMPT_TIME, REKEY_TIMEOUT, KEEPALIVE_TIMEOUT = 90.0, 5.0, 10.0
RETRY_JITTER = 0.333
INITIATION_INTERVAL = 0.02
ERASE_TIME = 3 * REJECT_AFTER_TIME
STAGED_MAX = 128
EVERYTHING = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


@dataclass
class KeyRing:
    """Section 6.3: previous, current, and next, which the other side has not used yet."""

    previous: wg.Keys = None
    current: wg.Keys = None
    next: wg.Keys = None

    def find(self, index):
        for keys in (self.current, self.next, self.previous):
            if keys and keys.index == index:
                return keys
        raise Drop("receiver")


class Peer:
    """With `under_load` it asks for cookies; `rekey_after` can shorten the 120 s of the initiator."""

    def __init__(self, static, remote_public, psk=wg.NO_PSK, endpoint=None, mtu=1420, allowed=EVERYTHING, keepalive=0,
                 rekey_after=REKEY_AFTER_TIME, under_load=False, rng=os.urandom, uniform=random.uniform):
        self.static, self.public = static, wg.public_key(static)
        self.remote_public, self.psk = remote_public, psk
        self.endpoint, self.mtu, self.allowed, self.keepalive_interval = endpoint, mtu, allowed, keepalive
        self.rekey_after, self.under_load = rekey_after, under_load
        self.rng, self.uniform = rng, uniform
        self.outbox, self.delivered, self.events = [], [], []
        self.keys = KeyRing()
        self.pending = None  # the Initiator of the latest initiation
        self.last_initiation = self.last_opened = None  # whole datagrams: the latest sent, the latest authentic data
        self.cookies_taken = self.keepalives_received = 0
        self._maker, self._holder = wg.CookieMaker(self.public, rng), wg.CookieHolder(remote_public)
        self.last_timestamp = None  # of the latest initiation sent
        self._last_stamp = 0
        self._initiated_at = self._retry_at = self._attempt_end = None
        self._highest_timestamp, self._accepted_at = bytes(12), None  # of the other side's initiations
        self._staged = []
        self._last_sent = self._awaiting_since = self._owed_since = self._erase_at = None

    def _event(self, event, **fields):
        self.events.append({"event": event, **fields})

    def _push(self, datagram, endpoint=None):
        self.outbox.append((datagram, endpoint or self.endpoint))

    # Handshakes

    def next_timestamp(self, now):
        """Greater than all before, even if the clock stands still."""
        self._last_stamp = max(int(now * 10**9), self._last_stamp + 1)
        return tai64n(self._last_stamp)

    def initiate(self, now):
        """An initiation at once, and one every 5 s until a response came, or for 90 s."""
        if self.endpoint is None:
            raise Drop("no endpoint")
        self._attempt_end = now + REKEY_ATTEMPT_TIME
        self._send_initiation(now)

    def _initiate_if_due(self, now):
        if self.pending is None and (self._initiated_at is None or now >= self._initiated_at + REKEY_TIMEOUT):
            self.initiate(now)

    def _send_initiation(self, now):
        self.pending = wg.Initiator(self.static, self.remote_public, self.psk)
        self.last_timestamp = self.next_timestamp(now)
        covered = self.pending.initiation(self.rng(wg.INDEX_SIZE), self.rng(32), self.last_timestamp)
        self.last_initiation = self._send_handshake(covered, self.endpoint, now)
        self._initiated_at = now
        self._retry_at = now + REKEY_TIMEOUT + self.uniform(0, RETRY_JITTER)
        self._event("initiation", index=self.pending.index.hex(), mac2=self.last_initiation[-16:] != bytes(16))

    def _send_handshake(self, covered, endpoint, now):
        message = wg.add_macs(covered, self.remote_public, self._holder.current(now))
        self._holder.sent(message)
        self._push(message, endpoint)
        return message

    def _check_macs(self, message, source, now):
        if not wg.has_mac1(message, self.public):
            raise Drop("mac1")
        if self.under_load and not self._maker.proves(message, source, now):
            self._push(self._maker.reply(message, source, now), source)
            raise Drop("no cookie")

    def _receive_initiation(self, message, source, now):
        self._check_macs(message, source, now)
        handshake = wg.Responder(self.static)
        if handshake.read_static(message) != self.remote_public:
            raise Drop("unknown peer")
        timestamp = handshake.read_timestamp(message)
        if timestamp <= self._highest_timestamp:
            raise Drop("timestamp")
        if self._accepted_at is not None and now < self._accepted_at + INITIATION_INTERVAL:
            raise Drop("too soon")
        self._highest_timestamp, self._accepted_at = timestamp, now
        covered = handshake.response(self.rng(wg.INDEX_SIZE), self.rng(32), self.psk)
        self._send_handshake(covered, source, now)
        receive_key, send_key = handshake.keys()
        self._move(source)
        self.keys.next = self._new_keys(handshake, send_key, receive_key, False, now)

    def _receive_response(self, message, source, now):
        self._check_macs(message, source, now)
        if self.pending is None or wg.receiver(message) != self.pending.index:
            raise Drop("receiver")
        handshake = self.pending.fork()
        handshake.read_response(message)
        self.pending = None
        self._move(source)
        send_key, receive_key = handshake.keys()
        keys = self._new_keys(handshake, send_key, receive_key, True, now)
        self.keys = KeyRing(self.keys.next or self.keys.current, keys)
        self._send_staged(now)
        if keys.counter == 0:
            self.keepalive(now)  # the other side may not send before it has heard something under the new key

    def _new_keys(self, handshake, send_key, receive_key, initiator, now):
        self._erase_at, self._last_sent = now + ERASE_TIME, now
        self._event("session", initiator=initiator, index=handshake.index.hex(), remote=handshake.remote_index.hex())
        return wg.Keys(handshake.index, handshake.remote_index, send_key, receive_key, now, initiator)

    def _receive_cookie(self, reply, now):
        self._holder.take(reply, now)
        self.cookies_taken += 1
        self._event("cookie")  # section 6.6: for the next attempt; nothing is sent at once

    # Data

    def receive(self, datagram, source, now):
        kind = wg.parse_type(datagram)
        if kind == wg.INITIATION:
            self._receive_initiation(datagram, source, now)
        elif kind == wg.RESPONSE:
            self._receive_response(datagram, source, now)
        elif kind == wg.COOKIE_REPLY:
            self._receive_cookie(datagram, now)
        else:
            self._receive_data(datagram, source, now)

    def _receive_data(self, datagram, source, now):
        keys = self.keys.find(wg.receiver(datagram))
        if now >= keys.made + REJECT_AFTER_TIME:
            raise Drop("key dead")
        plaintext, newest = keys.open(datagram)
        self.last_opened = datagram
        self._awaiting_since = None
        if keys is self.keys.next:
            self.keys = KeyRing(self.keys.current, keys)
            self._event("confirmed", index=keys.index.hex())
            self._send_staged(now)
        if newest and keys is self.keys.current:
            self._move(source)
        last_chance = REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT
        if keys is self.keys.current and keys.initiator and now >= keys.made + last_chance:
            self._initiate_if_due(now)
        if plaintext:
            self._deliver(plaintext, now)
        else:
            self.keepalives_received += 1

    def _move(self, source):
        if self.endpoint != source:
            if self.endpoint is not None:
                self._event("roamed", endpoint=list(source))
            self.endpoint = source

    def _deliver(self, plaintext, now):
        if self._owed_since is None:
            self._owed_since = now
        packet = wg.trim(plaintext)
        source = inner.addresses(packet)[0]
        if not any(source in network for network in self.allowed):
            raise Drop("inner source")
        self.delivered.append(packet)

    def can_send(self, now):
        keys = self.keys.current
        return keys is not None and now < keys.made + REJECT_AFTER_TIME and keys.counter < wg.REJECT_AFTER_MESSAGES

    def send(self, packet, now):
        """An inner packet, at once or when there is a session."""
        if len(packet) > self.mtu:
            raise Drop("mtu")
        if self.can_send(now):
            self._transmit(packet, now)
            return
        self._staged = self._staged[1 - STAGED_MAX :] + [packet]
        if self.endpoint is not None:
            self._initiate_if_due(now)

    def _send_staged(self, now):
        staged, self._staged = self._staged, []
        for packet in staged:
            self._transmit(packet, now)

    def keepalive(self, now):
        self._transmit(b"", now)

    def _transmit(self, packet, now):
        keys = self.keys.current
        self._push(keys.seal(wg.pad(packet, self.mtu)))
        self._last_sent, self._owed_since = now, None
        if packet and self._awaiting_since is None:
            self._awaiting_since = now
        if keys.counter >= REKEY_AFTER_MESSAGES or keys.initiator and now >= keys.made + self.rekey_after:
            self._initiate_if_due(now)

    # Timers

    def tick(self, now):
        """What is due by the clock."""
        if self._erase_at is not None and now >= self._erase_at:
            self.keys, self.pending, self._erase_at = KeyRing(), None, None
            self._event("erased")
        if self.pending is not None and now >= self._retry_at:
            if now < self._attempt_end:
                self._send_initiation(now)
            else:
                self.pending, self._staged = None, []
                self._event("gave up")
        if self._awaiting_since is not None and now >= self._awaiting_since + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT:
            self._awaiting_since = None
            self._initiate_if_due(now)
        if self.can_send(now):
            interval = self.keepalive_interval
            if (self._owed_since is not None and now >= self._owed_since + KEEPALIVE_TIMEOUT) or (
                    interval and now >= self._last_sent + interval):
                self.keepalive(now)
        elif self.keepalive_interval and self.endpoint is not None:
            self._initiate_if_due(now)
