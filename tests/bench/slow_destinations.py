#!/usr/bin/env python3
"""Local mail and mail to a healthy host, alone and beside destinations that hang, on this machine.

    cargo build --release --workspace && tests/bench/slow_destinations.py [--hanging N] [--at connect|hello|dot]

Each run starts a Posthouse with the default limits of delivery. In every other run a message for each of N destinations
comes first; each destination accepts the connection and then hangs. Then smtp-source sends messages to a mailbox of this
host and, at the same time, as many to an SMTP host that answers at once.

rate             messages a second, from the first one sent to the last one delivered
p50, p99         time from a message's 250 (Event 5006) to its delivery (Event 5007), in ms

Runs alternate; figures are medians, ratios the medians of each pair's ratio. The promise is a rate of at least 0.9 and a
p99 below twice that of the run alone. Needs Postfix's smtp-source and smtp-sink.
"""

import argparse
import contextlib
import datetime
import json
import pathlib
import statistics
import subprocess
import tempfile
import threading
import time

from posthouse import TRUSTING, Posthouse
from process import needs, script, tool, wait_for
from sink import Sink

SESSIONS = 10
LOCAL, HEALTHY = "admin@bench.test", "x@healthy.test"


class Dark:
    """A server on all of 127.0.0.0/8 that accepts connections and hangs."""

    def __init__(self, at):
        import socket

        self.at, self.held = at, 0
        self.listener = socket.create_server(("0.0.0.0", 0), backlog=4096)
        self.port = self.listener.getsockname()[1]
        self.clients = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            self.clients.append(client)
            if self.at == "connect":
                self.held += 1
            else:
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        """Until the point at which it hangs."""
        client.sendall(b"220 dark.test\r\n")
        if self.at == "dot":
            lines = client.makefile("rb")
            for reply in (b"250 dark.test\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
                lines.readline()
                client.sendall(reply)
            while lines.readline() not in (b".\r\n", b""):
                pass
        self.held += 1


def routes(dark, count, sink):
    to = [("healthy.test", f"127.0.0.1:{sink.port}")]
    to += [(f"d{n}.test", f"127.9.{n // 250}.{n % 250 + 1}:{dark.port}") for n in range(count)]
    return "".join(f'[[delivery.route]]\ndomain = "{domain}"\nto = "{server}"\n' for domain, server in to)


def send(host, recipient, messages):
    command = [tool("smtp-source"), "-d", "-s", SESSIONS, "-l", 4096, "-m", messages]
    command += ["-f", "source@bench.test", "-t", recipient, f"127.0.0.1:{host.port}"]
    return subprocess.Popen([str(word) for word in command])


def events(host):
    for line in (host.folder / "log").read_text().splitlines():
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                yield json.loads(line)


def moment(event):
    return datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()


def delivered(host):
    """Deliveries by kind: (message, time) each."""
    found = {"local": [], "healthy": []}
    for event in events(host):
        if event["id"] == 5007:
            fields = event["fields"]
            kind = "local" if fields["destination"].startswith("maildir:") else "healthy"
            found[kind].append((fields["message"], moment(event)))
    return found


def run(hanging, at, messages, binary, folder):
    sink = Sink()
    with contextlib.ExitStack() as stack:
        stack.callback(sink.stop)
        sink.start()
        dark = Dark(at)
        host = Posthouse(folder, routes(dark, max(hanging, 1), sink), TRUSTING)
        host.binary = binary
        stack.enter_context(host)
        for number in range(hanging):
            send_one(host, f"x@d{number}.test", number == 0)
        wait_for("every destination to hang", lambda: dark.held >= hanging)
        start = time.time()
        senders = [send(host, recipient, messages) for recipient in (LOCAL, HEALTHY)]
        for sender in senders:
            if sender.wait(180) != 0:
                raise RuntimeError("smtp-source failed")
        sent = [time.time() - start]
        wait_for(
            "every delivery",
            lambda: all(len(found) >= messages for found in delivered(host).values()),
            seconds=180,
            pause=0.5,
        )
        accepted = {event["fields"]["message"]: moment(event) for event in events(host) if event["id"] == 5006}
        figures = {"sent s": sent[0], "held": dark.held if hanging else 0}
        for kind, found in delivered(host).items():
            times = sorted((at - accepted[message]) * 1000 for message, at in found if message in accepted)
            last = max(at for _, at in found)
            figures[kind] = {
                "rate": len(found) / (last - start),
                "p50": times[len(times) // 2],
                "p99": times[len(times) * 99 // 100],
            }
        return figures


def send_one(host, recipient, first, kept={}):
    """Over one connection, since each message goes elsewhere."""
    import smtplib

    if first:
        kept["client"] = smtplib.SMTP("127.0.0.1", host.port)
    kept["client"].sendmail("source@bench.test", [recipient], "Subject: into the dark\r\n\r\nHello.\r\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hanging", type=int, default=1000, help="destinations that hang (default 1000)")
    parser.add_argument("--at", choices=("connect", "hello", "dot"), default="connect", help="where they hang")
    parser.add_argument("--messages", type=int, default=2000, help="to the mailbox, and to the host (default 2000)")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of runs (default 3)")
    parser.add_argument("--binary", type=pathlib.Path, default=Posthouse.binary, help="the posthouse to measure")
    chosen = parser.parse_args()
    needs(chosen.binary, "smtp-source", "smtp-sink")
    pairs = []
    # Folders stay until the end: ext4 does not use inodes again for a minute, and looks for others in vain.
    with tempfile.TemporaryDirectory(prefix="posthouse-bench-") as made:
        for number in range(chosen.pairs):
            pair = []
            for hanging in (0, chosen.hanging):
                folder = pathlib.Path(made) / f"posthouse-{number}-{hanging}"
                pair.append(run(hanging, chosen.at, chosen.messages, chosen.binary, folder))
            pairs.append(pair)
            print(f"pair {number + 1}: alone {pair[0]}\n        beside {pair[1]}", flush=True)
    for kind in ("local", "healthy"):
        for figure in ("rate", "p50", "p99"):
            alone, beside = ([run[kind][figure] for run in runs] for runs in zip(*pairs))
            ratio = statistics.median(after / before for before, after in zip(alone, beside))
            print(
                f"{kind:8} {figure:5} alone {statistics.median(alone):8.1f}  "
                f"beside {statistics.median(beside):8.1f}  ratio {ratio:5.2f}"
            )


script(main)
