"""The layers on both sides of a group."""

from math import prod, sqrt
from typing import NamedTuple

from autoprune.graph.types import Group, Layer, PruneGraph


class Neighbors(NamedTuple):
    """The first layer that makes a group and the first that reads it; depthwise ones only if no other does.

    Attributes:
        producer: Its output channels are units of the group.
        consumer: Its input channels are units of the group.
    """

    producer: Layer | None
    consumer: Layer | None


def neighbors(graph: PruneGraph) -> tuple[Neighbors, ...]:
    """The neighbors of every prunable group, in network order."""
    return tuple(_of(group, graph) for group in graph.prunable)


def _of(group: Group, graph: PruneGraph) -> Neighbors:
    def first(side: str) -> Layer | None:
        found = [layer for layer in graph.layers if _has(getattr(layer, side).parts, group.name)]
        return next(
            (layer for layer in found if not _has(layer.groups.parts, group.name)),
            found[0] if found else None,
        )

    return Neighbors(first("outputs"), first("inputs"))


def _has(parts: tuple[tuple[str, int], ...], name: str) -> bool:
    return any(part == name for part, _ in parts)


def side_of(layer: Layer) -> float:
    """Side of the square that the layer's output positions per call would fill (1 for a linear layer)."""
    return sqrt(layer.positions / layer.calls)


def length_of(sizes: tuple[int, ...]) -> float:
    """Geometric mean, 1 if there are none: kernel side or stride of a layer."""
    return prod(sizes) ** (1 / len(sizes)) if sizes else 1.0
