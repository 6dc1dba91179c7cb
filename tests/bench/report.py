"""Tables, in Markdown: they go into docs/performance.md as they are."""

import statistics

NOTHING = "–"


def median(runs, key):
    """Of those runs that have it."""
    found = [run[key] for run in runs if run and run.get(key) is not None]
    return statistics.median(found) if found else None


def number(value, digits=0):
    return NOTHING if value is None else f"{value:,.{digits}f}"


def ratio(value, other, digits=2):
    return NOTHING if value is None or not other else f"{value / other:.{digits}f}"


def by_round(runs, others, key):
    """Median of the ratios within each round: what disturbs a round disturbs both."""
    found = [run[key] / other[key] for run, other in zip(runs, others) if run.get(key) and other.get(key)]
    return statistics.median(found) if found else None


def row(*cells):
    print("| " + " | ".join(cells) + " |")


def head(*cells):
    row(*cells)
    print("|" + "---|" * len(cells))


def design_table(found):
    """The design's shape: every host, the ceiling and the disk."""
    source, load, syncs = found["smtp-source"], found["load"], found["syncs"]
    postfix = source.get("Postfix", [])
    head(
        "", "accepted/s", "relayed/s", "÷ Postfix (accepted, relayed)", "CPU ms a message", "p50 ms", "p99 ms", "max ms",
        "memory MiB", "syncs a message",
    )
    for host, runs in source.items():
        against = [number(by_round(runs, postfix, key), 2) for key in ("accepted/s", "relayed/s")]
        row(
            host,
            *(number(median(runs, key)) for key in ("accepted/s", "relayed/s")),
            ", ".join(against),
            number(median(runs, "cpu ms"), 2),
            *(number(median(load[host], f"{key} ms"), 1) for key in ("p50", "p99", "max")),
            number(median(load[host], "memory MiB")),
            number(syncs.get(host), 2),
        )
    appends = found["appends/s"]
    row("append and fdatasync, one writer", number(appends), *[NOTHING] * 7, "1")
    print()
    for host, runs in source.items():
        rounds = "; ".join(f"{run['accepted/s']:.0f}, {run['relayed/s']:.0f}" for run in runs)
        print(f"{host}, rounds (accepted, relayed): {rounds}\n")


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


def shapes_table(found):
    """One line a shape: accepted and relayed messages a second of each host, and p99."""
    hosts = list(dict.fromkeys(host for runs in found.values() for host in runs))
    head("shape", *(f"{host}: accepted, relayed /s; p99 ms" for host in hosts), "÷ Postfix: accepted, relayed, CPU")
    for shape, runs in found.items():
        cells = []
        for host in hosts:
            run = runs.get(host)
            if run is None:
                cells.append(NOTHING)
                continue
            refused = f"; {run['refused']} refused" if run["refused"] else ""
            cells.append(f"{number(run['accepted/s'])}, {number(run['relayed/s'])}; {number(run['p99 ms'])}{refused}")
        ours, theirs = runs.get("Posthouse") or {}, runs.get("Postfix") or {}
        row(shape, *cells, ", ".join(ratio(ours.get(key), theirs.get(key)) for key in ("accepted/s", "relayed/s", "cpu ms")))
