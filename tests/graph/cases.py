"""Traces of the table's networks, made once per process: exporting is the slow part."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn

from autoprune.graph.rewrite import Traced
from autoprune.graph.trace import trace_program
from tests.graph.checks import cast, randomize
from tests.graph.nets import NETS


class Case(NamedTuple):
    """A network of the table in float64, with non-trivial statistics, and its trace."""

    model: nn.Module
    inputs: Any
    traced: Traced


Cases: TypeAlias = Callable[[str], Case]


@cache
def build(name: str) -> Case:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, inputs = NETS[name]()
    model, inputs = randomize(model), cast(inputs)
    return Case(model, inputs, trace_program(model, inputs))
