#!/usr/bin/env python3
"""What Posthouse does with much to keep, on this machine.

    cargo build --release --workspace && tests/bench/scale.py [--only queue|accounts|large] [--queued N]

queue     N messages (100,000) wait for a server that cannot be reached. Accepted and relayed messages a
          second for another server, before and with them waiting; memory a waiting message; then, after a
          restart, the time to the first 220, what looking at the queue takes, and what it costs that all are due at
          once; at last the server is back, and they go
accounts  100,000 accounts: the time to the first 220, memory, a reload while mail flows, a list of all
large     20 sessions with a message of 50 MiB each at once: MiB accepted a second and memory for each

Needs Debian's postfix (smtp-source and smtp-sink are in it), openssl, and about 1 GB of disk.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

from certificate import Certificate
from load import MIB, SENDER, Shape, smtp_source
from posthouse import Posthouse, Relay
from process import PeakMemory, cpu_seconds, free_port, memory, needs, script, tool, wait_for
from sink import Sink

SMALL = 512
PART = 250_000
DEAD = "nobody@dead.test"


class Site:
    """A Posthouse that relays to a sink, and whatever is added to its configuration."""

    def __init__(self, configuration="", directory=""):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="posthouse-bench-"))
        self.folder.chmod(0o755)
        self.sink = Sink()
        self.sink.start()
        self.host = Relay(self.folder, self.sink, Certificate(self.folder))
        for name, text in (("posthouse.toml", configuration), ("directory.toml", directory)):
            with open(self.host.folder / name, "a") as file:
                file.write(text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.host.stop()
        finally:
            self.sink.stop()
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        """Milliseconds to the first 220."""
        begun = time.monotonic()
        self.host.start()
        return (time.monotonic() - begun) * 1000

    def memory(self):
        return memory([self.host.pid])

    def tell(self, *words):
        """Runs a command of the operator; what it said, and the milliseconds it took."""
        begun = time.monotonic()
        said = self.host.tell(*words)
        return said, (time.monotonic() - begun) * 1000


def row(what, value):
    print(f"{what:66}{value}", flush=True)


def rates(site, messages, rounds):
    runs = [smtp_source(site.host, site.sink, messages) for _ in range(rounds)]
    return {key: statistics.median(run[key] for run in runs) for key in ("accepted/s", "relayed/s")}


def queue(options):
    gone = free_port()
    route = f'\n[[delivery.route]]\ndomain = "dead.test"\nto = "127.0.0.1:{gone}"\n'
    with Site(configuration=route) as site:
        site.start()
        smtp_source(site.host, site.sink, 500)
        before, base = rates(site, 3000, options.rounds), site.memory()
        begun = time.monotonic()
        # A connection takes 10,000 messages.
        for left in range(options.queued, 0, -PART):
            command = [tool("smtp-source"), "-s", 50, "-d", "-l", SMALL, "-m", min(left, PART), "-f", SENDER, "-t", DEAD]
            subprocess.run([str(word) for word in [*command, f"127.0.0.1:{site.host.port}"]], check=True, timeout=600)
        took = time.monotonic() - begun
        row(f"{options.queued} messages for a dead server, accepted/s", f"{options.queued / took:.0f}")
        beside = rates(site, 3000, options.rounds)
        for key, value in before.items():
            row(f"{key} for a live server, with them waiting / before", f"{beside[key]:.0f} / {value:.0f} = {beside[key] / value:.2f}")
        row("memory a waiting message, bytes", f"{(site.memory() - base) / options.queued:.0f}")
        said, _ = site.tell("status", "--json")
        row("waiting by then", json.loads(said)["spool"]["queued"])
        site.host.stop()
        row("start with them, ms to the first 220", f"{site.start():.0f}")
        wave(site, options.queued, before)
        row("memory after the start, MiB", f"{site.memory() / MIB:.0f}")
        said, took = site.tell("queue", "list", "--json")
        row("queue list, first page, ms", f"{took:.0f}")
        one = json.loads(said)["messages"][0]["id"]
        row("queue show, ms", f"{site.tell('queue', 'show', one)[1]:.0f}")
        row("status, ms", f"{site.tell('status')[1]:.0f}")
        back(site, gone, options.queued)


def waiting(site):
    return json.loads(site.tell("status", "--json")[0])["spool"]["waiting"]


def wave(site, queued, before):
    """All are due at once, and each is met with what is known of their server."""
    begun, used = time.monotonic(), cpu_seconds(site.host.pid)
    live = smtp_source(site.host, site.sink, 3000)
    for key, value in before.items():
        row(f"{key} for a live server, with all of them due / before", f"{live[key]:.0f} / {value:.0f} = {live[key] / value:.2f}")
    wait_for("all to wait", lambda: waiting(site) > 0.99 * queued, seconds=60 + queued / 2000, pause=0.25)
    took, used = time.monotonic() - begun, cpu_seconds(site.host.pid) - used
    row("until all of them wait again, s; processor time with that of 3000 live ones, s", f"{took:.1f}; {used:.1f}")
    used = cpu_seconds(site.host.pid)
    time.sleep(10)
    row("processor time in 10 s while they wait, s", f"{cpu_seconds(site.host.pid) - used:.2f}")


def back(site, port, queued):
    """Their server is there again. A probe finds out, after a minute at most."""
    sink = Sink(port)
    sink.start()
    try:
        wait_for("the first of them", lambda: sink.count > 0)
        begun = time.monotonic()
        live = rates(site, 3000, 1)
        row("accepted/s, relayed/s for a live server, while they go", f"{live['accepted/s']:.0f}, {live['relayed/s']:.0f}")
        wait_for("the last of them", lambda: sink.count > 0.99 * queued, seconds=30 + queued / 500)
        row("they go, messages a second", f"{sink.count / (time.monotonic() - begun):.0f}")
    finally:
        sink.stop()


def accounts(options):
    password = (pathlib.Path(__file__).parent / "directory.toml").read_text().partition('password = "')[2].partition('"')[0]
    account = '\n[[account]]\nname = "user{0}"\npassword = "{1}"\naddresses = ["user{0}@bench.test", "u{0}@bench.test"]\n'
    many = "".join(account.format(number, password) for number in range(options.accounts))
    with Site() as site:
        site.start()
        row("memory with one account, MiB", f"{site.memory() / MIB:.0f}")
        smtp_source(site.host, site.sink, 500)
        before = rates(site, 3000, options.rounds)
    with Site(directory=many) as site:
        row(f"start with {options.accounts} accounts, ms to the first 220", f"{site.start():.0f}")
        row("memory, MiB", f"{site.memory() / MIB:.0f}")
        smtp_source(site.host, site.sink, 500)
        row("accepted/s / with one account", f"{rates(site, 3000, options.rounds)['accepted/s'] / before['accepted/s']:.2f}")
        source = [tool("smtp-source"), "-s", "20", "-m", "6000", "-l", "4096", "-f", SENDER, "-t", "u7@bench.test"]
        flowing = subprocess.Popen([*source, f"127.0.0.1:{site.host.port}"])
        row("reload while mail flows, ms", f"{site.tell('reload')[1]:.0f}")
        if flowing.wait(120) != 0:
            raise RuntimeError("mail was refused during the reload")
        said, took = site.tell("account", "list", "--json")
        row(f"account list of {len(json.loads(said))}, ms", f"{took:.0f}")


def large(options):
    with Site() as site:
        site.start()
        smtp_source(site.host, site.sink, 500)
        base = site.memory()
        begun = time.monotonic()
        with PeakMemory(site.host.pid, every=0.02) as watched:
            smtp_source(site.host, site.sink, options.messages, Shape(sessions=20, size=50 * MIB), recipient="target@example.org")
        took = time.monotonic() - begun
        row(f"{options.messages} messages of 50 MiB in 20 sessions, MiB accepted and relayed/s", f"{options.messages * 50 / took:.0f}")
        row("most memory above that before, MiB for each of 20", f"{(watched.peak - base) / MIB / 20:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"queue": queue, "accounts": accounts, "large": large}
    parser.add_argument("--only", action="append", choices=parts)
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=20, help="of 50 MiB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binary", type=pathlib.Path, default=Posthouse.binary, help="the posthouse to measure")
    options = parser.parse_args()
    Posthouse.binary = options.binary.resolve()
    needs(Posthouse.binary, "smtp-source", "smtp-sink", "openssl")
    for name in options.only or parts:
        parts[name](options)


if __name__ == "__main__":
    script(main)
