"""Keyword arguments that all pipelines share."""

from collections.abc import Callable
from typing import Any, TypedDict

from torch import nn

from autoprune.files import StrPath
from autoprune.pipelines.progress import Listener
from autoprune.train import Trainer


class Options(TypedDict, total=False):
    """Keyword arguments of every pipeline, all of them optional.

    Attributes:
        trainer: How to train: optimizer, schedule, loss, distillation. Default: `Trainer()`. A
            `Distillation` without a teacher learns from the network that the pipeline was given.
        example_inputs: As for `autoprune.trace`. Default: the first image of `data.train`.
        score: What is written into the history as accuracy; higher is better. Default: the accuracy on
            `data.search_val`, or None where that has no labels.
        images: Images of `data.train` that criteria look at. Default: 512.
        seed: Of images, criteria, data order and dropout; the same seed gives the same result. Default: 0.
        run_dir: New folder for checkpoints and the result; None (the default) writes nothing.
        resume: Go on with what `run_dir` holds, from the last epoch that was finished; the result is that of
            an uninterrupted run. Start anew where nothing was begun. Default: False.
        on_progress: Called with a `Progress` at every step.
    """

    trainer: Trainer
    example_inputs: Any
    score: Callable[[nn.Module], float] | None
    images: int
    seed: int
    run_dir: StrPath | None
    resume: bool
    on_progress: Listener
