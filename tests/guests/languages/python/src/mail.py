"""Wrong in the way the recipient's local part says: for the host to survive. It takes the place of the
template's file of this name."""

import wit_world.exports
from wit_world.exports.homing import Disposition_Pass
from wit_world.exports.lifecycle import Rule
from wit_world.imports.types import Because, Decision, Reply, Verdict_Pass, Verdict_Reject

RULES = [Rule("mischief", "does what the recipient says")]
KEYS = {}


def configure(settings):
    pass


def accept(entry=None):
    return Decision(Verdict_Pass(), Because("mischief", entry))


def reject(code, text):
    return Decision(Verdict_Reject(Reply(code, (5, 7, 1), text)), Because("mischief", None))


def throw(client):
    return accept(client.identity.account)


def loop(client):
    while True:
        pass


def recurse(client):
    return recurse(client) and accept()


def allocate(client):
    kept = []
    while True:
        kept.append(bytes(1 << 20))


MODES = {
    "throw": throw,
    "loop": loop,
    "recurse": recurse,
    "allocate": allocate,
    "nonsense": lambda client: reject(250, "OK"),
    "forge": lambda client: reject(550, "No\r\n250 OK"),
    "overflow": lambda client: reject(99999, "No"),
    "mistype": lambda client: "pass",
}


class Homing(wit_world.exports.Homing):
    def check_sender(self, client, sender):
        return accept()

    def check_recipient(self, client, sender, recipient):
        mode = MODES.get(recipient.split("@")[0])
        return mode(client) if mode else accept()

    def check_message(self, client, envelope, message):
        return Disposition_Pass(), Because("mischief", None)
