"""Scores that count what a unit costs."""

from math import isfinite, prod
from typing import ClassVar

from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.wrapper import Wrapper
from autoprune.errors import ArgumentError
from autoprune.graph import Group, Layer, PruneGraph


class FlopsRegularized(Wrapper):
    """Score minus strength times the MACs that the unit costs.

    The MACs of a unit are those that the dense network saves without it, in all layers that it runs through.
    All units of a group cost the same: the order within a group stays, a ranking across groups changes.
    Bring the scores of different groups to one scale first: `FlopsRegularized(LayerL2(Taylor()), 1e-8)`.

    Args:
        criterion: What scores; may be a wrapper itself.
        strength: Lambda, in score per MAC of one forward pass of the example inputs of the trace; at least 0.

    Raises:
        ArgumentError: Not a criterion, or a strength that is not finite or below 0.
    """

    name: ClassVar[str] = "flops"
    source: ClassVar[str] = "Molchanov et al. 2017, arXiv:1611.06440"

    def __init__(self, criterion: Criterion, strength: float = 1e-8) -> None:
        super().__init__(criterion)
        if not (isinstance(strength, int | float) and isfinite(strength) and strength >= 0):
            raise ArgumentError(f"strength must be a finite number of at least 0, got {strength!r}")
        self.strength = strength

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Score per unit, less what it costs."""
        scores = self.criterion.scores(context)
        return {
            group.name: scores[group.name].double() - self.strength * unit_macs(context.graph, group)
            for group in context.graph.prunable
        }

    def elements(self, context: Context) -> dict[str, Tensor]:
        """Score per weight, less the MACs that it takes part in."""
        scores = self.criterion.elements(context)
        return {
            layer.weight: scores[layer.weight].double() - self.strength * _weight_macs(context.graph, layer)
            for layer in context.graph.layers
        }


def unit_macs(graph: PruneGraph, group: Group) -> int:
    """MACs that the dense network saves without one unit of a group; 0 for a group of one, which stays."""
    return graph.macs() - graph.macs({group.name: group.size - 1}) if group.size > 1 else 0


def _weight_macs(graph: PruneGraph, layer: Layer) -> float:
    """How often one weight is multiplied in a forward pass."""
    if layer.kind != "conv_transposed":
        return layer.positions
    # Its weights meet every input position, which a layer does not keep.
    dense = graph.widths()
    total = sum(term(dense) for term in graph.mac_terms if term.owner == layer.name)
    return total / prod(graph.fingerprint[layer.weight])
