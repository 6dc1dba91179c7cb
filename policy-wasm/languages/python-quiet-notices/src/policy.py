"""The exports of the component: one class for each interface of its world."""

import json

import wit_world.exports
from componentize_py_types import Err
from wit_world.exports.lifecycle import Description, Problem

import notices
from notices import Ndr


class Lifecycle(wit_world.exports.Lifecycle):
    def describe(self):
        return Description("quiet-notices", "0.1.0", notices.RULES)

    def configure(self, text):
        settings = json.loads(text)
        wrong = notices.problems(settings)
        # A raised list of problems is the answer; any other exception is a fault.
        if wrong:
            raise Err([Problem(key, text) for key, text in wrong])
        notices.configure(settings)
