"""Tables, in Markdown: they go into docs/performance.md as they are."""

import statistics

from load import DESIGN

NOTHING = "–"
# What is told of each host, whatever it is sent.
FIGURES = (
    "accepted/s", "relayed/s", "CPU ms a message", "p50 ms", "p99 ms", "max ms", "memory MiB", "syncs a message",
    "÷ Postfix: accepted, relayed, CPU",
)
SECURITIES = {
    "plain": "In the clear; rates and CPU time by smtp-source, latency and memory by `load`",
    "starttls": "STARTTLS; all by `load`",
    "auth": "STARTTLS and AUTH; all by `load`",
}


def median(runs, key):
    """Of those runs that have it."""
    found = [run[key] for run in runs if run and run.get(key) is not None]
    return statistics.median(found) if found else None


def number(value, digits=None):
    """With so many digits behind the point; if not told, three that matter."""
    if value is None:
        return NOTHING
    if digits is None:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def by_round(runs, others, key):
    """Median of the ratios within each round: what disturbs a round disturbs both."""
    pairs = [(run, other) for run, other in zip(runs, others) if run and other]
    found = [run[key] / other[key] for run, other in pairs if run.get(key) and other.get(key)]
    return statistics.median(found) if found else None


def row(*cells):
    print("| " + " | ".join(cells) + " |")


def head(*cells):
    row(*cells)
    print("|" + "---|" * len(cells))


def figures(rates, load, syncs, postfix):
    """A host's cells under FIGURES, of its runs; `postfix` is what its rates are held against, if it is another's."""
    against = [by_round(rates, postfix, key) for key in ("accepted/s", "relayed/s", "cpu ms")]
    return (
        *(number(median(rates, key)) for key in ("accepted/s", "relayed/s", "cpu ms")),
        *(number(median(load, key)) for key in ("p50 ms", "p99 ms", "max ms", "memory MiB")),
        number(syncs, 2),
        NOTHING if against == [None] * 3 or rates is postfix else ", ".join(number(value, 2) for value in against),
    )


def refusals(load):
    """What a host said to messages that it did not take, over all rounds; None if it took all."""
    count = sum(run["refused"] for run in load if run)
    replies = {reply for run in load if run for reply in run["replies"]}
    return f"{count:,} refused: {'; '.join(sorted(replies))}" if count else None


def design_table(found):
    """The design's shape: every host, the ceiling and the disk."""
    source, load = found["smtp-source"], found["load"]
    head("", *FIGURES)
    for host, runs in source.items():
        syncs = found["syncs"].get(host, {}).get(DESIGN.name)
        row(host, *figures(runs, load[host], syncs, source.get("Postfix", [])))
    row("append and fdatasync, one writer", number(found["appends/s"]), *[NOTHING] * 6, "1", NOTHING)
    print()
    for host, runs in source.items():
        rounds = "; ".join(f"{run['accepted/s']:.0f}, {run['relayed/s']:.0f}" for run in runs)
        print(f"{host}, rounds (accepted, relayed): {rounds}\n")
        if said := refusals(load[host]):
            print(f"{host}: {said}\n")


def targets_table(found):
    """The design's section 7, as far as it is measured here."""
    source = found["smtp-source"]
    ours = source["Posthouse"]

    def against(host, key):
        return by_round(ours, source.get(host, []), key)

    targets = found["targets"]
    policy = targets["policy"]["with"], targets["policy"]["without"]
    lines = [
        ("accept rate by Postfix's", against("Postfix", "accepted/s"), "≥", 6, 2),
        ("accept rate by smtp-sink's", against("smtp-sink", "accepted/s"), "≥", 0.6, 2),
        ("relay rate by Postfix's", against("Postfix", "relayed/s"), "≥", 5, 2),
        ("accept rate with the policy by none", by_round(*policy, "accepted/s"), "≥", 0.95, 2),
        ("start to the first 220, ms", targets.get("start ms"), "≤", 150, 0),
        ("memory of an idle session, KiB", targets.get("idle session KiB"), "≤", 40, 1),
        ("memory that a message of 50 MiB adds, MiB", targets.get("large message MiB"), "≤", 4, 1),
    ]
    head("what", "measured", "target", "")
    for what, value, relation, target, digits in lines:
        met = value is not None and (value >= target if relation == "≥" else value <= target)
        row(what, number(value, digits), f"{relation} {target}", NOTHING if value is None else "met" if met else "**not met**")
    bare = source.get("bare relay", [])
    if bare:
        shares = [by_round(bare, source.get(other, []), "accepted/s") for other in ("Postfix", "smtp-sink")]
        print(
            f"\nThe bare relay accepts {number(shares[0], 2)} times as many as Postfix and {number(shares[1], 2)} of smtp-sink;"
            f" Posthouse accepts {number(by_round(ours, bare, 'accepted/s'), 2)} of the bare relay."
        )
    print(f"\nCPU time of a message with the policy by none: {number(by_round(*policy, 'cpu ms'), 2)}.")
    print("\nWhat a decision and an instance cost, hot swaps and faults under load: the other benchmarks in docs/performance.md.")


def shapes_tables(shapes, syncs):
    """A table for each kind of connection, with a line for each shape and host; then whatever did not go well."""
    for security, title in SECURITIES.items():
        group = {shape: hosts for shape, hosts in shapes.items() if shape.endswith(f", {security}")}
        if not group:
            continue
        print(f"{title}:\n")
        head("shape", "host", *FIGURES)
        tool = "smtp-source" if security == "plain" else "load"
        remarks = []
        for shape, hosts in group.items():
            name = shape.removesuffix(f", {security}")
            rates = {host: [run.get(tool) for run in rounds] for host, rounds in hosts.items()}
            for host, rounds in hosts.items():
                load = [run.get("load") for run in rounds]
                shown = name if host == next(iter(hosts)) else ""
                row(shown, host, *figures(rates[host], load, syncs.get(host, {}).get(shape), rates.get("Postfix", [])))
                said = [refusals(load), *(run.get("failed") for run in rounds)]
                remarks += [f"- {name}, {host}: {one}" for one in dict.fromkeys(said) if one]
        print("\n" + ("\n".join(remarks) or "Nothing was refused.") + "\n")
