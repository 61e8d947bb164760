# SPDX-License-Identifier: Apache-2.0
"""DATA_SPARSE and capabilities: section 3's two replay windows, and section 5's sparse flows."""

import unittest

import inner
import sparse
import wire
from shardtun_peer import take
from test_peer import NOW, PUSH, Base, Pair
from wire import Drop

NEITHER = 0
UNKNOWN_BITS = 0xFC
FAR = 2 * wire.REPLAY_WINDOW


def kinds(outbox):
    """The types of the datagrams that wait in a queue, which is empty afterwards."""
    datagrams = (entry[0] if isinstance(entry, tuple) else entry for entry in take(outbox))
    return [wire.TYPE_NAMES[datagram[0] & 15] for datagram in datagrams]


def retyped(datagram, kind):
    return bytes([datagram[0] & 0xF0 | kind]) + datagram[1:]


class SparsePair(Pair):
    """With the capabilities of each side."""

    def __init__(self, client=sparse.CAPABILITIES, gateway=sparse.CAPABILITIES):
        super().__init__(capabilities=client, gateway={"capabilities": gateway})

    def reply(self):
        return inner.answer_echo(self.request(), (PUSH["gateway4"],))

    def sides(self):
        """(seals, opens, its delivered packets, a packet for it) of each direction."""
        keys, session = self.client.keys.current, self.gateway.active.keys.current
        return ((keys, self.up_comes, self.gateway.delivered, self.request()),
                (session, self.down_comes, self.client.delivered, self.reply()))

    def up_comes(self, datagram):
        self.gateway.receive(datagram, "home", self.now)

    def down_comes(self, datagram):
        self.client.receive(datagram, self.now)

    def sent_up(self, packet=None):
        self.client.send(packet or self.request(), self.now)
        return kinds(self.client.outbox)

    def sent_down(self, packet=None):
        self.gateway.send(packet or self.reply(), self.now)
        return kinds(self.gateway.outbox)


class Capabilities(Base):
    def test_hello_has_them_at_offset_58_and_zeros_behind(self):
        payload = wire.HelloPayload(wire.tai64n(0), (1,), 1420, capabilities=3)
        self.assertEqual(payload.encode()[58:], b"\x03" + bytes(1004))
        self.assertEqual(wire.HelloPayload.decode(payload.encode()), payload)
        self.assertEqual(wire.HelloPayload.decode(payload.encode()[:59] + b"\xff" * 1004), payload)

    def test_welcome_has_them_behind_the_last_route_or_none(self):
        for lists in ({}, {"dns": PUSH["dns"]}, {"routes": PUSH["routes"]}, PUSH):
            bare = wire.WelcomePayload(9, 2, 15, 1300, **lists)
            self.assertEqual(wire.WelcomePayload.decode(bare.encode() + b"\0"), bare)
            for value in (0, 1, 2, 3, UNKNOWN_BITS, 255):
                welcome = wire.WelcomePayload(9, 2, 15, 1300, **lists, capabilities=value)
                self.assertEqual(welcome.encode(), bare.encode() + (bytes([value]) if value else b""))
                self.assertEqual(wire.WelcomePayload.decode(bare.encode() + bytes([value])), welcome)
                later = bare.encode() + bytes([value]) + b"later versions"
                self.assertEqual(wire.WelcomePayload.decode(later), welcome)

    def test_they_have_to_fit_into_welcome(self):
        full = wire.WelcomePayload(9, 2, 15, 1300, dns=[PUSH["dns"][0]] * 5, routes=[PUSH["routes"][0]] * 173)
        self.assertEqual(len(full.encode()), wire.WELCOME_MAX - wire.WELCOME_MIN + 80)
        full.capabilities = 1
        self.assertRaises(ValueError, full.encode)

    def test_handshake_carries_them_both_ways(self):
        for client in (0, 1, 2, 3, 0xFF):
            for gateway in (0, 1, 2, 3, 0xFF):
                pair = SparsePair(client, gateway).up()
                self.assertEqual(pair.client.keys.current.other, gateway)
                self.assertEqual(pair.gateway.active.keys.current.other, client)

    def test_only_who_marks_sends_it_and_only_to_who_takes_it(self):
        for own in range(4):
            for other in range(4):
                expected = ["DATA_SPARSE" if own & 2 and other & 1 else "DATA"]
                self.assertEqual(SparsePair(own, other).up().sent_up(), expected)
                self.assertEqual(SparsePair(other, own).up().sent_down(), expected)

    def test_unknown_bits_mean_nothing(self):
        for unknown in (UNKNOWN_BITS, 4, 0x80):
            self.assertEqual(SparsePair(3, unknown).up().sent_up(), ["DATA"])
            self.assertEqual(SparsePair(unknown, 3).up().sent_down(), ["DATA"])
            self.assertEqual(SparsePair(3, unknown | 3).up().sent_up(), ["DATA_SPARSE"])
            self.assertEqual(SparsePair(unknown | 3, 3).up().sent_down(), ["DATA_SPARSE"])
            self.assertTrue(SparsePair(unknown, unknown).up().carries())

    def test_an_older_peer_drops_the_type_and_spends_no_counter(self):
        pair = SparsePair(NEITHER, NEITHER).up()
        for keys, receive, delivered, packet in pair.sides():
            self.drops("type", receive, keys.seal(wire.DATA_SPARSE, packet))
            self.assertEqual(take(delivered), [])
        self.assertTrue(pair.carries())

    def test_the_newest_handshake_decides(self):
        for before, after in ((3, 0), (0, 3)):
            pair = SparsePair(3, before).up()
            pair.gateway.sparse.capabilities = after
            pair.now += 1
            pair.up()
            self.assertEqual(pair.client.welcome.epoch, 2)
            self.assertEqual(pair.sent_up(), ["DATA_SPARSE" if after else "DATA"])

    def test_a_hello_that_is_not_confirmed_changes_nothing(self):
        pair = SparsePair().up()
        pair.client.sparse.capabilities = NEITHER
        pair.gateway.receive(pair.client.make_hello(NOW + 1), "elsewhere", NOW + 1)
        pair.gateway.outbox.clear()
        self.assertEqual(pair.sent_down(), ["DATA_SPARSE"])


class Windows(Base):
    def test_a_message_of_another_type_is_forged_and_burns_no_counter(self):
        for true, forged in ((wire.DATA, wire.DATA_SPARSE), (wire.DATA_SPARSE, wire.DATA)):
            pair = SparsePair().up()
            for keys, receive, delivered, packet in pair.sides():
                datagram = keys.seal(true, packet)
                self.drops("tag", receive, retyped(datagram, forged))
                receive(datagram)
                self.drops("tag", receive, retyped(datagram, forged))
                self.assertEqual(take(delivered), [packet])

    def test_a_copy_is_a_replay(self):
        pair = SparsePair().up()
        for keys, receive, delivered, packet in pair.sides():
            datagram = keys.seal(wire.DATA_SPARSE, packet)
            receive(datagram)
            self.drops("replay", receive, datagram)
            receive(keys.seal(wire.DATA, packet))
            self.drops("replay", receive, datagram)
            self.assertEqual(take(delivered), [packet] * 2)

    def test_far_ahead_in_one_type_makes_no_replay_of_the_other(self):
        for ahead, behind in ((wire.DATA_SPARSE, wire.DATA), (wire.DATA, wire.DATA_SPARSE)):
            pair = SparsePair().up()
            for keys, receive, delivered, packet in pair.sides():
                late = [keys.seal(behind, packet) for _ in range(3)]
                same = keys.seal(ahead, packet)
                keys.counter += FAR
                receive(keys.seal(ahead, packet))
                for datagram in late:
                    receive(datagram)
                    self.drops("replay", receive, datagram)
                self.drops("replay", receive, same)
                self.assertEqual(len(take(delivered)), 1 + len(late))

    def test_keepalive_and_bye_are_in_the_window_of_data(self):
        for kind, plaintext in ((wire.KEEPALIVE, b""), (wire.BYE, b"\0")):
            pair = SparsePair().up()
            keys, receive, _, packet = pair.sides()[0]
            late, lost = keys.seal(kind, plaintext), keys.seal(kind, plaintext)
            keys.counter += FAR
            receive(keys.seal(wire.DATA_SPARSE, packet))
            receive(late)
            if kind == wire.KEEPALIVE:
                receive(keys.seal(wire.DATA, packet))
                self.drops("replay", receive, lost)

    def test_reordered_types_all_pass(self):
        pair = SparsePair().up()
        for keys, receive, delivered, packet in pair.sides():
            sealed = [keys.seal((wire.DATA, wire.DATA_SPARSE)[number % 2], packet) for number in range(100)]
            for datagram in sealed[::-2] + sealed[-2::-2]:
                receive(datagram)
            self.assertEqual(len(take(delivered)), 100)

    def test_every_bit_flip_is_dropped_and_burns_no_counter(self):
        for suite in (1, 2):
            pair = Pair(suites=(suite,)).up()
            datagram = pair.client.keys.current.seal(wire.DATA_SPARSE, pair.request())
            for bit in range(len(datagram) * 8):
                forged = bytearray(datagram)
                forged[bit // 8] ^= 1 << bit % 8
                self.assertRaises(Drop, pair.gateway.receive, bytes(forged), "elsewhere", NOW)
            self.assertEqual((pair.gateway.delivered, pair.gateway.active.endpoint), ([], "home"))
            pair.gateway.receive(datagram, "home", NOW)
            self.assertEqual(len(pair.gateway.delivered), 1)

    def test_the_endpoint_moves_only_above_the_counters_of_both(self):
        for first, second in ((wire.DATA, wire.DATA_SPARSE), (wire.DATA_SPARSE, wire.DATA)):
            pair = SparsePair().up()
            keys = pair.client.keys.current
            early, late, last = (keys.seal(kind, pair.request()) for kind in (first, second, first))
            pair.gateway.receive(late, "train", NOW)
            self.assertEqual(pair.gateway.active.endpoint, "train")
            pair.gateway.receive(early, "attacker", NOW)
            self.assertEqual(pair.gateway.active.endpoint, "train")
            pair.gateway.receive(last, "bus", NOW)
            self.assertEqual(pair.gateway.active.endpoint, "bus")

    def test_reflected_and_of_another_key_is_dropped(self):
        pair = SparsePair().up()
        old = pair.client.keys.current.seal(wire.DATA_SPARSE, pair.request())
        self.drops("tag", pair.client.receive, old, NOW)
        pair.now += 1
        pair.up()
        self.drops("no key", pair.gateway.receive, old, "home", pair.now + 10)

    def test_what_is_inside_must_be_right_as_in_data(self):
        pair = SparsePair().up()
        keys, receive, delivered, packet = pair.sides()[0]
        for wrong, reason in ((packet + b"\0", "inner length"), (packet[:-1], "inner length"),
                              (b"\x45", "inner length"), (pair.request(source=PUSH["gateway4"]), "inner source")):
            datagram = keys.seal(wire.DATA_SPARSE, wrong)
            self.drops(reason, receive, datagram)
            self.drops("replay", receive, datagram)
        self.drops("length", receive, keys.seal(wire.DATA_SPARSE))
        self.assertEqual(delivered, [])


class Flows(Base):
    def test_pings_and_their_replies_are_marked_and_arrive(self):
        pair = SparsePair().up()
        pair.log.clear()
        self.assertTrue(pair.carries())
        self.assertEqual(pair.log, ["DATA_SPARSE", "DATA_SPARSE"])
        for side in (pair.client, pair.gateway):
            self.assertEqual((side.sparse.sent, side.sparse.received), (1, 1))

    def test_nothing_else_is_marked(self):
        pair = SparsePair().up()
        udp = bytearray(pair.request())
        udp[9] = 17
        self.assertEqual(pair.sent_up(bytes(udp)), ["DATA"])
        self.assertEqual(pair.sent_up(pair.request(bytes(sparse.SMALL))), ["DATA"])
        pair.client.keepalive(pair.now)
        pair.client.close(pair.now)
        self.assertEqual(kinds(pair.client.outbox), ["KEEPALIVE", "BYE"])

    def test_not_within_100_ms_of_one_of_the_flow_without_a_mark(self):
        pair = SparsePair().up()
        large = pair.request(bytes(1000))
        self.assertEqual(pair.sent_up(), ["DATA_SPARSE"])
        self.assertEqual(pair.sent_up(large), ["DATA"])
        for wait, expected in ((0.0, "DATA"), (0.09, "DATA"), (0.09, "DATA"), (0.11, "DATA_SPARSE"),
                               (0.0, "DATA_SPARSE")):
            pair.now += wait
            self.assertEqual(pair.sent_up(), [expected])
        self.assertEqual(pair.sent_up(large), ["DATA"])
        other = inner.echo_request(PUSH["address6"], PUSH["gateway6"], 1, 1)
        self.assertEqual(pair.sent_up(other), ["DATA_SPARSE"], "another flow")

    def test_what_is_known_of_flows_is_bounded(self):
        marker = sparse.Marker(sparse.CAPABILITIES)
        for number in range(3 * sparse.FLOWS):
            packet = inner.echo_request(PUSH["address4"] + number, PUSH["gateway4"], 1, 1, bytes(sparse.SMALL))
            self.assertEqual(marker.kind(packet, sparse.CAPABILITIES, NOW + number), wire.DATA)
        self.assertLessEqual(len(marker._unmarked), sparse.FLOWS)

    def test_it_confirms_a_handshake(self):
        pair = SparsePair()
        pair.client.connect(NOW)
        pair.gateway.receive(take(pair.client.outbox)[0], "home", NOW)
        pair.client.receive(take(pair.gateway.outbox)[0][0], NOW)
        pair.client.outbox.clear()
        self.assertTrue(pair.carries())
        self.assertEqual((pair.client.state, pair.log), ("UP", ["DATA_SPARSE", "DATA_SPARSE"]))


if __name__ == "__main__":
    unittest.main()
