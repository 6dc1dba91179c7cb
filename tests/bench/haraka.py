"""Haraka, from npm, in a folder of its own under target/.

With the fewest plugins it can do the work with: TLS, AUTH from a file, and one of ours that takes
every recipient, looks up no client's name, and names the sink as the next hop. Its outbound queue writes each message to a file and syncs it
before the 250, then renames it; the folder is not synced. One worker for each processor."""

import os
import shutil
import signal
import subprocess
import sys

from process import REPOSITORY, free_port, greets, tool, wait_for

VERSION = "3.3.4"
INSTALLED = REPOSITORY / "target/bench/haraka"

PLUGIN = """\
exports.hook_connect = (next, connection) => {{ connection.relaying = true; next() }}
exports.hook_lookup_rdns = (next) => next(OK, 'localhost')
exports.hook_rcpt = (next) => next(OK)
exports.hook_get_mx = (next) => next(OK, {{ priority: 0, exchange: '127.0.0.1', port: {sink} }})
"""


def install():
    """Whether Haraka is there; fetched with npm at the first time."""
    program = INSTALLED / "node_modules/haraka/bin/haraka"
    if not program.exists():
        npm = tool("npm", optional=True)
        if npm is None or tool("node", optional=True) is None:
            print("SKIPPED: Haraka, for there is no npm", file=sys.stderr)
            return False
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", f"haraka@{VERSION}"]
        try:
            INSTALLED.mkdir(parents=True, exist_ok=True)
            (INSTALLED / "package.json").write_text('{"private": true}\n')
            subprocess.run(command, cwd=INSTALLED, capture_output=True, timeout=300, check=True)
        except (subprocess.SubprocessError, OSError) as error:
            print(f"SKIPPED: Haraka, for npm could not fetch it: {error}", file=sys.stderr)
            return False
    return True


class Haraka:
    name = "Haraka"
    securities = ("plain", "starttls", "auth")

    def __init__(self, folder, sink, certificate, wrapper=()):
        self.port = free_port()
        self.folder = folder / "haraka"
        shutil.copytree(INSTALLED / "node_modules/haraka/config", self.folder / "config")
        shipped = (self.folder / "config/smtp.ini").read_text()
        files = {
            "config/smtp.ini": f"listen=127.0.0.1:{self.port}\nnodes={os.cpu_count()}\n{shipped}",
            "config/me": "mx.haraka.test\n",
            "config/plugins": "tls\nauth/flat_file\nbench\n",
            "config/auth_flat_file.ini": "[core]\nmethods=PLAIN\nconstrain_sender=false\n\n[users]\nadmin=password\n",
            "config/outbound.ini": "local_mx_ok=true\nenable_tls=false\n",
            "plugins/bench.js": PLUGIN.format(sink=sink.port),
        }
        for path, text in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)
        (self.folder / "queue").mkdir()
        # It would make its own at each start, for up to a minute of one processor, beside whoever is measured.
        dhparam = [tool("openssl"), "dhparam", "-dsaparam", "-out", str(self.folder / "config/dhparams.pem"), "2048"]
        subprocess.run(dhparam, capture_output=True, check=True, timeout=60)
        shutil.copy(certificate.key, self.folder / "config/tls_key.pem")
        shutil.copy(certificate.chain, self.folder / "config/tls_cert.pem")
        self.wrapper = wrapper
        self.process = None

    def start(self):
        program = INSTALLED / "node_modules/haraka/bin/haraka"
        with open(self.folder / "log", "wb") as log:
            command = [*self.wrapper, tool("node"), str(program), "-c", str(self.folder)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.pid = self.process.pid
        wait_for("Haraka", lambda: greets(self.port), 30, pause=0.2)

    def stop(self):
        if self.process is None:
            return
        # Nothing in its queue is wanted; its graceful stop takes half a minute.
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(60)
