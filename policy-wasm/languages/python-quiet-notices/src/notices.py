"""Non-delivery reports for people: automatic mail gets none, and the administrator gets copies for the listed classes."""

import wit_world.exports
from wit_world.exports.lifecycle import Rule
from wit_world.exports.ndr import Audience_Address, Audience_Administrator, Audience_Sender, Notice, ReturnContent
from wit_world.imports.types import Because, ReversePath_Null

RULES = [
    Rule("automatic", "the original says of itself that it is automatic (RFC 3834)"),
    Rule("suppressed", "the original asks for no such report (X-Auto-Response-Suppress)"),
    Rule("list", "the original came through a mailing list, or is bulk"),
    Rule("report", "the sender is told; copies go where the settings say"),
]

CONTENTS = {"nothing": ReturnContent.NOTHING, "headers": ReturnContent.HEADERS, "full": ReturnContent.FULL}
KEYS = ("content", "administrator", "copies")

content = ReturnContent.HEADERS
administrator = frozenset()
copies = {}


def problems(settings):
    """Returns the problems of the settings: key and text."""
    wrong = [(key, "there is no such setting") for key in settings if key not in KEYS]
    if settings.get("content", "headers") not in CONTENTS:
        wrong.append(("content", f"expected one of {', '.join(CONTENTS)}"))
    classes = settings.get("administrator", [])
    if not isinstance(classes, list):
        wrong.append(("administrator", "expected a list of classes of failures"))
    else:
        wrong += [(f"administrator[{at}]", "expected text") for at, one in enumerate(classes) if not isinstance(one, str)]
    addresses = settings.get("copies", {})
    if not isinstance(addresses, dict):
        wrong.append(("copies", "expected a table: class of failure = address"))
    else:
        for key, address in addresses.items():
            if not isinstance(address, str) or "@" not in address:
                wrong.append((f"copies.{key}", "expected an address"))
    return wrong


def configure(settings):
    global content, administrator, copies
    content = CONTENTS[settings.get("content", "headers")]
    administrator = frozenset(settings.get("administrator", []))
    copies = settings.get("copies", {})


def why_silent(failure):
    """Returns the rule and the entry that suppress all notices; None if there is a notice."""
    if failure.automatic or isinstance(failure.envelope.sender, ReversePath_Null):
        return Because("automatic", None)
    for name, value in failure.headers:
        name, value = name.lower(), value.strip().lower()
        if name == "x-auto-response-suppress":
            asked = {word.strip() for word in value.split(",")}
            if asked & {"ndr", "all"}:
                return Because("suppressed", value)
        elif name == "auto-submitted" and value.split(";")[0].strip() != "no":
            return Because("automatic", value)
        elif name == "list-id" or (name == "precedence" and value in ("bulk", "junk", "list")):
            return Because("list", f"{name}: {value}")
    return None


class Ndr(wit_world.exports.Ndr):
    def plan(self, failure):
        silent = why_silent(failure)
        if silent:
            return [], silent
        # Nothing here asks who submitted the original: `failure.identity` is None for most mail.
        notices = [Notice(Audience_Sender(), content, None)]
        if failure.class_ in administrator:
            notices.append(Notice(Audience_Administrator(), content, None))
        if failure.class_ in copies:
            notices.append(Notice(Audience_Address(copies[failure.class_]), content, f"Copy for class {failure.class_}."))
        return notices, Because("report", failure.class_)
