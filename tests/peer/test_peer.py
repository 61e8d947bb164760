# SPDX-License-Identifier: Apache-2.0
"""Client against gateway in memory: messages, handshake, rekey, replay, forgery, timers, and the committed vector."""

import ipaddress
import unittest

import inner
import make_vector
import wire
from noise_ik import public_key
from shardtun_peer import Client, Gateway, take
from wire import Drop

CLIENT_KEY, GATEWAY_KEY, PSK = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
PUSH = make_vector.PUSH
NOW = 1.7e9


class Pair:
    """A client and a gateway with a wire between them that loses nothing."""

    def __init__(self, suites=(1, 2), psk=PSK, push=None, gateway=None, **client):
        self.client = Client(CLIENT_KEY, public_key(GATEWAY_KEY), psk, suites=suites, uniform=lambda a, b: 0.0,
                             **client)
        self.gateway = Gateway(GATEWAY_KEY, public_key(CLIENT_KEY), PSK, push={**PUSH, **(push or {})},
                               **(gateway or {}))
        self.gateway.accept(wire.tai64n(0), 0, 0.0)  # it has known the client for long
        self.now = NOW
        self.log = []

    def run(self):
        """Carries datagrams until both sides are silent."""
        while self.client.outbox or self.gateway.outbox:
            for datagram in take(self.client.outbox):
                self.log.append(wire.TYPE_NAMES[datagram[0] & 15])
                self.gateway.receive(datagram, "home", self.now)
            for datagram, _ in take(self.gateway.outbox):
                self.log.append(wire.TYPE_NAMES[datagram[0] & 15])
                self.client.receive(datagram, self.now)

    def up(self):
        self.client.connect(self.now)
        self.run()
        return self

    def advance(self, seconds):
        self.now += seconds
        self.client.tick(self.now)
        self.gateway.tick(self.now)

    def request(self, payload=b"hello", source=None):
        return inner.echo_request(source or PUSH["address4"], PUSH["gateway4"], 1, 1, payload)

    def carries(self):
        """Whether a packet passes in both directions."""
        request = self.request()
        self.client.send(request, self.now)
        self.run()
        reply = inner.answer_echo(take(self.gateway.delivered)[-1], (PUSH["gateway4"],))
        self.gateway.send(reply, self.now)
        self.run()
        return take(self.client.delivered) == [reply]


class Base(unittest.TestCase):
    def drops(self, reason, function, *arguments):
        with self.assertRaises(Drop) as caught:
            function(*arguments)
        self.assertEqual(str(caught.exception), reason)


class Messages(Base):
    def test_sizes_of_the_table(self):
        pair = Pair()
        self.assertEqual(len(pair.client.make_hello(NOW)), 1200)
        self.assertEqual(len(wire.WelcomePayload(1, 1, 1, 1400).encode()), 80)
        for kind, size in ((wire.CLIENT_ACK, 25), (wire.KEEPALIVE, 25)):
            self.assertEqual(len(wire.seal(bytes(32), 1, kind, 1, 7, 0, b"")), size)
        self.assertEqual(len(wire.seal(bytes(32), 1, wire.BYE, 1, 7, 0, b"\0")), 26)

    def test_wrong_lengths_types_versions_and_epochs_are_dropped(self):
        lengths = {wire.HELLO: {1200}, wire.WELCOME: set(range(137, 1201)), wire.CLIENT_ACK: {25},
                   wire.DATA: set(range(26, 2001)), wire.BYE: {26}, wire.KEEPALIVE: {25, 34},
                   wire.COOKIE: {65}, wire.RESET: {21}, wire.DATA_SPARSE: set(range(26, 2001))}
        for first in range(256):
            kind, high = first & 15, first >> 4
            right_high = high == 1 if kind in (1, 2, 7, 8) else high > 0
            for length in (0, 1, 4, 5, 20, 21, 22, 24, 25, 26, 27, 33, 34, 35, 64, 65, 66, 136, 137, 1199, 1200, 1201,
                           2000):
                datagram = (bytes([first]) + bytes(2000))[:length]
                if kind in lengths and right_high and length in lengths[kind]:
                    self.assertEqual(wire.parse_header(datagram), (kind, high, 0))
                else:
                    self.assertRaises(Drop, wire.parse_header, datagram)

    def test_welcome_payload_survives_the_trip(self):
        welcome = wire.WelcomePayload(9, 2, 15, 1300, **PUSH)
        self.assertEqual(wire.WelcomePayload.decode(welcome.encode()), welcome)

    def test_truncated_welcome_payload_is_dropped_at_every_length(self):
        whole = wire.WelcomePayload(9, 2, 15, 1300, **PUSH).encode()
        for length in range(len(whole)):
            self.drops("welcome", wire.WelcomePayload.decode, whole[:length])

    def test_welcome_that_does_not_fit_is_an_error(self):
        routes = [ipaddress.ip_network("2001:db8::/32")] * 60
        self.assertRaises(ValueError, wire.WelcomePayload(9, 2, 15, 1300, routes=routes).encode)

    def test_replay_window(self):
        window = wire.ReplayWindow()
        for counter, fresh in ((0, True), (0, False), (9000, True), (9000, False), (9000 - 8192, True),
                               (9000 - 8193, False), (9000 - 8192, False), (8999, True), (2**32 - 1, True),
                               (9001, False)):
            self.assertEqual(window.accept(counter), fresh, counter)

    def test_tai64n(self):
        self.assertEqual(wire.tai64n(0).hex(), "400000000000000a00000000")
        self.assertEqual(wire.tai64n(1_000_000_001).hex(), "400000000000000b00000001")


class Handshakes(Base):
    def test_both_suites_carry_packets(self):
        for suite in (1, 2):
            pair = Pair(suites=(suite,)).up()
            self.assertEqual(pair.client.state, "UP")
            self.assertEqual(pair.client.welcome.suite, suite)
            self.assertEqual(pair.log, ["HELLO", "WELCOME", "CLIENT_ACK", "KEEPALIVE"])
            self.assertTrue(pair.carries())

    def test_the_clients_first_wish_decides_and_unknown_suites_are_ignored(self):
        pair = Pair(suites=(77, 2, 1)).up()
        self.assertEqual(pair.client.welcome.suite, 2)

    def test_mtu_is_the_smaller_wish_and_at_least_576(self):
        for wish, granted in ((9000, 1420), (1300, 1300), (100, 576)):
            self.assertEqual(Pair(mtu=wish).up().client.welcome.mtu, granted)

    def test_the_same_hello_twice_is_answered_once(self):
        pair = Pair()
        hello = pair.client.make_hello(NOW)
        pair.gateway.receive(hello, "home", NOW)
        self.drops("timestamp", pair.gateway.receive, hello, "home", NOW)
        self.assertEqual([datagram[0] & 15 for datagram, _ in pair.gateway.outbox], [wire.WELCOME, wire.COOKIE])

    def test_every_bit_flip_of_hello_is_dropped_and_costs_nothing(self):
        pair = Pair()
        hello = pair.client.make_hello(NOW)
        for position in (*range(0, 100), *range(100, 1168, 61), *range(1168, 1184)):
            for bit in range(0, 8, 1 if position < 9 else 3):
                forged = bytearray(hello)
                forged[position] ^= 1 << bit
                self.assertRaises(Drop, pair.gateway.receive, bytes(forged), "home", NOW)
                forged[1168:1184] = wire.mac1(public_key(GATEWAY_KEY), bytes(forged[:1168]))
                if position < 1168:
                    self.assertRaises(Drop, pair.gateway.receive, bytes(forged), "home", NOW)
        pair.gateway.receive(hello, "home", NOW)
        self.assertEqual(len(pair.gateway.outbox), 1)

    def test_forged_welcome_is_dropped_and_the_true_one_still_accepted(self):
        pair = Pair()
        pair.client.connect(NOW)
        pair.gateway.receive(take(pair.client.outbox)[0], "home", NOW)
        welcome = take(pair.gateway.outbox)[0][0]
        for position in range(len(welcome)):
            forged = bytearray(welcome)
            forged[position] ^= 1
            self.assertRaises(Drop, pair.client.receive, bytes(forged), NOW)
        pair.client.receive(welcome, NOW)
        self.assertEqual(pair.client.state, "CONFIRM")

    def test_welcome_of_an_earlier_hello_is_dropped(self):
        pair = Pair()
        pair.client.connect(NOW)
        pair.gateway.receive(take(pair.client.outbox)[0], "home", NOW)
        pair.advance(1.0)
        self.drops("magic", pair.client.receive, take(pair.gateway.outbox)[0][0], pair.now)
        pair.run()
        self.assertEqual(pair.client.state, "UP")

    def test_unknown_peer_gets_nothing(self):
        pair = Pair()
        pair.client.static = bytes(range(1, 33))
        self.drops("unknown peer", pair.gateway.receive, pair.client.make_hello(NOW), "home", NOW)
        self.assertEqual(pair.gateway.outbox, [])

    def test_wrong_psk_opens_nothing(self):
        pair = Pair(psk=bytes(32))
        pair.client.connect(NOW)
        pair.gateway.receive(take(pair.client.outbox)[0], "home", NOW)
        self.drops("handshake", pair.client.receive, take(pair.gateway.outbox)[0][0], NOW)
        self.assertIsNone(pair.gateway.active)

    def test_no_common_suite_gets_nothing_and_does_not_burn_the_timestamp(self):
        pair = Pair(suites=(9,))
        hello = pair.client.make_hello(NOW)
        self.drops("suite", pair.gateway.receive, hello, "home", NOW)
        pair.client.suites = (1,)
        pair.client.connect(NOW)
        pair.run()
        self.assertEqual(pair.client.state, "UP")

    def test_hello_is_sent_again_after_1_2_4_8_16_16_seconds_each_new(self):
        pair = Pair()
        pair.client.connect(NOW)
        seen = take(pair.client.outbox)
        for wait in (1, 2, 4, 8, 16, 16):
            pair.advance(wait - 0.01)
            self.assertEqual(pair.client.outbox, [])
            pair.advance(0.01)
            seen += take(pair.client.outbox)
        self.assertEqual(len({h[5:9] for h in seen}), 7)
        self.assertEqual(len({h[9:41] for h in seen}), 7)

    def test_timestamps_differ_when_the_clock_stands_or_steps_back(self):
        pair = Pair()
        for now in (NOW, NOW, NOW - 100):
            pair.gateway.receive(pair.client.make_hello(now), "home", NOW)

    def test_client_ack_is_repeated_and_each_fresh_one_answered(self):
        pair = Pair()
        pair.client.connect(NOW)
        pair.gateway.receive(take(pair.client.outbox)[0], "home", NOW)
        pair.client.receive(take(pair.gateway.outbox)[0][0], NOW)
        pair.advance(0.25)
        acks = take(pair.client.outbox)
        self.assertEqual([a[0] & 15 for a in acks], [wire.CLIENT_ACK] * 2)
        for ack in acks:
            pair.gateway.receive(ack, "home", pair.now)
            self.drops("replay", pair.gateway.receive, ack, "home", pair.now)
        self.assertEqual([d[0] & 15 for d, _ in pair.gateway.outbox], [wire.KEEPALIVE] * 2)

    def test_confirm_gives_up_after_5_seconds(self):
        pair = Pair()
        pair.client.connect(NOW)
        pair.gateway.receive(take(pair.client.outbox)[0], "home", NOW)
        pair.client.receive(take(pair.gateway.outbox)[0][0], NOW)
        pair.advance(5.0)
        self.assertEqual(pair.client.state, "HANDSHAKE")

    def test_gateway_is_silent_before_confirmation_and_pending_ends_after_10_seconds(self):
        pair = Pair()
        pair.client.connect(NOW)
        pair.gateway.receive(take(pair.client.outbox)[0], "home", NOW)
        pair.client.receive(take(pair.gateway.outbox)[0][0], NOW)
        self.drops("no session", pair.gateway.send, pair.request(), NOW)
        ack = pair.client.outbox[0]
        self.drops("no session", pair.gateway.receive, ack, "home", NOW + 10.0)

    def test_data_confirms_as_well_as_client_ack(self):
        pair = Pair()
        pair.client.connect(NOW)
        pair.gateway.receive(take(pair.client.outbox)[0], "home", NOW)
        pair.client.receive(take(pair.gateway.outbox)[0][0], NOW)
        pair.client.outbox.clear()
        self.assertTrue(pair.carries())
        self.assertEqual(pair.client.state, "UP")

    def test_a_newer_hello_keeps_the_pending_session_id(self):
        pair = Pair()
        ids = set()
        for second in range(3):
            pair.gateway.receive(pair.client.make_hello(NOW + second), "home", NOW + second)
            ids.add(take(pair.gateway.outbox)[0][0][1:5])
        self.assertEqual(len(ids), 1)


class Sessions(Base):
    def test_rekey_keeps_id_and_steps_the_epoch_1_to_15_and_round(self):
        pair = Pair().up()
        session_id = pair.client.session_id
        for epoch in (*range(2, 16), 1, 2):
            pair.now += 1
            pair.up()
            self.assertEqual((pair.client.welcome.epoch, pair.client.session_id), (epoch, session_id))
            self.assertTrue(pair.carries())

    def test_both_open_under_the_previous_key_for_10_seconds(self):
        pair = Pair().up()
        old_up = pair.client.keys.current.seal(wire.DATA, pair.request())
        late_up = pair.client.keys.current.seal(wire.DATA, pair.request())
        old_down = pair.gateway.active.keys.current.seal(wire.KEEPALIVE)
        late_down = pair.gateway.active.keys.current.seal(wire.KEEPALIVE)
        pair.now += 1
        pair.up()
        pair.gateway.receive(old_up, "home", pair.now + 9.9)
        pair.client.receive(old_down, pair.now + 9.9)
        self.drops("no key", pair.gateway.receive, late_up, "home", pair.now + 10)
        self.drops("no key", pair.client.receive, late_down, pair.now + 10)

    def test_a_pending_rekey_changes_nothing_until_confirmed(self):
        pair = Pair().up()
        pair.gateway.receive(pair.client.make_hello(NOW + 1), "elsewhere", NOW + 1)
        pair.gateway.outbox.clear()
        self.assertTrue(pair.carries())
        self.assertEqual((pair.gateway.active.keys.current.epoch, pair.gateway.active.endpoint), (1, "home"))

    def test_an_unconfirmed_key_never_displaces_the_previous_one(self):
        pair = Pair().up()
        down = pair.gateway.active.keys.current.seal(wire.KEEPALIVE)
        for _ in range(2):
            pair.now += 1
            pair.client.connect(pair.now)
            pair.gateway.receive(take(pair.client.outbox)[0], "home", pair.now)
            pair.client.receive(take(pair.gateway.outbox)[0][0], pair.now)
            pair.client.outbox.clear()
        pair.client.receive(down, pair.now)

    def test_a_new_session_replaces_the_old_one_when_confirmed(self):
        pair = Pair().up()
        old = pair.client.session_id
        pair.client.session_id = pair.client.last_session_id = 0  # a client that was started anew
        pair.now += 1
        pair.up()
        self.assertNotEqual(pair.client.session_id, old)
        self.assertEqual(pair.log[4:], ["HELLO", "WELCOME", "CLIENT_ACK", "BYE", "KEEPALIVE"])
        self.assertEqual(pair.client.state, "UP")
        self.assertTrue(pair.carries())

    def test_hello_names_the_last_session_also_after_its_end(self):
        pair = Pair().up()
        last, pair.client.session_id = pair.client.session_id, 0
        self.assertEqual(int.from_bytes(pair.client.make_hello(pair.now)[1:5], "big"), last)

    def test_replayed_datagrams_are_dropped_in_both_directions(self):
        pair = Pair().up()
        pair.client.send(pair.request(), NOW)
        up = take(pair.client.outbox)[0]
        pair.gateway.receive(up, "home", NOW)
        self.drops("replay", pair.gateway.receive, up, "home", NOW)
        pair.gateway.send(inner.answer_echo(pair.request(), (PUSH["gateway4"],)), NOW)
        down = take(pair.gateway.outbox)[0][0]
        pair.client.receive(down, NOW)
        self.drops("replay", pair.client.receive, down, NOW)

    def test_reordered_datagrams_are_all_delivered(self):
        pair = Pair().up()
        for number in range(100):
            pair.client.send(pair.request(bytes([number])), NOW)
        for datagram in reversed(take(pair.client.outbox)):
            pair.gateway.receive(datagram, "home", NOW)
        self.assertEqual(len(pair.gateway.delivered), 100)

    def test_every_bit_flip_of_data_is_dropped_and_burns_no_counter(self):
        for suite in (1, 2):
            pair = Pair(suites=(suite,)).up()
            pair.client.send(pair.request(), NOW)
            datagram = take(pair.client.outbox)[0]
            for bit in range(len(datagram) * 8):
                forged = bytearray(datagram)
                forged[bit // 8] ^= 1 << bit % 8
                self.assertRaises(Drop, pair.gateway.receive, bytes(forged), "elsewhere", NOW)
            self.assertEqual((pair.gateway.delivered, pair.gateway.active.endpoint), ([], "home"))
            pair.gateway.receive(datagram, "home", NOW)
            self.assertEqual(len(pair.gateway.delivered), 1)

    def test_reflected_datagrams_are_dropped(self):
        pair = Pair().up()
        pair.client.send(pair.request(), NOW)
        self.drops("tag", pair.client.receive, take(pair.client.outbox)[0], NOW)

    def test_endpoint_moves_only_with_a_counter_above_all_before(self):
        pair = Pair().up()
        pair.client.keepalive(NOW)
        pair.client.keepalive(NOW)
        early, late = take(pair.client.outbox)
        pair.gateway.receive(late, "train", NOW)
        pair.gateway.receive(early, "attacker", NOW)
        self.assertEqual(pair.gateway.active.endpoint, "train")

    def test_foreign_inner_addresses_are_dropped_on_both_sides(self):
        pair = Pair(allowed=(ipaddress.ip_network("10.8.0.0/16"),)).up()
        foreign = ipaddress.ip_address("192.0.2.1")
        pair.client.send(pair.request(source=foreign), NOW)
        self.drops("inner source", pair.gateway.receive, take(pair.client.outbox)[0], "home", NOW)
        for source, destination, reason in ((foreign, PUSH["address4"], "inner source"),
                                            (PUSH["gateway4"], PUSH["gateway4"], "inner destination")):
            pair.gateway.send(inner.echo_request(source, destination, 1, 1), NOW)
            self.drops(reason, pair.client.receive, take(pair.gateway.outbox)[0][0], NOW)

    def test_inner_packet_must_say_its_own_length(self):
        pair = Pair().up()
        pair.client.send(pair.request() + b"\0", NOW)
        self.drops("inner length", pair.gateway.receive, take(pair.client.outbox)[0], "home", NOW)

    def test_mtu_bounds_the_inner_packet(self):
        pair = Pair(mtu=600).up()
        self.drops("mtu", pair.client.send, pair.request(bytes(573)), NOW)
        pair.client.send(pair.request(bytes(572)), NOW)

    def test_bye_ends_both_ways(self):
        pair = Pair().up()
        pair.client.close(NOW)
        pair.run()
        self.assertIsNone(pair.gateway.active)
        pair.up()
        pair.gateway.end(pair.now, wire.RESTARTING)
        pair.now += 1
        pair.run()
        self.assertEqual((pair.client.bye_reason, pair.client.state), (wire.RESTARTING, "UP"))

    def test_hello_names_the_last_session_after_bye(self):
        pair = Pair().up()
        last = pair.client.session_id
        pair.client.close(NOW)
        self.assertEqual(wire.parse_header(pair.client.make_hello(NOW))[2], last)
        self.assertEqual(pair.client.session_id, 0)

    def test_sender_stops_at_the_counter_limit(self):
        pair = Pair().up()
        keys = pair.client.keys.current
        keys.counter = 2**32 - 2**16 - 1
        keys.seal(wire.KEEPALIVE)
        self.drops("counter limit", keys.seal, wire.KEEPALIVE)


class Timers(Base):
    def test_client_rekeys_when_data_moves_under_an_old_key(self):
        pair = Pair(push={"backoff": 5}).up()
        pair.now += 124
        self.assertTrue(pair.carries())
        self.assertEqual(pair.client.welcome.epoch, 1)
        pair.now += 1
        self.assertTrue(pair.carries())
        self.assertEqual((pair.client.welcome.epoch, pair.client.state), (2, "UP"))

    def test_client_rekeys_at_the_packet_limit(self):
        for mtu, limit in ((1420, 2**28), (9000, 2**26)):
            pair = Pair(mtu=mtu)
            pair.gateway.mtu = mtu
            pair.up()
            pair.client.keys.current.counter = limit - 2
            self.assertTrue(pair.carries())
            self.assertEqual(pair.client.welcome.epoch, 1)
            self.assertTrue(pair.carries())
            self.assertEqual((pair.client.welcome.epoch, pair.client.session_id), (2, pair.gateway.active.session_id))

    def test_an_idle_client_does_not_rekey(self):
        pair = Pair(push={"keepalive": 0}).up()
        pair.log.clear()
        pair.advance(170)
        self.assertEqual(pair.client.outbox, [])

    def test_silence_after_data_starts_a_handshake_after_15_seconds(self):
        pair = Pair().up()
        pair.client.send(pair.request(), NOW)
        pair.advance(14.9)
        self.assertEqual(pair.client.state, "UP")
        pair.advance(0.1)
        self.assertEqual(pair.client.state, "HANDSHAKE")

    def test_who_got_data_and_sent_nothing_sends_one_keepalive_after_10_seconds(self):
        pair = Pair(push={"keepalive": 0}).up()
        pair.client.send(pair.request(), NOW)
        pair.run()
        pair.gateway.send(inner.answer_echo(pair.request(), (PUSH["gateway4"],)), NOW)
        pair.client.send(pair.request(), NOW)
        pair.run()
        pair.gateway.send(inner.answer_echo(pair.request(), (PUSH["gateway4"],)), NOW)
        pair.client.receive(take(pair.gateway.outbox)[0][0], NOW)
        pair.advance(10)
        self.assertEqual([d[0] & 15 for d in take(pair.client.outbox)], [wire.KEEPALIVE])
        pair.advance(10)
        self.assertEqual(pair.client.outbox, [])

    def test_a_ping_is_answered_with_its_nonce_and_other_kinds_are_not(self):
        pair = Pair(push={"keepalive": 0}).up()
        take(pair.client.outbox)
        for kind in (0, 1, 2, 3, 255):
            pair.client.receive(pair.gateway.active.keys.current.seal(wire.KEEPALIVE, bytes([kind]) + b"nonce678"), NOW)
        answers = take(pair.client.outbox)
        self.assertEqual(len(answers), 1)
        plaintext, _ = pair.gateway.active.keys.current.open(answers[0])
        self.assertEqual(plaintext, bytes([wire.PONG]) + b"nonce678")

    def test_reset_is_followed_if_id_and_token_are_right_and_not_too_often(self):
        pair = Pair().up()
        client = pair.client
        right = wire.header(wire.RESET, 1, client.session_id) + client.welcome.reset_token
        for index in range(1, len(right)):
            wrong = bytearray(right)
            wrong[index] ^= 1
            self.assertRaises(Drop, client.receive, bytes(wrong), NOW)
        self.assertEqual(client.state, "UP")
        client.receive(right, NOW)
        self.assertEqual(client.state, "HANDSHAKE")
        self.assertTrue(client.session_id, "the session stays until WELCOME")

    def test_keepalive_interval(self):
        pair = Pair(push={"keepalive": 25}).up()
        pair.advance(24.9)
        self.assertEqual(pair.client.outbox, [])
        pair.advance(0.1)
        self.assertEqual([d[0] & 15 for d in take(pair.client.outbox)], [wire.KEEPALIVE])

    def test_session_timeout(self):
        pair = Pair(push={"keepalive": 0}).up()
        pair.advance(179.9)
        self.assertIsNotNone(pair.gateway.active)
        pair.advance(0.1)
        self.assertIsNone(pair.gateway.active)

    def test_a_key_dies_after_an_hour(self):
        pair = Pair(push={"session_timeout": 10000}).up()
        old = pair.client.keys.current.seal(wire.KEEPALIVE)
        self.drops("key dead", pair.gateway.receive, old, "home", NOW + 3600)
        self.drops("no key", pair.client.send, pair.request(), NOW + 3600)
        self.assertEqual(pair.client.state, "HANDSHAKE")


class Vector(Base):
    def test_the_committed_file_is_what_the_program_writes(self):
        self.assertEqual(make_vector.PATH.read_text(), make_vector.text())

    def test_both_sides_replay_it(self):
        v = make_vector.parse(make_vector.PATH.read_text())
        client = Client(v["client_static_private"], v["gateway_static_public"], v["psk"],
                        wished4=PUSH["address4"], wished6=PUSH["address6"], uniform=lambda a, b: 0.0,
                        capabilities=0, rng=make_vector.scripted(v["hello_magic"], v["client_ephemeral_private"]))
        client.connect(make_vector.TIME)
        self.assertEqual(take(client.outbox), [v["hello"]])
        client.receive(v["welcome"], make_vector.TIME)
        self.assertEqual(take(client.outbox), [v["s1_c2g_client_ack_0"]])
        client.receive(v["s1_g2c_keepalive_0"], make_vector.TIME)
        self.assertEqual(client.state, "UP")
        client.send(v["packet_c2g"], make_vector.TIME)
        self.assertEqual(take(client.outbox), [v["s1_c2g_data_1"]])
        client.receive(v["s1_g2c_data_1"], make_vector.TIME)
        self.assertEqual(take(client.delivered), [v["packet_g2c"]])
        for suite in (1, 2):
            for direction, secret in (("c2g", "k1"), ("g2c", "k2")):
                self.assertEqual(wire.unseal(v[secret], suite, v[f"s{suite}_{direction}_data_1"]),
                                 (1, v[f"packet_{direction}"]))


if __name__ == "__main__":
    unittest.main()
