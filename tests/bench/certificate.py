"""One key and certificate for all hosts: ECDSA on P-256, as most have today."""

import subprocess

from process import tool


class Certificate:
    def __init__(self, folder):
        self.chain, self.key = folder / "chain.pem", folder / "key.pem"
        command = [tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-subj", "/CN=mx.bench.test", "-days", "2", "-keyout", str(self.key), "-out", str(self.chain)]
        subprocess.run(command, capture_output=True, check=True, timeout=60)
