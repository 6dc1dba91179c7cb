"""Who the policy is, and its settings: the same whatever it decides."""

import json

from componentize_py_types import Err
from wit_world.exports.lifecycle import Description, Problem


def texts(value):
    """A list of text. Like each such function it returns what is wrong: key (within the value) and text."""
    if not isinstance(value, list):
        return [("", "expected a list of text")]
    return [(f"[{at}]", "expected text") for at, item in enumerate(value) if not isinstance(item, str)]


def truth(value):
    """True or false."""
    return [] if isinstance(value, bool) else [("", "expected true or false")]


def description(*roles):
    """What `describe` answers. A role has `RULES`."""
    return Description("{{name}}", "0.1.0", [rule for role in roles for rule in role.RULES])


def configure(text, *roles):
    """Hands the settings to roles, if they are as they must be. A role has `KEYS` (the name of each setting,
    and what it must be) and `configure`."""
    settings = json.loads(text)
    keys = {key: must_be for role in roles for key, must_be in role.KEYS.items()}
    problems = []
    for key, value in settings.items():
        if key not in keys:
            problems.append(Problem(key, "there is no such setting"))
            continue
        problems += [Problem(key + within, wrong) for within, wrong in keys[key](value)]
    # Raised from here, a list of problems is the answer; any other exception is a fault.
    if problems:
        raise Err(problems)
    for role in roles:
        role.configure(settings)
