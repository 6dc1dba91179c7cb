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
import os
import pathlib
import re
import shutil
import smtplib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARY = REPOSITORY / "target/release/posthouse"
GUESTS = REPOSITORY / "target/policy-wasm/wasm32-wasip2/policy"
DEFAULT = GUESTS / "posthouse_default_policy.wasm"
MISBEHAVING = GUESTS / "misbehaving.wasm"
# Panics at every message of the second sender.
PANICS = '{"mode": "panic", "stage": "message", "subject": "bad"}'
SETTINGS = '{"accept": {"listeners": {"smtp": {"exempt": ["homing"]}}}}'
SESSIONS = 20
LENGTH = 4096

CONFIGURATION = """\
hostname = "mx.bench.test"
administrator = "admin@bench.test"
data = "data"
mailboxes = "mail"
directory = "directory.toml"

[[listener]]
name = "smtp"
address = "127.0.0.1:0"

[limits]
sessions-per-client = 1000

[events]
format = "json"

[policy-engine.probation]
faults = 0

[[policy]]
name = "default"
record = "{record}"

[policy.settings.accept.listeners.smtp]
exempt = ["homing"]
"""

DIRECTORY = """\
domains = ["bench.test"]

[[account]]
name = "admin"
addresses = ["admin@bench.test"]
"""


def tool(name):
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if found is None:
        sys.exit(f"{name} is missing: apt-get install postfix")
    return found


class Host:
    """A Posthouse in a folder of its own."""

    def __init__(self, folder, record="off"):
        folder.mkdir()
        self.folder = folder
        (folder / "posthouse.toml").write_text(CONFIGURATION.format(record=record))
        (folder / "directory.toml").write_text(DIRECTORY)
        self.process = subprocess.Popen(
            [BINARY, "run", "--config", folder / "posthouse.toml"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for line in self.process.stdout:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("id") == 5000:
                self.port = int(re.search(r"127\.0\.0\.1:(\d+)", event["fields"]["listeners"][0]).group(1))
                break
        threading.Thread(target=lambda: [None for _ in self.process.stdout], daemon=True).start()

    def policy(self, *arguments, wanted=(0,)):
        command = [BINARY, "policy", *arguments, "--config", self.folder / "posthouse.toml"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode not in wanted:
            sys.exit(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def rate(self, messages):
        """Messages accepted in a second. smtp-source ends with an error if one is not."""
        command = [tool("smtp-source"), "-s", SESSIONS, "-l", LENGTH, "-m", messages]
        command += ["-f", "world@example.net", "-t", "admin@bench.test", f"127.0.0.1:{self.port}"]
        began = time.monotonic()
        subprocess.run([str(part) for part in command], check=True, timeout=300)
        return messages / (time.monotonic() - began)

    def rate_beside(self, messages, subject):
        """As `rate`, while as many messages with this subject come in, whatever becomes of them."""
        command = [tool("smtp-source"), "-A", "-S", subject, "-s", SESSIONS, "-l", LENGTH, "-m", messages]
        command += ["-f", "world@example.net", "-t", "admin@bench.test", f"127.0.0.1:{self.port}"]
        others = subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL)
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

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


def swapping(host, done):
    swaps = 0
    while not done.is_set():
        swaps += 1
        settings = {"accept": {"listeners": {"smtp": {"exempt": ["homing"]}}, "hosts": [
            {"network": f"192.0.2.{swaps % 250}/32", "action": "reject"}]}}
        host.policy("load", "--settings", json.dumps(settings))
        done.wait(0.1)
    return swaps


def compiling(host, done):
    """Each is another component: a custom section (id 0) named `n` is added, which holds a number."""
    file, count = host.folder / "another.wasm", 0
    while not done.is_set():
        count += 1
        content = b"\x01n%d" % count
        file.write_bytes(DEFAULT.read_bytes() + bytes([0, len(content)]) + content)
        host.policy("check", file, "--running", "--settings", SETTINGS)


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
    options = parser.parse_args()
    rates = {name: [] for name in ("plain", "shadow", "swap", "record", "beside good", "beside faults")}
    with tempfile.TemporaryDirectory(prefix="posthouse-bench-") as folder:
        folder = pathlib.Path(folder)
        host, recording = Host(folder / "plain"), Host(folder / "record", record="on")
        try:
            host.rate(500), recording.rate(500)
            for _ in range(options.rounds):
                rates["plain"].append(host.rate(options.messages))
                host.policy("shadow", MISBEHAVING, "--settings", '{"mode": "loop", "stage": "sender"}')
                rates["shadow"].append(host.rate(options.messages))
                host.policy("shadow", "--stop")
                rates["swap"].append(during(host, swapping, lambda: host.rate(options.messages)))
                rates["record"].append(recording.rate(options.messages))
                rates["plain"].append(host.rate(options.messages))
                # What is held back after faults, and what is on probation, is not measured here.
                for name, settings in (("beside good", "{}"), ("beside faults", PANICS)):
                    host.policy("load", MISBEHAVING, "--settings", settings)
                    rates[name].append(host.rate_beside(options.messages // 2, "bad"))
                host.policy("load", DEFAULT, "--settings", SETTINGS)
            alone = host.latencies(options.messages)
            beside = during(host, compiling, lambda: host.latencies(options.messages))
        finally:
            host.stop()
            recording.stop()
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
    main()
