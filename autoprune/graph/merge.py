"""What element-by-element ops share: lay the labels of all operands over each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from autoprune.graph.tracer import Tracer
from autoprune.graph.unionfind import Ids
from autoprune.graph.values import Label, Value

_CROSSED = "two labeled axes meet on one dimension"


@dataclass
class Merged:
    """A label of the result.

    Attributes:
        ids: Its ids, one dimension per dimension of the result.
        zeros: Operand number -> whether the operand is zero at removed units; operands that lack the label
            are missing.
    """

    ids: Ids
    zeros: dict[int, bool] = field(default_factory=dict)

    @property
    def dims(self) -> set[int]:
        """The dimensions along which it varies."""
        return {d for d, size in enumerate(self.ids.shape) if size > 1}


def align(ids: Ids, ndim: int) -> Ids:
    """Prepend dimensions of size 1, as broadcasting does."""
    return ids.reshape((1,) * (ndim - ids.ndim) + ids.shape)


def describe(value: Value) -> str:
    """An operand in the words of a reason."""
    return value.origin or value.parameter or "a tensor that is not pruned along with it"


def merge(tracer: Tracer, operands: Sequence[Value], shape: tuple[int, ...]) -> list[Merged]:
    """Unite the labels of operands that broadcast to `shape`; lock what one of them does not account for.

    Labels of one operand are never united with each other. Where a label meets an operand that spans its
    dimension without a label, nothing may be removed there.
    """
    merged: list[Merged] = []
    for i, operand in enumerate(operands):
        for label in operand.labels:
            _insert(tracer, merged, i, Label(align(label.ids, len(shape)), label.zero))
    for entry in merged:
        for i, operand in enumerate(operands):
            if i not in entry.zeros:
                _check_partner(tracer, entry, operand, len(shape) - operand.ndim)
    return merged


def _check_partner(tracer: Tracer, entry: Merged, operand: Value, offset: int) -> None:
    """Lock the entry along the dimensions that an operand without this label spans."""
    spanned = [d for d in entry.dims if d >= offset and operand.shape[d - offset] > 1]
    if spanned:
        reason = f"combined element by element with {describe(operand)}"
        reduced = tracer.forbid(Label(entry.ids, False), spanned, reason)
        entry.ids = entry.ids if reduced is None else reduced.ids


def _insert(tracer: Tracer, merged: list[Merged], operand: int, label: Label) -> None:
    """Add one operand's label: a new label of the result, or united with the one that it falls on."""
    met = [entry for entry in merged if entry.dims & set(label.dims) and operand not in entry.zeros]
    same = [entry for entry in met if _same(tracer, entry.ids, label.ids)]
    if same or len(met) == 1:
        _join(tracer, (same or met)[0], operand, label)
    elif not met:
        merged.append(Merged(label.ids, {operand: label.zero}))
    else:
        tracer.lock(label, _CROSSED)
        for entry in met:
            tracer.lock(entry.ids, _CROSSED)
            entry.zeros[operand] = label.zero


def _same(tracer: Tracer, a: Ids, b: Ids) -> bool:
    return a.shape == b.shape and np.array_equal(tracer.find(a), tracer.find(b))


def _join(tracer: Tracer, entry: Merged, operand: int, label: Label) -> None:
    """Unite two labels of different operands.

    Where one varies along several dimensions (heads x channels of a head) and the other along the inner of
    them only, the outer one is kept for the units and the other label is locked: this leaves attention heads
    prunable where queries and keys are normalized or scaled inside each head.
    """
    entry.zeros[operand] = label.zero
    mine, theirs = entry.dims, set(label.dims)
    if mine == theirs:
        tracer.unite(entry.ids, label.ids)
        return
    wide, narrow = (entry.ids, label.ids) if mine > theirs else (label.ids, entry.ids)
    inner = {d for d, size in enumerate(narrow.shape) if size > 1}
    outer = {d for d, size in enumerate(wide.shape) if size > 1}
    if not outer > inner:
        tracer.lock(label, _CROSSED)
        tracer.lock(entry.ids, _CROSSED)
    elif max(outer) in inner:
        reason = "shared by all heads"
        tracer.lock(narrow, reason)
        reduced = tracer.forbid(Label(wide, False), inner, reason)
        entry.ids = wide if reduced is None else reduced.ids
    else:
        tracer.unite(wide, narrow)
        entry.ids = narrow
