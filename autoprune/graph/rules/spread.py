"""Steps of a graph to be rewritten around convolutions over the channels."""

from dataclasses import replace
from typing import Any

from autoprune.graph.call import Call
from autoprune.graph.channels import NOT_ZERO, single
from autoprune.graph.registry import rule
from autoprune.graph.tracer import Tracer
from autoprune.graph.values import Label

_FOLLOWED = (
    "a convolution runs over these channels: the model's own forward cannot follow, only the rewritten graph"
)


@rule("python::spread")
def spread(tracer: Tracer, call: Call) -> Any:
    """What stays is put back where it was in front of a convolution over the channels, zeros in between.

    Exact because removed channels are zero there in the masked network too.
    """
    x, dim = call["x"], int(call["dim"])
    label = single(tracer, x, dim)
    if label is not None and label.zero:
        tracer.note(label, _FOLLOWED)
    elif label is not None:
        tracer.lock(label, NOT_ZERO)
    return replace(call.output, labels=tuple(o for o in x.labels if o.ids.shape[dim] == 1))


@rule("python::collect")
def collect(tracer: Tracer, call: Call) -> Any:
    """Behind a convolution over the channels, the positions that stay are taken out again.

    Exact because every position is computed from the same numbers as in the masked network.
    """
    y, like, dim = call["y"], call["like"], int(call["dim"])
    label = single(tracer, like, dim)
    again = () if label is None else (Label(label.ids, False),)
    return replace(call.output, labels=(*y.labels, *again))
