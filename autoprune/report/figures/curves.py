"""The sensitivity curves."""

from typing import Any

from autoprune.report.figures.chart import Chart, View
from autoprune.report.figures.style import COLORS, SYMBOLS, blend, layout
from autoprune.report.read import Run
from autoprune.report.words import marked, name_of_group

LEGEND = 14
"""With more groups than this the legend is left out; pointing at a line names it."""
DASHES = ("solid", "dash", "dot")
"""In turns, so that neighbors differ in more than their color."""


def curves(run: Run) -> Chart:
    """Reconstruction error of every group as a function of its keep ratio."""
    views = (
        View("linear", _lines(run), _layout(run)),
        View("logarithmic", _lines(run, positive=True), _layout(run, type="log", dtick=1)),
    )
    errors = {name: _at(run, name) for name in run.config.groups}
    worst = max(errors, key=errors.__getitem__)
    return Chart(
        "curves",
        "How sensitive each group is",
        "The error that is left in the layers behind a group when it alone is pruned to a share of its units "
        "and the weights are re-fitted, from the calibration alone, without any evaluation. Stars mark the "
        "widths that were found: a search spends units where a curve is steep.",
        f"At the widths that were found, {name_of_group(worst)} has the largest error ({errors[worst]:.3g}).",
        views,
    )


def _layout(run: Run, **axis: Any) -> dict[str, Any]:
    return layout(
        440,
        "share of the group's units that stay",
        "reconstruction error",
        xaxis={"tickformat": ".0%", "range": [0, 1.03]},
        yaxis={"rangemode": "tozero", "exponentformat": "power"} | axis,
        legend={"y": -0.2, "yanchor": "top"},
        showlegend=len(run.config.groups) <= LEGEND,
    )


def _at(run: Run, name: str) -> float:
    """The error at the width that was found, interpolated where the curve was thinned out."""
    curve, width = run.outcome.curves[name], run.found.widths[name]
    above = next(i for i, w in enumerate(curve.widths) if w >= width)
    if above == 0 or curve.widths[above] == width:
        return curve.errors[above]
    left, right = curve.widths[above - 1], curve.widths[above]
    part = (width - left) / (right - left)
    return (1 - part) * curve.errors[above - 1] + part * curve.errors[above]


def _lines(run: Run, positive: bool = False) -> list[dict[str, Any]]:
    sizes = run.config.groups
    last = max(1, len(sizes) - 1)
    lines = [
        _line(run, name, blend(i / last), DASHES[i % len(DASHES)], positive) for i, name in enumerate(sizes)
    ]
    return [*lines, _stars(run, positive)]


def _line(run: Run, name: str, color: str, dash: str, positive: bool) -> dict[str, Any]:
    curve, size = run.outcome.curves[name], run.config.groups[name]
    points = [(w, e) for w, e in zip(curve.widths, curve.errors, strict=True) if e > 1e-9 or not positive]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": marked(name_of_group(name)),
        "x": [w / size for w, _ in points],
        "y": [e for _, e in points],
        "hovertext": [f"<b>{marked(name)}</b><br>{w} of {size} units: error {e:.4g}" for w, e in points],
        "hoverinfo": "text",
        "line": {"color": color, "width": 2, "dash": dash},
    }


def _stars(run: Run, positive: bool) -> dict[str, Any]:
    sizes, found = run.config.groups, run.found.widths
    points = [(name, size, found[name], _at(run, name)) for name, size in sizes.items()]
    points = [point for point in points if point[3] > 1e-9 or not positive]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "found",
        "x": [width / size for _, size, width, _ in points],
        "y": [error for *_, error in points],
        "hovertext": [
            f"<b>{marked(n)}</b><br>found: {w} of {s} units, error {e:.4g}" for n, s, w, e in points
        ],
        "hoverinfo": "text",
        "marker": {"color": COLORS["found"], "symbol": SYMBOLS["found"], "size": 11},
    }
