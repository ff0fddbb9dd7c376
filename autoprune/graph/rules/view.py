"""Another shape over the same elements in the same order."""

from dataclasses import replace

import numpy as np

from autoprune.graph.call import Call
from autoprune.graph.registry import aten, rule
from autoprune.graph.tracer import Tracer
from autoprune.graph.unionfind import Ids
from autoprune.graph.values import Label, Value

_WHOLE = "a single unit would be the whole dimension"


VIEWS = aten(
    """
    view reshape _unsafe_view view_as reshape_as _reshape_alias flatten unflatten squeeze unsqueeze ravel
    squeeze_ unsqueeze_
    """
)


@rule(*VIEWS)
def view(tracer: Tracer, call: Call) -> Value:
    """The ids are viewed as the elements are; where a dimension is split, units keep one of the parts.

    Exact because removing whole rows of the old shape and of the new shape removes the same elements, in
    the same order.
    """
    x, out = call.input, call.output
    labels = (reshape(tracer, label, x.shape, out.shape) for label in x.labels)
    return replace(out, labels=tuple(label for label in labels if label is not None))


def reshape(tracer: Tracer, label: Label, before: tuple[int, ...], after: tuple[int, ...]) -> Label | None:
    """Carry a label through a view, and find along which of the new dimensions its units vary."""
    moved = squeeze_constant(tracer, carry(label.ids, before, after))
    if moved.size == 1:
        tracer.lock(label, _WHOLE)
        return None
    if sum(size > 1 for size in moved.shape) > 1:
        tracer.pending.append(moved)
    return Label(moved, label.zero)


def carry(ids: Ids, before: tuple[int, ...], after: tuple[int, ...]) -> Ids:
    """View ids as the elements are; they are expanded only inside the dimensions that merge or split."""
    expanded, target = [1] * len(before), [1] * len(after)
    for rows, columns in blocks(before, after):
        if any(ids.shape[i] > 1 for i in rows):
            for i in rows:
                expanded[i] = before[i]
            for j in columns:
                target[j] = after[j]
    return np.broadcast_to(ids, expanded).reshape(target)


def blocks(before: tuple[int, ...], after: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Split two shapes of one size at equal cumulative products.

    Returns:
        Pairs (dimensions of `before`, dimensions of `after`) that hold the same elements, as small as can be.
    """
    if 0 in before:  # no elements, so nothing tells the dimensions apart
        return [(list(range(len(before))), list(range(len(after))))]
    result: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        rows: list[int] = []
        columns: list[int] = []
        left = right = 1
        while not (rows or columns) or left != right:
            if j == len(after) or (i < len(before) and left <= right):
                rows.append(i)
                left *= before[i]
                i += 1
            else:
                columns.append(j)
                right *= after[j]
                j += 1
        result.append((rows, columns))
    return result


def squeeze_constant(tracer: Tracer, ids: Ids) -> Ids:
    """Drop to size 1 every dimension along which the units do not vary."""
    roots = tracer.find(ids)
    for dim in range(roots.ndim):
        if roots.shape[dim] > 1 and constant_along(roots, dim):
            roots = roots.take([0], axis=dim)
    return roots


def constant_along(roots: Ids, dim: int) -> bool:
    """Whether all slices along `dim` are the same."""
    return bool((roots == roots.take([0], axis=dim)).all())
