"""How often hosts sync, and how often the disk lets anybody sync."""

import contextlib
import os
import time

from load import load
from process import tool

CALLS = "fsync,fdatasync,sync_file_range,syncfs,msync"
# Messages of each session, at most: more would change nothing.
EACH = 25


def _count(file):
    # A call that another thread interrupts takes two lines, of which the second says `resumed`.
    return sum(1 for line in file.read_text().splitlines() if "sync" in line and "resumed>" not in line)


def per_message(kind, folder, sink, certificate, shapes, seconds):
    """Yields each shape that this kind of host can do, and its sync calls a message; None if it took nothing. One instance,
    started under strace for it, serves all shapes one after the other, so that it takes no longer; only those calls stop it.

    Nothing without strace."""
    strace = tool("strace", optional=True)
    if strace is None:
        return
    trace = folder / f"{kind.name}.trace"
    wrapper = [strace, "-f", "-qq", "--seccomp-bpf", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(trace)]
    traced = folder / f"{kind.name}-traced"
    traced.mkdir()
    host = kind(traced, sink, certificate, wrapper=wrapper)
    try:
        host.start()
        load(host, sink, messages=20)  # what happens once only
        for shape in shapes:
            if shape.security in kind.securities:
                before, seen, calls = _count(trace), sink.count, None
                # A host that refuses a shape has said why when it was not traced.
                with contextlib.suppress(RuntimeError):
                    load(host, sink, shape, seconds, messages=EACH * shape.sessions)
                    calls = (_count(trace) - before) / (sink.count - seen)
                yield shape, calls
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
