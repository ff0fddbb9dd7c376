"""A network seen layer by layer, for a search over densities."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from autoprune.finegrained.levels import Levels
from autoprune.graph import PruneGraph
from autoprune.graph.types import Axis, Extent, Group


def layer_graph(graph: PruneGraph, levels: Mapping[str, Levels]) -> PruneGraph:
    """The same network with one group per weight, whose width is a density.

    Environment, allocations and agents read such a graph like any other. Its costs do not follow from the
    widths of dimensions: `Tabulated` costs take their place.

    Args:
        graph: From `autoprune.trace`.
        levels: Of every weight that may be pruned, by name.
    """
    groups = tuple(
        Group(layer.weight, levels[layer.weight].size, (_axis(layer.weight, levels[layer.weight].size),))
        for layer in graph.layers
        if layer.weight in levels
    )
    layers = tuple(
        replace(
            layer,
            inputs=Extent(layer.inputs(graph.widths())),
            # The group is named, so that the layer is found as its producer, and counts nothing.
            outputs=Extent(
                layer.outputs(graph.widths()), ((layer.weight, 0),) if layer.weight in levels else ()
            ),
            groups=Extent(layer.groups(graph.widths())),
        )
        for layer in graph.layers
    )
    return PruneGraph(groups, layers, (), (), graph.fingerprint, graph.model)


def _axis(weight: str, size: int) -> Axis:
    return Axis(weight, 0, np.zeros((size, 0), np.int64))
