"""Ops that act on every element by itself: units at the same position of all operands go together."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from autoprune.graph.call import Call
from autoprune.graph.merge import merge
from autoprune.graph.registry import aten, rule
from autoprune.graph.tracer import Tracer
from autoprune.graph.values import Label, Value

IDENTITY = aten(
    """
    alias clone contiguous detach detach_ lift lift_fresh lift_fresh_copy dropout dropout_ alpha_dropout
    alpha_dropout_ feature_dropout feature_dropout_ feature_alpha_dropout feature_alpha_dropout_ to
    type_as _to_copy positive
    """
)
UNARY = aten(
    """
    abs acos acosh angle arctan asin asinh atan atanh ceil celu clamp clamp_max clamp_min clip cos cosh
    digamma elu erf erfc erfinv exp exp2 expm1 fill fix floor frac full_like gelu hardshrink hardsigmoid
    hardswish hardtanh isfinite isinf isnan leaky_relu lgamma log log10 log1p log2 log_sigmoid logical_not
    logit mish nan_to_num neg negative ones_like reciprocal relu relu6 round rrelu rsqrt selu sgn sigmoid
    sign silu sin sinc sinh softplus softshrink special_expit sqrt square tan tanh threshold
    trunc zero zeros_like
    """
)
BINARY = aten(
    """
    add addcdiv addcmul atan2 bitwise_and bitwise_not bitwise_or bitwise_xor copy copysign div divide eq
    floor_divide fmax fmin fmod ge greater gt heaviside hypot le lerp less logaddexp logical_and
    logical_or logical_xor lt masked_fill maximum minimum mul multiply ne not_equal pow remainder rsub sub
    subtract true_divide where xlogy
    """
)
_INPLACE = tuple(
    f"{name}_" for name in UNARY + BINARY if hasattr(torch.ops.aten, f"{name.removeprefix('aten::')}_")
)


@rule(*UNARY, *BINARY, *_INPLACE)
def pointwise(tracer: Tracer, call: Call) -> Value:
    """Element by element: units at the same (broadcast) position of all operands go together.

    Exact because removing a position of every operand removes exactly that position of the result.
    """
    values = call.values
    out = call.output
    labels = []
    for entry in merge(tracer, values, out.shape):
        zero = stays_zero(call, values, entry.zeros)
        if zero is None:
            tracer.lock(entry.ids, f"{call.name} is not finite at removed units")
        labels.append(Label(entry.ids, bool(zero)))
    return replace(out, labels=tuple(labels))


@rule(*IDENTITY)
def identity(tracer: Tracer, call: Call) -> Value:
    """The same numbers, perhaps elsewhere in memory or of another type.

    Exact because every element stays where it is.
    """
    x = call.input
    return replace(call.output, labels=x.labels, origin=x.origin)


@rule("aten::prelu", "aten::_prelu_kernel")
def prelu(tracer: Tracer, call: Call) -> Value:
    """The slopes lie along dimension 1 (or there is one for all); zero stays zero.

    Exact because each channel has a slope of its own.
    """
    x, weight = call.values
    if weight.ndim == 1 and x.ndim >= 2:
        spread = (1, -1) + (1,) * (x.ndim - 2)
        weight = replace(
            weight,
            shape=tuple(weight.shape[0] if size == -1 else size for size in spread),
            labels=tuple(Label(label.ids.reshape(spread), label.zero) for label in weight.labels),
        )
    labels = [Label(entry.ids, entry.zeros.get(0, False)) for entry in merge(tracer, [x, weight], x.shape)]
    return replace(call.output, labels=tuple(labels))


def stays_zero(call: Call, values: Sequence[Value], zeros: dict[int, bool]) -> bool | None:
    """Whether the op yields zero where the flagged operands are zero; None if it is not even finite there.

    The op itself is asked, on numbers of both signs and many magnitudes.

    Args:
        call: The call.
        values: All tensor operands.
        zeros: Operand number -> whether it is zero at the units in question.
    """
    if not any(zeros.values()):
        return False
    samples = iter(_samples(values, zeros))

    def convert(item: Any) -> Any:
        if isinstance(item, Value):
            return next(samples)
        if isinstance(item, list | tuple):
            return [convert(i) for i in item]
        return item

    arguments = {
        name: convert(item) for name, item in call.arguments.items() if name not in ("device", "dtype")
    }
    try:
        with torch.no_grad():
            result = call.node.target(**arguments)  # type: ignore[operator]
    except Exception:  # an op that does not take these numbers makes no promise about zeros
        return False
    if not bool(torch.isfinite(result).all()):
        return None
    return bool((result == 0).all())


def _samples(values: Sequence[Value], zeros: dict[int, bool]) -> list[Tensor]:
    """For every operand 64 random numbers between 0.01 and 100 of both signs, zeros if it is flagged."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for i, value in enumerate(values):
        uniform = torch.rand(2, 64, generator=generator, dtype=torch.float64)
        drawn = 10 ** (4 * uniform[0] - 2) * torch.where(uniform[1] < 0.5, -1.0, 1.0)
        if zeros.get(i, False):
            drawn = torch.zeros_like(drawn)
        samples.append(drawn > 0 if value.dtype is torch.bool else drawn)
    return samples
