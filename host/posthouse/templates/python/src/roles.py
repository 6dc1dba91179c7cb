"""Name, version and settings of the policy, the same for every role."""

import json

from componentize_py_types import Err
from wit_world.exports.lifecycle import Description, Problem


def texts(value):
    """Checks a list of text. Every check returns the problems of a value: key (within the value) and text."""
    if not isinstance(value, list):
        return [("", "expected a list of text")]
    return [(f"[{at}]", "expected text") for at, item in enumerate(value) if not isinstance(item, str)]


def truth(value):
    """Checks a truth value."""
    return [] if isinstance(value, bool) else [("", "expected true or false")]


def description(*roles):
    """The answer of `describe`. A role has `RULES`."""
    return Description("{{name}}", "0.1.0", [rule for role in roles for rule in role.RULES])


def configure(text, *roles):
    """Checks the settings and passes them to the roles. A role has `KEYS` (the name and the check of each
    setting) and `configure`."""
    settings = json.loads(text)
    keys = {key: must_be for role in roles for key, must_be in role.KEYS.items()}
    problems = []
    for key, value in settings.items():
        if key not in keys:
            problems.append(Problem(key, "there is no such setting"))
            continue
        problems += [Problem(key + within, wrong) for within, wrong in keys[key](value)]
    # Err with a list of problems is the answer; any other exception is a fault.
    if problems:
        raise Err(problems)
    for role in roles:
        role.configure(settings)
