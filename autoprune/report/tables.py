"""The tables of a report, as texts."""

from dataclasses import dataclass

from autoprune.display import beside, number
from autoprune.report.read import Run
from autoprune.report.words import (
    NAMES,
    accuracies_on_test,
    accuracy_error,
    epochs,
    joined,
    label,
    percent,
    score_label,
    scored,
    short,
    span,
)

MOST = 500
"""Candidates that the table of candidates holds."""

NOTES = {
    "dense": "the network as it was given",
    "uniform": "the same share of every group",
    "greedy": "by the sensitivity curves, no evaluation",
    "best": "as the search scored it",
    "found": "the best candidate, re-fitted: what is returned",
}


@dataclass(frozen=True)
class Table:
    """Heads and rows of texts; the first column names the row.

    Attributes:
        caption: What the rows have in common.
        heads: Of the columns.
        rows: Texts.
        strong: Index of the row that matters most, or -1.
        words: How many columns from the left hold words, which are not set to the right.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: int = -1
    words: int = 1


def compared(run: Run) -> Table:
    """Dense, baselines, best candidate and found on the search images."""
    rows = run.outcome.rows
    costs = list(dict.fromkeys([*run.outcome.limits, *run.dense.costs]))
    labeled = all("accuracy" in row.metrics for row in rows)
    heads = ("network", *map(label, costs), "score", *(("accuracy",) if labeled else ()), "made by")
    texts = [
        (
            NAMES.get(row.name, row.name),
            *(beside(row.costs[name], run.dense.costs[name]) for name in costs),
            scored(row.score),
            *((percent(row.metrics["accuracy"]),) if labeled else ()),
            NOTES.get(row.name, ""),
        )
        for row in rows
    ]
    score = score_label(run.config.settings.reward)
    caption = f"On {run.outcome.images['search']:,} search images. Score: {score}."
    return Table(caption, heads, tuple(texts), len(texts) - 1)


def tested(run: Run) -> Table | None:
    """The networks on the test set, where it was measured."""
    comparison = run.comparison
    if comparison is None:
        return None
    labeled = any(row.before is not None for row in comparison.rows)
    timed = any(row.milliseconds is not None for row in comparison.rows)
    if not labeled and not timed:
        return None
    tuned = any(row.after is not None for row in comparison.rows)
    names = list(run.dense.costs)
    after = (f"after {epochs(comparison.epochs)}",) if tuned else ()
    accuracy = ("test accuracy", *after) if labeled else ()
    apart = timed and "latency" not in names
    heads = ("network", *map(label, names), *(("measured ms",) if apart else ()), *accuracy)
    dense = comparison.rows[0].costs
    texts = [
        (
            NAMES.get(row.name, row.name),
            *(beside(row.costs[name], dense[name]) for name in names if name in row.costs),
            *((_time(row.milliseconds),) if apart else ()),
            *((_share(row.before),) if labeled else ()),
            *((_share(row.after),) if tuned else ()),
        )
        for row in comparison.rows
    ]
    strong = next((i for i, row in enumerate(comparison.rows) if row.name == "found"), -1)
    where = "On the test set, which the search did not see: " if labeled else ""
    treated = "re-fitted and fine-tuned" if tuned else "re-fitted"
    times = " Times are medians of one forward pass of the example input." if timed else ""
    caption = f"{where}every row was {treated} alike.{times}"
    return Table(caption[0].upper() + caption[1:], heads, tuple(texts), strong)


def groups(run: Run) -> Table:
    """Every group with its widths, shares and reason."""
    baselines = run.outcome.baselines
    heads = ("group", "state", "dense", "found", *(row.name for row in baselines), "MACs", "parameters")
    texts = [
        (
            group.name,
            (f"locked: {group.reason}" if group.reason else "prunable")
            + (f" ({group.note})" if group.note else ""),
            number(group.size),
            number(run.found.widths.get(group.name, group.size)),
            *(number(row.widths.get(group.name, group.size)) for row in baselines),
            percent(group.macs),
            percent(group.params),
        )
        for group in run.outcome.groups
    ]
    return Table(
        "Widths in units. MACs and parameters are the share of the dense network in layers that the group "
        "runs through; a layer counts for its input and its output group alike.",
        heads,
        tuple(texts),
        words=2,
    )


def candidates(run: Run) -> Table:
    """The best candidates, best first."""
    ranked = sorted(run.history, key=lambda c: c.score, reverse=True)[:MOST]
    costs = list(run.history[0].costs)
    labeled = run.history[0].accuracy is not None
    heads = ("episode", "score", *(("accuracy",) if labeled else ()), *map(label, costs))
    texts = [
        (
            str(c.number),
            scored(c.score),
            *((percent(c.accuracy or 0.0),) if labeled else ()),
            *(beside(c.costs[name], run.dense.costs[name]) for name in costs),
        )
        for c in ranked
    ]
    caption = "Best first" + (
        f", the best {MOST} of {len(run.history):,}." if len(run.history) > MOST else "."
    )
    return Table(caption, heads, tuple(texts))


def trust(run: Run) -> list[str]:
    """What was checked, and what the numbers cannot say."""
    limits = joined([f"{label(name)} ≤ {number(limit)}" for name, limit in run.outcome.limits.items()])
    images = run.outcome.images["search"]
    said = [
        f"The budget is hard: {limits}. MACs and parameters were counted again on the returned network.",
        "The returned network was checked against the dense one: its structure computes the same as the "
        "dense network with the removed units set to zero.",
        "The best candidate was rebuilt from the original weights and had to score the same again.",
    ]
    accuracy = run.found.metrics.get("accuracy")
    if accuracy is not None:
        error = 100 * accuracy_error(accuracy, images)
        said.append(
            f"Accuracy on {images:,} search images has a standard error of {error:.1f} points, one image is "
            f"{100 / images:.2f} points: smaller differences say little."
        )
    said.append(
        "The search images chose the network, so that its score on them is optimistic. "
        + (
            "The test set above was not seen by the search."
            if accuracies_on_test(run)
            else "Measure it on images that the search did not see before you rely on it."
        )
    )
    locked = sum(bool(group.reason) for group in run.outcome.groups)
    if locked:
        said.append(f"{locked} of {len(run.outcome.groups)} groups stay dense; the table of groups says why.")
    notes = sorted({group.note for group in run.outcome.groups if group.note and not group.reason})
    return [*said, *run.outcome.remarks, *(f"Note: {note}" for note in notes)]


def facts(run: Run) -> list[tuple[str, str]]:
    """What it takes to make the run again."""
    config, settings, outcome = run.config, run.config.settings, run.outcome
    state = "stopped by the user" if outcome.stopped else "complete"
    later = f"; {run.later} episodes were run later and are not shown" if run.later else ""
    versions = ", ".join(f"{name} {version}" for name, version in config.machine.versions.items())
    sources = [("model", config.model.source), ("data", config.data.source)]
    found = [
        ("run", run.name),
        ("started, ended", f"{_moment(config.created)}, {_moment(outcome.finished)} (UTC)"),
        ("episodes", f"{outcome.episodes:,} of {settings.episodes:,} ({state}), {span(run.seconds)}{later}"),
        ("agent, criterion, reward", f"{settings.agent}, {settings.criterion}, {settings.reward}"),
        ("seed", str(settings.seed)),
        *((name, source) for name, source in sources if source),
        ("example input", f"{outcome.inputs}; costs are counted for it, its batch included"),
        (
            "images",
            f"{outcome.images['calibration']:,} for the calibration (at most "
            f"{settings.calibration_images:,} asked for), up to {settings.fit_images:,} of them re-fit a "
            f"candidate, {outcome.images['search']:,} score it",
        ),
        ("network", f"{len(outcome.groups)} groups, {short(run.dense.costs['params'])} parameters"),
        ("versions", versions),
        ("machine", f"{config.machine.platform}, {_threads(config.machine.threads)}"),
        ("network, SHA-256", config.model.sha256),
        ("search images, SHA-256", config.data.search_sha256),
        ("calibration images, SHA-256", config.data.calibration_sha256),
    ]
    return found


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"


def _moment(text: str) -> str:
    """A time in UTC as it is written in a run, for people."""
    return text.replace("T", " ").partition("+")[0]


def _time(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "-" if value is None else percent(value, 2)
