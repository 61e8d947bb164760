#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A daemon in an intruder's hand on a control socket: fake_daemon.py SOCKET MODE [DIRECTORY [KEY]]. Modes: lies (answers in
the forms of ours, with texts that a terminal would obey, a directory and a key of its own), silent, drips, endless, deep,
many, circle (pages of sessions without end). Prints each request."""

import json
import os
import socket
import sys
import time

# OSC, CSI, C1 controls, a bell, line feeds, direction, no width, tags.
TEXT = "x\x1b]0;owned\x07\x1b[2J\x9b31m\x85\r\n\u202etxt.exe\u2066\u200b\ufeff\U000e0041\x7f"


def poisoned(value):
    """With the text in the place of each string, and in each list."""
    if isinstance(value, dict):
        return {key: poisoned(member) for key, member in value.items()}
    if isinstance(value, list):
        return [poisoned(member) for member in value]
    return TEXT if isinstance(value, str) else value


def lies(command, directory, key):
    session = {"id": "", "peer": "", "name": "", "addresses": [""], "endpoint": "", "state": "", "worker": 0, "epoch": 1,
               "connected_seconds": 1, "idle_seconds": 1, "rx_bytes": 1, "tx_bytes": 1}
    counters = {"udp_rx_packets": 1}
    answers = {
        "identity": {"public_key": key, "port": 6666, "endpoint": "evil.example:6666", "networks": ["0.0.0.0/0"],
                     "peers_directory": directory},
        "client": poisoned({"interface": "", "state": "", "host": "", "port": 1, "endpoint": "", "session": "", "suite": "",
                            "addresses": [""], "dns": {"servers": [""], "by": ""}, "whatever": {"a": ""}}),
        "status": {**poisoned({"role": "", "version": "", "interface": {"name": "", "addresses": [""]}, "listen": [""],
                               "suites": {"AES": ""}, "offloads": {"tun_tso": True}, "counters": counters, "extra": {"a": ""},
                               "threads": [{"name": "", "cpu": 0, "load": 1, "counters": counters}],
                               "drops": [{"direction": "", "reason": "", "text": "", "count": 1}]}), "role": "gateway"},
        "sessions": {"sessions": [poisoned(session)], "next": None},
        "top": {"sessions": [poisoned(session)], "ready": True},
        "kick": {"kicked": [TEXT]},
        "reload": {"needs_restart": [TEXT]},
        "peer": {"added": TEXT},
    }
    return answers.get(command)


def answer(connection, mode, command, directory, key):
    if mode == "silent":
        time.sleep(1000)
    elif mode == "drips":
        while True:
            connection.sendall(b" ")
            time.sleep(0.2)
    elif mode == "endless":
        while True:
            connection.sendall(b'{"ok":true,"result":"' + bytes(65536).replace(b"\0", b"x"))
    elif mode == "deep":
        connection.sendall(b'{"ok":true,"result":' + b"[" * 1000000)
    elif mode == "many":
        connection.sendall(b'{"ok":true,"result":[' + b"[]," * 4000000 + b"1]}\n")
    elif mode == "circle":
        first = int(command[2]) + 1 if command[0] == "sessions" else 0
        connection.sendall(json.dumps({"ok": True, "result": {"sessions": [], "next": first}}).encode() + b"\n")
    else:
        result = lies(command[0], directory, key)
        reply = {"ok": True, "result": result} if result is not None else {"ok": False, "error": TEXT}
        connection.sendall((json.dumps(reply) + "\n").encode())


def main(path, mode, directory="", key="A" * 43 + "="):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o666)
    listener.listen(8)
    print("listening", flush=True)
    while True:
        connection, _ = listener.accept()
        line = b""
        while not line.endswith(b"\n") and (got := connection.recv(4096)):
            line += got
        print("request:", line, flush=True)
        try:
            if line:
                answer(connection, mode, line.decode().split(), directory, key)
        except OSError:
            pass
        connection.close()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
