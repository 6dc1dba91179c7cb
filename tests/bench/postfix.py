"""A Postfix of our own in a folder of its own, on loopback; the system's is left alone.

As Debian ships it, which syncs each message's file before its 250, with these changes: everything is
relayed to the sink; no limits on connections of one client; no pause when more comes in than goes
out (in_flow_delay), for that costs it acceptance here and gains nothing; no chroot."""

import pathlib
import shutil
import subprocess

from process import free_port, greets, tool, wait_for
from sasl import Authenticator

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
myhostname = mx.postfix.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
relayhost = [127.0.0.1]:{sink}
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/sasl
"""


class Postfix:
    name = "Postfix"
    securities = ("plain", "starttls", "auth")

    def __init__(self, folder, sink, certificate, wrapper=()):
        self.port = free_port()
        self.folder = folder / "postfix"
        for part in ("etc", "queue", "data"):
            (self.folder / part).mkdir(parents=True)
        shutil.chown(self.folder / "data", "postfix")
        main = MAIN.format(folder=self.folder, sink=sink.port, certificate=certificate.chain, key=certificate.key)
        (self.folder / "etc/main.cf").write_text(main)
        (self.folder / "etc/master.cf").write_text(self._master())
        self.authenticator = Authenticator(self.folder / "sasl")
        self.wrapper = wrapper
        self.starter = None

    def start(self):
        # A wrapper stays until the last of its processes has gone, so it is not waited for here.
        command = [*self.wrapper, tool("postfix"), "-c", str(self.folder / "etc"), "start"]
        self.starter = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("Postfix", lambda: greets(self.port), 30)
        self.pid = int((self.folder / "queue/pid/master.pid").read_text())

    def _master(self):
        """Debian's, without chroot and on our port."""
        lines = []
        for line in pathlib.Path("/usr/share/postfix/master.cf.dist").read_text().splitlines():
            words = line.split()
            if len(words) >= 8 and not line.startswith(("#", " ")):
                words[4] = "n"
                if words[0] == "smtp" and words[1] == "inet":
                    words[0] = f"127.0.0.1:{self.port}"
                line = " ".join(words)
            lines.append(line)
        return "\n".join(lines) + "\n"

    def stop(self):
        if self.starter is not None:
            command = [tool("postfix"), "-c", str(self.folder / "etc"), "stop"]
            subprocess.run(command, capture_output=True, timeout=60, check=True)
            self.starter.wait(60)
        self.authenticator.stop()
