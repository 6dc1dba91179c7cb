"""Admission of connections: the listed clients are refused."""

import wit_world.exports
from wit_world.exports.exemption import Admission_Pass, Admission_Refuse
from wit_world.exports.lifecycle import Rule
from wit_world.imports.types import Because, Reply

from roles import texts

RULES = [Rule("client", "clients that are sent away")]
KEYS = {"refuse-clients": texts}

refused = frozenset()


def configure(settings):
    global refused
    refused = frozenset(settings.get("refuse-clients", []))


class Exemption(wit_world.exports.Exemption):
    def admit(self, client):
        if client.address not in refused:
            return Admission_Pass(), Because("client", None)
        reply = Reply(554, (5, 7, 1), "No mail from this address")
        return Admission_Refuse(reply), Because("client", client.address)
