"""`bare` (tests/load): the least that keeps a message, synced, and hands it on; the ceiling for whoever does."""

import subprocess

from process import TARGET, end, free_port, greets, wait_for


class Bare:
    name = "bare relay"
    securities = ("plain",)
    binary = TARGET / "release/bare"

    def __init__(self, folder, sink, certificate, wrapper=()):
        self.port = free_port()
        self.wrapper = wrapper
        kept = folder / f"bare-{self.port}"
        self.command = [*wrapper, str(self.binary), f"127.0.0.1:{self.port}", f"127.0.0.1:{sink.port}", str(kept)]
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.command)
        self.pid = self.process.pid
        wait_for(self.name, lambda: greets(self.port), 10)

    def stop(self):
        end(self.process, self.wrapper)
