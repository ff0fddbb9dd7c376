"""Another shape over the same elements in the same order."""

from dataclasses import replace

import numpy as np

from autoprune.graph.call import Call
from autoprune.graph.registry import rule
from autoprune.graph.tracer import Tracer
from autoprune.graph.unionfind import Ids
from autoprune.graph.values import Label, Value

_WHOLE = "a single unit would be the whole dimension"


@rule(
    "aten::view",
    "aten::reshape",
    "aten::_unsafe_view",
    "aten::view_as",
    "aten::reshape_as",
    "aten::_reshape_alias",
)
@rule("aten::flatten", "aten::unflatten", "aten::squeeze", "aten::unsqueeze", "aten::ravel")
@rule("aten::squeeze_", "aten::unsqueeze_")
def view(tracer: Tracer, call: Call) -> Value:
    """The ids are viewed as the elements are; where a dimension is split, units keep one of the parts.

    Exact because removing whole rows of the old shape and of the new shape removes the same elements, in
    the same order.
    """
    x, out = call.input, call.output
    labels = (reshape(tracer, label, x.shape, out.shape) for label in x.labels)
    return replace(out, labels=tuple(label for label in labels if label is not None))


def reshape(tracer: Tracer, label: Label, before: tuple[int, ...], after: tuple[int, ...]) -> Label | None:
    """Carry a label through a view; ids are expanded only inside the dimensions that it merges or splits."""
    expanded, target = [1] * len(before), [1] * len(after)
    for rows, columns in blocks(before, after):
        if any(label.ids.shape[i] > 1 for i in rows):
            for i in rows:
                expanded[i] = before[i]
            for j in columns:
                target[j] = after[j]
    moved = squeeze_constant(tracer, np.broadcast_to(label.ids, expanded).reshape(target))
    if moved.size == 1:
        tracer.lock(label, _WHOLE)
        return None
    if sum(size > 1 for size in moved.shape) > 1:
        tracer.pending.append(moved)
    return Label(moved, label.zero)


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
