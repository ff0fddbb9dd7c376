"""Reductions, and ops that mix all positions along some dimension."""

from dataclasses import replace
from typing import Any

from autoprune.graph.call import Call
from autoprune.graph.channels import NOT_ZERO, lock_along
from autoprune.graph.registry import aten, rule
from autoprune.graph.rules.elementwise import pointwise
from autoprune.graph.tracer import Tracer
from autoprune.graph.values import Label, Value

_SUMS = aten("sum linalg_vector_norm norm count_nonzero")
_REDUCTIONS = aten(
    "mean amax amin max min var std var_mean std_mean prod all any argmax argmin logsumexp median"
)
_MIXERS = aten("softmax _softmax log_softmax _log_softmax cumsum cumprod sort argsort topk logcumsumexp")
_ZERO_AT_ZERO = frozenset((*_SUMS, *aten("mean amax amin max min var std cumsum")))

HARMLESS_IF_UNUSED = frozenset(_SUMS + _REDUCTIONS + _MIXERS)


def reduced_dims(call: Call, ndim: int) -> tuple[int, ...]:
    """The dimensions that an op works along; all of them if it names none."""
    dims = call.get("dim")
    if dims is None or dims == []:
        return tuple(range(ndim))
    dims = dims if isinstance(dims, list | tuple) else [dims]
    return tuple(int(d) % ndim for d in dims) if ndim else ()


@rule(*_SUMS)
def summation(tracer: Tracer, call: Call) -> Any:
    """Sums and norms: a labeled dimension may be summed over where removed units are zero.

    Exact because zeros add nothing. Labels along other dimensions pass.
    """
    x = call.input
    if call.name.endswith("norm") and call.get("ord", call.get("p", 2)) in (0, float("-inf")):
        return NotImplemented
    dims = reduced_dims(call, x.ndim)
    labels = []
    for label in x.labels:
        if not set(label.dims) <= set(dims):
            kept = tracer.forbid(label, dims, "")
            labels += [] if kept is None else [kept]
        elif not label.zero:
            tracer.lock(label, NOT_ZERO)
    return _reduced(call, tuple(labels), dims)


@rule(*_REDUCTIONS)
def reduction(tracer: Tracer, call: Call) -> Any:
    """Means, extrema and the like: labels along the reduced dimensions are locked, others pass.

    Exact because along the other dimensions every slice is reduced by itself.
    """
    x = call.input
    if len(call.values) > 1:  # max(x, y)
        return pointwise(tracer, call)
    dims = reduced_dims(call, x.ndim)
    return _reduced(call, lock_along(tracer, x, dims, f"{call.name} over these channels"), dims)


@rule(*_MIXERS)
def mixer(tracer: Tracer, call: Call) -> Any:
    """Softmax, cumulative sums, sorting: labels along that dimension are locked, others pass.

    Exact because along the other dimensions every slice is handled by itself.
    """
    x = call.input
    dims = reduced_dims(call, x.ndim) if "dim" in call.arguments else (x.ndim - 1,)
    return _spread(call, lock_along(tracer, x, dims, f"{call.name} over these channels", keep=True))


def _reduced(call: Call, labels: tuple[Label, ...], dims: tuple[int, ...]) -> Any:
    """Labels of the result, without the reduced dimensions unless the op keeps them."""
    ndim = call.output.ndim
    if ndim != call.input.ndim:
        labels = tuple(_drop(label, dims) for label in labels)
    return _spread(call, labels)


def _drop(label: Label, dims: tuple[int, ...]) -> Label:
    shape = [size for d, size in enumerate(label.ids.shape) if d not in dims]
    return Label(label.ids.reshape(shape), label.zero)


def _spread(call: Call, labels: tuple[Label, ...]) -> Any:
    """The same labels for every tensor of the result."""
    labels = tuple(Label(label.ids, label.zero and call.name in _ZERO_AT_ZERO) for label in labels)
    result = call.result
    if isinstance(result, Value):
        return replace(result, labels=labels)
    return type(result)(replace(r, labels=labels) for r in result)
