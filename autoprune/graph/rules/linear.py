"""Linear layers and embeddings: a weight matrix that is a parameter as it stands."""

from dataclasses import replace
from math import prod
from typing import Any

from autoprune.graph.call import Call
from autoprune.graph.channels import attach, contract, drop_zeros, flat, shaped, single
from autoprune.graph.flops import count_macs
from autoprune.graph.registry import rule
from autoprune.graph.rules.conv import owner_of
from autoprune.graph.tracer import Dim, LayerUse, Tracer
from autoprune.graph.values import Label, Value


@rule("aten::linear")
def linear(tracer: Tracer, call: Call) -> Any:
    """Weight (out, in): the last dimension meets dimension 1, dimension 0 becomes the channels.

    Exact because a removed input is multiplied with zeros only. All other dimensions pass through.
    """
    x, weight, bias = call["input"], call["weight"], call["bias"]
    if weight.ndim != 2 or (x.ndim == 1 and bias is None):
        return NotImplemented
    out, last = call.output, x.ndim - 1
    inputs = single(tracer, x, last)
    contract(tracer, x, inputs, weight, 1)
    produced = single(tracer, weight, 0)
    ids = flat(produced)
    zero = attach(tracer, ids, bias, "bias")
    tracer.produce(weight, 0)
    others = tuple(label for label in x.labels if label.ids.shape[last] == 1)
    x = replace(x, labels=others + (() if inputs is None else (inputs,)))
    labels = others if bias is None else drop_zeros(others)
    if produced is not None and ids is not None:
        labels += (Label(shaped(ids, last, out.ndim), zero and produced.zero),)
    out = replace(out, labels=labels)
    _account(tracer, call, x, out)
    return out


def _account(tracer: Tracer, call: Call, x: Value, out: Value) -> None:
    weight, bias, last = call["weight"], call["bias"], x.ndim - 1
    factors = [Dim(x, d) for d in range(last)] + [Dim(weight, 0), Dim(weight, 1)]
    tracer.cost(owner_of(call, weight), 1, factors)
    if weight.parameter:
        tracer.use_layer(
            LayerUse(
                kind="linear",
                weight=weight.parameter,
                bias=(bias.parameter or None) if bias is not None else None,
                inputs=Dim(x, last),
                outputs=Dim(out, last),
                positions=prod(x.shape[:last]),
            )
        )


@rule("aten::bilinear")
def bilinear(tracer: Tracer, call: Call) -> Any:
    """Weight (out, in1, in2): both inputs are consumed, dimension 0 becomes the channels.

    Exact because a removed input is multiplied with zeros only. Other dimensions are not labeled on.
    """
    weight, bias, out = call["weight"], call["bias"], call.output
    if count_macs(call):
        return NotImplemented
    for x, dim in ((call["input1"], 1), (call["input2"], 2)):
        last = x.ndim - 1
        tracer.lock([label for label in x.labels if label.ids.shape[last] == 1], "a bilinear layer")
        contract(tracer, x, single(tracer, x, last), weight, dim)
    produced = single(tracer, weight, 0)
    ids = flat(produced)
    zero = attach(tracer, ids, bias, "bias")
    tracer.produce(weight, 0)
    if produced is None or ids is None:
        return out
    return replace(out, labels=(Label(shaped(ids, out.ndim - 1, out.ndim), zero and produced.zero),))


@rule("aten::embedding_bag", "aten::_embedding_bag")
def embedding_bag(tracer: Tracer, call: Call) -> Any:
    """Rows are looked up and added up, averaged or compared channel by channel; the columns are the channels.

    Exact because no channel sees another; zeros stay zeros.
    """
    weight = call["weight"]
    tracer.lock(weight.along(0), "rows that are looked up by index")
    label = single(tracer, weight, 1)
    tracer.produce(weight, 1)
    first, *others = call.result
    if label is not None:
        first = replace(first, labels=(Label(shaped(label.ids, 1, 2), label.zero),))
    return (first, *others)


@rule("aten::embedding")
def embedding(tracer: Tracer, call: Call) -> Value:
    """Weight (rows, channels): rows are looked up by number and stay, the columns become the channels.

    Exact because a lookup copies every column by itself.
    """
    weight, out = call["weight"], call.output
    tracer.lock(weight.along(0), "rows that are looked up by index")
    label = single(tracer, weight, 1)
    tracer.produce(weight, 1)
    if label is None:
        return out
    return replace(out, labels=(Label(shaped(label.ids, out.ndim - 1, out.ndim), label.zero),))
