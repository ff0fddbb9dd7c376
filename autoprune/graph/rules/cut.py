"""Ops that cut one tensor into parts, or join parts into one."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from autoprune.graph.call import Call
from autoprune.graph.channels import single
from autoprune.graph.cuts import Cuts, known_cuts
from autoprune.graph.merge import align, describe, merge
from autoprune.graph.registry import rule
from autoprune.graph.tracer import Tracer
from autoprune.graph.values import Label, Value

_CUT = "cut at a constant index"
_ONLY_REWRITTEN = "cut at constant indices: the model's own forward cannot follow, only the rewritten graph"


def cut(tracer: Tracer, label: Label, dim: int, window: slice, cuts: Cuts | None = None) -> Label | None:
    """The part of a label that a constant window along `dim` takes.

    A label that varies along other dimensions too keeps these only. One that varies along `dim` alone is
    locked: the model's forward would go on cutting at the same index. In a rewritten graph it stays free,
    and where the module is known to take the index from an attribute (`cuts` is "free"); the part never
    becomes empty.
    """
    if label.ids.shape[dim] == 1:
        return label
    part = Label(label.ids[(slice(None),) * dim + (window,)], label.zero)
    if part.ids.shape == label.ids.shape and (window.step or 1) == 1:
        return label
    if len(label.dims) > 1:
        return tracer.forbid(label, (dim,), _CUT)
    if (tracer.settings.rewritten or cuts == "free") and (window.step or 1) == 1:
        tracer.keep_one(part.ids, "the only channel of a part that is cut out")
        if cuts != "free":
            tracer.note(label, _ONLY_REWRITTEN)
    else:
        tracer.lock(label, _CUT)
    return part if part.ids.size > 1 else None


@rule("aten::slice", "aten::narrow")
def slice_(tracer: Tracer, call: Call) -> Value:
    """A window along one dimension; locked if that is labeled, unless the index follows (see above).

    Exact because a window of the other dimensions is the same on what stays; a rewritten window is moved.
    """
    x, dim = call.input, int(call["dim"]) % call.input.ndim
    if "length" in call.arguments:
        window = slice(call["start"], call["start"] + call["length"])
    else:
        window = slice(call["start"], call["end"], call["step"])
    cuts = known_cuts(call)
    labels = (cut(tracer, label, dim, window, cuts) for label in x.labels)
    return replace(call.output, labels=tuple(label for label in labels if label is not None))


@rule("aten::select")
def select(tracer: Tracer, call: Call) -> Value:
    """One position of a dimension; locked if units vary along that alone.

    Exact because along the other dimensions every position is taken by itself.
    """
    x = call.input
    dim = int(call["dim"]) % x.ndim
    return replace(call.output, labels=_taken(tracer, x, dim, int(call["index"]) % x.shape[dim]))


@rule("aten::unbind")
def unbind(tracer: Tracer, call: Call) -> list[Value]:
    """All positions of a dimension, one by one; locked if units vary along that alone.

    Exact because along the other dimensions every position is taken by itself.
    """
    x = call.input
    dim = int(call["dim"]) % x.ndim
    return [replace(part, labels=_taken(tracer, x, dim, i)) for i, part in enumerate(call.result)]


def _taken(tracer: Tracer, x: Value, dim: int, index: int) -> tuple[Label, ...]:
    """Labels of the slice at `index` along `dim`, that dimension dropped."""
    labels = []
    for label in x.labels:
        if label.dims == (dim,):
            tracer.lock(label.ids.ravel()[index : index + 1] if tracer.settings.rewritten else label, _CUT)
        else:
            # What is taken one by one must stay complete, so units may vary along the other dimensions only.
            label = tracer.forbid(label, (dim,), _CUT) or label
            labels.append(Label(np.take(label.ids, 0, axis=dim), label.zero))
    return tuple(labels)


@rule("aten::chunk", "aten::tensor_split")
def chunk(tracer: Tracer, call: Call) -> Any:
    """Parts of equal size: units at the same position of all parts go together, so that they stay equal.

    Exact because the parts stay equal, so that the same cut finds the same channels.
    """
    parts = call.result
    dim = int(call["dim"]) % call.input.ndim
    if "sections" in call.arguments and not isinstance(call["sections"], int):
        return NotImplemented
    return _parts(tracer, call.input, dim, parts, equal=_are_equal(parts, dim))


@rule("aten::split", "aten::split_with_sizes", "aten::split_copy", "aten::unsafe_split", "aten::unsafe_chunk")
def split(tracer: Tracer, call: Call) -> list[Value]:
    """Parts of constant size; locked if the dimension is labeled, unless the sizes follow (see above).

    Exact because each part keeps its own units and is as long as what stays of it.
    """
    dim, cuts = int(call["dim"]) % call.input.ndim, known_cuts(call)
    equal = cuts == "equal" and _are_equal(call.result, dim)
    return _parts(tracer, call.input, dim, call.result, equal, cuts)


def _are_equal(parts: Sequence[Value], dim: int) -> bool:
    return len({part.shape[dim] for part in parts}) == 1


def _parts(
    tracer: Tracer, x: Value, dim: int, parts: Sequence[Value], equal: bool, cuts: Cuts | None = None
) -> list[Value]:
    ends = np.cumsum([0, *(part.shape[dim] for part in parts)])
    labels: list[list[Label]] = [[] for _ in parts]
    for label in x.labels:
        if equal and label.dims == (dim,) and len(parts) > 1 and not tracer.settings.rewritten:
            _tie_parts(tracer, label, len(parts))
            pieces = [Label(ids, label.zero) for ids in np.split(label.ids, len(parts), axis=dim)]
            pieces = pieces if pieces[0].ids.size > 1 else []
        else:
            windows = [slice(int(a), int(b)) for a, b in pairwise(ends)]
            pieces = [piece for w in windows if (piece := cut(tracer, label, dim, w, cuts)) is not None]
        if len(pieces) == len(parts):
            for found, piece in zip(labels, pieces, strict=True):
                found.append(piece)
        elif pieces:
            tracer.lock(label, _CUT)
    return [replace(part, labels=tuple(found)) for part, found in zip(parts, labels, strict=True)]


def _tie_parts(tracer: Tracer, label: Label, count: int) -> None:
    rows = label.ids.reshape(count, -1)
    tracer.unite(rows, rows[:1])
    if rows.shape[1] == 1:
        tracer.lock(rows, "a single unit would be the whole dimension")


@rule("aten::glu")
def glu(tracer: Tracer, call: Call) -> Value:
    """First half times sigmoid of the second half: units at the same position of both go together.

    Exact because the halves stay equal, and channels are multiplied one by one.
    """
    x, out = call.input, call.output
    dim = int(call["dim"]) % x.ndim
    halves = _parts(tracer, x, dim, [out, out], equal=not tracer.settings.rewritten)
    labels = [Label(e.ids, e.zeros.get(0, False)) for e in merge(tracer, halves, out.shape)]
    return replace(out, labels=tuple(labels))


@rule("aten::cat", "aten::concat", "aten::concatenate")
def cat(tracer: Tracer, call: Call) -> Value:
    """One after the other: the ids too; along the other dimensions units of all operands go together.

    Exact because every position keeps its unit. Positions of an unlabeled operand stay.
    """
    out = call.output
    operands = [v for v in call.values if v.ndim == out.ndim]
    dim = int(call.get("dim", 0)) % out.ndim
    along, across = [], []
    for operand in operands:
        if len(out.shape) > 1:
            operand = replace(operand, labels=tuple(_outer(tracer, label, dim) for label in operand.labels))
        along.append(single(tracer, operand, dim))
        across.append(
            replace(operand, labels=tuple(label for label in operand.labels if label.ids.shape[dim] == 1))
        )
    labels = [
        Label(e.ids, all(e.zeros.get(i, False) for i in range(len(operands))))
        for e in merge(tracer, across, out.shape)
    ]
    if any(label is not None for label in along):
        ids = [
            tracer.locked(v.shape[dim], f"joined to {describe(v)}") if label is None else label.ids.ravel()
            for v, label in zip(operands, along, strict=True)
        ]
        shape = [-1 if d == dim else 1 for d in range(out.ndim)]
        labels.append(
            Label(np.concatenate(ids).reshape(shape), all(label is None or label.zero for label in along))
        )
    return replace(out, labels=tuple(labels))


def _outer(tracer: Tracer, label: Label, dim: int) -> Label:
    """A label over several dimensions keeps the others where parts are joined along `dim`."""
    if len(label.dims) > 1 and dim in label.dims:
        return tracer.forbid(label, (dim,), "") or label
    return label


@rule("aten::stack")
def stack(tracer: Tracer, call: Call) -> Value:
    """Side by side along a new dimension: units of all operands go together.

    Exact because the same units are removed from all operands.
    """
    out, operands = call.output, call.values
    dim = int(call.get("dim", 0)) % out.ndim
    labels = []
    for entry in merge(tracer, operands, operands[0].shape):
        zero = all(entry.zeros.get(i, False) for i in range(len(operands)))
        labels.append(Label(np.expand_dims(align(entry.ids, out.ndim - 1), dim), zero))
    return replace(out, labels=tuple(labels))
