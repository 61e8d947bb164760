# SPDX-License-Identifier: Apache-2.0
"""Initiator against responder in memory: messages, handshake, cookies, data, timers, and the committed vector."""

import ipaddress
import unittest

import inner
import make_vector
import make_wireguard_vector as vector
import noise_ik
import wireguard as wg
from shardtun_peer import take
from wire import Drop, tai64n
from wireguard_peer import Peer

A_KEY, B_KEY, PSK = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
A_AT, B_AT = ("192.0.2.2", 40000), ("192.0.2.1", 51820)
ELSEWHERE = ("203.0.113.9", 1234)
A_INNER, B_INNER = ipaddress.ip_address("10.9.0.2"), ipaddress.ip_address("10.9.0.1")
NOW = 1.7e9


class Pair:
    """Two peers, of which `a` connects, with a wire between them that loses nothing."""

    def __init__(self, psk=PSK, under_load=False, **options):
        self.a = Peer(A_KEY, wg.public_key(B_KEY), psk, B_AT, uniform=lambda a, b: 0.0, **options)
        self.b = Peer(B_KEY, wg.public_key(A_KEY), PSK, allowed=(ipaddress.ip_network(A_INNER),), under_load=under_load,
                      uniform=lambda a, b: 0.0)
        self.now, self.a_at = NOW, A_AT
        self.log = []

    def run(self):
        """Carries datagrams until both sides are silent, and answers echo requests at b."""
        while self.a.outbox or self.b.outbox:
            for datagram, _ in take(self.a.outbox):
                self.log.append(wg.TYPE_NAMES[datagram[0]])
                self.b.receive(datagram, self.a_at, self.now)
            for packet in take(self.b.delivered):
                self.b.send(inner.answer_echo(packet, (B_INNER,)), self.now)
            for datagram, _ in take(self.b.outbox):
                self.log.append(wg.TYPE_NAMES[datagram[0]])
                self.a.receive(datagram, B_AT, self.now)

    def up(self):
        self.a.initiate(self.now)
        self.run()
        return self

    def advance(self, seconds):
        self.now += seconds
        self.a.tick(self.now)
        self.b.tick(self.now)

    def carries(self, payload=b"hello"):
        """Whether an echo request from a is answered."""
        request = inner.echo_request(A_INNER, B_INNER, 1, 1, payload)
        self.a.send(request, self.now)
        self.run()
        return take(self.a.delivered) == [inner.answer_echo(request, (B_INNER,))]

    def data(self, payload=b"hello"):
        """A whole data message from a, not sent."""
        return self.a.keys.current.seal(wg.pad(inner.echo_request(A_INNER, B_INNER, 1, 1, payload)))


class Base(unittest.TestCase):
    def drops(self, reason, function, *arguments):
        with self.assertRaises(Drop) as caught:
            function(*arguments)
        self.assertEqual(str(caught.exception), reason)


class Messages(Base):
    def test_known_constants(self):
        handshake = wg.Handshake(bytes(32))
        self.assertEqual(handshake.trace["c_construction"].hex(),
                         "60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36")
        self.assertEqual(handshake.trace["h_identifier"].hex(),
                         "2211b361081ac566691243db458ad5322d9c6c662293e8b70ee19c65ba079ef3")
        self.assertEqual(tai64n(1_000_000_001).hex(), "400000000000000b00000001")

    def test_types_lengths_and_reserved_bytes(self):
        for kind in range(256):
            for length in (0, 1, 3, 4, 31, 32, 33, 63, 64, 65, 91, 92, 93, 147, 148, 149, 2000):
                datagram = (bytes([kind]) + bytes(2000))[:length]
                if kind in wg.SIZES and length == wg.SIZES[kind] or kind == wg.DATA and length >= 32:
                    self.assertEqual(wg.parse_type(datagram), kind)
                    for index in (1, 2, 3):
                        wrong = datagram[:index] + b"\1" + datagram[index + 1 :]
                        self.drops("reserved", wg.parse_type, wrong)
                else:
                    self.assertRaises(Drop, wg.parse_type, datagram)

    def test_padding(self):
        for length, mtu, padded in ((0, 1420, 0), (1, 1420, 16), (16, 1420, 16), (17, 1420, 32), (1419, 1420, 1420),
                                    (1420, 1420, 1420), (1409, 65535, 1424)):
            self.assertEqual(len(wg.pad(bytes(length), mtu)), padded)

    def test_trimming_by_the_inner_length(self):
        for address, other in (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")):
            packet = inner.echo_request(ipaddress.ip_address(address), ipaddress.ip_address(other), 1, 1, b"x")
            for more in (0, 1, 15, 16, 1000):
                self.assertEqual(wg.trim(packet + b"\xff" * more), packet)
            for length in range(1, len(packet)):
                self.drops("inner length", wg.trim, packet[:length])

    def test_replay_window(self):
        window = wg.ReplayWindow(wg.WINDOW)
        for counter, fresh in ((0, True), (0, False), (9000, True), (9000, False), (9000 - 8127, True),
                               (9000 - 8128, False), (9000 - 8127, False), (8999, True), (2**63, True), (9001, False)):
            self.assertEqual(window.accept(counter), fresh, counter)

    def test_every_source_makes_another_cookie_but_a_mapped_one(self):
        sources = (A_AT, ("192.0.2.2", 40001), ("192.0.2.3", 40000), ("2001:db8::2", 40000))
        self.assertEqual(len({wg.source_bytes(source) for source in sources}), 4)
        self.assertEqual(wg.source_bytes(("::ffff:192.0.2.2", 40000)), wg.source_bytes(A_AT))


class Handshakes(Base):
    def test_it_is_noise_ikpsk2_with_the_identifier_as_prologue(self):
        v = make_vector.parse(vector.PATH.read_text())
        noise = noise_ik.Handshake(True, wg.IDENTIFIER, v["initiator_static_private"], v["responder_static_public"],
                                   v["psk"], hash_name="BLAKE2s")
        self.assertEqual(noise.write(v["initiator_ephemeral_private"], v["timestamp"]), v["initiation"][8:116])
        self.assertEqual((noise.ck, noise.h), (v["c_ss"], v["h_timestamp"]))
        self.assertEqual(noise.read(v["response"][12:60]), b"")
        self.assertEqual((noise.ck, noise.h), (v["c_psk"], v["h_empty"]))
        self.assertEqual(noise.split(), (v["key_i2r"], v["key_r2i"]))

    def test_a_session_takes_three_messages_and_carries(self):
        pair = Pair().up()
        self.assertEqual(pair.log, ["initiation", "response", "data"])
        self.assertEqual(pair.b.keepalives_received, 1)
        self.assertTrue(pair.carries())
        self.assertEqual((pair.a.keys.current.initiator, pair.b.keys.current.initiator), (True, False))

    def test_sizes(self):
        pair = Pair()
        pair.a.initiate(NOW)
        self.assertEqual([len(datagram) for datagram, _ in pair.a.outbox], [148])
        pair.b.receive(take(pair.a.outbox)[0][0], A_AT, NOW)
        self.assertEqual([len(datagram) for datagram, _ in pair.b.outbox], [92])
        pair.a.receive(take(pair.b.outbox)[0][0], B_AT, NOW)
        self.assertEqual([len(datagram) for datagram, _ in pair.a.outbox], [32])

    def test_without_a_psk(self):
        pair = Pair(psk=wg.NO_PSK)
        pair.b.psk = wg.NO_PSK
        self.assertTrue(pair.up().carries())

    def test_another_psk_is_refused_by_the_initiator(self):
        pair = Pair(psk=bytes(32))
        pair.a.initiate(NOW)
        self.drops("empty tag", pair.run)

    def test_the_other_way_round(self):
        pair = Pair().up()
        pair.now += 1
        pair.b.initiate(pair.now)
        pair.run()
        self.assertEqual((pair.a.keys.current.initiator, pair.b.keys.current.initiator), (False, True))
        self.assertTrue(pair.carries())

    def test_both_at_once(self):
        pair = Pair().up()
        pair.now += 1
        pair.a.initiate(pair.now)
        pair.b.initiate(pair.now)
        pair.run()
        self.assertTrue(pair.carries())

    def test_a_retry_comes_after_5_seconds_and_is_new(self):
        pair = Pair()
        pair.a.initiate(NOW)
        pair.advance(4.9)
        self.assertEqual(len(pair.a.outbox), 1)
        pair.advance(0.1)
        first, second = (datagram for datagram, _ in pair.a.outbox)
        self.assertNotEqual(first[4:8], second[4:8])
        self.assertNotEqual(first[8:40], second[8:40])
        pair.b.receive(first, A_AT, pair.now)
        response = take(pair.b.outbox)[0][0]
        self.drops("receiver", pair.a.receive, response, B_AT, pair.now)
        pair.b.receive(second, A_AT, pair.now + 1)

    def test_it_gives_up_after_90_seconds(self):
        pair = Pair()
        pair.a.initiate(NOW)
        for _ in range(30):
            pair.advance(5)
        self.assertEqual((len(pair.a.outbox), pair.a.pending), (18, None))

    def test_timestamps_differ_when_the_clock_stands_or_steps_back(self):
        pair = Pair()
        for now in (NOW, NOW, NOW - 100):
            pair.a.initiate(now)
            pair.now += 1
            pair.b.receive(take(pair.a.outbox)[0][0], A_AT, pair.now)

    def test_two_initiations_within_20_ms_are_one_too_many(self):
        pair = Pair()
        for _ in range(3):
            pair.a.initiate(NOW)
        first, second, third = (datagram for datagram, _ in take(pair.a.outbox))
        pair.b.receive(first, A_AT, NOW)
        self.drops("too soon", pair.b.receive, second, A_AT, NOW + 0.019)
        pair.b.receive(third, A_AT, NOW + 0.021)

    def test_the_responder_sends_nothing_before_it_has_heard_the_new_key(self):
        pair = Pair()
        pair.a.initiate(NOW)
        pair.b.receive(take(pair.a.outbox)[0][0], A_AT, NOW)
        response = take(pair.b.outbox)[0][0]
        packet = inner.echo_request(B_INNER, A_INNER, 1, 1)
        pair.b.send(packet, NOW)
        self.assertEqual([datagram[0] for datagram, _ in take(pair.b.outbox)], [wg.INITIATION])
        pair.a.receive(response, B_AT, NOW)
        pair.run()
        self.assertEqual(take(pair.a.delivered), [packet])

    def test_a_failed_message_leaves_no_trace(self):
        pair = Pair().up()
        pair.now += 1
        pair.a.initiate(pair.now)
        initiation = take(pair.a.outbox)[0][0]
        pair.b.receive(initiation, A_AT, pair.now)
        response = take(pair.b.outbox)[0][0]
        forged = response[:44] + bytes([response[44] ^ 1]) + response[45:60]
        self.drops("empty tag", pair.a.receive, wg.add_macs(forged, pair.a.public), B_AT, pair.now)
        self.assertTrue(pair.carries())
        pair.a.receive(response, B_AT, pair.now)
        self.drops("receiver", pair.a.receive, response, B_AT, pair.now)
        self.assertTrue(pair.carries())

    def test_what_was_sent_before_there_was_a_session_follows_it(self):
        pair = Pair()
        self.assertTrue(pair.carries())
        self.assertEqual(pair.log, ["initiation", "response", "data", "data"])


class Cookies(Base):
    def loaded(self):
        """A pair whose b is under load, and the cookie reply to a's first initiation."""
        pair = Pair(under_load=True)
        pair.a.initiate(NOW)
        self.drops("no cookie", pair.run)
        return pair, take(pair.b.outbox)[0][0]

    def test_a_cookie_is_used_in_the_next_attempt(self):
        pair, reply = self.loaded()
        self.assertEqual((len(reply), reply[0]), (64, wg.COOKIE_REPLY))
        pair.a.receive(reply, B_AT, NOW)
        self.assertEqual(pair.a.outbox, [])
        pair.advance(5)
        self.assertNotEqual(pair.a.outbox[0][0][-16:], bytes(16))
        pair.run()
        self.assertTrue(pair.carries())

    def test_it_is_good_for_120_seconds_at_both_sides(self):
        pair, reply = self.loaded()
        pair.a.receive(reply, B_AT, NOW)
        for now, good in ((NOW + 119.9, True), (NOW + 120, False)):
            pair.a.initiate(now)
            message = take(pair.a.outbox)[0][0]
            self.assertEqual(message[-16:] != bytes(16), good)
        pair.a._holder._until = NOW + 300  # against the rule
        for _ in range(2):
            pair.a.initiate(NOW + 119)
        early, late = (datagram for datagram, _ in take(pair.a.outbox))
        pair.b.receive(early, A_AT, NOW + 119.9)
        self.drops("no cookie", pair.b.receive, late, A_AT, NOW + 120)

    def test_it_is_good_for_one_source(self):
        pair, reply = self.loaded()
        pair.a.receive(reply, B_AT, NOW)
        pair.a.initiate(NOW + 1)
        message = take(pair.a.outbox)[0][0]
        for source in (ELSEWHERE, (A_AT[0], A_AT[1] + 1)):
            self.drops("no cookie", pair.b.receive, message, source, NOW + 1)
        pair.b.receive(message, A_AT, NOW + 1)

    def test_a_cookie_reply_must_be_for_the_latest_message(self):
        pair, reply = self.loaded()
        for index in range(4, 64):
            forged = reply[:index] + bytes([reply[index] ^ 1]) + reply[index + 1 :]
            self.drops("receiver" if index < 8 else "cookie", pair.a.receive, forged, B_AT, NOW)
        pair.a.initiate(NOW + 1)
        self.drops("receiver", pair.a.receive, reply, B_AT, NOW + 1)
        self.assertEqual(pair.a.cookies_taken, 0)

    def test_an_initiator_under_load_asks_for_one_too(self):
        pair = Pair()
        pair.a.under_load = True
        pair.a.initiate(NOW)
        self.drops("no cookie", pair.run)
        pair.run()
        self.assertEqual((pair.b.cookies_taken, pair.a.keys.current), (1, None))
        pair.advance(5)
        pair.run()
        self.assertTrue(pair.carries())

    def test_without_load_mac2_is_not_looked_at(self):
        pair = Pair()
        pair.a.initiate(NOW)
        message = take(pair.a.outbox)[0][0]
        pair.b.receive(message[:-16] + b"nonsensical mac2", A_AT, NOW)


class Data(Base):
    def test_padding_does_not_arrive(self):
        pair = Pair().up()
        for length in range(40):
            self.assertTrue(pair.carries(bytes(length)))
        pair.a.send(inner.echo_request(A_INNER, B_INNER, 1, 1, b"x"), NOW)
        self.assertEqual(len(pair.a.outbox[0][0]), 32 + 32)

    def test_packets_up_to_the_mtu(self):
        pair = Pair().up()
        self.assertTrue(pair.carries(bytes(1392)))
        self.drops("mtu", pair.a.send, bytes(1421), NOW)

    def test_replayed_and_reordered(self):
        pair = Pair().up()
        sealed = [pair.data(bytes([number])) for number in range(100)]
        for datagram in reversed(sealed):
            pair.b.receive(datagram, A_AT, NOW)
            self.drops("replay", pair.b.receive, datagram, A_AT, NOW)
        self.assertEqual(len(pair.b.delivered), 100)

    def test_every_bit_flip_is_dropped_and_burns_no_counter(self):
        pair = Pair().up()
        datagram = pair.data()
        for bit in range(len(datagram) * 8):
            forged = bytearray(datagram)
            forged[bit // 8] ^= 1 << bit % 8
            self.assertRaises(Drop, pair.b.receive, bytes(forged), ELSEWHERE, NOW)
        self.assertEqual((pair.b.delivered, pair.b.endpoint), ([], A_AT))
        pair.b.receive(datagram, A_AT, NOW)
        self.assertEqual(len(pair.b.delivered), 1)

    def test_counters_near_2_to_the_64(self):
        pair = Pair().up()
        keys = pair.a.keys.current
        for counter in (2**64 - 2**13 - 1, 2**64 - 1):
            datagram = wg.seal_data(keys.send_key, keys.remote_index, counter, b"")
            self.drops("counter limit", pair.b.receive, datagram, A_AT, NOW)
        self.assertTrue(pair.carries())
        keys.counter = 2**64 - 2**13 - 2
        pair.b.receive(keys.seal(b""), A_AT, NOW)
        self.drops("counter limit", keys.seal, b"")
        pair.now += 6
        self.assertTrue(pair.carries(), "a new session")

    def test_the_endpoint_follows_the_newest_counter_and_handshakes(self):
        pair = Pair().up()
        early, late = pair.data(), pair.data()
        pair.b.receive(late, ELSEWHERE, NOW)
        pair.b.receive(early, A_AT, NOW)
        self.assertEqual(pair.b.endpoint, ELSEWHERE)
        pair.b.delivered.clear()
        pair.a_at = ("2001:db8::7", 7)
        self.assertTrue(pair.carries())
        self.assertEqual(pair.b.endpoint, pair.a_at)
        pair.a_at, pair.now = A_AT, NOW + 1
        pair.up()
        self.assertEqual(pair.b.endpoint, A_AT)

    def test_an_inner_source_of_another_is_dropped(self):
        pair = Pair().up()
        pair.a.send(inner.echo_request(A_INNER + 1, B_INNER, 1, 1), NOW)
        self.drops("inner source", pair.run)


class Timers(Base):
    def initiations(self, pair):
        """How many both sides have sent."""
        return sum(event["event"] == "initiation" for side in (pair.a, pair.b) for event in take(side.events))

    def test_the_initiator_rekeys_when_it_sends_after_120_seconds(self):
        pair = Pair().up()
        self.initiations(pair)
        for seconds, count in ((119.9, 0), (0.1, 1), (1, 0)):
            pair.advance(seconds)
            pair.carries()
            self.assertEqual(self.initiations(pair), count)
        self.assertTrue(pair.carries())

    def test_or_when_it_receives_after_165_seconds(self):
        pair = Pair().up()
        self.initiations(pair)
        for seconds, count in ((164.9, 0), (0.1, 1)):
            pair.advance(seconds)
            pair.b.keepalive(pair.now)
            pair.run()
            self.assertEqual(self.initiations(pair), count)

    def test_the_responder_does_not(self):
        pair = Pair().up()
        self.initiations(pair)
        pair.advance(150)
        pair.b.send(inner.echo_request(B_INNER, A_INNER, 1, 1), pair.now)
        pair.run()
        self.assertEqual(self.initiations(pair), 0)

    def test_2_to_the_60_messages_are_the_reason_of_either(self):
        for sender in ("a", "b"):
            pair = Pair().up()
            pair.now += 10
            self.initiations(pair)
            peer = getattr(pair, sender)
            peer.keys.current.counter = 2**60 - 2
            peer.keepalive(pair.now)
            self.assertEqual(self.initiations(pair), 0)
            peer.keepalive(pair.now)
            self.assertEqual(self.initiations(pair), 1)
            pair.run()
            self.assertTrue(pair.carries())

    def test_new_keys_beside_old_ones(self):
        pair = Pair().up()
        up, down = pair.data(), pair.b.keys.current.seal(b"")
        pair.now += 1
        pair.up()
        pair.b.receive(up, A_AT, pair.now)
        pair.a.receive(down, B_AT, pair.now)
        pair.now += 1
        third = pair.a.keys.previous.seal(b"")
        pair.up()
        self.drops("receiver", pair.b.receive, third, A_AT, pair.now)

    def test_a_key_is_not_used_after_180_seconds(self):
        pair = Pair().up()
        early, late = pair.data(), pair.data()
        pair.b.receive(early, A_AT, NOW + 179.9)
        self.drops("key dead", pair.b.receive, late, A_AT, NOW + 180)
        pair.b.delivered.clear()
        pair.now += 180
        pair.log.clear()
        self.assertTrue(pair.carries())
        self.assertEqual(pair.log[:2], ["initiation", "response"])

    def test_keys_are_erased_after_540_seconds(self):
        pair = Pair().up()
        pair.advance(539.9)
        self.assertIsNotNone(pair.a.keys.current)
        pair.advance(0.1)
        self.assertEqual((pair.a.keys.current, pair.b.keys.current), (None, None))

    def test_data_without_an_answer_is_followed_by_one_keepalive_after_10_seconds(self):
        pair = Pair().up()
        pair.a.send(inner.echo_request(A_INNER, B_INNER, 1, 1), NOW)
        pair.b.receive(take(pair.a.outbox)[0][0], A_AT, NOW)
        pair.advance(9.9)
        self.assertEqual(pair.b.outbox, [])
        pair.advance(0.1)
        self.assertEqual([len(datagram) for datagram, _ in take(pair.b.outbox)], [32])
        pair.advance(10)
        self.assertEqual(pair.b.outbox, [])

    def test_a_keepalive_is_not_answered(self):
        pair = Pair().up()
        pair.a.keepalive(NOW)
        pair.run()
        pair.advance(11)
        self.assertEqual((pair.a.outbox, pair.b.outbox), ([], []))

    def test_15_seconds_of_silence_after_data_start_a_handshake(self):
        pair = Pair().up()
        pair.a.send(inner.echo_request(A_INNER, B_INNER, 1, 1), NOW)
        take(pair.a.outbox)
        pair.advance(14.9)
        self.assertEqual(pair.a.outbox, [])
        pair.advance(0.1)
        self.assertEqual([datagram[0] for datagram, _ in pair.a.outbox], [wg.INITIATION])

    def test_persistent_keepalive(self):
        pair = Pair(keepalive=25).up()
        pair.advance(24.9)
        self.assertEqual(pair.a.outbox, [])
        pair.advance(0.1)
        self.assertEqual([len(datagram) for datagram, _ in pair.a.outbox], [32])


class Vector(Base):
    def test_the_committed_file_is_what_the_program_writes(self):
        self.assertEqual(vector.PATH.read_text(), vector.text())

    def test_both_sides_replay_it(self):
        v = make_vector.parse(vector.PATH.read_text())
        scripted = make_vector.scripted
        a = Peer(v["initiator_static_private"], v["responder_static_public"], v["psk"], B_AT, uniform=lambda a, b: 0.25,
                 rng=scripted(v["initiator_index"], v["initiator_ephemeral_private"], v["initiation2_index"],
                              v["initiation2_ephemeral_private"]))
        b = Peer(v["responder_static_private"], v["initiator_static_public"], v["psk"],
                 rng=scripted(v["responder_index"], v["responder_ephemeral_private"]))
        loaded = Peer(v["responder_static_private"], v["initiator_static_public"], v["psk"], under_load=True,
                      rng=scripted(v["cookie_secret"], v["cookie_nonce"]))
        a.initiate(vector.TIME)
        self.assertEqual(take(a.outbox), [(v["initiation"], B_AT)])
        self.drops("no cookie", loaded.receive, v["initiation"], vector.SOURCE, vector.TIME)
        self.assertEqual(take(loaded.outbox), [(v["cookie_reply"], vector.SOURCE)])
        b.receive(v["initiation"], A_AT, vector.TIME)
        self.assertEqual(take(b.outbox), [(v["response"], A_AT)])
        a.receive(v["response"], B_AT, vector.TIME)
        self.assertEqual(take(a.outbox), [(v["data_i2r_0_keepalive"], B_AT)])
        b.receive(v["data_i2r_0_keepalive"], A_AT, vector.TIME)
        for side, name, other, packet in ((a, "i2r_1_1", b, "packet_1"), (b, "r2i_0_2", a, "packet_2")):
            side.send(v[packet], vector.TIME)
            self.assertEqual(take(side.outbox)[0][0], v[f"data_{name}"])
            other.receive(v[f"data_{name}"], side is a and A_AT or B_AT, vector.TIME)
            self.assertEqual(take(other.delivered), [v[packet]])
        a.receive(v["data_r2i_72623859790382856_2"], B_AT, vector.TIME)
        b.receive(v["data_i2r_72623859790382856_3"], A_AT, vector.TIME)
        self.assertEqual(take(b.delivered), [v["packet_3"]])
        a.receive(v["cookie_reply"], B_AT, vector.TIME)
        a.initiate(vector.TIME + 5.25)
        self.assertEqual(take(a.outbox), [(v["initiation2"], B_AT)])


if __name__ == "__main__":
    unittest.main()
