"""The Posthouse under test, in a folder of its own."""

import collections
import json
import shutil
import subprocess
import sys

from process import REPOSITORY, TARGET, end, free_port, greets, wait_for

# The default policy, which lets loopback do everything.
TRUSTING = """
[[policy]]
name = "default"

[[policy.settings.accept.hosts]]
network = "127.0.0.0/8"
exempt = ["authentication", "encryption", "homing", "originator", "relay"]
"""
NO_POLICY = "policy = []"


class Posthouse:
    """Everything durable. What is added to the configuration is TOML; `head` comes before its first table.

    A wrapper is a program with its arguments that runs the daemon, such as strace; `patience` is how long it may take to
    start and to stop, in seconds."""

    name = "Posthouse"
    binary = TARGET / "release/posthouse"

    def __init__(self, folder, *added, head="", wrapper=(), patience=60):
        self.folder, self.wrapper, self.patience = folder, wrapper, patience
        self.port = free_port()
        self.folder.mkdir()
        common = (REPOSITORY / "tests/bench/posthouse.toml").read_text().replace("@PORT@", str(self.port))
        self.configuration = self.folder / "posthouse.toml"
        self.configuration.write_text("\n".join([head, common, *added]))
        shutil.copy(REPOSITORY / "tests/bench/directory.toml", self.folder)
        self.process = None

    def start(self):
        """Until its first 220."""
        command = [*self.wrapper, str(self.binary), "run", "--config", str(self.configuration)]
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        self.pid = self.process.pid
        answers = lambda: self.process.poll() is not None or greets(self.port, self.patience)
        wait_for("Posthouse", answers, self.patience, pause=0.001)
        if self.process.poll() is not None:
            said = (self.folder / "log").read_text().strip()
            raise RuntimeError(f"{self.binary} ended with {self.process.returncode} instead of starting: {said or 'no word'}")

    def stop(self):
        end(self.process, self.wrapper, self.patience)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def tell(self, *words):
        """Runs a command of the operator; what it said."""
        command = [str(word) for word in (self.binary, *words, "--config", self.configuration)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            sys.exit(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def told(self):
        """How often each event was, by its id."""
        lines = (self.folder / "log").read_text().splitlines()
        return collections.Counter(json.loads(line)["id"] for line in lines if line.startswith("{"))


class Relay(Posthouse):
    """Relays everything that loopback sends to the sink, as the hosts beside it do. The default policy on, unless
    `policy` is false."""

    securities = ("plain", "starttls", "auth")

    def __init__(self, folder, sink, certificate, wrapper=(), policy=True):
        relaying = f"""
[tls]
certificate = "{certificate.chain}"
key = "{certificate.key}"

[limits]
message-size = "64MiB"
sessions = 5000
sessions-per-client = 5000

[delivery]
smart-host = "127.0.0.1:{sink.port}"
concurrency = 20
per-destination = 20
"""
        head, added = ("", TRUSTING) if policy else (NO_POLICY, "")
        super().__init__(folder / "posthouse", relaying, added, head=head, wrapper=wrapper)
