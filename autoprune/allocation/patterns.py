"""Groups by the pattern of their name."""

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from fnmatch import fnmatchcase

from autoprune.errors import ArgumentError
from autoprune.graph.types import PruneGraph

_LISTED = 20
"""How many names a message lists."""


def matching(graph: PruneGraph, pattern: str, argument: str) -> tuple[str, ...]:
    """The prunable groups that a pattern means, in network order.

    Args:
        graph: The network.
        pattern: A group's name, or a pattern of `fnmatch` (`*`, `?`, `[...]`; case counts).
        argument: What to call the argument in an error.

    Raises:
        ArgumentError: It matches no group, or locked ones alone; the message names the nearest or the reason.
    """
    found = [group for group in graph.groups if _matches(group.name, pattern)]
    if not found:
        names = [group.name for group in graph.prunable]
        raise ArgumentError(f"{argument}: no group matches '{pattern}'{_hint(pattern, names)}")
    prunable = tuple(group.name for group in found if group.prunable)
    if not prunable:
        raise ArgumentError(
            f"{argument}: '{pattern}' must match a group that can be pruned, but '{found[0].name}' is locked "
            f"({found[0].reason})"
        )
    return prunable


def any_matching(graph: PruneGraph, patterns: Sequence[str], argument: str) -> tuple[str, ...]:
    """The prunable groups that any of the patterns means, in network order.

    Raises:
        ArgumentError: As `matching`, for every single pattern; or `patterns` is one text.
    """
    named = {
        name for pattern in as_patterns(patterns, argument) for name in matching(graph, pattern, argument)
    }
    return tuple(group.name for group in graph.prunable if group.name in named)


def as_patterns(patterns: Iterable[str], argument: str) -> tuple[str, ...]:
    """Several patterns, checked to be several.

    Raises:
        ArgumentError: One text instead of a sequence, or an element that is no text.
    """
    found = () if isinstance(patterns, str) else tuple(patterns)
    if isinstance(patterns, str) or not all(isinstance(pattern, str) for pattern in found):
        raise ArgumentError(
            f"{argument} must be a sequence of names or patterns such as ('head.*',), got {patterns!r}"
        )
    return found


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _hint(pattern: str, names: Sequence[str]) -> str:
    """The name whose beginning is nearest to the text of a pattern, and the first names there are."""
    if not names:
        return "; no group can be pruned"
    text = pattern.replace("*", "").replace("?", "")
    near = max(names, key=lambda name: SequenceMatcher(None, text, name[: len(text) + 1]).ratio())
    return f"; did you mean '{near}'? (known: {listed(names)})"


def listed(names: Sequence[str]) -> str:
    """The first names there are."""
    return ", ".join(names[:_LISTED]) + ", ..." * (len(names) > _LISTED)
