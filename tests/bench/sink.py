"""What stands behind every host, and the ceiling: smtp-sink, which stores nothing."""

import os
import re
import subprocess
import threading
import time

from process import free_port, greets, tool, wait_for


class Sink:
    """smtp-sink, counting; as a host it is the ceiling."""

    name = "smtp-sink"
    securities = ("plain",)

    def __init__(self, port=None):
        self.port = port or free_port()
        self.count = 0
        self.process = None

    def start(self):
        # As root it insists on becoming somebody else, and as anybody else it cannot.
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = [tool("smtp-sink"), *user, "-m", "1000", "-c", f"127.0.0.1:{self.port}", "1000"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.pid = self.process.pid
        threading.Thread(target=self._read, daemon=True).start()
        wait_for("smtp-sink", lambda: greets(self.port), 10)

    def _read(self):
        tail = b""
        while piece := os.read(self.process.stdout.fileno(), 65536):
            # It tells of every command it gets; reading each at once would take time from whoever is measured.
            time.sleep(0.02)
            tail = (tail + piece)[-200:]
            counts = re.findall(rb"mesg=(\d+)\D", tail)
            if counts:
                self.count = int(counts[-1])

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
