"""From units that stay to all that changes in a network."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias, cast

import numpy as np
from torch import nn

from autoprune.errors import ArgumentError
from autoprune.graph import PruneGraph
from autoprune.graph.export import unwrap
from autoprune.graph.types import Indices
from autoprune.surgery.attributes import corrections
from autoprune.surgery.slicer import Value
from autoprune.surgery.tensors import first_difference, held_tensors, state_shapes

Keep: TypeAlias = Mapping[str, Sequence[int] | Indices]


class Changed(NamedTuple):
    """What a candidate changes.

    Attributes:
        slices: Indices that stay, by tensor name and dimension; touched dimensions only.
        modules: New values, by module path and attribute.
    """

    slices: dict[str, dict[int, Indices]]
    modules: dict[str, dict[str, Value]]


class Surgery:
    """Turns units that stay into slices and corrected attributes, for one network.

    A network of the form "graph" has no attributes that need correction.

    Args:
        graph: The graph of the network.
        model: The dense network; only looked at.

    Raises:
        ArgumentError: The graph was traced from another network; the message names the first difference.
    """

    def __init__(self, graph: PruneGraph, model: nn.Module) -> None:
        model = unwrap(model)
        difference = first_difference(graph.fingerprint, state_shapes(model))
        if difference:
            raise ArgumentError(
                f"the model must be the network that the graph was traced from: {difference}; trace it again"
            )
        self._graph = graph
        self._held = held_tensors(model)
        self._modules = dict(model.named_modules())

    def __call__(self, keep: Keep) -> Changed:
        """Work out the changes for unit indices that stay, by group name; missing groups stay whole.

        Raises:
            ArgumentError: An unknown or locked group, or units that do not exist.
            ModelError: A module cannot work with what stays.
        """
        slices = self._graph.slices(cast(Mapping[str, Sequence[int]], keep))
        widths = {g.name: len(keep.get(g.name, range(g.size))) for g in self._graph.groups}
        if self._graph.form == "graph":
            return Changed(slices, {})
        conv_groups = {layer.weight: layer.groups(widths) for layer in self._graph.layers}
        return Changed(slices, corrections(self._modules, self._held, slices, conv_groups))


def complement(indices: Sequence[int] | Indices, size: int) -> Indices:
    """The positions 0..size-1 that are not in `indices`, ascending."""
    gone = np.ones(size, dtype=bool)
    gone[np.asarray(indices, dtype=np.int64)] = False
    return np.flatnonzero(gone)
