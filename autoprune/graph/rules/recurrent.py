"""Recurrent layers, which stay dense."""

from typing import Any

from autoprune.graph.call import Call
from autoprune.graph.flops import count_macs
from autoprune.graph.registry import aten, rule
from autoprune.graph.tracer import Tracer

_WHY = "a recurrent layer: its channels return at every step, through gates that share one weight"


@rule(*aten("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell"))
def recurrent(tracer: Tracer, call: Call) -> Any:
    """Locked: a channel returns at every step through gates that are stacked in one weight.

    Locking is exact: nothing that goes in or comes out is pruned.
    """
    for value in call.values:
        tracer.lock(value, _WHY)
    macs = count_macs(call)
    if macs:
        tracer.cost(call.module, macs)
    return call.result
