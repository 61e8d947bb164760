#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for the service manager of a gateway that is taken over again and again, and kills or stalls either process at
a step of that: fd_store.py with what systemd does besides.

The program's main process is the one that was started, or that MAINPID names. When it ends, or does not feed its watchdog,
all processes of the unit are ended (SIGTERM, and SIGCONT for those that are stopped; SIGKILL after 5 s), and after 200 ms
one is started with the store. The program says in which place it is (takeover_faults.c), and goes on when it was answered.

Usage: supervisor.py run SOCKET COMMAND...   serves requests at SOCKET until "quit": those of fd_store.py, and
  reload               starts COMMAND --takeover
  arm PLACE ACTION     at that place, once: kill or stall who is there
  fired                "PID", or "no: not yet"
  go                   the stalled process goes on
  processes            of the unit, the main one first
  forced               how many had to be ended by SIGKILL
"""
import os
import select
import signal
import socket
import sys
import time

from fd_store import Manager

WATCHDOG = 2.0  # seconds
PAUSE, PATIENCE = 0.2, 5.0
PIECE = 0.02


def state_of(pid):
    """As /proc has it; "" for one that is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


class Supervisor(Manager):
    def __init__(self, path, command):
        super().__init__(path, command)
        self.plain = command
        self.unit = set()
        self.fed = time.monotonic()
        self.begin_at = None  # when one is to be started
        self.armed = self.fired = self.stalled = None
        self.ending, self.forced = {}, 0  # pid -> when it is killed
        self.notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        os.environ["WATCHDOG_USEC"] = str(int(WATCHDOG * 1e6))
        os.environ["SHARDTUN_FAULTS"] = path + ".faults"
        self.places = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.places.bind(path + ".faults")
        self.places.listen()
        self.directed = []

    # --- processes ---

    def alive(self):
        """Of the unit; the dead are buried."""
        for pid in list(self.unit):
            try:
                dead = os.waitpid(pid, os.WNOHANG)[0] != 0
            except ChildProcessError:
                dead = True
            if dead:
                self.unit.discard(pid)
                self.ending.pop(pid, None)
        return self.unit

    def reap(self):
        if self.pid and self.pid not in self.alive():
            self.pid = 0

    def start(self):
        answer = super().start()
        if answer == "ok":
            self.unit.add(self.pid)
            self.fed = time.monotonic()
        return answer

    def reload(self):
        pid = os.fork()
        if pid == 0:
            os.environ["NOTIFY_SOCKET"] = self.notify_path
            os.environ.pop("WATCHDOG_USEC")
            os.closerange(3, 4000)
            os.execvp(self.plain[0], [*self.plain, "--takeover"])
        self.unit.add(pid)
        return str(pid)

    def end_unit(self):
        now = time.monotonic()
        self.pid = 0
        self.begin_at = now + PAUSE
        for pid in self.alive():
            self.ending[pid] = now + PATIENCE
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGCONT)

    def look(self):
        """What is due."""
        now = time.monotonic()
        alive = self.alive()
        if self.pid and self.pid not in alive:
            print(f"main process {self.pid} ended", flush=True)
            self.end_unit()
        elif self.pid and now > self.fed + WATCHDOG:
            print(f"main process {self.pid}: watchdog", flush=True)
            os.kill(self.pid, signal.SIGKILL)
            self.fed = now
        for pid, limit in list(self.ending.items()):
            if now > limit:
                print(f"process {pid} does not end: killed", flush=True)
                self.forced += 1
                os.kill(pid, signal.SIGKILL)
                self.ending[pid] = now + PATIENCE
        if self.begin_at and now > self.begin_at and not alive:
            self.begin_at = None
            self.start()

    def hear_words(self, words, sender):
        if sender != self.pid:
            return
        if words.get("WATCHDOG") == "1" or words.get("READY") == "1":
            self.fed = time.monotonic()
        if "MAINPID" in words:
            self.pid, self.fed = int(words["MAINPID"]), time.monotonic()

    # --- places ---

    def direct(self, connection):
        """A process is in a place."""
        try:
            place = connection.recv(64).decode()
        except OSError:
            place = ""
        if not place:
            self.directed.remove(connection)
            connection.close()
            return
        pid = peer_of(connection)
        print(f"process {pid} {place}", flush=True)
        if self.armed and self.armed[0] == place:
            action = self.armed[1]
            self.armed, self.fired = None, pid
            os.kill(pid, signal.SIGKILL if action == "kill" else signal.SIGSTOP)
            while state_of(pid) not in ("T", "Z", "X", ""):
                time.sleep(0.001)
            if action == "kill":
                return
            self.stalled = pid
        connection.send(b".")

    def tamper(self, words):
        if words[0] == "arm":
            self.armed, self.fired, self.stalled = (words[1], words[2]), None, None
        elif words[0] == "fired":
            return str(self.fired) if self.fired else "no: not yet"
        elif words[0] == "go":
            if self.stalled in self.alive():
                os.kill(self.stalled, signal.SIGCONT)
        elif words[0] == "reload":
            return self.reload()
        elif words[0] == "processes":
            return " ".join(str(pid) for pid in sorted(self.alive(), key=lambda pid: pid != self.pid))
        elif words[0] == "forced":
            return str(self.forced)
        else:
            return super().tamper(words)
        return "ok"

    def run(self):
        print("serving", flush=True)
        while True:
            watched = [self.notify, self.requests, self.places, *self.directed]
            readable = select.select(watched, [], [], PIECE)[0]
            if self.notify in readable:
                self.hear()
            if self.places in readable:
                self.directed.append(self.places.accept()[0])
            for connection in [one for one in self.directed if one in readable]:
                self.direct(connection)
            self.look()
            if self.requests in readable and not self.serve_request():
                return


def peer_of(connection):
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], sys.byteorder)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Supervisor(sys.argv[2], sys.argv[3:]).run()
