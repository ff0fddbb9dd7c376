"""Dense and kept width of every group."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from autoprune.report.figures.chart import Chart, View
from autoprune.report.figures.style import COLORS, SYMBOLS, group_axis, layout, rows_height
from autoprune.report.read import Run
from autoprune.report.words import marked, name_of_group, percent

if TYPE_CHECKING:
    from autoprune.run.outcome import GroupRecord

REASONS = 4
"""How many reasons are named below the chart; the table has all."""
PALE = "rgba(120,130,143,0.28)"


def widths(run: Run) -> Chart:
    """Bars by group: units, share that stays, share of the MACs."""
    groups = run.outcome.groups
    reach = 1.2 * max(group.macs for group in groups) or 1.0
    views = (
        View(
            "units",
            [*_bars(run, lambda value, group: value), *_marks(run)],
            _layout(run, "units", range=[0, 1.35 * max(group.size for group in groups)]),
        ),
        View(
            "share of its units",
            [*_bars(run, lambda value, group: value / group.size), *_marks(run, share=True)],
            _layout(run, "share of the group's units", tickformat=".0%", range=[0, 1.35]),
        ),
        View(
            "share of the dense MACs",
            [_shares(run)],
            _layout(
                run,
                "share of the dense MACs in layers that the group runs through",
                tickformat=".0%",
                range=[0, reach],
            ),
        ),
    )
    locked = sum(bool(group.reason) for group in groups)
    narrow = sorted(
        (g for g in groups if not g.reason), key=lambda g: run.found.widths.get(g.name, g.size) / g.size
    )
    most = "; ".join(f"{name_of_group(g.name)} {_count(run, g)}" for g in narrow[:3])
    return Chart(
        "widths",
        "What stays of each group",
        "A group is a set of channels that must be pruned together, named after the layer that makes them. "
        "The pale bar is the dense width, the solid one what stays; marks show what the baselines keep. "
        "Where there is room, the label adds the share of the dense MACs in the layers that the group runs "
        "through; all shares are in the third view.",
        f"{len(groups) - locked} of {len(groups)} groups could be pruned. Pruned most: {most}."
        + _locked(groups),
        views,
    )


def _locked(groups: "Sequence[GroupRecord]") -> str:
    """Which groups stayed dense and why, the most frequent reasons first."""
    reasons: dict[str, list[str]] = {}
    for group in groups:
        if group.reason:
            reasons.setdefault(group.reason, []).append(name_of_group(group.name))
    ranked = sorted(reasons.items(), key=lambda item: -len(item[1]))
    parts = [f"{_some(names)} ({reason})" for reason, names in ranked[:REASONS]]
    more = len(ranked) - len(parts)
    rest = f"; and {more} more reasons, see the table" if more else ""
    return f" Locked, so that they stay dense: {'; '.join(parts)}{rest}." if parts else ""


def _some(names: "Sequence[str]") -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"


def _count(run: Run, group: "GroupRecord") -> str:
    return f"{run.found.widths.get(group.name, group.size)} of {group.size}"


def _layout(run: Run, x: str, **axis: Any) -> dict[str, Any]:
    names = [group.name for group in run.outcome.groups]
    return layout(
        rows_height(len(names), 110),
        x,
        "",
        barmode="overlay",
        bargap=0.28,
        yaxis=group_axis(names),
        xaxis=axis,
    )


def _hover(run: Run, group: "GroupRecord") -> str:
    state = f"locked: {group.reason}" if group.reason else f"keeps {_count(run, group)} units"
    lines = [f"<b>{marked(group.name)}</b>", marked(state), f"{percent(group.macs)} of the dense MACs"]
    notes = [marked(group.note)] if group.note else []
    return "<br>".join([*lines, f"{percent(group.params)} of the parameters", *notes])


def _bars(run: Run, value: "Callable[[int, GroupRecord], float]") -> list[dict[str, Any]]:
    groups = run.outcome.groups
    kept = [run.found.widths.get(g.name, g.size) for g in groups]
    hover = [_hover(run, g) for g in groups]
    shared = {"type": "bar", "orientation": "h", "y": list(range(len(groups))), "hoverinfo": "text"}
    texts = [
        (f" {g.size} locked" if g.reason else f" {count} of {g.size}") + f" · {percent(g.macs)} of MACs"
        for g, count in zip(groups, kept, strict=True)
    ]
    dense = shared | {
        "name": "dense",
        "x": [value(g.size, g) for g in groups],
        "text": texts,
        "textposition": "outside",
        "cliponaxis": False,
        "hovertext": hover,
        "marker": {"color": PALE, "line": {"color": COLORS["dense"], "width": 1}},
    }
    solid = shared | {
        "name": "found",
        "x": [value(count, g) for g, count in zip(groups, kept, strict=True)],
        "hovertext": hover,
        "marker": {"color": [COLORS["dense"] if g.reason else COLORS["found"] for g in groups]},
    }
    return [dense, solid]


def _marks(run: Run, share: bool = False) -> list[dict[str, Any]]:
    """What the baselines keep."""
    groups = [(i, g) for i, g in enumerate(run.outcome.groups) if not g.reason]
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": row.name,
            "x": [row.widths[g.name] / (g.size if share else 1) for _, g in groups],
            "y": [i for i, _ in groups],
            "hovertext": [f"{row.name} keeps {row.widths[g.name]} of {g.size}" for _, g in groups],
            "hoverinfo": "text",
            "marker": {
                "symbol": SYMBOLS.get(row.name, "circle"),
                "color": COLORS.get(row.name, COLORS["dense"]),
                "size": 9,
                "line": {"color": "#ffffff", "width": 1},
            },
        }
        for row in run.outcome.baselines
    ]


def _shares(run: Run) -> dict[str, Any]:
    groups = run.outcome.groups
    return {
        "type": "bar",
        "orientation": "h",
        "name": "MACs",
        "showlegend": False,
        "x": [g.macs for g in groups],
        "y": list(range(len(groups))),
        "text": [f" {percent(g.macs)}" for g in groups],
        "textposition": "outside",
        "cliponaxis": False,
        "hovertext": [_hover(run, g) for g in groups],
        "hoverinfo": "text",
        "marker": {"color": [COLORS["dense"] if g.reason else COLORS["candidate"] for g in groups]},
    }
