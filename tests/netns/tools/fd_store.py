#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for the service manager with a store of descriptors, as sd_notify(3) and sd_listen_fds(3) describe it: keeps
what the program stores, and hands it to the next process of it. The store can be tampered with in between.

Usage: fd_store.py run SOCKET COMMAND...     starts it, and serves requests at SOCKET until "quit"
       fd_store.py tell SOCKET REQUEST...    one request; prints the answer, status 1 for "no: ..."

  start, kill (SIGKILL), stop (SIGTERM; the store is dropped), leave (SIGUSR2, as at a restart), quit
  restart, crash                             leave or kill, and start
  ready                                      how many times the program said READY=1
  pid                                        of the process
  names                                      of the store, in its order
  drop NAME, rename NAME NEW, swap NAME NAME, copy NAME NEW
  replace NAME KIND                          pipe, udp (of another port), connected, tcp, tun, memory
  order reverse                              in which they are handed on
"""
import array
import ctypes
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 1, 0x1000, 0x4000


KCMP = {"x86_64": 312, "aarch64": 272}[platform.machine()]
KCMP_FILE = 0


def same_file(one, other):
    """Whether two descriptors are of one open file, as systemd compares what is stored again."""
    pid = os.getpid()
    return ctypes.CDLL(None).syscall(KCMP, pid, pid, KCMP_FILE, one, other) == 0


class Manager:
    def __init__(self, path, command):
        self.command, self.pid, self.ready = command, 0, 0
        self.store = []  # of [name, fd]
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify_path = path + ".notify"
        self.notify.bind(self.notify_path)
        os.chmod(self.notify_path, 0o777)
        self.requests = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.requests.bind(path)
        self.requests.listen()

    # --- the program ---

    def start(self):
        self.reap()
        if self.pid:
            return "no: it runs"
        names = ":".join(name for name, _ in self.store)
        self.pid = os.fork()
        if self.pid == 0:
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 1000) for _, fd in self.store]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)
            os.closerange(3 + len(high), 4000)
            os.environ["NOTIFY_SOCKET"] = self.notify_path
            if high:
                os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)), LISTEN_FDNAMES=names)
            os.execvp(self.command[0], self.command)
        return "ok"

    def reap(self):
        if self.pid and os.waitpid(self.pid, os.WNOHANG)[0]:
            self.pid = 0

    def end(self, number):
        self.reap()
        if not self.pid:
            return "no: it does not run"
        os.kill(self.pid, number)
        while self.pid:
            # It may wait for this end to take its messages.
            if select.select([self.notify], [], [], 0.01)[0]:
                self.hear()
            self.reap()
        while select.select([self.notify], [], [], 0)[0]:
            self.hear()
        return "ok"

    # --- the store ---

    def hear(self):
        message, ancillary, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(64 * 4) + socket.CMSG_SPACE(12))
        fds, sender = array.array("i"), 0
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                sender = struct.unpack("iII", data)[0]
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        words = dict(line.split("=", 1) for line in message.decode().split("\n") if "=" in line)
        if list(words) != ["WATCHDOG"]:
            print(" ".join(f"{k}={v}" for k, v in words.items()), flush=True)
        if words.get("READY") == "1":
            self.ready += 1
        self.hear_words(words, sender)
        if words.get("FDSTORE") == "1" and words.get("FDPOLL") == "0":
            for fd in fds:
                self.keep(words["FDNAME"], fd)
            return
        if words.get("FDSTOREREMOVE") == "1":
            self.remove(words["FDNAME"])
        for fd in fds:
            os.close(fd)

    def hear_words(self, words, sender):
        """What else a message means, for tests/netns/tools/supervisor.py; its sender if SO_PASSCRED is set."""

    def keep(self, name, fd):
        if any(same_file(fd, stored) for _, stored in self.store):
            os.close(fd)
        else:
            self.store.append([name, fd])

    def remove(self, name):
        for entry in [entry for entry in self.store if entry[0] == name]:
            os.close(entry[1])
            self.store.remove(entry)

    def entry(self, name):
        return next(entry for entry in self.store if entry[0] == name)

    def replace(self, name, kind):
        entry = self.entry(name)
        os.close(entry[1])
        if kind == "pipe":
            entry[1] = os.pipe()[0]
        elif kind in ("udp", "connected"):
            other = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("::", 0))
            if kind == "connected":
                other.connect(("::1", 9))
            entry[1] = other.detach()
        elif kind == "tcp":
            other = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            other.bind(("127.0.0.1", 0))
            other.listen()
            entry[1] = other.detach()
        elif kind == "tun":
            entry[1] = os.open("/dev/net/tun", os.O_RDWR)
            flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR
            fcntl.ioctl(entry[1], TUNSETIFF, struct.pack("16sH22x", b"foreign0", flags))
        elif kind == "memory":
            entry[1] = os.memfd_create("other")

    def tamper(self, words):
        if words[0] == "drop":
            self.remove(words[1])
        elif words[0] == "rename":
            self.entry(words[1])[0] = words[2]
        elif words[0] == "swap":
            one, other = self.entry(words[1]), self.entry(words[2])
            one[1], other[1] = other[1], one[1]
        elif words[0] == "copy":
            self.store.append([words[2], os.dup(self.entry(words[1])[1])])
        elif words[0] == "replace":
            self.replace(words[1], words[2])
        elif words[0] == "order":
            self.store.reverse()
        else:
            return "no: what?"
        return "ok"

    # --- requests ---

    def answer(self, words):
        if words[0] == "start":
            return self.start()
        if words[0] in ("kill", "leave", "stop", "restart", "crash"):
            number = {"stop": signal.SIGTERM, "leave": signal.SIGUSR2, "restart": signal.SIGUSR2}
            result = self.end(number.get(words[0], signal.SIGKILL))
            if words[0] == "stop":
                for name in {name for name, _ in self.store}:
                    self.remove(name)
            return self.start() if result == "ok" and words[0] in ("restart", "crash") else result
        if words[0] == "ready":
            return str(self.ready)
        if words[0] == "pid":
            self.reap()
            return str(self.pid)
        if words[0] == "names":
            return " ".join(name for name, _ in self.store)
        return self.tamper(words)

    def serve_request(self):
        """False: it is the last one."""
        peer, _ = self.requests.accept()
        with peer:
            words = peer.recv(4096).decode().split()
            if words[0] == "quit":
                return False
            try:
                peer.sendall(self.answer(words).encode())
            except (OSError, StopIteration) as failure:
                peer.sendall(f"no: {failure!r}".encode())
        return True

    def run(self):
        print("serving", flush=True)
        while True:
            readable = select.select([self.notify, self.requests], [], [])[0]
            if self.notify in readable:
                self.hear()
            elif not self.serve_request():
                return


def tell(path, words):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.connect(path)
        peer.sendall(" ".join(words).encode())
        answer = peer.recv(65536).decode()
    print(answer)
    return answer.startswith("no:")


if __name__ == "__main__":
    if sys.argv[1] == "tell":
        sys.exit(tell(sys.argv[2], sys.argv[3:]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Manager(sys.argv[2], sys.argv[3:]).run()
