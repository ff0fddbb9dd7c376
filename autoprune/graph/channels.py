"""Steps that several rules share: find the one label of a dimension, consume it, attach vectors to it."""

import re
from collections.abc import Iterable

import numpy as np

from autoprune.graph.merge import describe
from autoprune.graph.tracer import Tracer
from autoprune.graph.unionfind import Ids
from autoprune.graph.values import Label, Value

NOT_ZERO = "summed over although removed units are not zero there"
_CROSSED = "two labeled axes meet on one dimension"


def single(tracer: Tracer, value: Value, dim: int) -> Label | None:
    """The one label that varies along `dim`, made to vary along nothing else; None if the dimension has none.

    A label that varies along further dimensions too is tied along these. Of several labels, all but the one
    with the most units are locked.
    """
    labels = sorted(value.along(dim), key=lambda label: -len(np.unique(tracer.find(label.ids))))
    if not labels:
        return None
    for other in labels[1:]:
        tracer.lock(other, _CROSSED)
    label = labels[0]
    for d in label.dims:
        if d != dim:
            label = tracer.tie(label, d)
    return label


def flat(label: Label | None) -> Ids | None:
    """The ids of a label that varies along one dimension, shape (size,)."""
    return None if label is None else label.ids.ravel()


def shaped(ids: Ids, dim: int, ndim: int) -> Ids:
    """Flat ids as a label along `dim` of a value with `ndim` dimensions."""
    return ids.reshape([-1 if d == dim else 1 for d in range(ndim)])


def attach(tracer: Tracer, ids: Ids | None, vector: Value | None, what: str) -> bool:
    """Unite a per-channel vector with the channels it acts on, or lock the one that has no partner.

    Args:
        tracer: The trace.
        ids: Ids of the channels, shape (channels,); None if they are unlabeled.
        vector: Its last dimension runs over the channels; None if the op has no such operand.
        what: The vector's role, for the reason ("bias", "scale", ...).

    Returns:
        Whether the vector is zero at removed channels (True also if there is none).
    """
    if vector is None:
        return True
    label = single(tracer, vector, vector.ndim - 1) if vector.ndim else None
    if ids is None or label is None:
        if ids is not None and vector.ndim and vector.shape[-1] > 1:
            tracer.lock(ids, f"its {what} is {describe(vector)}")
        if label is not None:
            tracer.lock(label, f"{what} of channels that are not pruned")
        return False
    tracer.unite(ids, label.ids.ravel())
    return label.zero


def contract(tracer: Tracer, x: Value, inputs: Label | None, weight: Value, dim: int) -> None:
    """Unite input channels with dimension `dim` of the weight that they are multiplied and summed with."""
    label = single(tracer, weight, dim)
    if inputs is None or label is None:
        if inputs is not None:
            tracer.lock(inputs, f"multiplied with {describe(weight)}")
        if label is not None:
            tracer.lock(label, f"reads {describe(x)}")
        return
    tracer.unite(inputs.ids.ravel(), label.ids.ravel())
    if not label.zero and not inputs.zero:
        tracer.lock(inputs, NOT_ZERO)


def lock_along(
    tracer: Tracer, value: Value, dims: Iterable[int], reason: str, *, keep: bool = False
) -> tuple[Label, ...]:
    """Forbid every label of `value` to vary along `dims`.

    Args:
        tracer: The trace.
        value: The operand.
        dims: Dimensions along which nothing may be removed.
        reason: Why.
        keep: Whether to return locked labels too, for ops that leave every position where it is.

    Returns:
        The labels, those that vary along `dims` reduced to their other dimensions.
    """
    inside = set(dims)
    labels = []
    for label in value.labels:
        reduced = tracer.forbid(label, inside, reason) if inside & set(label.dims) else label
        if reduced is not None or keep:
            labels.append(reduced or label)
    return tuple(labels)


def drop_zeros(labels: Iterable[Label]) -> tuple[Label, ...]:
    """The same labels of a value that need no longer be zero at removed units."""
    return tuple(Label(label.ids, False) for label in labels)


def spatial_dims(op: str) -> int:
    """How many spatial dimensions an op works on, from its name: 2 for `aten::max_pool2d`."""
    found = re.search(r"([123])d", op)
    return int(found[1]) if found else 0
