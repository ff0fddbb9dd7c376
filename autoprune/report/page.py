"""The page itself: one HTML file that needs nothing else."""

import json
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from autoprune.errors import ArgumentError
from autoprune.report import words
from autoprune.report.command import command
from autoprune.report.figures import CHARTS
from autoprune.report.read import Run
from autoprune.report.tables import candidates, compared, facts, groups, tested, trust

if TYPE_CHECKING:
    from jinja2 import Environment

HINT = "the report needs plotly and jinja2: pip install 'autoprune[report]'"


def page(run: Run) -> str:
    """The report as HTML, scripts and styles included.

    Raises:
        ArgumentError: plotly or jinja2 is not installed.
    """
    plotly, environment = plotly_script(), _environment()
    charts = [make(run) for make in CHARTS]
    specs = {chart.name: [view.spec() for view in chart.views] for chart in charts}
    return environment.from_string(_part("page.html")).render(
        run=run,
        summary=words.summary(run),
        verdict=words.verdict(run),
        cards=_cards(run),
        compared=compared(run),
        tested=tested(run),
        charts=charts,
        groups=groups(run),
        candidates=candidates(run),
        trust=trust(run),
        facts=facts(run),
        command=command(run.config, run.folder),
        specs=_json(specs),
        style=_part("page.css"),
        script=_part("page.js"),
        plotly=plotly,
    )


def plotly_script() -> str:
    """Plotly's JavaScript, which its Python package brings along; the package itself is not imported.

    Raises:
        ArgumentError: plotly is not installed.
    """
    found = find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        raise ArgumentError(HINT)
    from pathlib import Path

    path = Path(found.submodule_search_locations[0], "package_data", "plotly.min.js")
    if not path.is_file():
        raise ArgumentError(f"{HINT}; the one that is installed has no plotly.min.js")
    return path.read_text(encoding="utf-8").replace("</script", "<\\/script")


def _environment() -> "Environment":
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise ArgumentError(HINT) from error
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, auto_reload=False
    )


def _part(name: str) -> str:
    return (files("autoprune.report") / name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    """JSON that may stand inside a script element: no text can end it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _cards(run: Run) -> list[dict[str, str]]:
    """The key figures: what stays of every cost, and what the network is worth."""
    names = list(dict.fromkeys([*run.outcome.limits, "macs", "params"]))
    cards = [
        {
            "name": words.label(name).partition(" in ")[0],
            "value": words.percent(words.kept(run, name)),
            "note": f"{words.short(run.found.costs[name])} of {words.short(run.dense.costs[name])}",
        }
        for name in names
        if name in run.dense.costs
    ]
    cards += [*_accuracy(run), *_time(run)]
    note = f"{len(run.history):,} candidates in {words.span(run.seconds)}"
    return [*cards, {"name": "score", "value": f"{run.found.score:.3f}", "note": note}]


def _accuracy(run: Run) -> list[dict[str, str]]:
    """On the test set if it is known, else on the search images, else none."""
    tested_ones, where = words.accuracies_on_test(run), "on the test set"
    if not tested_ones and "accuracy" in run.found.metrics:
        tested_ones = {name: run.outcome.row(name).metrics["accuracy"] for name in ("found", "dense")}
        where = "on the search images"
    if not tested_ones:
        return []
    note = f"dense {words.percent(tested_ones['dense'])}, {where}"
    return [{"name": "accuracy", "value": words.percent(tested_ones["found"]), "note": note}]


def _time(run: Run) -> list[dict[str, str]]:
    """Of one forward pass, where it was measured."""
    times = dict(run.outcome.times)
    if not times and run.comparison is not None:
        rows = run.comparison.rows
        times = {row.name: row.milliseconds for row in rows if row.milliseconds is not None}
    if not times.get("dense") or "found" not in times:
        return []
    value, note = f"{times['found']:.3g} ms", f"dense {times['dense']:.3g} ms, both measured"
    return [{"name": "latency", "value": value, "note": note}]
