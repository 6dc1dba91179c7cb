#!/usr/bin/env python3
"""What changing a policy costs the mail that flows meanwhile, as ratios in one run.

    cargo build --release && tests/bench/policy_life.py [--messages N] [--rounds N]

Each round sends the same messages (4 KiB, 20 sessions, a new connection for each, smtp-source) to one
Posthouse: as it is; while a candidate is in the shadow that spins in every question until its time
is over; while the policy's settings are swapped ten times a second; while decisions are recorded; and as
it is once more. Ratios are of medians, against the medians of both plain runs. A message that is refused or
deferred ends the run.

Then two of smtp-source send at the same time, under a policy that does nothing and under one that panics at every
message of the second: the first one's rate in both, and their ratio.

Needs Debian's postfix for smtp-source.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
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


def during(host, messages, work):
    done = threading.Event()
    thread = threading.Thread(target=work, args=(host, done))
    thread.start()
    try:
        return host.rate(messages)
    finally:
        done.set()
        thread.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
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
                rates["swap"].append(during(host, options.messages, swapping))
                rates["record"].append(recording.rate(options.messages))
                rates["plain"].append(host.rate(options.messages))
                # What is held back after faults, and what is on probation, is not measured here.
                for name, settings in (("beside good", "{}"), ("beside faults", PANICS)):
                    host.policy("load", MISBEHAVING, "--settings", settings)
                    rates[name].append(host.rate_beside(options.messages // 2, "bad"))
                host.policy("load", DEFAULT, "--settings", SETTINGS)
        finally:
            host.stop()
            recording.stop()
    plain = statistics.median(rates["plain"])
    print("| | accepted/s | ratio | runs |")
    print("|---|---|---|---|")
    for name, found in rates.items():
        median = statistics.median(found)
        beside = statistics.median(rates["beside good"]) if name.startswith("beside") else plain
        print(f"| {name} | {median:,.0f} | {median / beside:.2f} | {', '.join(f'{rate:.0f}' for rate in found)} |")


if __name__ == "__main__":
    main()
