#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Talks to a real gateway as a client without TUN, well behaved or not; or acts as the gateway for a real client.

    probe.py --endpoint HOST:PORT --key FILE --gateway-key BASE64 [--psk FILE] [--suite N] ACTION...
    probe.py gateway --listen HOST:PORT --key FILE --client-key BASE64 [--psk FILE] [...]

Every action prints one JSON line with "ok", which says whether the gateway did what core/protocol/PROTOCOL.md asks of it. The
exit status is 0 if all were ok, 1 if not, 2 for bad usage. Actions that need a session connect first.
"""

import argparse
import ipaddress
import os
import random
import socket
import sys
import time

import inner
import wire
from gateway_mode import parse_gateway
from shardtun_peer import Client, take
from tool import add_common, load_keys, offered_suites, read_endpoint, read_key, say, sparse_figures
from wire import Drop

YEAR = 365 * 86400.0
RATE = 1500  # datagrams a second: slow enough for a default socket buffer
FOREIGN = {4: ipaddress.ip_address("192.0.2.77"), 6: ipaddress.ip_address("2001:db8::77")}


class Link:
    """A UDP socket connected to the gateway; an unreachable port reads as silence."""

    def __init__(self, endpoint):
        family, kind, _, _, self.address = socket.getaddrinfo(*endpoint, type=socket.SOCK_DGRAM)[0]
        self._family, self._kind = family, kind
        self.refused = 0
        self._next = 0.0
        self.socket = None
        self.reopen()

    def reopen(self):
        """Another source port."""
        old, self.socket = self.socket, socket.socket(self._family, self._kind)
        self.socket.connect(self.address)
        if old:
            old.close()

    def send(self, datagram):
        wait = self._next - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        self._next = max(self._next, time.monotonic()) + 1 / RATE
        try:
            self.socket.send(datagram)
        except ConnectionRefusedError:
            self.refused += 1

    def receive(self, timeout):
        """One datagram, or None when the time is over."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                return self.socket.recv(65535)
            except ConnectionRefusedError:
                self.refused += 1
            except TimeoutError:
                return None
        return None


class Probe:
    """The actions. Each public method without arguments is one; its dictionary is what is printed."""

    def __init__(self, options):
        self.options = options
        self.suites = offered_suites(options)
        self.timeout = options.timeout
        self.patience = options.patience
        self.link = Link(options.endpoint)
        self.client = self.new_client()
        self.identifier = random.randrange(1 << 16)
        self.sequence = 0

    def new_client(self, static=None, psk=None):
        """A client in state DOWN; other keys than the given ones make a stranger."""
        options = self.options
        return Client(static or options.static, options.gateway_key, options.psk_bytes if psk is None else psk,
                      suites=self.suites, mtu=options.mtu, wished4=options.wish4, wished6=options.wish6,
                      capabilities=options.capabilities)

    # The wire

    def flush(self):
        for datagram in take(self.client.outbox):
            self.link.send(datagram)

    def run_until(self, done, timeout):
        """Runs the client until done() or the time is over; returns done()."""
        end = time.monotonic() + timeout
        while True:
            self.client.tick(time.time())
            self.flush()
            left = end - time.monotonic()
            if done() or left <= 0:
                return done()
            datagram = self.link.receive(min(left, 0.05))
            if datagram is not None:
                try:
                    self.client.receive(datagram, time.time())
                except Drop:
                    pass

    def is_up(self):
        return self.client.state == "UP"

    def ensure_up(self):
        if self.is_up():
            return
        if self.client.state == "DOWN":
            self.client.connect(time.time())
        if not self.run_until(self.is_up, self.options.connect_timeout):
            raise ConnectionError(f"no session: {self.client.state} after {self.options.connect_timeout} s")

    def collect(self, timeout, expected=None):
        """Sequence numbers of the echo replies that come within the time, or until `expected` came."""
        replies = []

        def enough():
            for packet in take(self.client.delivered):
                reply = inner.parse_reply(packet)
                if reply and reply[2] == self.identifier:
                    replies.append(reply[3])
            return expected is not None and len(replies) >= expected

        self.run_until(enough, timeout)
        return replies

    def silence(self, timeout=None):
        """The datagrams that come although none should."""
        answers = []
        end = time.monotonic() + (timeout or self.timeout)
        while (left := end - time.monotonic()) > 0:
            datagram = self.link.receive(left)
            if datagram is not None:
                answers.append(datagram)
        return answers

    def families(self):
        """(own address, the gateway's) for each family that WELCOME assigned."""
        welcome = self.client.welcome
        pairs = ((welcome.address4, welcome.gateway4), (welcome.address6, welcome.gateway6))
        assigned = [(own, gateway) for own, gateway in pairs if int(own)]
        if not assigned:
            raise ConnectionError("WELCOME assigned no address")
        return assigned

    def request(self, own=None, gateway=None, source=None, payload=b"shardtun probe"):
        """(sequence, an echo request to the gateway's inner address)."""
        if own is None:
            own, gateway = self.families()[0]
        self.sequence = (self.sequence + 1) & 0xFFFF
        return self.sequence, inner.echo_request(source or own, gateway, self.identifier, self.sequence, payload)

    def seal(self, packet, kind=wire.DATA):
        return self.client.keys.current.seal(kind, packet)

    def alive(self):
        """Whether an echo request still passes; one may be lost."""
        for _ in range(3):
            sequence, packet = self.request()
            self.link.send(self.seal(packet))
            if sequence in self.collect(min(self.patience, 5), 1):
                return True
        return False

    # Well behaved

    def connect(self):
        """Handshake until UP."""
        self.client.connect(time.time())
        started = time.monotonic()
        self.ensure_up()
        welcome = self.client.welcome
        return {"ok": True, "session": welcome.session_id, "session_hex": f"{welcome.session_id:08x}",
                "milliseconds": round((time.monotonic() - started) * 1000, 3), "cookies": self.client.cookies_taken,
                "suite": welcome.suite, "epoch": welcome.epoch, "mtu": welcome.mtu, "keepalive": welcome.keepalive,
                "backoff": welcome.backoff, "rekey_interval": welcome.rekey_interval,
                "session_timeout": welcome.session_timeout, "capabilities": welcome.capabilities,
                "ipv4": str(welcome.address4), "prefix4": welcome.prefix4, "gateway4": str(welcome.gateway4),
                "ipv6": str(welcome.address6), "prefix6": welcome.prefix6, "gateway6": str(welcome.gateway6),
                "dns": [str(server) for server in welcome.dns], "routes": [str(route) for route in welcome.routes]}

    def ping(self):
        """One echo request to each inner address of the gateway, and one as large as the MTU allows."""
        self.ensure_up()
        result = {}
        for own, gateway in self.families():
            overhead = 28 if own.version == 4 else 48
            for name, payload in (("", b"shardtun probe"), ("_full", bytes(self.client.welcome.mtu - overhead))):
                sequence, packet = self.request(own, gateway, payload=payload)
                started = time.monotonic()
                self.client.send(packet, time.time())
                came = sequence in self.collect(self.patience, 1)
                took = round((time.monotonic() - started) * 1000, 3)
                result[f"ipv{own.version}{name}"] = took if came else None
        return {"ok": bool(result) and None not in result.values(), "milliseconds": result,
                "sparse": sparse_figures(self.client)}

    def rekey(self):
        """A handshake that names the session: same ID and addresses, another epoch; the old key still opens."""
        self.ensure_up()
        before, old = self.client.welcome, self.client.keys.current
        self.client.connect(time.time())
        self.ensure_up()
        after = self.client.welcome
        sequence, packet = self.request()
        self.link.send(old.seal(wire.DATA, packet))
        previous = sequence in self.collect(self.patience, 1)
        same = all(getattr(before, name) == getattr(after, name) for name in ("session_id", "address4", "address6"))
        step = after.epoch == before.epoch % wire.MAX_EPOCH + 1
        return {"ok": same and step and previous and self.alive(), "session": after.session_id, "epoch": after.epoch,
                "same_session": same, "previous_key_opens": previous}

    def roam(self):
        """From another source port: the answers must follow."""
        self.ensure_up()
        self.link.reopen()
        return {"ok": self.alive()}

    def wrong_clock(self):
        """The same client ten years ago: COOKIE, and with it WELCOME. What exists stays."""
        self.ensure_up()
        now = time.time() - 10 * YEAR
        second = self.new_client()
        first_link, self.link = self.link, Link(self.options.endpoint)  # one cookie excuses a client once
        second.connect(now)
        welcomes = self._greet(second, now)[1]
        self.link.socket.close()
        self.link = first_link
        return {"ok": second.cookies_taken == 1 and len(welcomes) == 1 and self._still_served(),
                "cookies": second.cookies_taken, "welcomes": len(welcomes)}

    def keepalive(self):
        """KEEPALIVE is not answered."""
        self.ensure_up()
        self.client.keepalive(time.time())
        self.flush()
        answers = len(self.silence())
        return {"ok": answers == 0 and self.alive(), "answers": answers}

    def bye(self):
        """BYE ends the session: nothing passes any more, and nothing but RESET answers."""
        self.ensure_up()
        keys = self.client.keys.current
        _, packet = self.request()
        self.client.close(time.time())
        self.flush()
        time.sleep(0.1)
        self.link.send(keys.seal(wire.DATA, packet))
        answers = sum(datagram[:1] != bytes([wire.VERSION << 4 | wire.RESET]) for datagram in self.silence())
        return {"ok": answers == 0, "answers": answers}

    # Badly behaved

    def spoof(self):
        """Foreign inner sources and lengths that do not fit, in DATA that is sealed as it should be.

        A reply to a foreign source may well go elsewhere, so that silence alone proves little: each source also writes
        to the client's own address, where a gateway that forwards would bring the packet back. "sent" is by how many
        the gateway's counters of drops must have grown.
        """
        self.ensure_up()
        packets = []
        for own, gateway in self.families():
            for source in (FOREIGN[own.version], own + 1, gateway):
                packets.append(self.request(own, gateway, source)[1])
                packets.append(self.request(own, own, source)[1])
        sources = len(packets)
        true = self.request()[1]
        packets += [b"\x45", true + b"\0", true[:-1]]
        for packet in packets:
            self.link.send(self.seal(packet))
        answers = len(self.silence())
        return {"ok": answers == 0 and self.alive(), "sent": {"source": sources, "length": len(packets) - sources},
                "answers": answers}

    def replay(self):
        """The same sealed DATA twice at once and once more later: one reply."""
        self.ensure_up()
        datagram = self.seal(self.request()[1])
        self.link.send(datagram)
        self.link.send(datagram)
        replies = len(self.collect(self.patience, 1))
        self.link.send(datagram)
        replies += len(self.collect(self.timeout))
        return {"ok": replies == 1 and self.alive(), "replies": replies}

    def reorder(self):
        """Backwards within the window: all pass. From well before the window: dropped."""
        self.ensure_up()
        sealed = [self.seal(self.request()[1]) for _ in range(32)]
        for datagram in reversed(sealed):
            self.link.send(datagram)
        inside = len(set(self.collect(self.patience, len(sealed))))
        keys = self.client.keys.current
        too_old = self.seal(self.request()[1])
        keys.counter += wire.REPLAY_WINDOW
        old_enough = self.seal(self.request()[1])
        keys.counter += wire.REPLAY_WINDOW // 2
        alive = self.alive()
        self.link.send(too_old)
        outside = len(self.collect(self.timeout))
        self.link.send(old_enough)
        half = len(self.collect(self.patience, 1))
        return {"ok": inside == len(sealed) and alive and outside == 0 and half == 1, "sent": len(sealed),
                "replies": inside, "replies_half_a_window_old": half, "replies_beyond_the_window": outside}

    def sparse(self):
        """DATA_SPARSE has a window of its own: far ahead in one, nothing late in the other is a replay, but from another port
        it does not move the endpoint. A changed type is forged. "sent" is by how many the gateway's drops must have grown.
        """
        self.ensure_up()
        keys, capabilities = self.client.keys.current, self.client.welcome.capabilities
        if not capabilities & wire.TAKES_SPARSE:
            return {"ok": False, "error": "the gateway does not take it"}
        before, answered = self.client.sparse.received, {}
        data, old = (self.seal(self.request()[1], kind) for kind in (wire.DATA, wire.DATA_SPARSE))
        forged = [bytes([datagram[0] ^ wire.DATA ^ wire.DATA_SPARSE]) + datagram[1:] for datagram in (data, old)]
        for datagram in forged:
            self.link.send(datagram)
        answers = len(self.silence())

        def is_answered(name, datagram, link=self.link):
            link.send(datagram)
            answered[name] = len(self.collect(self.patience, 1)) == 1

        elsewhere = Link(self.options.endpoint)
        keys.counter += 2 * wire.REPLAY_WINDOW
        is_answered("sparse far ahead", self.seal(self.request()[1], wire.DATA_SPARSE))
        is_answered("late data", data, elsewhere)
        marked = self.seal(self.request()[1], wire.DATA_SPARSE)
        keys.counter += 2 * wire.REPLAY_WINDOW
        is_answered("data far ahead", self.seal(self.request()[1]))
        is_answered("late sparse", marked, elsewhere)
        copies = (data, marked, old)  # the last one is none, but from before the window
        for datagram in copies:
            self.link.send(datagram)
        replies = len(self.collect(self.timeout))
        came = self.client.sparse.received - before
        marked_to_us = capabilities & wire.MARKS_SPARSE and self.client.sparse.capabilities & wire.TAKES_SPARSE
        right = answers == replies == 0 and all(answered.values()) and (came > 0) == bool(marked_to_us)
        return {"ok": right and self.alive(),
                "sent": {"forged": len(forged), "copies": len(copies)}, "answers": answers, "answered": answered,
                "replies_to_copies": replies, "marked_replies": came}

    def forge(self):
        """Every single bit of a DATA flipped: no reply; then the true one: one reply."""
        self.ensure_up()
        datagram = self.seal(self.request()[1])
        regions = {"header": (0, 5), "counter": (5, 9), "ciphertext": (9, len(datagram) - 16),
                   "tag": (len(datagram) - 16, len(datagram))}
        sent = {}
        for name, (first, last) in regions.items():
            for bit in range(first * 8, last * 8):
                forged = bytearray(datagram)
                forged[bit // 8] ^= 1 << bit % 8
                self.link.send(bytes(forged))
            sent[name] = (last - first) * 8
        answers = len(self.silence())
        self.link.send(datagram)
        replies = len(self.collect(self.patience, 1))
        return {"ok": answers == 0 and replies == 1 and self.alive(), "sent": sent, "answers": answers,
                "replies": replies}

    def wrong_version(self):
        """HELLOs that are right but for their version."""
        stranger = self.new_client()
        versions = [v for v in range(16) if v != wire.VERSION]
        for version in versions:
            self.link.send(stranger.make_hello(time.time(), version))
        answers = len(self.silence())
        return {"ok": answers == 0 and self._still_served(), "sent": len(versions), "answers": answers}

    def runts(self):
        """A true HELLO and a true DATA cut at every length, and HELLO with bytes to spare."""
        self.ensure_up()
        hello = self.new_client().make_hello(time.time())
        data = self.seal(self.request()[1])
        short = [hello[:length] for length in range(len(hello))] + [hello + bytes(extra) for extra in (1, 16, 300)]
        short += [data[:length] for length in range(len(data))]
        for kind in (wire.CLIENT_ACK, wire.KEEPALIVE):
            whole = self.client.keys.current.seal(kind)
            short += [whole[:length] for length in range(len(whole))] + [whole + b"\0"]
        short.append(self.client.keys.current.seal(wire.BYE))
        short.append(self.client.keys.current.seal(wire.BYE, b"\0\0"))
        for datagram in short:
            self.link.send(datagram)
        answers = len(self.silence())
        return {"ok": answers == 0 and self.alive(), "sent": len(short), "answers": answers}

    def garbage(self):
        """Random bytes: every length from 0 to 2000, and every first byte with and without the true session ID."""
        self.ensure_up()
        session = self.client.session_id.to_bytes(4, "big")
        sent = [os.urandom(length) for length in range(2001)]
        for first in range(256):
            for length in (25, 26, 137, 1200):
                sent.append(bytes([first]) + os.urandom(length - 1))
                sent.append(bytes([first]) + session + os.urandom(length - 5))
        for datagram in sent:
            self.link.send(datagram)
        answers = len(self.silence())
        return {"ok": answers == 0 and self.alive(), "sent": len(sent), "answers": answers}

    def _still_served(self):
        """Whether a true client is still served: the session if there is one, else a new one."""
        if self.is_up():
            return self.alive()
        self.ensure_up()
        return True

    def stale_hello(self):
        """The same HELLO twice: one WELCOME. The second one may well be answered with COOKIE."""
        second = self.new_client()
        for attempt in range(5):
            second.connect(time.time())
            hello, welcomes = self._greet(second, time.time())
            if welcomes:
                break
            time.sleep(0.5 * (attempt + 1))
        self.link.send(hello)
        again = self._welcomes(second)
        return {"ok": len(welcomes) == 1 and not again and self._still_served(), "welcomes": len(welcomes),
                "welcomes_to_the_copy": len(again)}

    def foreign_session(self):
        """A handshake that names the session of --victim, somebody else's: a session of its own comes of it."""
        self.client.session_id = self.options.victim
        self.client.connect(time.time())
        self.ensure_up()
        welcome = self.client.welcome
        return {"ok": welcome.session_id != self.options.victim and welcome.epoch == 1 and self.alive(),
                "session_hex": f"{welcome.session_id:08x}", "epoch": welcome.epoch}

    def _greet(self, client, now):
        """Sends the HELLO of `client`, and the one after a COOKIE: (the last of them, the WELCOMEs for it)."""
        hello, welcomes = None, []
        while client.outbox:
            hello = take(client.outbox)[-1]
            self.link.send(hello)
            first = self.link.receive(min(self.patience, 3))
            for datagram in ([] if first is None else [first] + self.silence()):
                try:
                    if datagram[:1] == bytes([wire.VERSION << 4 | wire.COOKIE]):
                        client.receive(datagram, now)
                    else:
                        welcomes.append(client.read_welcome(datagram)[0])
                except Drop:
                    pass
        return hello, welcomes

    def _welcomes(self, client):
        """Those of the datagrams that come which `client` would accept as WELCOME."""
        accepted = []
        for datagram in self.silence():
            try:
                accepted.append(client.read_welcome(datagram)[0])
            except Drop:
                pass
        return accepted

    def unknown_peer(self):
        """A HELLO from a key that nobody knows: silence, or COOKIE from a gateway that is under load."""
        for _ in range(3):
            self.link.send(self.new_client(static=os.urandom(32)).make_hello(time.time()))
        answers = sum(datagram[:1] != bytes([wire.VERSION << 4 | wire.COOKIE]) for datagram in self.silence())
        return {"ok": answers == 0 and self._still_served(), "answers": answers}

    def wrong_psk(self):
        """The right key with another PSK: no WELCOME opens, and what exists stays."""
        stranger = self.new_client(psk=os.urandom(32))
        self.link.send(stranger.make_hello(time.time()))
        answers = self.silence()
        opened = 0
        for datagram in answers:
            try:
                stranger.read_welcome(datagram)
                opened += 1
            except Drop:
                pass
        return {"ok": opened == 0 and self._still_served(), "answers": len(answers), "opened": opened}


ACTIONS = {name.replace("_", "-"): getattr(Probe, name) for name in (
    "connect", "ping", "rekey", "roam", "wrong_clock", "keepalive", "bye", "spoof", "replay", "reorder", "sparse",
    "forge", "wrong_version", "runts", "garbage", "stale_hello", "foreign_session", "unknown_peer", "wrong_psk")}


def run_probe(options):
    probe = Probe(options)
    every_ok = True
    for name in options.actions:
        try:
            result = ACTIONS[name](probe)
        except (ConnectionError, Drop, OSError) as error:
            result = {"ok": False, "error": str(error)}
        every_ok &= result["ok"]
        say(action=name, **result, **({"refused": probe.link.refused} if probe.link.refused else {}))
        probe.link.refused = 0
    return 0 if every_ok else 1


def parse_probe(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", required=True, type=read_endpoint, metavar="HOST:PORT")
    parser.add_argument("--gateway-key", required=True, type=read_key, metavar="BASE64")
    parser.add_argument("--wish4", type=ipaddress.IPv4Address, default=wire.NONE4, metavar="ADDRESS")
    parser.add_argument("--wish6", type=ipaddress.IPv6Address, default=wire.NONE6, metavar="ADDRESS")
    parser.add_argument("--victim", type=lambda text: int(text, 16), default=0, metavar="HEX", help="somebody's session")
    parser.add_argument("--timeout", type=float, default=0.5, help="seconds that prove silence")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds to wait for an answer that has to come")
    parser.add_argument("--connect-timeout", type=float, default=20.0)
    parser.add_argument("actions", nargs="+", choices=ACTIONS, metavar="ACTION", help=", ".join(ACTIONS))
    add_common(parser)
    return parser.parse_args(arguments), run_probe


def main(arguments):
    gateway_mode = arguments[:1] == ["gateway"]
    options, run = parse_gateway(arguments[1:]) if gateway_mode else parse_probe(arguments)
    try:
        load_keys(options)
    except (OSError, ValueError) as error:
        print(f"probe.py: {error}", file=sys.stderr)
        return 2
    return run(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
