#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Traffic whose content is checked, both ways, over IPv4 or IPv6.

    traffic.py serve                          answers all of these, until it is stopped
    traffic.py tcp ADDRESS BYTES              so many bytes there, then back; SHA-256 over each
    traffic.py udp ADDRESS SIZE...            datagrams of these payload sizes, or ranges (0-1392), one at a time
    traffic.py gso ADDRESS SEGMENT COUNT N    N super-datagrams (UDP_SEGMENT) of COUNT segments there and back
    traffic.py quic ADDRESS SEGMENT COUNT N   the same as QUIC sends them: DF, and a socket that is not connected
    traffic.py loose ADDRESS SEGMENT COUNT N PID    as quic, but datagram by datagram: each has ID 0. The process is stopped
                                              meanwhile, so that it finds all of them at once
    traffic.py raw ADDRESS SIZE...            IP protocol 253, which is for experiments
    traffic.py flow ADDRESS                   one TCP connection that is never idle, until SIGTERM; at SIGUSR1
                                              it says "alive" once the next answer came

Several follow each other with a + between them: traffic.py udp ADDRESS 0-9 + tcp ADDRESS 1000. Each prints one line;
the exit status is 1 when anything is missing or changed, and then the rest is left out. Datagrams may be lost on a busy machine, so
they are sent again some times; one that comes back changed fails at once.
"""

import hashlib
import itertools
import os
import selectors
import signal
import socket
import struct
import sys
import threading
import time
import zlib

TCP_PORT, UDP_PORT, GSO_PORT, FLOW_PORT, PROTOCOL = 7001, 7002, 7003, 7004, 253
UDP_SEGMENT = 103
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
CHUNK = 1 << 16
TRIES, PATIENCE = 20, 1.0  # of a datagram, and seconds for each
SEGMENT_HEADER = struct.Struct(">IHHI")  # train, index, count, CRC-32 of the rest
ASK, ANSWER = b"?", b"!"  # a raw socket hears what its own side sends as well


class Wrong(Exception):
    pass


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def connect(address, port, patience=30):
    connection = socket.create_connection((address, port), patience)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def receive_exactly(connection, size):
    parts = []
    while size:
        part = connection.recv(min(size, CHUNK))
        if not part:
            raise Wrong("the connection ended early")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def send_hashed(connection, size):
    """`size` random bytes and their digest."""
    digest = hashlib.sha256()
    while size:
        part = os.urandom(min(size, CHUNK))
        digest.update(part)
        connection.sendall(part)
        size -= len(part)
    connection.sendall(digest.digest())


def receive_hashed(connection, size):
    """Whether `size` bytes and their digest came."""
    digest = hashlib.sha256()
    while size:
        part = connection.recv(min(size, CHUNK))
        if not part:
            return False
        digest.update(part)
        size -= len(part)
    return receive_exactly(connection, 32) == digest.digest()


# --- the server


def serve_transfer(connection):
    size = int.from_bytes(receive_exactly(connection, 8), "big")
    connection.sendall(b"Y" if receive_hashed(connection, size) else b"N")
    send_hashed(connection, size)


def serve_flow(connection):
    while True:
        connection.sendall(receive_exactly(connection, 256))


def accept(listener, serve):
    def run(connection):
        with connection:
            try:
                serve(connection)
            except (Wrong, OSError):
                pass  # the other side tells

    while True:
        threading.Thread(target=run, args=(listener.accept()[0],), daemon=True).start()


def echo_datagram(udp):
    data, source = udp.recvfrom(65535)
    udp.sendto(data, source)


def echo_raw(raw):
    data, source = raw.recvfrom(65535)
    if raw.family == socket.AF_INET:
        data = data[(data[0] & 15) * 4 :]
    if data[:1] == ASK:
        raw.sendto(ANSWER + data[1:], (source[0], 0))


def train_echo():
    """A function that sends each train back as one super-datagram once all of it came."""
    trains = {}

    def echo(udp):
        data, source = udp.recvfrom(65535)
        train, index, count, _ = SEGMENT_HEADER.unpack_from(data)
        parts = trains.setdefault((source, train), {})
        parts[index] = data
        if len(parts) == count:
            send_train(udp, [parts[i] for i in range(count)], source)
            parts.clear()
        if len(trains) > 256:
            trains.clear()

    return echo


def serve():
    for port, server in ((TCP_PORT, serve_transfer), (FLOW_PORT, serve_flow)):
        listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        threading.Thread(target=accept, args=(listener, server), daemon=True).start()
    selector = selectors.DefaultSelector()
    for port, echo in ((UDP_PORT, echo_datagram), (GSO_PORT, train_echo())):
        udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        udp.bind(("::", port))
        selector.register(udp, selectors.EVENT_READ, echo)
    for family in (socket.AF_INET, socket.AF_INET6):
        selector.register(socket.socket(family, socket.SOCK_RAW, PROTOCOL), selectors.EVENT_READ, echo_raw)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            try:
                key.data(key.fileobj)
            except OSError as error:
                print(error, flush=True)


# --- the clients


def tcp(address, size):
    with connect(address, TCP_PORT, 60) as connection:
        connection.sendall(int(size).to_bytes(8, "big"))
        send_hashed(connection, int(size))
        if receive_exactly(connection, 1) != b"Y":
            raise Wrong("what came there was changed")
        if not receive_hashed(connection, int(size)):
            raise Wrong("what came back was changed")
    return f"{size} bytes there and back"


def sizes_of(texts):
    for text in texts:
        first, _, last = text.partition("-")
        yield from range(int(first), int(last or first) + 1)


def ask(send, receive, request, answers_before):
    """Sends until the answer, which is the request's bytes, came. Late answers to earlier requests are passed over."""
    for tries in range(TRIES):
        send(request)
        end = time.monotonic() + PATIENCE
        while (left := end - time.monotonic()) > 0:
            answer = receive(left)
            if answer == request:
                return tries
            if answer is not None and zlib.crc32(answer) not in answers_before:
                raise Wrong(f"{len(request)} bytes came back as {len(answer)} that were never sent")
    raise Wrong(f"{len(request)} bytes: no answer to {TRIES} tries")


def receive_within(sock, seconds):
    sock.settimeout(seconds)
    try:
        return sock.recv(65535)
    except TimeoutError:
        return None


def udp(address, *sizes):
    sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    sock.connect((address, UDP_PORT))
    count, again, before = 0, 0, set()
    for size in sizes_of(sizes):
        request = os.urandom(size)
        again += ask(sock.send, lambda left: receive_within(sock, left), request, before)
        before.add(zlib.crc32(request))
        count += 1
    return f"{count} datagrams, {again} sent again"


def raw(address, *sizes):
    sock = socket.socket(family_of(address), socket.SOCK_RAW, PROTOCOL)
    sock.connect((address, 0))

    def receive(seconds):
        data = receive_within(sock, seconds)
        if data is None:
            return None
        data = data[(data[0] & 15) * 4 :] if sock.family == socket.AF_INET else data
        return ASK + data[1:] if data[:1] == ANSWER else None

    count, again, before = 0, 0, set()
    for size in sizes_of(sizes):
        request = ASK + os.urandom(size - 1)
        again += ask(sock.send, receive, request, before)
        before.add(zlib.crc32(request))
        count += 1
    return f"{count} packets, {again} sent again"


def make_segment(train, index, count, size):
    body = os.urandom(size - SEGMENT_HEADER.size)
    return SEGMENT_HEADER.pack(train, index, count, zlib.crc32(body)) + body


def send_train(sock, parts, *target):
    control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("@H", len(parts[0])))]
    sock.sendmsg([b"".join(parts)], control, 0, *target)


def round_trip(sock, send, parts):
    """Whether the whole train came back in time."""
    send(parts)
    missing = dict(enumerate(parts))
    end = time.monotonic() + PATIENCE
    while missing and (left := end - time.monotonic()) > 0:
        data = receive_within(sock, left)
        if data is None:
            break
        train, index, _, checksum = SEGMENT_HEADER.unpack_from(data)
        if zlib.crc32(data[SEGMENT_HEADER.size :]) != checksum:
            raise Wrong(f"segment {index} of train {train} was changed")
        if parts[0][:4] == data[:4] and missing.pop(index, data) != data:
            raise Wrong(f"segment {index} of train {train} is another one")
    return not missing


def send_trains(sock, send, segment, count, trains):
    segment, count = int(segment), int(count)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    again = 0
    for train in range(int(trains)):
        # Every other one ends with a shorter datagram.
        last = segment - train % 2 * (segment - SEGMENT_HEADER.size - 1)
        for tries in itertools.count():
            number = train * TRIES + tries
            parts = [make_segment(number, i, count, segment if i < count - 1 else last) for i in range(count)]
            if round_trip(sock, send, parts):
                break
            again += 1
            if tries + 1 == TRIES:
                raise Wrong(f"a train of {count} x {segment} bytes did not come back in {TRIES} tries")
    return f"{trains} trains of {count} x {segment}, {again} sent again"


def gso(address, segment, count, trains):
    sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    sock.connect((address, GSO_PORT))
    return send_trains(sock, lambda parts: send_train(sock, parts), segment, count, trains)


def quic_socket():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    return sock


def quic(address, segment, count, trains):
    sock, target = quic_socket(), (address, GSO_PORT)
    return send_trains(sock, lambda parts: send_train(sock, parts, target), segment, count, trains)


def loose(address, segment, count, trains, process):
    sock, target = quic_socket(), (address, GSO_PORT)

    def send(parts):
        os.kill(int(process), signal.SIGSTOP)
        try:
            for part in parts:
                sock.sendto(part, target)
        finally:
            os.kill(int(process), signal.SIGCONT)

    return send_trains(sock, send, segment, count, trains)


def flow(address):
    stop, asked = [], []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    signal.signal(signal.SIGUSR1, lambda *_: asked.append(True))
    count, longest, last = 0, 0.0, time.monotonic()
    with connect(address, FLOW_PORT) as connection:
        connection.settimeout(60)
        print("flows", flush=True)
        while not stop:
            request = os.urandom(256)
            connection.sendall(request)
            if receive_exactly(connection, len(request)) != request:
                raise Wrong("what came back was changed")
            if asked:
                asked.clear()
                print("alive", flush=True)
            count += 1
            now = time.monotonic()
            longest, last = max(longest, now - last), now
            time.sleep(0.01)
    return f"{count} round trips, the longest took {longest:.1f} s"


COMMANDS = {"serve": serve, "tcp": tcp, "udp": udp, "gso": gso, "quic": quic, "loose": loose, "raw": raw, "flow": flow}


def main(arguments):
    commands = [list(group) for plus, group in itertools.groupby(arguments, lambda word: word == "+") if not plus]
    if not commands or any(command[0] not in COMMANDS for command in commands):
        sys.exit(__doc__)
    for command in commands:
        try:
            print(COMMANDS[command[0]](*command[1:]))
        except (Wrong, OSError) as error:
            sys.exit(f"traffic.py {' '.join(command)}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
