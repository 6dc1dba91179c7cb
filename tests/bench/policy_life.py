#!/usr/bin/env python3
"""What changing a policy costs the mail that flows meanwhile, as ratios in one run.

    cargo build --release && tests/bench/policy_life.py [--messages N] [--rounds N]

Each round sends the same messages (4 KiB, 20 sessions, a new connection for each, smtp-source) to one
Posthouse: as it is; while a candidate is in the shadow that spins in every question until its time
is over; while the policy's settings are swapped ten times a second; while decisions are recorded; and as
it is once more. A ratio is against the mean of both plain runs of its round; the median of all rounds is given. A message that is
refused or deferred ends the run.

Then two of smtp-source send at the same time, under a policy that does nothing and under one that panics at every
message of the second: the first one's rate in both, and their ratio.

Last the time from connecting to the reply to QUIT, of one message after the other: alone, and while the host compiles a policy of the
default one's size again and again.

Needs Debian's postfix for smtp-source.
"""

import argparse
import json
import pathlib
import smtplib
import statistics
import subprocess
import tempfile
import threading
import time

from posthouse import Posthouse
from process import TARGET, needs, script, tool

GUESTS = TARGET / "policy-wasm/wasm32-wasip2/policy"
DEFAULT = GUESTS / "posthouse_default_policy.wasm"
MISBEHAVING = GUESTS / "misbehaving.wasm"
# Panics at every message of the second sender.
PANICS = '{"mode": "panic", "stage": "message", "subject": "bad"}'
SETTINGS = '{"accept": {"listeners": {"smtp": {"exempt": ["homing"]}}}}'
SESSIONS = 20
LENGTH = 4096

CONFIGURATION = """
[limits]
sessions-per-client = 1000

[policy-engine.probation]
faults = 0

[[policy]]
name = "default"
record = "{record}"

[policy.settings.accept.listeners.smtp]
exempt = ["homing"]
"""


class Host(Posthouse):
    def __init__(self, folder, record="off"):
        super().__init__(folder, CONFIGURATION.format(record=record))

    def _source(self, messages, *more):
        command = [tool("smtp-source"), *more, "-s", SESSIONS, "-l", LENGTH, "-m", messages]
        command += ["-f", "world@example.net", "-t", "admin@bench.test", f"127.0.0.1:{self.port}"]
        return [str(part) for part in command]

    def rate(self, messages):
        """Messages accepted in a second. smtp-source ends with an error if one is not."""
        began = time.monotonic()
        subprocess.run(self._source(messages), check=True, timeout=300)
        return messages / (time.monotonic() - began)

    def rate_beside(self, messages, subject):
        """As `rate`, while as many messages with this subject come in, whatever becomes of them."""
        others = subprocess.Popen(self._source(messages, "-A", "-S", subject), stderr=subprocess.DEVNULL)
        try:
            return self.rate(messages)
        finally:
            others.wait(300)

    def latencies(self, messages):
        """Milliseconds of each message, one after the other, sorted."""
        letter = "Subject: a letter\r\n\r\n" + ("x" * 62 + "\r\n") * (LENGTH // 64)
        found = []
        for _ in range(messages):
            began = time.monotonic()
            with smtplib.SMTP("127.0.0.1", self.port) as client:
                client.sendmail("world@example.net", ["admin@bench.test"], letter)
            found.append((time.monotonic() - began) * 1000)
        return sorted(found)


def swapping(host, done):
    swaps = 0
    while not done.is_set():
        swaps += 1
        settings = {"accept": {"listeners": {"smtp": {"exempt": ["homing"]}}, "hosts": [
            {"network": f"192.0.2.{swaps % 250}/32", "action": "reject"}]}}
        host.tell("policy", "load", "--settings", json.dumps(settings))
        done.wait(0.1)
    return swaps


def compiling(host, done):
    """Each is another component: a custom section (id 0) named `n` is added, which holds a number."""
    file, count = host.folder / "another.wasm", 0
    while not done.is_set():
        count += 1
        content = b"\x01n%d" % count
        file.write_bytes(DEFAULT.read_bytes() + bytes([0, len(content)]) + content)
        host.tell("policy", "check", file, "--running", "--settings", SETTINGS)


def during(host, work, measure):
    done = threading.Event()
    thread = threading.Thread(target=work, args=(host, done))
    thread.start()
    try:
        return measure()
    finally:
        done.set()
        thread.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--binary", type=pathlib.Path, default=Posthouse.binary, help="the posthouse to measure")
    options = parser.parse_args()
    Posthouse.binary = options.binary.resolve()
    needs(Posthouse.binary, DEFAULT, MISBEHAVING, "smtp-source")
    rates = {name: [] for name in ("plain", "shadow", "swap", "record", "beside good", "beside faults")}
    with tempfile.TemporaryDirectory(prefix="posthouse-bench-") as folder:
        folder = pathlib.Path(folder)
        with Host(folder / "plain") as host, Host(folder / "record", record="on") as recording:
            host.rate(500), recording.rate(500)
            for _ in range(options.rounds):
                rates["plain"].append(host.rate(options.messages))
                host.tell("policy", "shadow", MISBEHAVING, "--settings", '{"mode": "loop", "stage": "sender"}')
                rates["shadow"].append(host.rate(options.messages))
                host.tell("policy", "shadow", "--stop")
                rates["swap"].append(during(host, swapping, lambda: host.rate(options.messages)))
                rates["record"].append(recording.rate(options.messages))
                rates["plain"].append(host.rate(options.messages))
                # What is held back after faults, and what is on probation, is not measured here.
                for name, settings in (("beside good", "{}"), ("beside faults", PANICS)):
                    host.tell("policy", "load", MISBEHAVING, "--settings", settings)
                    rates[name].append(host.rate_beside(options.messages // 2, "bad"))
                host.tell("policy", "load", DEFAULT, "--settings", SETTINGS)
            alone = host.latencies(options.messages)
            beside = during(host, compiling, lambda: host.latencies(options.messages))
    pairs = zip(rates["plain"][::2], rates["plain"][1::2])
    plain = [statistics.mean(pair) for pair in pairs]
    print("| | accepted/s | ratio | runs |")
    print("|---|---|---|---|")
    for name, found in rates.items():
        against = rates["beside good"] if name.startswith("beside") else plain
        ratios = [rate / other for rate, other in zip(found, against)] if name != "plain" else [1]
        runs = ", ".join(f"{rate:.0f}" for rate in found)
        print(f"| {name} | {statistics.median(found):,.0f} | {statistics.median(ratios):.2f} | {runs} |")
    print("\n| | alone | while a policy is compiled | ratio |")
    print("|---|---|---|---|")
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        one, other = (found[int(len(found) * share)] for found in (alone, beside))
        print(f"| {name} | {one:.1f} ms | {other:.1f} ms | {other / one:.1f} |")


if __name__ == "__main__":
    script(main)
