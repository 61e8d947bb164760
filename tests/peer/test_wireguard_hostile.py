# SPDX-License-Identifier: Apache-2.0
"""Every case of wireguard_hostile.py against the responder in memory, and wireguard_probe.py over the loopback interface."""

import base64
import json
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import wireguard as wg
from shardtun_peer import take
from test_wireguard import A_AT, A_INNER, A_KEY, B_INNER, B_KEY, ELSEWHERE, PSK, Base, Pair
from wireguard_hostile import CASES, Bench

PROBE = str(Path(__file__).with_name("wireguard_probe.py"))


class Cases(Base):
    def live(self):
        """A pair with a session that has carried something, and what a case is made from."""
        pair = Pair().up()
        self.assertTrue(pair.carries())
        pair.now += 1
        bench = Bench(pair.a, pair.now, A_INNER, B_INNER, pair.b._maker.cookie(ELSEWHERE, pair.now))
        return pair, bench

    def of(self, *kinds):
        for case in CASES.values():
            if case.kind in kinds:
                with self.subTest(case=case.name):
                    yield case

    def test_each_has_a_kind_and_a_description(self):
        for case in CASES.values():
            self.assertIn(case.kind, ("handshake", "transport", "load", "lawful"))
            self.assertTrue(case.what.endswith("."), case.name)

    def test_hostile_ones_are_refused_for_their_reason_and_change_nothing(self):
        for case in self.of("handshake", "transport"):
            pair, bench = self.live()
            refused = 0
            for shot in case.shots(bench):
                if shot.reason is None:
                    pair.b.receive(shot.datagram, A_AT, pair.now)
                    self.assertEqual(len(take(pair.b.delivered)), shot.answered)
                    continue
                source = A_AT if shot.reason.startswith("inner") else ELSEWHERE
                self.drops(shot.reason, pair.b.receive, shot.datagram, source, pair.now)
                refused += 1
            self.assertGreater(refused, 0)
            self.assertEqual((pair.b.outbox, pair.b.delivered, pair.b.endpoint), ([], [], A_AT))
            self.assertEqual((pair.b.keys.next, pair.b.cookies_taken), (None, 0))
            self.assertTrue(pair.carries())
            pair.now += 10
            self.assertTrue(pair.up().carries(), "and the next handshake")

    def test_a_side_under_load_answers_with_a_cookie_what_has_a_mac1_and_nothing_else(self):
        for case in self.of("load"):
            pair, bench = self.live()
            pair.b.under_load = True
            for shot in case.shots(bench):
                self.drops(shot.reason, pair.b.receive, shot.datagram, ELSEWHERE[:1] + (9,), pair.now)
                answers = take(pair.b.outbox)
                if shot.reason == "no cookie":
                    cookie = wg.unseal_cookie(pair.b.public, answers[0][0], wg.mac1_of(shot.datagram))
                    self.assertEqual(cookie, pair.b._maker.cookie((ELSEWHERE[0], 9), pair.now))
                    self.assertEqual(wg.receiver(answers[0][0]), wg.sender(shot.datagram))
                    answers.pop()
                self.assertEqual(answers, [])
            self.assertTrue(pair.carries())

    def test_lawful_ones_are_answered(self):
        for case in self.of("lawful"):
            pair, bench = self.live()
            for shot in case.shots(bench):
                pair.b.receive(shot.datagram, A_AT, pair.now)
                self.assertEqual(len(pair.b.delivered) + len(pair.b.outbox), 1)
                pair.b.delivered.clear()
                pair.b.outbox.clear()
            self.assertTrue(pair.carries())


class CommandLine(unittest.TestCase):
    """The initiator's and the responder's side of wireguard_probe.py, in two processes."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        for name, key in (("a.key", A_KEY), ("b.key", B_KEY), ("psk", PSK), ("other", bytes(32))):
            (self.folder / name).write_text(base64.b64encode(key).decode() + "\n")

    def start(self, *arguments):
        """A responder; returns its port."""
        self.responder = subprocess.Popen(
            [sys.executable, PROBE, "responder", "--listen", "127.0.0.1:0", "--key", str(self.folder / "b.key"),
             "--peer-key", base64.b64encode(wg.public_key(A_KEY)).decode(), "--psk", str(self.folder / "psk"),
             "--address", str(B_INNER), "--allowed", f"{A_INNER}/32", *arguments], stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.responder.stdout.close)
        self.addCleanup(self.responder.wait)
        self.addCleanup(self.responder.terminate)
        return json.loads(self.responder.stdout.readline())["port"]

    def probe(self, port, *arguments, psk="psk"):
        """(exit status, the lines)."""
        done = subprocess.run(
            [sys.executable, PROBE, "--endpoint", f"127.0.0.1:{port}", "--key", str(self.folder / "a.key"), "--peer-key",
             base64.b64encode(wg.public_key(B_KEY)).decode(), "--psk", str(self.folder / psk), "--address", str(A_INNER),
             "--to", str(B_INNER), "--timeout", "0.1", *arguments], capture_output=True, text=True, check=False)
        self.assertEqual(done.stderr, "")
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    def end(self):
        """What the responder says at its end."""
        self.responder.terminate()
        return json.loads(self.responder.stdout.read().splitlines()[-1])

    def test_connect_ping_rekey_roam_and_cases(self):
        port = self.start()
        status, lines = self.probe(port, "--seconds", "0.4", "--interval", "0.1", "connect", "ping", "rekey", "roam",
                                   "keepalive", "stay", "data-replayed", "inner-length", "initiation-stale", "reordered")
        self.assertEqual((status, [line["action"] for line in lines if not line.get("ok", True)]), (0, []))
        self.assertEqual(sum(line.get("event") == "session" for line in lines), 2)
        drops = self.end()["drops"]
        drops.pop("too soon", None)  # where the responder is held up, pauses in between shrink
        self.assertEqual(drops, {"replay": 3, "inner length": 8, "timestamp": 3})

    def test_another_psk(self):
        status, lines = self.probe(self.start(), "--connect-timeout", "2", "connect", psk="other")
        self.assertEqual((status, lines[-1]["ok"]), (1, False))
        self.assertIn({"event": "dropped", "reason": "empty tag"}, lines)

    def test_under_load(self):
        port = self.start()
        self.responder.send_signal(signal.SIGUSR2)
        status, lines = self.probe(port, "cookie", "load", "ping")
        self.assertEqual((status, [line["action"] for line in lines if not line.get("ok", True)]), (0, []))
        drops = self.end()["drops"]
        self.assertEqual(drops["mac1"], 16)
        self.assertGreaterEqual(drops["no cookie"], 11)


if __name__ == "__main__":
    unittest.main()
