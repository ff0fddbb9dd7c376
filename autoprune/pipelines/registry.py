"""Pipelines by name, for the command line."""

from collections.abc import Callable

from autoprune.errors import ArgumentError
from autoprune.masks.targets import did_you_mean
from autoprune.pipelines.at_init import at_init
from autoprune.pipelines.brain import optimal_brain
from autoprune.pipelines.gradual import gradual
from autoprune.pipelines.iterative import iterative_magnitude
from autoprune.pipelines.lottery import lottery_ticket
from autoprune.pipelines.molchanov import molchanov
from autoprune.pipelines.result import PipelineResult
from autoprune.pipelines.sparse_training import sparse_training

PIPELINES: dict[str, Callable[..., PipelineResult]] = {
    function.__name__: function
    for function in (
        iterative_magnitude, lottery_ticket, optimal_brain, molchanov, gradual, sparse_training, at_init,
    )
}  # fmt: skip
"""All pipelines; each takes a model and data first."""


def pipeline(name: str) -> Callable[..., PipelineResult]:
    """The pipeline of that name.

    Raises:
        ArgumentError: An unknown name; the message names the nearest and all there are.
    """
    if name not in PIPELINES:
        hint = did_you_mean(name, PIPELINES)
        raise ArgumentError(f"there is no pipeline '{name}'{hint}; there are: {', '.join(PIPELINES)}")
    return PIPELINES[name]
