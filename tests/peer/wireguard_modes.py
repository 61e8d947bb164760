# SPDX-License-Identifier: Apache-2.0
"""The modes of wireguard_probe.py that are no initiator: `responder`, which answers echo requests, and `flood`."""

import argparse
import ipaddress
import os
import signal
import socket
import struct
import time

import inner
import wireguard as wg
from tool import read_endpoint, read_key, say
from wire import Drop
from wireguard_peer import Peer

UDP_SEGMENT = 103
TRAIN = 60


def bound_socket(endpoint):
    family, kind, _, _, address = socket.getaddrinfo(*endpoint, type=socket.SOCK_DGRAM)[0]
    udp = socket.socket(family, kind)
    udp.bind(address)
    udp.settimeout(0.05)
    return udp


def run_responder(options):
    """Serves one peer until SIGTERM, SIGINT or the end of --seconds; a JSON line for each event, then totals.

    SIGUSR1 starts a handshake from this side; SIGUSR2 switches between being under load and not.
    """
    peer = Peer(options.static, options.peer_key, options.psk_bytes, mtu=options.mtu, allowed=options.allowed,
                under_load=options.under_load)
    udp = bound_socket(options.listen)
    stopped = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.append(True))
    initiations = []
    signal.signal(signal.SIGUSR1, lambda *_: initiations.append(True))
    signal.signal(signal.SIGUSR2, lambda *_: setattr(peer, "under_load", not peer.under_load))
    say(event="listening", port=udp.getsockname()[1])
    drops, totals = {}, {"received": 0, "delivered": 0, "answered": 0}
    end = time.monotonic() + options.seconds if options.seconds else None
    while not stopped and (end is None or time.monotonic() < end):
        try:
            if initiations:
                initiations.clear()
                peer.initiate(time.time())
            datagram, source = udp.recvfrom(65535)
            totals["received"] += 1
            peer.receive(datagram, source[:2], time.time())
        except TimeoutError:
            pass
        except Drop as drop:
            drops[str(drop)] = drops.get(str(drop), 0) + 1
        answer(peer, options.address, totals)
        peer.tick(time.time())
        flush(udp, peer)
    say(event="end", **totals, keepalives=peer.keepalives_received, drops=drops)
    return 0


def answer(peer, own, totals):
    for packet in peer.delivered:
        totals["delivered"] += 1
        reply = inner.answer_echo(packet, own)
        if reply:
            peer.send(reply, time.time())
            totals["answered"] += 1
    peer.delivered.clear()


def flush(udp, peer):
    for datagram, target in peer.outbox:
        try:
            udp.sendto(datagram, target)
        except OSError as error:  # a link that is down is the network's affair, as loss is
            say(event="send failed", error=str(error))
    peer.outbox.clear()
    for event in peer.events:
        say(**event)
    peer.events.clear()


def parse_responder(arguments):
    parser = argparse.ArgumentParser(prog="wireguard_probe.py responder", description=run_responder.__doc__)
    parser.add_argument("--listen", required=True, type=read_endpoint, metavar="HOST:PORT")
    parser.add_argument("--key", required=True, metavar="FILE", help="own private key, base64")
    parser.add_argument("--peer-key", required=True, type=read_key, metavar="BASE64")
    parser.add_argument("--psk", metavar="FILE", help="pre-shared key, base64")
    parser.add_argument("--address", required=True, type=ipaddress.ip_address, action="append",
                        help="own inner address, which answers; repeatable")
    parser.add_argument("--allowed", type=ipaddress.ip_network, action="append", metavar="NETWORK",
                        help="inner sources of the other side; repeatable; else all")
    parser.add_argument("--mtu", type=int, default=1420)
    parser.add_argument("--under-load", action="store_true", help="answer what has no mac2 with a cookie reply")
    parser.add_argument("--seconds", type=float, help="stop after so long")
    parser.set_defaults(allowed=None)
    options = parser.parse_args(arguments)
    options.allowed = options.allowed or [ipaddress.ip_network(every) for every in ("0.0.0.0/0", "::/0")]
    return options, run_responder


def run_flood(options):
    """Initiations of no peer, in bursts. Their mac1 is right: each costs the other side a DH, unless it is under load, or a
    cookie reply. What it answers is not read.
    """
    family, kind, _, _, address = socket.getaddrinfo(*options.endpoint, type=socket.SOCK_DGRAM)[0]
    udp = socket.socket(family, kind)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    udp.connect(address)
    size = wg.SIZES[wg.INITIATION]
    control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("@H", size))]
    trains = [b"".join(wg.add_macs(wg.header(wg.INITIATION) + os.urandom(112), options.peer_key) for _ in range(TRAIN))
              for _ in range(8)]
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    sent, start, end = 0, time.monotonic(), time.monotonic() + options.seconds
    while not stopped and time.monotonic() < end:
        for number in range(options.burst // TRAIN):
            try:
                udp.sendmsg([trains[number % len(trains)]], control)
                sent += TRAIN
            except ConnectionRefusedError:
                pass
        time.sleep(options.interval)
    say(event="flooded", initiations=sent, seconds=round(time.monotonic() - start, 1))
    return 0


def parse_flood(arguments):
    parser = argparse.ArgumentParser(prog="wireguard_probe.py flood", description=run_flood.__doc__)
    parser.add_argument("--endpoint", required=True, type=read_endpoint, metavar="HOST:PORT")
    parser.add_argument("--peer-key", required=True, type=read_key, metavar="BASE64")
    parser.add_argument("--burst", type=int, default=600, help="initiations at once, in trains of 60")
    parser.add_argument("--interval", type=float, default=0.25, help="seconds between bursts")
    parser.add_argument("--seconds", type=float, default=30.0)
    return parser.parse_args(arguments), run_flood
