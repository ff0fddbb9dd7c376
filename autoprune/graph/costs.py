"""Costs and layers over the widths of the groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoprune.graph.settle import ids_along
from autoprune.graph.tracer import Dim, LayerUse, Tracer
from autoprune.graph.types import Extent, Layer, Term
from autoprune.graph.unionfind import Ids


@dataclass(frozen=True)
class Extents:
    """Sizes of dimensions as functions of the widths.

    Attributes:
        tracer: The finished trace.
        names: Representative of a set of ids -> the prunable group that it belongs to.
    """

    tracer: Tracer
    names: Mapping[int, str]

    def of(self, dim: Dim) -> Extent:
        """The size of a dimension."""
        for label in dim.value.along(dim.dim):
            ids = ids_along(self.tracer, label, dim.dim)
            if ids is not None:
                return self.count(ids)
        return Extent(dim.value.shape[dim.dim])

    def count(self, ids: Ids) -> Extent:
        """How many of `ids` stay; locked groups count as fixed."""
        roots, counts = np.unique(self.tracer.find(ids), return_counts=True)
        fixed, parts = 0, {}
        for root, count in zip(roots.tolist(), counts.tolist(), strict=True):
            if root in self.names:
                parts[self.names[root]] = count
            else:
                fixed += count
        return Extent(fixed, tuple(parts.items()))


def mac_terms(extents: Extents) -> tuple[Term, ...]:
    """MACs of every op that has any."""
    costs = extents.tracer.costs
    return tuple(_term(cost.owner, cost.coefficient, [extents.of(f) for f in cost.factors]) for cost in costs)


def param_terms(extents: Extents) -> tuple[Term, ...]:
    """Elements of every parameter, in `state_dict` order; shared ones once, buffers not."""
    terms = []
    for name in extents.tracer.exported.tensors:
        if name in extents.tracer.exported.parameters:
            value = extents.tracer.tensor(name)
            terms.append(_term(name, 1, [extents.of(Dim(value, d)) for d in range(value.ndim)]))
    return tuple(terms)


def _term(owner: str, coefficient: int, factors: Sequence[Extent]) -> Term:
    """A term whose constant factors are folded into the coefficient."""
    for factor in factors:
        if not factor.parts:
            coefficient *= factor.fixed
    return Term(owner, coefficient, tuple(factor for factor in factors if factor.parts))


def layers(extents: Extents) -> tuple[Layer, ...]:
    """Convolutions and linear layers in network order."""
    return tuple(_layer(use, extents) for use in extents.tracer.layers.values())


def _layer(use: LayerUse, extents: Extents) -> Layer:
    return Layer(
        name=use.weight.rpartition(".")[0],
        kind=use.kind,
        weight=use.weight,
        bias=use.bias,
        kernel_size=use.kernel_size,
        stride=use.stride,
        padding=use.padding,
        dilation=use.dilation,
        inputs=extents.of(use.inputs),
        outputs=extents.of(use.outputs),
        groups=Extent(use.groups) if use.group_ids is None else extents.count(use.group_ids),
        positions=use.positions,
        calls=use.calls,
    )
