#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stands between two gateways of a take-over, and runs a command before the new one's second message goes on.

takeover_relay.py SOCKET COMMAND...   where the running gateway listens; one take-over, then the socket is as before
"""
import os
import socket
import subprocess
import sys

BYTES, DESCRIPTORS = 1 << 16, 253


def pass_on(source, target):
    """One message; False: the other end is closed."""
    data, fds, _, _ = socket.recv_fds(source, BYTES, DESCRIPTORS)
    if not data:
        return False
    socket.send_fds(target, [data], fds)
    for fd in fds:
        os.close(fd)
    return True


def main():
    path, command = sys.argv[1], sys.argv[2:]
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.rename(path, path + ".real")
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    new, _ = listener.accept()
    old = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    old.connect(path + ".real")
    os.rename(path + ".real", path)
    pass_on(new, old)
    pass_on(old, new)
    new.recv(1, socket.MSG_PEEK)
    subprocess.run(command, check=True)
    pass_on(new, old)
    while pass_on(old, new):
        pass


main()
