#!/usr/bin/env python3
"""Accept and relay rates of Posthouse beside Postfix's, on this machine, in one run.

    cargo build --release && tests/bench/compare.py [--messages N] [--rounds N]

Each round sends the same messages (4 KiB, 20 sessions, a new connection for each, smtp-source) three
times: straight into smtp-sink, which stores nothing and so is the ceiling; through Postfix into
smtp-sink; through Posthouse into smtp-sink. Rounds are interleaved, so that whatever else the
machine does falls on all three alike. Ratios are of medians.

accept   messages by the time smtp-source needed to hand them over (each is on disk by then),
         with delivery already going on behind
relay    messages by the time until the last one had reached the sink

Postfix is an instance of its own in a temporary folder on loopback; the system's is left alone.
Needs Debian's postfix (smtp-source and smtp-sink are in it) and root, as Postfix does.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SESSIONS = 20
LENGTH = 4096
# Nothing below takes longer than this, in seconds, or the run is given up.
PATIENCE = 180


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.01)


def listening(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def tool(name):
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if found is None:
        sys.exit(f"{name} is missing: apt-get install postfix")
    return found


class Sink:
    """smtp-sink, counting."""

    def __init__(self):
        self.port = free_port()
        self.count = 0
        self.process = subprocess.Popen(
            [tool("smtp-sink"), "-u", "nobody", "-c", f"127.0.0.1:{self.port}", "1000"],
            stdout=subprocess.PIPE,
        )
        threading.Thread(target=self._read, daemon=True).start()
        wait_for("smtp-sink", lambda: listening(self.port), 10)

    def _read(self):
        tail = b""
        while piece := os.read(self.process.stdout.fileno(), 65536):
            tail = (tail + piece)[-200:]
            counts = re.findall(rb"mesg=(\d+)\D", tail)
            if counts:
                self.count = int(counts[-1])

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


class Postfix:
    """A Postfix of our own in a folder of its own."""

    name = "postfix"

    def __init__(self, folder, sink):
        self.port = free_port()
        self.folder = folder / "postfix"
        for part in ("etc", "queue", "data"):
            (self.folder / part).mkdir(parents=True)
        shutil.chown(self.folder / "data", "postfix")
        (self.folder / "etc/main.cf").write_text(f"""\
compatibility_level = 3.6
queue_directory = {self.folder}/queue
data_directory = {self.folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {self.folder}/log
maillog_file_prefixes = {self.folder}
myhostname = mx.postfix.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
relayhost = [127.0.0.1]:{sink.port}
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_client_connection_rate_limit = 0
""")
        template = pathlib.Path("/usr/share/postfix/master.cf.dist").read_text()
        lines = []
        for line in template.splitlines():
            words = line.split()
            if len(words) >= 8 and not line.startswith(("#", " ")):
                words[4] = "n"  # no chroot
                if words[0] == "smtp" and words[1] == "inet":
                    words[0] = f"127.0.0.1:{self.port}"
                line = " ".join(words)
            lines.append(line)
        (self.folder / "etc/master.cf").write_text("\n".join(lines) + "\n")
        self._control("start")
        wait_for("Postfix", lambda: listening(self.port), 30)

    def _control(self, verb):
        result = subprocess.run(
            [tool("postfix"), "-c", str(self.folder / "etc"), verb], capture_output=True, text=True, timeout=60
        )
        if result.returncode != 0:
            raise RuntimeError(f"postfix {verb}: {result.stdout}{result.stderr}")

    def stop(self):
        self._control("stop")


class Posthouse:
    """The daemon from target/release, everything durable, default policy on."""

    name = "posthouse"

    def __init__(self, folder, sink, binary):
        self.folder = folder / "posthouse"
        self.folder.mkdir()
        template = (REPOSITORY / "tests/bench/posthouse.toml").read_text()
        (self.folder / "posthouse.toml").write_text(template.replace("@SINK@", str(sink.port)))
        shutil.copy(REPOSITORY / "tests/bench/directory.toml", self.folder)
        self.process = subprocess.Popen(
            [binary, "run", "--config", str(self.folder / "posthouse.toml")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
        )
        self.port = None
        self.said = []
        threading.Thread(target=self._read, daemon=True).start()
        wait_for("Posthouse", lambda: self.port or self.process.poll() is not None, 30)
        if self.port is None:
            raise RuntimeError("posthouse did not start:\n" + "".join(self.said))

    def _read(self):
        for line in self.process.stdout:
            text = line.decode(errors="replace")
            if self.port is None:
                self.said.append(text)
                if '"id":5000' in text:
                    listener = json.loads(text)["fields"]["listeners"][0]
                    self.port = int(listener.rsplit(":", 1)[1])

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


class Ceiling:
    """smtp-source straight into smtp-sink."""

    name = "smtp-sink"

    def __init__(self, sink):
        self.port = sink.port

    def stop(self):
        pass


def one_run(host, sink, messages):
    """Accept and relay rate of one run."""
    before = sink.count
    command = [tool("smtp-source"), "-s", str(SESSIONS), "-m", str(messages), "-l", str(LENGTH)]
    command += ["-f", "source@bench.test", "-t", "target@example.org", f"127.0.0.1:{host.port}"]
    start = time.monotonic()
    source = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    accepted = time.monotonic()
    if source.returncode != 0 or source.stderr:
        raise RuntimeError(f"{host.name}: smtp-source: {source.stdout}{source.stderr}")
    wait_for(f"{messages} messages of {host.name} at the sink", lambda: sink.count - before >= messages)
    relayed = time.monotonic()
    return messages / (accepted - start), messages / (relayed - start)


def table(results):
    rates = {name: [statistics.median(column) for column in zip(*runs)] for name, runs in results.items()}
    print(f"\n{'':12}{'accept/s':>10}{'relay/s':>10}   rounds (accept, relay)")
    for name, (accept, relay) in rates.items():
        rounds = "  ".join(f"{a:.0f}, {r:.0f}" for a, r in results[name])
        print(f"{name:12}{accept:10.0f}{relay:10.0f}   {rounds}")
    if "posthouse" not in rates:
        return
    accept, relay = rates["posthouse"]
    print()
    if "postfix" in rates:
        print(f"accept: {accept / rates['postfix'][0]:.2f} x postfix (target 6)")
        print(f"relay:  {relay / rates['postfix'][1]:.2f} x postfix (target 5)")
    print(f"accept: {accept / rates['smtp-sink'][0]:.2f} x smtp-sink (target 0.6)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=3000, help="in each run (default 3000)")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--binary", default=str(REPOSITORY / "target/release/posthouse"))
    parser.add_argument("--only", action="append", choices=["postfix", "posthouse"], help="leave the other out")
    arguments = parser.parse_args()
    wanted = arguments.only or ["postfix", "posthouse"]
    # A signal ends the run through the `finally` below, so that nothing is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="posthouse-bench-"))
    folder.chmod(0o755)
    running = []
    try:
        sink = Sink()
        running.append(sink)
        hosts = [Ceiling(sink)]
        if "postfix" in wanted:
            hosts.append(Postfix(folder, sink))
            running.append(hosts[-1])
        if "posthouse" in wanted:
            hosts.append(Posthouse(folder, sink, arguments.binary))
            running.append(hosts[-1])
        for host in hosts:
            one_run(host, sink, min(500, arguments.messages))  # to warm up
        results = {host.name: [] for host in hosts}
        for number in range(arguments.rounds):
            for host in hosts:
                results[host.name].append(one_run(host, sink, arguments.messages))
                print(f"round {number + 1} {host.name}: done", file=sys.stderr)
        print(f"{arguments.messages} messages of {LENGTH} bytes, {SESSIONS} sessions, {os.cpu_count()} processors")
        table(results)
    finally:
        for host in reversed(running):
            host.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
