"""Convolutions: consume the input's channels, emit the weight's."""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from autoprune.graph.call import Call
from autoprune.graph.channels import NOT_ZERO, attach, contract, flat, lock_along, shaped, single
from autoprune.graph.merge import describe
from autoprune.graph.registry import rule
from autoprune.graph.tracer import Dim, LayerUse, Tracer
from autoprune.graph.unionfind import Ids
from autoprune.graph.values import Label, Value


@rule("aten::conv1d", "aten::conv2d", "aten::conv3d")
def conv(tracer: Tracer, call: Call) -> Value:
    """Weight (out, in / groups, *kernel): input channels meet dimension 1, dimension 0 becomes the channels.

    Exact because a removed input channel is multiplied with zeros only. With several conv groups a unit is
    one position in every conv group (all stay equally wide), in a depthwise convolution a whole conv group.
    """
    return _convolve(tracer, call, transposed=False)


@rule("aten::conv_transpose1d", "aten::conv_transpose2d", "aten::conv_transpose3d")
def conv_transpose(tracer: Tracer, call: Call) -> Value:
    """Weight (in, out / groups, *kernel); otherwise as a convolution.

    Exact because a removed input channel is multiplied with zeros only.
    """
    return _convolve(tracer, call, transposed=True)


@rule("aten::convolution", "aten::_convolution")
def convolution(tracer: Tracer, call: Call) -> Value:
    """The general form of both.

    Exact for the same reasons.
    """
    return _convolve(tracer, call, transposed=bool(call["transposed"]))


@dataclass(frozen=True)
class _Emitted:
    """Channels that a convolution emits.

    Attributes:
        ids: Shape (out,), or None if they are not labeled.
        zero: Whether the output (bias aside) is zero at removed channels.
        group_ids: One id per conv group where removing a unit removes a conv group, else None.
    """

    ids: Ids | None
    zero: bool
    group_ids: Ids | None = None


def _convolve(tracer: Tracer, call: Call, transposed: bool) -> Value:
    x, weight, out = call["input"], call["weight"], call.output
    channel = x.ndim - (weight.ndim - 2) - 1
    passing = lock_along(tracer, x, range(channel + 1, x.ndim), "a convolution runs over this dimension")
    x = replace(x, labels=passing)
    tracer.hide(weight, range(2, weight.ndim))
    inputs = single(tracer, x, channel)
    groups = int(call["groups"])
    if groups == 1:
        emitted = _plain(tracer, x, weight, inputs, transposed)
    else:
        emitted = _grouped(tracer, x, weight, inputs, groups, transposed)
    tracer.produce(weight, 1 if transposed else 0)
    bias = call["bias"]
    zero = attach(tracer, emitted.ids, bias, "bias") and emitted.zero
    labels = [
        Label(label.ids, label.zero and bias is None) for label in passing if label.ids.shape[channel] == 1
    ]
    if emitted.ids is not None:
        labels.append(Label(shaped(emitted.ids, channel, out.ndim), zero))
    out = replace(out, labels=tuple(labels))
    _account(tracer, call, replace(x, labels=_with(x, inputs, channel)), out, emitted, transposed)
    return out


def _with(x: Value, label: Label | None, dim: int) -> tuple[Label, ...]:
    """The labels of `x`, those along `dim` replaced by the one that was settled on."""
    return tuple(label for label in x.labels if label.ids.shape[dim] == 1) + (
        () if label is None else (label,)
    )


def _plain(tracer: Tracer, x: Value, weight: Value, inputs: Label | None, transposed: bool) -> _Emitted:
    """One conv group."""
    contract(tracer, x, inputs, weight, 0 if transposed else 1)
    label = single(tracer, weight, 1 if transposed else 0)
    return _Emitted(flat(label), label is not None and label.zero)


def _grouped(
    tracer: Tracer, x: Value, weight: Value, inputs: Label | None, groups: int, transposed: bool
) -> _Emitted:
    """Several conv groups."""
    first, second = single(tracer, weight, 0), single(tracer, weight, 1)
    inner, whole = weight.shape[1], weight.shape[0] // groups
    if first is None or (second is None and inner > 1 and whole > 1):
        tracer.lock(
            [label for label in (first, second, inputs) if label is not None],
            f"multiplied with {describe(weight)}",
        )
        return _Emitted(None, False)
    rows = first.ids.reshape(groups, whole)
    if inner == 1 or whole == 1 or second is None:
        return _depthwise(tracer, x, rows, second, inputs, inner if transposed else whole, transposed)
    return _tied(tracer, x, rows, first, second, inputs, transposed)


def _depthwise(
    tracer: Tracer,
    x: Value,
    rows: Ids,
    inner: Label | None,
    inputs: Label | None,
    outputs_per_group: int,
    transposed: bool,
) -> _Emitted:
    """One channel per conv group on one side: a unit is a whole conv group with all its channels."""
    tracer.unite(rows, rows[:, :1])
    if inner is not None:
        tracer.lock(inner, "every conv group has these channels")
    if inputs is None:
        tracer.lock(rows, f"reads {describe(x)}")
    else:
        tracer.unite(inputs.ids.reshape(len(rows), -1), rows[:, :1])
    emitted = rows[:, :1].repeat(outputs_per_group, 1) if transposed else rows
    return _Emitted(emitted.ravel(), True, rows[:, 0])


def _tied(
    tracer: Tracer, x: Value, rows: Ids, first: Label, second: Label, inputs: Label | None, transposed: bool
) -> _Emitted:
    """Several channels per conv group on both sides: a unit is one position in every conv group."""
    tracer.unite(rows, rows[:1])
    inner = np.broadcast_to(second.ids.ravel(), (len(rows), second.ids.size))
    consumed, emitted = (rows, inner) if transposed else (inner, rows)
    if inputs is None:
        tracer.lock(consumed, f"reads {describe(x)}")
    else:
        tracer.unite(inputs.ids.reshape(len(rows), -1), consumed)
        if not inputs.zero and not (first if transposed else second).zero:
            tracer.lock(inputs, NOT_ZERO)
    return _Emitted(emitted.ravel(), (second if transposed else first).zero)


def _account(tracer: Tracer, call: Call, x: Value, out: Value, emitted: _Emitted, transposed: bool) -> None:
    """Record the MACs and, if the weight is a parameter, the layer."""
    weight, bias = call["weight"], call["bias"]
    kernel = weight.shape[2:]
    channel = x.ndim - len(kernel) - 1
    moves = (x if transposed else out).shape[channel + 1 :]
    factors = [Dim(x, d) for d in range(channel)] + [Dim(weight, 0), Dim(weight, 1)]
    tracer.cost(owner_of(call, weight), prod(moves) * prod(kernel), factors)
    if not weight.parameter:
        return
    tracer.use_layer(
        LayerUse(
            kind="conv_transposed" if transposed else "conv",
            weight=weight.parameter,
            bias=(bias.parameter or None) if bias is not None else None,
            inputs=Dim(x, channel),
            outputs=Dim(out, channel),
            positions=prod(out.shape[:channel]) * prod(out.shape[channel + 1 :]),
            kernel_size=kernel,
            stride=_per_dim(call["stride"], len(kernel)),
            padding=_padding(call, kernel),
            dilation=_per_dim(call["dilation"], len(kernel)),
            groups=int(call["groups"]),
            group_ids=emitted.group_ids,
        )
    )


def owner_of(call: Call, weight: Value) -> str:
    """Under which name a cost is shown: the module that owns the weight, else the one that makes the call."""
    return weight.parameter.rpartition(".")[0] if weight.parameter else call.module


def _per_dim(value: Any, count: int) -> tuple[int, ...]:
    values = tuple(int(v) for v in value) if isinstance(value, list | tuple) else (int(value),)
    return values * count if len(values) == 1 else values


def _padding(call: Call, kernel: tuple[int, ...]) -> tuple[int, ...]:
    """Padding as numbers; "same" pads dilation * (kernel - 1) // 2 in front."""
    padding = call["padding"]
    if padding == "valid":
        return (0,) * len(kernel)
    if padding == "same":
        dilation = _per_dim(call["dilation"], len(kernel))
        return tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
    return _per_dim(padding, len(kernel))
