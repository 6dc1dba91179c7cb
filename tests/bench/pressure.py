#!/usr/bin/env python3
"""What Posthouse does with many sessions, slow ones and too many, on this machine.

    cargo build --release --workspace && tests/bench/pressure.py [--only idle|drip|many|overload]

idle      resident memory for each of 10,000 connections that have said EHLO and nothing since
drip      accepted messages a second of 20 sessions, alone and beside 5,000 connections that send an
          octet every three seconds, half of them within a command and half within a message; once with
          places to spare, once with all of them taken and a thousand waiting for one (interleaved runs)
many      accepted messages a second, processor time and latency of 20 to 4,500 sessions that all send as fast as they
          are answered, and what is relayed meanwhile
overload  accepted messages a second of 20 and of 190 sessions, then with twice as many new connections a second
          as the better of these, whatever becomes of those before, with 500, 200 and 5,000 places; how long a
          transaction takes then, how many are refused, what is relayed meanwhile, what memory does

Clients come from all of 127.0.0.0/8. `many` and `overload` need Postfix's smtp-sink, `many` openssl as well. Linux,
some 25,000 file descriptors, at most six minutes for each part.
"""

import argparse
import collections
import contextlib
import multiprocessing
import os
import pathlib
import resource
import selectors
import signal
import socket
import statistics
import tempfile
import time

from certificate import Certificate
from load import LOAD, Shape, load, settled
from posthouse import TRUSTING, Posthouse, Relay
from process import needs, resident, script
from rush import PATIENCE, RUSH, Rush
from sink import Sink

DESCRIPTORS = 25_000
# Nobody listens there: mail stays in the queue.
NOBODY = 1
CONFIGURATION = """
[delivery]
smart-host = "127.0.0.1:{next_host}"

[limits]
sessions-per-client = 100000
sessions = {sessions}
"""


@contextlib.contextmanager
def posthouse(sessions, next_host=NOBODY):
    """With so many places, and the port where mail goes."""
    with tempfile.TemporaryDirectory(prefix="posthouse-bench-") as folder:
        with Posthouse(pathlib.Path(folder) / "posthouse", CONFIGURATION.format(sessions=sessions, next_host=next_host), TRUSTING) as host:
            yield host


class Crowd:
    """Many clients in a process of their own. Each plays `script(number)`: octets, each sent when a reply has
    come, then sends an octet each `pause` seconds if it is to drip. Who is told 421 comes again after that time, if it is
    to come again."""

    def __init__(self, port, size, script, drip=False, pause=3.0, again=False):
        self.port, self.script, self.drip, self.pause, self.again = port, script, drip, pause, again
        self.at_work, self.told = multiprocessing.Value("i", 0), multiprocessing.Value("i", 0)
        self.waiting = collections.deque((0.0, number) for number in range(size))
        self.drips = collections.deque()
        self.process = multiprocessing.Process(target=self._run, daemon=True)
        self.process.start()

    @property
    def ready(self):
        return self.at_work.value

    @property
    def refused(self):
        return self.told.value

    def _connect(self, number):
        client = socket.socket()
        client.setblocking(False)
        address = number % 60_000 + 256
        client.bind((f"127.{address >> 16}.{address >> 8 & 255}.{address & 255}", 0))
        client.connect_ex(("127.0.0.1", self.port))
        self.selector.register(client, selectors.EVENT_READ, [number, iter(self.script(number)), False])

    def _heard(self, key):
        client, (number, script, ready) = key.fileobj, key.data
        try:
            text = client.recv(4096)
        except OSError:
            text = b""
        if not text or text.startswith(b"421"):
            self.selector.unregister(client)
            client.close()
            self.told.value += 1
            self.at_work.value -= ready
            if self.again:
                self.waiting.append((time.monotonic() + self.pause, number))
        elif not ready:
            octets = next(script, None)
            if octets is not None:
                client.send(octets)
            else:
                key.data[2] = True
                self.at_work.value += 1
                if self.drip:
                    self.drips.append((time.monotonic() + self.pause, client))

    def _drip(self):
        now = time.monotonic()
        while self.drips and self.drips[0][0] <= now:
            _, client = self.drips.popleft()
            try:
                client.send(b"x")
                self.drips.append((now + self.pause, client))
            except OSError:
                pass  # closed: that was the 421

    def _run(self):
        # An interrupt is for who started it, and who then stops it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.selector = selectors.DefaultSelector()
        while True:
            for _ in range(100):
                if self.waiting and self.waiting[0][0] <= time.monotonic():
                    self._connect(self.waiting.popleft()[1])
            for key, _ in self.selector.select(0.01):
                self._heard(key)
            self._drip()

    def until_ready(self, size, seconds=60):
        deadline = time.monotonic() + seconds
        while self.ready < size:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.ready} of {size} after {seconds} s")
            time.sleep(0.05)

    def stop(self):
        self.process.kill()
        self.process.join()


def idle():
    print("\n## idle sessions")
    with posthouse(sessions=12_000) as host:
        # The host needs two file descriptors for each.
        size = min(10_000, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 700) // 2 - 200)
        script = lambda number: [b"EHLO client.example\r\n"]
        warm = Crowd(host.port, 100, script)
        warm.until_ready(100)
        before = resident(host.pid)
        crowd = Crowd(host.port, size, script)
        crowd.until_ready(size)
        time.sleep(1)
        after = resident(host.pid)
        print(f"{size} idle sessions: {before} KiB -> {after} KiB, {(after - before) / size:.1f} KiB each")
        crowd.stop()
        warm.stop()


def dripping(number):
    """Half of them stop within a command, half within a message."""
    yield b"EHLO client.example\r\n"
    if number % 2:
        yield b"MAIL FROM:<slow@bench.test>\r\n"
        yield b"RCPT TO:<target@example.org>\r\n"
        yield b"DATA\r\n"


def drip():
    print("\n## 5,000 slow clients")
    for places in (6_000, 4_000):
        with posthouse(sessions=places) as host:
            Rush(host, 3, at_once=20)
            alone, beside, slow = [], [], []
            for _ in range(2):
                alone.append(Rush(host, 4, at_once=20))
                crowd = Crowd(host.port, 5_000, dripping, drip=True, again=True)
                crowd.until_ready(min(places, 5_000) * 0.95)
                # Until they have been slow for so long that they have to make way.
                time.sleep(11)
                beside.append(Rush(host, 4, at_once=20))
                slow.append(crowd.ready)
                crowd.stop()
                time.sleep(1)
            ratio = statistics.median(b.rate / a.rate for a, b in zip(alone, beside))
            rounds = ", ".join(f"{a.rate:.0f} and {b.rate:.0f}" for a, b in zip(alone, beside))
            refused = sum(rush.refused for rush in beside) / sum(rush.begun for rush in beside)
            print(
                f"{places} places: ratio {ratio:.2f} ({rounds} a second), beside {min(slow)} slow ones;"
                f" {refused:.1%} of the others refused; {resident(host.pid)} KiB"
            )


def many():
    print("\n## many sessions that send all the time")
    print("sessions | accepted/s | relayed/s | CPU ms | p50, p99, most ms | memory MiB | refused")
    with tempfile.TemporaryDirectory(prefix="posthouse-bench-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        sink = Sink()
        sink.start()
        try:
            with Relay(folder, sink, Certificate(folder)) as host:
                load(host, sink, seconds=2)
                for sessions in (20, 200, 1000, 3000, 4500):
                    found = load(host, sink, Shape(sessions=sessions), seconds=5)
                    print(
                        f"{sessions} | {found['accepted/s']:.0f} | {found['relayed/s']:.0f} | {found['cpu ms']:.2f} |"
                        f" {found['p50 ms']:.0f}, {found['p99 ms']:.0f}, {found['max ms']:.0f} |"
                        f" {found['memory MiB']:.0f} | {found['refused']} {found['replies'] or ''}"
                    )
                told = host.told()
                print(f"events: {told[5021]} policy-overload, {told[5062]} fell-behind")
        finally:
            sink.stop()


def overload():
    print("\n## overload: new connections at twice the rate that can be kept up")
    # Each on its own: what the sender does less of when it is refused must not help the host, nor
    # what it does more of slow it down.
    first, *others = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, [first])
    with contextlib.ExitStack() as stack:
        sink = Sink()
        stack.callback(sink.stop)
        sink.start()
        for places in (500, 200, 5000):
            print(f"{places} places; the host has a processor, sender and sink have another", flush=True)
            os.sched_setaffinity(0, others)
            with posthouse(places, sink.port) as host:
                os.sched_setaffinity(0, [first])
                overloaded(host, sink)


def overloaded(host, sink):
    """The peak is that of 20 or of 190 sessions, whichever has more in the median: the better of the two in each round would
    be what noise is kindest to. Every other round begins with what is too much."""
    few, many, twice = [], [], []

    def at_once(sessions, rushes):
        rushes.append(Rush(host, 4, at_once=sessions))
        # What is still to be relayed, and whoever is to be told that it was too slow.
        settled(host)

    def too_much():
        memory, relayed = resident(host.pid), sink.count
        rush = Rush(host, 6, rate=2 * max(_median(few), _median(many)))
        twice.append(rush)
        after, relayed = resident(host.pid), sink.count - relayed
        settled(host)
        took = ", ".join(f"{rush.latency[key] or 0:.0f}" for key in ("p50", "p99", "max"))
        print(
            f"offered {rush.begun / 6:.0f}/s, accepted {rush.rate:.0f}/s and relayed {relayed / 6:.0f}/s;"
            f" refused {rush.refused / rush.begun:.0%}, not greeted within {PATIENCE} s {rush.gave_up / rush.begun:.0%};"
            f" a transaction took {took} ms (median, 99 %, most); memory {memory} -> {after} KiB, {resident(host.pid)} KiB when"
            f" all was relayed; busy: host {rush.host_busy:.0%}, sender {rush.own_busy:.0%}",
            flush=True,
        )

    # Twice: the first warms the host up.
    for _ in range(2):
        few.clear()
        at_once(20, few)
    at_once(190, many)
    for number in range(6):
        steps = [lambda: at_once(20, few), lambda: at_once(190, many), too_much]
        for step in steps if number % 2 == 0 else reversed(steps):
            step()
    print(f"20 at once: {', '.join(f'{rush.rate:.0f}' for rush in few)}/s; 190: {', '.join(f'{rush.rate:.0f}' for rush in many)}/s")
    peak, kept = max(_median(few), _median(many)), _median(twice)
    print(f"peak {peak:.0f}/s, at twice that {kept:.0f}/s: {kept / peak:.2f}")
    names = {5060: "sessions-full", 5061: "sessions-enough", 5062: "fell-behind", 5063: "caught-up"}
    told = host.told()
    print("events:", ", ".join(f"{told[number]} {name}" for number, name in names.items()), flush=True)


def _median(rushes):
    return statistics.median(rush.rate for rush in rushes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=pathlib.Path, default=Posthouse.binary, help="the posthouse to measure")
    parser.add_argument("--only", choices=["idle", "drip", "many", "overload"])
    arguments = parser.parse_args()
    Posthouse.binary = arguments.binary.resolve()
    needs(Posthouse.binary, RUSH, *((LOAD, "smtp-sink", "openssl") if arguments.only in (None, "many", "overload") else ()))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, max(hard, DESCRIPTORS)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for part in (idle, drip, many, overload):
        if arguments.only in (None, part.__name__):
            part()


if __name__ == "__main__":
    script(main)
