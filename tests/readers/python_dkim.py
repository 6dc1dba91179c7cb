"""Signs and verifies messages with dkimpy. Reads a JSON document on standard input and writes one.

{"sign": [message], "domain": ..., "selector": ...} gives {"record": ..., "signed": [message]}: each message is signed
with a new Ed25519 key, relaxed in header and body. {"verify": [message], "records": {name: record}} gives {"verified":
[[outcome]]}: for each message the outcome of each signature, the topmost first. Messages are in base64.
"""

import base64
import json
import sys

import dkim
import nacl.signing


def sign(request):
    key = nacl.signing.SigningKey.generate()
    domain, selector = request["domain"].encode(), request["selector"].encode()
    signed = []
    for message in request["sign"]:
        raw = base64.b64decode(message)
        field = dkim.sign(
            raw,
            selector,
            domain,
            base64.b64encode(key.encode()),
            canonicalize=(b"relaxed", b"relaxed"),
            signature_algorithm=b"ed25519-sha256",
            include_headers=[b"from", b"subject"],
        )
        signed.append(base64.b64encode(field + raw).decode())
    public = base64.b64encode(key.verify_key.encode()).decode()
    return {"record": f"v=DKIM1; k=ed25519; p={public}", "signed": signed}


def outcomes(raw, records):
    def look_up(name, timeout=5):
        return records.get(name.decode().rstrip(".").lower(), "").encode() or None

    found = []
    for index in range(len([field for field in dkim.DKIM(raw).headers if field[0].lower() == b"dkim-signature"])):
        try:
            found.append("pass" if dkim.DKIM(raw).verify(index, dnsfunc=look_up) else "fail")
        except dkim.DKIMException as error:
            found.append(f"{type(error).__name__}: {error}")
    return found


def verify(request):
    messages = [base64.b64decode(message) for message in request["verify"]]
    return {"verified": [outcomes(message, request["records"]) for message in messages]}


request = json.load(sys.stdin)
json.dump(sign(request) if "sign" in request else verify(request), sys.stdout)
