"""The heat-map of keep ratios."""

from typing import Any

from autoprune.report.figures.chart import Chart, View
from autoprune.report.figures.style import group_axis, layout, rows_height
from autoprune.report.read import Candidate, Run
from autoprune.report.words import (
    marked,
    name_of_group,
    scored,
)


def ratios(run: Run) -> Chart:
    """Share of its units that every group keeps, over all candidates."""
    ranked = sorted(run.history, key=lambda c: c.score, reverse=True)
    names = list(run.config.groups)
    views = (
        View("by episode", [_map(run, run.history)], _layout(names, "episode")),
        View("by score, best first", [_map(run, tuple(ranked))], _layout(names, "rank by score")),
    )
    tenth = ranked[: max(1, len(ranked) // 10)]
    means = _means(run, tuple(tenth))
    low, high = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    return Chart(
        "ratios",
        "What the search tried",
        "One column per candidate, one row per group: yellow keeps all units of the group, dark violet few. "
        "Rows that settle on one color are decisions that the search became sure of.",
        f"Among the best tenth of the candidates, {name_of_group(low)} keeps least "
        f"({100 * means[low]:.0f}% on average) and {name_of_group(high)} most ({100 * means[high]:.0f}%).",
        views,
    )


def _layout(names: list[str], x: str) -> dict[str, Any]:
    return layout(rows_height(len(names), 110), x, "", yaxis=group_axis(names), xaxis={"showgrid": False})


def _means(run: Run, candidates: tuple[Candidate, ...]) -> dict[str, float]:
    return {
        name: sum(c.widths[i] for c in candidates) / len(candidates) / size
        for i, (name, size) in enumerate(run.config.groups.items())
    }


def _map(run: Run, candidates: tuple[Candidate, ...]) -> dict[str, Any]:
    groups = list(run.config.groups.items())
    return {
        "type": "heatmap",
        "x": list(range(len(candidates))),
        "y": list(range(len(groups))),
        "z": [[round(c.widths[i] / size, 5) for c in candidates] for i, (_, size) in enumerate(groups)],
        "hoverinfo": "text",
        "meta": {  # of which the page makes the hover texts: cell by cell they would take megabytes
            "names": [marked(name) for name, _ in groups],
            "sizes": [size for _, size in groups],
            "episodes": [c.number for c in candidates],
            "scores": [scored(c.score) for c in candidates],
        },
        "colorscale": "Viridis",
        "zmin": 0,
        "zmax": 1,
        "ygap": 1,
        "colorbar": {
            "title": {"text": "keep ratio", "side": "top"},
            "tickformat": ".0%",
            "orientation": "h",
            "thickness": 10,
            "len": 0.6,
            "x": 0,
            "xanchor": "left",
            "y": 1.0,
            "ypad": 10,
            "yanchor": "bottom",
            "outlinewidth": 0,
        },
    }
