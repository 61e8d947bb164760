#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes inputs to begin with, in the form that the fuzzers take apart: seeds.py DIRECTORY (one folder for each fuzzer)."""

import base64
import json
import pathlib
import re
import struct
import sys

ROOT = pathlib.Path(__file__).parents[2]


def block(data):
    return struct.pack(">H", len(data)) + data


def ipv4(protocol, payload, number=1):
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), number, 0x4000, 64, protocol, 0,
                       bytes([10, 8, 0, 2]), bytes([198, 51, 100, 2])) + payload


def ipv6(protocol, payload):
    return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + bytes.fromhex(
        "fd000008000000000000000000000002" "20010db8000200000000000000000002") + payload


def tcp(sequence, flags, data, options=b""):
    return struct.pack(">HHIIBBHHH", 40000, 443, sequence, 1, (20 + len(options)) // 4 << 4, flags, 500, 0, 0) + options + data


def udp(data):
    return struct.pack(">HHHH", 40000, 53, 8 + len(data), 0) + data


def packets():
    def one(packet):
        return block(packet) + bytes([1]) + bytes([0x05, 0x00]) + bytes([0]) + bytes([0x05, 0x00, 0])

    for wrap in (lambda protocol, payload, number: ipv4(protocol, payload, number),
                 lambda protocol, payload, _: ipv6(protocol, payload)):
        yield b"".join(one(wrap(6, tcp(1 + 100 * i, 0x10, bytes(100)), i)) for i in range(8))
        yield b"".join(one(wrap(17, udp(bytes(64)), i)) for i in range(8))
        yield one(wrap(6, tcp(1, 0x02, b"", bytes([2, 4, 5, 180, 1, 1, 1, 0])), 1))
        yield one(wrap(1, b"\x08\0\0\0\0\1\0\1" + bytes(32), 1))


def frames():
    def header(kind, size, start, offset):
        return struct.pack("<BBHHHH", 1, kind, 0, size, start, offset)

    for longest in (1400, 600):
        for kind, packet, start in ((1, ipv4(6, tcp(1, 0x18, bytes(5000))), 20), (4, ipv6(6, tcp(1, 0x18, bytes(5000))), 40)):
            yield struct.pack(">H", longest) + header(kind, 1300, start, 16) + packet
        yield struct.pack(">H", longest) + header(5, 500, 20, 6) + ipv4(17, udp(bytes(3000)))
        yield struct.pack(">H", longest) + header(0, 0, 20, 16) + ipv4(6, tcp(1, 0x10, bytes(300)))


def messages():
    """All that the published exchange has as hexadecimal, payloads among it."""
    for line in (ROOT / "tests/vectors/protocol.txt").read_text().splitlines():
        found = re.fullmatch(r"\S+\s*[=:]?\s*([0-9a-f]{100,})", line.strip())
        if found and len(found[1]) % 2 == 0:
            yield bytes.fromhex(found[1])


def wireguard_messages():
    """Messages of the published exchange, then which one is changed and where."""
    text = (ROOT / "tests/vectors/wireguard.h").read_text()
    for name in ("initiation", "response", "cookie_reply", "data"):
        found = re.search(rf"\.{name} = ([^,]*),", text)
        yield bytes.fromhex("".join(re.findall(r"[0-9a-f]+", found[1])))
    for number, offsets in enumerate(((0, 4, 8, 40, 88, 116, 132), (4, 8, 12, 44, 60, 76), (4, 8, 32, 48), (4, 8, 16, 64))):
        yield bytes([number])
        for at in offsets:
            yield bytes([number, at, 1])


def configuration():
    for number, name in ((0, "gateway"), (1, "client")):
        text = (ROOT / f"config/examples/{name}.conf").read_text()
        yield bytes([number]) + text.encode()
        yield bytes([number]) + re.sub(r"(?m)^# ([A-Z]\w* = )", r"\1", text).encode()


def tunnel():
    packet = ipv4(17, udp(bytes(200)))
    yield bytes([2, 1, 4, 0]) + block(packet) + bytes([7, 1])
    yield bytes([6, 1, 1]) + block(packet) + bytes([6, 3, 1]) + block(packet + bytes(9)) + bytes([6, 2, 17]) + block(b"") + bytes([7, 1])
    yield bytes([6, 1, 1]) + block(packet) + bytes([0, 3, 40]) + block(bytes([4]) + bytes(79)) + bytes([0, 1, 0]) + block(bytes([1]) + bytes(147))
    yield bytes([3, 1, 4, 0]) + block(packet) + bytes([2, 1, 6, 0]) + block(b"") + bytes([2, 1, 5, 0]) + block(b"\0")
    yield bytes([0, 5, 40]) + block(bytes([0x14]) + bytes(79)) + bytes([4, 0]) + block(packet) + bytes([5, 0]) + block(packet)
    yield bytes([0, 0, 0]) + block(bytes([0x11]) + bytes(1199)) + bytes([1, 0, 0]) + block(bytes([0x12]) + bytes(200))


def handshakes():
    """What happens and a choice for each step, after whether clocks jump or the gateway restarts."""
    repeat = bytes([0, 0, 8, 1, 0, 2, 8, 3, 1, 4])
    restart, remove, add, change = bytes([3, 0]), bytes([3, 2]), bytes([3, 4]), bytes([4, 6])
    go_on, client = bytes([7, 40]), bytes([5, 0])
    for event in (restart, bytes([3, 8]), remove + add, change, client, remove + client + add):
        yield bytes([0]) + go_on + event + repeat + go_on + repeat
        yield bytes([0]) + repeat + event + repeat + event + repeat + go_on
    for jump in (0xff, 0xfd, 0x11):
        yield bytes([1]) + go_on + bytes([3, jump]) + client + go_on + repeat + bytes([3, jump ^ 2]) + client + repeat + go_on
        yield bytes([1]) + bytes([3, jump]) + client + bytes([6, 20]) + repeat + bytes([2, 0, 0x25, 0x80]) + go_on


def wireguard_gateway():
    """Steps of two bytes, what and for which client; an attack has two more, which message and how, and three for each edit."""
    begin = bytes([3, 0, 3, 1, 4, 30, 4, 0, 4, 61])
    replays = bytes([0, 0, 0, 0, 1, 0, 1, 0x20, 2, 0, 2, 0])
    for how in range(4):
        yield bytes([how]) + begin + replays
        yield bytes([how]) + begin + bytes([5, 7, 4, 3, 15, 200, 4, 1, 3, 0, 4, 6]) + replays
        yield bytes([how]) + begin + bytes([7, 20, 3, 0, 4, 9, 0xF6, 0, 3, 0, 4, 9]) + replays
    for at in (0, 1, 4, 8, 40, 90, 120, 140):
        yield bytes([0]) + begin + b"".join(bytes([0, 0, which, 1, 0, at, 1]) for which in range(4))


def control():
    """A choice for each step (which of four connections, an end of line, time), and what is sent."""
    def ask(text, choice=0x24):
        return bytes([choice]) + block(text.encode())

    key = "A" * 42 + "E="
    for text in ("help", "sessions --from 0 --count 10 --state active", "sessions --address 10.8.0.7", "top --sort rx --count 5",
                 "kick 00000001", f"kick {key}", f"peer add {key} --name bob --address 10.8.0.9 --allowed-ips 10.9.0.0/16",
                 f"peer add {key} --psk {key}", f"peer del {key}", f"peer add {key} --quota 64K/day --quota-rate 8K", "quota reset bob", "identity", "nothing of this", ""):
        yield ask(text)
        yield ask(text[:3], 0x00) + ask(text[3:], 0x05) + ask("help", 0x46) + ask(text, 0x17)


KEYS = ["A" * 42 + "E=", "B" * 42 + "A=", "C" * 42 + "A="]


def wireguard_import():
    """Files of servers, with all keys that there are."""
    interface = f"[Interface]\nPrivateKey = {KEYS[0]}\nAddress = 10.8.0.1/24, fd00:8::1/64\nListenPort = 51820\nMTU = 1420\n"
    rest = "FwMark = 0x51\nTable = off\nDNS = 10.8.0.1\nSaveConfig = true\nPreUp = x\nPostUp = iptables MASQUERADE\nPreDown = y\nPostDown = z # c\n"
    peer = f"[Peer]\nPublicKey = {KEYS[1]}\nPresharedKey = {KEYS[2]}\nAllowedIPs = 10.8.0.10/32, fd00:8::%s/128, 192.168.7.0/24\n"
    for text in (interface, interface + rest, interface + peer % "a", interface + peer % "10" + "Endpoint = [2001:db8::1]:7\nPersistentKeepalive = 25\n"):
        yield text.encode()


def wireguard_set():
    """Lines of a request."""
    hexes = [base64.b64decode(key).hex() for key in KEYS]
    yield f"public_key={hexes[1]}\npreshared_key={hexes[0]}\nreplace_allowed_ips=true\nallowed_ip=10.8.0.9/32\nallowed_ip=10.9.0.0/16\n".encode()
    yield f"public_key={hexes[0]}\nallowed_ip=10.8.0.9/32\nallowed_ip=-fd00::/64\nendpoint=[::1]:5\npersistent_keepalive_interval=25\n".encode()
    yield f"public_key={hexes[1]}\nremove=true\npublic_key={hexes[2]}\nupdate_only=true\nallowed_ip=192.168.7.0/24\n".encode()
    yield f"listen_port=5555\nfwmark=0\nreplace_peers=true\npublic_key={hexes[0]}\nprotocol_version=1\n".encode()


def answers():
    """Which of the printers, and an answer."""
    counters = {"udp_rx_packets": 7, "udp_rx_bytes": 900, "udp_rx_calls": 2}
    status = {"role": "gateway", "version": "0.1", "uptime_seconds": 90000, "interface": {"name": "t", "mtu": 1420, "addresses": ["10.8.0.1/16"], "tx_dropped": 4},
              "listen": ["[::]:5555"], "sessions": {"active": 1, "max": 10}, "pool": {"used": 1, "size": 9}, "suites": {"AES": "x"},
              "offloads": {"tun_tso": True, "udp_gso": False}, "udp": {"receive_buffer": 1, "wanted_buffer": 2, "queue_overflows": 3},
              "counters": counters, "system_calls": 3, "packets_carried": 9, "extra": {"a": [1, "b"], "c": "d"},
              "threads": [{"name": "worker 0", "cpu": 1, "load": 0.5, "counters": counters, "drops_uplink": 1}],
              "drops": [{"direction": "up", "reason": "r", "text": "why", "count": 2}]}
    session = {"id": "00000001", "peer": "k", "name": "n", "addresses": ["10.8.0.7"], "endpoint": "e", "state": "active", "worker": 0,
               "connected_seconds": 99999, "idle_seconds": None, "rx_bytes": 1 << 40, "rx_bits_per_second": 12345}
    stages = {"uptime_seconds": 5, "tsc_hz": 1e9, "tsc_invariant": True, "sampling": 1, "sub_bits": 5,
              "stages": [{"stage": "open", "unit": "packet", "count": 2, "share": 0.5, "buckets": [[40, 2]], "cycles": {"sum": 80, "max": 40}}]}
    client = {"interface": "t", "state": "connected", "host": "h", "port": 1, "endpoint": "e", "session": "s", "suite": "c", "mtu": 1,
              "addresses": ["a"], "connected_seconds": 4, "dns": {"servers": ["1.1.1.1"], "by": "x", "all_names": True}, "kill_switch": True}
    results = (status, stages, [status, status, {"sessions": [session], "ready": True}], {"public_key": "k", "port": 1, "networks": ["n"]},
               {"kicked": ["1"]}, {"added": "k"}, {"added": 1, "needs_restart": ["MTU"]}, client, stages, {"any": "\x1b\u202e"})
    for number, result in enumerate(results):
        yield bytes([number]) + json.dumps({"ok": True, "result": result}).encode() + b"\n"
    # Lines and cells that are cut between characters.
    wide = dict(status, interface={"name": "\u00e9" * 200}, threads=[dict(status["threads"][0], name="x" + "\u00e9" * 20)])
    yield b"\2" + json.dumps({"result": [wide, wide, {"sessions": [dict(session, name="\u20ac" * 60)], "ready": True}]}).encode()
    yield b"\0" + json.dumps({"ok": False, "error": "\x1b[2J"}).encode()


def note():
    yield (b'{"pid":7,"interface":"shardtun0","route_rank":2,"route_table":21845,"kill_switch":true,"firewall":true,"post_up":true,'
           b'"dns":"resolvectl","endpoints":["::ffff:192.0.2.1","2001:db8::1"]}')
    yield b'{"route_table":254}{"route_table":'


def quota():
    def line(key, period, number, clock, used):
        return b"%s %-5s %08d %08d %020d\n" % (key, period, number, clock, used)

    key = b"A" * 42 + b"E="
    header = b"# shardtun".ljust(89) + b"\n"
    week = line(key, b"week", 2965, 2965, 1 << 40)
    yield header + week + line(b"B" * 42 + b"E=", b"month", 682, 0, 0)
    yield header + b"#".ljust(89) + b"\n" + week + line(key, b"day", 1, 2, (1 << 64) - 1) + week[:50]


def resolv_conf():
    ours = b"# Written by shardtun for shardtun0; what was there before "
    yield b"nameserver 192.0.2.53\nnameserver fe80::1%eth0\nsearch a.example b.example\noptions ndots:2 edns0"
    yield b"domain example\nsortlist 192.0.2.0/24\nnameserver 127.0.0.53\n\n# end\n"
    yield ours + b"follows as comments\n#former: nameserver 192.0.2.1\n#former, no newline: search x\nnameserver 10.8.0.1\n"
    yield ours + b"is in /etc/resolv.conf.shardtun-saved\nnameserver 10.8.0.1\n"
    yield ours.replace(b"shardtun0", b"wan7") + b"follows as comments\n"


def http():
    """A choice for each step (which of four connections, its end), and what is sent."""
    def ask(text, choice=0):
        return bytes([choice]) + block(text.replace("\n", "\r\n").encode())

    yield ask("GET / HTTP/1.1\nHost: gateway\n\n")
    yield ask("GET /metrics HTTP/1.1\nHost: [::1]:9586\n\nHEAD / HTTP/1.0\n\n", 0x10)
    yield ask("GET /nothing HTTP/1.1\nHost: evil.example\n", 0x01) + ask("Connection: close\n\n", 0x02) + ask("\n", 0x41)
    yield ask("POST / HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n")
    yield ask("GET / HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 5\nExpect: 100-continue\n\n", 0x23) + ask("hello", 0x13)
    yield b"127.0.0.1:9586"
    yield b"[fe80::1]:80"


def netlink():
    """What is asked, and what the kernel says, a block for each datagram."""
    def attribute(kind, data):
        return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)

    def message(kind, body, flags=2):
        return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body

    number = struct.Struct("=I").pack
    link = struct.pack("=BBHiII", 0, 0, 1, 7, 1, 0) + attribute(3, b"shardtun0\0") + attribute(4, number(1420))
    address = struct.pack("=BBBBI", 2, 24, 0, 0, 7) + attribute(1, bytes([192, 0, 2, 1])) + attribute(2, bytes([192, 0, 2, 1]))
    metrics = attribute(8 | 0x8000, attribute(2, number(1400))) + attribute(12, bytes(32))
    def route(protocol):
        return (struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, protocol, 253, 1, 0) + attribute(1, bytes([192, 0, 2, 0])) +
                attribute(4, number(7)) + attribute(5, bytes([192, 0, 2, 9])) + attribute(6, number(100)) + attribute(7, bytes([192, 0, 2, 1])) +
                attribute(15, number(21845)) + metrics)
    rule = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 0, 0, 0, 1, 2) + attribute(6, number(9)) + attribute(10, number(1)) + \
        attribute(15, number(21845)) + attribute(16, number(255))
    refusal = message(2, struct.pack("=i", -1) + bytes(16) + attribute(1, b"no\0"), 0x302)
    # What was found once: an error that is none, an echoed request of no length, a message longer than 2 GB.
    yield b"\0" + block(message(2, struct.pack("=i", -1 << 31) + bytes(16)))
    yield b"\0" + block(message(2, struct.pack("=iI", -1, 1 << 31) + bytes(12) + attribute(1, b"no\0"), 0x200))
    for what in (b"\2", b"\x80"):
        yield what + block(struct.pack("=IHHII", 0xc0000000, 20, 2, 0, 0) + bytes(100))
    done = message(3, bytes(4))
    ack = message(2, bytes(20), 0x100)
    for what, answer in ((0, link), (2, address), (4, route(2)), (6, route(2)), (8, route(2)), (10, rule), (12, route(4)), (14, link)):
        kind = {0: 16, 2: 20, 10: 32, 14: 16}.get(what, 24)
        for family in (0, 1):
            yield bytes([what | family]) + block(message(kind, answer) * 2 + ack)
            yield bytes([what | family]) + block(message(kind, answer) * 2 + done) + block(ack) + block(done)
            yield bytes([what | family]) + block(refusal)
    yield b"\x80" + b"".join(block(message(kind, body)) for kind, body in
                             ((16, link), (17, link), (20, address), (24, route(2)), (25, route(4)), (32, rule), (80, link)))


def handover():
    """Where the records are cut off, and changes: a place and a byte."""
    yield bytes(1)
    yield b"\1" + struct.pack(">H", 1000)
    for place in range(0, 20000, 97):
        yield b"\0" + struct.pack(">HB", place, 1) + struct.pack(">HB", place + 8, 255)


def main(directory):
    for make in (packets, frames, messages, wireguard_messages, configuration, tunnel, handshakes, control, answers, note, quota, resolv_conf, http, netlink,
                 wireguard_gateway, wireguard_import, wireguard_set, handover):
        folder = pathlib.Path(directory, make.__name__)
        folder.mkdir(parents=True, exist_ok=True)
        inputs = list(make())
        assert inputs, make.__name__
        for number, data in enumerate(inputs):
            (folder / f"seed-{number}").write_bytes(data)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
