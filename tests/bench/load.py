"""Driving a host: shapes of load, smtp-source, and the load generator of the `tests` package."""

import dataclasses
import json
import subprocess
import time

from process import PATIENCE, TARGET, PeakMemory, cpu_seconds, tool, wait_for

LOAD = TARGET / "release/load"
SENDER = "source@bench.test"
RELAYED = "target@example.org"
LOGIN = "admin:password"
KIB = 1024
MIB = 1024 * KIB


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a run sends. `security` is plain, starttls, or auth (in TLS)."""

    sessions: int = 20
    keep: bool = False
    size: int = 4 * KIB
    security: str = "plain"

    @property
    def name(self):
        size = f"{self.size // MIB} MiB" if self.size >= MIB else f"{self.size // KIB} KiB"
        connection = "kept" if self.keep else "new"
        return f"{self.sessions} sessions, {connection}, {size}, {self.security}"


DESIGN = Shape()
EVERY = [
    Shape(sessions, keep, size, security)
    for security in ("plain", "starttls", "auth")
    for size in (4 * KIB, 64 * KIB, 5 * MIB)
    for keep in (False, True)
    for sessions in (20, 100)
]


def _relayed(host, sink, before, messages, start):
    """Waits for the sink to have them all; messages a second since the start."""
    wait_for(f"{messages} messages of {host.name} at the sink", lambda: sink.count - before >= messages)
    return messages / (time.monotonic() - start)


def settled(host):
    """Waits until the host has nothing left to do, by the CPU time it takes."""
    used = -1.0
    while used < (now := cpu_seconds(host.pid)) - 0.01:
        used = now
        time.sleep(0.2)


def smtp_source(host, sink, messages, shape=DESIGN, recipient=RELAYED):
    """The same load for every host, from the tool everybody has: rates and CPU time a message.

    It ends the run if a message is refused."""
    command = [tool("smtp-source"), "-s", shape.sessions, "-l", shape.size, "-m", messages]
    command += ["-d"] if shape.keep else []
    command += ["-f", SENDER, "-t", recipient, f"127.0.0.1:{host.port}"]
    before, used, start = sink.count, cpu_seconds(host.pid), time.monotonic()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=PATIENCE)
    elapsed = time.monotonic() - start
    if done.returncode != 0 or done.stderr:
        raise RuntimeError(f"{host.name}: smtp-source: {done.stdout}{done.stderr}")
    relayed = None
    if recipient == RELAYED:
        relayed = _relayed(host, sink, before, messages, start)
    else:
        settled(host)
    cpu = (cpu_seconds(host.pid) - used) / messages
    return {"accepted/s": messages / elapsed, "relayed/s": relayed, "cpu ms": cpu * 1000}


def load(host, sink, shape=DESIGN, seconds=1.5, messages=None):
    """As smtp_source, with latency, memory, TLS and AUTH; what is refused is counted."""
    command = [LOAD, f"127.0.0.1:{host.port}", "--sessions", shape.sessions, "--size", shape.size, "--seconds", seconds]
    command += ["--sender", SENDER, "--recipient", RELAYED]
    command += ["--messages", messages] if messages else []
    command += ["--keep"] if shape.keep else []
    command += ["--tls"] if shape.security != "plain" else []
    command += ["--login", LOGIN] if shape.security == "auth" else []
    before, used, start = sink.count, cpu_seconds(host.pid), time.monotonic()
    with PeakMemory(host.pid) as memory:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode != 0:
            raise RuntimeError(f"{host.name}: load: {done.stdout}{done.stderr}")
        found = json.loads(done.stdout)
        messages = found["accepted"]
        if messages == 0:
            raise RuntimeError(f"{host.name} took nothing of {shape.name}: {found['refused']}")
        relayed = _relayed(host, sink, before, messages, start)
    return {
        "accepted/s": messages / found["seconds"],
        "relayed/s": relayed,
        "cpu ms": (cpu_seconds(host.pid) - used) / messages * 1000,
        "memory MiB": memory.peak / MIB,
        "refused": sum(found["refused"].values()),
        "replies": found["refused"],
        **{f"{key} ms": value for key, value in found["latency"].items()},
    }
