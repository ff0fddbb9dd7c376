"""Which groups an allocation or a search may touch at all."""

from collections.abc import Sequence

from autoprune.allocation.patterns import any_matching, as_patterns
from autoprune.errors import ArgumentError
from autoprune.graph.types import PruneGraph


def restrict(graph: PruneGraph, *, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> PruneGraph:
    """Lock groups by name, so that they stay dense in all that follows.

    Args:
        graph: The network.
        include: Names or patterns (`fnmatch`) of the only groups that may be pruned; empty means all.
        exclude: Names or patterns of groups that stay dense; wins over `include`.

    Returns:
        The graph with the other groups locked and the reason noted; the same object where nothing changes.

    Raises:
        ArgumentError: A pattern that matches no prunable group, or nothing is left to prune.
    """
    include, exclude = as_patterns(include, "include"), as_patterns(exclude, "exclude")
    reasons: dict[str, str] = {}
    if include:
        kept = any_matching(graph, include, "include")
        reasons |= {group.name: "not included" for group in graph.prunable if group.name not in kept}
    reasons |= dict.fromkeys(any_matching(graph, exclude, "exclude"), "excluded")
    if reasons and len(reasons) == len(graph.prunable):
        raise ArgumentError(
            f"include={list(include)} and exclude={list(exclude)} must leave a group to prune, but all "
            f"{len(reasons)} would stay dense"
        )
    return graph.locked(reasons) if reasons else graph
