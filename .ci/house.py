#!/usr/bin/env python3
"""Holds the house rules: words, first words of doc comments, unique names, no import circles.

    .ci/house.py            check; fails on what is never allowed and on counts above `.ci/house.json`
    .ci/house.py --record   write today's counts, which may only fall
    .ci/house.py --list RULE [PREFIX]   print every place that a counted rule is about, below a folder
    .ci/house.py --pronouns [PREFIX]    print the doc comments with pronouns, and their rate, below a folder

Each finding names its rule, file and line. docs/internals/house.md explains the rules.
"""

import collections
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECORD = ROOT / ".ci/house.json"

# A first word that names neither the thing nor an action.
VAGUE = set(
    """It They That These One What Who Whose Whom When Where Whether Why How As So All None Some Of In From For By With
    Without At To Until After Before Not No Nothing This Those Such""".split()
)
# Words that stand for a person or a thing that has a name.
FORBIDDEN = [
    (re.compile(rf"(?<![\w-]){word}(?![\w-])", re.I), word)
    for word in ("nobody", "somebody", "whoever", "everybody", "whatever", "so many", "in hand", "whomever")
]
PRONOUNS = re.compile(r"\b(it|its|itself|they|them|their|theirs|he|she|him|his|her|one|ones|those|these|who|whom|whose)\b", re.I)
SHARED_FILES = {"mod.rs", "lib.rs", "main.rs", "build.rs"}


def files(*suffixes):
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\n"):
        path = ROOT / name
        if name.endswith(suffixes) and path.is_file():
            yield name, path.read_text(encoding="utf-8", errors="replace")


def is_test(name):
    parts = name.removesuffix(".rs").split("/")
    return any(part in ("tests", "testing", "benches") or part.endswith("_tests") for part in parts)


def doc_comments(text):
    """Blocks of `///` and `//!` lines, as (line number, text)."""
    block, start = [], 0
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r"\s*(///|//!)(?!/) ?(.*)", line)
        if match:
            if not block:
                start = number
            block.append(match.group(2))
        elif block:
            yield start, block
            block = []
    if block:
        yield start, block


def comment_lines(text):
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r"\s*//[/!]?(?!/) ?(.*)", line)
        if match:
            yield number, match.group(1)


def prose(block):
    """A doc comment without code blocks and code spans."""
    out, fenced = [], False
    for line in block:
        if line.strip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            out.append(re.sub(r"`[^`]*`", "", line))
    return " ".join(out)


def find_vague():
    for name, text in files(".rs"):
        for line, block in doc_comments(text):
            word = re.match(r"[\"*_(]*([A-Za-z']+)", block[0].strip())
            if word and word.group(1) in VAGUE:
                yield f"{name}:{line}", block[0].strip()


def find_forbidden():
    for name, text in files(".rs"):
        for line, comment in comment_lines(text):
            for pattern, _ in FORBIDDEN:
                if pattern.search(re.sub(r"`[^`]*`", "", comment)):
                    yield f"{name}:{line}", comment.strip()
    for name, text in files(".md"):
        if name.startswith("tests/dialogues"):
            continue
        for line, content in enumerate(text.split("\n"), 1):
            for pattern, _ in FORBIDDEN:
                if pattern.search(re.sub(r"`[^`]*`", "", content)):
                    yield f"{name}:{line}", content.strip()


def pronoun_rate(prefix="", show=False):
    words = pronouns = 0
    for name, text in files(".rs"):
        if not name.startswith(prefix):
            continue
        for line, block in doc_comments(text):
            plain = prose(block)
            found = PRONOUNS.findall(plain)
            words += len(re.findall(r"[A-Za-z']+", plain))
            pronouns += len(found)
            if show and found:
                print(f"{name}:{line}: {len(found)}: {plain}")
    return 100 * pronouns / max(words, 1)


TYPE = re.compile(r"^ *(?:pub(?:\([^)]*\))? )?(?:struct|enum|trait|union) ([A-Z]\w*)", re.M)


def type_names():
    places = collections.defaultdict(list)
    for name, text in files(".rs"):
        if is_test(name) or name.startswith(("policy-wasm/", "tests/", "host/posthouse/templates")):
            continue
        cut = text.find("\n#[cfg(test)]\nmod tests {")
        for match in TYPE.finditer(text if cut < 0 else text[:cut]):
            places[match.group(1)].append(f"{name}:{text.count(chr(10), 0, match.start()) + 1}")
    return places


def find_shared_types():
    for name, places in sorted(type_names().items()):
        if len(places) > 1:
            for place in places:
                yield place, name


def find_shared_files():
    names = collections.defaultdict(list)
    for name, _ in files(".rs"):
        base = name.rsplit("/", 1)[-1]
        if base not in SHARED_FILES and not is_test(name) and base != "tests.rs":
            names[base].append(name)
    for base, paths in sorted(names.items()):
        if len(paths) > 1:
            yield base, " ".join(paths)


def module_of(name):
    crate, _, inside = name.partition("/src/")
    return crate, tuple(inside.removesuffix(".rs").split("/")) if inside not in ("lib.rs", "main.rs") else ()


def circles():
    """Import circles of files within a crate: strongly connected groups of two or more."""
    crates = collections.defaultdict(dict)
    for name, text in files(".rs"):
        if "/src/" in name and not is_test(name):
            cut = text.find("\n#[cfg(test)]\nmod tests {")
            crate, module = module_of(name)
            crates[crate][module] = (name, text if cut < 0 else text[:cut])
    for modules in crates.values():
        edges = {module: imports(module, text, modules) for module, (_, text) in modules.items()}
        for group in components(edges):
            if len(group) > 1:
                yield modules[group[0]][0], " ".join(sorted(modules[m][0].rsplit("/src/")[-1] for m in group))


def imports(module, text, modules):
    """Files that a file names items of; declaring or re-exporting a child, or naming a parent's item, counts like any other."""
    code = re.sub(r"//[^\n]*|pub\(in [\w:]+\)", "", text)
    found = set()
    for statement in re.findall(r"^\s*(pub(?:\([^)]*\))? )?use ([^;]+);", code, re.M):
        public, tree = statement
        for path in leaves(re.sub(r"\s+", "", tree)):
            target = resolve(module, path, modules)
            # `pub use child::Item` is how a folder's file lists what it holds: no dependency of its own.
            if target is not None and not (public and target[: len(module)] == module):
                found.add(target)
    code = re.sub(r"^\s*(?:pub(?:\([^)]*\))? )?use [^;]+;", "", code, flags=re.M)
    for path in re.findall(r"(?<![\w:])((?:crate|super|self)(?:::\w+)+)", code):
        target = resolve(module, tuple(path.split("::")), modules)
        if target is not None:
            found.add(target)
    found.discard(module)
    return found


def leaves(tree, prefix=()):
    if tree.startswith("{"):
        depth, part, parts = 0, "", []
        for char in tree[1:-1]:
            depth += {"{": 1, "}": -1}.get(char, 0)
            if char == "," and depth == 0:
                parts.append(part)
                part = ""
            else:
                part += char
        for piece in [*parts, part]:
            if piece:
                yield from leaves(piece, prefix)
        return
    head, colons, rest = tree.partition("::")
    if colons:
        yield from leaves(rest, (*prefix, head))
    else:
        yield (*prefix, head)


def resolve(module, path, modules):
    if path[0] == "crate":
        absolute = path[1:]
    elif path[0] in ("self", "super"):
        base = module
        while path and path[0] == "super":
            base, path = base[:-1], path[1:]
        absolute = base + (path[1:] if path and path[0] == "self" else path)
    elif (*module, path[0]) in modules:
        absolute = module + path
    else:
        return None
    for length in range(len(absolute), -1, -1):
        if absolute[:length] in modules:
            # An item that a parent declares itself is the parent's; a re-exported one is looked up where it stands.
            return absolute[:length]
    return None


def components(edges):
    """Tarjan's algorithm, without recursion deeper than the number of files."""
    index, low, stack, on_stack, result, counter = {}, {}, [], set(), [], [0]

    def visit(node):
        index[node] = low[node] = counter[0]
        counter[0] += 1
        stack.append(node)
        on_stack.add(node)
        for other in edges.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on_stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = []
            while True:
                other = stack.pop()
                on_stack.discard(other)
                group.append(other)
                if other == node:
                    break
            result.append(group)

    sys.setrecursionlimit(10_000)
    for node in edges:
        if node not in index:
            visit(node)
    return result


RULES = {
    "vague-first-word": (find_vague, "a doc comment begins with the thing or a verb"),
    "forbidden-word": (find_forbidden, "name the person or thing instead"),
    "shared-type-name": (find_shared_types, "a type's name stands once in the host"),
    "shared-file-name": (find_shared_files, "a file's name stands once"),
    "import-circle": (circles, "files of a crate import in one direction"),
}


def main():
    arguments = sys.argv[1:]
    if arguments[:1] == ["--list"]:
        find, _ = RULES[arguments[1]]
        for place, text in find():
            if place.startswith("".join(arguments[2:])):
                print(f"{place}: {arguments[1]}: {text}")
        return 0
    if arguments[:1] == ["--pronouns"]:
        print(f"{pronoun_rate(''.join(arguments[1:]), show=True):.1f} in 100 words")
        return 0
    found = {rule: list(find()) for rule, (find, _) in RULES.items()}
    counts = {rule: len(places) for rule, places in found.items()}
    total = sum(len(list(doc_comments(text))) for _, text in files(".rs"))
    types = sum(len(places) for places in type_names().values())
    print(f"doc comments with a vague first word: {counts['vague-first-word']} of {total} ({100 * counts['vague-first-word'] / total:.1f} %)")
    print(f"pronouns in 100 words of doc comments: {pronoun_rate():.1f}")
    print(f"types that share their name: {counts['shared-type-name']} of {types} ({100 * counts['shared-type-name'] / types:.1f} %)")
    for rule in ("forbidden-word", "shared-file-name", "import-circle"):
        print(f"{rule}: {counts[rule]}")
    if arguments == ["--record"]:
        RECORD.write_text(json.dumps(counts, indent=2) + "\n")
        return 0
    recorded = json.loads(RECORD.read_text())
    failed = False
    for rule, count in counts.items():
        limit = recorded.get(rule, 0)
        if count > limit:
            failed = True
            print(f"\n{rule}: {count}, {limit} allowed: {RULES[rule][1]}", file=sys.stderr)
            for place, text in found[rule]:
                print(f"  {place}: {text}", file=sys.stderr)
        elif count < limit:
            print(f"{rule} fell from {limit} to {count}: run .ci/house.py --record")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
