"""Clients that come whether or not a host keeps up (tests/load/src/bin/rush.rs)."""

import json
import resource
import subprocess

from process import TARGET, cpu_seconds

RUSH = TARGET / "release/rush"
# Seconds. Few clients wait so shortly.
PATIENCE = 2


class Rush:
    """Transactions of 4 KiB, a new connection for each, its commands in groups: so many at once, or so
    many begun each second whatever becomes of those before. Who has no greeting after `PATIENCE` gives up."""

    def __init__(self, host, seconds, at_once=None, rate=None):
        command = [RUSH, f"127.0.0.1:{host.port}", "--seconds", seconds, "--patience", PATIENCE]
        command += ["--at-once", at_once] if at_once else ["--rate", rate]
        used, own = cpu_seconds(host.pid), _children_seconds()
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=seconds + 60)
        if done.returncode != 0:
            raise RuntimeError(f"rush: {done.stdout}{done.stderr}")
        found = json.loads(done.stdout)
        self.begun, self.gave_up, self.replies = found["begun"], found["gave up"], found["refused"]
        self.refused, self.latency = sum(self.replies.values()), found["latency"]
        self.rate = found["accepted"] / found["seconds"]
        # Shares of a processor: who has none left is who is measured.
        self.host_busy = (cpu_seconds(host.pid) - used) / found["seconds"]
        self.own_busy = (_children_seconds() - own) / found["seconds"]


def _children_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
