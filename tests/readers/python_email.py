"""Authors of messages as Python's email package reads them, by both of its parsers.

Reads a JSON list of messages in base64; prints a JSON list with an object for each message: reader to addresses.
"""

import base64
import email
import email.policy
import email.utils
import json
import sys


def structured(message):
    for name in ("sender", "from"):
        fields = message.get_all(name) or []
        found = [address.addr_spec for field in fields for address in field.addresses]
        if found:
            return found
    return []


def compatible(message):
    for name in ("sender", "from"):
        fields = [str(field) for field in message.get_all(name) or []]
        found = [address for _, address in email.utils.getaddresses(fields) if address]
        if found:
            return found
    return []


def read(raw, policy, addresses):
    try:
        found = addresses(email.message_from_bytes(raw, policy=policy))
        return [address.encode(errors="replace").decode() for address in found]
    except Exception:  # Malformed fields raise many kinds of errors: no address is shown.
        return []


answers = []
for encoded in json.load(sys.stdin):
    raw = base64.b64decode(encoded)
    answers.append({
        "python": read(raw, email.policy.default, structured),
        "python-compat32": read(raw, email.policy.compat32, compatible),
    })
json.dump(answers, sys.stdout)
