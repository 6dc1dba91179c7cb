"""What the design promises beside the rates: each measurement is one function."""

import socket
import statistics
import time

from load import DESIGN, KIB, MIB, load, smtp_source
from posthouse import Posthouse
from process import PATIENCE, PeakMemory, memory


def start_ms(folder, sink, certificate, times):
    """From starting the program to its first 220, the policy's code in the cache: median."""
    (folder / "start").mkdir()
    host = Posthouse(folder / "start", sink, certificate)
    found = []
    for _ in range(times + 1):
        begun = time.monotonic()
        try:
            host.start()
            found.append((time.monotonic() - begun) * 1000)
        finally:
            host.stop()
    return statistics.median(found[1:])  # the first one filled the cache


def idle_session_kib(host, sessions):
    """What one more connection costs the host that has said EHLO and waits. The kernel's buffers are not in it."""
    before = memory([host.pid])
    connections = []
    try:
        for _ in range(sessions):
            connection = socket.create_connection(("127.0.0.1", host.port), timeout=PATIENCE)
            connections.append(connection)
            connection.recv(512)
            connection.sendall(b"EHLO idle.bench.test\r\n")
            connection.recv(1024)
        return (memory([host.pid]) - before) / sessions / KIB
    finally:
        for connection in connections:
            connection.close()


def large_message_mib(host, sink):
    """What a message of 50 MiB adds to the host's memory at its highest, on its way through."""
    large = type(DESIGN)(sessions=1, size=50 * MIB)
    load(host, sink, messages=1)
    before = memory([host.pid])
    with PeakMemory(host.pid, every=0.01) as watched:
        load(host, sink, large, messages=1, seconds=60)
    return (watched.peak - before) / MIB


def policy_ratios(folder, sink, certificate, rounds, seconds):
    """Accepted messages a second, and CPU time, with the default policy by those with none; interleaved.

    The mail is for an account at home here: without a policy nobody may relay."""
    runs = {True: [], False: []}
    hosts = {}
    try:
        for policy in runs:
            place = folder / f"policy-{policy}"
            place.mkdir()
            hosts[policy] = Posthouse(place, sink, certificate, policy=policy)
            hosts[policy].start()
        local = {"recipient": "admin@bench.test"}
        messages = {policy: _enough(host, sink, seconds, local) for policy, host in hosts.items()}
        for _ in range(rounds):
            for policy, host in hosts.items():
                runs[policy].append(smtp_source(host, sink, messages[policy], **local))
    finally:
        for host in hosts.values():
            host.stop()
    def ratio(key):
        with_policy, without = (statistics.median(run[key] for run in runs[policy]) for policy in (True, False))
        return with_policy / without

    return {"rate": ratio("accepted/s"), "cpu": ratio("cpu ms"), "with": runs[True], "without": runs[False]}


def _enough(host, sink, seconds, options):
    """Messages that take about so many seconds; warms the host up."""
    return max(20, int(smtp_source(host, sink, 200, **options)["accepted/s"] * seconds))
