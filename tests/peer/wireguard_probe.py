#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Talks the WireGuard protocol to a real peer as one without TUN: an initiator, well behaved or not; a responder; a flood.

    wireguard_probe.py --endpoint HOST:PORT --key FILE --peer-key BASE64 --address OWN --to INNER [--psk FILE] ACTION...
    wireguard_probe.py responder --listen HOST:PORT --key FILE --peer-key BASE64 --address OWN [--psk FILE] [...]
    wireguard_probe.py flood --endpoint HOST:PORT --peer-key BASE64 [...]
    wireguard_probe.py cases

Events and actions are JSON lines; an action's has "ok", which says whether the other side did what the protocol asks of
it. The exit status is 0 if all were ok, 1 if not, 2 for bad usage. Actions that need a session connect first. An action is
one of those below, a case of wireguard_hostile.py, or a kind of cases: handshake, transport, lawful, load.
"""

import argparse
import ipaddress
import sys
import time
from collections import Counter

import inner
import wireguard as wg
from probe import Link
from shardtun_peer import take
from tool import load_keys, read_endpoint, read_key, say
from wire import Drop
from wireguard_hostile import CASES, Bench
from wireguard_modes import parse_flood, parse_responder
from wireguard_peer import INITIATION_INTERVAL, REKEY_AFTER_TIME, Peer

PAUSE = 2.5 * INITIATION_INTERVAL
LOAD_PAUSE = 2.0  # seconds for an answer of a side under load, which may have lost what it was sent


class Probe:
    """The actions. Each public method without arguments is one; its dictionary is what is printed."""

    def __init__(self, options):
        self.options = options
        self.timeout, self.patience = options.timeout, options.patience
        self.link = Link(options.endpoint)
        self.source = self.link.address[:2]
        self.peer = Peer(options.static, options.peer_key, options.psk_bytes, self.source, options.mtu,
                         keepalive=options.keepalive, rekey_after=options.rekey_after)
        self.bench = Bench(self.peer, time.time(), options.address, options.to)
        self.came = set()  # sequence numbers of echo replies

    # The wire

    def flush(self):
        for datagram, _ in take(self.peer.outbox):
            self.link.send(datagram)
        for event in take(self.peer.events):
            say(**event)

    def take_in(self, datagram):
        try:
            self.peer.receive(datagram, self.source, time.time())
        except Drop as drop:
            say(event="dropped", reason=str(drop))

    def run_until(self, done, timeout):
        """Runs the peer until done() or the time is over; returns done()."""
        end = time.monotonic() + timeout
        while True:
            self.peer.tick(time.time())
            self.flush()
            left = end - time.monotonic()
            if done() or left <= 0:
                return done()
            datagram = self.link.receive(min(left, 0.05))
            if datagram is not None:
                self.take_in(datagram)

    def is_up(self):
        return self.peer.pending is None and self.peer.can_send(time.time())

    def ensure_up(self):
        if not self.peer.can_send(time.time()) and self.peer.pending is None:
            self.peer.initiate(time.time())
        if not self.run_until(self.is_up, self.options.connect_timeout):
            raise ConnectionError(f"no session after {self.options.connect_timeout} s")

    def answered(self, sequences, timeout):
        """How many of the echo requests with these sequence numbers are answered, within the time if not yet."""

        def every():
            for packet in take(self.peer.delivered):
                reply = inner.parse_reply(packet)
                if reply and reply[2] == self.bench.identifier:
                    self.came.add(reply[3])
            return self.came >= sequences

        self.run_until(every, timeout)
        return len(self.came & sequences)

    def pings(self, payload=b"shardtun probe"):
        """Milliseconds of one echo, or None."""
        packet = self.bench.request(payload=payload)
        started = time.monotonic()
        self.peer.send(packet, time.time())
        came = self.answered({self.bench.sequence}, self.patience)
        return round((time.monotonic() - started) * 1000, 3) if came else None

    def alive(self):
        return self.pings() is not None

    def silence(self, enough=None, longest=None):
        """What comes within --timeout, or until enough did, without keepalives, and what the peer has to do with it."""
        came = []
        end = time.monotonic() + (self.timeout if enough is None else longest or self.patience)
        while (left := end - time.monotonic()) > 0 and (enough is None or len(came) < enough):
            datagram = self.link.receive(left)
            if datagram is None:
                continue
            if datagram[0] == wg.DATA:
                self.take_in(datagram)
            if len(datagram) != wg.DATA_MIN:
                came.append(datagram)
        return came

    # Well behaved

    def connect(self):
        """A new handshake, whether there is a session or not."""
        before = self.peer.cookies_taken
        time.sleep(PAUSE)
        started = time.monotonic()
        self.peer.initiate(time.time())
        self.ensure_up()
        took = round((time.monotonic() - started) * 1000, 3)
        keys = self.peer.keys.current
        return {"ok": True, "milliseconds": took, "cookies": self.peer.cookies_taken - before,
                "index": keys.index.hex(), "remote_index": keys.remote_index.hex()}

    def ping(self):
        """One small echo request, and one as large as the MTU allows."""
        self.ensure_up()
        overhead = 28 if self.options.to.version == 4 else 48
        result = {"small": self.pings(), "full": self.pings(bytes(self.options.mtu - overhead))}
        return {"ok": None not in result.values(), "milliseconds": result}

    def rekey(self):
        """A handshake beside a live session: new indexes, and data under the key before still passes."""
        self.ensure_up()
        old = self.peer.keys.current
        time.sleep(PAUSE)
        self.peer.initiate(time.time())
        self.ensure_up()
        new = self.peer.keys.current
        packet = self.bench.request()
        self.link.send(old.seal(wg.pad(packet)))
        previous = bool(self.answered({self.bench.sequence}, self.patience))
        differ = old.index != new.index and old.remote_index != new.remote_index
        return {"ok": differ and previous and self.alive(), "index": new.index.hex(),
                "remote_index": new.remote_index.hex(), "previous_key_opens": previous}

    def roam(self):
        """From another source port: the answers must follow."""
        self.ensure_up()
        self.link.reopen()
        return {"ok": self.alive(), "port": self.link.socket.getsockname()[1]}

    def keepalive(self):
        """A keepalive is not answered."""
        self.ensure_up()
        self.peer.keepalive(time.time())
        self.flush()
        answers = len(self.silence())
        return {"ok": answers == 0 and self.alive(), "answers": answers}

    def loop(self):
        """Data of its own inside its own tunnel, with a newer counter. To an endpoint inside, all that is sent would come back to be
        sent there: so the answer has to come to the one outside."""
        self.ensure_up()
        keys = self.peer.keys.current
        request = wg.seal_data(keys.send_key, keys.remote_index, keys.counter + 1, wg.pad(self.bench.request()))
        around = inner.datagram(self.options.address, self.options.to, 7, self.options.endpoint[1], request)
        self.link.send(keys.seal(wg.pad(around)))
        keys.counter += 1
        answers = len(self.silence())
        return {"ok": answers == 1 and self.alive(), "answers": answers}

    def stay(self):
        """An echo request every --interval, for --seconds, with rekeys by the rules; all must be answered."""
        self.ensure_up()
        end, sent, rekeys = time.monotonic() + self.options.seconds, set(), 0
        while time.monotonic() < end:
            before = self.peer.keys.current
            self.peer.send(self.bench.request(), time.time())
            sent.add(self.bench.sequence)
            self.run_until(lambda: False, self.options.interval)
            rekeys += self.peer.keys.current is not before
        answered = self.answered(sent, self.patience)
        return {"ok": answered == len(sent), "sent": len(sent), "answered": answered, "rekeys": rekeys}

    def burst(self):
        """Ten right initiations at once: not all of them are answered, for two within 20 ms are one too many."""
        self.ensure_up()
        time.sleep(PAUSE)
        self.bench.now = time.time()
        for datagram in [self.bench.macs(self.bench.initiation()) for _ in range(10)]:
            self.link.socket.send(datagram)
        answers = sum(datagram[0] == wg.RESPONSE for datagram in self.silence())
        return {"ok": 1 <= answers < 10 and self.alive(), "answers": answers}

    def cookie(self):
        """Of a peer under load: an initiation without mac2 gets a cookie reply, one with it beside that a response."""
        before, end = self.peer.cookies_taken, time.monotonic() + self.patience
        while self.peer.cookies_taken == before and time.monotonic() < end:
            self.peer.initiate(time.time())
            self.run_until(lambda: self.peer.pending is None or self.peer.cookies_taken > before, 0.2)
        rounds = 0
        while self.peer.cookies_taken > before and time.monotonic() < end:
            rounds += 1
            self.bench.now = time.time()
            without = self.bench.macs(self.bench.initiation())
            self.link.send(without)
            self.peer.initiate(time.time())
            self.flush()
            asked, answered = self._asked_and_answered(without, self.peer.last_initiation)
            if asked and answered:
                self.ensure_up()
                return {"ok": self.alive(), "rounds": rounds}
            time.sleep(0.1)
        return {"ok": False, "cookies": self.peer.cookies_taken - before, "rounds": rounds}

    def _asked_and_answered(self, without, with_mac2):
        """Whether a true cookie reply to the one and a response to the other come."""
        asked = answered = False
        end = time.monotonic() + 1
        while not (asked and answered) and (left := end - time.monotonic()) > 0:
            datagram = self.link.receive(left)
            if datagram is None:
                continue
            if self._is_cookie_for(without, datagram):
                asked = True
            elif datagram[0] == wg.RESPONSE and wg.receiver(datagram) == wg.sender(with_mac2):
                answered = True
                self.take_in(datagram)
            else:
                self.take_in(datagram)
        self.flush()
        return asked, answered

    def _is_cookie_for(self, message, datagram):
        if datagram[0] != wg.COOKIE_REPLY or wg.receiver(datagram) != wg.sender(message):
            return False
        try:
            wg.unseal_cookie(self.peer.remote_public, datagram, wg.mac1_of(message))
        except Drop:
            return False
        return True

    # Cases of wireguard_hostile.py

    def case(self, name):
        case = CASES[name]
        if case.kind == "load":
            return self._case_load(case)
        self.ensure_up()
        time.sleep(PAUSE)  # a second initiation within 20 ms is refused whatever it is
        self.bench.now = time.time()
        first = self.bench.sequence + 1
        shots = case.shots(self.bench)
        for shot in shots:
            self.link.send(shot.datagram)
        if case.kind == "lawful":
            return self._case_lawful(shots, set(range(first, self.bench.sequence + 1)))
        expected = sum(shot.answered for shot in shots)
        answers = len(self.silence(expected)) + len(self.silence())
        refused = Counter(shot.reason for shot in shots if shot.reason)
        return {"ok": answers == expected and self.alive(), "sent": len(shots), "refused": refused, "answers": answers,
                "expected": expected}

    def _case_lawful(self, shots, sequences):
        if sequences:
            answers = self.answered(sequences, self.patience)
        else:
            answers = sum(datagram[0] == wg.RESPONSE for datagram in self.silence(len(shots)))
        return {"ok": answers == len(shots) and self.alive(), "sent": len(shots), "answers": answers}

    def _case_load(self, case):
        """One by one: a cookie reply for each that lacks only the cookie, nothing for the others."""
        self.bench.now = time.time()
        self.bench.foreign_cookie = self._foreign_cookie()
        right, sent = 0, case.shots(self.bench)
        for number, shot in enumerate(sent):
            if shot.reason == "no cookie":
                right += self._demands_cookie(case, number)
            else:
                self.link.send(shot.datagram)
        mute = sum(shot.reason != "no cookie" for shot in sent)
        answers = self.silence() if mute else []
        return {"ok": right == len(sent) - mute and not answers, "sent": len(sent), "cookies": right}

    def _demands_cookie(self, case, number):
        """A shot of the case, made anew for as long as a response says that there is no load just then (what makes it gets no CPU
        on a busy machine), or that nothing came through."""
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            self.bench.now = time.time()
            message = case.shots(self.bench)[number].datagram
            self.link.send(message)
            if any(self._is_cookie_for(message, answer) for answer in self.silence(1, LOAD_PAUSE)):
                return True
            time.sleep(PAUSE)
        return False

    def _foreign_cookie(self):
        """The cookie of another source port."""
        link = Link(self.options.endpoint)
        try:
            end = time.monotonic() + self.patience
            while time.monotonic() < end:
                self.bench.now = time.time()
                message = self.bench.macs(self.bench.initiation())
                link.send(message)
                reply = link.receive(LOAD_PAUSE)
                if reply is not None and self._is_cookie_for(message, reply):
                    return wg.unseal_cookie(self.peer.remote_public, reply, wg.mac1_of(message))
                time.sleep(PAUSE)
        finally:
            link.socket.close()
        raise ConnectionError("the other side is not under load")


ACTIONS = ("connect", "ping", "rekey", "roam", "keepalive", "loop", "stay", "burst", "cookie")
KINDS = ("handshake", "transport", "lawful", "load")


def run_probe(options):
    probe = Probe(options)
    every_ok = True
    for name in options.actions:
        cases = [case.name for case in CASES.values() if name in (case.kind, case.name)]
        for one in cases or [name]:
            try:
                result = probe.case(one) if cases else getattr(probe, one)()
            except (ConnectionError, Drop, OSError) as error:
                result = {"ok": False, "error": str(error)}
            every_ok &= result["ok"]
            probe.flush()
            say(action=one, **result, **({"unreachable": probe.link.refused} if probe.link.refused else {}))
            probe.link.refused = 0
    return 0 if every_ok else 1


def parse_probe(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", required=True, type=read_endpoint, metavar="HOST:PORT")
    parser.add_argument("--key", required=True, metavar="FILE", help="own private key, base64")
    parser.add_argument("--peer-key", required=True, type=read_key, metavar="BASE64")
    parser.add_argument("--psk", metavar="FILE", help="pre-shared key, base64")
    parser.add_argument("--address", required=True, type=ipaddress.ip_address, help="own inner address")
    parser.add_argument("--to", required=True, type=ipaddress.ip_address, metavar="INNER", help="inner address to ping")
    parser.add_argument("--mtu", type=int, default=1420)
    parser.add_argument("--keepalive", type=int, default=0, help="persistent keepalive, seconds")
    parser.add_argument("--rekey-after", type=float, default=REKEY_AFTER_TIME, help="seconds, else %(default)s")
    parser.add_argument("--seconds", type=float, default=10.0, help="for stay")
    parser.add_argument("--interval", type=float, default=0.5, help="for stay")
    parser.add_argument("--timeout", type=float, default=0.5, help="seconds that prove silence")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds to wait for an answer that has to come")
    parser.add_argument("--connect-timeout", type=float, default=30.0)
    parser.add_argument("actions", nargs="+", choices=(*ACTIONS, *KINDS, *CASES), metavar="ACTION",
                        help=", ".join((*ACTIONS, *KINDS)) + ", or a case")
    return parser.parse_args(arguments), run_probe


def main(arguments):
    if arguments[:1] == ["cases"]:
        for case in CASES.values():
            print(f"{case.kind:9}  {case.name:29}  {case.reason or '-':13}  {case.what}")
        return 0
    parse = {"responder": parse_responder, "flood": parse_flood}.get(arguments[0] if arguments else None)
    options, run = parse(arguments[1:]) if parse else parse_probe(arguments)
    try:
        if hasattr(options, "key"):
            load_keys(options)
    except (OSError, ValueError) as error:
        print(f"wireguard_probe.py: {error}", file=sys.stderr)
        return 2
    return run(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
