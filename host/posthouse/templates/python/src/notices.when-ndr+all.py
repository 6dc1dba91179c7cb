"""Notices about undeliverable mail: people are notified, automatic senders are not (RFC 3834)."""

import wit_world.exports
from wit_world.exports.lifecycle import Rule
from wit_world.exports.ndr import Audience_Administrator, Audience_Sender, Notice, ReturnContent
from wit_world.imports.types import Because, ReversePath_Null

from roles import truth

RULES = [
    Rule("automatic", "automatic mail is not answered (RFC 3834)"),
    Rule("report", "the sender is told, and the administrator if the settings say so"),
]
KEYS = {"administrator": truth}

administrator = False


def configure(settings):
    global administrator
    administrator = settings.get("administrator", False)


class Ndr(wit_world.exports.Ndr):
    # `failure.identity` is None for exempt hosts, for mail from outside and for the host's own.
    def plan(self, failure):
        if failure.automatic or isinstance(failure.envelope.sender, ReversePath_Null):
            return [], Because("automatic", None)
        notices = [Notice(Audience_Sender(), ReturnContent.HEADERS, None)]
        if administrator:
            notices.append(Notice(Audience_Administrator(), ReturnContent.HEADERS, None))
        return notices, Because("report", None)
