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
syncs            fsync, fdatasync and their like, by an instance of its own under strace

Rates and CPU time are by smtp-source wherever mail goes in the clear; it can do neither TLS nor AUTH and tells no
latency, so the rest is by `load` (tests/load).

By default: the design's shape (4 KiB, 20 sessions, a new connection for each message, in the clear) and the
design's targets, in three minutes. --all: every shape as well (20 and 100 sessions; new and kept connections; 4 KiB,
64 KiB, 5 MiB; in the clear, STARTTLS, STARTTLS and AUTH), in twenty minutes. Hosts are not restarted in between:
what a shape left in memory, the next one has too. --quick: does the harness work? Its figures mean nothing.

Needs Debian's postfix (smtp-source and smtp-sink are in it), openssl, and root, as Postfix does (or --only others);
strace for the syncs; npm for Haraka.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import resource
import shutil
import sys
import tempfile
import time

import report
import syncs
import targets
from bare import Bare
from certificate import Certificate
from haraka import Haraka, install
from load import DESIGN, EVERY, KIB, LOAD, MIB, Shape, load, settled, smtp_source
from postfix import Postfix
from posthouse import Posthouse, Relay
from process import FAILURES, needs, script
from sink import Sink

KINDS = {"bare": Bare, "postfix": Postfix, "haraka": Haraka, "posthouse": Relay}
# What --quick does besides the design's shape, so that a shape of each tool is driven.
QUICK = [Shape(keep=True, size=64 * KIB), Shape(security="auth")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every shape as well")
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--shapes", metavar="TEXT", help="only those shapes whose name has TEXT in it, and nothing else")
    parser.add_argument("--rounds", type=int, default=5, help="of the design's shape and the targets (default 5)")
    parser.add_argument("--shape-rounds", type=int, default=1, metavar="N", help="of every other shape (default 1)")
    parser.add_argument("--seconds", type=float, help="of each run (default 1.5 for the design's shape, 1 for others)")
    parser.add_argument("--only", action="append", choices=KINDS, help="leave the other hosts out")
    parser.add_argument("--binary", type=pathlib.Path, default=Posthouse.binary, help="the posthouse to measure")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="everything measured, as JSON")
    chosen = parser.parse_args()
    chosen.kinds = [kind for name, kind in KINDS.items() if name in (chosen.only or KINDS)]
    if chosen.quick:
        chosen.rounds, chosen.seconds = 1, 0.3
    chosen.shape_seconds = chosen.seconds or 1.0
    chosen.seconds = chosen.seconds or 1.5
    chosen.wanted = QUICK if chosen.quick else []
    if chosen.all or chosen.shapes:
        chosen.wanted = [shape for shape in EVERY if (chosen.shapes or "") in shape.name]
    return chosen


def check(chosen):
    """What would otherwise end the run in its midst, or after it."""
    needs(Posthouse.binary, Bare.binary, LOAD, "smtp-source", "smtp-sink", "openssl")
    if Postfix in chosen.kinds:
        needs("postfix")
        if os.geteuid() != 0:
            sys.exit("Postfix needs root; --only NAME, once for each host that is wanted, leaves it out")
    if chosen.shapes and not chosen.wanted:
        sys.exit(f"no shape has {chosen.shapes!r} in its name; one is called {DESIGN.name!r}")
    if chosen.json:
        chosen.json.touch()


def note(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    return {"processors": os.cpu_count(), "model": model, "kernel": platform.release()}


def design_shape(hosts, sink, chosen):
    """Rounds of smtp-source and of the load generator over all hosts."""
    found = {"smtp-source": {host.name: [] for host in hosts}, "load": {host.name: [] for host in hosts}}
    messages = {}
    for host in hosts:
        warm = load(host, sink, seconds=min(1.0, chosen.seconds))
        messages[host] = enough(warm, DESIGN, chosen.seconds)
    for number in range(chosen.rounds):
        for host in hosts:
            note(f"round {number + 1}: {host.name}")
            found["smtp-source"][host.name].append(smtp_source(host, sink, messages[host]))
            found["load"][host.name].append(load(host, sink, seconds=chosen.seconds))
    return found


def enough(run, shape, seconds):
    """Messages that take about so many seconds, at the rate of a run; one for each session at least."""
    return max(shape.sessions, int(run["accepted/s"] * seconds))


def one_round(host, sink, shape, seconds):
    """A run of each tool that can do the shape. A host that refuses it is asked no further, and what it said is kept."""
    found = {}
    try:
        # Processes started, memory taken, a password known that is hashed at its first use only.
        load(host, sink, shape, messages=min(shape.sessions, 32 * MIB // shape.size))
        run = found["load"] = load(host, sink, shape, seconds)
        if shape.security == "plain":
            run = found["smtp-source"] = smtp_source(host, sink, enough(run, shape, seconds), shape)
        p99 = found["load"]["p99 ms"]
        # A run that is cut short has at least said so much.
        note(f"  {host.name}: {run['accepted/s']:.0f} accepted/s, {run['relayed/s']:.0f} relayed/s, p99 {p99:.0f} ms")
    except RuntimeError as error:
        found["failed"] = " ".join(str(error).split())
        note(f"  {found['failed']}")
        # Nothing of it shall be counted with the next one's.
        settled(host)
    return found


def every_shape(shapes, hosts, sink, rounds, seconds):
    """Rounds of each shape over the hosts that can do it. One that hangs is left out of whatever comes after: the sink
    could not tell its mail from that of others."""
    found, hosts = {}, list(hosts)
    for shape in shapes:
        note(shape.name)
        able = [host for host in hosts if shape.security in host.securities]
        runs = found[shape.name] = {host.name: [] for host in able}
        for _ in range(rounds):
            for host in (host for host in able if host in hosts):
                try:
                    runs[host.name].append(one_round(host, sink, shape, seconds))
                except FAILURES as error:
                    note(f"  {host.name} is left out of the rest: {error}")
                    runs[host.name].append({"failed": str(error)})
                    hosts.remove(host)
    return found


def sync_calls(shapes, folder, sink, certificate, chosen):
    """Sync calls a message, by host and shape. smtp-sink keeps nothing and makes none."""
    found = {sink.name: {shape.name: 0 for shape in shapes if shape.security in sink.securities}}
    for kind in chosen.kinds:
        note(f"sync calls: {kind.name}")
        counts = found[kind.name] = {}
        try:
            for shape, calls in syncs.per_message(kind, folder, sink, certificate, shapes, min(0.5, chosen.seconds)):
                counts[shape.name] = calls
        except FAILURES as error:
            note(f"{kind.name} failed under strace: {error}")
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
    found["policy"] = targets.with_and_without_policy(folder, sink, certificate, chosen.rounds * 5, chosen.seconds / 2)
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
    if Haraka in chosen.kinds and not install():
        chosen.kinds.remove(Haraka)
    hosts = [sink, *(started(kind(folder, sink, certificate)) for kind in chosen.kinds)]
    found = {"machine": machine(), "load before": os.getloadavg()[0]}
    if not chosen.shapes:
        found |= design_shape(hosts, sink, chosen)
        found["appends/s"] = syncs.appends(folder, 4 * KIB, min(1.0, chosen.seconds))
        if Relay in chosen.kinds:
            found["targets"] = the_targets(folder, sink, certificate, chosen)
    found["shapes"] = every_shape(chosen.wanted, hosts, sink, chosen.shape_rounds, chosen.shape_seconds)
    shapes = chosen.wanted if chosen.shapes else list(dict.fromkeys([DESIGN, *chosen.wanted]))
    found["syncs"] = sync_calls(shapes, folder, sink, certificate, chosen)
    found["load after"] = os.getloadavg()[0]
    return found


def main():
    chosen = arguments()
    Posthouse.binary = chosen.binary.resolve()
    check(chosen)
    # Thousands of connections at once, from here and into the hosts, which inherit it.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(20000, hard), hard))
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
        print()
    report.shapes_tables(found["shapes"], found["syncs"])


if __name__ == "__main__":
    script(main)
