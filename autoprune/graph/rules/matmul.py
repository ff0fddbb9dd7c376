"""Products of two tensors that sum over a shared dimension."""

from dataclasses import replace
from math import prod
from typing import Any

from autoprune.graph.call import Call
from autoprune.graph.channels import NOT_ZERO, single
from autoprune.graph.flops import count_macs
from autoprune.graph.merge import describe, merge
from autoprune.graph.registry import rule
from autoprune.graph.rules.conv import owner_of
from autoprune.graph.tracer import Dim, Tracer
from autoprune.graph.values import Label, Value


@rule("aten::matmul", "aten::mm", "aten::bmm", "aten::linalg_matmul", "aten::mv", "aten::dot", "aten::vdot")
def matmul(tracer: Tracer, call: Call) -> Any:
    """Rows and columns pass, batch dimensions of both operands go together, the summed dimension is consumed.

    Exact because removed units are zero in at least one factor of the summed products.
    """
    a, b = call.values
    if a.ndim < 1 or b.ndim < 1:
        return NotImplemented
    letters = _matmul_letters(a, b)
    return product(tracer, call, a, b, *letters)


def _matmul_letters(a: Value, b: Value) -> tuple[str, str, str]:
    """The dimensions of both operands and of the result as in an einsum; broadcast ones get a letter each."""
    names = iter("abcdefghijklmnop")
    batch = max(a.ndim, b.ndim, 2) - 2
    first, second, out = "", "", ""
    for i in range(batch):
        d, e = i - (batch - a.ndim + 2), i - (batch - b.ndim + 2)
        in_a, in_b = 0 <= d < a.ndim - 2, 0 <= e < b.ndim - 2
        letter = next(names)
        other = letter if in_a and in_b and a.shape[d] == b.shape[e] else next(names)
        first += letter if in_a else ""
        second += other if in_b else ""
        out += letter if in_a and (not in_b or a.shape[d] >= b.shape[e]) else other
    row = "r" if a.ndim > 1 else ""
    column = "s" if b.ndim > 1 else ""
    return first + row + "k", second + "k" + column, out + row + column


def product(tracer: Tracer, call: Call, a: Value, b: Value, first: str, second: str, out: str) -> Any:
    """The general product of two tensors, their dimensions named by letters.

    Args:
        tracer: The trace.
        call: The call.
        a: First factor.
        b: Second factor.
        first: One letter per dimension of `a`.
        second: One letter per dimension of `b`.
        out: One letter per dimension of the result.
    """
    if not _count(tracer, call, a, b, first, second):
        return NotImplemented
    a, b = _keep_batch(tracer, a, b, first, second, out), _keep_batch(tracer, b, a, second, first, out)
    labels: list[Label] = []
    for letter in dict.fromkeys(first + second):
        labels += _one_letter(tracer, a, b, first, second, out, letter)
    return replace(call.output, labels=tuple(labels))


def _keep_batch(tracer: Tracer, a: Value, b: Value, first: str, second: str, out: str) -> Value:
    """Where a label of `a` varies along batch and other dimensions (heads x channels), keep one of them."""
    shared = [d for d, letter in enumerate(first) if letter in out and letter in second and a.shape[d] > 1]
    labels = []
    for label in a.labels:
        batch = [d for d in label.dims if d in shared and b.along(second.index(first[d]))]
        heads = batch and tracer.settings.heads
        drop = [d for d in label.dims if (d not in batch if heads else d in shared)]
        if len(label.dims) > 1 and 0 < len(drop) < len(label.dims):
            label = tracer.forbid(label, drop, "") or label
        labels.append(label)
    return replace(a, labels=tuple(labels))


def _one_letter(
    tracer: Tracer, a: Value, b: Value, first: str, second: str, out: str, letter: str
) -> list[Label]:
    """Handle one dimension of the product; what it leaves on the result."""
    mine = single(tracer, a, first.index(letter)) if letter in first else None
    theirs = single(tracer, b, second.index(letter)) if letter in second else None
    shared = letter in first and letter in second
    if mine is None and theirs is None:
        return []
    if shared and (mine is None or theirs is None):
        label, partner = (theirs, a) if mine is None else (mine, b)
        if label is not None:
            tracer.lock(label, f"multiplied with {describe(partner)}")
            return [_placed(label, out, letter, False)] if letter in out else []
        return []
    if shared and mine is not None and theirs is not None:
        tracer.unite(mine.ids.ravel(), theirs.ids.ravel())
    label = mine if mine is not None else theirs
    assert label is not None
    zero = (mine is not None and mine.zero) or (theirs is not None and theirs.zero)
    if letter in out:
        return [_placed(label, out, letter, zero)]
    if not zero:
        tracer.lock(label, NOT_ZERO)
    return []


def _placed(label: Label, out: str, letter: str, zero: bool) -> Label:
    at = out.index(letter)
    return Label(label.ids.reshape([-1 if d == at else 1 for d in range(len(out))]), zero)


def _count(tracer: Tracer, call: Call, a: Value, b: Value, first: str, second: str) -> bool:
    """Record the MACs; False if PyTorch's counter sees another number than the product of all dimensions."""
    factors = [Dim(a, d) for d in range(a.ndim)]
    factors += [Dim(b, e) for e, letter in enumerate(second) if letter not in first]
    macs = count_macs(call)
    if macs == prod(f.value.shape[f.dim] for f in factors):
        for value in (b, a):
            tracer.produce(value, value.ndim - 1)
        tracer.cost(owner_of(call, b if b.parameter else a), 1, factors)
        return True
    return macs == 0


@rule("aten::addmm", "aten::baddbmm", "aten::addmv", "aten::addbmm")
def addmm(tracer: Tracer, call: Call) -> Any:
    """A product plus a third operand: as the product, then element by element.

    Exact for the reasons of both.
    """
    bias, a, b = call.values
    if call.name == "aten::addbmm":
        return NotImplemented
    multiplied = product(tracer, call, a, b, *_matmul_letters(a, b))
    if multiplied is NotImplemented:
        return NotImplemented
    labels = [
        Label(e.ids, e.zeros.get(0, False) and e.zeros.get(1, False))
        for e in merge(tracer, [multiplied, bias], multiplied.shape)
    ]
    return replace(multiplied, labels=tuple(labels))


@rule("aten::einsum")
def einsum(tracer: Tracer, call: Call) -> Any:
    """Two operands with an explicit result: as a product; others are locked.

    Exact for the reasons of a matrix product.
    """
    equation, operands = str(call["equation"]).replace(" ", ""), call.values
    inputs, arrow, out = equation.partition("->")
    names = inputs.split(",")
    if len(names) != 2 or not arrow or "." in equation:
        return NotImplemented
    if any(len(set(part)) != len(part) for part in (*names, out)):
        return NotImplemented
    sizes: dict[str, set[int]] = {}
    for part, operand in zip(names, operands, strict=True):
        for letter, size in zip(part, operand.shape, strict=True):
            sizes.setdefault(letter, set()).add(size)
    if any(len(found) > 1 for found in sizes.values()):
        return NotImplemented
    a, b = operands
    return product(tracer, call, a, b, names[0], names[1], out)
