# SPDX-License-Identifier: Apache-2.0
"""COOKIE between client and gateway in memory, fresh and stale timestamps, and XChaCha20-Poly1305."""

import unittest

import make_vector
import wire
import xchacha
from cryptography.exceptions import InvalidTag
from noise_ik import Handshake, public_key
from shardtun_peer import Client, Gateway, take
from test_peer import GATEWAY_KEY, NOW, Base, Pair

LONG_AGO = 100.0
NONE = bytes(16)


class XChaCha(unittest.TestCase):
    def test_hchacha20_of_the_draft(self):
        nonce = bytes.fromhex("000000090000004a0000000031415927")
        expected = "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
        self.assertEqual(xchacha.hchacha20(bytes(range(32)), nonce).hex(), expected)

    def test_aead_of_the_draft(self):
        text = (b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
                b"sunscreen would be it.")
        key, nonce = bytes(range(0x80, 0xA0)), bytes(range(0x40, 0x58))
        associated = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
        sealed = xchacha.seal(key, nonce, text, associated)
        self.assertEqual(sealed[:16].hex(), "bd6d179d3e83d43b9576579493c0e939")
        self.assertEqual(sealed[-16:].hex(), "c0875924c1c7987947deafd8780acf49")
        self.assertEqual(xchacha.unseal(key, nonce, sealed, associated), text)
        self.assertRaises(InvalidTag, xchacha.unseal, key, nonce, sealed, associated[1:])


class CookiePair(Pair):
    """With a network that can be looked at, and a gateway under load."""

    def __init__(self, demand_cookie=True):
        super().__init__()
        self.gateway.demand_cookie = demand_cookie
        self.dropped = []

    def to_gateway(self, hello, source="home"):
        """What the gateway answers."""
        try:
            self.gateway.receive(hello, source, self.now)
        except wire.Drop as drop:
            self.dropped.append(str(drop))
        return [datagram for datagram, _ in take(self.gateway.outbox)]

    def first_cookie(self):
        """The client said HELLO: the COOKIE that answers it."""
        self.client.connect(self.now)
        return self.to_gateway(take(self.client.outbox)[0])[0]

    def challenged(self, client, now):
        """A HELLO of `client`, whose clock says `now`, that carries a cookie."""
        client.connect(now)
        client.receive(self.to_gateway(take(client.outbox)[0])[0], now)
        return take(client.outbox)[0]

    def answers(self):
        """The client connects: the types of what it gets, until both are silent."""
        kinds = []
        self.client.connect(self.now)
        while self.client.outbox:
            for answer in self.to_gateway(take(self.client.outbox)[0]):
                kinds.append(answer[0] & 15)
                self.client.receive(answer, self.now)
        return kinds

    def another_client(self):
        """A new run with the same key."""
        return Client(self.client.static, self.client.gateway_public, self.client.psk, uniform=lambda a, b: 0.0)


class UnderLoad(Base):
    def test_a_client_answers_cookie_at_once_and_is_served(self):
        pair = CookiePair()
        cookie = pair.first_cookie()
        self.assertEqual((len(cookie), cookie[0], pair.dropped), (65, 0x17, ["no cookie"]))
        pair.client.receive(cookie, NOW)
        pair.run()
        self.assertEqual((pair.log, pair.client.state), (["HELLO", "WELCOME", "CLIENT_ACK", "KEEPALIVE"], "UP"))
        self.assertTrue(pair.carries())

    def test_the_cookie_is_challenge_and_key_of_mac2(self):
        pair = CookiePair()
        hello = pair.challenged(pair.client, NOW)
        self.assertEqual(hello[1184:], wire.blake2b(128, hello[:1184], key=pair.client.cookie))
        payload = Handshake(False, wire.prologue(hello), GATEWAY_KEY).read(hello[9:1168])
        self.assertEqual(payload[12:28], pair.client.cookie)

    def test_another_source_gets_another_cookie(self):
        pair = CookiePair()
        hello = pair.challenged(pair.client, NOW)
        self.assertEqual(pair.to_gateway(hello, "elsewhere")[0][0] & 15, wire.COOKIE)
        self.assertEqual(pair.to_gateway(hello)[0][0] & 15, wire.WELCOME)

    def test_a_cookie_is_valid_for_120_seconds_at_least_and_240_at_most(self):
        pair = CookiePair()
        pair.now = NOW - NOW % 120 + 119
        hello = pair.challenged(pair.client, pair.now)
        for age, kind in ((240, wire.COOKIE), (121, wire.COOKIE), (120, wire.WELCOME)):
            pair.now = NOW - NOW % 120 + 119 + age
            self.assertEqual(pair.to_gateway(hello)[0][0] & 15, kind, age)

    def test_cookie_is_taken_for_the_latest_hello_only_and_whole(self):
        pair = CookiePair()
        cookie = pair.first_cookie()
        for index in range(1, len(cookie)):
            forged = bytearray(cookie)
            forged[index] ^= 1
            self.assertRaises(wire.Drop, pair.client.receive, bytes(forged), NOW)
        pair.advance(1.0)
        self.drops("unexpected", pair.client.receive, cookie, pair.now)
        self.assertEqual(take(pair.client.outbox)[0][1184:], NONE)

    def another(self, pair, cookie):
        """The client's last HELLO is answered by this cookie: how many it says then."""
        self.last = (take(pair.client.outbox) or [self.last])[-1]
        pair.client.receive(wire.seal_cookie(public_key(GATEWAY_KEY), self.last, cookie, bytes(24)), pair.now)
        return len(pair.client.outbox)

    def test_the_next_two_cookies_are_answered_at_once_and_the_third_waits_for_the_timer(self):
        pair = CookiePair()
        pair.client.receive(pair.first_cookie(), NOW)
        first = pair.client.cookie
        self.assertEqual(self.another(pair, b"another cookie.."), 1)
        self.assertEqual((pair.client.cookie, pair.client.challenge), (first, b"another cookie.."), "mac2 is as before")
        self.assertEqual(self.another(pair, b"and another one."), 1)
        self.assertEqual((pair.client.cookie, pair.client.challenge), 2 * (b"and another one.",))
        self.assertEqual(self.another(pair, b"yet another one."), 0)
        pair.advance(0.9)
        self.assertEqual(pair.client.outbox, [])
        pair.advance(0.1)
        self.assertEqual(len(pair.client.outbox), 1)
        self.assertEqual([self.another(pair, bytes([n]) * 16) for n in (1, 2, 3)], [1, 1, 0], "after each that was due")
        pair.advance(1.9)
        self.assertEqual(pair.client.outbox, [], "the interval has doubled all the same")
        pair.advance(0.1)
        self.assertEqual(len(pair.client.outbox), 1)

    def test_a_cookie_is_kept_for_115_seconds(self):
        pair = CookiePair()
        pair.client.receive(pair.first_cookie(), NOW)
        self.assertNotEqual(pair.client.make_hello(NOW + 114.9)[1184:], NONE)
        self.assertEqual(pair.client.make_hello(NOW + 115)[1184:], NONE)

    def test_cookie_without_hello_is_dropped(self):
        pair = CookiePair()
        cookie = pair.first_cookie()
        pair.gateway.demand_cookie = False
        pair.client.connect(NOW)
        pair.run()
        self.drops("state", pair.client.receive, cookie, NOW)
        self.drops("direction", pair.gateway.receive, cookie, "home", NOW)


class WrongClock(Base):
    def test_a_client_whose_clock_went_back_is_served_after_a_cookie(self):
        pair = CookiePair(demand_cookie=False)
        pair.up()
        late = pair.another_client()
        hello = pair.challenged(late, LONG_AGO)
        self.assertEqual(pair.dropped, ["timestamp"])
        self.assertEqual(pair.to_gateway(hello)[0][0] & 15, wire.WELCOME)
        self.assertEqual(pair.to_gateway(late.make_hello(LONG_AGO + 10))[0][0] & 15, wire.WELCOME, "the same cookie")
        later = pair.another_client().make_hello(LONG_AGO + 20)
        self.assertEqual(pair.to_gateway(later)[0][0] & 15, wire.COOKIE, "older than what was once")

    def test_hellos_with_one_cookie_are_ordered_by_timestamp(self):
        pair = CookiePair(demand_cookie=False)
        pair.up()
        late = pair.another_client()
        first = pair.challenged(late, LONG_AGO)
        second = late.make_hello(LONG_AGO)
        kinds = [pair.to_gateway(hello)[0][0] & 15 for hello in (first, first, second, first, second)]
        self.assertEqual(kinds, [wire.WELCOME, wire.COOKIE, wire.WELCOME, wire.COOKIE, wire.COOKIE])

    def test_a_hello_with_a_cookie_that_was_fresh_anyway_is_not_taken_twice(self):
        pair = CookiePair()
        hello = pair.challenged(pair.client, NOW)
        self.assertEqual([pair.to_gateway(hello)[0][0] & 15 for _ in range(2)], [wire.WELCOME, wire.COOKIE])

    def test_a_client_whose_clock_goes_back_again_and_again_is_served_each_time(self):
        pair = CookiePair(demand_cookie=False)
        pair.up()
        for process in range(5):
            hello = pair.challenged(pair.another_client(), LONG_AGO - process)
            self.assertEqual(pair.to_gateway(hello)[0][0] & 15, wire.WELCOME)

    def test_a_recorded_hello_is_stale_whatever_the_clock_did(self):
        pair = CookiePair(demand_cookie=False)
        recorded = [pair.client.make_hello(NOW + second) for second in range(3)]
        pair.up()
        late = pair.another_client()
        self.assertEqual(pair.to_gateway(pair.challenged(late, LONG_AGO))[0][0] & 15, wire.WELCOME)
        for hello in recorded:
            self.assertEqual(pair.to_gateway(hello, "attacker")[0][0] & 15, wire.COOKIE)
        self.assertEqual(pair.to_gateway(late.make_hello(LONG_AGO))[0][0] & 15, wire.WELCOME)

    def test_a_clock_that_jumps_ahead_costs_a_cookie(self):
        pair = CookiePair(demand_cookie=False)
        pair.up()
        late = pair.another_client()
        self.assertEqual(pair.to_gateway(late.make_hello(NOW + 300))[0][0] & 15, wire.WELCOME)
        self.assertEqual(pair.to_gateway(late.make_hello(NOW + 601))[0][0] & 15, wire.COOKIE)
        self.assertEqual(pair.to_gateway(pair.challenged(late, NOW + 602))[0][0] & 15, wire.WELCOME)

    def test_a_replay_never_changes_what_exists(self):
        pair = CookiePair(demand_cookie=False)
        pair.up()
        session, keys = pair.gateway.active, pair.gateway.active.keys.current
        hello = pair.challenged(pair.another_client(), LONG_AGO)
        pair.to_gateway(hello)
        self.assertTrue(pair.gateway.active is session and session.keys.current is keys and session.endpoint == "home")
        self.assertTrue(pair.carries())


class Restart(Base):
    """The gateway is another process: it has another secret, and knows nobody."""

    def restarted(self):
        pair = CookiePair(demand_cookie=False)
        pair.gateway = Gateway(GATEWAY_KEY, pair.gateway.peer_public, pair.gateway.psk, push=pair.gateway.push)
        return pair

    def test_a_recorded_hello_is_answered_with_cookie_and_changes_nothing(self):
        pair = self.restarted()
        recorded = [pair.client.make_hello(NOW + second) for second in range(3)]
        pair.now = NOW + 10
        for hello in recorded:
            self.assertEqual(pair.to_gateway(hello)[0][0] & 15, wire.COOKIE)
        self.assertEqual(pair.gateway.pending, None)
        self.assertEqual(pair.to_gateway(pair.challenged(pair.another_client(), pair.now))[0][0] & 15, wire.WELCOME)
        for hello in recorded:
            self.assertEqual(pair.to_gateway(hello)[0][0] & 15, wire.COOKIE)

    def test_the_first_cookie_is_good_under_load_too(self):
        pair = self.restarted()
        hello = pair.challenged(pair.client, NOW)
        self.assertEqual(pair.dropped, ["timestamp"])
        pair.gateway.demand_cookie = True
        self.assertEqual(pair.to_gateway(hello)[0][0] & 15, wire.WELCOME)

    def test_a_client_with_a_cookie_of_the_process_before_is_served_at_once(self):
        pair = CookiePair()
        self.assertEqual(pair.answers(), [wire.COOKIE, wire.WELCOME, wire.KEEPALIVE])
        pair.gateway = Gateway(GATEWAY_KEY, pair.gateway.peer_public, pair.gateway.psk, push=pair.gateway.push,
                               demand_cookie=True)
        self.assertEqual(pair.answers(), [wire.COOKIE, wire.COOKIE, wire.WELCOME, wire.KEEPALIVE])

    def test_reset_says_that_cookies_are_none_any_more(self):
        pair = CookiePair()
        pair.answers()
        self.assertIsNotNone(pair.client.cookie)
        pair.client.receive(wire.header(wire.RESET, wire.VERSION, pair.client.session_id) +
                            pair.client.welcome.reset_token, NOW)
        self.assertEqual(take(pair.client.outbox)[0][1184:], NONE)
        self.assertEqual((pair.client.cookie, pair.client.challenge), (None, None))

    def test_a_cookie_of_the_process_before_is_none(self):
        old = CookiePair()
        hello = old.challenged(old.client, NOW)
        self.assertEqual(self.restarted().to_gateway(hello)[0][0] & 15, wire.COOKIE)


class Vector(Base):
    def test_both_sides_replay_cookie(self):
        v = make_vector.parse(make_vector.PATH.read_text())
        client = Client(v["client_static_private"], v["gateway_static_public"], v["psk"],
                        wished4=make_vector.PUSH["address4"], wished6=make_vector.PUSH["address6"],
                        capabilities=0,
                        rng=make_vector.scripted(v["hello_magic"], v["client_ephemeral_private"], v["hello2_magic"],
                                                 v["hello2_ephemeral_private"]))
        client.connect(make_vector.TIME)
        self.assertEqual(take(client.outbox), [v["hello"]])
        made = wire.seal_cookie(v["gateway_static_public"], v["hello"], v["cookie"], v["cookie_nonce"])
        self.assertEqual(made, v["cookie_message"])
        client.receive(v["cookie_message"], make_vector.SECOND_TIME)
        self.assertEqual(take(client.outbox), [v["hello2"]])
        self.assertEqual(v["hello2"][1184:], v["hello2_mac2"])


if __name__ == "__main__":
    unittest.main()
