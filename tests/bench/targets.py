"""What the design promises beside the rates: each measurement is one function."""

import contextlib
import json
import socket
import statistics
import time

from load import KIB, MIB, Shape, load, smtp_source
from posthouse import Relay
from process import PATIENCE, PeakMemory, memory, wait_for

# Mail for it goes on, as all mail does here, though it is for an account of the host.
TARGET = """
[[account]]
name = "target"
addresses = ["target@bench.test"]
home = "smtp:127.0.0.1:{port}"
"""


@contextlib.contextmanager
def fresh(folder, name, sink, certificate, **options):
    """A host of its own: what another has taken and may use again would hide what is measured."""
    place = folder / name
    place.mkdir()
    host = Relay(place, sink, certificate, **options)
    with open(host.folder / "directory.toml", "a") as directory:
        directory.write(TARGET.format(port=sink.port))
    try:
        host.start()
        wait_for("the policies to be prepared", lambda: _prepared(host), pause=0.2)
        yield host
    finally:
        host.stop()


def _prepared(host):
    """Whether no policy is still to be compiled with its settings: that takes memory and time of its own, once."""
    return all(module["prepared"] != "not yet" for module in json.loads(host.tell("policy", "status", "--json")))


def start_ms(folder, sink, certificate, times):
    """From starting the program to its first 220, the policy's code in the cache: median."""
    with fresh(folder, "start", sink, certificate) as host:
        found = []
        for _ in range(times):
            host.stop()
            begun = time.monotonic()
            host.start()
            found.append((time.monotonic() - begun) * 1000)
        return statistics.median(found)


def idle_session_kib(folder, sink, certificate, sessions):
    """What a connection costs the host that has said EHLO and waits. The kernel's buffers are not in it."""
    with fresh(folder, "idle", sink, certificate) as host, contextlib.ExitStack() as stack:
        load(host, sink, messages=20)
        before = memory([host.pid])
        for _ in range(sessions):
            connection = socket.create_connection(("127.0.0.1", host.port), timeout=PATIENCE)
            stack.enter_context(connection)
            connection.recv(512)
            connection.sendall(b"EHLO idle.bench.test\r\n")
            connection.recv(1024)
        return (memory([host.pid]) - before) / sessions / KIB


def large_message_mib(folder, sink, certificate):
    """What a message of 50 MiB adds to the host's memory at its highest, on its way through: median of three."""
    found = []
    with fresh(folder, "large", sink, certificate) as host:
        load(host, sink, messages=20)
        for _ in range(3):
            before = memory([host.pid])
            with PeakMemory(host.pid, every=0.01) as watched:
                load(host, sink, Shape(sessions=1, size=50 * MIB), messages=1, seconds=60)
            found.append((watched.peak - before) / MIB)
    return statistics.median(found)


def with_and_without_policy(folder, sink, certificate, rounds, seconds):
    """Accepted messages a second, and CPU time, with the default policy and with none; interleaved. A run is off by a tenth
    and the question is one of a twentieth, so that many short rounds are asked for. A process that happens to lie well in
    memory stays the faster one, so that each five rounds have processes of their own.

    Without a policy nobody may relay, so the mail is for an account here, whose home is the sink."""
    runs = {True: [], False: []}
    for first in range(0, rounds, 5):
        with contextlib.ExitStack() as stack:
            hosts = {
                policy: stack.enter_context(fresh(folder, f"policy-{policy}-{first}", sink, certificate, policy=policy))
                for policy in runs
            }
            local = {"recipient": "target@bench.test"}
            messages = {policy: _enough(host, sink, seconds, local) for policy, host in hosts.items()}
            for number in range(first, min(first + 5, rounds)):
                # By turns the one and the other first.
                for policy, host in sorted(hosts.items(), key=lambda each: each[0] == bool(number % 2)):
                    runs[policy].append(smtp_source(host, sink, messages[policy], **local))
    return {"with": runs[True], "without": runs[False]}


def _enough(host, sink, seconds, options):
    """Messages that take about so many seconds; warms the host up."""
    return max(20, int(smtp_source(host, sink, 200, **options)["accepted/s"] * seconds))
