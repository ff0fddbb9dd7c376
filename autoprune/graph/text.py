"""A graph as a text table."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoprune.graph.types import Group, PruneGraph

MOST = 100
"""Rows; what a larger graph has more is counted."""


def graph_table(graph: "PruneGraph") -> str:
    """One row per group in network order, and one line on the network."""
    groups = graph.groups[:MOST]
    wide = max([len("group"), *(len(group.name) for group in groups)])
    units = max([len("units"), *(len(str(group.size)) for group in groups)])
    lines = [f"{'group':<{wide}}  {'units':>{units}}  state"]
    lines += [f"{group.name:<{wide}}  {group.size:>{units}}  {_state(group)}" for group in groups]
    more = len(graph.groups) - len(groups)
    lines += [f"... and {more} more groups"] if more else []
    return "\n".join([*lines, _line(graph)])


def _state(group: "Group") -> str:
    state = "prunable" if group.prunable else f"locked: {group.reason}"
    return f"{state} ({group.note})" if group.note else state


def _line(graph: "PruneGraph") -> str:
    return (
        f"{len(graph.prunable)} of {len(graph.groups)} groups can be pruned; dense: {graph.macs():,} MACs "
        f"for the example input, {graph.params():,} parameters"
    )
