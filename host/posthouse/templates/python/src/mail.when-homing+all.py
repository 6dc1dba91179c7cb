"""Homing of mail: the listed recipients get no mail."""

import wit_world.exports
from wit_world.exports.homing import Disposition_Pass
from wit_world.exports.lifecycle import Rule
from wit_world.imports.types import Because, Decision, Reply, Verdict_Pass, Verdict_Reject

from roles import texts

RULES = [Rule("refuse", "recipients that get no mail")]
KEYS = {"refuse": texts}

refused = frozenset()


def configure(settings):
    global refused
    refused = frozenset(address.lower() for address in settings.get("refuse", []))


def because(entry=None):
    return Because("refuse", entry)


class Homing(wit_world.exports.Homing):
    # `client.identity` is None for exempt hosts and for mail from outside: check before reading the account.
    def check_sender(self, client, sender):
        return Decision(Verdict_Pass(), because())

    def check_recipient(self, client, sender, recipient):
        if recipient.lower() not in refused:
            return Decision(Verdict_Pass(), because())
        reply = Reply(550, (5, 7, 1), "This recipient gets no mail")
        return Decision(Verdict_Reject(reply), because(recipient))

    def check_message(self, client, envelope, message):
        return Disposition_Pass(), because()
