"""The end of a search: the comparison, where the result lies, and how to load it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from autoprune.budget.messages import show
from autoprune.cli.as_json import as_json, of_search
from autoprune.cli.compare import Row, compare, contenders, kept_table
from autoprune.display import beside
from autoprune.errors import AutopruneError
from autoprune.report.words import scored

if TYPE_CHECKING:
    from torch import nn

    from autoprune.cli.events import Events
    from autoprune.cli.progress import SearchProgress
    from autoprune.data import Splits
    from autoprune.run.result import SearchResult

SHAPING = (
    "budget", "criterion", "reward", "seed", "device", "round_to", "lower",
    "floor_units", "include", "exclude", "form", "heads", "inexact", "search_images", "calibration_images",
    "fit_images",
)  # fmt: skip
"""The settings of a search that shape a candidate, whichever agent chooses it."""

LABELS = {
    "macs": "MACs", "params": "parameters", "size": "bytes on disk",
    "memory": "peak activation bytes", "latency": "latency, ms",
}  # fmt: skip


def report(
    result: "SearchResult",
    dense: "nn.Module",
    example_inputs: Any,
    data: "Splits",
    settings: Mapping[str, Any],
    epochs: int,
    seen: "SearchProgress | Events",
    *,
    json: bool = False,
) -> list[Any]:
    """Compare, and tell where the result lies; fine-tuned weights are saved beside it.

    The search is over and its result safe: an interrupt or an error here costs the comparison alone.

    Args:
        result: Of the search.
        dense: The network that was searched.
        example_inputs: As the search had them.
        data: As the search had it.
        settings: All settings of the search by name; those in `SHAPING` are used.
        epochs: Of the fine-tuning of every row; 0 leaves it out.
        seen: Told what is being done.
        json: One JSON object instead of tables.

    Returns:
        What to print.
    """
    import autoprune

    shaping = {name: settings[name] for name in SHAPING}
    tuned: Mapping[str, nn.Module] = {}
    rows: Sequence[Row] = ()
    reason = ""
    try:
        networks = contenders(result, dense, example_inputs, data, shaping, seen.on_stage)
        rows, tuned = compare(
            networks,
            data,
            epochs,
            settings["device"],
            seen.on_stage,
            seen.on_step,
            example_inputs=example_inputs,
            latency=kept_table(result),
        )
        if result.run_dir is not None:
            from autoprune.report.comparison import record_comparison

            record_comparison(result.run_dir, rows, epochs)
    except (KeyboardInterrupt, AutopruneError) as error:
        why = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        reason = f"The comparison could not be made: {why}"
    if result.run_dir is not None and "found" in tuned:
        autoprune.save(tuned["found"], result.plan, result.run_dir / "finetuned")
    seen.on_stage("done")
    if json:
        return [as_json(of_search(result, rows, reason))]
    shown = [result.summary(), reason] if reason else [table(rows, epochs)]
    return [*shown, ending(result), places(result, tuned="found" in tuned)]


def table(rows: Sequence[Row], epochs: int) -> Table:
    """The comparison; the first row is what shares refer to."""
    heads = [*(LABELS.get(name, name) for name in rows[0].costs)]
    timed = "latency" not in rows[0].costs and all(row.milliseconds is not None for row in rows)
    heads += [*["measured ms"] * timed, "search score"]
    tested = any(row.before is not None for row in rows)
    heads += ["test accuracy"] * tested + [f"after {epochs} epochs"] * (tested and bool(epochs))
    drawn = Table(title="Same engine, same images, same budget; the test set was not seen by any search")
    drawn.add_column("network")
    for head in heads:
        drawn.add_column(head, justify="right")
    for row in rows:
        cells = [beside(value, rows[0].costs[name]) for name, value in row.costs.items()]
        cells += [*[f"{row.milliseconds or 0:.3g}"] * timed, scored(row.score)]
        cells += [percent(value) for value in (row.before, row.after)][: len(heads) - len(cells)]
        drawn.add_row(Text(row.name), *cells, style="bold" if row.name == "found" else "")
    return drawn


def percent(value: float | None) -> str:
    """A share as a percentage."""
    return "-" if value is None else f"{100 * value:.2f}%"


def ending(result: "SearchResult") -> str:
    """One line on the run."""
    state = "Stopped after" if result.stopped else "Best of"
    limits = ", ".join(f"{name} <= {show(limit)}" for name, limit in result.limits.items())
    scores = f"score {result.best.evaluation.score:.4f}, re-fitted {result.found.evaluation.score:.4f}"
    lines = [
        f"{state} {len(result.history)} episodes: episode {result.best.number} ({scores}); budget {limits}."
    ]
    lines += [] if result.timed is None else [str(result.timed)]
    return "\n".join([*lines, *result.remarks])


def places(result: "SearchResult", *, tuned: bool) -> str:
    """Where the result lies and how to use it."""
    folder = result.run_dir
    if folder is None:
        return "Nothing was written (no run folder)."
    lines = [
        f"The pruned network is in {folder / 'pruned'}. "
        f"In Python: autoprune.load('{folder / 'pruned'}', dense_model)"
    ]
    lines += [f"Its fine-tuned weights are in {folder / 'finetuned'}, loaded likewise."] * tuned
    lines += [f"The report is {folder / 'report.html'}."] * (folder / "report.html").is_file()
    lines += [f"Go on with: autoprune resume {folder}"] * result.stopped
    return "\n".join(lines)
