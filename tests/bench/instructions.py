#!/usr/bin/env python3
"""What a fixed dialogue and a fixed decision execute, against what is recorded.

    cargo build --release && tests/bench/instructions.py [--record]

dialogue   instructions of the daemon for one message, from a connection of its own to the file in the
           Maildir, with the built-in default policy on: callgrind counts two runs that differ only in
           their number of messages, and the difference is divided by theirs
decision   fuel (WebAssembly instructions) of each question about one message, and of a fresh instance
           with its settings: `posthouse policy run` counts it, the same on every machine

More than a tenth above tests/bench/instructions.toml is a failure (exit code 1): either take it away, or
say in the commit why it is worth its price and record it with --record. Counts depend on the compiler,
which rust-toolchain.toml pins, and a little on what the processor offers to memcpy.

Needs Debian's valgrind; without it the dialogue is skipped, loudly.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib

from posthouse import TRUSTING, Posthouse
from process import TARGET, needs, script, wait_for

HERE = pathlib.Path(__file__).resolve().parent
POLICY = TARGET / "policy-wasm/wasm32-wasip2/policy/posthouse_default_policy.wasm"
RECORD = HERE / "instructions.toml"
# Above what is recorded.
TOLERANCE = 0.10
FEW, MANY = 10, 60
# Under valgrind a message takes some 30 ms, and compiling the policy ten seconds.
PATIENCE = 120

CONFIGURATION = """
# Smallest pool: valgrind gives a program 64 GiB of addresses.
[policy-engine]
instances = 1
# Not meanwhile: whether it is done in time would change what is counted.
prepare-after = "1h"
"""

DIALOGUE = [
    (b"", b"220"),
    (b"EHLO client.bench.test\r\n", b"250"),
    (b"MAIL FROM:<sender@bench.test> SIZE=4096\r\n", b"250"),
    (b"RCPT TO:<admin@bench.test>\r\n", b"250"),
    (b"DATA\r\n", b"354"),
    (b"From: sender@bench.test\r\nTo: admin@bench.test\r\nSubject: The same each time\r\n\r\n"
     + (b"x" * 62 + b"\r\n") * 64 + b".\r\n", b"250"),
    (b"QUIT\r\n", b"221"),
]


class Daemon(Posthouse):
    """Under a tool of valgrind, on one processor, so that the number of threads is the same everywhere."""

    def __init__(self, folder):
        super().__init__(folder, CONFIGURATION, TRUSTING, patience=PATIENCE)

    def run(self, messages, *valgrind):
        """From its start to its end."""
        self.wrapper = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0))), "valgrind", *valgrind]
        with self:
            self.deliver(messages)

    def converse(self, dialogue):
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            replies = connection.makefile("rb")
            for line, wanted in dialogue:
                connection.sendall(line)
                reply = replies.readline()
                while reply[3:4] == b"-":
                    reply = replies.readline()
                if not reply.startswith(wanted):
                    raise OSError(f"{line[:40]!r} was answered {reply!r}")

    def delivered(self):
        return sum(1 for _ in (self.folder / "mail").glob("*/new/*"))

    def deliver(self, messages):
        """One after the other, each with its delivery, so that nothing is done in batches."""
        for _ in range(messages):
            before = self.delivered()
            self.converse(DIALOGUE)
            wait_for("a delivery", lambda: self.delivered() > before, PATIENCE, pause=0.02)


def dialogue():
    """Instructions for one message."""
    shared_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="posthouse-instructions-", dir=shared_memory) as made:
        daemon = Daemon(pathlib.Path(made) / "posthouse")
        counts, first = pathlib.Path(made) / "callgrind.out", pathlib.Path(made) / "first"

        def copy(source, target):
            subprocess.run(["cp", "--archive", source, target], check=True)

        def count(messages):
            # From the same folder each time: a start reads the end of the log and the journal of the run before.
            shutil.rmtree(daemon.folder)
            copy(first, daemon.folder)
            daemon.run(messages, "--tool=callgrind", f"--callgrind-out-file={counts}")
            return int(re.search(r"^(?:totals|summary): (\d+)", counts.read_text(), re.MULTILINE)[1])

        # The first start makes keys, compiles the policy and caches the result; that is not counted.
        daemon.run(1, "--tool=none", "--quiet")
        copy(daemon.folder, first)
        few, many = count(FEW), count(MANY)
    return {"instructions": round((many - few) / (MANY - FEW))}


def decision():
    """Fuel by question."""
    asked = [str(Posthouse.binary), "policy", "run", str(POLICY), "--case", str(HERE / "decision.toml"), "--json"]
    said = subprocess.run(asked, stdout=subprocess.PIPE)
    if said.returncode != 0:
        sys.exit(f"the decision is not the recorded one: {said.stdout.decode()}")
    steps = json.loads(said.stdout)["cases"][0]["steps"]
    fuel = {"fresh": steps[0]["fresh"]["fuel"]}
    fuel.update((step["stage"], step["cost"]["fuel"]) for step in steps)
    return fuel


def write(counts):
    lines = ["# What tests/bench/instructions.py --record counted; see there."]
    for name, values in counts.items():
        lines += ["", f"[{name}]"] + [f"{key} = {value}" for key, value in values.items()]
    RECORD.write_text("\n".join(lines) + "\n")


def compare(counts, recorded):
    """Prints every count; whether all are within what is tolerated."""
    good = True
    for name, values in counts.items():
        for key, value in values.items():
            was = recorded.get(name, {}).get(key)
            if was is None:
                good, verdict = False, "not recorded"
            else:
                share = value / was - 1
                verdict = f"{share:+.1%} of {was:,}"
                if share > TOLERANCE:
                    good, verdict = False, f"{verdict}: TOO MUCH"
                elif share < -TOLERANCE:
                    verdict = f"{verdict}: better; record it"
            print(f"{name:9} {key:13} {value:12,}  {verdict}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="what is counted now is what is right from now on")
    parser.add_argument("--binary", type=pathlib.Path, default=Posthouse.binary, help="the posthouse to measure")
    arguments = parser.parse_args()
    Posthouse.binary = arguments.binary.resolve()
    needs(Posthouse.binary)
    recorded = tomllib.loads(RECORD.read_text())
    counts = {}
    if shutil.which("valgrind"):
        counts["dialogue"] = dialogue()
    else:
        print("SKIPPED: no valgrind; the instructions of the dialogue were NOT counted")
        counts |= {"dialogue": recorded.get("dialogue", {})} if arguments.record else {}
    if POLICY.is_file():
        counts["decision"] = decision()
    else:
        print(f"SKIPPED: no {POLICY}; the fuel of the decision was NOT counted")
        counts |= {"decision": recorded.get("decision", {})} if arguments.record else {}
    if arguments.record:
        write(counts)
    elif not compare(counts, recorded):
        sys.exit("more than a tenth above tests/bench/instructions.toml: take it away, or --record it and say why")


if __name__ == "__main__":
    script(main)
