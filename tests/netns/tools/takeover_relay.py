#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stands between two gateways of a take-over, and runs a command before the new one's second message goes on, or changes what the
old one gives.

takeover_relay.py SOCKET COMMAND...        where the running gateway listens; one take-over, then the socket is as before
takeover_relay.py SOCKET --last COMMAND... before the new one's third message instead, after which the old one stands still
takeover_relay.py SOCKET --change CHANGE   of the memory with the records: byte (one of it), half (of it, sealed), unsealed (all of it,
                                           not sealed); of the descriptors: pipe (instead of a socket of the group), port (one of
                                           another port)
"""
import fcntl
import mmap
import os
import select
import socket
import subprocess
import sys

BYTES, DESCRIPTORS = 1 << 16, 253
NAMES, NAME = 24, 64  # of a message with descriptors: where they begin, and the size of each
MEMORY = "shardtun hand-over"
USED = 16  # where its head says how long the first part is


def memory(content, sealed):
    fd = os.memfd_create(MEMORY, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    if sealed:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def change_memory(change, fd):
    size = os.fstat(fd).st_size
    with mmap.mmap(fd, size) as content:
        used = int.from_bytes(content[USED : USED + 8], sys.byteorder)
        if change == "byte":
            content[used // 2] ^= 1
            return fd
        return memory(content[: used // 2 if change == "half" else size], change == "half")


def other_socket():
    other = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    other.bind(("::", 0))
    return other.detach()


def changed(change, data, fds):
    """Its descriptors."""
    if len(fds) == 1 and MEMORY in os.readlink(f"/proc/self/fd/{fds[0]}"):
        return [change_memory(change, fds[0])] if change in ("byte", "half", "unsealed") else fds
    names = [data[at : at + NAME].partition(b"\0")[0] for at in range(NAMES, NAMES + NAME * len(fds), NAME)]
    if b"udp.0.0" not in names:
        return fds
    if change == "pipe":
        fds[names.index(b"udp.0.0")] = os.pipe()[0]
    elif change == "port":
        fds[names.index(b"udp.0.0")] = other_socket()
    return fds


def pass_on(source, target, change=None):
    """One message; False: the other end is closed."""
    data, fds, _, _ = socket.recv_fds(source, BYTES, DESCRIPTORS)
    if not data:
        return False
    if change:
        fds = changed(change, data, fds)
    socket.send_fds(target, [data], fds)
    for fd in fds:
        os.close(fd)
    return True


def both(old, new, change):
    """What either says; False: one of them is gone, and the other one sees that."""
    ready = select.select([old, new], [], [])[0]
    try:
        return (old not in ready or pass_on(old, new, change)) and (new not in ready or pass_on(new, old))
    except OSError:
        return False


def main():
    path, command, change, messages = sys.argv[1], sys.argv[2:], None, 1
    if command[0] == "--last":
        command, messages = command[1:], 2
    if command[0] == "--change":
        command, change = ["true"], command[1]
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.rename(path, path + ".real")
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    new, _ = listener.accept()
    old = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    old.connect(path + ".real")
    os.rename(path + ".real", path)
    for _ in range(messages):
        pass_on(new, old)
        pass_on(old, new, change)
    new.recv(1, socket.MSG_PEEK)
    subprocess.run(command, check=True)
    for _ in iter(lambda: both(old, new, change), False):
        pass


main()
