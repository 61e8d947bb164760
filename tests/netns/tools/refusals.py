#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sends well-formed HELLOs, each with a key that nobody knows, slowly enough for the gateway to look at each.

    refusals.py ADDRESS:PORT GATEWAY_KEY COUNT
"""

import base64
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "peer"))

from shardtun_peer import Client, take  # noqa: E402

address, port = sys.argv[1].rsplit(":", 1)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect((address, int(port)))
for _ in range(int(sys.argv[3])):
    client = Client(os.urandom(32), base64.b64decode(sys.argv[2]))
    client.connect(time.time())
    for datagram in take(client.outbox):
        udp.send(datagram)
    time.sleep(0.002)
