"""The last decisions of a trace: what views left open, and dimensions that carry more than one label."""

import numpy as np

from autoprune.graph.rules.view import constant_along
from autoprune.graph.tracer import Dim, Tracer
from autoprune.graph.unionfind import Ids
from autoprune.graph.values import Label


def settle(tracer: Tracer) -> None:
    """Make every label vary along one dimension at most, and every cost depend on one label per dimension."""
    for ids in tracer.pending:
        _keep_largest(tracer, ids)
    for cost in tracer.costs:
        for factor in cost.factors:
            _keep_one(tracer, factor)
    for use in tracer.layers.values():
        for factor in (use.inputs, use.outputs):
            _keep_one(tracer, factor)


def _keep_largest(tracer: Tracer, ids: Ids) -> None:
    """Tie along all but the largest dimension that still varies: the more units, the finer the choice."""
    roots = tracer.find(ids)
    dims = sorted((d for d in range(ids.ndim) if ids.shape[d] > 1), key=lambda d: (ids.shape[d], d))
    varying = [d for d in dims if not constant_along(roots, d)]
    for dim in varying[:-1]:
        first = tracer.find(ids).take([0], axis=dim)
        tracer.unite(ids, first)
    if not varying:
        tracer.lock(ids, "a single unit would be the whole dimension")


def _keep_one(tracer: Tracer, factor: Dim) -> None:
    labels = [
        label for label in factor.value.along(factor.dim) if ids_along(tracer, label, factor.dim) is not None
    ]
    for label in labels[1:]:
        tracer.lock(label, "two labeled axes meet on one dimension")


def ids_along(tracer: Tracer, label: Label, dim: int) -> Ids | None:
    """Representatives of the ids along `dim`, shape (size,); None if the label does not vary along it."""
    if label.ids.shape[dim] == 1:
        return None
    roots = tracer.find(label.ids)
    if len(label.dims) > 1 and constant_along(roots, dim):
        return None
    return np.moveaxis(roots, dim, 0).reshape(roots.shape[dim], -1)[:, 0]
