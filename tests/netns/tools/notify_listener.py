#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for the service manager: prints what comes to a notification socket, a word a line, and times of arrival.

Usage: notify_listener.py PATH|@NAME
"""
import os
import socket
import sys
import time

name = sys.argv[1]
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind("\0" + name[1:] if name[0] == "@" else name)
if name[0] != "@":
    os.chmod(name, 0o777)
print("listening", flush=True)
while True:
    message = listener.recv(4096).decode()
    for line in message.split("\n"):
        print(f"{time.monotonic():.2f} {line}", flush=True)
