"""The heat maps of a sensitivity analysis."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autoprune.errors import ArgumentError
from autoprune.files import StrPath, replaced_file
from autoprune.sensitivity.point import FREE
from autoprune.sensitivity.text import TITLES, correlation_text, number

if TYPE_CHECKING:
    from autoprune.sensitivity.result import Sensitivity

SUFFIXES = (".png", ".svg", ".pdf")
_ROW, _COLUMN = 0.24, 0.5
"""Inches of one cell."""

_LETTER = 0.068
"""Inches that a letter of a group's name takes."""


def draw(result: "Sensitivity", path: StrPath, metric: str) -> None:
    """Write the picture; `Sensitivity.plot` documents it."""
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise ArgumentError(f"path must end with one of {', '.join(SUFFIXES)}, got '{target.name}'")
    grids = {name: grid(result, name) for name in dict.fromkeys((metric, FREE))}
    figure = _figure(result, grids)
    with replaced_file(target) as temporary:
        figure.savefig(temporary, format=target.suffix.lower()[1:], dpi=150)


def grid(result: "Sensitivity", metric: str) -> NDArray[np.float64]:
    """Values of shape (groups, ratios); nan where a point is missing."""
    rows = {group: i for i, group in enumerate(result.groups)}
    columns = {ratio: i for i, ratio in enumerate(result.ratios)}
    values = np.full((len(rows), len(columns)), np.nan)
    for point in result.points:
        values[rows[point.group], columns[point.ratio]] = point.value(metric)
    return values


def _figure(result: "Sensitivity", grids: dict[str, NDArray[np.float64]]) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ArgumentError("a plot needs matplotlib: pip install 'autoprune[plot]'") from error
    names = 0.3 + _LETTER * max(map(len, result.groups))
    panel = max(2.6, _COLUMN * len(result.ratios))
    gap, right, top, bottom = 0.25, 0.75, 0.95, 0.6
    height = _ROW * len(result.groups)
    size = names + len(grids) * (panel + gap) - gap + right, top + height + bottom
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    for i, (metric, values) in enumerate(grids.items()):
        left = names + i * (panel + gap)
        box = (left / size[0], bottom / size[1], panel / size[0], height / size[1])
        _panel(figure.add_axes(box), result, metric, values)
    figure.axes[0].set_yticks(range(len(result.groups)), result.groups, fontsize=8)
    _correlations(figure.axes[-1], result)
    figure.suptitle(_title(result), fontsize=10, y=1 - 0.12 / size[1], va="top")
    return figure


def _panel(axes: Any, result: "Sensitivity", metric: str, values: NDArray[np.float64]) -> None:
    good_is_high = metric == "accuracy"
    shown = values if good_is_high else -_logarithms(values)
    axes.imshow(shown, cmap="viridis", aspect="auto", interpolation="nearest")
    axes.set_title(TITLES[metric].partition(" in nats")[0], fontsize=9)
    axes.set_xticks(range(len(result.ratios)), [f"{100 * ratio:g}%" for ratio in result.ratios], fontsize=8)
    axes.set_xlabel("share of the group's units removed", fontsize=8)
    axes.set_yticks([])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    low, high = np.nanmin(shown), np.nanmax(shown)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            light = high > low and (shown[row, column] - low) / (high - low) > 0.55
            color = "black" if light else "white"
            axes.text(column, row, number(value, metric), ha="center", va="center", fontsize=6.5, color=color)


def _logarithms(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms for the color; values below a thousandth of the largest look alike."""
    largest = float(np.nanmax(values))
    return np.log(np.maximum(values, 1e-3 * largest)) if largest > 0 else np.zeros_like(values)


def _correlations(axes: Any, result: "Sensitivity") -> None:
    place = len(result.ratios) - 0.5 + 0.1 / _COLUMN
    axes.text(place, -0.6, "Spearman\nwith KL", fontsize=7, va="bottom")
    for row, group in enumerate(result.groups):
        axes.text(place, row, correlation_text(result.correlation(group)), fontsize=7, va="center")


def _title(result: "Sensitivity") -> str:
    dense = f"; dense accuracy {100 * result.dense['accuracy']:.1f}%" if result.labeled else ""
    overall = correlation_text(result.correlation())
    return f"One group pruned alone{dense}\nSpearman of free error and measured KL over all points: {overall}"
