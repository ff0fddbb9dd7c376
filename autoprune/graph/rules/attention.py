"""Scaled dot-product attention."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from autoprune.graph.call import Call
from autoprune.graph.channels import NOT_ZERO, drop_zeros, single
from autoprune.graph.merge import describe, merge
from autoprune.graph.registry import rule
from autoprune.graph.tracer import Dim, Tracer
from autoprune.graph.values import Label, Value

_SCALE = "inexact: the attention's scale follows their number"
_PINNED = "the attention's default scale follows their number; only the rewritten graph keeps it"
_MIXED = "positions that attention runs over"


@rule("aten::scaled_dot_product_attention")
def attention(tracer: Tracer, call: Call) -> Any:
    """Heads pass (queries, keys, values and output projection together), the values' channels too.

    Exact because heads do not mix. The channels that queries and keys are compared on are locked unless the
    scale is given or the graph is rewritten with a fixed one: the default scale depends on their number.
    """
    if not call["query"].ndim == call["key"].ndim == call["value"].ndim >= 2:
        return NotImplemented
    q, k, v = (_keep_one(tracer, call[name]) for name in ("query", "key", "value"))
    out = call.output
    rows, depth = out.ndim - 2, out.ndim - 1
    for value in (q, k, v) if call.get("is_causal", False) else (k, v):
        tracer.lock(value.along(rows), _MIXED)
    labels = _heads(tracer, call, q, k, v)
    _compare(tracer, call, q, k, depth)
    labels += [*drop_zeros(q.along(rows)), *v.along(depth)]
    _account(tracer, call, q, k, v)
    return replace(out, labels=tuple(labels))


def _keep_one(tracer: Tracer, x: Value) -> Value:
    """Where a label varies along heads and along positions or channels of a head, it keeps one of the two."""
    inner, outer = range(x.ndim - 2, x.ndim), range(x.ndim - 2)
    labels = []
    for label in x.labels:
        if set(label.dims) & set(inner) and set(label.dims) & set(outer):
            label = tracer.forbid(label, inner if tracer.settings.heads else outer, "") or label
        elif len(label.dims) > 1 and set(label.dims) <= set(inner):
            tracer.lock(label, _MIXED)
        labels.append(label)
    return replace(x, labels=tuple(labels))


def _compare(tracer: Tracer, call: Call, q: Value, k: Value, depth: int) -> None:
    """Queries times keys: the compared channels are summed over."""
    mine, theirs = single(tracer, q, depth), single(tracer, k, depth)
    if call.get("scale") is None and tracer.settings.rewritten:
        tracer.note([label for label in (mine, theirs) if label is not None], _PINNED)
    for label, partner in ((mine, k), (theirs, q)):
        if label is not None and call.get("scale") is None and not tracer.settings.rewritten:
            tracer.lock(label, _SCALE)
        elif label is not None and (mine is None or theirs is None):
            tracer.lock(label, f"multiplied with {describe(partner)}")
    if mine is not None and theirs is not None:
        tracer.unite(mine.ids.ravel(), theirs.ids.ravel())
        if not mine.zero and not theirs.zero:
            tracer.lock(mine, NOT_ZERO)


def _heads(tracer: Tracer, call: Call, q: Value, k: Value, v: Value) -> list[Label]:
    """Unite the batch dimensions (heads) of queries, keys, values and mask; labels of the result."""
    out, rows = call.output, call.output.ndim - 2
    operands = [_batch_part(x, rows) for x in (q, *_repeated(call, q, (k, v)))]
    mask = call.get("attn_mask")
    if mask is not None:
        inside = range(max(0, mask.ndim - 2), mask.ndim)
        tracer.lock([label for d in inside for label in mask.along(d)], "an attention mask")
        operands.append(_batch_part(mask, max(0, mask.ndim - 2)))
    entries = merge(tracer, operands, (*out.shape[:rows], 1, 1))
    return [Label(entry.ids, entry.zeros.get(2, False)) for entry in entries]


def _batch_part(x: Value, rows: int) -> Value:
    """The batch dimensions of an operand, its rows and columns taken as size 1."""
    shape = (*x.shape[:rows], *(1 for _ in x.shape[rows:]))
    return replace(x, shape=shape, labels=tuple(label for label in x.labels if max(label.dims) < rows))


def _repeated(call: Call, q: Value, operands: Sequence[Value]) -> list[Value]:
    """With grouped queries, one head of keys and values serves several heads of queries: one unit."""
    if not call.get("enable_gqa", False) or q.ndim < 3:
        return list(operands)
    head = q.ndim - 3
    result = []
    for x in operands:
        times = q.shape[head] // x.shape[head]
        labels = tuple(
            Label(label.ids.repeat(times, head) if label.ids.shape[head] > 1 else label.ids, label.zero)
            for label in x.labels
        )
        result.append(replace(x, shape=(*x.shape[:head], q.shape[head], *x.shape[head + 1 :]), labels=labels))
    return result


def _account(tracer: Tracer, call: Call, q: Value, k: Value, v: Value) -> None:
    """MACs of both products; batch dimensions that are broadcast count in full."""
    rows, depth = q.ndim - 2, q.ndim - 1
    compared, weighted = (
        [max((Dim(x, d) for x in factors), key=lambda dim: dim.value.shape[dim.dim]) for d in range(rows)]
        for factors in ((q, k), (q, k, v))
    )
    tracer.cost(call.module, 1, [*compared, Dim(q, rows), Dim(k, rows), Dim(q, depth)])
    tracer.cost(call.module, 1, [*weighted, Dim(q, rows), Dim(k, rows), Dim(v, depth)])
