"""The Posthouse under test, in a folder of its own."""

import shutil
import subprocess

from process import REPOSITORY, end, free_port, greets, wait_for


class Posthouse:
    """Everything durable. The default policy on, unless `policy` is false."""

    name = "Posthouse"
    securities = ("plain", "starttls", "auth")
    binary = REPOSITORY / "target/release/posthouse"

    def __init__(self, folder, sink, certificate, wrapper=(), policy=True):
        self.folder = folder / "posthouse"
        self.wrapper = wrapper
        self.port = free_port()
        self.folder.mkdir()
        text = (REPOSITORY / "tests/bench/posthouse.toml").read_text()
        if not policy:
            text = "policy = []\n" + text.partition("[[policy]]")[0]
        for name, value in (("SINK", sink.port), ("PORT", self.port), ("CHAIN", certificate.chain), ("KEY", certificate.key)):
            text = text.replace(f"@{name}@", str(value))
        (self.folder / "posthouse.toml").write_text(text)
        shutil.copy(REPOSITORY / "tests/bench/directory.toml", self.folder)
        self.process = None

    def start(self):
        """Until its first 220."""
        command = [*self.wrapper, str(self.binary), "run", "--config", str(self.folder / "posthouse.toml")]
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        self.pid = self.process.pid
        wait_for("Posthouse", lambda: greets(self.port) or self.process.poll() is not None, 30, pause=0.001)
        if self.process.poll() is not None:
            raise RuntimeError("Posthouse did not start:\n" + (self.folder / "log").read_text())

    def stop(self):
        if self.process is not None:
            end(self.process, self.wrapper)
