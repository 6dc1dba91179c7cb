#!/usr/bin/env python3
"""Posthouse beside Postfix and Haraka, on this machine, in one run.

    cargo build --release --workspace && tests/bench/compare.py [--all] [--json FILE]

All relay to the same smtp-sink and have each message synced before its 250. They are driven in turn, in rounds, so
that whatever else the machine does falls on all alike; figures are medians of the rounds, ratios the medians of
each round's ratio. smtp-sink alone, which stores nothing, is the ceiling for whoever takes mail; `bare` (tests/load),
which syncs a message and hands it on and does nothing else, the ceiling for whoever keeps and relays it; and a file
that one writer appends to and syncs is what the disk allows.

accepted/s       messages by the time the sender needed to hand them over, with delivery going on behind
relayed/s        messages by the time until the last one had reached the sink
CPU ms           of the host's whole tree of processes, until then
p50, p99, max    of one message, from connecting (or MAIL, if the connection is kept) to its 250
memory           of the tree at its highest, shared pages counted once
syncs            fsync, fdatasync and their like, in a run of its own under strace

By default: the design's shape (4 KiB, 20 sessions, a new connection for each message, in the clear) with
smtp-source and with the load generator in tests/load, and the design's targets, in three minutes.
--all: every shape as well (20 and 100 sessions; new and kept connections; 4 KiB, 64 KiB, 5 MiB; in the
clear, STARTTLS, STARTTLS and AUTH), in fifteen minutes. --quick: does the harness work? Its figures mean nothing.

Needs Debian's postfix (smtp-source and smtp-sink are in it), openssl, and root, as Postfix does; strace for
the syncs; npm for Haraka.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import resource
import shutil
import signal
import sys
import tempfile
import time

import report
import syncs
import targets
from bare import Bare
from certificate import Certificate
from haraka import Haraka, install
from load import DESIGN, EVERY, KIB, LOAD, load, smtp_source
from postfix import Postfix
from posthouse import Posthouse, Relay
from sink import Sink

KINDS = {"bare": Bare, "postfix": Postfix, "haraka": Haraka, "posthouse": Relay}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every shape as well")
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--shapes", metavar="TEXT", help="only those shapes whose name has TEXT in it, and nothing else")
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each run (default 1.5)")
    parser.add_argument("--only", action="append", choices=KINDS, help="leave the other hosts out")
    parser.add_argument("--binary", type=pathlib.Path, default=Posthouse.binary, help="the posthouse to measure")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="everything measured, as JSON")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.seconds = 1, 0.3
    return chosen


def note(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    return {"processors": os.cpu_count(), "model": model, "kernel": platform.release()}


def design_shape(hosts, sink, chosen):
    """Rounds of smtp-source and of the load generator over all hosts."""
    found = {"smtp-source": {host.name: [] for host in hosts}, "load": {host.name: [] for host in hosts}}
    enough = {}
    for host in hosts:
        warm = load(host, sink, seconds=min(1.0, chosen.seconds))
        enough[host] = max(20, int(warm["accepted/s"] * chosen.seconds))
    for number in range(chosen.rounds):
        for host in hosts:
            note(f"round {number + 1}: {host.name}")
            found["smtp-source"][host.name].append(smtp_source(host, sink, enough[host]))
            found["load"][host.name].append(load(host, sink, seconds=chosen.seconds))
    return found


def every_shape(shapes, hosts, sink, seconds):
    """One run of each shape and host; a host that cannot do a shape says why and is left out of it."""
    found = {}
    for shape in shapes:
        note(shape.name)
        found[shape.name] = {}
        for host in hosts:
            if shape.security in host.securities:
                try:
                    # So that a password is known that is hashed at its first use only.
                    load(host, sink, shape, messages=1)
                    run = found[shape.name][host.name] = load(host, sink, shape, seconds)
                    # A run that is cut short has at least said so much.
                    note(f"  {host.name}: {run['accepted/s']:.0f} accepted/s, {run['relayed/s']:.0f} relayed/s, p99 {run['p99 ms']:.0f} ms")
                except (RuntimeError, TimeoutError) as error:
                    note(f"{host.name} failed: {error}")
    return found


def the_targets(folder, sink, certificate, chosen):
    """What the design promises beside the rates."""
    quick = chosen.quick
    note("targets: start, idle sessions, a large message")
    found = {
        "start ms": targets.start_ms(folder, sink, certificate, 1 if quick else 5),
        "idle session KiB": targets.idle_session_kib(folder, sink, certificate, 200 if quick else 2000),
        "large message MiB": targets.large_message_mib(folder, sink, certificate),
    }
    note("targets: with and without the policy")
    found["policy"] = targets.with_and_without_policy(folder, sink, certificate, chosen.rounds, chosen.seconds)
    return found


def measure(folder, stack, chosen):
    """Everything that was asked for. What is started is stopped with the stack."""

    def started(host):
        note(f"starting {host.name}")
        stack.callback(host.stop)
        host.start()
        return host

    sink = started(Sink())
    certificate = Certificate(folder)
    kinds = [kind for name, kind in KINDS.items() if name in (chosen.only or KINDS)]
    if Haraka in kinds and not install():
        kinds.remove(Haraka)
    if Postfix in kinds and os.geteuid() != 0:
        note("SKIPPED: Postfix, which needs root")
        kinds.remove(Postfix)
    hosts = [sink, *(started(kind(folder, sink, certificate)) for kind in kinds)]
    found = {"machine": machine(), "load before": os.getloadavg()[0]}
    if not chosen.shapes:
        found |= design_shape(hosts, sink, chosen)
        note("sync calls")
        found["syncs"] = {
            kind.name: syncs.per_message(kind, folder, sink, certificate, 50 if chosen.quick else 500) for kind in kinds
        }
        found["appends/s"] = syncs.appends(folder, 4 * KIB, min(1.0, chosen.seconds))
        if Relay in kinds:
            found["targets"] = the_targets(folder, sink, certificate, chosen)
    shapes = [shape for shape in EVERY if (chosen.shapes or "") in shape.name] if chosen.all or chosen.shapes else []
    found["shapes"] = every_shape(shapes, hosts, sink, min(2.0, chosen.seconds))
    found["load after"] = os.getloadavg()[0]
    return found


def main():
    chosen = arguments()
    Posthouse.binary = chosen.binary.resolve()
    for program in (Posthouse.binary, Bare.binary, LOAD):
        if not program.exists():
            sys.exit(f"{program} is missing: cargo build --release --workspace")
    # Thousands of connections at once, from here and into the hosts, which inherit it.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(20000, hard), hard))
    # A signal ends the run through the stack, so that nothing is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="posthouse-bench-"))
        folder.chmod(0o755)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        found = measure(folder, stack, chosen)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    described = found["machine"]
    before, after = (f"{found[when]:.0f}" for when in ("load before", "load after"))
    print(f"{described['processors']} processors ({described['model']}), Linux {described['kernel']}, load {before} to {after}\n")
    if "load" in found:
        print(f"{DESIGN.name}\n")
        report.design_table(found)
    if "targets" in found:
        report.targets_table(found)
    if found["shapes"]:
        print()
        report.shapes_table(found["shapes"])


if __name__ == "__main__":
    main()
