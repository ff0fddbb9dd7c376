"""Colors and layout that all charts share.

The page has a light and a dark form, and one set of colors serves both: every color has a contrast of at
least 3 to 1 (WCAG 2.2, 1.4.11) to either background. Text, axes and grids take theirs from the style sheet.
"""

from collections.abc import Sequence
from typing import Any

from autoprune.report.words import marked, name_of_group

BACKGROUNDS = ("#ffffff", "#171b21")
"""Of the cards in the light and in the dark form; the style sheet names the same."""

COLORS = {
    "dense": "#78828f",
    "uniform": "#b5750f",
    "greedy": "#23906a",
    "candidate": "#3f7fd4",
    "best": "#3f7fd4",
    "found": "#d3468a",
    "budget": "#c8513c",
}
SYMBOLS = {"dense": "circle", "uniform": "triangle-up", "greedy": "square", "best": "circle", "found": "star"}
DASHES = {"dense": "longdash", "uniform": "dash", "greedy": "dot", "found": "dashdot"}

SEQUENCE = ("#4a7fd8", "#1f8f96", "#3f9142", "#a07c14", "#c9582f", "#c24a8d")
"""Blended for any number of groups, so that neighbors in the network look alike."""


def layout(height: int, x: str, y: str, **changes: Any) -> dict[str, Any]:
    """A layout with titled axes and the legend above; width follows the page.

    Args:
        height: In pixels.
        x: Title of the horizontal axis.
        y: Title of the vertical axis; empty for none.
        **changes: Merged into it, one level deep.
    """
    axis = {"automargin": True, "zeroline": False, "ticks": "outside", "ticklen": 4}
    made: dict[str, Any] = {
        "height": height,
        "autosize": True,
        "margin": {"l": 8, "r": 12, "t": 12, "b": 8, "pad": 2},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13},
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "entrywidth": 0,
        },
        "xaxis": axis | {"title": {"text": x}},
        "yaxis": axis | {"title": {"text": y}} if y else dict(axis),
    }
    for name, value in changes.items():
        made[name] = made[name] | value if isinstance(made.get(name), dict) else value
    return made


def group_axis(names: Sequence[str]) -> dict[str, Any]:
    """A vertical axis with one row per group, the first on top; rows are addressed as 0, 1, ..."""
    return {
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": [marked(name_of_group(name)) for name in names],
        "range": [len(names) - 0.5, -0.5],
        "title": {"text": ""},
        "ticks": "",
        "showgrid": False,
    }


def blend(position: float) -> str:
    """A color of `SEQUENCE` at a position from 0 to 1."""
    place = min(max(position, 0.0), 1.0) * (len(SEQUENCE) - 1)
    left = min(int(place), len(SEQUENCE) - 2)
    part = place - left
    pairs = zip(_channels(SEQUENCE[left]), _channels(SEQUENCE[left + 1]), strict=True)
    return "#" + "".join(f"{round((1 - part) * a + part * b):02x}" for a, b in pairs)


def rows_height(rows: int, extra: int) -> int:
    """Height in pixels of a chart with one row per group."""
    return extra + max(160, rows * (24 if rows <= 40 else 17))


def score_range(scores: Sequence[float], others: Sequence[float]) -> tuple[list[float] | None, int]:
    """A range that a few bad candidates (far below the first quartile, after Tukey) do not stretch.

    Args:
        scores: Of the candidates.
        others: What must be seen in any case.

    Returns:
        Lower and upper end, or None where all candidates fit well; and how many candidates lie below.
    """
    ordered = sorted(scores)
    first, third = ordered[len(ordered) // 4], ordered[3 * len(ordered) // 4]
    fence = first - 1.5 * (third - first)
    low, high = min(*others, *(s for s in scores if s >= fence)), max(ordered[-1], *others)
    if low - ordered[0] <= 0.5 * (high - low):
        return None, 0
    margin = 0.06 * (high - low) or 0.01
    return [low - margin, high + margin], sum(score < low - margin for score in scores)


def cut_note(count: int) -> str:
    """What a chart says of candidates outside its range."""
    if not count:
        return ""
    verb = "candidate lies" if count == 1 else "candidates lie"
    return f" {count:,} weak {verb} below the shown range; double-click the chart to see all."


def _channels(color: str) -> tuple[int, ...]:
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))
