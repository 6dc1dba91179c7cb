"""How often hosts sync, and how often the disk lets anybody sync."""

import os
import time

from load import load
from process import tool

CALLS = "fsync,fdatasync,sync_file_range,syncfs,msync"


def _count(file):
    # A call that another thread interrupts takes two lines, of which the second says `resumed`.
    return sum(1 for line in file.read_text().splitlines() if "sync" in line and "resumed>" not in line)


def per_message(kind, folder, sink, certificate, messages):
    """Sync calls a message, of an instance that is started under strace for it. Only those calls stop it.

    None without strace."""
    strace = tool("strace", optional=True)
    if strace is None:
        return None
    trace = folder / f"{kind.name}.trace"
    wrapper = [strace, "-f", "-qq", "--seccomp-bpf", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(trace)]
    traced = folder / f"{kind.name}-traced"
    traced.mkdir()
    host = kind(traced, sink, certificate, wrapper=wrapper)
    try:
        host.start()
        load(host, sink, messages=20)  # what happens once only
        before = _count(trace)
        seen = sink.count
        load(host, sink, messages=messages, seconds=20)
        return (_count(trace) - before) / (sink.count - seen)
    finally:
        host.stop()


def appends(folder, size, seconds):
    """What the disk allows: one file, one writer, append and fdatasync, a second."""
    block, count = b"x" * size, 0
    with open(folder / "appends", "wb", buffering=0) as file:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            file.write(block)
            os.fdatasync(file.fileno())
            count += 1
    (folder / "appends").unlink()
    return count / seconds
