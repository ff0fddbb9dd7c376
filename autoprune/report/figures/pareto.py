"""All candidates by cost and score."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autoprune.display import number
from autoprune.report.figures.chart import Chart, View
from autoprune.report.figures.learning import hover
from autoprune.report.figures.style import COLORS, SYMBOLS, cut_note, layout, score_range
from autoprune.report.read import Candidate, Run
from autoprune.report.words import (
    NAMES,
    costs_text,
    label,
    score_label,
    scored,
)

if TYPE_CHECKING:
    from autoprune.run.outcome import MeasuredRecord


def pareto(run: Run) -> Chart:
    """One view per cost, the limited ones first."""
    names = list(dict.fromkeys([*run.outcome.limits, *run.history[0].costs]))
    marked = (*run.outcome.baselines, run.found)
    shown, below = score_range([c.score for c in run.history], [row.score for row in marked])
    views = tuple(_view(run, name, shown) for name in names)
    best = front(run.history, names[0])
    return Chart(
        "pareto",
        "Cost against score",
        f"Each dot is one candidate; up ({score_label(run.config.settings.reward)}) and to the left "
        "(cheaper) is better. The line joins the candidates that no other one beats in both. Click on an "
        "entry of the legend to show or hide it; the dense network is hidden at first." + cut_note(below),
        f"{len(best)} of {len(run.history):,} candidates are on the front of {label(names[0])} and score, "
        f"from {number(best[0].costs[names[0]])} with {scored(best[0].score)} to "
        f"{number(best[-1].costs[names[0]])} with {scored(best[-1].score)}.",
        views,
    )


def front(candidates: Sequence[Candidate], cost: str) -> list[Candidate]:
    """The candidates that no other one beats in cost and score, cheapest first; one of equals."""
    found: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.costs[cost], -c.score)):
        if not found or candidate.score > found[-1].score:
            found.append(candidate)
    return found


def _view(run: Run, cost: str, shown: list[float] | None) -> View:
    best = front(run.history, cost)
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "Pareto front",
        "x": [c.costs[cost] for c in best],
        "y": [c.score for c in best],
        "hoverinfo": "skip",
        "line": {"color": COLORS["best"], "width": 1.5, "shape": "hv"},
    }
    rows = [*run.outcome.baselines, run.found, run.dense]
    data = [_dots(run, cost), line, *_limit(run, cost, shown), *(_mark(run, row, cost) for row in rows)]
    across: dict[str, Any] = {"exponentformat": "SI"}
    upwards: dict[str, Any] = {}
    if shown is not None:
        across["range"], upwards["range"] = _reach(run, cost, shown[0]), shown
    return View(label(cost), data, layout(460, label(cost), "score", xaxis=across, yaxis=upwards))


def _reach(run: Run, cost: str, lowest: float) -> list[float]:
    """A range of costs for what scores at least `lowest`."""
    costs: list[float] = [c.costs[cost] for c in run.history if c.score >= lowest]
    costs += [row.costs[cost] for row in (*run.outcome.baselines, run.found)]
    costs += [limit for name, limit in run.outcome.limits.items() if name == cost]
    low, high = min(costs), max(costs)
    margin = 0.05 * (high - low) or 0.05 * high
    return [low - margin, high + margin]


def _dots(run: Run, cost: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "candidate",
        "x": [c.costs[cost] for c in run.history],
        "y": [c.score for c in run.history],
        "hovertext": [hover(c, run) for c in run.history],
        "hoverinfo": "text",
        "marker": {"color": COLORS["candidate"], "size": 7, "opacity": 0.85},
    }


def _limit(run: Run, cost: str, shown: list[float] | None) -> list[dict[str, Any]]:
    """The budget as a vertical line."""
    if cost not in run.outcome.limits:
        return []
    limit = run.outcome.limits[cost]
    scores = [c.score for c in run.history] + [run.found.score]
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "budget",
            "x": [limit, limit],
            "y": shown or [min(scores), max(scores)],
            "hovertemplate": f"budget: {label(cost)} at most {number(limit)}<extra></extra>",
            "line": {"color": COLORS["budget"], "width": 2, "dash": "dash"},
        }
    ]


def _mark(run: Run, row: "MeasuredRecord", cost: str) -> dict[str, Any]:
    name = NAMES.get(row.name, row.name)
    costs = costs_text(row.costs, run.dense.costs, list(row.costs))
    text = f"<b>{name}</b><br>score: {scored(row.score)}<br>{costs}"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [row.costs[cost]],
        "y": [row.score],
        "hovertext": [text],
        "hoverinfo": "text",
        "visible": "legendonly" if row.name == "dense" else True,
        "marker": {
            "color": COLORS.get(row.name, COLORS["dense"]),
            "symbol": SYMBOLS.get(row.name, "diamond"),
            "size": 14 if row.name == "found" else 11,
            "line": {"color": "#ffffff", "width": 1},
        },
    }
