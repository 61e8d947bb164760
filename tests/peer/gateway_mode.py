# SPDX-License-Identifier: Apache-2.0
"""`probe.py gateway`: the gateway for one real client at a UDP port, which answers the inner echo requests itself."""

import argparse
import base64
import ipaddress
import signal
import socket
import time

import inner
import wire
from shardtun_peer import Gateway, take
from tool import add_common, offered_suites, read_endpoint, read_key, say, sparse_figures
from wire import Drop


def run_gateway(options):
    """Serves one client until SIGTERM, SIGINT or the end of --seconds; a JSON line for each event, then totals."""
    push = {"address4": options.address4.ip, "prefix4": options.address4.network.prefixlen,
            "address6": options.address6.ip, "prefix6": options.address6.network.prefixlen,
            "gateway4": options.gateway4, "gateway6": options.gateway6,
            "dns": options.dns, "routes": options.route, "keepalive": options.keepalive,
            "rekey_interval": options.rekey_interval, "session_timeout": options.session_timeout}
    gateway = Gateway(options.static, options.client_key, options.psk_bytes, offered_suites(options), options.mtu, push,
                      demand_cookie=options.demand_cookie, capabilities=options.capabilities)
    family, kind, _, _, address = socket.getaddrinfo(*options.listen, type=socket.SOCK_DGRAM)[0]
    udp = socket.socket(family, kind)
    udp.bind(address)
    udp.settimeout(0.05)
    stopped = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.append(True))
    say(event="listening", port=udp.getsockname()[1], public_key=base64.b64encode(gateway.public).decode())
    drops, totals, known = {}, {"received": 0, "delivered": 0, "answered": 0}, None
    end = time.monotonic() + options.seconds if options.seconds else None
    while not stopped and (end is None or time.monotonic() < end):
        try:
            datagram, source = udp.recvfrom(65535)
            totals["received"] += 1
            gateway.receive(datagram, source, time.time())
            for packet in take(gateway.delivered):
                totals["delivered"] += 1
                reply = inner.answer_echo(packet, (options.gateway4, options.gateway6))
                if reply:
                    gateway.send(reply, time.time())
                    totals["answered"] += 1
        except TimeoutError:
            pass
        except Drop as drop:
            drops[str(drop)] = drops.get(str(drop), 0) + 1
        gateway.tick(time.time())
        known = report_session(gateway, known)
        send_all(udp, gateway)
    if gateway.active:
        gateway.end(time.time(), wire.RESTARTING)
        send_all(udp, gateway)
    say(event="end", **totals, sparse=sparse_figures(gateway), drops=drops)
    return 0


def send_all(udp, gateway):
    for datagram, target in take(gateway.outbox):
        try:
            udp.sendto(datagram, target)
        except OSError as error:  # a link that is down is the network's affair, as loss is
            say(event="send failed", error=str(error))


def report_session(gateway, known):
    """Says what changed about the session since `known`, and returns what is known now."""
    session = gateway.active
    keys = session.keys.current if session else None
    now = (session.session_id, keys.epoch, keys.suite, session.endpoint) if session else None
    if now != known:
        if now is None:
            say(event="ended", session=known[0])
        elif known is None or known[0] != now[0]:
            say(event="connected", session=now[0], epoch=now[1], suite=now[2], endpoint=list(now[3][:2]),
                mtu=session.mtu)
        elif known[1] != now[1]:
            say(event="rekeyed", session=now[0], epoch=now[1], suite=now[2])
        else:
            say(event="roamed", session=now[0], endpoint=list(now[3][:2]))
    return now


def parse_gateway(arguments):
    parser = argparse.ArgumentParser(prog="probe.py gateway", description=run_gateway.__doc__)
    parser.add_argument("--listen", required=True, type=read_endpoint, metavar="HOST:PORT")
    parser.add_argument("--client-key", required=True, type=read_key, metavar="BASE64")
    parser.add_argument("--seconds", type=float, help="stop after so long")
    parser.add_argument("--address4", type=ipaddress.IPv4Interface, default="10.8.0.2/16", help="the client's")
    parser.add_argument("--address6", type=ipaddress.IPv6Interface, default="fd00:8::2/64", help="the client's")
    parser.add_argument("--gateway4", type=ipaddress.IPv4Address, default="10.8.0.1")
    parser.add_argument("--gateway6", type=ipaddress.IPv6Address, default="fd00:8::1")
    parser.add_argument("--dns", type=ipaddress.ip_address, action="append", default=[])
    parser.add_argument("--route", type=ipaddress.ip_network, action="append", default=[])
    parser.add_argument("--keepalive", type=int, default=0)
    parser.add_argument("--rekey-interval", type=int, default=120)
    parser.add_argument("--session-timeout", type=int, default=180)
    parser.add_argument("--demand-cookie", action="store_true", help="answer each HELLO without mac2 with COOKIE")
    add_common(parser)
    return parser.parse_args(arguments), run_gateway
