"""Weights that are computed from parameters."""

from dataclasses import replace
from typing import Any

from autoprune.graph.call import Call
from autoprune.graph.channels import lock_along
from autoprune.graph.registry import rule
from autoprune.graph.tracer import Tracer
from autoprune.graph.values import Value

_OUT = "weight_norm divides a removed output by a norm of zero; fold it with remove_weight_norm first"


@rule("aten::_weight_norm")
def weight_norm(tracer: Tracer, call: Call) -> Any:
    """Weight normalization: the normalized channels are locked, the channels that a layer reads pass.

    Exact for the channels read: removed ones are zero and add nothing to the norm, so that the masked
    network rescales what stays as the sliced one does. A removed output would have a norm of zero.
    """
    v: Value = call["v"]
    g, dim = call["g"], int(call["dim"])
    if not 0 <= dim < v.ndim:
        return NotImplemented
    tracer.lock(g, _OUT)
    labels = lock_along(tracer, v, (dim,), _OUT, keep=True)
    read = [label for label in labels if dim not in label.dims]
    tracer.note(read, "weight_norm rescales the channels that stay, by the norm that is left")
    return replace(call.output, labels=labels)
