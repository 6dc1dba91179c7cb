"""Processes: finding tools, waiting, and what a tree of processes has used."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
# Nothing here takes longer than this, in seconds, or the run is given up.
PATIENCE = 90
TICKS = os.sysconf("SC_CLK_TCK")
# What goes wrong around a script: a host that refuses, breaks or hangs, a program that fails, a disk that is full.
FAILURES = (RuntimeError, OSError, subprocess.SubprocessError)


def script(main):
    """Runs a script. A failure around it ends it with what there is to say about that, not with a traceback; a signal ends
    it through its `with` blocks, so that nothing is left running."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        main()
    except FAILURES as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def needs(*programs):
    """Ends the script, before it has begun, unless these are there: paths are what is built here, names are tools."""
    for program in programs:
        if isinstance(program, str):
            tool(program)
        elif not program.is_file():
            sys.exit(f"{program} is missing; what is built here: cargo build --release --workspace")
        elif program.suffix != ".wasm" and not os.access(program, os.X_OK):
            sys.exit(f"{program} is no program")


def tool(name, optional=False):
    """Where a program is; `smtp-source` and its like are not in everybody's path."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None and not optional:
        sys.exit(f"{name} is missing; the head of tests/bench/{pathlib.Path(sys.argv[0]).name} tells what is needed")
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, seconds=PATIENCE, pause=0.005):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s in vain for {what}")
        time.sleep(pause)


def greets(port, seconds=5):
    """Whether a host answers with its 220."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
            return connection.recv(512).startswith(b"220")
    except OSError:
        return False


def _stat(pid):
    """Parent, and the ticks of this process and of its children that have ended."""
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), sum(int(field) for field in fields[11:15])


def tree(root):
    """Ticks by process id: this process and everything below it."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found[int(entry)] = _stat(entry)
            except (OSError, ValueError):
                continue  # it has ended meanwhile
    members, grown = {root}, True
    while grown:
        more = {pid for pid, (parent, _) in found.items() if parent in members} - members
        members |= more
        grown = bool(more)
    return {pid: found[pid][1] for pid in members if pid in found}


def end(process, wrapper, patience=60):
    """Asks a process to end and waits for it, so many seconds at most. A wrapper either has become what it
    wraps, or ends with it."""
    if process is None or process.poll() is not None:
        return
    wrapped = set(tree(process.pid)) - {process.pid} if wrapper else set()
    for pid in wrapped or {process.pid}:
        os.kill(pid, signal.SIGTERM)
    process.wait(patience)


def cpu_seconds(root):
    """CPU time of a tree, user and system, with that of members that have ended."""
    return sum(tree(root).values()) / TICKS


def memory(pids):
    """Bytes resident in these processes; what they share is counted once (proportional set size)."""
    total = 0
    for pid in pids:
        try:
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


def resident(pid):
    """KiB of a process that are in memory, shared pages included."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


class PeakMemory:
    """The most memory a tree had within a `with` block, looked at so often."""

    def __init__(self, root, every=0.25):
        self.root, self.every = root, every
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        while not self._done.wait(self.every):
            self.peak = max(self.peak, memory(tree(self.root)))

    def __enter__(self):
        self.peak = memory(tree(self.root))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        self.peak = max(self.peak, memory(tree(self.root)))
