#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A name server and a web server in one, and who visits them.

web.py serve ADDRESS...     serves www.example.net, which has these addresses; prints "ready"
web.py visit 4|6 SECONDS    looks the name up by way of /etc/resolv.conf and prints the page, got in that family
"""
import http.client
import ipaddress
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = "www.example.net"
TYPES = {1: 4, 28: 6}  # A, AAAA -> IP version


def answer(query, addresses):
    """To one DNS query: RFC 1035, 4.1. Names that we do not have do not exist."""
    name, at = [], 12
    while query[at]:
        name.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    question = query[12:at + 5]
    version = TYPES.get(struct.unpack_from("!H", query, at + 1)[0])
    known = ".".join(name).lower() == NAME
    records = [b"\xc0\x0c" + question[-4:] + struct.pack("!IH", 60, len(a.packed)) + a.packed
               for a in addresses if known and a.version == version]
    flags = 0x8580 | (0 if known else 3)
    return query[:2] + struct.pack("!5H", flags, 1, len(records), 0, 0) + question + b"".join(records)


def serve_names(addresses):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.bind(("::", 53))
        while True:
            query, client = server.recvfrom(512)
            try:
                server.sendto(answer(query, addresses), client)
            except (IndexError, struct.error, UnicodeDecodeError, OSError):
                pass  # nonsense, or no way back


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        visitor = ipaddress.ip_address(self.client_address[0])
        body = f"Hello {visitor.ipv4_mapped or visitor}, this is {self.headers['Host']}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6


def serve(addresses):
    threading.Thread(target=serve_names, args=([ipaddress.ip_address(a) for a in addresses],), daemon=True).start()
    with Server(("::", 80), Page) as server:
        print("ready", flush=True)
        server.serve_forever()


def visit(version, seconds):
    family = {"4": socket.AF_INET, "6": socket.AF_INET6}[version]
    try:
        address = socket.getaddrinfo(NAME, 80, family, socket.SOCK_STREAM)[0][4][0]
        connection = http.client.HTTPConnection(address, 80, timeout=float(seconds))
        connection.request("GET", "/", headers={"Host": NAME})
        print(connection.getresponse().read().decode(), end="")
    except OSError as error:
        sys.exit(f"{NAME}: {error}")


if __name__ == "__main__":
    {"serve": lambda *a: serve(a), "visit": visit}[sys.argv[1]](*sys.argv[2:])
