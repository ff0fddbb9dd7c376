"""Points as plain text and as CSV."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from autoprune.sensitivity.point import FREE, MEASURED, Point

if TYPE_CHECKING:
    from autoprune.sensitivity.result import Sensitivity

COLUMNS = ("group", "size", "ratio", "width", *MEASURED, FREE)

TITLES = {
    "accuracy": "accuracy in %",
    "loss": "loss in nats per image",
    "kl": "KL divergence from the dense network in nats per image",
    "error": "reconstruction error (no evaluation)",
}


def table_text(result: "Sensitivity", metric: str) -> str:
    """A table of one metric; `Sensitivity.table` documents it."""
    head = ("group", "units", *(f"{100 * ratio:g}%" for ratio in result.ratios), "spearman")
    rows = [head]
    for group in result.groups:
        points = {point.ratio: point for point in result.of(group)}
        cells = [_cell(points.get(ratio), metric) for ratio in result.ratios]
        rows.append(
            (group, str(result.of(group)[0].size), *cells, correlation_text(result.correlation(group)))
        )
    lines = aligned(rows)
    rule = "-" * max(map(len, lines))
    title = f"One group pruned alone, by its pruning ratio: {TITLES[metric]}"
    if metric in result.dense:
        title += f" (dense {number(result.dense[metric], metric)})"
    return "\n".join([title, lines[0], rule, *lines[1:], rule, _footer(result)])


def csv_text(points: Iterable[Point]) -> str:
    """One line per point under a header; a missing number is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for point in points:
        values = [getattr(point, name) for name in COLUMNS]
        writer.writerow(["" if value is None else value for value in values])
    return out.getvalue()


def number(value: float, metric: str) -> str:
    """A value with about three digits: accuracies in percent, all else as it is."""
    if metric == "accuracy":
        return f"{100 * value:.1f}"
    decimals = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{decimals}f}"


def correlation_text(value: float) -> str:
    """A correlation, or a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.2f}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the first column to the left and all others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            [f"{row[0]:<{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _cell(point: Point | None, metric: str) -> str:
    return "" if point is None else number(point.value(metric), metric)


def _footer(result: "Sensitivity") -> str:
    return (
        "spearman: rank correlation of the free reconstruction error with the measured KL; "
        f"over all points {correlation_text(result.correlation())}"
    )
