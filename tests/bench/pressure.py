#!/usr/bin/env python3
"""What Posthouse does with many sessions, slow ones and too many, on this machine.

    cargo build --release && tests/bench/pressure.py [--only idle|drip|overload]

idle      resident memory for each of 10,000 connections that have said EHLO and nothing since
drip      accepted messages a second of 20 sessions, alone and beside 5,000 connections that send an
          octet every few seconds, half of them within a command and half within a message; once with
          places to spare and once with all of them taken (ratios of interleaved runs)
overload  accepted messages a second of 20 sessions, then with twice as many new connections a
          second as that, whatever becomes of those before, and 500 places; how long a transaction
          takes then, how many are refused, and what memory does

smtp-source sends (Debian's postfix); clients come from all of 127.0.0.0/8. Linux, some 25,000 file
descriptors (root raises the limit by itself), at most 150 s for each part.
"""

import argparse
import collections
import json
import os
import pathlib
import resource
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DESCRIPTORS = 25_000
LENGTH = 4096


class Posthouse:
    """The daemon, everything durable, default policy on; it delivers to a port where nobody listens."""

    def __init__(self, binary, **limits):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="posthouse-bench-"))
        text = (REPOSITORY / "tests/bench/posthouse.toml").read_text().replace("@SINK@", "1")
        lines = "".join(f"{key.replace('_', '-')} = {value}\n" for key, value in limits.items())
        text = text.replace("sessions-per-client = 1000\n", f"sessions-per-client = 100000\n{lines}")
        (self.folder / "posthouse.toml").write_text(text)
        shutil.copy(REPOSITORY / "tests/bench/directory.toml", self.folder)
        command = [binary, "run", "--config", str(self.folder / "posthouse.toml")]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=self.folder)
        self.told = collections.Counter()
        started = threading.Event()

        def read():
            for line in self.process.stdout:
                event = json.loads(line)
                self.told[event["id"]] += 1
                if event["id"] == 5000:
                    self.port = int(event["fields"]["listeners"][0].rsplit(":", 1)[1])
                    started.set()

        threading.Thread(target=read, daemon=True).start()
        if not started.wait(30):
            raise TimeoutError("posthouse did not start")

    def resident(self):
        """KiB."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Crowd:
    """Many clients in one thread. Each plays `script(number)`: octets, each sent when a reply has
    come, then what `drip(number)` gives, one octet each `pause` seconds."""

    def __init__(self, port, size, script, drip=None, pause=3.0, again=False):
        self.port, self.script, self.drip, self.pause, self.again = port, script, drip, pause, again
        self.selector = selectors.DefaultSelector()
        self.ready, self.refused, self.stopped = 0, 0, False
        self.waiting = collections.deque(range(size))
        self.drips = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

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
            self.refused += 1
            self.ready -= ready
            if self.again:
                self.waiting.append(number)
        elif not ready:
            octets = next(script, None)
            if octets is not None:
                client.send(octets)
            else:
                key.data[2] = True
                self.ready += 1
                if self.drip:
                    self.drips.append((time.monotonic() + self.pause * (number % 100) / 100, client, number))

    def _drip(self):
        now, later = time.monotonic(), []
        for due, client, number in self.drips:
            if due > now:
                later.append((due, client, number))
                continue
            try:
                client.send(self.drip(number))
                later.append((now + self.pause, client, number))
            except OSError:
                pass  # closed: that was the 421
        self.drips = later

    def _run(self):
        looked = 0.0
        while not self.stopped:
            for _ in range(min(100, len(self.waiting))):
                self._connect(self.waiting.popleft())
            for key, _ in self.selector.select(0.01 if self.waiting else 0.1):
                self._heard(key)
            if time.monotonic() > looked + 0.1:
                self._drip()
                looked = time.monotonic()

    def until_ready(self, size, seconds=60):
        deadline = time.monotonic() + seconds
        while self.ready < size:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.ready} of {size} after {seconds} s")
            time.sleep(0.05)

    def stop(self):
        self.stopped = True
        self.thread.join(30)
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()


def source(port, sessions, messages):
    tool = shutil.which("smtp-source", path=os.environ.get("PATH", "") + ":/usr/sbin") or sys.exit("no smtp-source")
    command = [tool, "-s", str(sessions), "-m", str(messages), "-l", str(LENGTH)]
    command += ["-f", "source@bench.test", "-t", "target@example.org", f"127.0.0.1:{port}"]
    start = time.monotonic()
    subprocess.run(command, stderr=subprocess.DEVNULL, timeout=150, check=True)
    return messages / (time.monotonic() - start)


def idle(binary):
    print("\n## idle sessions")
    with Posthouse(binary, sessions=12_000) as host:
        script = lambda number: [b"EHLO client.example\r\n"]
        warm = Crowd(host.port, 100, script)
        warm.until_ready(100)
        before = host.resident()
        crowd = Crowd(host.port, 10_000, script)
        crowd.until_ready(10_000)
        time.sleep(1)
        after = host.resident()
        print(f"10,000 idle sessions: {before} KiB -> {after} KiB, {(after - before) / 10_000:.1f} KiB each")
        crowd.stop()
        warm.stop()


def dripping(number):
    """Half of them stop within a command, half within a message."""
    yield b"EHLO client.example\r\n"
    if number % 2:
        yield b"MAIL FROM:<slow@bench.test>\r\n"
        yield b"RCPT TO:<target@example.org>\r\n"
        yield b"DATA\r\n"


def drip(binary):
    print("\n## 5,000 slow clients")
    for places in (6_000, 4_000):
        with Posthouse(binary, sessions=places) as host:
            source(host.port, 20, 500)
            alone, beside, held = [], [], []
            for _ in range(3):
                alone.append(source(host.port, 20, 2_000))
                crowd = Crowd(host.port, 5_000, dripping, lambda number: b"x", again=True)
                crowd.until_ready(min(places, 5_000) * 0.95)
                # Until they have been slow for so long that they have to make way.
                time.sleep(11 if places < 5_000 else 1)
                beside.append(source(host.port, 20, 2_000))
                held.append(crowd.ready)
                crowd.stop()
                time.sleep(1)
            alone_rate, beside_rate = statistics.median(alone), statistics.median(beside)
            rounds = ", ".join(f"{a:.0f}/{b:.0f}" for a, b in zip(alone, beside))
            print(
                f"{places} places: {alone_rate:.0f}/s alone, {beside_rate:.0f}/s beside {min(held)} slow ones,"
                f" ratio {beside_rate / alone_rate:.2f} ({rounds}); {host.resident()} KiB"
            )


MESSAGE = b"Subject: load\r\n\r\n" + (b"x" * 70 + b"\r\n") * 56 + b".\r\nQUIT\r\n"
TRANSACTION = (
    b"EHLO client.example\r\n",
    b"MAIL FROM:<source@bench.test>\r\nRCPT TO:<target@example.org>\r\nDATA\r\n",
    MESSAGE,
)


class Load:
    """Transactions of 4 KiB, a new connection for each, its commands pipelined: so many at once, or so
    many begun each second whatever becomes of those before."""

    def __init__(self, port, seconds, at_once=None, rate=None):
        self.port, self.selector = port, selectors.DefaultSelector()
        self.took, self.offered, self.refused, self.open, number = [], 0, 0, 0, 0
        start = time.monotonic()
        while (now := time.monotonic()) < start + seconds:
            due = int((now - start) * rate) - self.offered if rate else at_once - self.open
            for _ in range(min(due, 200)):
                self._begin(number := number + 1)
            for key, _ in self.selector.select(0.005):
                self._heard(key)
        self.left, self.rate = self.open, len(self.took) / seconds
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()

    def _begin(self, number):
        client = socket.socket()
        client.setblocking(False)
        client.bind((f"127.{number % 200 + 1}.{number // 200 % 200 + 1}.1", 0))
        client.connect_ex(("127.0.0.1", self.port))
        self.selector.register(client, selectors.EVENT_READ, [time.monotonic(), 0, b""])
        self.offered += 1
        self.open += 1

    def _heard(self, key):
        client, state = key.fileobj, key.data
        try:
            text = client.recv(4096)
        except OSError:
            text = b""
        state[2] += text
        last = state[2].rsplit(b"\r\n", 2)[-2] if state[2].endswith(b"\r\n") else b""
        expected = (b"220 ", b"250 ", b"354 ", b"221 ")[state[1]]
        if last.startswith(expected):
            state[1] += 1
            if state[1] <= len(TRANSACTION):
                client.send(TRANSACTION[state[1] - 1])
                state[2] = b""
                return
            self.took.append(time.monotonic() - state[0])
        elif text and not last.startswith((b"421", b"45")):
            return
        else:
            self.refused += 1
        self.selector.unregister(client)
        client.close()
        self.open -= 1


def overload(binary):
    print("\n## overload: new connections at twice the rate that can be kept up")
    with Posthouse(binary, sessions=500) as host:
        Load(host.port, 3, at_once=20)
        for round_number in range(3):
            peak = Load(host.port, 6, at_once=20)
            memory = host.resident()
            load = Load(host.port, 12, rate=2 * peak.rate)
            load.took.sort()
            print(
                f"round {round_number + 1}: 20 at once {peak.rate:.0f}/s;"
                f" offered {load.offered / 12:.0f}/s, accepted {load.rate:.0f}/s (ratio {load.rate / peak.rate:.2f}),"
                f" refused {load.refused / load.offered:.0%}; a transaction took"
                f" {load.took[len(load.took) // 2] * 1000:.0f} ms (median),"
                f" {load.took[len(load.took) * 99 // 100] * 1000:.0f} ms (99 %), {load.took[-1] * 1000:.0f} ms (most);"
                f" memory {memory} -> {host.resident()} KiB"
            )
            time.sleep(1)
        names = {5060: "sessions-full", 5061: "sessions-enough", 5062: "fell-behind", 5063: "caught-up"}
        print("events:", ", ".join(f"{host.told[number]} {name}" for number, name in names.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=str(REPOSITORY / "target/release/posthouse"))
    parser.add_argument("--only", choices=["idle", "drip", "overload"])
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, max(hard, DESCRIPTORS)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for part in (idle, drip, overload):
        if arguments.only in (None, part.__name__):
            part(arguments.binary)


if __name__ == "__main__":
    main()
